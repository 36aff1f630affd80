/** A schema, readable: each field with its type, what it means and its rules. */
import { Badge } from '../../ui/badge.tsx';
import { CodeBlock } from '../../ui/code.tsx';
import { schemaRows } from './schema-rows.ts';

export function SchemaTable({ schema }: { schema: Record<string, unknown> }) {
  const rows = schemaRows(schema);
  return (
    <div className="space-y-3">
      {rows.length === 0 ? (
        <p className="text-soft">
          {schema.properties === undefined
            ? 'Any object fits: it has no described fields.'
            : 'It has no fields.'}
        </p>
      ) : (
        <table className="border-line w-full border-y text-left" aria-label="Fields of data">
          <thead className="sr-only">
            <tr>
              <th scope="col">Field and type</th>
              <th scope="col">Meaning</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ path, depth, type, required, description, rules }) => (
              <tr
                key={path}
                className="border-line block border-b py-2 last:border-b-0 sm:grid sm:grid-cols-[minmax(0,5fr)_minmax(0,6fr)] sm:gap-4"
              >
                <td className="block min-w-0" style={{ paddingLeft: `${depth}rem` }}>
                  <code className="font-mono text-[0.8125rem] font-medium break-words">{path}</code>
                  <span className="text-soft mt-0.5 flex flex-wrap items-center gap-x-2 gap-y-1 text-[0.8125rem]">
                    {type}
                    {required ? <Badge>required</Badge> : <span className="text-faint">optional</span>}
                  </span>
                </td>
                <td className="block min-w-0 break-words max-sm:mt-0.5">
                  {description}
                  {rules.length > 0 && (
                    <span className="text-faint block text-[0.8125rem]">{rules.join(' · ')}</span>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {rows.length > 0 && schema.additionalProperties !== false && (
        <p className="text-faint text-[0.8125rem]">More fields may come: ignore those that you don’t know.</p>
      )}
      <details>
        <summary className="text-soft hover:text-ink w-fit rounded text-[0.8125rem]">As JSON Schema</summary>
        <CodeBlock className="mt-2" label="JSON Schema" text={JSON.stringify(schema, null, 2)} />
      </details>
    </div>
  );
}

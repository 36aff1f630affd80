/**
 * Holds the rules of the rooms (ARCHITECTURE.md): which folder of `packages/server/src` may import what.
 * Exit code 1 and one line a violation where a rule is broken.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';

interface Import {
  /** Relative to `src` for our own files (`api/app.ts`), else the package's name (`node:net`). */
  target: string;
  typeOnly: boolean;
  /** The text between `import` and `from`. */
  names: string;
}

interface Rule {
  says: string;
  broken(file: string, imported: Import): boolean;
}

const CONTRACT_OF_STORE = /^(model|errors|clock|json-read)\.ts$/;
/** What can open a connection, and the harmless names of it. */
const DIALLING = /^(undici(\/.*)?|(node:)?(net|tls|http|https|http2|dgram))$/;
const HARMLESS = /^(isIP|STATUS_CODES)$/;

const RULES: readonly Rule[] = [
  {
    says: 'delivery/ must not import api/',
    broken: (file, { target }) => file.startsWith('delivery/') && target.startsWith('api/'),
  },
  {
    says: 'store/ imports only model, errors, clock, json-read, better-sqlite3, pg and Node itself',
    broken: (file, { target }) =>
      file.startsWith('store/') &&
      !target.startsWith('store/') &&
      !target.startsWith('node:') &&
      target !== 'better-sqlite3' &&
      target !== 'pg' &&
      !CONTRACT_OF_STORE.test(target),
  },
  {
    says: "only service.ts, parts.ts, cli/ and the library's door know the configuration; inner rooms get plain values",
    broken: (file, { target }) =>
      target === 'config.ts' && !/^(service\.ts|parts\.ts|library\.ts|index\.ts|cli\/.*)$/.test(file),
  },
  {
    // cli/ speaks to the operator's own service, and its doctor probes the machine it stands on.
    says: 'only delivery/request.ts dials out',
    broken: (file, { target, typeOnly, names }) =>
      DIALLING.test(target) &&
      !typeOnly &&
      !HARMLESS.test(names.replace(/[{}\s,]/g, '')) &&
      file !== 'delivery/request.ts' &&
      !file.startsWith('cli/'),
  },
];

const IMPORT = /\b(?:import|export)\s+(type\s+)?((?:[\w*$\s,]|\{[^}]*\})*?)\s*(?:from\s*)?['"]([^'"]+)['"]/g;
const DYNAMIC_IMPORT = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;
/** `const { STATUS_CODES } = process.getBuiltinModule('node:http')`, or what `require` gives. */
const REQUIRED =
  /\bconst\s+([\w$]+|\{[^}]*\})\s*=\s*(?:process\.getBuiltinModule|require)\(\s*['"]([^'"]+)['"]\s*\)/g;

const source = join(import.meta.dirname, '../packages/server/src');
const broken = globSync('**/*.ts', { cwd: source })
  .map((file) => file.split(sep).join('/'))
  .toSorted()
  .flatMap((file) =>
    importsOf(file).flatMap((imported) =>
      RULES.filter((rule) => rule.broken(file, imported)).map(
        (rule) => `packages/server/src/${file} imports ${imported.target}: ${rule.says}`,
      ),
    ),
  );

for (const line of broken) console.error(line);
process.exitCode = broken.length > 0 ? 1 : 0;

function importsOf(file: string): Import[] {
  const text = readFileSync(join(source, file), 'utf8');
  const imports: Import[] = [];
  for (const [, type, names = '', specifier = ''] of text.matchAll(IMPORT)) {
    imports.push({ target: targetOf(file, specifier), typeOnly: type !== undefined, names });
  }
  for (const [, specifier = ''] of text.matchAll(DYNAMIC_IMPORT)) {
    imports.push({ target: targetOf(file, specifier), typeOnly: false, names: '' });
  }
  for (const [, names = '', specifier = ''] of text.matchAll(REQUIRED)) {
    imports.push({ target: targetOf(file, specifier), typeOnly: false, names });
  }
  return imports;
}

function targetOf(file: string, specifier: string): string {
  if (!specifier.startsWith('.')) return specifier;
  const absolute = join(source, dirname(file), specifier);
  return relative(source, absolute).split(sep).join('/');
}

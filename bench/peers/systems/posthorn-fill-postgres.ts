import pg from 'pg';
import { OF_EVENTS, type RowCopier } from './posthorn-fill.ts';

const { escapeIdentifier } = pg;

/** Copies rows within a database of Posthorn's. */
export async function openPostgresCopier(url: string): Promise<RowCopier> {
  const client = new pg.Client({ connectionString: url, application_name: 'bench fill' });
  await client.connect();
  // What is being filled may be lost: only what is measured has to be durable.
  await client.query('SET synchronous_commit = off');
  return {
    async tables() {
      const { rows } = await client.query<{ name: string; columns: string[] }>(
        `SELECT c.oid::regclass::text AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'posthorn'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = '' AND a.attgenerated = ''
         GROUP BY c.oid
         HAVING 'username' = ANY (array_agg(a.attname)) AND array_agg(a.attname::text) && $1::text[]`,
        [OF_EVENTS],
      );
      return rows.map(({ name, columns }) => ({
        name,
        columns: columns.map((column) => columnName(column)),
      }));
    },
    async run(statements) {
      await client.query('BEGIN');
      for (const statement of statements) await client.query(statement);
      await client.query('COMMIT');
    },
    async settle() {
      await client.query('VACUUM (ANALYZE)');
      await client.query('CHECKPOINT');
    },
    async close() {
      await client.end();
    },
  };
}

/** Quoted only where it has to be, since the copying looks at the names. */
function columnName(name: string): string {
  return /^[a-z_]+$/.test(name) ? name : escapeIdentifier(name);
}

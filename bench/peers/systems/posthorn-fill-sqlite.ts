import Database from 'better-sqlite3';
import type { RowCopier } from './posthorn-fill.ts';

interface ColumnRow {
  table: string;
  column: string;
  type: string;
  pk: number;
}

/** Copies rows within a file of Posthorn's that nobody else has open. */
export async function openSqliteCopier(file: string): Promise<RowCopier> {
  const db = new Database(file, { fileMustExist: true });
  // A file of the benchmark may be lost in a power cut while it is being filled.
  db.pragma('synchronous = OFF');
  db.pragma('cache_size = -262144');
  return {
    async tables() {
      const rows = db
        .prepare(
          `SELECT t.name AS "table", c.name AS "column", c.type, c.pk
           FROM pragma_table_list t JOIN pragma_table_info(t.name) c
           WHERE t.type = 'table' AND t.schema = 'main' ORDER BY t.name, c.cid`,
        )
        .all() as ColumnRow[];
      return [...Map.groupBy(rows, ({ table }) => table)]
        .filter(([, columns]) => {
          const names = new Set(columns.map(({ column }) => column));
          return names.has('username') && (names.has('event_id') || names.has('delivery_id'));
        })
        .map(([name, columns]) => ({
          name,
          columns: columns
            // SQLite numbers these itself.
            .filter(({ type, pk }) => !(type === 'INTEGER' && pk === 1))
            .map(({ column }) => column),
        }));
    },
    async run(statements) {
      db.transaction(() => {
        for (const statement of statements) db.exec(statement);
      })();
    },
    async settle() {
      db.pragma('wal_checkpoint(TRUNCATE)');
    },
    async close() {
      db.close();
    },
  };
}

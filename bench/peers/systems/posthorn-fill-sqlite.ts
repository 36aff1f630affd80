import Database from 'better-sqlite3';
import { OF_EVENTS, type RowCopier } from './posthorn-fill.ts';

interface ColumnRow {
  table: string;
  column: string;
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
          `SELECT t.name AS "table", c.name AS "column"
           FROM pragma_table_list t JOIN pragma_table_info(t.name) c
           WHERE t.type = 'table' AND t.schema = 'main' ORDER BY t.name, c.cid`,
        )
        .all() as ColumnRow[];
      return [...Map.groupBy(rows, ({ table }) => table)]
        .filter(([, columns]) => {
          const names = new Set(columns.map(({ column }) => column));
          return names.has('username') && OF_EVENTS.some((column) => names.has(column));
        })
        .map(([name, columns]) => ({ name, columns: columns.map(({ column }) => column) }));
    },
    async run(statements) {
      db.transaction(() => {
        for (const statement of statements) db.exec(statement);
      })();
    },
    async settle() {
      // Now everything goes to the disk, or the system would still be writing it while others are measured.
      db.pragma('synchronous = FULL');
      db.pragma('wal_checkpoint(TRUNCATE)');
    },
    async close() {
      db.close();
    },
  };
}

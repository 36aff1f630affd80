import { type EventTypeRow, eventTypeSubscribed, toEventType } from '../account-rows.ts';
import { stringifyOrNull } from '../columns.ts';
import type { EngineContext, Operations } from './engine.ts';
import { decodeText, encodeText } from './text.ts';

export function eventTypeOperations({
  query,
  transaction,
  notify,
}: EngineContext): Operations<'listEventTypes' | 'putEventType' | 'deleteEventType'> {
  return {
    async listEventTypes() {
      const rows = await query<EventTypeRow>(
        `SELECT name, category, description, schema, example, deprecated, built_in
         FROM posthorn.event_type ORDER BY position`,
      );
      return rows.map((row) =>
        toEventType({
          ...row,
          category: decodeText(row.category),
          description: decodeText(row.description),
        }),
      );
    },

    putEventType: (type) =>
      transaction(async (sql) => {
        await sql.query(
          `INSERT INTO posthorn.event_type (name, category, description, schema, example, deprecated, built_in)
           VALUES ($1, $2, $3, $4, $5, $6, $7)
           ON CONFLICT (name) DO UPDATE SET category = excluded.category, description = excluded.description,
             schema = excluded.schema, example = excluded.example, deprecated = excluded.deprecated`,
          [
            type.name,
            encodeText(type.category),
            encodeText(type.description),
            JSON.stringify(type.schema),
            stringifyOrNull(type.example),
            type.deprecated,
            type.builtIn,
          ],
        );
        await notify(sql, { kind: 'catalogue' });
      }),

    deleteEventType: (name) =>
      transaction(async (sql) => {
        const [subscribed] = await sql.query<{ n: number }>(
          'SELECT count(*) AS n FROM posthorn.subscription WHERE event = $1',
          [name],
        );
        const n = subscribed?.n ?? 0;
        if (n > 0) throw eventTypeSubscribed(name, n);
        const deleted = await sql.query('DELETE FROM posthorn.event_type WHERE name = $1 RETURNING 1', [
          name,
        ]);
        if (deleted.length === 0) return false;
        await notify(sql, { kind: 'catalogue' });
        return true;
      }),
  };
}

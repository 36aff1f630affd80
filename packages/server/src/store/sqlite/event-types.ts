import { type EventTypeRow, eventTypeSubscribed, toEventType } from '../account-rows.ts';
import { stringifyOrNull } from '../columns.ts';
import type { EngineContext, SyncStore } from './engine.ts';

export function eventTypeOperations({
  db,
}: EngineContext): Pick<SyncStore, 'listEventTypes' | 'putEventType' | 'deleteEventType'> {
  const list = db.prepare<[], EventTypeRow>('SELECT * FROM event_type ORDER BY position');
  const upsert = db.prepare(
    `INSERT INTO event_type (name, category, description, schema, example, deprecated, built_in)
     VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (name) DO UPDATE SET category = excluded.category, description = excluded.description,
       schema = excluded.schema, example = excluded.example, deprecated = excluded.deprecated`,
  );
  const subscribed = db.prepare<[string], { n: number }>(
    'SELECT count(*) AS n FROM subscription WHERE event = ?',
  );
  const remove = db.prepare<[string]>('DELETE FROM event_type WHERE name = ?');

  return {
    listEventTypes: () => list.all().map(toEventType),

    putEventType(type) {
      upsert.run(
        type.name,
        type.category,
        type.description,
        JSON.stringify(type.schema),
        stringifyOrNull(type.example),
        type.deprecated ? 1 : 0,
        type.builtIn ? 1 : 0,
      );
    },

    deleteEventType(name) {
      const { n } = subscribed.get(name) as { n: number };
      if (n > 0) throw eventTypeSubscribed(name, n);
      return remove.run(name).changes === 1;
    },
  };
}

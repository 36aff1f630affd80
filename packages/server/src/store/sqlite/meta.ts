import type { EngineContext, SyncStore } from './engine.ts';

export function metaOperations({ db }: EngineContext): Pick<SyncStore, 'getMeta' | 'initMeta' | 'setMeta'> {
  const select = db.prepare<[string], { value: string }>('SELECT value FROM meta WHERE name = ?');
  const insert = db.prepare<[string, string]>(
    'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING',
  );
  const replace = db.prepare<[string, string]>(
    'INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value',
  );
  return {
    getMeta: (name) => select.get(name)?.value ?? null,
    initMeta(name, value) {
      insert.run(name, value);
      return select.get(name)?.value ?? value;
    },
    setMeta(name, value) {
      replace.run(name, value);
    },
  };
}

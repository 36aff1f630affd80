import type { EngineContext, Operations } from './engine.ts';

export function metaOperations({ query }: EngineContext): Operations<'getMeta' | 'initMeta' | 'setMeta'> {
  async function find(name: string): Promise<string | null> {
    const [row] = await query<{ value: string }>('SELECT value FROM posthorn.meta WHERE name = $1', [name]);
    return row?.value ?? null;
  }

  return {
    getMeta: find,

    async initMeta(name, value) {
      // Waits for another caller's insert; a statement after it sees what that one committed.
      await query('INSERT INTO posthorn.meta (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
        name,
        value,
      ]);
      return (await find(name)) ?? value;
    },

    async setMeta(name, value) {
      await query(
        `INSERT INTO posthorn.meta (name, value) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
        [name, value],
      );
    },
  };
}

import type { EngineContext, Operations } from './engine.ts';

/** After it changes that were not taken may be forgotten, see 0004: then everything counts as changed. */
const REMEMBERED_MS = 300_000;

interface Look {
  /** All older transactions had ended when it was made. */
  xmin: string;
  now: number;
  changes: [id: number, endpointId: string | null][];
}

export function changeOperations({ query }: EngineContext): Operations<'takeChanges'> {
  let last: Look | null = null;

  return {
    async takeChanges() {
      const [look] = await query<Look>(
        `SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS xmin, posthorn.now_ms() AS now,
           (SELECT coalesce(json_agg(json_build_array(id, endpoint_id) ORDER BY id), '[]') FROM posthorn.change
            WHERE xid >= coalesce($1::text::xid8, pg_snapshot_xmin(pg_current_snapshot()))) AS changes`,
        [last?.xmin ?? null],
      );
      if (look === undefined) return { catalogue: false, endpointIds: [] };
      const before = last;
      last = look;
      if (before === null) return { catalogue: false, endpointIds: [] };
      // A transaction that stays open for long lets what came after it be seen in every look.
      const known = new Set(before.changes.map(([id]) => id));
      const fresh = look.changes.filter(([id]) => !known.has(id)).map(([, endpointId]) => endpointId);
      const missed = look.now - before.now > REMEMBERED_MS;
      return {
        catalogue: missed || fresh.includes(null),
        endpointIds: [...new Set(fresh.filter((endpointId) => endpointId !== null))],
      };
    },
  };
}

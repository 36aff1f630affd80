import { statfsSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { knownSchemaVersion } from './database.ts';
import type { EngineContext, SyncStore } from './engine.ts';

export function stateOperations({ db, now }: EngineContext): Pick<SyncStore, 'state' | 'schema'> {
  const known = knownSchemaVersion();
  const newest = db.prepare<[], { version: number }>(
    'SELECT ifnull(max(version), 0) AS version FROM schema_migration',
  );
  return {
    schema: () => ({ version: newest.get()?.version ?? 0, known }),

    state() {
      const value = (name: string): number => Number(db.pragma(name, { simple: true }));
      const disk = statfsSync(dirname(db.name));
      const version = db.prepare<[], string>('SELECT sqlite_version()').pluck().get() as string;
      const leases = db
        .prepare<[number], number>('SELECT count(*) FROM queue WHERE leased = 1 AND due_at > ?')
        .pluck()
        .get(now()) as number;
      return {
        engine: 'sqlite',
        version: `SQLite ${version}`,
        sizeBytes: value('page_count') * value('page_size'),
        freeBytes: disk.blocks === 0 ? null : disk.bavail * disk.bsize,
        // Nobody else can have the file open.
        nodes: [
          {
            name: `${hostname()}:${process.pid}`,
            // By the caller's clock: this thread knows the time of calls only.
            startedAt: Math.round(now() - process.uptime() * 1000),
            seenAt: now(),
            delivers: true,
            leases,
            isThis: true,
          },
        ],
      };
    },
  };
}

/**
 * The receiver that each example beside this file mounts. What it has handled it remembers in SQLite, so that neither a
 * duplicate nor a restart runs a handler twice.
 *
 *   npm run build && WEBHOOK_SECRET=whsec_… npm exec -- node examples/receive/express.ts
 */
import { DatabaseSync } from 'node:sqlite';
import { createReceiver } from '@posthorn/receiver';
import { sqlIdempotency } from '@posthorn/receiver/idempotency';
import { closeOnSignal } from '@posthorn/receiver/node';

const database = new DatabaseSync(process.env.HANDLED_DB ?? 'handled.db');
database.exec('PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 2000');
const idempotency = sqlIdempotency(
  {
    execute: async (sql, values) => Number(database.prepare(sql).run(...values).changes),
    query: async (sql, values) => database.prepare(sql).all(...values),
  },
  { dialect: 'sqlite' },
);
await idempotency.ensureTable();

export const receiver = createReceiver({
  secrets: process.env.WEBHOOK_SECRET?.split(','), // two while one is rotated
  idempotency,
  on: {
    generated_video_success: async ({ event_id, event, data }) =>
      console.log('handled', event_id, event, data.video_url),
    generated_video_failed: async ({ event_id, event, data }) =>
      console.log('handled', event_id, event, data.error.message),
  },
  onUnknown: async ({ event_id, event }) => console.log('handled', event_id, event),
});
closeOnSignal(receiver); // SIGTERM: refuse what is new, finish what was accepted, end

/**
 * A receiver in a process of its own, which remembers in SQLite and tells its parent its port and what it does. Arguments: the
 * database, and of which event on its handler never ends.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Database from 'better-sqlite3';
import { closeOnSignal, nodeHandler } from '../../src/adapters/node.ts';
import { sqlIdempotency } from '../../src/idempotency/index.ts';
import { createReceiver, type WebhookEvent } from '../../src/index.ts';

const [path = '', hangAt = ''] = process.argv.slice(2);
const database = new Database(path);
database.pragma('journal_mode = WAL');
const idempotency = sqlIdempotency(
  {
    execute: async (sql, values) => database.prepare(sql).run(...values).changes,
    query: async (sql, values) => database.prepare(sql).all(...values) as object[],
  },
  { dialect: 'sqlite' },
);
await idempotency.ensureTable();

/** Resolves when the parent has it, so that what was told happened before a kill. */
function tell(step: string, event: string): Promise<void> {
  return new Promise((resolve) => process.send?.({ step, event }, () => resolve()));
}

let begun = 0;
const receiver = createReceiver<Record<string, Record<string, unknown>>>({
  secrets: process.env.WEBHOOK_SECRET ?? '',
  idempotency,
  leaseMs: 500,
  on: {},
  onUnknown: async ({ event }: WebhookEvent) => {
    await tell('begun', event);
    if (++begun >= Number(hangAt)) await new Promise(() => {});
    await tell('handled', event);
  },
  onError: () => {},
});
const server = createServer(nodeHandler(receiver)).listen(0, '127.0.0.1', () => {
  process.send?.({ port: (server.address() as AddressInfo).port });
});
closeOnSignal(receiver, { server });

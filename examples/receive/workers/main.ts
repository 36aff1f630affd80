/**
 * A Cloudflare Worker. Isolates come and go and there are many at a time, so a Durable Object remembers what was handled:
 * its calls are the receiver's idempotency store.
 */
import { DurableObject } from 'cloudflare:workers';
import { createReceiver } from '@posthorn/receiver';
import { type IdempotencyStore, sqlIdempotency } from '@posthorn/receiver/idempotency';
import { workersHandler } from '@posthorn/receiver/workers';

interface Env {
  WEBHOOK_SECRET: string;
  HANDLED: { getByName(name: string): IdempotencyStore };
}

export class HandledEvents extends DurableObject {
  readonly #store = sqlIdempotency(
    {
      execute: async (sql, values) => {
        this.ctx.storage.sql.exec(sql, ...values);
        return Number(this.ctx.storage.sql.exec('SELECT changes() AS n').one().n); // rowsWritten counts the index, too
      },
      query: async (sql, values) => this.ctx.storage.sql.exec(sql, ...values).toArray(),
    },
    { dialect: 'sqlite' },
  );
  readonly #ready = this.#store.ensureTable();

  async reserve(...call: Parameters<IdempotencyStore['reserve']>): ReturnType<IdempotencyStore['reserve']> {
    await this.#ready;
    return this.#store.reserve(...call);
  }

  complete(...call: Parameters<IdempotencyStore['complete']>): Promise<boolean> {
    return this.#store.complete(...call);
  }

  release(...call: Parameters<IdempotencyStore['release']>): Promise<void> {
    return this.#store.release(...call);
  }
}

/** A stub serves the request that it was made in and no other, so each step makes its own. */
function handledEvents({ HANDLED }: Env): IdempotencyStore {
  return {
    reserve: (...call) => HANDLED.getByName('handled').reserve(...call),
    complete: (...call) => HANDLED.getByName('handled').complete(...call),
    release: (...call) => HANDLED.getByName('handled').release(...call),
  };
}

export default workersHandler(
  (env: Env) =>
    createReceiver({
      secrets: env.WEBHOOK_SECRET,
      idempotency: handledEvents(env),
      on: {
        generated_video_success: async ({ event_id, event, data }) =>
          console.log('handled', event_id, event, data.video_url),
      },
      onUnknown: async ({ event_id, event }) => console.log('handled', event_id, event),
    }),
  { path: '/hooks' },
);

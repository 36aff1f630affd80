/**
 * Each peer delivers, signs and retries as the benchmark supposes. Needs `npm ci` here, and a redis-server for BullMQ:
 * `npm run test:peers` in `bench/peers`.
 */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { eventId, makeData, makeFleet } from '../events.ts';
import { RunSite } from '../site.ts';
import { bullmq } from '../systems/bullmq.ts';
import { graphileWorker } from '../systems/graphile-worker.ts';
import { pgBoss } from '../systems/pg-boss.ts';
import { EVENT_TYPE, type Fleet, type Running, type System } from '../system.ts';

const RUN = 'peers0';
const EVENTS = 1_000;
const ENDPOINTS = 3;
const PUBLISHERS = 20;
const PATIENCE_MS = 60_000;

describe('the peers of the benchmark', () => {
  let site: RunSite;
  let receiver: Receiver;
  let fleet: Fleet;
  before(async () => {
    site = await RunSite.open();
    receiver = await Receiver.listen();
    fleet = makeFleet(1, ENDPOINTS, receiver.port);
    await writeFile(site.fleetFile, JSON.stringify(fleet));
  });
  after(async () => {
    receiver.close();
    await site.remove();
  });

  const peers = [bullmq('always'), bullmq('everysec'), bullmq('always', true), pgBoss(), graphileWorker()];
  for (const system of peers) {
    describe(system.name, () => {
      let missing: string | undefined;
      before(async () => {
        const isAvailable = await system.isAvailable();
        if (isAvailable !== true) missing = isAvailable;
      });
      after(() => system.tearDown());

      it('delivers every event to every endpoint, signed, what was accepted before a restart too', async (t) => {
        if (missing !== undefined) return t.skip(missing);
        await system.setUp(site, fleet);
        receiver.expect(fleet);
        await serving(system, 'ingest', (running) => publish(running, 0, EVENTS / 2));
        assert.equal(receiver.pairs.size, 0, 'ingest delivers nothing');
        await serving(system, 'both', async (running) => {
          await publish(running, EVENTS / 2, EVENTS);
          await receiver.arrived(EVENTS * ENDPOINTS);
        });
        assert.deepEqual(receiver.wrong, []);
        assert.equal(receiver.pairs.size, EVENTS * ENDPOINTS);
      });

      it('tries again what a receiver refused, and refuses requests without the key', async (t) => {
        if (missing !== undefined) return t.skip(missing);
        await system.setUp(site, fleet);
        receiver.expect(fleet, { refuseFirst: true });
        await serving(system, 'both', async (running) => {
          assert.equal(await post({ ...running, apiKey: 'wrong' }, 0), 401);
          assert.equal(await post(running, 0), 200);
          await receiver.arrived(ENDPOINTS);
        });
        assert.deepEqual(receiver.wrong, []);
      });

      const once = system.family === 'same-work';
      it(`takes an event id ${once ? 'once, and no other content for it' : 'as often as it comes'}`, async (t) => {
        if (missing !== undefined) return t.skip(missing);
        await system.setUp(site, fleet);
        receiver.expect(fleet);
        await serving(system, 'both', async (running) => {
          assert.equal(await post(running, 0), 200);
          await receiver.arrived(ENDPOINTS);
          assert.equal(await post(running, 0), 200);
          assert.equal(await post(running, 0, { ...makeData(), note: 'changed' }), once ? 409 : 200);
          assert.equal(await post(running, 0, { note: 'not what its schema asks for' }), once ? 400 : 200);
        });
        // What was taken is delivered before the end in order.
        assert.equal(receiver.requests > ENDPOINTS, !once);
      });

      it('keeps waiting deliveries that were filled in waiting, and delivers new ones beside them', async (t) => {
        if (missing !== undefined) return t.skip(missing);
        await system.setUp(site, fleet);
        await system.fill?.({ finished: 500, pending: 500 });
        receiver.expect(fleet);
        await serving(system, 'both', async (running) => {
          await publish(running, 0, 50);
          await receiver.arrived(50 * ENDPOINTS);
        });
        assert.deepEqual(receiver.wrong, []);
        assert.equal(receiver.pairs.size, 50 * ENDPOINTS);
      });
    });
  }
});

async function serving(
  system: System,
  mode: 'ingest' | 'both',
  use: (running: Running) => Promise<void>,
): Promise<void> {
  const running = await system.start(mode);
  try {
    await use(running);
  } finally {
    await running.stop();
  }
}

async function publish(running: Running, from: number, to: number): Promise<void> {
  let next = from;
  const publisher = async (): Promise<void> => {
    while (next < to) {
      const number = next;
      next += 1;
      assert.equal(await post(running, number), 200);
    }
  };
  await Promise.all(Array.from({ length: PUBLISHERS }, publisher));
}

/** The request as the load generator sends it; answers the status. */
async function post(
  { port, apiKey }: Pick<Running, 'port' | 'apiKey'>,
  number: number,
  data: object = makeData(),
): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${port}/v2/publish`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': apiKey },
    body: JSON.stringify({
      username: 'bench-00000',
      event: EVENT_TYPE,
      event_id: eventId(RUN, number),
      data,
    }),
  });
  await response.arrayBuffer();
  return response.status;
}

/** Notes which event came to which endpoint, and checks every signature. */
class Receiver {
  pairs = new Set<string>();
  wrong: string[] = [];
  requests = 0;
  readonly port: number;
  readonly #server: Server;
  #secrets = new Map<string, string>();
  #refused = new Set<string>();
  #refusesFirst = false;
  #awaited: { pairs: number; reached(): void } | undefined;

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on('request', async (request: IncomingMessage, response) => {
      const body = Buffer.concat(await request.toArray());
      response.writeHead(this.#take(request, body)).end();
    });
  }

  static async listen(): Promise<Receiver> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Receiver(server);
  }

  /** Forgets what came so far. */
  expect({ accounts }: Fleet, { refuseFirst = false } = {}): void {
    this.pairs = new Set();
    this.wrong = [];
    this.requests = 0;
    this.#refused = new Set();
    this.#refusesFirst = refuseFirst;
    const endpoints = accounts.flatMap((account) => account.endpoints);
    this.#secrets = new Map(endpoints.map(({ url, secret }) => [new URL(url).pathname, secret]));
  }

  async arrived(pairs: number): Promise<void> {
    if (this.pairs.size >= pairs) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const patience = setTimeout(
      () =>
        reject(new Error(`${this.pairs.size} of ${pairs} deliveries arrived within ${PATIENCE_MS / 1000} s`)),
      PATIENCE_MS,
    );
    this.#awaited = { pairs, reached: resolve };
    await promise.finally(() => clearTimeout(patience));
    this.#awaited = undefined;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #take({ url = '', headers }: IncomingMessage, body: Buffer): number {
    this.requests += 1;
    const { event_id: id, event, data } = JSON.parse(body.toString()) as Record<string, unknown>;
    const pair = `${String(id)} ${url}`;
    const isRight =
      headers['x-webhook-signature'] ===
        createHmac('sha256', this.#secrets.get(url) ?? '')
          .update(body)
          .digest('hex') &&
      headers['webhook-id'] === id &&
      headers['x-webhook-event'] === event &&
      JSON.stringify(data) === JSON.stringify(makeData());
    if (!isRight) this.wrong.push(pair);
    if (this.#refusesFirst && !this.#refused.has(pair)) {
      this.#refused.add(pair);
      return 503;
    }
    this.pairs.add(pair);
    if (this.#awaited !== undefined && this.pairs.size >= this.#awaited.pairs) this.#awaited.reached();
    return 204;
  }
}

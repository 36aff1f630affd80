/** Promises 1 and 2 of the design against real SIGKILLs: what was acknowledged arrives, and little arrives twice. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text as textOf } from 'node:stream/consumers';
import { after, before, it } from 'node:test';
import { type RunningService, startService } from './cli/harness.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

/** Each cycle is a start, a load and a SIGKILL. */
const CYCLES = Number(process.env.POSTHORN_TEST_CRASH_CYCLES ?? 3);
/** Decides when the kills fall; a failure says it, so that it can be played again. */
const SEED = Number(process.env.POSTHORN_TEST_CRASH_SEED ?? Date.now() % 1_000_000);
const PUBLISHERS = 8;
const ENDPOINTS = 3;
const IN_FLIGHT_LIMIT = 24;
/** Acknowledged events of a cycle between which the kill falls. */
const EARLIEST_KILL = 5;
const LATEST_KILL = 250;
const DRAIN_LIMIT_MS = 60_000;
const OPERATOR_KEY = 'crash-test-operator-key-'.padEnd(48, '0');

/** A small seeded generator (mulberry32): the same seed, the same kills. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

let folder: TempDir;
let receiver: Server;
let service: RunningService | null = null;
/** Arrivals by `path event_id`. */
const arrivals = new Map<string, number>();

before(async () => {
  folder = await tempDir();
  receiver = createServer(async (request, response) => {
    let body: string;
    try {
      body = await textOf(request);
    } catch {
      // The service was killed while it sent: nothing has arrived.
      return;
    }
    const key = `${request.url} ${(JSON.parse(body) as { event_id: string }).event_id}`;
    arrivals.set(key, (arrivals.get(key) ?? 0) + 1);
    response.end();
  }).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
});

after(async () => {
  service?.kill('SIGKILL');
  await service?.ended;
  receiver.close();
  receiver.closeAllConnections();
  await folder.remove();
});

async function start(): Promise<RunningService> {
  service = await startService(folder.path, {
    env: {
      POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
      POSTHORN_ENDPOINT_POLICY: 'development',
      POSTHORN_RATE_LIMIT_POST: 'off',
      POSTHORN_RETRY_SCHEDULE: '100ms,200ms,500ms,1s,1s',
      POSTHORN_IN_FLIGHT: String(IN_FLIGHT_LIMIT),
      POSTHORN_LOG_LEVEL: 'warn',
    },
  });
  return service;
}

async function call<T>(
  url: string,
  method: string,
  path: string,
  body?: object,
  account?: string,
): Promise<T> {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: {
      'x-api-key': OPERATOR_KEY,
      ...(account === undefined ? {} : { 'x-account': account }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = (await response.json()) as { code: number; msg: string; data: T };
  assert.equal(answer.code, 0, `${method} ${path}: ${answer.msg}`);
  return answer.data;
}

async function unfinished(url: string): Promise<number> {
  const { deliveries } = await call<{ deliveries: unknown[] }>(
    url,
    'GET',
    '/v2/deliveries?status=pending&limit=200',
    undefined,
    'alice',
  );
  return deliveries.length;
}

it(`delivers every acknowledged event after ${CYCLES} SIGKILLs under load, and repeats at most what was in flight (seed ${SEED})`, async () => {
  const random = seeded(SEED);
  const acknowledged: string[] = [];
  let nextId = 0;

  for (let cycle = 0; cycle < CYCLES; cycle++) {
    const running = await start();
    if (cycle === 0) {
      await call(running.url, 'POST', '/v2/account', { username: 'alice' });
      const { port } = receiver.address() as AddressInfo;
      for (let i = 0; i < ENDPOINTS; i++) {
        const endpoint = { url: `http://127.0.0.1:${port}/${i}`, events: ['generated_image_success'] };
        await call(running.url, 'POST', '/v2/endpoint', endpoint, 'alice');
      }
    }

    const killAfter = EARLIEST_KILL + Math.floor(random() * (LATEST_KILL - EARLIEST_KILL));
    const acknowledgedBefore = acknowledged.length;
    let killed = false;
    const publishers = Array.from({ length: PUBLISHERS }, async () => {
      while (!killed) {
        const eventId = `evt-${nextId++}`;
        const body = {
          username: 'alice',
          event: 'generated_image_success',
          data: { task_id: eventId, status: 'completed', image_urls: ['https://example.com/a.png'] },
          event_id: eventId,
        };
        try {
          await call(running.url, 'POST', '/v2/publish', body);
        } catch (error) {
          // Only the kill may take an answer; whether that event was stored is open.
          if (killed) return;
          throw error;
        }
        acknowledged.push(eventId);
        if (!killed && acknowledged.length - acknowledgedBefore >= killAfter) {
          killed = true;
          running.kill('SIGKILL');
        }
      }
    });
    await Promise.all(publishers);
    await running.ended;
  }

  const last = await start();
  const deadline = Date.now() + DRAIN_LIMIT_MS;
  while ((await unfinished(last.url)) > 0) {
    assert.ok(Date.now() < deadline, 'deliveries are still pending');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  for (const status of ['dead', 'cancelled']) {
    const path = `/v2/deliveries?status=${status}`;
    const { deliveries } = await call<{ deliveries: unknown[] }>(last.url, 'GET', path, undefined, 'alice');
    assert.deepEqual(deliveries, [], `${status} deliveries`);
  }
  last.kill('SIGTERM');
  assert.equal(await last.ended, 0);

  assert.ok(acknowledged.length >= CYCLES * EARLIEST_KILL);
  const missing = acknowledged.flatMap((eventId) =>
    Array.from({ length: ENDPOINTS }, (_, i) => `/${i} ${eventId}`).filter((key) => !arrivals.has(key)),
  );
  assert.deepEqual(missing, [], `acknowledged, but never arrived (of ${acknowledged.length} events)`);

  // A dispatcher holds up to twice the limit: what runs, and what has ended and isn't on disk yet.
  const repeats = [...arrivals.values()].reduce((sum, count) => sum + count - 1, 0);
  assert.ok(repeats <= CYCLES * 2 * IN_FLIGHT_LIMIT, `${repeats} deliveries arrived more than once`);
});

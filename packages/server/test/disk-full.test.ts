/** hostile-inputs.md, "disk full": refuses with 503, acknowledges nothing that isn't stored, recovers by itself. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, it } from 'node:test';
import { type RunningService, startService } from './cli/harness.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

const OPERATOR_KEY = 'disk-full-test-operator-key-'.padEnd(48, '0');
/** No file of the service may grow beyond it: to SQLite, a disk that is full. */
const FULL_AT_BYTES = 1_500_000;
const MOST_EVENTS = 500;

let folder: TempDir;
let receiver: Server;
let service: RunningService;
const arrived = new Set<string>();

before(async () => {
  folder = await tempDir();
  receiver = createServer((request, response) => {
    arrived.add(String(request.headers['webhook-id']));
    request.resume().once('end', () => response.end());
  }).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  service = await startService(folder.path, {
    env: {
      POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
      POSTHORN_ENDPOINT_POLICY: 'development',
      POSTHORN_RATE_LIMIT_POST: 'off',
    },
  });
});

after(async () => {
  service?.kill('SIGKILL');
  await service?.ended;
  receiver.close();
  receiver.closeAllConnections();
  await folder.remove();
});

async function call(method: string, path: string, body?: object) {
  const response = await fetch(`${service.url}${path}`, {
    method,
    headers: { 'x-api-key': OPERATOR_KEY, 'x-account': 'alice', 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = (await response.json()) as { code: number; msg: string; data: Record<string, unknown> };
  return { status: response.status, retryAfter: response.headers.get('retry-after'), ...answer };
}

function publish(eventId: string) {
  return call('POST', '/v2/publish', {
    username: 'alice',
    event: 'disk.filled',
    event_id: eventId,
    data: { filling: 'x'.repeat(60_000) },
  });
}

async function unfinished(): Promise<number> {
  const { data } = await call('GET', '/v2/deliveries?status=pending&limit=200');
  return (data.deliveries as unknown[]).length;
}

it('a full disk is a 503 that loses nothing, and the service goes on when there is room again', async (t) => {
  if (process.platform !== 'linux') return t.skip('prlimit is a tool of Linux');
  const { port } = receiver.address() as AddressInfo;
  await call('PUT', '/v2/event_type/disk.filled', { category: 'test', description: 'Fills the disk' });
  assert.equal((await call('POST', '/v2/account', { username: 'alice' })).code, 0);
  const url = `http://127.0.0.1:${port}/`;
  assert.equal((await call('POST', '/v2/endpoint', { url, events: ['disk.filled'] })).code, 0);

  execFileSync('prlimit', ['--pid', String(service.pid), `--fsize=${FULL_AT_BYTES}:`]);
  const acknowledged: string[] = [];
  let refusal: Awaited<ReturnType<typeof publish>> | null = null;
  for (let i = 0; i < MOST_EVENTS && refusal === null; i += 1) {
    const answer = await publish(`full-${i}`);
    if (answer.code === 0) acknowledged.push(`full-${i}`);
    else refusal = answer;
  }
  assert.ok(acknowledged.length > 5, 'some fitted');
  assert.ok(refusal, 'the disk never filled');
  assert.equal(refusal.status, 503);
  assert.equal(refusal.code, 50000);
  assert.ok(Number(refusal.retryAfter) >= 1);

  execFileSync('prlimit', ['--pid', String(service.pid), '--fsize=unlimited:']);
  const deadline = Date.now() + 20_000;
  while ((await publish('after')).code !== 0) assert.ok(Date.now() < deadline, 'it did not recover');
  acknowledged.push('after');
  while ((await unfinished()) > 0) assert.ok(Date.now() < deadline, 'deliveries are stuck');
  assert.deepEqual(
    acknowledged.filter((id) => !arrived.has(id)),
    [],
  );
});

import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import { callCli, type RunningService, runCli, startService } from './harness.ts';

const RETRIES = 2;

let folder: string;
let service: RunningService;
let receiver: Server;
/** Emits `arrived` with the parsed body of each POST that it answered. */
const arrivals = new EventEmitter();
let receiverStatus = 200;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'posthorn-e2e-'));
  receiver = createServer(async (request, response) => {
    const body = JSON.parse(await textOf(request));
    response.writeHead(receiverStatus).end();
    arrivals.emit('arrived', body);
  }).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  service = await startService(folder, {
    env: {
      POSTHORN_ENDPOINT_POLICY: 'development',
      POSTHORN_RETRY_SCHEDULE: Array(RETRIES).fill('20ms').join(','),
    },
  });
});
after(async () => {
  service.kill('SIGTERM');
  assert.equal(await service.ended, 0);
  receiver.close();
  receiver.closeAllConnections();
  rmSync(folder, { recursive: true });
});

/** Runs a command with a key, expects it to succeed and gives back its JSON. */
async function asJson<T>(key: string, ...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await runCli([...args, '--json'], {
    env: { POSTHORN_URL: service.url, POSTHORN_API_KEY: key },
  });
  assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

/** The parsed body of the next POST; rejects when none comes. */
async function nextArrival(): Promise<{ event_id: string }> {
  const [body] = await once(arrivals, 'arrived', { signal: AbortSignal.timeout(20_000) });
  return body;
}

interface Delivery {
  delivery_id: string;
  event_id: string;
  status: string;
  attempts: number;
}

describe('the command line against a running service', () => {
  let operator: string;
  let account: string;
  let endpointId: string;

  it('creates an account and a key for it', async () => {
    operator = service.printedKey ?? '';
    await asJson(operator, 'account', 'create', 'alice', '--metadata', '{"plan":"pro"}');
    const { accounts } = await asJson<{ accounts: { username: string }[] }>(operator, 'account', 'list');
    assert.deepEqual(
      accounts.map(({ username }) => username),
      ['alice'],
    );
    account = (await asJson<{ api_key: string }>(operator, 'key', 'create', 'backend', '--account', 'alice'))
      .api_key;
  });

  it('makes a link that signs a customer in, once', async () => {
    const before = Date.now() / 1000;
    const made = await asJson<{ url: string; expires_at: number }>(
      operator,
      ...['account', 'portal-link', 'alice', '--expires-in', '2m'],
    );
    assert.ok(Math.abs(made.expires_at - before - 120) < 60, String(made.expires_at - before));
    const { origin, pathname, hash } = new URL(made.url);
    assert.equal(`${origin}${pathname}`, `${service.url}/portal`);
    const open = () =>
      fetch(`${service.url}/dashboard/session`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-posthorn-csrf': '1' },
        body: JSON.stringify({ portal_token: hash.slice(1) }),
      });
    const first = await open();
    const { data } = (await first.json()) as { data: { username: string } };
    assert.deepEqual([first.status, data.username], [200, 'alice']);
    assert.equal((await open()).status, 401, 'the second time');
    // For people the link alone is on stdout, so that it can be piped.
    const printed = await runCli(['account', 'portal-link', 'alice'], {
      env: { POSTHORN_URL: service.url, POSTHORN_API_KEY: operator },
    });
    assert.match(printed.stdout, /^http:\S+\/portal#\S+\n$/);
    assert.match(printed.stderr, /signed in as alice: once, until/);
    const refused = await runCli(['account', 'portal-link', 'nobody'], {
      env: { POSTHORN_URL: service.url, POSTHORN_API_KEY: operator },
    });
    assert.notEqual(refused.code, 0);
    assert.match(refused.stderr, /nobody/);
  });

  it('says what the server says about a name that is taken', async () => {
    const { code, stderr } = await runCli([
      'account',
      'create',
      'alice',
      '--url',
      service.url,
      '--key',
      operator,
    ]);
    assert.match(stderr, /^posthorn: .*alice.*\(HTTP 409, code 40000, request req_\w+\)$/m);
    assert.equal(code, 1);
  });

  it('publishes an example and waits until it has arrived', async () => {
    const response = await fetch(`${service.url}/v2/endpoint`, {
      method: 'POST',
      headers: { 'x-api-key': account, 'content-type': 'application/json' },
      body: JSON.stringify({
        url: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`,
        events: ['generated_video_success'],
      }),
    });
    endpointId = ((await response.json()) as { data: { endpoint_id: string } }).data.endpoint_id;

    const arrived = nextArrival();
    const args = ['publish', 'generated_video_success', '--account', 'alice', '--example', '--wait'];
    const { code, stdout, stderr } = await runCli([...args, '--event-id', 'first'], {
      env: { POSTHORN_URL: service.url, POSTHORN_OPERATOR_KEY: operator },
    });
    assert.equal(code, 0, stderr);
    assert.match(stdout, new RegExp(`^${endpointId} +dlv_\\w+ +delivered +-$`, 'm'));
    const body = await arrived;
    assert.equal(body.event_id, 'first');
  });

  it('says that publishing it again sends nothing', async () => {
    const data = await asJson<{ duplicate: boolean }>(
      operator,
      'publish',
      'generated_video_success',
      '--account',
      'alice',
      '--example',
      '--event-id',
      'first',
    );
    assert.equal(data.duplicate, true);
  });

  it('lets the server refuse a number that JavaScript would round', async () => {
    const data = '{"video_id":"v","n":12345678901234567890}';
    const { code, stderr } = await callCli(
      ['publish', 'generated_video_success', '--account', 'alice', '--data', data, '--key', operator],
      { env: { POSTHORN_URL: service.url } },
    );
    assert.match(stderr, /\/n.*string/);
    assert.equal(code, 1);
  });

  it('lists deliveries for the operator and for the account itself, and shows one', async () => {
    const list = ['deliveries', 'list', '--event-id', 'first', '--status', 'delivered', '--since', '1h'];
    const seen = await asJson<{ deliveries: Delivery[] }>(account, ...list);
    assert.deepEqual(await asJson(operator, ...list, '--account', 'alice'), seen);
    assert.equal(seen.deliveries.length, 1);

    const deliveryId = seen.deliveries[0]?.delivery_id ?? '';
    const { stdout } = await runCli([
      'deliveries',
      'show',
      deliveryId,
      '--key',
      account,
      '--url',
      service.url,
    ]);
    assert.match(stdout, /^status +delivered$/m);
    assert.match(stdout, /^ +1 +\S+ \S+ +\d+ +success +200 +schedule +-$/m);
  });

  it('says --account when an operator forgets it', async () => {
    const { code, stderr } = await callCli(['deliveries', 'list', '--key', operator, '--url', service.url]);
    assert.match(stderr, /name the account with --account/);
    assert.equal(code, 1);
  });

  it('ends publish --wait with 1 when the endpoint refuses to the last', async () => {
    receiverStatus = 500;
    const args = ['publish', 'generated_video_success', '--account', 'alice', '--example', '--wait'];
    const { code, stderr } = await runCli([
      ...args,
      '--event-id',
      'second',
      '--key',
      operator,
      '--url',
      service.url,
    ]);
    assert.match(stderr, /1 of 1 not delivered/);
    assert.equal(code, 1);
    const { deliveries } = await asJson<{ deliveries: Delivery[] }>(
      account,
      'deliveries',
      'list',
      '--status',
      'dead',
    );
    assert.equal(deliveries.length, 1);
    assert.equal(deliveries[0]?.attempts, RETRIES + 1);
  });

  it('replays what failed once the endpoint is well again', async () => {
    receiverStatus = 200;
    const arrived = nextArrival();
    const state = await asJson<{ status: string; matched: number }>(
      account,
      'replay',
      'start',
      endpointId,
      '--since',
      '1h',
      '--wait',
    );
    assert.deepEqual([state.status, state.matched], ['done', 1]);
    const body = await arrived;
    assert.equal(body.event_id, 'second');
  });

  it('retries one delivery by hand', async () => {
    const { deliveries } = await asJson<{ deliveries: Delivery[] }>(
      account,
      'deliveries',
      'list',
      '--event-id',
      'first',
    );
    const arrived = nextArrival();
    const retried = await asJson<Delivery>(account, 'deliveries', 'retry', deliveries[0]?.delivery_id ?? '');
    assert.equal(retried.status, 'pending');
    const body = await arrived;
    assert.equal(body.event_id, 'first');
  });

  it('finds nothing wrong by doctor while the service runs', async () => {
    // With the settings of the service, as its users run it: its endpoints are on this machine.
    const { code, stdout } = await runCli(['doctor', '--url', service.url], {
      cwd: folder,
      env: { POSTHORN_ENDPOINT_POLICY: 'development' },
    });
    assert.match(stdout, /^✓ database /m);
    assert.match(stdout, /^✓ server +\S+ is ready$/m);
    assert.equal(code, 0, stdout);
  });

  it('suspends and activates the account, revokes its key, deletes it', async () => {
    await asJson(operator, 'account', 'suspend', 'alice');
    const refused = await callCli(['deliveries', 'list', '--key', account, '--url', service.url]);
    assert.match(refused.stderr, /code 18025/);
    await asJson(operator, 'account', 'activate', 'alice');

    const { api_keys } = await asJson<{ api_keys: { key_id: string }[] }>(
      operator,
      'key',
      'list',
      '--account',
      'alice',
    );
    await asJson(operator, 'key', 'revoke', api_keys[0]?.key_id ?? '');
    const revoked = await callCli(['deliveries', 'list', '--key', account, '--url', service.url]);
    assert.match(revoked.stderr, /code 10105/);

    await asJson(operator, 'account', 'delete', 'alice', '--yes');
    const gone = await callCli(['account', 'show', 'alice', '--key', operator, '--url', service.url]);
    assert.match(gone.stderr, /code 10104/);
  });
});

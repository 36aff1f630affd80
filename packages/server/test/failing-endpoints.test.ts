/** Endpoints that fail, over HTTP against a running service: probed through a SIGKILL, given up, told of, replayed. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { bodySignature } from '../src/delivery/sign.ts';
import { type RunningService, startService } from './cli/harness.ts';
import { Client } from './support/client.ts';
import { type Behaviour, neverAnswer, type Receiver, respond, startReceiver } from './support/receivers.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

const OPERATOR_KEY = 'failing-test-operator-key-'.padEnd(48, '0');
const EVENT = 'generated_image_success';
const OPERATIONAL = ['endpoint.failing', 'endpoint.recovered', 'endpoint.disabled', 'delivery.dead'];
const PROBE_AFTER = 3;
const ENV = {
  POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
  POSTHORN_ENDPOINT_POLICY: 'development',
  POSTHORN_RATE_LIMIT_POST: 'off',
  POSTHORN_RETRY_SCHEDULE: '1h,1h',
  POSTHORN_PROBE_AFTER: String(PROBE_AFTER),
  POSTHORN_PROBE_PAUSES: '1s',
  POSTHORN_OPERATIONS_ACCOUNT: 'on-call',
};
const TIME_LIMIT = { timeout: 120_000 };

interface Health {
  endpoint_id: string;
  state: string;
  failing_since: number | null;
  consecutive_failures: number;
  next_probe_at: number | null;
  last_success_at: number | null;
  disabled_reason: string | null;
  missed: { since: number; until: number | null } | null;
}

let folder: TempDir;
let service: RunningService;
let operator: Client;
/** Hears what is told to the operations account. */
let onCall: Receiver;
let accounts = 0;

async function start(): Promise<void> {
  service = await startService(folder.path, { env: ENV, longestRunMs: 110_000 });
  operator = new Client(service.url, OPERATOR_KEY);
}

async function add(username: string, url: string, events: string[]): Promise<{ id: string; secret: string }> {
  const endpoint = await operator.data<{ endpoint_id: string; secret: string }>('POST', '/v2/endpoint', {
    account: username,
    body: { url, events },
  });
  return { id: endpoint.endpoint_id, secret: endpoint.secret };
}

async function account(): Promise<string> {
  const username = `account-${(accounts += 1)}`;
  await operator.data('POST', '/v2/account', { body: { username } });
  return username;
}

function publish(username: string, count: number): Promise<unknown> {
  const data = { task_id: 'task', status: 'completed', image_urls: [] };
  return operator.data('POST', '/v2/publish', {
    body: { events: Array.from({ length: count }, () => ({ username, event: EVENT, data })) },
  });
}

function health(username: string, id: string): Promise<Health> {
  return operator.data<Health>('GET', `/v2/endpoint/${id}/health`, { account: username });
}

/** Asks again until it holds: what an attempt led to is written a moment after its answer. */
async function whenHealth(username: string, id: string, holds: (is: Health) => boolean): Promise<Health> {
  for (;;) {
    const is = await health(username, id);
    if (holds(is)) return is;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The first operational event of a type about an endpoint that a receiver was sent. */
async function told(receiver: Receiver, event: string, endpointId: string) {
  for (let seen = 1; ; seen++) {
    await receiver.whenRequests(seen);
    const request = receiver.requests[seen - 1];
    assert.ok(request !== undefined);
    const sent = JSON.parse(request.body.toString()) as { event: string; data: Record<string, unknown> };
    if (sent.event === event && sent.data.endpoint_id === endpointId) return { request, data: sent.data };
  }
}

before(async () => {
  folder = await tempDir();
  onCall = await startReceiver(respond(200));
  await start();
  await operator.data('POST', '/v2/account', { body: { username: 'on-call' } });
  await add('on-call', onCall.url, OPERATIONAL);
});

after(async () => {
  service.kill('SIGKILL');
  await service.ended;
  await onCall.close();
  await folder.remove();
});

describe('an endpoint that fails', TIME_LIMIT, () => {
  it('is probed one at a time, through a SIGKILL in mid-probe, and gets all that waited when one succeeds', async (t) => {
    let behaviour: Behaviour = respond(500);
    const receiver = await startReceiver((socket, request) => behaviour(socket, request));
    t.after(() => receiver.close());
    const username = await account();
    const { id } = await add(username, receiver.url, [EVENT]);
    await publish(username, PROBE_AFTER);
    await whenHealth(username, id, ({ state }) => state === 'probing');
    const { request, data } = await told(onCall, 'endpoint.failing', id);
    assert.deepEqual([data.username, data.consecutive_failures], [username, PROBE_AFTER]);
    assert.equal(request.headers['x-webhook-event'], 'endpoint.failing');

    behaviour = neverAnswer;
    await publish(username, 6);
    await receiver.whenRequests(PROBE_AFTER + 1);
    service.kill('SIGKILL');
    await service.ended;
    await start();
    assert.equal((await health(username, id)).state, 'probing', 'as before the kill');
    await receiver.whenRequests(PROBE_AFTER + 2);
    const { deliveries } = await operator.data<{
      deliveries: { attempts: number; next_attempt_at: number }[];
    }>('GET', '/v2/deliveries?status=pending', { account: username });
    assert.equal(deliveries.filter(({ attempts }) => attempts === 0).length, 6, 'none is spent');
    behaviour = respond(200);
    // The probe that hangs fails at its time limit, and comes again by its schedule; the next one opens the lane.
    await receiver.whenRequests(PROBE_AFTER + 2 + 5);
    const { state, last_success_at: lastSuccessAt } = await whenHealth(
      username,
      id,
      (is) => is.state === 'healthy',
    );
    assert.equal(state, 'healthy');
    assert.ok(lastSuccessAt !== null);
    const recovered = await told(onCall, 'endpoint.recovered', id);
    assert.ok(Number(recovered.data.recovered_at) >= Number(recovered.data.failing_since));
  });

  it('goes to a test event and a retry at once while it is probed', async (t) => {
    const receiver = await startReceiver(respond(500));
    t.after(() => receiver.close());
    const username = await account();
    const { id } = await add(username, receiver.url, [EVENT]);
    await publish(username, PROBE_AFTER);
    await whenHealth(username, id, ({ state }) => state === 'probing');
    const test = await operator.data<{ delivery_id: string }>('POST', `/v2/endpoint/${id}/test`, {
      account: username,
      body: { event: 'endpoint.failing' },
    });
    for (;;) {
      const { attempts } = await operator.data<{ attempts: number }>(
        'GET',
        `/v2/delivery/${test.delivery_id}`,
        { account: username },
      );
      if (attempts === 1) break;
    }
  });

  it('answers 410: its owner and the operator are told with signed events, and it offers what it missed', async (t) => {
    let status = 410;
    const receiver = await startReceiver((socket, request) => respond(status)(socket, request));
    const ears = await startReceiver(respond(200));
    t.after(() => Promise.all([receiver.close(), ears.close()]));
    const username = await account();
    const { id } = await add(username, receiver.url, [EVENT, ...OPERATIONAL]);
    const listening = await add(username, ears.url, OPERATIONAL);
    await publish(username, 1);
    const reason = 'endpoint answered 410 Gone';
    for (const heard of [ears, onCall]) {
      const { request, data } = await told(heard, 'endpoint.disabled', id);
      assert.deepEqual([data.username, data.reason, data.url], [username, reason, receiver.url]);
      if (heard === ears) {
        assert.equal(request.headers['x-webhook-signature'], bodySignature(listening.secret, request.body));
      }
      const { data: dead } = await told(heard, 'delivery.dead', id);
      assert.deepEqual([dead.event, dead.attempts, dead.reason], [EVENT, 1, reason]);
    }
    const gone = await health(username, id);
    assert.equal(gone.state, 'disabled');
    assert.equal(gone.disabled_reason, reason);
    await publish(username, 2);
    status = 200;
    await operator.data('PUT', `/v2/endpoint/${id}`, { account: username, body: { status: 'enabled' } });
    const { missed, state } = await health(username, id);
    assert.equal(state, 'healthy');
    assert.ok(missed !== null && missed.until !== null);
    for (const kind of ['failed', 'missing']) {
      const { matched } = await operator.data<{ matched: number }>('POST', `/v2/endpoint/${id}/replay`, {
        account: username,
        body: { status: kind, since: missed.since },
      });
      // Beside the product's events it was subscribed to those of itself that were told to others meanwhile.
      assert.ok(matched >= (kind === 'failed' ? 1 : 2), `${matched} ${kind}`);
    }
    assert.equal((await health(username, id)).missed, null);
    const events = () =>
      new Set(
        receiver.requests
          .filter(({ headers }) => headers['x-webhook-event'] === EVENT)
          .map(({ headers }) => headers['webhook-id']),
      );
    for (let seen = 1; events().size < 3; seen++) await receiver.whenRequests(seen);
  });

  it('is not told by who publishes: operational events are Posthorn’s own', async () => {
    const username = await account();
    const { code, msg } = await operator.ask('POST', '/v2/publish', {
      body: { username, event: 'endpoint.disabled', data: {} },
    });
    assert.equal(code, 40000);
    assert.match(msg, /event "endpoint.disabled" is sent by Posthorn alone/);
  });

  it('shows in the metrics by state, without its id', async () => {
    const response = await fetch(`${service.url}/metrics`, { headers: { 'x-api-key': OPERATOR_KEY } });
    const text = await response.text();
    assert.match(text, /^posthorn_endpoints\{state="probing"\} 1$/m);
    assert.match(text, /^posthorn_endpoint_turns_total\{state="disabled"\} \d+$/m);
    assert.doesNotMatch(text, /wh_/);
  });
});

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { suite, test, type TestContext } from 'node:test';
import { makeFleet, PublishRequest, SEALED_BYTES, sealEvent } from '../events.ts';
import { load, type LoadPlan } from '../load.ts';
import { Receiver } from '../receiver.ts';
import type { Fleet } from '../system.ts';
import { checkArrivals, faultsOf } from '../verdict.ts';

const RUN = 'abc123';
const API_KEY = 'key';

interface Published {
  username: string;
  event_id: string;
  data: unknown;
}

interface Deed {
  /** How often the event is delivered. */
  times: number;
  secret?: string;
  path?: string;
}

/** A system that delivers at once and keeps nothing, with whatever fault a test gives it. */
async function startSystem(
  t: TestContext,
  fleet: Fleet,
  fault: (event: Published, index: number) => Deed | 'refuse',
): Promise<number> {
  let accepted = 0;
  const deliveries: Promise<void>[] = [];
  const server = createServer(async (incoming, answer) => {
    assert.equal(incoming.headers['x-api-key'], API_KEY);
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const event = JSON.parse(Buffer.concat(chunks).toString()) as Published;
    const deed = fault(event, accepted);
    accepted += 1;
    if (deed === 'refuse') {
      answer.writeHead(503, { 'content-length': 8 }).end('too much');
      return;
    }
    const account = fleet.accounts.find(({ username }) => username === event.username);
    for (const { url, secret } of account?.endpoints ?? []) {
      for (let time = 0; time < deed.times; time += 1) {
        const body = sealEvent(event.event_id, event.data, 1_790_000_000);
        assert.equal(Buffer.byteLength(body), SEALED_BYTES);
        deliveries.push(post(deed.path ?? url, body, deed.secret ?? secret));
      }
    }
    await Promise.all(deliveries.splice(0));
    answer.writeHead(200, { 'content-length': 10 }).end('{"code":0}');
  });
  return await listen(t, server);
}

async function listen(t: TestContext, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function post(url: string, body: string, secret: string): Promise<void> {
  const outgoing = request(url, {
    method: 'POST',
    headers: {
      'content-length': Buffer.byteLength(body),
      'x-webhook-signature': createHmac('sha256', secret).update(body).digest('hex'),
    },
  });
  outgoing.end(body);
  const [answer] = (await once(outgoing, 'response')) as [{ resume(): void; statusCode: number }];
  answer.resume();
}

async function publishThrough(
  t: TestContext,
  fault: (event: Published, index: number) => Deed | 'refuse',
  pace: LoadPlan['pace'] = { kind: 'flat-out', forMs: 60_000, atMost: 200 },
) {
  const receiver = new Receiver();
  const receiverPort = (await receiver.carryOut({ do: 'listen' })) as number;
  t.after(() => receiver.close());
  const fleet = makeFleet(3, 2, receiverPort);
  const secrets = fleet.accounts.flatMap(({ endpoints }) => endpoints.map(({ secret }) => secret));
  receiver.carryOut({ do: 'expect', expectation: { run: RUN, accounts: 3, endpointsEach: 2, secrets } });
  const port = await startSystem(t, fleet, fault);
  const result = await load({
    port,
    apiKey: API_KEY,
    run: RUN,
    from: 0,
    accounts: 3,
    connections: 4,
    pace,
    mayDie: false,
  });
  return {
    result,
    verdict: checkArrivals([{ from: 0, answeredAt: result.answeredAt }], 2, receiver.report()),
  };
}

suite('load generator and receiver together', () => {
  test('a system that keeps its word is found without fault', async (t) => {
    const { result, verdict } = await publishThrough(t, () => ({ times: 1 }));
    assert.equal(result.acknowledged, result.sent);
    assert.ok(result.sent >= 200 && result.sent < 204, `${result.sent}`);
    assert.equal(verdict.acknowledgedDeliveries, result.sent * 2);
    assert.ok(verdict.signaturesChecked >= 8, `${verdict.signaturesChecked}`);
    assert.equal(verdict.duplicates, 0);
    assert.deepEqual(faultsOf(verdict), []);
  });

  test('a steady load sends as many as the clock asks for', async (t) => {
    const pace = { kind: 'steady' as const, perSecond: 500, forMs: 400 };
    const { result, verdict } = await publishThrough(t, () => ({ times: 1 }), pace);
    assert.equal(result.sent, 200);
    assert.deepEqual(faultsOf(verdict), []);
  });

  test('what was acknowledged and never arrived is missing', async (t) => {
    const { verdict } = await publishThrough(t, ({ event_id }) => ({
      times: event_id.endsWith('17') ? 0 : 1,
    }));
    assert.equal(verdict.missing, 4);
    assert.deepEqual(verdict.firstMissing, [17, 117]);
    assert.match(faultsOf(verdict).join(), /4 of \d+ acknowledged deliveries never arrived \(events 17, 117/);
  });

  test('what was refused is not missed', async (t) => {
    const { result, verdict } = await publishThrough(t, (_, index) => (index < 10 ? 'refuse' : { times: 1 }));
    assert.deepEqual(result.refused, { 503: 10 });
    assert.equal(result.firstRefusal, 'HTTP 503 too much');
    assert.equal(verdict.acknowledgedDeliveries, (result.sent - 10) * 2);
    assert.deepEqual(faultsOf(verdict), []);
  });

  test('what arrives twice is counted, and no fault', async (t) => {
    const { verdict } = await publishThrough(t, (_, index) => ({ times: index < 10 ? 2 : 1 }));
    assert.equal(verdict.duplicates, 20);
    assert.deepEqual(faultsOf(verdict), []);
  });

  test('a wrong signature is a fault', async (t) => {
    const { verdict } = await publishThrough(t, () => ({ times: 1, secret: 'whsec_other' }));
    assert.equal(verdict.wrongSignatures, verdict.signaturesChecked);
    assert.match(faultsOf(verdict).join(), /signatures that were checked are wrong/);
  });
});

suite('a publish request', () => {
  test('is patched to any account and event without changing its length', () => {
    const made = new PublishRequest(RUN, 8080, API_KEY);
    for (const [account, number] of [
      [0, 0],
      [9999, 12_345_678],
      [7, 42],
    ] as const) {
      made.write(account, number);
      const [head = '', body = ''] = made.bytes.toString().split('\r\n\r\n');
      const parsed = JSON.parse(body) as Published;
      assert.equal(parsed.username, `bench-${String(account).padStart(5, '0')}`);
      assert.equal(parsed.event_id, `bench-${RUN}-${String(number).padStart(8, '0')}`);
      assert.match(head, new RegExp(`content-length: ${body.length}`));
    }
  });
});

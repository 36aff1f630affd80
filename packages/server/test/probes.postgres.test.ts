/** An endpoint that keeps failing, probed by several nodes of one PostgreSQL, each a process of its own. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Fleet, type FleetNode, loggedLines } from './support/fleet.ts';
import { createDatabase } from './support/postgres.ts';
import { respond, startReceiver } from './support/receivers.ts';

const EVENT = 'generated_image_success';
const PROBE_AFTER = 3;
const PAUSE_MS = 1_000;
/** Of the pause, by which it strays at most. */
const JITTER = 0.1;
const WAITING = 60;
/** How long the receiver takes to fail: two attempts at a time would be seen. */
const HOLD_MS = 300;
/** Ten seconds of silence, a sweep every five: see nodes.postgres.test.ts. */
const TAKEOVER_MS = 15_000;
const SLACK_MS = 10_000;
const TIME_LIMIT = { timeout: 120_000 };

describe('an endpoint that keeps failing, with an API node and three workers', TIME_LIMIT, () => {
  it('is probed by one of them at a time, by another when that one is killed in mid-probe, and then gets all that waited once', async (t) => {
    const database = await createDatabase();
    let open = 0;
    let most = 0;
    let isWell = false;
    const startedAt: number[] = [];
    const receiver = await startReceiver((socket: Socket, request) => {
      open += 1;
      most = Math.max(most, open);
      startedAt.push(performance.now());
      let isOpen = true;
      const end = () => {
        if (isOpen) open -= 1;
        isOpen = false;
      };
      socket.once('close', end);
      if (isWell) {
        end();
        respond(200)(socket, request);
      } else {
        setTimeout(() => {
          end();
          if (!socket.destroyed) respond(500)(socket, request);
        }, HOLD_MS);
      }
    });
    const fleet = await Fleet.gather({
      databaseUrl: database.url,
      env: {
        POSTHORN_PROBE_AFTER: String(PROBE_AFTER),
        POSTHORN_PROBE_PAUSES: `${PAUSE_MS}ms`,
        POSTHORN_RETRY_SCHEDULE: '1h,1h',
      },
      longestRunMs: TIME_LIMIT.timeout,
    });
    t.after(async () => {
      await fleet.disband();
      await receiver.close();
      await database.drop();
    });
    const [api, ...workers] = (await Promise.all([
      fleet.start('api'),
      ...Array.from({ length: 3 }, () => fleet.start('worker')),
    ])) as [FleetNode, ...FleetNode[]];
    await api.operator.data('POST', '/v2/account', { body: { username: 'alice' } });
    await api.operator.data('POST', '/v2/endpoint', {
      account: 'alice',
      body: { url: receiver.url, events: [EVENT] },
    });
    const publish = (count: number) =>
      api.operator.data('POST', '/v2/publish', {
        body: {
          events: Array.from({ length: count }, () => ({
            username: 'alice',
            event: EVENT,
            data: { task_id: 'task', status: 'completed', image_urls: [] },
          })),
        },
      });
    await publish(PROBE_AFTER);
    while (
      (await database.query('SELECT FROM posthorn.failing_endpoint WHERE probe_at IS NOT NULL')).length === 0
    )
      await delay(20);
    // What was under way when the lane shrank is no probe.
    most = 0;
    startedAt.length = 0;

    await publish(WAITING);
    while (startedAt.length < 8) await delay(20);
    const pauses = startedAt.slice(1).map((at, n) => at - (startedAt[n] as number));
    t.diagnostic(`pauses between probes, ms: ${pauses.map((ms) => ms.toFixed(0)).join(', ')}`);
    assert.equal(most, 1, 'one at a time');
    // Each begins its pause when the one before has failed.
    for (const pauseMs of pauses)
      assert.ok(pauseMs > PAUSE_MS * (1 - JITTER), `probed again after ${pauseMs} ms`);

    let victim: FleetNode | undefined;
    while (victim === undefined) {
      const [holder] = await database.query<{ name: string }>(
        'SELECT n.name FROM posthorn.queue q JOIN posthorn.node n ON n.node_id = q.holder WHERE q.leased',
      );
      victim = workers.find(({ pid }) => holder?.name.endsWith(`:${pid}`));
    }
    victim.kill('SIGKILL');
    await victim.ended;
    const killedAt = performance.now();
    const seen = startedAt.length;
    while (startedAt.length < seen + 3) await delay(20);
    const silentMs = (startedAt[seen] as number) - killedAt;
    t.diagnostic(`probed again ${(silentMs / 1_000).toFixed(1)} s after a probing node was killed`);
    assert.ok(silentMs < TAKEOVER_MS + SLACK_MS, `${silentMs} ms`);
    assert.equal(most, 1, 'one at a time, the node that is gone included');
    const untouched = await database.query('SELECT FROM posthorn.queue WHERE attempts = 0');
    assert.ok(untouched.length >= WAITING - startedAt.length, 'only probes spend attempts');

    isWell = true;
    const arrivedBefore = receiver.requests.length;
    while ((await database.query('SELECT FROM posthorn.queue WHERE attempts = 0')).length > 0)
      await delay(20);
    const made = receiver.requests.slice(arrivedBefore).map(({ headers }) => headers['webhook-id']);
    assert.equal(new Set(made).size, made.length, 'each once');
    const [failing] = await database.query<{ failures: number }>(
      'SELECT failures FROM posthorn.failing_endpoint',
    );
    assert.equal(failing?.failures ?? 0, 0, 'it is well again');
    const probing = workers.filter(
      (worker) =>
        loggedLines(worker, ({ msg, outcome }) => msg === 'attempt' && outcome === 'http_error').length > 0,
    );
    t.diagnostic(`${probing.length} of ${workers.length} nodes made failing attempts`);
  });
});

import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { AuditActor, AuditEntry } from '../../src/model.ts';
import { AUDITED_NAMES } from '../../src/store/audit.ts';
import type { AuditFilter } from '../../src/store/store.ts';
import {
  DAY_MS,
  deadAt,
  listAll,
  MINUTE_MS,
  newEndpoint,
  newEventType,
  newKey,
  SECOND_MS,
  unique,
  VIDEO,
} from '../support/store-fixtures.ts';
import { assertAbout, assertRefused, assertSameMembers, type Bench, type StoreTest } from './bench.ts';

const BY: AuditActor = {
  kind: 'key',
  keyId: 'key_operator',
  username: null,
  via: 'PATCH /v2/account/:username',
  requestId: 'req_1',
  remoteAddress: '203.0.113.9',
  through: 'dashboard',
};

function lines(bench: Bench, filter: AuditFilter = {}, limit = 200): Promise<AuditEntry[]> {
  return listAll((page) => bench.store.listAudit(filter, page), limit);
}

async function onlyLine(bench: Bench, filter: AuditFilter = {}): Promise<AuditEntry> {
  const found = await lines(bench, filter);
  assert.equal(found.length, 1, `lines: ${JSON.stringify(found)}`);
  return found[0] as AuditEntry;
}

/** Empties nothing: what was written so far is left out by the filter that it answers. */
async function fromNow(bench: Bench): Promise<AuditFilter> {
  await bench.advance(SECOND_MS);
  return { since: bench.now() };
}

export function auditTests(test: StoreTest): void {
  describe('the audit log', () => {
    test('a line says who, what, when, through what, from where, and what was before and after', async (bench) => {
      const username = await bench.account();
      await bench.store.as(BY).updateAccount(username, { status: 'suspended', metadata: { plan: 'pro' } });
      const line = await onlyLine(bench);
      assert.match(line.auditId, /^aud_[0-9a-z]{26}$/);
      assertAbout(line.at, bench.now(), 'at');
      assert.deepEqual(line, {
        auditId: line.auditId,
        at: line.at,
        by: BY,
        action: 'account.update',
        targetType: 'account',
        target: username,
        username,
        before: { status: 'active', metadata: null },
        after: { status: 'suspended', metadata: { plan: 'pro' } },
      });
    });

    test('operations by nobody in particular have no line', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      await bench.store.updateEndpoint(username, endpoint.endpointId, { status: 'disabled' });
      assert.deepEqual(await lines(bench), []);
    });

    test('each operation answers as it does without a line, and has one', async (bench) => {
      const { store } = bench;
      const as = store.as(BY);
      const username = unique('user');
      const done: string[] = [];
      async function expectLine<T>(action: string, target: string, run: Promise<T>): Promise<T> {
        const result = await run;
        const [line] = await lines(bench, { target });
        assert.equal(line?.action, action);
        done.push(action);
        return result;
      }

      const account = await expectLine(
        'account.create',
        username,
        as.createAccount({ username, metadata: null }),
      );
      assert.deepEqual(account, await store.getAccount(username));
      await expectLine('account.update', username, as.updateAccount(username, { metadata: { a: 1 } }));
      const key = newKey(username);
      await expectLine('api_key.create', key.keyId, as.createKey(key));
      const link = { linkId: unique('plk'), username, hash: unique('hash'), expiresAt: bench.now() + DAY_MS };
      await expectLine('portal_link.create', link.linkId, as.createPortalLink(link));
      const first = newKey(null);
      assert.equal(await expectLine('api_key.create', first.keyId, as.createFirstOperatorKey(first)), true);
      await expectLine('event_type.put', 'custom.done', as.putEventType(newEventType('custom.done')));
      const endpoint = newEndpoint(username, { events: [VIDEO] });
      const { endpointId } = endpoint;
      assert.deepEqual(
        await expectLine('endpoint.create', endpointId, as.addEndpoint(endpoint, 20)),
        await store.getEndpoint(username, endpointId),
      );
      const changed = await expectLine(
        'endpoint.update',
        endpointId,
        as.updateEndpoint(username, endpointId, { url: 'https://b.example/' }),
      );
      assert.equal(changed?.url, 'https://b.example/');
      await bench.publish(username);
      const lease = await bench.claimOne();
      await bench.settleOne(deadAt(lease, bench.now()));
      const retried = await expectLine(
        'delivery.retry',
        lease.deliveryId,
        as.retryDelivery(username, lease.deliveryId),
      );
      assert.equal(retried?.status, 'pending');
      const range = { since: 0, until: bench.now() + MINUTE_MS };
      const replay = await as.createReplay({ username, endpointId, kind: 'all', ...range });
      const replayId = replay?.replayId as string;
      assert.equal((await lines(bench, { target: replayId }))[0]?.action, 'replay.create');
      assert.equal(
        (await expectLine('replay.cancel', replayId, as.cancelReplay(username, replayId)))?.status,
        'cancelled',
      );
      const rotated = await expectLine(
        'endpoint.rotate_secret',
        endpointId,
        as.rotateSecret(username, endpointId, 'another', bench.now() + DAY_MS),
      );
      assert.equal(rotated?.secret, 'another');
      assert.equal(
        await expectLine('endpoint.delete', endpointId, as.deleteEndpoint(username, endpointId)),
        true,
      );
      assert.equal(
        await expectLine('event_type.delete', 'custom.done', as.deleteEventType('custom.done')),
        true,
      );
      assert.equal(await expectLine('api_key.revoke', key.keyId, as.revokeKey(key.keyId, null)), true);
      await store.announceEncryptionKeys(['11111111', '22222222'], '11111111');
      await expectLine('encryption_key.activate', '22222222', as.activateEncryptionKey('22222222'));
      await store.announceEncryptionKeys(['11111111', '22222222'], '22222222');
      assert.equal(
        await expectLine('encryption_key.retire', '11111111', as.retireEncryptionKey('11111111')),
        true,
      );
      assert.equal(await expectLine('account.delete', username, as.deleteAccount(username)), true);
      assert.equal(done.length + 1, AUDITED_NAMES.length, 'every audited operation was tried');
    });

    test('what is refused, or finds nothing, has no line', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ events: ['custom.done'] });
      const as = bench.store.as(BY);
      await assertRefused('conflict', as.createAccount({ username, metadata: null }));
      await assertRefused('not_found', as.createKey(newKey('nobody')));
      await assertRefused('invalid_parameter', as.addEndpoint(newEndpoint(username), 1));
      await assertRefused('conflict', as.deleteEventType('custom.done'));
      assert.equal(await as.updateAccount('nobody', { status: 'suspended' }), null);
      assert.equal(await as.deleteAccount('nobody'), false);
      assert.equal(await as.updateEndpoint('nobody', endpoint.endpointId, { status: 'disabled' }), null);
      assert.equal(await as.deleteEndpoint(username, 'wh_unknown'), false);
      assert.equal(await as.rotateSecret(username, 'wh_unknown', 'sealed', null), null);
      assert.equal(await as.revokeKey('key_unknown', null), false);
      assert.equal(await as.retryDelivery(username, 'dlv_unknown'), null);
      assert.equal(await as.cancelReplay(username, 'rpl_unknown'), null);
      assert.equal(
        await as.createReplay({ username, endpointId: 'wh_unknown', kind: 'all', since: 0, until: 1 }),
        null,
      );
      assert.deepEqual(await lines(bench), []);
    });

    test('what changes nothing has no line', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const as = bench.store.as(BY);
      await as.updateAccount(username, { status: 'active' });
      await as.updateEndpoint(username, endpoint.endpointId, { url: endpoint.url, events: endpoint.events });
      const type = newEventType('custom.done');
      await as.putEventType(type);
      await as.putEventType(type);
      const key = newKey(username);
      await as.createKey(key);
      await as.revokeKey(key.keyId, username);
      await as.revokeKey(key.keyId, username);
      assert.deepEqual(
        (await lines(bench)).map(({ action }) => action),
        ['api_key.revoke', 'api_key.create', 'event_type.put'],
      );
    });

    test('an update’s line holds what differs and nothing else', async (bench) => {
      const { username, endpoint } = await bench.subscriber({ metadata: { team: 'a' } });
      await bench.store
        .as(BY)
        .updateEndpoint(username, endpoint.endpointId, { url: endpoint.url, timeoutMs: 9_000 });
      const { before, after } = await onlyLine(bench);
      assert.deepEqual([before, after], [{ timeout_seconds: null }, { timeout_seconds: 9 }]);
    });

    test('of secrets and custom headers a line says that they were set, replaced or taken away', async (bench) => {
      const as = bench.store.as(BY);
      const username = await bench.account();
      const { endpointId } = await as.addEndpoint(newEndpoint(username, { headers: 'sealed-headers-1' }), 20);
      await as.updateEndpoint(username, endpointId, { headers: 'sealed-headers-2' });
      await as.updateEndpoint(username, endpointId, { headers: null });
      await as.rotateSecret(username, endpointId, 'sealed-secret-2', null);
      const key = newKey(username);
      await as.createKey(key);
      const [keyLine, rotation, removal, replacement, creation] = await lines(bench);
      assert.deepEqual([rotation?.before, rotation?.after], [{ secret: '[set]' }, { secret: '[replaced]' }]);
      assert.deepEqual([removal?.before, removal?.after], [{ headers: '[set]' }, { headers: null }]);
      assert.deepEqual(
        [replacement?.before, replacement?.after],
        [{ headers: '[set]' }, { headers: '[replaced]' }],
      );
      assert.equal(creation?.before, null);
      assert.equal(creation?.after?.secret, '[set]');
      assert.equal(creation?.after?.headers, '[set]');
      assert.deepEqual(Object.keys(keyLine?.after ?? {}).sort(), ['name', 'prefix', 'scopes']);
      const text = JSON.stringify(await lines(bench));
      for (const secret of ['sealed-', key.hash]) assert.ok(!text.includes(secret), secret);
    });

    test('a large value stands there by its size and its SHA-256', async (bench) => {
      const example = { text: 'x'.repeat(10_000) };
      await bench.store.as(BY).putEventType(newEventType('large.done', { example }));
      const { after } = await onlyLine(bench);
      const { omitted_bytes: bytes, sha256 } = (after?.example ?? {}) as Record<string, unknown>;
      assert.equal(bytes, JSON.stringify(example).length);
      assert.match(String(sha256), /^[0-9a-f]{64}$/);
    });

    test('texts come back as they were, whatever they hold', async (bench) => {
      const username = await bench.account();
      const metadata = { 'a\u0000b': '\u0000 \ud800 “ß” 💥\n', __proto__x: [1.5, null, true] };
      await bench.store.as(BY).updateAccount(username, { metadata });
      assert.deepEqual((await onlyLine(bench)).after, { metadata });
    });

    test('parallel changes of one thing each have a line that begins where another ended', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const count = 12;
      await Promise.all(
        Array.from({ length: count }, (_, n) =>
          bench.store
            .as(BY)
            .updateEndpoint(username, endpoint.endpointId, { url: `https://example.com/${n}` }),
        ),
      );
      const changes = await lines(bench);
      assert.equal(changes.length, count);
      const after = changes.map((line) => String(line.after?.url));
      const before = changes.map((line) => String(line.before?.url));
      assert.equal(new Set(after).size, count);
      const present = await bench.store.getEndpoint(username, endpoint.endpointId);
      assertSameMembers([...before, String(present?.url)], [endpoint.url, ...after], 'URLs');
    });

    test('the log is listed newest first, page by page', async (bench) => {
      const username = await bench.account();
      const expected: number[] = [];
      for (let n = 1; n <= 7; n++) {
        await bench.store.as(BY).updateAccount(username, { metadata: { n } });
        expected.unshift(n);
        if (n % 3 === 0) await bench.advance(SECOND_MS);
      }
      const numbers = (found: AuditEntry[]) =>
        found.map(({ after }) => (after?.metadata as { n: number } | undefined)?.n);
      assert.deepEqual(numbers(await lines(bench, {}, 2)), expected);
      assert.deepEqual(numbers(await lines(bench, {}, 7)), expected);
      const forged = Buffer.from('["audit",1.5,1e300]').toString('base64url');
      for (const cursor of ['nonsense', forged]) {
        await assertRefused('invalid_parameter', bench.store.listAudit({}, { limit: 2, cursor }));
      }
    });

    test('it is filtered by account, key, action, kind, thing and time, one by one and together', async (bench) => {
      const ada = await bench.account();
      const bob = await bench.account();
      const other = { ...BY, keyId: 'key_other', username: bob };
      await bench.store.as(BY).updateAccount(ada, { metadata: { n: 1 } });
      const endpoint = newEndpoint(bob);
      await bench.store.as(other).addEndpoint(endpoint, 20);
      const later = await fromNow(bench);
      await bench.store.as(other).deleteEndpoint(bob, endpoint.endpointId);
      await bench.store.as(BY).putEventType(newEventType('custom.done'));
      const actions = async (filter: AuditFilter) => (await lines(bench, filter)).map(({ action }) => action);
      assert.deepEqual(await actions({ username: bob }), ['endpoint.delete', 'endpoint.create']);
      assert.deepEqual(await actions({ keyId: BY.keyId as string }), ['event_type.put', 'account.update']);
      assert.deepEqual(await actions({ action: 'endpoint.create' }), ['endpoint.create']);
      assert.deepEqual(await actions({ targetType: 'account' }), ['account.update']);
      assert.deepEqual(await actions({ target: endpoint.endpointId }), [
        'endpoint.delete',
        'endpoint.create',
      ]);
      assert.deepEqual(await actions(later), ['event_type.put', 'endpoint.delete']);
      assert.deepEqual(await actions({ until: later.since as number }), [
        'endpoint.create',
        'account.update',
      ]);
      assert.deepEqual(await actions({ username: bob, ...later }), ['endpoint.delete']);
      assert.deepEqual(await actions({ username: ada, withoutTargetType: 'account' }), []);
      assert.deepEqual(await actions({ target: 'nothing' }), []);
    });

    test('lines outlive the account that they speak of', async (bench) => {
      const { username, endpoint } = await bench.subscriber();
      const as = bench.store.as(BY);
      await as.updateEndpoint(username, endpoint.endpointId, { status: 'disabled' });
      await as.deleteAccount(username);
      await bench.purgeAll(bench.now() + DAY_MS);
      assert.deepEqual(
        (await lines(bench, { username })).map(({ action }) => action),
        ['account.delete', 'endpoint.update'],
      );
    });

    test('lines outlive a crash of the process that wrote them', async (bench) => {
      const username = await bench.account();
      await bench.store.as(BY).updateAccount(username, { status: 'suspended' });
      await bench.reopen();
      assert.equal((await onlyLine(bench)).action, 'account.update');
      assert.equal((await bench.store.getAccount(username))?.status, 'suspended');
    });

    test('retention takes the oldest lines, so many at a time, and never the last day’s', async (bench) => {
      const username = await bench.account();
      for (let n = 1; n <= 5; n++) {
        await bench.store.as(BY).updateAccount(username, { metadata: { n } });
        await bench.advance(DAY_MS);
      }
      const before = bench.now() - 2 * DAY_MS - MINUTE_MS;
      assert.equal(await bench.store.purgeAudit(before, 2), 2);
      assert.deepEqual(
        (await lines(bench)).map(({ after }) => after),
        [5, 4, 3].map((n) => ({ metadata: { n } })),
      );
      assert.equal(await bench.store.purgeAudit(before, 10), 1);
      assert.equal(await bench.store.purgeAudit(before, 10), 0);
      await bench.advance(MINUTE_MS);
      await bench.store.as(BY).updateAccount(username, { metadata: null });
      assert.equal(await bench.store.purgeAudit(bench.now() + DAY_MS, 10), 2);
      assert.equal((await onlyLine(bench)).after?.metadata, null);
    });

    test('the purge of history leaves the log alone', async (bench) => {
      const username = await bench.account();
      await bench.store.as(BY).updateAccount(username, { status: 'suspended' });
      await bench.advance(30 * DAY_MS);
      await bench.purgeAll(bench.now());
      assert.equal((await lines(bench)).length, 1);
    });
  });
}

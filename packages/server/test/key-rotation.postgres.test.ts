/** The rotation of the encryption key over several nodes, restarted one by one, which deliver all the time. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { runCli } from './cli/harness.ts';
import { createEncryptionKey, keyId, parseEncryptionKey } from '../src/secrets.ts';
import { Fleet, type FleetNode } from './support/fleet.ts';
import { createDatabase } from './support/postgres.ts';
import { respond, startReceiver } from './support/receivers.ts';
import { addSignedEndpoints, assertSigned, publishTo } from './support/signed.ts';

const K1 = createEncryptionKey();
const K2 = createEncryptionKey();
const idOf = (key: string): string => keyId(parseEncryptionKey(key));
const OLD = { POSTHORN_ENCRYPTION_KEY: K1 };
const BOTH = { POSTHORN_ENCRYPTION_KEY: K2, POSTHORN_ENCRYPTION_KEY_OLD: K1 };
const NEW = { POSTHORN_ENCRYPTION_KEY: K2 };

// Both wait for nodes to be taken for dead.
describe('a rotation of the encryption key on PostgreSQL', { concurrency: true }, () => {
  it('waits until every node knows the key, and then holds on all of them', async (t) => {
    const database = await createDatabase();
    t.after(() => database.drop());
    const receiver = await startReceiver(respond(200));
    t.after(() => receiver.close());
    const fleet = await Fleet.gather({
      databaseUrl: database.url,
      env: { POSTHORN_MAX_ENDPOINTS: '1000' },
      longestRunMs: 120_000,
    });
    t.after(() => fleet.disband());
    const operatorKey = (node: FleetNode) => [
      '--url',
      node.url,
      '--key',
      'fleet-test-operator-key-'.padEnd(48, '0'),
    ];
    const cli = (node: FleetNode, ...args: string[]) => runCli([...args, ...operatorKey(node)]);
    async function stop(node: FleetNode): Promise<void> {
      node.kill('SIGTERM');
      assert.equal(await node.ended, 0);
    }

    let [api, worker] = await Promise.all([fleet.start('api', OLD), fleet.start('worker', OLD)]);
    const endpoints = await addSignedEndpoints(api.operator, receiver, ['alice'], 120);
    let expected = await publishTo(api.operator, 'alice');
    const early = await cli(api, 'secrets', 'rotate-key');
    assert.equal(early.code, 1);
    assert.match(early.stderr, /there is no new key/);

    // The first of the two is restarted: it goes on with the old key, for the worker knows no other.
    await stop(api);
    api = await fleet.start('api', BOTH);
    expected += await publishTo(api.operator, 'alice');
    await api.operator
      .data('POST', `/v2/endpoint/${endpoints.get('alice-0')?.endpointId}/rotate_secret`, {
        account: 'alice',
        body: { overlap_seconds: 0 },
      })
      .then((endpoint) => {
        const rotated = endpoints.get('alice-0');
        if (rotated !== undefined) rotated.secret = (endpoint as { secret: string }).secret;
      });
    await receiver.whenRequests(expected);
    // Which secret those of before were signed with is another test's matter.
    receiver.requests.length = 0;
    expected = await publishTo(api.operator, 'alice');
    await receiver.whenRequests(expected);
    assertSigned(receiver.requests, endpoints);
    const refused = await cli(api, 'secrets', 'rotate-key');
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      new RegExp(`${idOf(K2)} is not known to \\S+:${worker.pid}: restart every node`),
    );

    await stop(worker);
    worker = await fleet.start('worker', BOTH);
    const second = await fleet.start('all', BOTH);
    let isRotating = true;
    const publishing = (async () => {
      while (isRotating) expected += await publishTo(second.operator, 'alice');
    })();
    const rotated = await cli(api, 'secrets', 'rotate-key');
    isRotating = false;
    await publishing;
    assert.equal(rotated.code, 0, rotated.stderr);
    assert.match(rotated.stdout, new RegExp(`^Done: all 240 values encrypted with ${idOf(K2)}`));
    const left = await database.query<{ n: string }>(
      `SELECT count(*) AS n FROM posthorn.endpoint WHERE secret LIKE $1 OR headers LIKE $1`,
      [`v1.${idOf(K1)}.%`],
    );
    assert.equal(left[0]?.n, '0');
    await receiver.whenRequests(expected);
    assertSigned(receiver.requests, endpoints);

    // From now on the old key is of no use.
    for (const node of [api, worker, second]) await stop(node);
    const last = await fleet.start('all', NEW);
    expected += await publishTo(last.operator, 'alice');
    await receiver.whenRequests(expected);
    assertSigned(receiver.requests, endpoints);
    await stop(last);
    await assert.rejects(fleet.start('all', OLD), /written with encryption key/);
  });

  it('that dies with its node is ended by another', async (t) => {
    const database = await createDatabase();
    t.after(() => database.drop());
    const receiver = await startReceiver(respond(200));
    t.after(() => receiver.close());
    const fleet = await Fleet.gather({
      databaseUrl: database.url,
      env: { POSTHORN_MAX_ENDPOINTS: '1000' },
      longestRunMs: 120_000,
    });
    t.after(() => fleet.disband());
    const first = await fleet.start('all', OLD);
    const endpoints = await addSignedEndpoints(first.operator, receiver, ['alice'], 120);
    first.kill('SIGTERM');
    await first.ended;
    const doomed = await fleet.start('all', BOTH);
    const other = await fleet.start('all', BOTH);
    await other.operator.data('POST', '/v2/encryption_keys/rotate');
    await doomed.logged((line) => line.msg === 'secrets were encrypted anew');
    doomed.kill('SIGKILL');
    await other.logged((line) => line.msg === 'nothing is encrypted with this key any more');
    const expected = await publishTo(other.operator, 'alice');
    await receiver.whenRequests(expected);
    assertSigned(receiver.requests, endpoints);
  });
});

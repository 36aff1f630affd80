/** A PostgreSQL whose disk is full while it is published to: tables and indexes on a small file system of their own. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import pg from 'pg';
import type { Answer } from './support/client.ts';
import { Fleet } from './support/fleet.ts';
import { LOAD_EVENT } from './support/load.ts';
import { PostgresCluster } from './support/postgres-cluster.ts';
import { respond, startReceiver } from './support/receivers.ts';
import { tempDir } from './support/tempdir.ts';
import { findProgram, skipsWithout } from './support/tools.ts';

const MIB = 1024 * 1024;
const LACKS_MOUNT =
  process.platform === 'linux' && process.getuid?.() === 0 && findProgram('unshare')
    ? null
    : 'only root on Linux, with unshare (util-linux), can give a server a small disk';

describe('a PostgreSQL whose disk is full', { timeout: 180_000 }, () => {
  it('is refused to publishers and to readiness, loses nothing, and is used again by itself', async (t) => {
    if (skipsWithout(t, LACKS_MOUNT)) return;
    const disk = await tempDir();
    t.after(() => disk.remove());
    const cluster = await PostgresCluster.start({ disk: { path: disk.path, mebibytes: 64 } });
    t.after(() => cluster.remove());
    const superuser = new pg.Client(cluster.url());
    await superuser.connect();
    await superuser.query(`CREATE TABLESPACE small LOCATION '${join(disk.path, 'space')}'`);
    await superuser.query('CREATE DATABASE posthorn TABLESPACE small');
    await superuser.end();
    const receiver = await startReceiver(respond(200));
    t.after(() => receiver.close());
    const fleet = await Fleet.gather({ databaseUrl: cluster.url('posthorn') });
    t.after(() => fleet.disband());
    const { operator, url } = await fleet.start('all');
    await operator.data('POST', '/v2/account', { body: { username: 'alice' } });
    const endpoint = { url: receiver.url, events: [LOAD_EVENT] };
    await operator.data('POST', '/v2/endpoint', { account: 'alice', body: endpoint });

    const stored: string[] = [];
    const publish = async (eventId: string): Promise<Answer<unknown>> => {
      // Nothing that the database could compress.
      const filler = randomBytes(100_000).toString('base64');
      const data = {
        task_id: eventId,
        status: 'completed',
        image_urls: ['https://example.com/a.png'],
        filler,
      };
      const body = { username: 'alice', event: LOAD_EVENT, event_id: eventId, data };
      const answer = await operator.ask('POST', '/v2/publish', { body });
      if (answer.code === 0) stored.push(eventId);
      return answer;
    };
    assert.equal((await publish('before')).status, 200);
    assert.equal((await operator.ask('GET', '/readyz')).status, 200);

    const ballast = join(cluster.onDisk(disk.path), 'ballast');
    // A file of 64 MiB has no room: what fits of it is written, to the last byte.
    await assert.rejects(writeFile(ballast, Buffer.alloc(64 * MIB)), /ENOSPC/);
    // Pages that are there already take some more.
    const answers: Answer<unknown>[] = [];
    while (answers.at(-1)?.code !== 50000 && answers.length < 200) {
      answers.push(await publish(`full-${answers.length}`));
    }
    const refused = answers.at(-1) as Answer<unknown>;
    assert.deepEqual([refused.status, refused.code], [503, 50000]);
    assert.ok(Number(refused.retryAfter) >= 1, 'it says when to come back');
    assert.match(refused.msg, /disk is full/);
    const refusedId = `full-${answers.length - 1}`;
    const readiness = await operator.ask('GET', '/readyz');
    assert.equal(readiness.status, 503);
    assert.match(readiness.msg, /not ready: .*disk is full/);
    assert.equal((await operator.ask('GET', '/healthz')).status, 200, 'no restart would help');
    assert.match(await (await fetch(`${url}/metrics`)).text(), /^posthorn_store_up 0$/m);

    await rm(ballast);
    let answer = await publish(refusedId);
    while (answer.status === 503) answer = await publish(refusedId);
    assert.deepEqual(
      [answer.code, (answer.data as { duplicate: boolean }).duplicate],
      [0, false],
      'nothing half was left',
    );
    while ((await operator.ask('GET', '/readyz')).status !== 200);
    assert.equal((await publish('after')).status, 200);

    const log = await operator.list<{ event_id: string }>('/v2/event_log', 'events', 'alice');
    assert.deepEqual(
      log.map(({ event_id: id }) => id).toReversed(),
      stored,
      'what was acknowledged, and no more',
    );
    const isEachDelivered = (): boolean => {
      const seen = new Set(receiver.requests.map(({ headers }) => headers['webhook-id']));
      return stored.every((id) => seen.has(id));
    };
    for (let count = 1; !isEachDelivered(); count += 1) await receiver.whenRequests(count);
  });
});

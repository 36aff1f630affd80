/** The audit log is only added to, whoever has the database open, and never apart from its change. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { serviceActor } from '../src/first-start.ts';
import { grantPublish } from '../src/store/postgres/grants.ts';
import { openPostgresStore } from '../src/store/postgres/index.ts';
import { openDatabase } from '../src/store/sqlite/database.ts';
import { openSqliteStore } from '../src/store/sqlite/index.ts';
import type { Store } from '../src/store/store.ts';
import { createDatabase } from './support/postgres.ts';
import { listAll } from './support/store-fixtures.ts';
import { tempDir } from './support/tempdir.ts';

async function writeLine(store: Store): Promise<void> {
  await store.as(serviceActor('a test')).createAccount({ username: 'alice', metadata: null });
}

function linesOf(store: Store) {
  return listAll((page) => store.listAudit({}, page));
}

describe('the audit log on PostgreSQL', () => {
  it('is changed, emptied and shortened by nobody, the superuser included', async (t) => {
    const database = await createDatabase();
    t.after(() => database.drop());
    const store = await openPostgresStore({ url: database.url });
    t.after(() => store.close());
    await writeLine(store);
    const lines = await linesOf(store);
    for (const statement of [
      `UPDATE posthorn.audit SET after = NULL`,
      `DELETE FROM posthorn.audit`,
      `TRUNCATE posthorn.audit`,
      `INSERT INTO posthorn.audit OVERRIDING SYSTEM VALUE SELECT * FROM posthorn.audit ON CONFLICT (seq) DO UPDATE SET via = ''`,
    ]) {
      await assert.rejects(database.query(statement), /append-only/, statement);
    }
    await database.query('SELECT posthorn.purge_audit($1, 100)', [Date.now() + 86_400_000]);
    assert.deepEqual(await linesOf(store), lines, 'retention leaves the last day, whatever it is told');
  });

  it('takes the change with it when a line can’t be written', async (t) => {
    const database = await createDatabase();
    t.after(() => database.drop());
    const store = await openPostgresStore({ url: database.url });
    t.after(() => store.close());
    await database.query('ALTER TABLE posthorn.audit ADD CONSTRAINT refused CHECK (false) NOT VALID');
    await assert.rejects(writeLine(store), { name: 'PosthornError' });
    assert.equal(await store.getAccount('alice'), null);
    await database.query('ALTER TABLE posthorn.audit DROP CONSTRAINT refused');
    await writeLine(store);
    assert.equal((await linesOf(store)).length, 1);
  });

  it('is out of reach of a role that may only publish, and tells who let it', async (t) => {
    const database = await createDatabase();
    t.after(() => database.drop());
    const store = await openPostgresStore({ url: database.url });
    t.after(() => store.close());
    const role = `publisher_of_${database.name}`;
    await database.query(`CREATE ROLE ${role}`);
    after(async () => {
      const server = await createDatabase();
      await server.query(`DROP ROLE ${role}`);
      await server.drop();
    });
    await grantPublish(database.url, role, serviceActor('posthorn migrate --grant-publish'));
    const [line] = await linesOf(store);
    assert.deepEqual(
      [line?.action, line?.target, line?.after?.role, line?.by.via],
      ['database.grant_publish', database.name, role, 'posthorn migrate --grant-publish'],
    );
    for (const statement of ['SELECT * FROM posthorn.audit', 'SELECT posthorn.purge_audit(0, 1)']) {
      await assert.rejects(database.query(`SET ROLE ${role}; ${statement}`), /permission denied/, statement);
      await database.disconnect();
    }
  });
});

describe('the audit log on SQLite', () => {
  it('is changed by nobody', async (t) => {
    const dir = await tempDir();
    t.after(() => dir.remove());
    const path = join(dir.path, 'posthorn.db');
    const store = await openSqliteStore({ path });
    await writeLine(store);
    await store.close();
    const db = openDatabase(path);
    assert.throws(() => db.prepare(`UPDATE audit SET via = 'other'`).run(), /append-only/);
    db.close();
  });

  it('takes the change with it when a line can’t be written', async (t) => {
    const dir = await tempDir();
    t.after(() => dir.remove());
    const path = join(dir.path, 'posthorn.db');
    await (await openSqliteStore({ path })).close();
    const db = openDatabase(path);
    db.exec(`CREATE TRIGGER refused BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'refused'); END`);
    db.close();
    const store = await openSqliteStore({ path });
    t.after(() => store.close());
    const [audited, beside] = await Promise.allSettled([
      writeLine(store),
      store.createAccount({ username: 'bob', metadata: null }),
    ]);
    assert.deepEqual([audited.status, beside.status], ['rejected', 'fulfilled']);
    assert.equal(await store.getAccount('alice'), null);
    assert.ok(await store.getAccount('bob'), 'what shares the commit stands');
  });
});

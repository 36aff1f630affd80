/** The rotation of the encryption key: on real stores, stopped and crashed where it hurts. */
import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import { copyFile, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { systemClock } from '../src/clock.ts';
import { openVault, serviceActor } from '../src/first-start.ts';
import { olderKeysFile, readKeyFile, readOlderKeys, replaceKeyFile } from '../src/key-file.ts';
import { KeyRotation } from '../src/key-rotation.ts';
import {
  createEncryptionKey,
  endpointHeadersContext,
  endpointSecretContext,
  keyId,
  parseEncryptionKey,
  Vault,
} from '../src/secrets.ts';
import { openSqliteStore } from '../src/store/sqlite/index.ts';
import type { Store } from '../src/store/store.ts';
import { assertRefused } from './store-suite/bench.ts';
import { listAll, newEndpoint, unique } from './support/store-fixtures.ts';
import { tempDir } from './support/tempdir.ts';

const K1 = createEncryptionKey();
const K2 = createEncryptionKey();
const K3 = createEncryptionKey();
const idOf = (key: string): string => keyId(parseEncryptionKey(key));
const BY = serviceActor('a test');

async function emptyFolder(t: TestContext): Promise<string> {
  const dir = await tempDir();
  t.after(() => dir.remove());
  return dir.path;
}

async function openStore(t: TestContext, path: string): Promise<Store> {
  const store = await openSqliteStore({ path });
  t.after(() => store.close());
  return store;
}

interface Keys {
  key?: string | null;
  older?: string[];
  file?: string | null;
}

function vaultOf(store: Store, { key = null, older = [], file = null }: Keys): Promise<Vault> {
  return openVault(store, {
    key,
    older,
    file,
    setting: 'POSTHORN_ENCRYPTION_KEY',
    olderSetting: 'POSTHORN_ENCRYPTION_KEY_OLD',
    database: 'the test',
  });
}

/** A rotation whose progress tests can wait for. */
function rotationOf(t: TestContext, store: Store, vault: Vault, file: string | null = null) {
  const errors: unknown[] = [];
  const retired: string[] = [];
  let resealed = 0;
  let wake: () => void = () => {};
  const rotation = new KeyRotation({
    store,
    vault,
    clock: systemClock,
    file,
    isShared: false,
    setting: 'POSTHORN_ENCRYPTION_KEY',
    olderSetting: 'POSTHORN_ENCRYPTION_KEY_OLD',
    onProgress(values) {
      resealed += values;
      wake();
    },
    onRetired(id) {
      retired.push(id);
      wake();
    },
    onError(message, error) {
      errors.push(`${message}: ${(error as Error).message}`);
      wake();
    },
  });
  t.after(() => rotation.stop());
  return {
    rotation,
    errors,
    retired,
    resealed: () => resealed,
    async until(reached: () => boolean): Promise<void> {
      while (!reached()) {
        const { promise, resolve } = Promise.withResolvers<void>();
        wake = resolve;
        await promise;
      }
    },
  };
}

interface Plain {
  endpointId: string;
  secret: string;
  previousSecret: string | null;
  headers: string | null;
}

/** Endpoints with secrets, every second one with headers, every third one rotated. */
async function fill(store: Store, vault: Vault, username: string, count: number): Promise<Plain[]> {
  await store.createAccount({ username, metadata: null });
  return Promise.all(
    Array.from({ length: count }, async (_, n): Promise<Plain> => {
      const endpointId = unique('wh_');
      const plain: Plain = {
        endpointId,
        secret: `whsec_${endpointId}`,
        previousSecret: null,
        headers: n % 2 === 0 ? JSON.stringify({ 'x-token': endpointId }) : null,
      };
      const seal = (text: string) => vault.seal(text, endpointSecretContext(endpointId));
      await store.addEndpoint(
        newEndpoint(username, {
          endpointId,
          secret: seal(plain.secret),
          headers:
            plain.headers === null ? null : vault.seal(plain.headers, endpointHeadersContext(endpointId)),
        }),
        10_000,
      );
      if (n % 3 !== 0) return plain;
      await store.rotateSecret(username, endpointId, seal(`${plain.secret}-2`), Date.now() + 3_600_000);
      return { ...plain, secret: `${plain.secret}-2`, previousSecret: plain.secret };
    }),
  );
}

/** Every value opens, with nothing but the key. */
async function assertOpens(store: Store, key: string, username: string, expected: Plain[]): Promise<void> {
  const vault = new Vault(parseEncryptionKey(key));
  const open = (sealed: string | null, context: string) =>
    sealed === null ? null : vault.open(sealed, context);
  const found = (await store.listEndpoints(username)).map(
    ({ endpointId, secret, previousSecret, headers }): Plain => ({
      endpointId,
      secret: vault.open(secret, endpointSecretContext(endpointId)),
      previousSecret: open(previousSecret, endpointSecretContext(endpointId)),
      headers: open(headers, endpointHeadersContext(endpointId)),
    }),
  );
  const byId = (a: Plain, b: Plain) => (a.endpointId < b.endpointId ? -1 : 1);
  assert.deepEqual(found.sort(byId), [...expected].sort(byId));
}

describe('what is stored in the form of the first versions', () => {
  it('opens still, with the key and with several', () => {
    const key = parseEncryptionKey(K1);
    const nonce = Buffer.alloc(12, 3);
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    cipher.setAAD(Buffer.from('wh_1/secret'));
    const ciphertext = Buffer.concat([cipher.update('whsec_old'), cipher.final()]);
    const parts = [nonce, ciphertext, cipher.getAuthTag()].map((part) => part.toString('base64url'));
    const sealed = ['v1', keyId(key), ...parts].join('.');
    assert.equal(new Vault(key).open(sealed, 'wh_1/secret'), 'whsec_old');
    const later = new Vault(parseEncryptionKey(K2), { older: [parseEncryptionKey(K3), key] });
    assert.equal(later.open(sealed, 'wh_1/secret'), 'whsec_old');
  });
});

describe('a start', () => {
  it('goes on sealing with the key of the data until it is told to rotate', async (t) => {
    const store = await openStore(t, join(await emptyFolder(t), 'a.db'));
    await vaultOf(store, { key: K1 });
    const vault = await vaultOf(store, { key: K2, older: [K1] });
    assert.equal(vault.sealsWith, idOf(K1), 'other nodes may not know the new key yet');
    assert.equal(vault.keyId, idOf(K2));
  });

  it('is refused without the key of the data, and without one that a rotation has left in use', async (t) => {
    const store = await openStore(t, join(await emptyFolder(t), 'a.db'));
    await vaultOf(store, { key: K1 });
    const other = await assertRefused('invalid_parameter', vaultOf(store, { key: K2 }));
    assert.match(other.message, new RegExp(`written with encryption key ${idOf(K1)}`));
    await fill(store, await vaultOf(store, { key: K1 }), 'alice', 1);
    await store.activateEncryptionKey(idOf(K2));
    const half = await assertRefused('invalid_parameter', vaultOf(store, { key: K2 }));
    assert.match(
      half.message,
      new RegExp(`still encrypted with key ${idOf(K1)}.*POSTHORN_ENCRYPTION_KEY_OLD`),
    );
    for (const { message } of [other, half]) {
      for (const key of [K1, K2]) assert.ok(!message.includes(key));
    }
    await vaultOf(store, { key: K2, older: [K3, K1] });
  });
});

/** Tests that wait for a rotation's end fail when it never comes. */
const PATIENCE = { timeout: 60_000 };

describe('a rotation by the configuration', PATIENCE, () => {
  it('seals every value anew, in batches, and retires the older key', async (t) => {
    const store = await openStore(t, join(await emptyFolder(t), 'a.db'));
    const plain = await fill(store, await vaultOf(store, { key: K1 }), 'alice', 250);
    const vault = await vaultOf(store, { key: K2, older: [K1] });
    const { rotation, retired, errors, until, resealed } = rotationOf(t, store, vault);
    rotation.start();
    const before = await rotation.status();
    assert.deepEqual(
      [before.state, before.activeId, before.nextId, before.remaining],
      ['idle', idOf(K1), idOf(K2), 0],
    );
    const begun = await rotation.rotate(BY);
    assert.deepEqual([begun.activeId, begun.olderIds], [idOf(K2), [idOf(K1)]]);
    await until(() => retired.length > 0);
    assert.deepEqual(retired, [idOf(K1)]);
    assert.equal(resealed(), 250 + 125 + 84);
    assert.deepEqual(errors, []);
    await assertOpens(store, K2, 'alice', plain);
    const ended = await rotation.status();
    assert.deepEqual([ended.state, ended.remaining, ended.values], ['idle', 0, { [idOf(K2)]: 459 }]);
    await vaultOf(store, { key: K2 });
    const lines = await listAll((page) => store.listAudit({ targetType: 'encryption_key' }, page));
    assert.deepEqual(
      lines.map(({ action, target, by }) => [action, target, by.kind]),
      [
        ['encryption_key.retire', idOf(K1), 'service'],
        ['encryption_key.activate', idOf(K2), 'service'],
      ],
    );
  });

  it('without a new key is refused, and says what to do', async (t) => {
    const store = await openStore(t, join(await emptyFolder(t), 'a.db'));
    const vault = await vaultOf(store, { key: K1 });
    const { rotation } = rotationOf(t, store, vault);
    const refused = await assertRefused('invalid_parameter', rotation.rotate(BY));
    assert.match(refused.message, /no new key.*POSTHORN_ENCRYPTION_KEY_OLD/);
  });

  it('that died in the middle is gone on with by the next process', async (t) => {
    const folder = await emptyFolder(t);
    const path = join(folder, 'a.db');
    const first = await openSqliteStore({ path });
    const plain = await fill(first, await vaultOf(first, { key: K1 }), 'alice', 250);
    const running = rotationOf(t, first, await vaultOf(first, { key: K2, older: [K1] }));
    running.rotation.start();
    await running.rotation.rotate(BY);
    await running.until(() => running.resealed() > 0);
    await running.rotation.stop();
    // The files as they lie there are what a killed process leaves behind.
    const left = join(folder, 'left.db');
    await copyFile(path, left);
    await copyFile(`${path}-wal`, `${left}-wal`);
    await first.close();

    const second = await openStore(t, left);
    const counts = await second.countSealed();
    assert.ok((counts[idOf(K1)] ?? 0) > 0 && (counts[idOf(K2)] ?? 0) > 0, JSON.stringify(counts));
    const next = rotationOf(t, second, await vaultOf(second, { key: K2, older: [K1] }));
    next.rotation.start();
    await next.until(() => next.retired.length > 0);
    await assertOpens(second, K2, 'alice', plain);
  });

  it('leaves out what changes meanwhile and finds it again', async (t) => {
    const store = await openStore(t, join(await emptyFolder(t), 'a.db'));
    const plain = await fill(store, await vaultOf(store, { key: K1 }), 'alice', 300);
    const vault = await vaultOf(store, { key: K2, older: [K1] });
    // Another process that hasn't heard of the new key yet.
    const late = new Vault(parseEncryptionKey(K1));
    const { rotation, retired, until } = rotationOf(t, store, vault);
    rotation.start();
    await rotation.rotate(BY);
    const changed = await Promise.all(
      plain.map(async (endpoint, n): Promise<Plain> => {
        const { endpointId } = endpoint;
        if (n % 4 === 0) {
          const secret = `whsec_new_${endpointId}`;
          const sealed = late.seal(secret, endpointSecretContext(endpointId));
          await store.rotateSecret('alice', endpointId, sealed, Date.now() + 3_600_000);
          return { ...endpoint, secret, previousSecret: endpoint.secret };
        }
        if (n % 4 === 1) {
          await store.updateEndpoint('alice', endpointId, { headers: null });
          return { ...endpoint, headers: null };
        }
        return endpoint;
      }),
    );
    await until(() => retired.length > 0);
    await assertOpens(store, K2, 'alice', changed);
    const refused = store.updateEndpoint('alice', changed[0]?.endpointId ?? '', {
      headers: late.seal('{}', endpointHeadersContext(changed[0]?.endpointId ?? '')),
    });
    await assertRefused('unavailable', refused);
  });

  it('leaves a value that it can’t open as it is, tells of it, and keeps its key', async (t) => {
    const store = await openStore(t, join(await emptyFolder(t), 'a.db'));
    const vault = await vaultOf(store, { key: K1 });
    const plain = await fill(store, vault, 'alice', 3);
    const broken = await store.addEndpoint(
      newEndpoint('alice', { secret: vault.seal('whsec_moved', endpointSecretContext('wh_another')) }),
      10,
    );
    const rotating = rotationOf(t, store, await vaultOf(store, { key: K2, older: [K1] }));
    rotating.rotation.start();
    await rotating.rotation.rotate(BY);
    await rotating.until(() => rotating.errors.length > 1);
    assert.match(String(rotating.errors[0]), new RegExp(`secret of endpoint ${broken.endpointId}`));
    for (const secret of ['whsec_moved', 'v1.']) assert.ok(!JSON.stringify(rotating.errors).includes(secret));
    assert.deepEqual(rotating.retired, []);
    assert.equal((await rotating.rotation.status()).remaining, 1);
    await store.deleteEndpoint('alice', broken.endpointId);
    await rotating.until(() => rotating.retired.length > 0);
    await assertOpens(store, K2, 'alice', plain);
  });

  it('goes from key to key, also before the one before has ended', async (t) => {
    const store = await openStore(t, join(await emptyFolder(t), 'a.db'));
    const plain = await fill(store, await vaultOf(store, { key: K1 }), 'alice', 120);
    const first = rotationOf(t, store, await vaultOf(store, { key: K2, older: [K1] }));
    await first.rotation.rotate(BY);
    await first.rotation.stop();
    const second = rotationOf(t, store, await vaultOf(store, { key: K3, older: [K1, K2] }));
    second.rotation.start();
    await second.rotation.rotate(BY);
    await second.until(() => second.retired.length === 2);
    await assertOpens(store, K3, 'alice', plain);
  });
});

describe('a rotation by the key file', PATIENCE, () => {
  it('makes a key, writes it before it is used, and keeps the one of before for backups', async (t) => {
    const folder = await emptyFolder(t);
    const file = join(folder, 'encryption.key');
    const store = await openStore(t, join(folder, 'a.db'));
    const vault = await vaultOf(store, { file });
    const before = (await readFile(file, 'utf8')).trim();
    const plain = await fill(store, vault, 'alice', 30);
    const { rotation, retired, until } = rotationOf(t, store, vault, file);
    rotation.start();
    assert.deepEqual(await rotation.status().then(({ makesKey, nextId }) => [makesKey, nextId]), [
      true,
      null,
    ]);
    await rotation.rotate(BY);
    await until(() => retired.length > 0);
    const key = (await readFile(file, 'utf8')).trim();
    assert.notEqual(key, before);
    await assertOpens(store, key, 'alice', plain);
    assert.deepEqual(await readOlderKeys(file), [parseEncryptionKey(before)]);
    for (const path of [file, olderKeysFile(file)]) assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.equal((await vaultOf(store, { file })).sealsWith, idOf(key));
    await rotation.rotate(BY);
    await until(() => retired.length > 1);
    assert.equal((await readOlderKeys(file)).length, 2);
    await assertOpens(store, (await readFile(file, 'utf8')).trim(), 'alice', plain);
  });

  it('that died after it had written the key goes on with that one', async (t) => {
    const folder = await emptyFolder(t);
    const file = join(folder, 'encryption.key');
    const store = await openStore(t, join(folder, 'a.db'));
    const plain = await fill(store, await vaultOf(store, { file }), 'alice', 10);
    const before = idOf(await readFile(file, 'utf8'));
    const made = keyId(await replaceKeyFile(file, Date.now()));
    const vault = await vaultOf(store, { file });
    assert.deepEqual([vault.sealsWith, vault.keyId], [before, made]);
    const { rotation, retired, until } = rotationOf(t, store, vault, file);
    rotation.start();
    assert.equal((await rotation.rotate(BY)).activeId, made);
    await until(() => retired.length > 0);
    await assertOpens(store, await readFile(file, 'utf8'), 'alice', plain);
  });

  it('that died between its two files has lost nothing', async (t) => {
    const folder = await emptyFolder(t);
    const file = join(folder, 'encryption.key');
    const store = await openStore(t, join(folder, 'a.db'));
    const plain = await fill(store, await vaultOf(store, { file }), 'alice', 10);
    const before = await readFile(file, 'utf8');
    // The key of before is with the older ones already, and the new one isn't there.
    await writeFile(olderKeysFile(file), `# a note\n${before}\n`, { mode: 0o600 });
    const vault = await vaultOf(store, { file });
    await assertOpens(store, before, 'alice', plain);
    const { rotation, retired, until } = rotationOf(t, store, vault, file);
    rotation.start();
    await rotation.rotate(BY);
    await until(() => retired.length > 0);
    assert.deepEqual(await readOlderKeys(file), [parseEncryptionKey(before)], 'once');
    await assertOpens(store, await readFile(file, 'utf8'), 'alice', plain);
  });

  it('is refused when the file is not the one that the process was started with', async (t) => {
    const folder = await emptyFolder(t);
    const file = join(folder, 'encryption.key');
    const store = await openStore(t, join(folder, 'a.db'));
    const vault = await vaultOf(store, { file });
    const { rotation } = rotationOf(t, store, vault, file);
    await writeFile(file, `${K3}\n`);
    await assertRefused('unavailable', rotation.rotate(BY));
    assert.deepEqual(await readKeyFile(file), parseEncryptionKey(K3), 'what lies there is left alone');
    assert.equal((await rotation.status()).state, 'idle');
  });

  it('changes nothing when the key of before can’t be kept', async (t) => {
    const folder = await emptyFolder(t);
    const file = join(folder, 'encryption.key');
    const store = await openStore(t, join(folder, 'a.db'));
    const vault = await vaultOf(store, { file });
    const plain = await fill(store, vault, 'alice', 3);
    const before = await readFile(file, 'utf8');
    await mkdir(`${olderKeysFile(file)}.new`);
    const { rotation } = rotationOf(t, store, vault, file);
    await assert.rejects(rotation.rotate(BY), { code: 'EISDIR' });
    assert.equal(await readFile(file, 'utf8'), before);
    assert.equal((await rotation.status()).activeId, idOf(before));
    await assertOpens(store, before, 'alice', plain);
  });

  it('tells which file is damaged, and nothing of what is in it', async (t) => {
    const folder = await emptyFolder(t);
    const file = join(folder, 'encryption.key');
    const store = await openStore(t, join(folder, 'a.db'));
    await vaultOf(store, { file });
    await writeFile(olderKeysFile(file), `${K1}\nhalf-a-key\n`);
    const refused = await assertRefused('invalid_parameter', vaultOf(store, { file }));
    assert.match(refused.message, /encryption\.key\.old doesn't hold an encryption key/);
    assert.ok(!refused.message.includes('half-a-key'));
  });
});

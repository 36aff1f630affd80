/** `posthorn secrets`, on a service that works meanwhile and on one that is killed. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { keyId, parseEncryptionKey } from '../../src/secrets.ts';
import { openDatabase } from '../../src/store/sqlite/database.ts';
import { Client } from '../support/client.ts';
import { type Receiver, respond, startReceiver } from '../support/receivers.ts';
import { addSignedEndpoints, assertSigned, publishTo, type SignedEndpoint } from '../support/signed.ts';
import { tempDir } from '../support/tempdir.ts';
import { FakeServer, callCli, runCli, type RunningService, startService, success } from './harness.ts';

const OPERATOR_KEY = 'operator-key-of-the-rotation-0123456789abcdef';
const ENV = {
  POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
  POSTHORN_ENDPOINT_POLICY: 'development',
  POSTHORN_MAX_ENDPOINTS: '1000',
};
const ACCOUNTS = ['alice', 'bob'];

interface Stand {
  folder: string;
  service: RunningService;
  operator: Client;
  receiver: Receiver;
  endpoints: Map<string, SignedEndpoint>;
  keyFile: string;
  start(): Promise<void>;
}

/** A service with its key in a file, and endpoints with secrets and headers. */
async function stand(t: TestContext, endpointsEach: number): Promise<Stand> {
  const dir = await tempDir();
  t.after(() => dir.remove());
  const receiver = await startReceiver(respond(200));
  t.after(() => receiver.close());
  const made = { folder: dir.path, receiver, keyFile: join(dir.path, 'posthorn-data', 'encryption.key') };
  const running = {
    ...made,
    async start() {
      const service = await startService(dir.path, { env: ENV });
      t.after(async () => {
        service.kill('SIGKILL');
        await service.ended;
      });
      Object.assign(running, { service, operator: new Client(service.url, OPERATOR_KEY) });
    },
  } as Stand;
  await running.start();
  running.endpoints = await addSignedEndpoints(running.operator, receiver, ACCOUNTS, endpointsEach);
  return running;
}

function cli(stand: Stand, ...args: string[]) {
  return runCli(['secrets', ...args, '--url', stand.service.url, '--key', OPERATOR_KEY]);
}

async function idInFile(stand: Stand): Promise<string> {
  return keyId(parseEncryptionKey(await readFile(stand.keyFile, 'utf8')));
}

/** The ids that the stored values say they are sealed with. */
function sealedWith(stand: Stand): string[] {
  const db = openDatabase(join(stand.folder, 'posthorn-data', 'posthorn.db'), { readonly: true });
  try {
    const rows = db
      .prepare<[], { secret: string; headers: string }>(`SELECT secret, headers FROM endpoint`)
      .all();
    return [
      ...new Set(
        rows.flatMap(({ secret, headers }) => [secret, headers].map((v) => v.split('.')[1] as string)),
      ),
    ];
  } finally {
    db.close();
  }
}

describe('posthorn secrets rotate-key', () => {
  it('encrypts everything anew while the service delivers, each delivery signed and with its header', async (t) => {
    const s = await stand(t, 60);
    const before = await idInFile(s);
    let isRotating = true;
    let expected = 0;
    const publishing = (async () => {
      while (isRotating) for (const username of ACCOUNTS) expected += await publishTo(s.operator, username);
    })();
    const rotated = await cli(s, 'rotate-key');
    isRotating = false;
    await publishing;
    assert.equal(rotated.code, 0, rotated.stderr);
    const after = await idInFile(s);
    assert.notEqual(after, before);
    assert.match(rotated.stdout, new RegExp(`^Done: all 240 values encrypted with ${after}, `));
    assert.match(rotated.stderr, /of 240 values encrypted with the new key/);
    assert.deepEqual(sealedWith(s), [after]);
    for (const username of ACCOUNTS) expected += await publishTo(s.operator, username);
    await s.receiver.whenRequests(expected);
    assert.equal(s.receiver.requests.length, expected, 'no delivery was made twice');
    assertSigned(s.receiver.requests, s.endpoints);

    const status = await cli(s, 'status', '--json');
    assert.deepEqual(JSON.parse(status.stdout), {
      state: 'idle',
      active_key_id: after,
      next_key_id: null,
      makes_key: true,
      keys: [{ key_id: after, active: true, values: 240 }],
      remaining: 0,
    });
    const audit = await runCli([
      'audit',
      '--url',
      s.service.url,
      '--key',
      OPERATOR_KEY,
      '--target-type',
      'encryption_key',
    ]);
    assert.match(audit.stdout, /encryption_key\.retire .* by service/);
    assert.match(audit.stdout, /encryption_key\.activate .* by operator configured from 127\.0\.0\.1/);
    for (const { stdout, stderr } of [rotated, status, audit, s.service]) {
      for (const file of ['encryption.key', 'encryption.key.old']) {
        const key = (await readFile(join(s.folder, 'posthorn-data', file), 'utf8')).trim().split('\n').at(-1);
        assert.ok(!`${stdout}${stderr}`.includes(String(key)), 'a key was printed');
      }
    }
  });

  it('that is killed in the middle ends by itself after the next start', async (t) => {
    const s = await stand(t, 200);
    const before = await idInFile(s);
    const begun = await cli(s, 'rotate-key', '--no-wait');
    assert.equal(begun.code, 0, begun.stderr);
    const first = s.service;
    await first.logged((line) => line.msg === 'secrets were encrypted anew');
    first.kill('SIGKILL');
    await first.ended;
    const after = await idInFile(s);
    assert.ok(sealedWith(s).includes(after));
    await s.start();
    // Asked of the service, not looked for in its log: the kill may have come between the end and the line that tells it.
    let status: { state: string; keys: object[] };
    while ((status = await s.operator.data<typeof status>('GET', '/v2/encryption_keys')).state !== 'idle') {
      await setTimeout(20);
    }
    assert.deepEqual(status.keys, [{ key_id: after, active: true, values: 800 }]);
    const audit = await runCli(['audit', '--url', s.service.url, '--key', OPERATOR_KEY]);
    const retired = audit.stdout.split('\n').filter((line) => line.includes('encryption_key.retire'));
    assert.equal(retired.length, 1, audit.stdout);
    assert.ok(retired[0]?.includes(before), retired[0]);
    assert.deepEqual(sealedWith(s), [after]);
    let expected = 0;
    for (const username of ACCOUNTS) expected += await publishTo(s.operator, username);
    await s.receiver.whenRequests(expected);
    assertSigned(s.receiver.requests, s.endpoints);
  });

  it('--dry-run says what would be done, and does nothing', async (t) => {
    const s = await stand(t, 3);
    const before = await idInFile(s);
    const dry = await cli(s, 'rotate-key', '--dry-run');
    assert.equal(dry.code, 0);
    assert.match(dry.stdout, new RegExp(`^Would make a new key, keep ${before} .* encrypt 12 values `));
    assert.equal(await idInFile(s), before);
    assert.deepEqual(sealedWith(s), [before]);
    const status = await cli(s, 'status');
    assert.match(status.stdout, new RegExp(`^KEY ID +USE +VALUES\n${before} +active +12\n$`));
  });
});

describe('posthorn secrets', () => {
  const idle = {
    state: 'idle',
    active_key_id: '11111111',
    next_key_id: null as string | null,
    makes_key: false,
    keys: [{ key_id: '11111111', active: true, values: 2 }],
    remaining: 0,
  };

  async function ask(t: TestContext, data: object, ...args: string[]) {
    const server = await FakeServer.start();
    t.after(() => server.stop());
    server.answer('GET /v2/encryption_keys', success(data));
    const answer = await callCli(['secrets', ...args, '--url', server.url, '--key', 'k']);
    return { ...answer, seen: server.seen };
  }

  it('says how to rotate where there is no new key', async (t) => {
    const { stdout, seen } = await ask(t, idle, 'rotate-key', '--dry-run');
    assert.match(stdout, /^Nothing to do: .* POSTHORN_ENCRYPTION_KEY_OLD first\.$/m);
    assert.deepEqual(
      seen.map(({ method }) => method),
      ['GET'],
    );
  });

  it('says which key a rotation would make active, and that it isn’t yet', async (t) => {
    const next = { ...idle, next_key_id: '22222222' };
    const planned = await ask(t, next, 'rotate-key', '--dry-run');
    assert.equal(
      planned.stdout,
      'Would make 22222222 the active key instead of 11111111, and encrypt 2 values with it.\n',
    );
    assert.match((await ask(t, next, 'status')).stderr, /22222222 isn't in use yet/);
  });

  it('says how far a rotation is', async (t) => {
    const running = {
      ...idle,
      state: 'running',
      keys: [...idle.keys, { key_id: '00000000', active: false, values: 5 }],
      remaining: 5,
    };
    const { stdout, stderr } = await ask(t, running, 'status');
    assert.match(stdout, /00000000 +older +5/);
    assert.match(stderr, /under way: 5 values left/);
  });
});

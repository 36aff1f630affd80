import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { pino } from 'pino';
import { type Config, encryptionKeyFile, loadConfig } from '../src/config.ts';
import { createEncryptionKey } from '../src/secrets.ts';
import { createService, type Service } from '../src/service.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

const PAYLOAD = 'nobody-may-log-this';

let folder: TempDir;
let services: Service[];
let logs: Record<string, unknown>[];
/** Called with each log line. */
let onLog: (line: Record<string, unknown>) => void;

beforeEach(async () => {
  folder = await tempDir();
  services = [];
  logs = [];
  onLog = () => {};
});
afterEach(async () => {
  for (const service of services) await service.stop();
  await folder.remove();
});

function config(env: Record<string, string> = {}): Config {
  return loadConfig({
    env: { POSTHORN_LISTEN: '127.0.0.1:0', POSTHORN_ENDPOINT_POLICY: 'development', ...env },
    cwd: folder.path,
  });
}

function keyFile(): string {
  return encryptionKeyFile(join(folder.path, 'posthorn-data', 'posthorn.db'));
}

async function create(env: Record<string, string> = {}): Promise<Service> {
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const text of chunk.toString().trim().split('\n')) {
        const line = JSON.parse(text) as Record<string, unknown>;
        logs.push(line);
        onLog(line);
      }
      done();
    },
  });
  const service = await createService(config(env), { logger: pino(sink) });
  services.push(service);
  return service;
}

async function call(url: string, key: string, path: string, body?: object, account?: string) {
  const response = await fetch(`${url}${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: {
      'x-api-key': key,
      connection: 'close',
      ...(account === undefined ? {} : { 'x-account': account }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, json: (await response.json()) as { code: number; data: any } };
}

describe('the first start', () => {
  it('makes an operator key that works, and no second one later', async () => {
    const first = await create();
    const key = first.firstStart.operatorKey;
    assert.match(key ?? '', /^ph_[0-9a-f]{64}$/);
    const { url } = await first.start();
    assert.equal((await call(url, key as string, '/v2/accounts')).status, 200);
    await first.stop();
    assert.equal((await create()).firstStart.operatorKey, null);
  });

  it('keeps an encryption key that only this user can read, and finds it again', async () => {
    await (await create()).stop();
    const file = keyFile();
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const key = readFileSync(file, 'utf8');
    await (await create()).stop();
    assert.equal(readFileSync(file, 'utf8'), key);
  });
});

describe('an encryption key that does not fit the data', () => {
  beforeEach(async () => {
    await (await create()).stop();
  });

  it('is refused with a sentence, and leaves the database free', async () => {
    const other = createEncryptionKey();
    await assert.rejects(create({ POSTHORN_ENCRYPTION_KEY: other }), (error: Error) => {
      assert.match(error.message, /written with encryption key [0-9a-f]{8}, but .*POSTHORN_ENCRYPTION_KEY/);
      assert.ok(!error.message.includes(other));
      return true;
    });
    await create();
  });

  it('is missed by name rather than replaced', async () => {
    rmSync(keyFile());
    await assert.rejects(create(), /encryption key [0-9a-f]{8} is missing.*restore .*encryption\.key/);
  });

  it('is said to be damaged when its file is', async () => {
    writeFileSync(keyFile(), 'half a k');
    await assert.rejects(create(), /encryption\.key doesn't hold an encryption key/);
  });
});

describe('stop', () => {
  it('works before a start, and twice', async () => {
    const service = await create();
    await Promise.all([service.stop(), service.stop()]);
    await service.stop();
    await create();
  });

  it('works after a start that failed', async (t) => {
    const occupant = createTcpServer().listen(0, '127.0.0.1');
    t.after(() => occupant.close());
    await once(occupant, 'listening');
    const { port } = occupant.address() as AddressInfo;
    const service = await create({ POSTHORN_LISTEN: `127.0.0.1:${port}` });
    await assert.rejects(service.start(), { code: 'EADDRINUSE' });
    await service.stop();
    await create();
  });

  it('does not wait for a request whose body never ends', async (t) => {
    const service = await create();
    const { url } = await service.start();
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    t.after(() => socket.destroy());
    socket.on('error', () => {});
    const closed = once(socket, 'close', { signal: AbortSignal.timeout(10_000) });
    const head = [
      'POST /v2/publish HTTP/1.1',
      'host: a',
      `x-api-key: ${service.firstStart.operatorKey}`,
      'content-type: application/json',
      'content-length: 100',
      'expect: 100-continue',
    ];
    socket.write(`${head.join('\r\n')}\r\n\r\n`);
    // Its answer to the expectation shows that the request is under way.
    const [continued] = await once(socket, 'data', { signal: AbortSignal.timeout(10_000) });
    assert.match(String(continued), /^HTTP\/1\.1 100 /);
    socket.resume();
    await service.stop();
    await closed;
  });
});

describe('a running service', () => {
  it('delivers what is published, logs the attempt without its payload and counts it', async (t) => {
    const receiver = createServer((request, response) => {
      request.resume();
      request.on('end', () => response.end());
    }).listen(0, '127.0.0.1');
    t.after(() => {
      receiver.close();
      receiver.closeAllConnections();
    });
    await once(receiver, 'listening');
    const service = await create();
    const key = service.firstStart.operatorKey as string;
    const { url } = await service.start();
    const attempted = new Promise<Record<string, unknown>>((resolve) => {
      onLog = (line) => {
        if (line.msg === 'attempt') resolve(line);
      };
    });
    await call(url, key, '/v2/account', { username: 'alice' });
    const hook = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
    const added = await call(
      url,
      key,
      '/v2/endpoint',
      { url: hook, events: ['generated_image_success'] },
      'alice',
    );
    const published = await call(url, key, '/v2/publish', {
      username: 'alice',
      event: 'generated_image_success',
      data: { task_id: PAYLOAD, status: 'completed', image_urls: [] },
    });
    assert.equal(published.status, 200);

    const line = await attempted;
    assert.equal(line.event_id, published.json.data.event_id);
    assert.equal(line.endpoint_id, added.json.data.endpoint_id);
    assert.deepEqual([line.outcome, line.status, line.attempt, line.next], ['success', 200, 1, 'delivered']);

    const metrics = await (await fetch(`${url}/metrics`, { headers: { connection: 'close' } })).text();
    assert.match(metrics, /^posthorn_attempts_total\{outcome="success"\} 1$/m);
    assert.match(metrics, /^posthorn_deliveries_ended_total\{status="delivered"\} 1$/m);
    assert.match(metrics, /^posthorn_publish_batch_events_sum 1$/m);
    assert.match(metrics, /^posthorn_queue_deliveries\{state="due"\} 0$/m);
    assert.match(metrics, /^posthorn_http_requests_total\{.*route="\/v2\/publish".*status="200"\} 1$/m);

    await service.stop();
    const text = JSON.stringify(logs);
    assert.ok(!text.includes(PAYLOAD), 'the payload is in the log');
    assert.ok(!text.includes(key), 'the operator key is in the log');
    assert.ok(!text.includes(added.json.data.secret), 'the endpoint secret is in the log');
  });

  it('is ready when it has started', async () => {
    const { url } = await (await create()).start();
    const response = await fetch(`${url}/readyz`, { headers: { connection: 'close' } });
    assert.equal(response.status, 200);
  });
});

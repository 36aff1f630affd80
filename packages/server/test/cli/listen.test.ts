/** `posthorn listen` against a real server and a receiver that verifies what comes. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { PassThrough } from 'node:stream';
import { after, before, describe, it } from 'node:test';
import { pino } from 'pino';
import { readMessages } from '../../src/cli/event-stream.ts';
import { CommandError } from '../../src/cli/failure.ts';
import type { Io } from '../../src/cli/io.ts';
import { followStream } from '../../src/cli/listen-stream.ts';
import { main } from '../../src/cli/main.ts';
import { loadConfig } from '../../src/config.ts';
import { bodySignature, createSecret, standardSignature } from '../../src/delivery/sign.ts';
import { createService, type Service } from '../../src/service.ts';
import { createAccount, publish } from '../listen.suite.ts';
import { Client } from '../support/client.ts';
import { type TempDir, tempDir } from '../support/tempdir.ts';
import { FakeServer } from './harness.ts';

const OPERATOR_KEY = 'listen-cli-test-operator-key-'.padEnd(48, '0');
const SECRET = createSecret();
const TIME_LIMIT = { timeout: 60_000 };

let folder: TempDir;
let service: Service;
let url: string;
let operator: Client;
let receiver: Server;
let receiverUrl: string;
let received: { headers: IncomingHttpHeaders; body: string }[];
let receiverStatus = 200;

async function startService(port: number): Promise<void> {
  const env = {
    POSTHORN_LISTEN: `127.0.0.1:${port}`,
    POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
    POSTHORN_DATABASE_URL: `sqlite:${join(folder.path, 'posthorn.db')}`,
  };
  service = await createService(loadConfig({ env }), { logger: pino({ level: 'silent' }) });
  ({ url } = await service.start());
}

before(async () => {
  folder = await tempDir();
  await startService(0);
  operator = new Client(url, OPERATOR_KEY);
  receiver = createServer(async (request, response) => {
    received.push({ headers: request.headers, body: await textOf(request) });
    response.writeHead(receiverStatus).end();
  }).listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  receiverUrl = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`;
});
after(async () => {
  receiver.close();
  receiver.closeAllConnections();
  await service.stop();
  await folder.remove();
});

/** The command in this process; `until` resolves with the first line, of stdout or stderr, that matches. */
function listen(args: readonly string[], key: string, serverUrl = url) {
  const lines: string[] = [];
  const out: string[] = [];
  const waiting = new Set<() => void>();
  const output = (kept: string[] | null) => ({
    write: (text: string) => {
      kept?.push(text.trimEnd());
      lines.push(text.trimEnd());
      for (const look of waiting) look();
    },
  });
  const keys = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => {} });
  const io: Io = {
    stdin: keys,
    stdout: output(out),
    stderr: output(null),
    env: { POSTHORN_URL: serverUrl, POSTHORN_API_KEY: key, POSTHORN_LISTEN_SECRET: SECRET },
    cwd: folder.path,
    now: () => Date.now(),
    monotonic: () => performance.now(),
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms / 10)),
  };
  received = [];
  return {
    lines,
    out,
    press: (key: string) => void keys.write(key),
    ended: main(['listen', ...args], io),
    async until(pattern: RegExp): Promise<string> {
      for (;;) {
        const line = lines.find((text) => pattern.test(text));
        if (line !== undefined) return line;
        await new Promise<void>((resolve) => waiting.add(resolve));
      }
    },
  };
}

describe('posthorn listen', () => {
  it('forwards each event as a delivery would come, and tells status and latency', TIME_LIMIT, async () => {
    const { username, key } = await createAccount(operator);
    const listening = listen(['--forward-to', receiverUrl, '--count', '2', '--print-secret'], key);
    await listening.until(/^Listening\.$/);
    assert.ok(listening.lines.includes(`Signed with ${SECRET}`));
    await publish(operator, username, ['e1']);
    await listening.until(/^\S+ \S+ {2}generated_video_success {2}e1 {2}HTTP 200 {2}\d+ ms$/);
    receiverStatus = 503;
    await publish(operator, username, ['e2']);
    assert.equal(await listening.ended, 0);
    receiverStatus = 200;
    assert.match(listening.out[1] ?? '', /e2 {2}HTTP 503/);
    const [{ headers, body } = assert.fail()] = received;
    assert.equal(headers['x-webhook-signature'], bodySignature(SECRET, Buffer.from(body)));
    assert.equal(headers['content-type'], 'application/json');
    assert.equal(headers['webhook-id'], 'e1');
    assert.deepEqual(
      Object.keys(headers)
        .filter((name) => !/^(x-)?webhook-/.test(name))
        .sort(),
      ['connection', 'content-length', 'content-type', 'host', 'user-agent'],
      'nothing that a delivery would not carry',
    );
  });

  it('sends the last event again at r, signed anew, and ends at q', TIME_LIMIT, async () => {
    const { username, key } = await createAccount(operator);
    const listening = listen(['--forward-to', receiverUrl], key);
    await listening.until(/^Listening\.$/);
    listening.press('r');
    await listening.until(/^Nothing came yet\.$/);
    await publish(operator, username, ['e1']);
    await listening.until(/e1 {2}HTTP 200/);
    listening.press('r');
    await listening.until(/e1 {2}again {2}HTTP 200/);
    listening.press('q');
    assert.equal(await listening.ended, 0);
    const [first, second] = received;
    assert.equal(second?.body, first?.body);
    const { 'webhook-timestamp': timestamp, 'webhook-signature': signature } = second?.headers ?? {};
    const expected = standardSignature(SECRET, 'e1', Number(timestamp), Buffer.from(second?.body ?? ''));
    assert.equal(signature, expected);
  });

  it('misses nothing over a restart of the server', TIME_LIMIT, async () => {
    const { username, key } = await createAccount(operator);
    const listening = listen(['--forward-to', receiverUrl, '--count', '3', '--json'], key);
    await listening.until(/^Listening\.$/);
    await publish(operator, username, ['e1']);
    await listening.until(/"e1"/);
    const { port } = new URL(url);
    await service.stop();
    await listening.until(/trying again\.$/);
    await startService(Number(port));
    await publish(operator, username, ['e2', 'e3']);
    assert.equal(await listening.ended, 0);
    const printed = listening.out.map((line) => JSON.parse(line));
    assert.deepEqual(
      // Two may be under way at once.
      printed.map(({ event_id: id }) => String(id)).sort(),
      ['e1', 'e2', 'e3'],
    );
    assert.deepEqual(
      printed.map(({ forwarded }) => forwarded.http_status),
      [200, 200, 200],
    );
    assert.deepEqual(received.map(({ headers }) => String(headers['webhook-id'])).sort(), ['e1', 'e2', 'e3']);
  });

  it('says what is wrong with a receiver, and goes on', TIME_LIMIT, async () => {
    const { username, key } = await createAccount(operator);
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    closed.close();
    const listening = listen(['--forward-to', `http://127.0.0.1:${port}`, '--count', '2'], key);
    await listening.until(/^Listening\.$/);
    await publish(operator, username, ['e1', 'e2']);
    assert.equal(await listening.ended, 0);
    for (const line of listening.out) assert.match(line, /failed {2}\d+ ms {2}\(connection refused/);
    assert.equal(listening.out.length, 2);
  });

  it('ends with the exit code of what went wrong', TIME_LIMIT, async () => {
    assert.equal(await listen([], 'ph_wrong').ended, 1);
    assert.equal(await listen(['--forward-to', 'file:///etc/passwd'], 'ph_x').ended, 2);
    const other = await FakeServer.start();
    other.answer('GET /v2/listen', { body: 'a web page' });
    assert.equal(await listen([], 'ph_x', other.url).ended, 3);
    await other.stop();
    assert.equal(await listen([], 'ph_x', other.url).ended, 3);
  });
});

describe('the reading of an event stream', () => {
  async function read(...chunks: (string | Uint8Array)[]) {
    const encoder = new TextEncoder();
    async function* bytes() {
      for (const chunk of chunks) yield typeof chunk === 'string' ? encoder.encode(chunk) : chunk;
    }
    const messages = [];
    for await (const message of readMessages(bytes())) messages.push(message);
    return messages;
  }

  it('takes messages as they are split, down to the bytes of a character', async () => {
    const whole = new TextEncoder().encode(
      'id: 1.é\r\nevent: webhook\ndata: {"a":"é: b"}\n\n: beat\n\ndata:x\ndata:\n\n',
    );
    const expected = [
      { event: 'webhook', data: '{"a":"é: b"}', id: '1.é' },
      { event: 'comment', data: 'beat', id: '1.é' },
      { event: 'message', data: 'x\n', id: '1.é' },
    ];
    for (let size = 1; size <= whole.length; size += 1) {
      const chunks = [];
      for (let at = 0; at < whole.length; at += size) chunks.push(whole.subarray(at, at + size));
      assert.deepEqual(await read(...chunks), expected, `in pieces of ${size}`);
    }
  });

  it('drops what the connection did not bring to its end', async () => {
    assert.deepEqual(await read('id: 1\nevent: webhook\ndata: {"half":'), []);
    assert.deepEqual(await read('data: whole\n'), []);
  });
});

describe('the stream across lost connections', () => {
  it('tells of a break once, however often it is tried, and of the next one again', async () => {
    const session = new TextEncoder().encode('event: session\ndata: {}\n\n');
    const away = new CommandError('unreachable', 'connection refused');
    const connections = [[session], away, away, away, [session], away, [session]];
    const ending = new AbortController();
    const notices: string[] = [];
    await followStream(
      { sleep: async () => {} },
      {
        client: {
          async stream() {
            const next = connections.shift();
            if (next instanceof Error) throw next;
            return (async function* () {
              yield* next ?? [];
            })();
          },
        } as never,
        events: null,
        secret: SECRET,
        onWebhook: async () => {},
        onNotice: (text) => {
          notices.push(text);
          if (connections.length === 0) ending.abort();
        },
        signal: ending.signal,
      },
    );
    const lost = 'the connection was lost; trying again.';
    assert.deepEqual(notices, ['Listening.', lost, 'Listening again.', lost, 'Listening again.']);
  });
});

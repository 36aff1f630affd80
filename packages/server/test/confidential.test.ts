/** hostile-inputs.md, "secrets, keys, payloads": absent from logs, errors and metrics, whatever is asked and whatever fails. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { createEncryptionKey } from '../src/secrets.ts';
import { type RunningService, runCli, startService } from './cli/harness.ts';
import { startHttpProxy, startSocksProxy } from './support/egress-proxies.ts';
import { type Answer, type AskOptions, Client } from './support/client.ts';
import {
  type Behaviour,
  closedPort,
  type Receiver,
  respond,
  send,
  startReceiver,
} from './support/receivers.ts';
import { createDatabase, type PostgresDatabase } from './support/postgres.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';

const EVENT = 'generated_script_success';
const SPANS_TO_FILE = new URL('./support/spans-to-file.ts', import.meta.url).href;
const OPERATOR_KEY = 'operator-key-that-nobody-may-see-0123456789abcdef';

let folder: TempDir;
let service: RunningService;
let receivers: Receiver[];

beforeEach(async () => {
  folder = await tempDir();
  receivers = [];
});

afterEach(async () => {
  // There is none when it could not be started.
  service?.kill('SIGKILL');
  await service?.ended;
  for (const receiver of receivers) await receiver.close();
  await folder.remove();
});

async function receiverUrl(behaviour: Behaviour): Promise<string> {
  const receiver = await startReceiver(behaviour);
  receivers.push(receiver);
  return receiver.url;
}

/** The spellings in which a text could turn up. The last characters stand for all: the first ones of a key are shown. */
function spellings(secret: string): string[] {
  const tail = secret.slice(-20);
  const bytes = Buffer.from(secret);
  return [
    tail,
    encodeURIComponent(tail),
    bytes.toString('base64').slice(4, -4),
    bytes.toString('hex').slice(8),
  ];
}

function assertWithout(secrets: Record<string, string>, where: string, text: string): void {
  for (const [name, secret] of Object.entries(secrets)) {
    for (const spelling of spellings(secret)) {
      const at = text.indexOf(spelling);
      assert.ok(at < 0, `${name} is in ${where}: ${text.slice(Math.max(0, at - 200), at + 60)}`);
    }
  }
}

/** Remembers every answer. */
class RecordingClient extends Client {
  readonly answers: { request: string; text: string }[] = [];

  override async ask<T = unknown>(
    method: string,
    path: string,
    options: AskOptions = {},
  ): Promise<Answer<T>> {
    const answer = await super.ask<T>(method, path, options);
    const text = `${answer.text} ${JSON.stringify([...answer.headers])}`;
    this.answers.push({ request: `${method} ${path}`, text });
    return answer;
  }
}

/** An API key is in the one answer that makes it, an endpoint's secret and headers in those that show the endpoint, and no other secret in any. */
function assertShownToTheirOwnersAlone(
  answers: readonly { request: string; text: string }[],
  secrets: Record<string, string>,
): void {
  for (const [name, secret] of Object.entries(secrets)) {
    const shown = answers.filter(({ text }) => spellings(secret).some((spelling) => text.includes(spelling)));
    const requests = shown.map(({ request }) => request);
    if (secret.startsWith('ph_') && secret.length === 67) {
      assert.equal(requests.length, 1, `${name}: ${requests.join(', ')}`);
      assert.match(requests[0] ?? '', /^POST .*\/api_key$/);
    } else if (secret.startsWith('whsec_') || name === 'the quiet header') {
      for (const request of requests) assert.match(request, /^(POST|PUT|GET) \/v2\/endpoint/, name);
    } else {
      assert.deepEqual(requests, [], name);
    }
  }
}

/** Everything of the request, in a malformed status line: an error must not quote it. */
const quoteInStatusLine: Behaviour = (socket, request) => {
  send(`HTTP/1.1 9 ${JSON.stringify(request.headers)} ${request.body.toString()}\r\n\r\n`)(socket, request);
};

/** Everything of the request, in status 500's header and body. */
const quoteInAnswer: Behaviour = (socket, request) => {
  const quoted = `${JSON.stringify(request.headers)} ${request.body.toString()}`;
  respond(500, { headers: { 'x-quoted': quoted }, body: quoted })(socket, request);
};

const quoteInRedirect: Behaviour = (socket, request) => {
  const location = `http://elsewhere.example/?${encodeURIComponent(request.body.toString())}`;
  respond(302, { headers: { location } })(socket, request);
};

function marked(marker: string): Record<string, unknown> {
  return {
    task_id: marker,
    status: 'completed',
    scripts: [{ script_style: 'a', script_paragraphs: [marker] }],
  };
}

/** Where a service keeps what it keeps, and how it can be read past the service. */
interface Place {
  env: Record<string, string>;
  /** Secrets that the place itself has. */
  secrets: Record<string, string>;
  /** Everything that is written down, by where it is; while the service runs, too. */
  contents(): Promise<Map<string, string>>;
}

function sqliteFiles(): Place {
  const data = join(folder.path, 'posthorn-data');
  return {
    env: {},
    secrets: {},
    contents: async () =>
      new Map(readdirSync(data).map((file) => [file, readFileSync(join(data, file), 'latin1')])),
  };
}

/** A database with an owner of its own, whose password is one of the secrets. */
async function postgresDatabase(database: PostgresDatabase): Promise<Place> {
  const password = `db-password-${randomBytes(16).toString('hex')}`;
  const role = `owner_of_${database.name}`;
  await database.query(`CREATE ROLE ${role} LOGIN PASSWORD '${password}'`);
  await database.query(`ALTER DATABASE ${database.name} OWNER TO ${role}`);
  const url = new URL(database.url);
  url.username = role;
  url.password = password;
  return {
    env: { POSTHORN_DATABASE_URL: url.href },
    secrets: { "the database's password": password },
    async contents() {
      const tables = await database.query<{ name: string }>(
        `SELECT oid::regclass::text AS name FROM pg_class
         WHERE relnamespace = 'posthorn'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition`,
      );
      const contents = new Map<string, string>();
      for (const { name } of tables) {
        const rows = await database.query<{ row: string }>(`SELECT t::text AS row FROM ${name} t`);
        contents.set(name, rows.map(({ row }) => row).join('\n'));
      }
      return contents;
    },
  };
}

/** The user and password of an egress proxy, which deliveries go through, are refused by and can't reach. */
async function runBehindProxy(kind: 'http' | 'socks5', place: Place): Promise<void> {
  const username = `proxy-user-${randomBytes(16).toString('hex')}`;
  const password = `proxy-password-${randomBytes(16).toString('hex')}`;
  const secrets = {
    'the proxy’s user': username,
    'the proxy’s password': password,
    'the header’s value': Buffer.from(`${username}:${password}`).toString('base64'),
  };
  const behaviour = { credentials: `${username}:${password}` };
  const proxy = await (kind === 'http' ? startHttpProxy : startSocksProxy)(behaviour);
  const spansFile = join(folder.path, 'spans');
  let isOpen = true;
  try {
    const env = {
      ...place.env,
      POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
      POSTHORN_ENCRYPTION_KEY: createEncryptionKey(),
      POSTHORN_ENDPOINT_POLICY: 'development',
      POSTHORN_RETRY_SCHEDULE: '50ms',
      POSTHORN_LOG_LEVEL: 'trace',
      POSTHORN_EGRESS_PROXY: `${kind}://${username}:${password}@127.0.0.1:${proxy.port}`,
    };
    const spanEnv = { NODE_OPTIONS: `--import ${SPANS_TO_FILE}`, SPANS_FILE: spansFile };
    service = await startService(folder.path, { env: { ...env, ...spanEnv } });
    const client = new RecordingClient(service.url, OPERATOR_KEY);
    const url = await receiverUrl(respond(200));
    await client.data('POST', '/v2/account', { body: { username: 'alice' } });
    await client.data('POST', '/v2/endpoint', { account: 'alice', body: { url, events: [EVENT] } });
    const publish = async (eventId: string, next: string): Promise<void> => {
      const body = { username: 'alice', event: EVENT, event_id: eventId, data: marked('m') };
      await client.data('POST', '/v2/publish', { body });
      await service.logged((line) => line.event_id === eventId && line.next === next);
    };
    await publish('through', 'delivered');
    assert.equal(proxy.asked.at(-1)?.credentials, behaviour.credentials, 'the proxy is told them');
    const doctor = await runCli(['doctor'], { cwd: folder.path, env: { ...env, POSTHORN_URL: service.url } });
    // From now on it knows somebody else. What is kept open is closed first.
    behaviour.credentials = 'somebody:else';
    receivers[0]?.resetConnections();
    await publish('refused', 'dead');
    await proxy.close();
    isOpen = false;
    await publish('out-of-reach', 'dead');
    for (const path of [
      '/v2/deliveries',
      '/v2/event_log',
      '/v2/overview',
      '/v2/endpoints/health',
      '/v2/stats',
    ])
      await client.ask('GET', path, { account: 'alice' });
    await client.ask('GET', '/v2/system');
    await client.ask('GET', '/v2/audit?limit=200');
    const { deliveries } = await client.data<{ deliveries: { delivery_id: string }[] }>(
      'GET',
      '/v2/deliveries',
      { account: 'alice' },
    );
    for (const { delivery_id: id } of deliveries)
      await client.data('GET', `/v2/delivery/${id}`, { account: 'alice' });
    const metrics = await (await fetch(`${service.url}/metrics`)).text();
    assert.match(metrics, /^posthorn_attempts_total\{outcome="proxy_error"\} [1-9]/m);
    const written = await place.contents();
    service.kill('SIGTERM');
    assert.equal(await service.ended, 0);
    const spans = readFileSync(spansFile, 'utf8');
    assert.match(spans, /'posthorn.outcome': 'proxy_error'/);
    for (const [where, text] of [
      ['the log', service.stdout],
      ['stderr', service.stderr],
      ['the metrics', metrics],
      ['the spans', spans],
      ['posthorn doctor', `${doctor.stdout}${doctor.stderr}`],
      ...client.answers.map(({ request, text }) => [request, text] as const),
      ...written,
      ...(await place.contents()),
    ] as const) {
      assertWithout(secrets, where, text);
    }
    // What can't be read isn't repeated either.
    const wrong = { ...env, POSTHORN_EGRESS_PROXY: `${env.POSTHORN_EGRESS_PROXY}/path` };
    const { stdout, stderr } = await runCli(['serve'], { cwd: folder.path, env: wrong });
    assert.match(stderr, /POSTHORN_EGRESS_PROXY/);
    assertWithout(secrets, 'a refused start', `${stdout}${stderr}`);
  } finally {
    if (isOpen) await proxy.close();
  }
}

/** Drops the role that {@link postgresDatabase} has made, with the database. */
async function dropWithOwner(database: PostgresDatabase): Promise<void> {
  await database.drop();
  const server = await createDatabase();
  await server.query(`DROP ROLE IF EXISTS owner_of_${database.name}`);
  await server.drop();
}

describe('what nobody may see', () => {
  it('is on SQLite in no log line, error, metric or answer that isn’t for it and, where it is a secret, in no file', () =>
    fullRun(sqliteFiles()));

  it('is on PostgreSQL in none of them either, nor in any row', async (t) => {
    const database = await createDatabase();
    t.after(() => dropWithOwner(database));
    await fullRun(await postgresDatabase(database));
  });

  async function fullRun(place: Place): Promise<void> {
    const encryptionKey = createEncryptionKey();
    const olderKey = createEncryptionKey();
    service = await startService(folder.path, {
      env: {
        ...place.env,
        POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
        POSTHORN_ENCRYPTION_KEY: encryptionKey,
        POSTHORN_ENCRYPTION_KEY_OLD: olderKey,
        POSTHORN_ENDPOINT_POLICY: 'development',
        POSTHORN_RETRY_SCHEDULE: '50ms',
        POSTHORN_RATE_LIMIT_POST: '40/m',
        POSTHORN_LOG_LEVEL: 'trace',
      },
    });
    const client = new RecordingClient(service.url, OPERATOR_KEY);
    /** Sealed or hashed at rest. */
    const secrets: Record<string, string> = {
      'the operator key': OPERATOR_KEY,
      'the encryption key': encryptionKey,
      'the older encryption key': olderKey,
      ...place.secrets,
    };
    /** Stored as they are, and shown to their account alone. */
    const confidential: Record<string, string> = {};
    const refusals: Answer<unknown>[] = [];

    /** A text of its own that must not turn up. */
    function mark(name: string): string {
      const marker = `${name}-${randomBytes(16).toString('hex')}`;
      confidential[name] = marker;
      return marker;
    }
    async function refused(method: string, path: string, options: AskOptions = {}): Promise<void> {
      const answer = await client.ask(method, path, options);
      assert.notEqual(answer.code, 0, `${method} ${path}`);
      refusals.push(answer);
    }
    async function createKey(name: string, path: string, body: object): Promise<string> {
      const { api_key: apiKey } = await client.data<{ api_key: string }>('POST', path, { body });
      secrets[name] = apiKey;
      return apiKey;
    }
    function publishRefused(data: unknown, more: object = {}): Promise<void> {
      return refused('POST', '/v2/publish', { body: { username: 'alice', event: EVENT, data, ...more } });
    }

    // Keys
    await client.data('POST', '/v2/account', { body: { username: 'alice' } });
    const key = await createKey("the account's key", '/v2/account/alice/api_key', { name: 'first' });
    const publishKey = await createKey('the publish key', '/v2/api_key', { name: 'p', scopes: ['publish'] });
    const revokedKey = await createKey('the revoked key', '/v2/account/alice/api_key', { name: 'old' });
    const { api_keys: keys } = await client.data<{ api_keys: { key_id: string; name: string }[] }>(
      'GET',
      '/v2/account/alice/api_keys',
    );
    const revokedId = keys.find(({ name }) => name === 'old')?.key_id;
    await client.data('DELETE', `/v2/api_key/${revokedId}`);
    secrets['a wrong key'] = 'ph_wrong-but-confidential-all-the-same';
    for (const wrong of [revokedKey, secrets['a wrong key'], `${key}, ${key}`, key.toUpperCase()]) {
      await refused('GET', '/v2/endpoints', { key: wrong });
    }
    await refused('GET', `/v2/endpoints?x-api-key=${key}`, { key: 'none' });
    await refused('GET', `/v2/endpoints?api_key=${key}`, { key });
    await refused('GET', '/v2/accounts', { key });
    await refused('GET', '/v2/endpoints', { key: publishKey });
    await refused('GET', '/v2/endpoints', { key: 'none', headers: { authorization: `Bearer ${key}` } });

    // Endpoints
    const urls: Record<string, string> = {
      quiet: await receiverUrl(respond(200)),
      quoting: await receiverUrl(quoteInAnswer),
      garbling: await receiverUrl(quoteInStatusLine),
      redirecting: await receiverUrl(quoteInRedirect),
      gone: await receiverUrl(respond(410)),
      absent: `http://127.0.0.1:${await closedPort()}/hook`,
    };
    const endpoints: Record<string, string> = {};
    for (const [name, url] of Object.entries(urls)) {
      const headers = { authorization: `Bearer ${mark(`${name}-header`)}` };
      // The answer that quotes the request is kept for the account, with the value that it quotes.
      if (name === 'quiet') secrets['the quiet header'] = confidential[`${name}-header`] as string;
      const body = { url: `${url}?token=${mark(`${name}-url`)}`, events: [EVENT], headers };
      const endpoint = await client.data<{ endpoint_id: string; secret: string }>('POST', '/v2/endpoint', {
        key,
        body,
      });
      endpoints[name] = endpoint.endpoint_id;
      secrets[`the ${name} secret`] = endpoint.secret;
    }
    const rotated = await client.data<{ secret: string }>(
      'POST',
      `/v2/endpoint/${endpoints.quiet}/rotate_secret`,
      { key, body: {} },
    );
    secrets['the new secret'] = rotated.secret;
    const password = mark('password');
    const value = mark('refused-header');
    for (const body of [
      { url: `https://user:${password}@example.com/`, events: [EVENT] },
      { url: `ftp://example.com/?token=${mark('refused-url')}`, events: [EVENT] },
      { url: 'https://example.com/', events: [EVENT], secret: secrets['the new secret'] },
      { url: 'https://example.com/', events: [EVENT], headers: { 'x-token': `${value}\r\nx-more: 1` } },
      { url: 'https://example.com/', events: [EVENT], headers: { 'webhook-id': value } },
    ]) {
      await refused('POST', '/v2/endpoint', { key, body });
    }
    await refused('GET', `/v2/endpoint/${endpoints.quiet}x?secret=${rotated.secret}`, { key });
    await refused('POST', '/v2/endpoint', { key, body: `{"url":"${mark('broken-body')}"` });

    // Events
    await publishRefused({ ...marked('a'), scripts: mark('data-of-a-wrong-type') });
    await publishRefused({ ...marked('a'), task_id: [mark('data-of-another-type')] });
    await publishRefused(marked(mark('data-of-no-type')), { event: 'no.such.type' });
    await publishRefused(marked(mark('data-for-nobody')), { username: 'nobody' });
    await publishRefused({ ...marked('a'), filler: mark('large-data').repeat(8_000) });
    await publishRefused(marked(mark('data-with-a-bad-id')), { event_id: 'a/b' });
    await refused('POST', '/v2/publish', { body: `{"data":{"a":"${mark('data-in-no-json')}",}` });
    await refused('POST', '/v2/publish', {
      body: `{"data":{"a":"${mark('data-beside-a-number')}","n":1e400}}`,
    });
    await refused('POST', '/v2/publish', {
      body: marked(mark('data-of-another-media-type')),
      headers: { 'content-type': 'text/plain' },
    });
    await client.data('POST', '/v2/publish', {
      key: publishKey,
      body: { username: 'alice', event: EVENT, event_id: 'told', data: marked(mark('data')) },
    });
    await publishRefused(marked(mark('conflicting-data')), { event_id: 'told' });
    const batch = await client.ask('POST', '/v2/publish', {
      body: {
        events: [
          { username: 'alice', event: EVENT, data: { ...marked('a'), scripts: mark('data-in-a-batch') } },
        ],
      },
    });
    refusals.push(batch);

    // Every delivery comes to its end, by success, by failure and by the endpoint's.
    const unfinished = new Set(Object.values(endpoints));
    await service.logged((line) => {
      if (line.next === 'delivered' || line.next === 'dead') unfinished.delete(String(line.endpoint_id));
      return unfinished.size === 0;
    });
    const { deliveries } = await client.data<{
      deliveries: { delivery_id: string; endpoint_id: string; status_reason: string | null }[];
    }>('GET', '/v2/deliveries', { key });
    assert.equal(deliveries.length, Object.keys(endpoints).length);
    interface Detail {
      url: string;
      request: { headers: object };
      attempt_log: { error: string | null }[];
    }
    const shown: string[] = [];
    for (const delivery of deliveries) {
      const detail = await client.data<Detail>('GET', `/v2/delivery/${delivery.delivery_id}`, { key });
      assert.ok(detail.attempt_log.length > 0);
      const errors = detail.attempt_log.map(({ error }) => error);
      shown.push(JSON.stringify([delivery.status_reason, detail.request.headers, errors]));
    }
    await client.data('POST', `/v2/delivery/${deliveries.at(-1)?.delivery_id}/retry`, { key });

    // The rotation of the key, which is refused, for there is none to rotate to
    await refused('POST', '/v2/encryption_keys/rotate');
    await client.data('GET', '/v2/encryption_keys');

    // The audit log, as an operator and as the account sees it
    await client.data('GET', '/v2/audit?limit=200');
    await client.data('GET', '/v2/audit?limit=200', { key });

    // A store that can't be written, in the middle of it
    if (process.platform === 'linux' && place.env.POSTHORN_DATABASE_URL === undefined) {
      const limit = (bytes: string) =>
        execFileSync('prlimit', ['--pid', `${service.pid}`, `--fsize=${bytes}:`]);
      limit('0');
      await publishRefused(marked(mark('data-without-a-disk')));
      await refused('POST', `/v2/endpoint/${endpoints.quiet}/rotate_secret`, { key, body: {} });
      await refused('POST', '/v2/account/alice/api_key', { body: { name: 'second' } });
      limit('unlimited');
    }
    // Until the account's limit of requests is used up.
    let answer: Answer<unknown>;
    do {
      answer = await client.ask('POST', '/v2/endpoint', { key, body: { url: password } });
      refusals.push(answer);
    } while (answer.code !== 429);

    const metrics = await (await fetch(`${service.url}/metrics`)).text();
    assert.match(metrics, /^posthorn_attempts_total\{outcome="success"\} [1-9]/m);
    // While it runs, so that what is only in the log of writes is seen, too.
    const written = await place.contents();
    assert.ok(written.size > 2, 'something is written');
    for (const [where, text] of written) assertWithout(secrets, `${where}, of the running service`, text);
    const cli = (...args: string[]) =>
      runCli(args, {
        cwd: folder.path,
        env: {
          ...place.env,
          POSTHORN_URL: service.url,
          POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
          POSTHORN_ENCRYPTION_KEY: encryptionKey,
          POSTHORN_ENCRYPTION_KEY_OLD: olderKey,
        },
      });
    const commands = [
      ['audit', '--limit', '200'],
      ['secrets', 'status'],
      ['secrets', 'rotate-key', '--dry-run'],
      ['key', 'list', '--account', 'alice'],
      ['account', 'list', '--key', `${key}x`],
      ['doctor'],
    ];
    for (const args of commands) {
      const { stdout, stderr } = await cli(...args);
      assert.ok(`${stdout}${stderr}`.length > 10, args.join(' '));
      assertWithout(secrets, `posthorn ${args.join(' ')}`, `${stdout}${stderr}`);
    }
    service.kill('SIGTERM');
    assert.equal(await service.ended, 0);

    const everything = { ...secrets, ...confidential };
    assert.ok(service.stdout.split('\n').length > 50, 'there is a log');
    assertWithout(everything, 'the log', service.stdout);
    assertWithout(everything, 'stderr', service.stderr);
    assertWithout(everything, 'the metrics', metrics);
    for (const { text, headers } of refusals) {
      assertWithout(everything, 'an error', `${text} ${JSON.stringify([...headers])}`);
    }
    for (const text of shown) assertWithout(everything, 'a delivery', text);
    for (const [where, text] of await place.contents()) assertWithout(secrets, where, text);
    assertShownToTheirOwnersAlone(client.answers, secrets);
  }

  it('is the password of an egress proxy, an http one on SQLite: in no log line, error, metric, span, answer or file', () =>
    runBehindProxy('http', sqliteFiles()));

  it('is the password of an egress proxy, a SOCKS one on PostgreSQL: in none of them either, nor in any row', async (t) => {
    const database = await createDatabase();
    t.after(() => dropWithOwner(database));
    await runBehindProxy('socks5', await postgresDatabase(database));
  });

  it('is not printed by the first start, but for the operator key, once and beside the log', async () => {
    service = await startService(folder.path, { env: { POSTHORN_LOG_LEVEL: 'trace' } });
    const operatorKey = service.printedKey as string;
    await new Client(service.url, operatorKey).data('GET', '/v2/accounts');
    service.kill('SIGTERM');
    assert.equal(await service.ended, 0);
    const file = join(folder.path, 'posthorn-data', 'encryption.key');
    const encryptionKey = readFileSync(file, 'utf8').trim();
    assertWithout(
      { 'the operator key': operatorKey, 'the encryption key': encryptionKey },
      'the log',
      service.stdout,
    );
    assertWithout({ 'the encryption key': encryptionKey }, 'stderr', service.stderr);
    assert.equal(service.stderr.split(operatorKey).length, 2);
  });
});

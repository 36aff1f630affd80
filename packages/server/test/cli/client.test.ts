import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { callCli, FakeServer, refusal, runCli, startCli, success } from './harness.ts';

let server: FakeServer;
let folder: string;
before(async () => {
  server = await FakeServer.start();
  folder = mkdtempSync(join(tmpdir(), 'posthorn-cli-'));
});
after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  server.seen.length = 0;
});

const KEY = 'ph_test_key';

/** A command with a server and a key. */
function call(...args: string[]) {
  return callCli(args, { env: { POSTHORN_URL: server.url, POSTHORN_API_KEY: KEY }, cwd: folder });
}

const ACCOUNT = {
  username: 'alice',
  status: 'active',
  metadata: null,
  endpoints: 2,
  created_at: 1_769_860_800,
};

describe('a client command', () => {
  it('runs in a process of its own, prints a table and ends with 0', async () => {
    server.answer('GET /v2/accounts', success({ accounts: [ACCOUNT], next_cursor: 'abc' }));
    const { code, stdout, stderr } = await runCli(['account', 'list', '--url', server.url, '--key', KEY]);
    assert.equal(
      stdout,
      'USERNAME  STATUS  ENDPOINTS  CREATED\nalice     active          2  2026-01-31 12:00:00Z\n',
    );
    assert.equal(stderr, 'There is more: add --cursor abc\n');
    assert.equal(code, 0);
    assert.equal(server.lastSeen.path, '/v2/accounts?limit=50');
  });

  it('prints exactly the data as one JSON document with --json', async () => {
    const data = { accounts: [{ ...ACCOUNT, later_field: [1, 'x'] }], next_cursor: 'abc' };
    server.answer('GET /v2/accounts', success(data));
    const { stdout, stderr } = await call('account', 'list', '--json');
    assert.deepEqual(JSON.parse(stdout), data);
    assert.equal(stderr, '');
  });

  it('takes the key from --key, then POSTHORN_API_KEY, then POSTHORN_OPERATOR_KEY', async () => {
    server.answer('GET /v2/account/alice', success(ACCOUNT));
    const env = { POSTHORN_URL: server.url, POSTHORN_API_KEY: 'api', POSTHORN_OPERATOR_KEY: 'operator' };
    await callCli(['account', 'show', 'alice', '--key', 'flag'], { env });
    await callCli(['account', 'show', 'alice'], { env });
    await callCli(['account', 'show', 'alice'], { env: { ...env, POSTHORN_API_KEY: '' } });
    assert.deepEqual(
      server.seen.map(({ headers }) => headers['x-api-key']),
      ['flag', 'api', 'operator'],
    );
  });

  it('asks below the path of --url', async () => {
    await call('account', 'list', '--url', `${server.url}/posthorn/`);
    assert.equal(server.lastSeen.path, '/posthorn/v2/accounts?limit=50');
  });

  it('encodes what it puts into the path', async () => {
    await call('account', 'show', 'a/../b?c');
    assert.equal(server.lastSeen.path, '/v2/account/a%2F..%2Fb%3Fc');
  });

  it('prints hostile text harmlessly', async () => {
    const username = '\x1b]0;owned\x07al\u202eice\n';
    server.answer('GET /v2/accounts', success({ accounts: [{ ...ACCOUNT, username }], next_cursor: null }));
    const { stdout } = await call('account', 'list');
    assert.ok(stdout.includes('\\x1b]0;owned\\x07al\\u202eice\\x0a'), stdout);
  });

  it('survives a reader that has seen enough', async () => {
    const accounts = Array.from({ length: 5000 }, () => ({ ...ACCOUNT, username: 'a'.repeat(64) }));
    server.answer('GET /v2/accounts', success({ accounts, next_cursor: null }));
    const child = startCli(['account', 'list', '--url', server.url, '--key', KEY]);
    let stderr = '';
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    child.stdout.once('data', () => child.stdout.destroy());
    const [code] = await once(child, 'close');
    assert.equal(stderr, '');
    assert.equal(code, 0);
  });
});

describe('a failure', () => {
  it('is the server’s sentence with its code and request id, exit code 1', async () => {
    server.answer('GET /v2/account/bob', refusal(404, 10104, 'account "bob" not found'));
    assert.deepEqual(await call('account', 'show', 'bob'), {
      code: 1,
      stdout: '',
      stderr: 'posthorn: account "bob" not found (HTTP 404, code 10104, request req_1)\n',
    });
  });

  it('of a wrong key says how to give another, and never repeats it', async () => {
    server.answer('GET /v2/accounts', refusal(401, 10105, 'invalid API key'));
    const { code, stderr } = await runCli(['account', 'list', '--url', server.url], {
      env: { POSTHORN_API_KEY: KEY },
    });
    assert.match(
      stderr,
      /^posthorn: invalid API key: give a valid key with --key or POSTHORN_API_KEY \(HTTP 401/,
    );
    assert.ok(!stderr.includes(KEY));
    assert.equal(code, 1);
  });

  it('of a missing account says --account', async () => {
    server.answer('GET /v2/deliveries', refusal(400, 40000, 'x-account is missing'));
    assert.match((await call('deliveries', 'list')).stderr, /name the account with --account/);
  });

  it('to reach the server is exit code 3 and says how to start one', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address() as AddressInfo;
    closed.close();
    await once(closed, 'close');
    const { code, stdout, stderr } = await runCli(['account', 'list', '--key', KEY], {
      env: { POSTHORN_URL: `http://127.0.0.1:${port}` },
    });
    assert.match(
      stderr,
      /^posthorn: Can't reach Posthorn at http:.*\(connection refused\): start it with `posthorn serve`/,
    );
    assert.equal(stderr.trimEnd().split('\n').length, 1);
    assert.equal(stdout, '');
    assert.equal(code, 3);
  });

  it('of a server that hangs up is exit code 3', async () => {
    const rude = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    await once(rude, 'listening');
    const { port } = rude.address() as AddressInfo;
    const { code, stderr } = await call('account', 'list', '--url', `http://127.0.0.1:${port}`);
    rude.close();
    assert.match(stderr, /closed the connection/);
    assert.equal(code, 3);
  });

  const strangers: [name: string, answer: Parameters<FakeServer['answer']>[1], message: RegExp][] = [
    [
      'that answers HTML',
      { body: '<h1>nginx</h1>' },
      /not a Posthorn server \(HTTP 200 without Posthorn's JSON\): check --url/,
    ],
    [
      'that answers other JSON',
      { status: 502, body: { error: 'bad gateway' } },
      /HTTP 502 without Posthorn's JSON/,
    ],
    ['that answers null', { body: 'null' }, /without Posthorn's JSON/],
    ['that answers nothing', { status: 204, body: '' }, /HTTP 204 without/],
  ];
  for (const [name, answer, message] of strangers) {
    it(`of a server ${name} is exit code 3`, async () => {
      server.answer('GET /v2/accounts', answer);
      const { code, stderr } = await call('account', 'list');
      assert.match(stderr, message);
      assert.equal(code, 3);
    });
  }

  it('of a redirect names its target and doesn’t take the key there', async () => {
    server.answer('GET /v2/accounts', {
      status: 308,
      headers: { location: `${server.url}/other` },
      body: '',
    });
    const { code, stderr } = await call('account', 'list');
    assert.match(stderr, /a redirect to http:.*\/other/);
    assert.equal(code, 3);
    assert.equal(server.seen.length, 1);
  });

  it('that is a defect shows its stack only with POSTHORN_DEBUG', async () => {
    server.answer('GET /v2/accounts', success({}));
    const env = { POSTHORN_URL: server.url, POSTHORN_API_KEY: KEY };
    const plain = await callCli(['account', 'list'], { env });
    assert.match(
      plain.stderr,
      /^posthorn: .*\nThis is a defect of Posthorn; with POSTHORN_DEBUG=1 it says where\.\n$/,
    );
    const debug = await callCli(['account', 'list'], { env: { ...env, POSTHORN_DEBUG: '1' } });
    assert.match(debug.stderr, /\n {4}at /);
    assert.equal(debug.code, 1);
  });
});

describe('wrong usage', () => {
  const rows: [name: string, args: string[], message: RegExp][] = [
    ['of a command that there isn’t', ['publsh'], /unknown command 'publsh'\n\(Did you mean publish\?\)/],
    ['of an option that there isn’t', ['account', 'list', '--limt', '5'], /unknown option '--limt'/],
    ['without an argument', ['account', 'show'], /missing required argument 'username'/],
    ['without a required option', ['publish', 'x'], /required option '--account <username>' not specified/],
    ['with a limit out of range', ['account', 'list', '--limit', '201'], /whole number between 1 and 200/],
    [
      'with a status that there isn’t',
      ['deliveries', 'list', '--status', 'lost'],
      /pending, delivered, dead, cancelled/,
    ],
    [
      'with a time that is none',
      ['deliveries', 'list', '--since', 'tuesday'],
      /"tuesday" is not a time; write how long ago/,
    ],
    [
      'with a URL that is none',
      ['account', 'list', '--url', 'localhost:8080'],
      /--url must be an http or https URL/,
    ],
    [
      'with a password in the URL',
      ['account', 'list', '--url', 'http://u:hunter2@h'],
      /no user name, query or fragment/,
    ],
    ['with a key that can’t be one', ['account', 'list', '--key', 'hunter2\n'], /characters that no key has/],
    [
      'with an account that can’t be one',
      ['deliveries', 'list', '--account', 'a\nb'],
      /--account must be a username/,
    ],
    ['with neither data nor example', ['publish', 'x', '--account', 'a'], /either --data or --example/],
    [
      'with both',
      ['publish', 'x', '--account', 'a', '--data', '{}', '--example'],
      /either --data or --example/,
    ],
    ['with data that isn’t JSON', ['publish', 'x', '--account', 'a', '--data', '{'], /--data is not JSON/],
    [
      'with data that is no object',
      ['publish', 'x', '--account', 'a', '--data', '[1]'],
      /--data must be a JSON object/,
    ],
    [
      'with a file that isn’t there',
      ['publish', 'x', '--account', 'a', '--data', '@no.json'],
      /file no\.json isn't there/,
    ],
    ['of delete without --yes', ['account', 'delete', 'alice'], /add --yes if you mean it/],
    ['of revoke with a key for its id', ['key', 'revoke', 'ph_hunter2'], /not its id \(key_…\)/],
    ['without a sub-command', ['account'], /Usage: posthorn account/],
    ['without a command', [], /Usage: posthorn/],
  ];
  for (const [name, args, message] of rows) {
    it(`${name} is exit code 2, and nothing is sent`, async () => {
      const { code, stdout, stderr } = await call(...args);
      assert.match(stderr, message);
      assert.equal(stdout, '');
      assert.ok(!stderr.includes('hunter2'));
      assert.equal(code, 2);
      assert.equal(server.seen.length, 0);
    });
  }

  it('without a key says where to get one', async () => {
    const { code, stderr } = await callCli(['account', 'list'], { env: { POSTHORN_URL: server.url } });
    assert.match(stderr, /No API key: give --key, or set POSTHORN_API_KEY/);
    assert.equal(code, 2);
  });
});

describe('--help', () => {
  const commands = [
    [],
    ['serve'],
    ['migrate'],
    ['publish'],
    ['doctor'],
    ['deliveries'],
    ...['list', 'show', 'retry'].map((name) => ['deliveries', name]),
    ['replay'],
    ...['start', 'status', 'stop'].map((name) => ['replay', name]),
    ['account'],
    ...['create', 'list', 'show', 'suspend', 'activate', 'delete'].map((name) => ['account', name]),
    ['key'],
    ...['create', 'list', 'revoke'].map((name) => ['key', name]),
  ];
  for (const command of commands) {
    it(`of posthorn ${command.join(' ')} has an example and the exit codes`, async () => {
      const { code, stdout, stderr } = await callCli([...command, '--help']);
      assert.match(stdout, new RegExp(`Usage: posthorn ${command.join(' ')}`));
      assert.match(stdout, /Examples:\n.*posthorn /);
      assert.match(stdout, /Exit codes: 0 done, 1 .*, 2 .*, 3 /);
      assert.equal(stderr, '');
      assert.equal(code, 0);
    });
  }

  it('--version prints the version', async () => {
    const { code, stdout } = await runCli(['--version']);
    assert.match(stdout, /^\d+\.\d+\.\d+/);
    assert.equal(code, 0);
  });
});

describe('account', () => {
  it('create passes metadata on as it was written', async () => {
    server.answer('POST /v2/account', success(ACCOUNT));
    const metadata = '{"n": 12345678901234567890}';
    const { stdout } = await call('account', 'create', 'alice', '--metadata', metadata);
    assert.equal(server.lastSeen.body, `{"username":"alice","metadata":${metadata}}`);
    assert.equal(server.lastSeen.headers['content-type'], 'application/json');
    assert.equal(stdout, 'Created account alice.\n');
  });

  it('suspend and activate set the status', async () => {
    server.answer('PATCH /v2/account/alice', success(ACCOUNT));
    assert.equal((await call('account', 'suspend', 'alice')).stdout, 'Suspended account alice.\n');
    assert.deepEqual(JSON.parse(server.lastSeen.body), { status: 'suspended' });
    assert.equal((await call('account', 'activate', 'alice')).stdout, 'Activated account alice.\n');
    assert.deepEqual(JSON.parse(server.lastSeen.body), { status: 'active' });
  });

  it('delete --yes deletes', async () => {
    server.answer('DELETE /v2/account/alice', success({ message: 'account deleted' }));
    assert.equal((await call('account', 'delete', 'alice', '--yes')).code, 0);
  });
});

describe('key', () => {
  const created = {
    key_id: 'key_1',
    api_key: 'ph_new',
    name: 'backend',
    scopes: ['account'],
    prefix: 'ph_ne',
    created_at: 1,
    expires_at: null,
  };

  it('create with --account makes a key of that account and shows it once', async () => {
    server.answer('POST /v2/account/alice/api_key', success(created));
    const { stdout, stderr } = await call('key', 'create', 'backend', '--account', 'alice');
    assert.deepEqual(JSON.parse(server.lastSeen.body), { name: 'backend' });
    assert.match(stdout, /^API key +ph_new$/m);
    assert.match(stderr, /shown this once/);
  });

  it('create without --account makes one of the caller’s level, with scopes and an end', async () => {
    server.answer('POST /v2/api_key', success(created));
    await call('key', 'create', 'backend', '--scope', 'publish', '--expires-in', '1d');
    assert.deepEqual(JSON.parse(server.lastSeen.body), {
      name: 'backend',
      scopes: ['publish'],
      expires_at: Date.UTC(2026, 1, 1, 12) / 1000,
    });
  });

  it('list never prints more than prefixes', async () => {
    const { api_key: _, ...item } = created;
    server.answer(
      'GET /v2/api_keys',
      success({ api_keys: [{ ...item, last_used_at: null, revoked_at: 1 }] }),
    );
    const { stdout } = await call('key', 'list');
    assert.match(
      stdout,
      /^key_1 +backend +ph_ne +account +1970-01-01 00:00:01Z +- +- +1970-01-01 00:00:01Z$/m,
    );
  });
});

describe('deliveries', () => {
  const delivery = {
    delivery_id: 'dlv_1',
    event_id: 'evt_1',
    event: 'order.paid',
    endpoint_id: 'wh_1',
    status: 'dead',
    status_reason: 'no retries left',
    attempts: 2,
    created_at: 1_769_860_800,
    next_attempt_at: null,
    completed_at: 1_769_860_805,
  };

  it('list sends its filters for the account', async () => {
    server.answer('GET /v2/deliveries', success({ deliveries: [delivery], next_cursor: null }));
    const filters = [
      '--status',
      'dead',
      '--event',
      'order.paid',
      '--endpoint',
      'wh_1',
      '--event-id',
      'evt_1',
    ];
    const { stdout } = await call(
      'deliveries',
      'list',
      '--account',
      'alice',
      ...filters,
      '--since',
      '1d',
      '--until',
      '1769860800',
    );
    assert.equal(
      server.lastSeen.path,
      '/v2/deliveries?limit=50&status=dead&event=order.paid&endpoint_id=wh_1&event_id=evt_1&since=1769774400&until=1769860800',
    );
    assert.equal(server.lastSeen.headers['x-account'], 'alice');
    assert.match(stdout, /^dlv_1 +order\.paid +wh_1 +dead +2 +2026-01-31 12:00:00Z +-$/m);
  });

  it('show prints the attempts', async () => {
    const attempt = {
      number: 1,
      started_at: 1_769_860_800,
      duration_ms: 12,
      outcome: 'http_error',
      http_status: 500,
      error: 'the endpoint answered 500',
      response: { headers: {}, body: '', truncated: false },
      manual: false,
    };
    server.answer(
      'GET /v2/delivery/dlv_1',
      success({ ...delivery, url: 'https://x.test/', attempt_log: [attempt] }),
    );
    const { stdout } = await call('deliveries', 'show', 'dlv_1', '--account', 'alice');
    assert.match(stdout, /^reason +no retries left$/m);
    assert.match(
      stdout,
      /^ +1 +2026-01-31 12:00:00Z +12 +http_error +500 +schedule +the endpoint answered 500$/m,
    );
  });

  it('retry posts without a body', async () => {
    server.answer('POST /v2/delivery/dlv_1/retry', success({ ...delivery, status: 'pending' }));
    const { stdout } = await call('deliveries', 'retry', 'dlv_1');
    assert.equal(stdout, 'Delivery dlv_1 is pending and due now.\n');
    assert.equal(server.lastSeen.body, '');
    assert.equal(server.lastSeen.headers['x-account'], undefined);
  });
});

describe('replay', () => {
  it('start asks for what failed by default', async () => {
    server.answer('POST /v2/endpoint/wh_1/replay', success({ replay_id: 'rpl_1', matched: 1 }));
    const { stdout } = await call(
      'replay',
      'start',
      'wh_1',
      '--account',
      'alice',
      '--since',
      '2026-01-31T11:00:00Z',
    );
    assert.deepEqual(JSON.parse(server.lastSeen.body), { status: 'failed', since: 1_769_857_200 });
    assert.equal(server.lastSeen.headers['x-account'], 'alice');
    assert.equal(stdout, 'Started replay rpl_1: 1 delivery to make.\n');
  });

  it('start --wait follows it to its end', async () => {
    server.answer('POST /v2/endpoint/wh_1/replay', success({ replay_id: 'rpl_1', matched: 9 }));
    server.answer(
      'GET /v2/replay/rpl_1',
      success({ status: 'running', matched: 9, done: 1 }),
      success({ status: 'running', matched: 9, done: 5 }),
      success({ status: 'done', matched: 9, done: 9 }),
    );
    const { code, stdout } = await call(
      'replay',
      'start',
      'wh_1',
      '--since',
      '1h',
      '--status',
      'all',
      '--wait',
    );
    assert.match(stdout, /^done: 9 of 9$/m);
    assert.equal(code, 0);
    assert.equal(server.seen.length, 4);
  });

  it('start --wait gives up in time with exit code 1', async () => {
    server.answer('POST /v2/endpoint/wh_1/replay', success({ replay_id: 'rpl_1', matched: 9 }));
    server.answer('GET /v2/replay/rpl_1', success({ status: 'running', matched: 9, done: 1 }));
    const { code, stderr } = await call(
      'replay',
      'start',
      'wh_1',
      '--since',
      '1h',
      '--wait',
      '--wait-timeout',
      '5s',
    );
    assert.match(stderr, /still running/);
    assert.equal(code, 1);
  });

  it('status and stop name the replay', async () => {
    server.answer('GET /v2/replay/rpl_1', success({ status: 'running', matched: 9, done: 1 }));
    server.answer('DELETE /v2/replay/rpl_1', success({ message: 'replay stopped' }));
    assert.match((await call('replay', 'status', 'rpl_1')).stdout, /^done +1 of 9$/m);
    assert.equal((await call('replay', 'stop', 'rpl_1')).stdout, 'Stopped replay rpl_1.\n');
  });
});

describe('publish', () => {
  const published = success({ event_id: 'evt_1', deliveries: 2, duplicate: false });
  const detail = (pending: number, delivered: number, dead = 0) =>
    success({
      event_id: 'evt_1',
      event: 'order.paid',
      deliveries: { pending, delivered, dead, cancelled: 0 },
      note: null,
      targets: [{ endpoint_id: 'wh_1', delivery_id: 'dlv_1', status: 'delivered', reason: null }],
    });

  it('sends the data as it was written, from an option, a file or stdin', async () => {
    server.answer('POST /v2/publish', published);
    const data = '{ "n": 12345678901234567890, "x": 1.10 }';
    const expected = `{"username":"alice","event":"order.paid","data":${data}}`;
    writeFileSync(join(folder, 'data.json'), data);
    const args = ['publish', 'order.paid', '--account', 'alice', '--data'];
    await call(...args, data);
    assert.equal(server.lastSeen.body, expected);
    await call(...args, '@data.json');
    assert.equal(server.lastSeen.body, expected);
    await runCli([...args, '-', '--url', server.url, '--key', KEY], { stdin: data });
    assert.equal(server.lastSeen.body, expected);
  });

  it('takes the example out of the catalogue', async () => {
    server.answer('GET /v2/event_type/order.paid', success({ name: 'order.paid', example: { order: 7 } }));
    server.answer('POST /v2/publish', published);
    const { stdout } = await call(
      'publish',
      'order.paid',
      '--account',
      'alice',
      '--example',
      '--event-id',
      'o7',
    );
    assert.deepEqual(JSON.parse(server.lastSeen.body), {
      username: 'alice',
      event: 'order.paid',
      event_id: 'o7',
      data: { order: 7 },
    });
    assert.equal(stdout, 'Published evt_1, 2 deliveries.\n');
  });

  it('says when the type has no example', async () => {
    server.answer('GET /v2/event_type/order.paid', success({ name: 'order.paid', example: null }));
    const { code, stderr } = await call('publish', 'order.paid', '--account', 'alice', '--example');
    assert.match(stderr, /has no example for order\.paid: give the data with --data/);
    assert.equal(code, 1);
  });

  it('says that a repeat sent nothing', async () => {
    server.answer('POST /v2/publish', success({ event_id: 'evt_1', deliveries: 1, duplicate: true }));
    const { stdout } = await call('publish', 'x', '--account', 'a', '--data', '{}');
    assert.equal(stdout, 'Published before, nothing new was sent: evt_1, 1 delivery.\n');
  });

  it('--wait follows the deliveries until all have arrived', async () => {
    server.answer('POST /v2/publish', published);
    server.answer('GET /v2/event_log/evt_1', detail(2, 0), detail(1, 1), detail(0, 2));
    const { code, stdout } = await call('publish', 'x', '--account', 'alice', '--data', '{}', '--wait');
    assert.equal(server.lastSeen.headers['x-account'], 'alice');
    assert.equal(server.seen.length, 4);
    assert.match(stdout, /^wh_1 +dlv_1 +delivered +-$/m);
    assert.equal(code, 0);
  });

  it('--wait --json prints the event’s end as the only document', async () => {
    server.answer('POST /v2/publish', published);
    server.answer('GET /v2/event_log/evt_1', detail(0, 2));
    const { stdout } = await call('publish', 'x', '--account', 'alice', '--data', '{}', '--wait', '--json');
    assert.deepEqual(JSON.parse(stdout), (detail(0, 2).body as { data: object }).data);
  });

  it('--wait ends with 1 when a delivery is dead', async () => {
    server.answer('POST /v2/publish', published);
    server.answer('GET /v2/event_log/evt_1', detail(0, 1, 1));
    const { code, stderr } = await call('publish', 'x', '--account', 'alice', '--data', '{}', '--wait');
    assert.match(stderr, /1 of 2 not delivered/);
    assert.equal(code, 1);
  });

  it('--wait ends with 1 when the time is over, having asked ever more seldom', async () => {
    server.answer('POST /v2/publish', published);
    server.answer('GET /v2/event_log/evt_1', detail(1, 1));
    const args = ['publish', 'x', '--account', 'alice', '--data', '{}', '--wait', '--wait-timeout', '1m'];
    const { code, stderr } = await call(...args);
    assert.match(stderr, /1 of 2 not delivered within 1m; retries go on/);
    assert.equal(code, 1);
    assert.ok(server.seen.length < 45, `${server.seen.length} requests in a minute`);
  });
});

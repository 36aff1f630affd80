/** Sessions of the page: who gets one, what it may do, and when it ends. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import type { ApiRoute } from '../../src/api/route.ts';
import { type ApiAnswer, type RequestOptions, type TestApp, testApp } from '../support/app.ts';
import { PostgresEngine } from '../support/postgres-store.ts';

const PATH = '/dashboard/session';
const CSRF = { 'x-posthorn-csrf': '1' };
const HOUR_MS = 3_600_000;

/** A browser: it keeps the cookie and sends it. */
class Browser {
  readonly #api: TestApp;
  cookie: string | null = null;
  /** The `set-cookie` headers of the last answer. */
  set: string[] = [];

  constructor(api: TestApp) {
    this.#api = api;
  }

  async ask(method: string, path: string, options: RequestOptions = {}): Promise<ApiAnswer> {
    const answer = await this.#api.request(method, path, {
      ...options,
      headers: {
        ...(this.cookie === null ? {} : { cookie: this.cookie }),
        ...(method === 'GET' ? {} : CSRF),
        ...options.headers,
      },
    });
    const header = answer.headers['set-cookie'] as string | string[] | undefined;
    this.set = header === undefined ? [] : [header].flat();
    for (const cookie of this.set) {
      const [pair = ''] = cookie.split(';');
      if (!/Max-Age=0/.test(cookie)) this.cookie = pair;
      else if (this.cookie?.startsWith(`${pair.split('=')[0]}=`)) this.cookie = null;
    }
    return answer;
  }

  signIn(body: object, headers: Record<string, string> = {}): Promise<ApiAnswer> {
    return this.ask('POST', PATH, { body, headers });
  }
}

async function linkTo(api: TestApp, username: string, body?: object): Promise<string> {
  const { data, msg } = await api.request('POST', `/v2/account/${username}/portal_link`, {
    key: api.operatorKey,
    headers: { host: 'hooks.example.com' },
    ...(body === undefined ? {} : { body }),
  });
  assert.ok(data !== null, msg);
  return data.url;
}

async function signedIn(api: TestApp, body: object): Promise<Browser> {
  const browser = new Browser(api);
  const answer = await browser.signIn(body);
  assert.equal(answer.code, 0, answer.msg);
  return browser;
}

async function inPortal(api: TestApp, username: string): Promise<Browser> {
  return signedIn(api, { portal_token: (await linkTo(api, username)).split('#')[1] });
}

for (const engine of ['SQLite', 'PostgreSQL'] as const) {
  describe(`sessions on ${engine}`, () => {
    const database = engine === 'PostgreSQL' ? new PostgresEngine().createDatabase() : null;
    let api: TestApp;
    before(async () => {
      const opened = await database;
      api = await testApp(opened === null ? {} : { openStore: () => opened.open() });
      // PostgreSQL judges by its own clock.
      if (opened !== null) api.clock.jump(Date.now() - api.clock.now());
    });
    after(async () => {
      await api.close();
      await (await database)?.remove();
    });

    it('open with the operator’s key, an operator-level one, an account’s key or a portal link, and say whose they are', async () => {
      const { username, key } = await api.createAccount();
      const operator = await api.createKey(null, ['operator', 'publish']);
      const link = (await linkTo(api, username)).split('#')[1];
      const expected: [body: object, info: object][] = [
        [
          { api_key: api.operatorKey },
          { role: 'operator', username: null, scopes: ['operator'], via: 'api_key' },
        ],
        [
          { api_key: operator.key },
          { role: 'operator', username: null, scopes: ['operator', 'publish'], via: 'api_key' },
        ],
        [{ api_key: key }, { role: 'account', username, scopes: ['account'], via: 'api_key' }],
        [{ portal_token: link }, { role: 'account', username, scopes: ['account'], via: 'portal_link' }],
      ];
      for (const [body, info] of expected) {
        const browser = new Browser(api);
        const answer = await browser.signIn(body);
        assert.equal(answer.status, 200, answer.msg);
        const { expires_at: expiresAt, ...rest } = answer.data;
        assert.deepEqual(rest, info);
        assert.ok(Math.abs(expiresAt - (api.clock.now() + 12 * HOUR_MS) / 1000) < 5);
        assert.deepEqual((await browser.ask('GET', PATH)).data, answer.data);
        assert.equal(answer.headers['cache-control'], 'no-store');
      }
    });

    it('act for an account as its key does, and leave in the audit log through what', async () => {
      const { username, key } = await api.createAccount();
      for (const [browser, expected] of [
        [await signedIn(api, { api_key: key }), { through: 'dashboard', actor: 'account' }],
        [await inPortal(api, username), { through: 'portal', actor: 'account', key_id: null }],
      ] as const) {
        const made = await browser.ask('POST', '/v2/endpoint', {
          body: { url: 'https://example.com/', events: ['generated_script_success'] },
        });
        assert.equal(made.code, 0, made.msg);
        const { entries } = (await browser.ask('GET', `/v2/audit?target=${made.data.endpoint_id}`)).data;
        assert.equal(entries.length, 1);
        for (const [field, value] of Object.entries(expected)) assert.equal(entries[0][field], value, field);
        assert.equal(entries[0].key_account, username);
      }
    });

    it('end when their key is revoked or expires, and when their account is suspended or deleted', async () => {
      const { username } = await api.createAccount();
      const revoked = await api.createKey(username, ['account']);
      const ofKey = await signedIn(api, { api_key: revoked.key });
      const ofLink = await inPortal(api, username);
      assert.equal((await ofKey.ask('GET', '/v2/endpoints')).code, 0);
      const operator = { key: api.operatorKey };
      await api.request('DELETE', `/v2/api_key/${revoked.keyId}`, operator);
      const answer = await ofKey.ask('GET', '/v2/endpoints');
      assert.deepEqual([answer.status, answer.code], [401, 10105]);
      assert.match(answer.msg, /session has ended; sign in again/);
      assert.equal((await ofLink.ask('GET', '/v2/endpoints')).code, 0);
      await api.request('PATCH', `/v2/account/${username}`, { ...operator, body: { status: 'suspended' } });
      assert.equal((await ofLink.ask('GET', '/v2/endpoints')).code, 18025);
      await api.request('PATCH', `/v2/account/${username}`, { ...operator, body: { status: 'active' } });
      assert.equal((await ofLink.ask('GET', '/v2/endpoints')).code, 0);
      await api.request('DELETE', `/v2/account/${username}`, operator);
      assert.equal((await ofLink.ask('GET', '/v2/endpoints')).code, 10105);
    });

    it('end by signing out, whoever has kept the cookie', async () => {
      const { key } = await api.createAccount();
      const browser = await signedIn(api, { api_key: key });
      const kept = browser.cookie;
      assert.equal((await browser.ask('DELETE', PATH)).code, 0);
      assert.equal(browser.cookie, null);
      assert.equal(browser.set.length, 2, 'under both names');
      browser.cookie = kept;
      assert.equal((await browser.ask('GET', '/v2/endpoints')).code, 10105);
    });

    it('open once with a link', async () => {
      const { username } = await api.createAccount();
      const token = (await linkTo(api, username)).split('#')[1];
      await signedIn(api, { portal_token: token });
      const again = await new Browser(api).signIn({ portal_token: token });
      assert.deepEqual([again.status, again.code], [401, 10105]);
      assert.match(again.msg, /was used already/);
    });
  });
}

describe('a sign-out, a revocation, a suspension', () => {
  it('end a session on the other nodes within a second', async (t) => {
    const database = await new PostgresEngine().createDatabase();
    const here = await testApp({ openStore: () => database.open() });
    const there = await testApp({ openStore: () => database.open() });
    t.after(async () => {
      await here.close();
      await there.close();
      await database.remove();
    });
    for (const { clock } of [here, there]) clock.jump(Date.now() - clock.now());
    const { username } = await here.createAccount();
    const first = await here.createKey(username, ['account']);
    const second = await here.createKey(username, ['account']);
    const ends: [browser: Browser, end: (browser: Browser) => Promise<ApiAnswer>, code: number][] = [
      [await signedIn(here, { api_key: first.key }), (browser) => browser.ask('DELETE', PATH), 10105],
      [
        await signedIn(here, { api_key: second.key }),
        () => here.request('DELETE', `/v2/api_key/${second.keyId}`, { key: here.operatorKey }),
        10105,
      ],
      [
        await inPortal(here, username),
        () =>
          here.request('PATCH', `/v2/account/${username}`, {
            key: here.operatorKey,
            body: { status: 'suspended' },
          }),
        18025,
      ],
    ];
    for (const [browser, end, code] of ends) {
      const elsewhere = new Browser(there);
      elsewhere.cookie = browser.cookie;
      assert.equal((await elsewhere.ask('GET', '/v2/endpoints')).code, 0);
      await end(browser);
      // What a node has looked up it believes for a second, by its own clock.
      there.clock.advance(1000);
      assert.equal((await elsewhere.ask('GET', '/v2/endpoints')).code, code);
    }
  });
});

describe('a session', () => {
  let api: TestApp;
  before(async () => {
    api = await testApp({ settings: { failedAuthPerMinute: 10_000 } });
  });
  after(() => api.close());

  it('may do what its key may, at every route, and nothing else', async () => {
    const { username, key } = await api.createAccount();
    const other = await api.createAccount();
    const operator = await api.createKey(null, ['operator']);
    const callers: [name: string, key: string, browser: Browser][] = [
      ['an account’s key', key, await signedIn(api, { api_key: key })],
      ['an account’s portal link', key, await inPortal(api, username)],
      ['an operator’s key', operator.key, await signedIn(api, { api_key: operator.key })],
      ['the configured key', api.operatorKey, await signedIn(api, { api_key: api.operatorKey })],
    ];
    const probe = (route: ApiRoute) => {
      // Nothing that exists, so that nothing is changed; what may not be called says so before it looks.
      const path = route.path.replace(/:(\w+)/g, 'none');
      const query = route.path === '/listen' ? '?events=none' : '';
      return [
        route.method,
        `/v2${path}${query}`,
        route.body === null ? {} : { body: { none: true } },
      ] as const;
    };
    const told = ({ status, code, msg }: ApiAnswer) => [status, code, msg];
    let tried = 0;
    for (const route of api.routes) {
      const [method, path, options] = probe(route);
      if (route.operationId === 'rotateEncryptionKey') continue;
      for (const [name, used, browser] of callers) {
        for (const account of [undefined, username, other.username]) {
          const forAccount = account === undefined ? {} : { account };
          const byKey = await api.request(method, path, { ...options, ...forAccount, key: used });
          const bySession = await browser.ask(method, path, { ...options, ...forAccount });
          assert.deepEqual(told(bySession), told(byKey), `${route.operationId} by ${name} for ${account}`);
          tried += 1;
        }
      }
    }
    assert.ok(tried > 400, String(tried));
  });

  it('changes something only with the header that the page alone can send', async () => {
    const { key } = await api.createAccount();
    const browser = await signedIn(api, { api_key: key });
    const cookie = browser.cookie as string;
    for (const route of api.routes.filter(({ method }) => method !== 'GET')) {
      const path = `/v2${route.path.replace(/:(\w+)/g, 'none')}`;
      const answer = await api.request(route.method, path, {
        headers: { cookie, origin: 'https://evil.example', 'content-type': 'application/json' },
        body: '{}',
      });
      assert.deepEqual([answer.status, answer.code], [403, 18025], route.operationId);
      assert.match(answer.msg, /needs the header x-posthorn-csrf/);
    }
    for (const [method, body] of [
      ['POST', { api_key: key }],
      ['DELETE', undefined],
    ] as const) {
      const answer = await api.request(method, PATH, {
        headers: { cookie },
        ...(body === undefined ? {} : { body }),
      });
      assert.equal(answer.status, 403, method);
      assert.equal(answer.headers['set-cookie'], undefined);
    }
    assert.equal((await browser.ask('GET', PATH)).code, 0, 'it still is signed in');
  });

  it('gives no other site leave to read or to send anything', async () => {
    const { key } = await api.createAccount();
    const browser = await signedIn(api, { api_key: key });
    const requests: Record<string, string>[] = [
      { origin: 'https://evil.example' },
      {
        origin: 'https://evil.example',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'x-posthorn-csrf',
      },
    ];
    for (const headers of requests) {
      const answer = await browser.ask('OPTIONS', '/v2/endpoint', { headers });
      const { headers: given } = await browser.ask('GET', '/v2/endpoints', { headers });
      for (const name of Object.keys({ ...answer.headers, ...given })) {
        assert.doesNotMatch(name, /^access-control-/);
      }
    }
  });

  it('is left alone by a request that brings a key: that one counts, and needs no header of the page', async () => {
    const alice = await api.createAccount();
    const bob = await api.createAccount();
    const browser = await signedIn(api, { api_key: alice.key });
    const headers = { cookie: browser.cookie as string };
    assert.equal(
      (await api.request('GET', '/v2/user/whoami', { key: bob.key, headers })).data.username,
      bob.username,
    );
    const wrong = await api.request('GET', '/v2/endpoints', { key: 'ph_wrong', headers });
    assert.equal(wrong.code, 10105);
    const body = { url: 'https://example.com/', events: ['generated_script_success'] };
    const made = await api.request('POST', '/v2/endpoint', { key: bob.key, headers, body });
    assert.equal(made.data.username, bob.username);
    assert.equal(
      (await api.request('GET', PATH, { key: bob.key, headers })).code,
      10105,
      'a key is no session',
    );
  });

  it('counts an account’s POST requests as its key does, its sign-ins among them; a link’s by account', async (t) => {
    const limited = await testApp({ settings: { rateLimitPostPerMinute: 3 } });
    t.after(() => limited.close());
    const { username, key } = await limited.createAccount();
    const browser = await signedIn(limited, { api_key: key });
    const post = (who: Browser) => who.ask('POST', '/v2/delivery/none/retry');
    assert.equal((await post(browser)).status, 404);
    assert.equal((await limited.request('POST', '/v2/delivery/none/retry', { key })).status, 404);
    assert.equal((await post(browser)).status, 429);
    const again = await new Browser(limited).signIn({ api_key: key });
    assert.equal(again.status, 429);
    assert.equal(again.headers['set-cookie'], undefined);
    const first = await inPortal(limited, username);
    const second = await inPortal(limited, username);
    for (const who of [first, second, first]) assert.equal((await post(who)).status, 404);
    assert.equal((await post(second)).status, 429);
  });

  it('has a cookie that scripts can’t read, that other sites don’t send, and that is bound to the host by https', async (t) => {
    const behind = await testApp({ settings: { trustProxy: 1 } });
    t.after(() => behind.close());
    const { key } = await behind.createAccount();
    const cases: [headers: Record<string, string>, cookie: RegExp][] = [
      [{}, /^posthorn-session=[\w-]{43}; Path=\/; Max-Age=43\d\d\d; HttpOnly; SameSite=Strict$/],
      [
        { 'x-forwarded-proto': 'https', 'x-forwarded-for': '203.0.113.1' },
        /^__Host-posthorn=[\w-]{43}; Path=\/; Max-Age=43\d\d\d; HttpOnly; SameSite=Strict; Secure$/,
      ],
      // Behind a proxy that nobody told it to believe, the browser itself says how the page came.
      [{ origin: 'https://hooks.example.com' }, /^__Host-posthorn=.*; Secure$/],
    ];
    for (const [headers, cookie] of cases) {
      const browser = new Browser(behind);
      await browser.signIn({ api_key: key }, headers);
      assert.equal(browser.set.length, 1);
      assert.match(browser.set[0] as string, cookie);
      assert.equal((await browser.ask('GET', '/v2/endpoints', { headers })).code, 0);
    }
  });

  it('is not taken from a cookie over https that a neighbour of the host could have planted', async (t) => {
    const behind = await testApp({ settings: { trustProxy: 1 } });
    t.after(() => behind.close());
    const { key } = await behind.createAccount();
    const attacker = await signedIn(behind, { api_key: key });
    const https = { 'x-forwarded-proto': 'https', 'x-forwarded-for': '203.0.113.1' };
    const planted = await behind.request('GET', '/v2/endpoints', {
      headers: { ...https, cookie: attacker.cookie as string },
    });
    assert.equal(planted.code, 10105);
  });

  it('is a new one at each sign-in, and the one before ends', async () => {
    const { key } = await api.createAccount();
    const browser = await signedIn(api, { api_key: key });
    const first = browser.cookie as string;
    await browser.signIn({ api_key: key });
    assert.notEqual(browser.cookie, first);
    assert.equal((await api.request('GET', '/v2/endpoints', { headers: { cookie: first } })).code, 10105);
    assert.equal((await browser.ask('GET', '/v2/endpoints')).code, 0);
  });

  it('takes no token that a browser has chosen', async () => {
    const { key } = await api.createAccount();
    const browser = new Browser(api);
    browser.cookie = `posthorn-session=${'A'.repeat(43)}`;
    await browser.signIn({ api_key: key });
    assert.doesNotMatch(browser.cookie, /A{43}/);
  });

  it('ends after 12 hours, or with its key', async (t) => {
    const timed = await testApp();
    t.after(() => timed.close());
    const { username, key } = await timed.createAccount();
    const short = await timed.createKey(username, ['account'], timed.clock.now() + HOUR_MS);
    const whole = await signedIn(timed, { api_key: key });
    const brief = await signedIn(timed, { api_key: short.key });
    assert.match(brief.set[0] as string, /Max-Age=3600/);
    timed.clock.advance(HOUR_MS);
    assert.equal((await brief.ask('GET', '/v2/endpoints')).code, 10105);
    assert.equal((await whole.ask('GET', '/v2/endpoints')).code, 0);
    timed.clock.advance(11 * HOUR_MS);
    const answer = await whole.ask('GET', PATH);
    assert.equal(answer.code, 10105);
    assert.equal(whole.cookie, null, 'the browser forgets it');
  });

  for (const [what, cookie] of [
    ['made up', `posthorn-session=${'x'.repeat(43)}`],
    ['too long', `posthorn-session=${'x'.repeat(4000)}`],
    ['empty', 'posthorn-session='],
    ['with strange characters', 'posthorn-session=%00%ff"\\; =;;posthorn-session'],
  ] as const) {
    it(`is none by a cookie that is ${what}`, async () => {
      assert.equal((await api.request('GET', '/v2/endpoints', { headers: { cookie } })).code, 10105);
      assert.equal((await api.request('GET', PATH, { headers: { cookie } })).code, 10105);
    });
  }

  it('is opened by nothing else than one key or one link', async () => {
    const { key } = await api.createAccount();
    const publisher = await api.createKey(null, ['publish']);
    const refused: [body: unknown, status: number, says: RegExp][] = [
      [{}, 400, /./],
      [{ api_key: key, portal_token: 'x' }, 400, /./],
      [{ api_key: 1 }, 400, /api_key/],
      [{ api_key: 'x'.repeat(600) }, 400, /api_key/],
      [{ api_key: `${key},${key}` }, 401, /one API key/],
      [{ api_key: 'ph_wrong' }, 401, /not valid/],
      [{ portal_token: 'wrong' }, 401, /expired, or never was one/],
      [{ api_key: publisher.key }, 403, /may only publish/],
    ];
    for (const [body, status, says] of refused) {
      const answer = await new Browser(api).signIn(body as object);
      assert.equal(answer.status, status, JSON.stringify(body));
      assert.match(answer.msg, says);
      assert.equal(answer.headers['set-cookie'], undefined);
    }
  });

  it('is not guessed: failed sign-ins and made-up cookies count as wrong keys do, asking who is signed in doesn’t', async (t) => {
    const strict = await testApp({ settings: { failedAuthPerMinute: 3 } });
    t.after(() => strict.close());
    const { key } = await strict.createAccount();
    for (let n = 0; n < 10; n += 1) assert.equal((await strict.request('GET', PATH)).status, 401);
    assert.equal((await new Browser(strict).signIn({ api_key: 'ph_wrong' })).status, 401);
    assert.equal((await new Browser(strict).signIn({ portal_token: 'wrong' })).status, 401);
    const cookie = `posthorn-session=${'x'.repeat(43)}`;
    assert.equal((await strict.request('GET', '/v2/endpoints', { headers: { cookie } })).status, 401);
    for (const answer of [
      await new Browser(strict).signIn({ api_key: 'ph_wrong' }),
      await new Browser(strict).signIn({ portal_token: 'wrong' }),
      await strict.request('GET', '/v2/endpoints', { headers: { cookie } }),
    ]) {
      assert.equal(answer.status, 429);
    }
    assert.equal((await new Browser(strict).signIn({ api_key: key })).status, 200);
  });

  it('leaves neither its token nor a key in the log', async () => {
    const { username, key } = await api.createAccount();
    const browser = await signedIn(api, { api_key: key });
    const link = await linkTo(api, username);
    await browser.signIn({ portal_token: link.split('#')[1] });
    const text = JSON.stringify(api.logs);
    for (const secret of [key, browser.cookie?.split('=')[1], link.split('#')[1]]) {
      assert.ok(!text.includes(secret as string));
    }
  });
});

describe('a portal link', () => {
  let api: TestApp;
  let key: string;
  before(async () => {
    api = await testApp();
    ({ key } = await api.createAccount('alice'));
  });
  after(() => api.close());

  it('has its secret behind the #, and lasts as long as it was asked for', async () => {
    const make = (body?: object) =>
      api.request('POST', '/v2/account/alice/portal_link', {
        key: api.operatorKey,
        ...(body === undefined ? {} : { body }),
      });
    const { data } = await make();
    assert.match(data.url, /^http:\/\/[^/]+\/portal#[\w-]{43}$/);
    assert.equal(data.expires_at, Math.floor(api.clock.now() / 1000) + 900);
    const asked = await make({ expires_in_seconds: 60 });
    assert.equal(asked.data.expires_at, Math.floor(api.clock.now() / 1000) + 60);
    for (const seconds of [59, 86_401, 1.5, '900']) {
      assert.equal((await make({ expires_in_seconds: seconds })).code, 40000, String(seconds));
    }
    api.clock.advance(61_000);
    const late = await new Browser(api).signIn({ portal_token: asked.data.url.split('#')[1] });
    assert.match(late.msg, /has expired/);
    const { entries } = (
      await api.request('GET', '/v2/audit?action=portal_link.create', { key: api.operatorKey })
    ).data;
    assert.equal(entries.length, 2);
    assert.deepEqual([entries[0].target_type, entries[0].account], ['portal_link', 'alice']);
    assert.ok(!JSON.stringify(entries).includes(asked.data.url.split('#')[1]));
    assert.equal((await api.request('POST', '/v2/account/alice/portal_link', { key })).code, 18025);
    assert.equal(
      (await api.request('POST', '/v2/account/bob/portal_link', { key: api.operatorKey })).code,
      10104,
    );
  });

  it('leads to where the operator says customers find the service, else to where the request found it', async (t) => {
    assert.match(await linkTo(api, 'alice'), /^http:\/\/hooks\.example\.com\/portal#/);
    const told = await testApp({ settings: { publicUrl: 'https://example.com/hooks' } });
    t.after(() => told.close());
    await told.createAccount('alice');
    assert.match(await linkTo(told, 'alice'), /^https:\/\/example\.com\/hooks\/portal#/);
  });

  for (const host of ['evil.example/path', 'user@evil.example', 'a b', '[::1', 'evil.example#']) {
    it(`is refused where the host header is ${JSON.stringify(host)}`, async () => {
      const answer = await api.request('POST', '/v2/account/alice/portal_link', {
        key: api.operatorKey,
        headers: { host },
      });
      assert.equal(answer.code, 40000);
      assert.match(answer.msg, /POSTHORN_PUBLIC_URL/);
    });
  }
});

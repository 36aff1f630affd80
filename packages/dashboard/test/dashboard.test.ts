/** The page as people use it: a real server, a real database, a real Chromium. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import type { Browser } from 'playwright-core';

import { createPosthorn } from '../../server/src/index.ts';
import { TEST_RECEIVER_URLS } from '../../server/src/delivery/test-receiver.ts';
import { sendAndClose, startReceiver } from '../../server/test/support/receivers.ts';
import { createDatabase } from '../../server/test/support/postgres.ts';
import { tempDir } from '../../server/test/support/tempdir.ts';
import { skipsWithout } from '../../server/test/support/tools.ts';
import {
  DESKTOP,
  findChromium,
  LACKS_CHROMIUM,
  launch,
  PATIENCE_MS,
  PHONE,
  TestServer,
  Visitor,
} from './support/bench.ts';

const SCRIPT = 'generated_script_success';
const VIDEO = 'generated_video_success';
const executablePath = findChromium();
const TIMEOUT = { timeout: 10 * PATIENCE_MS };

/** Text that would do harm wherever it isn't text, that turns lines around, and that has no end. */
const HOSTILE = '<img src=x onerror=alert(1)><script>alert(2)</script>"\'>&lt;b&gt;';
const RTL = 'abc \u202egnp.exe\u202c \u05e9\u05dc\u05d5\u05dd';
const LONG = `${'x'.repeat(300)}END`;

let browser: Browser;
let server: TestServer;

before(async () => {
  if (executablePath === null) return;
  [browser, server] = await Promise.all([launch(executablePath), TestServer.start()]);
}, TIMEOUT);
after(async () => {
  await browser?.close();
  await server?.stop();
}, TIMEOUT);

/** A test with a browser of its own, in which nothing may be wrong at the end. */
function test(
  name: string,
  run: (visitor: Visitor, t: TestContext) => Promise<void>,
  viewport?: typeof PHONE,
): void {
  it(name, TIMEOUT, async (t) => {
    if (skipsWithout(t, executablePath === null ? LACKS_CHROMIUM : null)) return;
    const visitor = await Visitor.open(browser, server, viewport);
    try {
      await run(visitor, t);
      assert.deepEqual(visitor.troubles, []);
    } finally {
      await visitor.close();
    }
  });
}

let names = 0;
/** Looks at a server of the test's own, which ends with the test; `afterwards` what it stood on or sent to. */
async function lookAt(
  t: TestContext,
  own: TestServer,
  afterwards: () => Promise<unknown> = async () => {},
): Promise<Visitor> {
  const visitor = await Visitor.open(browser, own);
  t.after(async () => {
    await visitor.close();
    await own.stop();
    await afterwards();
  });
  return visitor;
}

async function newAccount(): Promise<string> {
  names += 1;
  const username = `customer-${names}`;
  await server.call('POST', '/v2/account', { username });
  return username;
}

function newEndpoint(account: string, url: string, rest: object = {}) {
  return server.call('POST', '/v2/endpoint', { url, events: [SCRIPT, VIDEO], ...rest }, { account });
}

/** A test event, and its delivery when the first attempt has ended. */
async function delivered(account: string, endpointId: string): Promise<any> {
  const { delivery_id: id } = await server.call(
    'POST',
    `/v2/endpoint/${endpointId}/test`,
    { event: SCRIPT },
    { account },
  );
  for (;;) {
    const delivery = await server.call('GET', `/v2/delivery/${id}`, undefined, { account });
    if (delivery.attempts > 0) return delivery;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** An account with one endpoint that works and one that fails, and a delivery to each. */
async function livedIn() {
  const username = await newAccount();
  const good = await newEndpoint(username, TEST_RECEIVER_URLS.succeed, { description: 'works' });
  const bad = await newEndpoint(username, TEST_RECEIVER_URLS.fail);
  const done = await delivered(username, good.endpoint_id);
  const failed = await delivered(username, bad.endpoint_id);
  return { username, good, bad, done, failed };
}

describe('signing in', () => {
  test('takes a key, says what is wrong with another, and leads to where one wanted to go', async ({
    page,
    ...v
  }) => {
    void v;
    await page.goto(`${server.url}/event-types?category=video`);
    await page.waitForURL(/\/sign-in\?next=/);
    await page.getByLabel('API key').fill('ph_wrong');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText(/not valid/).waitFor();
    await page.getByLabel('API key').fill(server.operatorKey);
    await page.keyboard.press('Enter');
    await page.waitForURL(/\/event-types\?category=video$/);
    // The cookie is out of reach of scripts, and the key is kept nowhere.
    assert.equal(await page.evaluate('document.cookie'), '');
    const kept = await page.evaluate<string>('JSON.stringify([{ ...localStorage }, { ...sessionStorage }])');
    assert.ok(!kept.includes(server.operatorKey));
    await page.reload();
    await page.getByRole('navigation', { name: 'Main' }).waitFor();
  });

  test('ends by signing out, in every tab', async (visitor) => {
    const { page } = visitor;
    await visitor.signIn(server.operatorKey);
    const other = await page.context().newPage();
    await other.goto(`${server.url}/accounts`);
    await other.getByRole('heading', { level: 1 }).waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL(/\/sign-in/);
    await other.reload();
    await other.waitForURL(/\/sign-in/);
  });

  test('by a portal link shows the account and nothing of the operator’s, once, and leaves no trace of the link', async (visitor) => {
    const { page } = visitor;
    const username = await newAccount();
    const { url } = await server.call('POST', `/v2/account/${username}/portal_link`);
    await page.goto(url);
    await page.getByRole('navigation', { name: 'Main' }).waitFor();
    assert.ok(!page.url().includes('#'), page.url());
    await page.getByText(username).first().waitFor();
    for (const name of ['Accounts', 'Audit log', 'System']) {
      assert.equal(await page.getByRole('link', { name, exact: true }).count(), 0, name);
    }
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL(/\/sign-in/);
    await page.goto('about:blank');
    await page.goto(url);
    await page.getByText(/was used already/).waitFor();
  });

  test('ends where the key is revoked: the next look leads to the door', async (visitor) => {
    const { page } = visitor;
    const username = await newAccount();
    const made = await server.call('POST', `/v2/account/${username}/api_key`, { name: 'short' });
    await visitor.signIn(made.api_key);
    await server.call('DELETE', `/v2/api_key/${made.key_id}`);
    await page.getByRole('link', { name: 'Deliveries' }).click();
    await page.waitForURL(/\/sign-in/);
  });
});

describe('a new operator', () => {
  test('gets by the page alone from nothing to an event that was delivered, failed, was inspected, sent again and replayed', async (visitor) => {
    const { page } = visitor;
    const press = (name: string | RegExp) => page.getByRole('button', { name }).click();
    await visitor.signIn(server.operatorKey);
    await visitor.go('/first-run');
    await page.getByLabel('Name of the account').fill('first-steps');
    await press('Make account');
    await press('Make a key');
    const key = await page
      .getByText(/^ph_[0-9a-f]{64}$/)
      .first()
      .innerText();
    await press('I have stored it');
    await press('Add the built-in receiver');
    await press('Publish it');
    await press('Let the receiver fail');
    await press('Publish another');
    const inspect = page.getByRole('link', { name: 'Inspect it' });
    await inspect.waitFor();
    // A reload loses nothing.
    await page.reload();
    await inspect.waitFor();
    assert.equal(await page.getByRole('listitem').filter({ hasText: '(now)' }).count(), 1);
    await inspect.click();
    await page
      .getByText(/answered HTTP 500/)
      .first()
      .waitFor();
    await page.goBack();
    await press('Repair the receiver');
    await press('Retry it now');
    await press('Replay everything since the beginning');
    await page.getByText('That’s all of it').waitFor();
    // What is sent again is pending for a moment: the page tells of it before it has ended.
    let deliveries: { status: string; attempts: number }[];
    for (;;) {
      ({ deliveries } = await server.call('GET', '/v2/deliveries', undefined, { key }));
      if (deliveries.every(({ status }) => status !== 'pending')) break;
      await delay(20);
    }
    assert.deepEqual(
      deliveries.map(({ status, attempts }) => [status, attempts >= 2]),
      [
        ['delivered', true],
        ['delivered', true],
      ],
    );
  });
});

describe('an endpoint', () => {
  test('is added with the API’s own words for mistakes, gets a test, fails, is mended, and is sent again what it missed', async (visitor) => {
    const { page } = visitor;
    const username = await newAccount();
    await visitor.signIn(server.operatorKey);
    await visitor.go(`/endpoints?account=${username}`);
    await page.getByRole('link', { name: 'Add the first endpoint' }).click();
    await page.getByRole('checkbox', { name: SCRIPT }).check();
    await page.getByLabel('URL').fill('http://127.0.0.1/');
    await page.getByRole('button', { name: 'Add endpoint' }).click();
    await page
      .getByText(/must use https, not http/)
      .first()
      .waitFor();
    await page.getByLabel('URL').fill(TEST_RECEIVER_URLS.fail);
    await page.getByRole('button', { name: 'Add endpoint' }).click();
    await page.waitForURL(/\/endpoints\/wh_/);
    const endpointUrl = page.url();
    const [, endpointId = ''] = /\/endpoints\/(wh_\w+)/.exec(endpointUrl) ?? [];

    // A published event fails there, and the page says what came back.
    await server.call('POST', '/v2/publish', {
      username,
      event: SCRIPT,
      data: { task_id: 't', status: 'completed', scripts: [] },
    });
    await visitor.go(`/deliveries?account=${username}`);
    await page.getByRole('link', { name: SCRIPT }).first().click();
    await page.waitForURL(/\/deliveries\/dlv_/);
    await page
      .getByText(/answered HTTP 500/)
      .first()
      .waitFor();

    // Mended, it is sent again.
    await server.call(
      'PUT',
      `/v2/endpoint/${endpointId}`,
      { url: TEST_RECEIVER_URLS.succeed },
      { account: username },
    );
    await page.getByRole('button', { name: 'Retry now' }).click();
    await page.getByRole('button', { name: 'Send again' }).waitFor();
    await page.reload();
    await page.getByRole('button', { name: /^#2 200 / }).waitFor();

    // And once more by a replay, counted first.
    await visitor.go(`/replays?account=${username}&endpoint_id=${endpointId}&status=all&since=0`);
    await page.getByRole('button', { name: 'Count what will be sent' }).click();
    await page.getByRole('button', { name: /^Send .* again$/ }).click();
    await page.getByText(/done/i).first().waitFor();
  });
});

describe('what is hostile', () => {
  test('stays text on every page that shows it', async (visitor) => {
    const { page } = visitor;
    const username = await newAccount();
    const metadata = { note: HOSTILE, [RTL]: LONG };
    await server.call('PATCH', `/v2/account/${username}`, { metadata });
    const url = `https://hooks.example.com/${encodeURIComponent(HOSTILE)}?${'q'.repeat(500)}`;
    const endpoint = await newEndpoint(username, url, {
      description: `${HOSTILE} ${RTL} ${LONG}`,
      metadata,
      headers: { 'x-note': '<script>alert(3)</script>' },
      status: 'disabled',
    });
    const receiver = await newEndpoint(username, TEST_RECEIVER_URLS.succeed, { description: HOSTILE });
    await server.call('POST', `/v2/account/${username}/api_key`, { name: HOSTILE });
    const type = {
      category: HOSTILE.slice(0, 60),
      description: `${HOSTILE} ${RTL}`,
      schema: { type: 'object', description: HOSTILE },
      example: { [HOSTILE]: RTL },
    };
    await server.call('PUT', '/v2/event_type/hostile.made', type);
    await server.call(
      'PUT',
      `/v2/endpoint/${receiver.endpoint_id}`,
      { events: ['hostile.made', SCRIPT] },
      { account: username },
    );
    const published = await server.call('POST', '/v2/publish', {
      username,
      event: 'hostile.made',
      data: { [HOSTILE]: `${HOSTILE}${RTL}${LONG}` },
    });
    const { deliveries } = await server.call(
      'GET',
      `/v2/deliveries?event_id=${published.event_id}`,
      undefined,
      { account: username },
    );
    await visitor.signIn(server.operatorKey);
    for (const path of [
      '/',
      '/endpoints',
      `/endpoints/${endpoint.endpoint_id}`,
      `/endpoints/${receiver.endpoint_id}`,
      '/deliveries',
      `/deliveries/${deliveries[0].delivery_id}`,
      '/events',
      `/events/${published.event_id}`,
      '/event-types',
      '/event-types/hostile.made',
      '/api-keys',
      '/accounts',
      `/accounts/${username}`,
      '/audit',
      `/endpoints?q=${encodeURIComponent(HOSTILE)}`,
      `/deliveries?event_id=${encodeURIComponent(HOSTILE)}`,
    ]) {
      await visitor.go(`${path}${path.includes('?') ? '&' : '?'}account=${username}`);
      assert.equal(await page.locator('img[src="x"], main script').count(), 0, path);
      assert.ok((await visitor.overflow()) <= 0, `${path} is wider than the window`);
      assert.deepEqual(visitor.troubles, [], path);
    }
    await server.call(
      'PUT',
      `/v2/endpoint/${receiver.endpoint_id}`,
      { events: [SCRIPT] },
      { account: username },
    );
    await server.call('DELETE', '/v2/event_type/hostile.made');
  });

  it('stays text in what a receiver answered', TIMEOUT, async (t) => {
    if (skipsWithout(t, executablePath === null ? LACKS_CHROMIUM : null)) return;
    const other = await TestServer.start(undefined, {
      POSTHORN_ENDPOINT_POLICY: 'development',
      POSTHORN_TIMEOUT: '20s',
    });
    const body = Buffer.concat([
      Buffer.from(`${HOSTILE}\n${RTL}\n\0\u0007\u001b[31mred\n`),
      Buffer.from([0xff, 0xfe, 0xc3, 0x28, 0x0a]),
      Buffer.from(LONG + 'z'.repeat(50_000)),
    ]);
    const head = [
      'HTTP/1.1 500 <script>alert(3)</script>',
      'content-type: text/html; charset=utf-7',
      `x-note: ${HOSTILE}`,
      'location: javascript:alert(4)',
      'refresh: 0; url=https://elsewhere.invalid/',
      'set-cookie: __Host-posthorn=taken; path=/',
      'content-security-policy: script-src *',
      `x-long: ${'y'.repeat(4000)}`,
      `content-length: ${body.length}`,
    ];
    const answer = Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body]);
    const receiver = await startReceiver(sendAndClose(answer));
    const visitor = await lookAt(t, other, () => receiver.close());
    const { page } = visitor;
    const account = 'alice';
    await other.call('POST', '/v2/account', { username: account });
    const { endpoint_id: endpointId } = await other.call(
      'POST',
      '/v2/endpoint',
      { url: receiver.url, events: [SCRIPT] },
      { account },
    );
    const { delivery_id: id } = await other.call(
      'POST',
      `/v2/endpoint/${endpointId}/test`,
      { event: SCRIPT },
      { account },
    );
    while ((await other.call('GET', `/v2/delivery/${id}`, undefined, { account })).attempts === 0) {
      await delay(20);
    }
    await visitor.openPortal(account);
    for (const viewport of [DESKTOP, PHONE]) {
      await page.setViewportSize(viewport);
      await visitor.go(`/deliveries/${id}`);
      const shown = await page.locator('main').innerText();
      for (const text of [
        HOSTILE,
        RTL,
        'javascript:alert(4)',
        'script-src *',
        'y'.repeat(1000),
        LONG.slice(0, 200),
        '\ufffd',
      ]) {
        assert.ok(shown.includes(text), `${JSON.stringify(text.slice(0, 60))} isn't shown`);
      }
      assert.equal(await page.locator('img[src="x"], main script, main a[href^="javascript"]').count(), 0);
      assert.ok((await visitor.overflow()) <= 0, `wider than ${viewport.width}`);
      assert.deepEqual(visitor.troubles, []);
    }
  });
});

describe('every page', () => {
  const OF_BOTH = [
    '/',
    '/endpoints',
    '/endpoints/new',
    '/deliveries',
    '/events',
    '/replays',
    '/event-types',
    `/event-types/${VIDEO}`,
    '/api-keys',
    '/first-run',
  ];
  const OF_OPERATORS = ['/accounts', '/audit', '/system'];

  async function judge(visitor: Visitor, path: string): Promise<void> {
    const { page } = visitor;
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.emulateMedia({ colorScheme: 'light' });
    await visitor.go(path);
    assert.deepEqual(await visitor.accessibilityMistakes(), [], `${path}, light`);
    await page.emulateMedia({ colorScheme: 'dark' });
    assert.deepEqual(await visitor.accessibilityMistakes(['color-contrast']), [], `${path}, dark`);
    await page.setViewportSize(PHONE);
    await visitor.settled();
    assert.ok((await visitor.overflow()) <= 0, `${path} is wider than a phone`);
    assert.deepEqual(visitor.troubles, [], path);
  }

  test('is for everybody who can’t see, or not well, and on a phone: the operator’s', async (visitor) => {
    const { username, bad, failed } = await livedIn();
    await visitor.go('/sign-in');
    assert.deepEqual(await visitor.accessibilityMistakes(), [], 'sign-in');
    await visitor.signIn(server.operatorKey);
    for (const path of [...OF_OPERATORS, '/', '/endpoints']) await judge(visitor, path);
    const inAccount = [
      ...OF_BOTH,
      `/endpoints/${bad.endpoint_id}`,
      `/endpoints/${bad.endpoint_id}?tab=verify`,
      `/deliveries/${failed.delivery_id}`,
      `/events/${failed.event_id}`,
      `/accounts/${username}`,
    ];
    for (const path of inAccount)
      await judge(visitor, `${path}${path.includes('?') ? '&' : '?'}account=${username}`);
  });

  test('is for everybody who can’t see, or not well, and on a phone: the customer’s', async (visitor) => {
    const { username, good, done } = await livedIn();
    await visitor.openPortal(username);
    for (const path of [
      ...OF_BOTH,
      `/endpoints/${good.endpoint_id}`,
      `/deliveries/${done.delivery_id}`,
      `/events/${done.event_id}`,
      '/nowhere',
    ]) {
      await judge(visitor, path);
    }
  });

  test('is reached and used by the keyboard alone', async (visitor) => {
    const { page } = visitor;
    const { username } = await livedIn();
    await visitor.openPortal(username);
    await visitor.go('/endpoints');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate('document.activeElement.textContent'), 'Skip to the content');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate('document.activeElement.id'), 'content');
    await page.keyboard.press('Tab');
    // Whatever has the focus is seen to have it.
    const isSeen = `(() => {
      const style = getComputedStyle(document.activeElement);
      return style.outlineStyle !== 'none' || style.boxShadow !== 'none';
    })()`;
    let seen = 0;
    while ((await page.evaluate('document.activeElement === document.body')) === false && seen < 12) {
      const what = await page.evaluate<string>('document.activeElement.outerHTML.slice(0, 200)');
      assert.equal(await page.evaluate(isSeen), true, what);
      seen += 1;
      await page.keyboard.press('Tab');
    }
    assert.ok(seen >= 3, String(seen));
    await page.getByRole('link', { name: 'Add endpoint' }).focus();
    await page.keyboard.press('Enter');
    await page.waitForURL(/\/endpoints\/new/);
  });

  test('loads fast, and asks nobody else', async (visitor, t) => {
    const { page } = visitor;
    await visitor.signIn(server.operatorKey);
    await page.goto('about:blank');
    const session = await page.context().newCDPSession(page);
    await session.send('Network.clearBrowserCache');
    await session.send('Network.enable');
    let bytes = 0;
    session.on('Network.loadingFinished', ({ encodedDataLength }) => {
      bytes += encodedDataLength;
    });
    // CPU of the page's thread rather than time that passes: it is the page's own, however busy the machine is.
    await session.send('Performance.enable', { timeDomain: 'threadTicks' });
    await visitor.go('/');
    const { metrics } = await session.send('Performance.getMetrics');
    const cpuMs = 1000 * (metrics.find(({ name }) => name === 'TaskDuration')?.value ?? Number.NaN);
    const interactiveMs = await page.evaluate<number>(
      'performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd',
    );
    t.diagnostic(
      `${Math.round(bytes / 1024)} KB, interactive after ${Math.round(interactiveMs)} ms, ${Math.round(cpuMs)} ms of CPU until all is shown`,
    );
    assert.ok(bytes < 250 * 1024, `${bytes} bytes`);
    assert.ok(cpuMs > 0 && cpuMs < 1000, `${cpuMs} ms of CPU`);
  });
});

describe('in a host that serves it under a prefix', () => {
  it('the page works, and so does the reference', TIMEOUT, async (t) => {
    if (skipsWithout(t, executablePath === null ? LACKS_CHROMIUM : null)) return;
    const dir = await tempDir();
    const posthorn = await createPosthorn({
      database: `sqlite:${dir.path}/posthorn.db`,
      logger: pino({ level: 'silent' }),
    });
    const serve = posthorn.handler.under('/webhooks');
    const host = createServer((request, response) => serve(request, response, () => response.end('host')));
    host.listen(0, '127.0.0.1');
    await once(host, 'listening');
    const { port } = host.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}/webhooks`;
    const under = new TestServer(url, posthorn.firstStart.operatorKey as string, async () => {
      host.close();
      await posthorn.stop();
      await dir.remove();
    });
    const visitor = await lookAt(t, under);
    const { page } = visitor;
    await visitor.signIn(under.operatorKey);
    await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Accounts' }).click();
    await page.waitForURL(`${url}/accounts`);
    await visitor.settled();
    await visitor.go('/event-types');
    await page.reload();
    await visitor.settled();
    assert.equal(await page.getByRole('link', { name: VIDEO }).count(), 1);
    await page.goto(`${url}/docs`);
    await page.getByText('/v2/publish', { exact: true }).first().waitFor();
    assert.equal(await page.locator('.servers option').first().getAttribute('value'), '/webhooks');
    assert.deepEqual(visitor.troubles, []);
  });
});

describe('on PostgreSQL', () => {
  it('the page shows and does the same', TIMEOUT, async (t) => {
    if (skipsWithout(t, executablePath === null ? LACKS_CHROMIUM : null)) return;
    const database = await createDatabase();
    const other = await TestServer.start(database.url);
    const visitor = await lookAt(t, other, () => database.drop());
    const { page } = visitor;
    await other.call('POST', '/v2/account', { username: 'alice' });
    await visitor.openPortal('alice');
    await visitor.go('/endpoints/new');
    await page.getByLabel('URL').fill(TEST_RECEIVER_URLS.succeed);
    await page.getByRole('checkbox', { name: SCRIPT }).check();
    await page.getByRole('button', { name: 'Add endpoint' }).click();
    await page.waitForURL(/\/endpoints\/wh_/);
    const data = { task_id: 't', status: 'completed', scripts: [] };
    await other.call('POST', '/v2/publish', { username: 'alice', event: SCRIPT, data });
    for (const path of [
      '/',
      '/endpoints',
      '/deliveries',
      '/events',
      '/replays',
      '/event-types',
      '/api-keys',
    ]) {
      await visitor.go(path);
    }
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL(/\/sign-in/);
    await visitor.signIn(other.operatorKey);
    for (const path of [
      '/',
      '/accounts',
      '/accounts/alice',
      '/audit',
      '/system',
      '/deliveries?account=alice',
    ]) {
      await visitor.go(path);
    }
    await page.getByRole('row').filter({ hasText: 'delivered' }).first().waitFor();
    assert.deepEqual(visitor.troubles, []);
  });
});

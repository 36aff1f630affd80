/** The pages of operators and of set-up, as people go through them. */
import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import type { Browser } from 'playwright-core';

import { TEST_RECEIVER_URLS } from '../../server/src/delivery/test-receiver.ts';
import { skipsWithout } from '../../server/test/support/tools.ts';
import { findChromium, LACKS_CHROMIUM, launch, PATIENCE_MS, TestServer, Visitor } from './support/bench.ts';

const VIDEO = 'generated_video_success';
const executablePath = findChromium();
const TIMEOUT = { timeout: 10 * PATIENCE_MS };

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

/** A test by an operator who is signed in, at whose end nothing may have been wrong. */
function test(name: string, run: (visitor: Visitor, t: TestContext) => Promise<void>): void {
  it(name, TIMEOUT, async (t) => {
    if (skipsWithout(t, executablePath === null ? LACKS_CHROMIUM : null)) return;
    const visitor = await Visitor.open(browser, server);
    try {
      await visitor.signIn(server.operatorKey);
      await run(visitor, t);
      assert.deepEqual(visitor.troubles, []);
    } finally {
      await visitor.close();
    }
  });
}

describe('API keys', () => {
  test('are shown once, hold, and are refused when they are revoked', async (visitor) => {
    const { page } = visitor;
    await server.call('POST', '/v2/account', { username: 'keys' });
    await visitor.go('/api-keys?account=keys');
    await page.getByRole('button', { name: 'Create key' }).first().click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Create key' }).click();
    await dialog.getByText(/^Name /).waitFor();
    await dialog.getByLabel('Name').fill('ci');
    await dialog.getByLabel('Expires').selectOption('30d');
    await dialog.getByRole('button', { name: 'Create key' }).click();
    const key = await page.getByTestId('new-key').innerText();
    await page.keyboard.press('Escape');
    assert.equal(await page.getByTestId('new-key').innerText(), key, 'a stray Escape doesn’t take it away');
    await server.call('GET', '/v2/endpoints', undefined, { key });
    await page.getByRole('button', { name: 'I have stored it' }).click();
    await page.getByTestId('new-key').waitFor({ state: 'detached' });
    const row = page.getByRole('row').filter({ hasText: 'ci' });
    await row.getByText(/in \d+ d/).waitFor();
    assert.ok(!(await page.content()).includes(key));

    await row.getByRole('button', { name: 'Revoke ci' }).click();
    await page.getByRole('button', { name: 'Revoke key' }).click();
    await page.getByText('No usable key').waitFor();
    const refused = await fetch(`${server.url}/v2/endpoints`, { headers: { 'x-api-key': key } });
    assert.equal(refused.status, 401);
    await page.getByLabel(/were revoked/).check();
    await page.reload();
    await page.getByRole('row').filter({ hasText: 'revoked' }).waitFor();
  });
});

describe('the catalogue', () => {
  test('is judged by the server while one writes, keeps a draft, and is saved', async (visitor) => {
    const { page } = visitor;
    await visitor.go('/event-types?new=1');
    await page.getByText('The schema is valid, and the example fits it.').waitFor();
    await page.getByLabel('Example of data').fill('{ "order_id": 17 }');
    await page.getByText('/example/order_id must be string').first().waitFor();
    await page.getByLabel('Schema of data').fill('{ "type": "strin');
    await page
      .getByText(/Schema is not JSON/)
      .first()
      .waitFor();
    await page
      .getByLabel('Schema of data')
      .fill('{ "type": "object", "properties": { "n": { "type": "numbr" } } }');
    await page
      .getByText(/not a JSON Schema 2020-12/)
      .first()
      .waitFor();
    await page
      .getByLabel('Schema of data')
      .fill('{ "properties": { "n": { "type": "number", "minimum": 2 } } }');
    await page.getByLabel('Example of data').fill('{ "n": 3 }');
    await page.getByText('The schema is valid, and the example fits it.').waitFor();
    await page.getByText('at least 2').waitFor();
    await page.getByLabel('Name', { exact: true }).fill('invoice.sent');
    await page.getByLabel('Category').fill('invoice');
    await page.getByLabel('Description').fill('An invoice was sent');
    await page.reload();
    assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), 'invoice.sent');
    await page.getByRole('button', { name: 'Add event type' }).click();
    await page.waitForURL(/\/event-types\/invoice\.sent/);
    assert.deepEqual((await server.call('GET', '/v2/event_type/invoice.sent')).example, { n: 3 });

    await page.getByRole('button', { name: 'More actions' }).click();
    await page.getByRole('menuitem', { name: 'Delete…' }).click();
    await page.getByLabel(/To confirm/).fill('invoice.sent');
    await page.getByRole('button', { name: 'Delete event type' }).click();
    await page.waitForURL(/\/event-types$/);
  });

  test('deprecates a built-in type, and sends its example to an endpoint', async (visitor) => {
    const { page } = visitor;
    await server.call('POST', '/v2/account', { username: 'tester' });
    await server.call(
      'POST',
      '/v2/endpoint',
      { url: TEST_RECEIVER_URLS.succeed, events: [VIDEO] },
      { account: 'tester' },
    );
    await visitor.go(`/event-types/${VIDEO}?account=tester`);
    await page.getByRole('cell', { name: /Where the video can be downloaded/ }).waitFor();
    await page.getByRole('button', { name: 'Send a test' }).click();
    await page.getByRole('button', { name: 'Send', exact: true }).click();
    await page.waitForURL(/\/deliveries\/dlv_/);
    await page.getByText('delivered', { exact: true }).first().waitFor();

    await visitor.go(`/event-types/${VIDEO}`);
    await page.getByRole('button', { name: 'More actions' }).click();
    await page.getByRole('menuitem', { name: 'Deprecate…' }).click();
    await page.getByRole('button', { name: 'Deprecate', exact: true }).click();
    await page.getByText('deprecated', { exact: true }).waitFor();
    assert.equal((await server.call('GET', `/v2/event_type/${VIDEO}`)).deprecated, true);
    await server.call('PUT', `/v2/event_type/${VIDEO}`, {
      category: 'video',
      description: 'Video generation succeeded',
      deprecated: false,
    });
  });
});

describe('accounts', () => {
  test('are made, found, suspended, looked at and deleted', async (visitor) => {
    const { page } = visitor;
    await visitor.go('/accounts');
    await page
      .getByRole('button', { name: /^Create/ })
      .first()
      .click();
    await page.getByLabel('Name').fill('no spaces');
    await page.getByLabel('Metadata').fill('{ "plan": "pro" }');
    const create = page.getByRole('dialog').getByRole('button', { name: 'Create account' });
    await create.click();
    await page.getByText(/^Username /).waitFor();
    await page.getByLabel('Name').fill('studio-7');
    await create.click();
    await page.waitForURL(/\/accounts\/studio-7/);
    await page.getByText('"plan": "pro"').waitFor();

    await page.getByRole('button', { name: 'Portal link' }).click();
    await page.getByRole('button', { name: 'Make link' }).click();
    assert.match(await page.getByTestId('portal-link').innerText(), /\/portal#/);
    await page.getByRole('button', { name: 'Done' }).click();

    const menu = async (item: string) => {
      await page.getByRole('button', { name: 'More actions' }).click();
      await page.getByRole('menuitem', { name: item }).click();
    };
    await menu('Suspend…');
    await page.getByRole('button', { name: 'Suspend account' }).click();
    await page.getByText('suspended', { exact: true }).waitFor();
    assert.equal((await server.call('GET', '/v2/account/studio-7')).status, 'suspended');

    await visitor.go('/accounts');
    await page.getByLabel('Search').fill('DIO-7');
    await page.waitForURL(/q=DIO-7/);
    await page.reload();
    await page.getByRole('link', { name: 'Look as it: studio-7' }).click();
    await page.waitForURL(/account=studio-7/);

    await visitor.go('/accounts/studio-7');
    await menu('Delete…');
    const remove = page.getByRole('button', { name: 'Delete account' });
    assert.equal(await remove.isDisabled(), true, 'the name isn’t typed yet');
    await page.getByLabel(/To confirm/).fill('studio-7');
    await remove.click();
    await page.waitForURL(/\/accounts(\?|$)/);
    assert.equal(await page.getByRole('link', { name: 'studio-7' }).count(), 0);
  });
});

describe('looking at all of it', () => {
  test('the overview names what needs attention and the next step; its range stays in the address', async (visitor) => {
    const { page } = visitor;
    await server.call('POST', '/v2/account', { username: 'troubled' });
    const { endpoint_id: endpointId } = await server.call(
      'POST',
      '/v2/endpoint',
      { url: TEST_RECEIVER_URLS.fail, events: [VIDEO] },
      { account: 'troubled' },
    );
    await server.call('POST', `/v2/endpoint/${endpointId}/test`, { event: VIDEO }, { account: 'troubled' });
    await visitor.go('/?range=1h');
    const attention = page.getByRole('region', { name: 'Needs attention' });
    const row = attention.getByRole('listitem').filter({ hasText: 'troubled' });
    await row.getByText(/1 of 1 attempt failed/).waitFor();
    await page.getByRole('button', { name: '7 d' }).click();
    await page.waitForURL(/range=7d/);
    await page.reload();
    assert.equal(await page.getByRole('button', { name: '7 d' }).getAttribute('aria-pressed'), 'true');
    // Each plot appears by itself: the first one that is there needn't be this one.
    await page.getByRole('region', { name: 'Attempts', exact: true }).getByText('As a table').click();
    await page.getByRole('region', { name: 'Attempts, as a table' }).getByText('1').first().waitFor();
    await row.getByRole('link', { name: 'See why' }).click();
    await page.waitForURL(/\/deliveries\?.*account=troubled/);
    await page.getByRole('row').filter({ hasText: VIDEO }).waitFor();
  });

  test('the audit log shows what was before and after, and is narrowed in the address', async (visitor) => {
    const { page } = visitor;
    await server.call('POST', '/v2/account', { username: 'audited' });
    await server.call('PATCH', '/v2/account/audited', { status: 'suspended' });
    await visitor.go('/audit');
    await page.getByLabel('Action').selectOption('account.update');
    await page.waitForURL(/action=account\.update/);
    const line = page.getByRole('button', { name: /update audited/ });
    await line.click();
    await page.getByText('before: ').waitFor();
    await page.getByRole('button', { name: 'Everything about this one' }).click();
    await page.waitForURL(/target=audited/);
    await page.reload();
    assert.equal(await page.getByLabel('Action').inputValue(), 'account.update');
    assert.equal(await page.getByLabel('Id or name').inputValue(), 'audited');
    await line.waitFor();
  });

  test('the system says that it is ready, and with what', async (visitor) => {
    const { page } = visitor;
    await visitor.go('/system');
    await page.getByText('Ready: it accepts, stores and delivers.').waitFor();
    await page.getByText('answered this').waitFor();
    await page.getByText(/^SQLite \d/).waitFor();
    await page.getByText('All secrets are encrypted with the active key.').waitFor();
  });
});

/**
 * Looks at every page of the dashboard in a real Chromium, as operator and as customer, at a desk and on a phone, light and
 * dark, over a month of history, and keeps a picture of each.
 *
 *   node scripts/screenshots.ts FOLDER [--docs]
 *
 * `--docs` also takes the three pictures of `docs/images` anew. Exit code 1 when a page logs an error, calls anybody else or is wider
 * than its window.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { fill, type Target } from '../bench/pages/history.ts';
import { createApiKey, createEncryptionKey } from '../packages/server/src/secrets.ts';
import { TEST_RECEIVER_URLS } from '../packages/server/src/delivery/test-receiver.ts';
import {
  DESKTOP,
  findChromium,
  LACKS_CHROMIUM,
  launch,
  PHONE,
  TestServer,
  Visitor,
} from '../packages/dashboard/test/support/bench.ts';
import { tempDir } from '../packages/server/test/support/tempdir.ts';

const DELIVERIES = 120_000;
const TYPES = [
  'generated_video_success',
  'generated_avatar_video_success',
  'generated_script_success',
] as const;
const ACCOUNTS: Record<string, string[]> = {
  'acme-studios': ['https://hooks.acme-studios.example/videos', 'https://backup.acme-studios.example/in'],
  brightreel: ['https://api.brightreel.example/webhooks/jogg'],
  'north-lantern': ['https://north-lantern.example/hooks', 'https://staging.north-lantern.example/hooks'],
};
const LOOKS = [
  { name: 'desk-light', viewport: DESKTOP, colorScheme: 'light' },
  { name: 'desk-dark', viewport: DESKTOP, colorScheme: 'dark' },
  { name: 'phone-light', viewport: PHONE, colorScheme: 'light' },
  { name: 'phone-dark', viewport: PHONE, colorScheme: 'dark' },
] as const;

const [folder, ...flags] = process.argv.slice(2);
const chromium = findChromium();
if (folder === undefined) throw new Error('say where the pictures go: node scripts/screenshots.ts FOLDER');
if (chromium === null) throw new Error(LACKS_CHROMIUM);

const dir = await tempDir();
const url = `sqlite:${join(dir.path, 'posthorn.db')}`;
const settings = { POSTHORN_OPERATOR_KEY: createApiKey(), POSTHORN_ENCRYPTION_KEY: createEncryptionKey() };
const empty = await TestServer.start(url, settings);
const targets = await makeAccounts(empty);
await empty.stop();
await fill(url, DELIVERIES, targets, TYPES);
const server = await TestServer.start(url, settings);
const browser = await launch(chromium);
try {
  const seen = await makeEvents(server);
  await lookAtAll(browser, server, folder, seen);
  if (flags.includes('--docs')) await takeForDocs(browser, server, seen);
} finally {
  await browser.close();
  await server.stop();
  await dir.remove();
}

interface Seen {
  username: string;
  endpointId: string;
  deliveryId: string;
  eventId: string;
}

async function makeAccounts(api: TestServer): Promise<Target[]> {
  const made: Target[] = [];
  for (const [username, urls] of Object.entries(ACCOUNTS)) {
    await api.call('POST', '/v2/account', { username });
    const endpointIds: string[] = [];
    for (const endpoint of urls) {
      const body = { url: endpoint, events: TYPES };
      endpointIds.push((await api.call('POST', '/v2/endpoint', body, { account: username })).endpoint_id);
    }
    made.push({ username, endpointIds });
  }
  return made;
}

/** What failed a moment ago, to be looked at. */
async function makeEvents(api: TestServer): Promise<Seen> {
  const username = 'acme-studios';
  await api.call('POST', `/v2/account/${username}/api_key`, { name: 'backend' });
  const body = { url: TEST_RECEIVER_URLS.fail, events: ['generated_photo_avatar_success'] };
  const { endpoint_id: endpointId } = await api.call('POST', '/v2/endpoint', body, { account: username });
  const { event_id: eventId } = await api.call('POST', '/v2/publish', {
    username,
    event: 'generated_photo_avatar_success',
    data: (await api.call('GET', '/v2/event_type/generated_photo_avatar_success')).example,
  });
  const path = `/v2/deliveries?event_id=${eventId}`;
  for (;;) {
    const { deliveries } = await api.call('GET', path, undefined, { account: username });
    const [{ delivery_id: deliveryId, attempts }] = deliveries;
    if (attempts > 0) return { username, endpointId, deliveryId, eventId };
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function pagesOf({
  endpointId,
  deliveryId,
  eventId,
  username,
}: Seen): Record<string, Record<string, string>> {
  const ofBoth = {
    overview: '/',
    endpoints: '/endpoints',
    'endpoint-new': '/endpoints/new',
    endpoint: `/endpoints/${endpointId}`,
    'endpoint-verify': `/endpoints/${endpointId}?tab=verify`,
    deliveries: '/deliveries',
    'deliveries-dead': '/deliveries?status=dead',
    delivery: `/deliveries/${deliveryId}`,
    events: '/events',
    event: `/events/${eventId}`,
    replays: '/replays',
    catalogue: '/event-types',
    'event-type': '/event-types/generated_video_success',
    'api-keys': '/api-keys',
    'first-run': '/first-run',
  };
  const ofOperators = {
    'all-overview': '/',
    'all-endpoints': '/endpoints',
    accounts: '/accounts',
    account: `/accounts/${username}`,
    audit: '/audit',
    system: '/system',
    'event-type-new': '/event-types?new=1',
  };
  const inAccount = Object.fromEntries(
    Object.entries(ofBoth).map(([name, path]) => [
      name,
      `${path}${path.includes('?') ? '&' : '?'}account=${username}`,
    ]),
  );
  return { operator: { ...ofOperators, ...inAccount }, customer: ofBoth };
}

async function lookAtAll(chrome: Browser, api: TestServer, into: string, seen: Seen): Promise<void> {
  const wrong: string[] = [];
  for (const [role, pages] of Object.entries(pagesOf(seen))) {
    const visitor = await Visitor.open(chrome, api);
    if (role === 'operator') await visitor.signIn(api.operatorKey);
    else await visitor.openPortal(seen.username);
    mkdirSync(join(into, role), { recursive: true });
    for (const [name, path] of Object.entries(pages)) {
      for (const look of LOOKS) {
        await setLook(visitor, look);
        await visitor.go(path);
        const picture = `${role}/${name}-${look.name}.png`;
        await visitor.page.screenshot({ path: join(into, picture), fullPage: true });
        if ((await visitor.overflow()) > 0) wrong.push(`${picture}: wider than its window`);
        wrong.push(...visitor.troubles.splice(0).map((trouble) => `${picture}: ${trouble}`));
      }
    }
    await visitor.close();
  }
  for (const line of wrong) console.error(line);
  if (wrong.length > 0) process.exitCode = 1;
}

async function setLook(
  { page }: Visitor,
  { viewport, colorScheme }: Pick<(typeof LOOKS)[number], 'viewport' | 'colorScheme'>,
): Promise<void> {
  await page.setViewportSize(viewport);
  await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
}

async function takeForDocs(chrome: Browser, api: TestServer, seen: Seen): Promise<void> {
  const { username, deliveryId } = seen;
  const images = join(import.meta.dirname, '../docs/images');
  const visitor = await Visitor.open(chrome, api);
  await visitor.signIn(api.operatorKey);
  for (const [name, path, look] of [
    ['overview', `/?account=${username}`, LOOKS[0]],
    ['delivery-dark', `/deliveries/${deliveryId}?account=${username}`, LOOKS[1]],
    ['delivery-phone', `/deliveries/${deliveryId}?account=${username}`, LOOKS[2]],
  ] as const) {
    await setLook(visitor, look);
    await visitor.go(path);
    await visitor.page.screenshot({ path: join(images, `${name}.png`) });
  }
  await visitor.close();
}

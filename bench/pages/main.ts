/**
 * How long the server takes for each call that a page of the dashboard makes, beside a long history.
 *
 *   node bench/pages/main.ts [deliveries, 1000000 unless told] [sqlite or postgres, both unless told]
 *
 * The history covers 30 days, 40 accounts with three endpoints each, of which one has half of all deliveries; a twentieth was given
 * up, a fiftieth waits for a retry. `posthorn serve` is asked as the pages ask, for an operator over all accounts and in the
 * large account, and for that account's customer, one call after the other. Exit code 1 when one takes longer than 300 ms.
 * Needs 3 GB in the temporary folder for each engine.
 */
import { PostgresCluster } from '../../packages/server/test/support/postgres-cluster.ts';
import {
  type Api,
  call,
  createAccount,
  must,
  onSite,
  percentile,
  startService,
  stopAll,
} from '../support.ts';
import { fill, type Target } from './history.ts';

const DELIVERIES = 1_000_000;
const LIMIT_MS = 300;
const CALLS = 7;
const ACCOUNTS = 40;
const ENDPOINTS_EACH = 3;
/** Of the type that almost nothing is of, and of the others. */
const RARE_TYPE = 'generated_script_failed';
const TYPES = ['generated_video_success', 'generated_video_failed', 'create_avatar_success'] as const;
const DAY_SECONDS = 86_400;
/** The ranges of the overview with their intervals: packages/dashboard/src/pages/overview/ranges.ts. */
const RANGES: [seconds: number, interval: string][] = [
  [DAY_SECONDS / 24, '1m'],
  [DAY_SECONDS / 4, '5m'],
  [DAY_SECONDS, '15m'],
  [7 * DAY_SECONDS, '2h'],
  [30 * DAY_SECONDS, '12h'],
];
/** From the newest on, so many pages are turned before the one that is timed. */
const DEEP_PAGES = 100;

interface Ask {
  page: string;
  path: string;
  method?: string;
  body?: object;
}

interface Timing extends Ask {
  role: string;
  p50: number;
  max: number;
}

type Engine = 'sqlite' | 'postgres';

const [countText, engineText] = process.argv.slice(2);
const count = Number(countText ?? DELIVERIES);
if (!Number.isSafeInteger(count) || count < 10_000) throw new Error('give at least 10000 deliveries');
if (engineText !== undefined && engineText !== 'sqlite' && engineText !== 'postgres') {
  throw new Error(`the engine is sqlite or postgres, not ${engineText}`);
}
const engines: readonly Engine[] = engineText === undefined ? ['sqlite', 'postgres'] : [engineText];
const byEngine = new Map<Engine, Timing[]>();
for (const engine of engines) {
  byEngine.set(engine, await (engine === 'sqlite' ? onSqlite() : onPostgres()));
}
if (!report(byEngine)) process.exitCode = 1;

function onSqlite(): Promise<Timing[]> {
  return onSite((site) => bench(site, `sqlite:${site.folder}/posthorn.db`, {}));
}

async function onPostgres(): Promise<Timing[]> {
  const cluster = await PostgresCluster.start({ settings: { max_wal_size: '4GB' } });
  try {
    const settings = { POSTHORN_ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64') };
    return await onSite((site) => bench(site, cluster.url(), settings));
  } finally {
    await cluster.remove();
  }
}

async function bench(
  site: Parameters<typeof startService>[0],
  url: string,
  engineSettings: Record<string, string>,
): Promise<Timing[]> {
  const settings = { ...engineSettings, POSTHORN_DATABASE_URL: url };
  const targets = await makeTargets(await startService(site, settings));
  await stopAll(site.children.splice(0));
  const started = performance.now();
  const eventId = await fill(url, count, targets, TYPES);
  console.log(
    `${count} deliveries written in ${((performance.now() - started) / 1000).toFixed(0)} s (${url.split(':')[0]})`,
  );
  const api = await startService(site, settings);
  const timings = await measure(api, targets[0] as Target, eventId);
  await stopAll(site.children.splice(0));
  return timings;
}

async function makeTargets(api: Api): Promise<Target[]> {
  const targets: Target[] = [];
  for (let account = 0; account < ACCOUNTS; account += 1) {
    const username = `customer-${account}`;
    await createAccount(api, username);
    const endpointIds: string[] = [];
    for (let endpoint = 0; endpoint < ENDPOINTS_EACH; endpoint += 1) {
      const body = { url: 'https://test-receiver.posthorn.invalid/succeed', events: [...TYPES, RARE_TYPE] };
      const text = await must(api, 'POST', '/v2/endpoint', body, { 'x-account': username });
      endpointIds.push((JSON.parse(text) as { data: { endpoint_id: string } }).data.endpoint_id);
    }
    targets.push({ username, endpointIds });
  }
  return targets;
}

async function measure(api: Api, { username, endpointIds }: Target, eventId: string): Promise<Timing[]> {
  const made = await must(api, 'POST', `/v2/account/${username}/api_key`, { name: 'customer' });
  const customer: Api = { ...api, key: (JSON.parse(made) as { data: { api_key: string } }).data.api_key };
  const inAccount = { 'x-account': username };
  const asksOfAccount = await ofAccount(api, inAccount, endpointIds[0] as string, eventId);
  const timings: Timing[] = [];
  for (const [role, asks, as, headers] of [
    ['operator, all accounts', ofOperator(username), api, {}],
    ['operator, one account', [...asksOfAccount, ...accountPage(username)], api, inAccount],
    ['customer', asksOfAccount, customer, {}],
  ] as const) {
    for (const ask of asks) timings.push(await timed(as, role, ask, headers));
  }
  return timings;
}

async function timed(api: Api, role: string, ask: Ask, headers: Record<string, string>): Promise<Timing> {
  const times: number[] = [];
  for (let turn = 0; turn < CALLS; turn += 1) {
    const started = performance.now();
    const { status, text } = await call(api, ask.method ?? 'GET', ask.path, ask.body, headers);
    times.push(performance.now() - started);
    if (status !== 200) throw new Error(`${role}: ${ask.path} answered ${status}: ${text}`);
  }
  times.sort((a, b) => a - b);
  return { ...ask, role, p50: percentile(times, 0.5), max: times.at(-1) ?? Number.NaN };
}

function overviewAsks(page: string): Ask[] {
  const now = Math.floor(Date.now() / 1000);
  return [
    { page, path: '/v2/overview' },
    ...RANGES.map(([seconds, interval]) => ({
      page,
      path: `/v2/stats?since=${now - seconds}&interval=${interval}`,
    })),
  ];
}

function ofOperator(username: string): Ask[] {
  return [
    ...overviewAsks('Overview'),
    { page: 'every page', path: '/v2/user/whoami' },
    { page: 'every page', path: '/v2/accounts?limit=200' },
    { page: 'Accounts', path: '/v2/accounts?search=mer-3' },
    { page: 'Event types', path: '/v2/event_types' },
    { page: 'API keys', path: '/v2/api_keys' },
    { page: 'Audit log', path: '/v2/audit' },
    { page: 'Audit log', path: `/v2/audit?action=endpoint.create&target=${username}` },
    { page: 'System', path: '/v2/system' },
    { page: 'System', path: '/v2/encryption_keys' },
  ];
}

function accountPage(username: string): Ask[] {
  return [
    { page: 'Account', path: `/v2/account/${username}` },
    { page: 'Account', path: `/v2/account/${username}/api_keys` },
  ];
}

async function ofAccount(
  api: Api,
  headers: Record<string, string>,
  endpointId: string,
  eventId: string,
): Promise<Ask[]> {
  const now = Math.floor(Date.now() / 1000);
  const hour = now - (now % 3600);
  const [from, to] = [now - 20 * DAY_SECONDS, now - 19 * DAY_SECONDS];
  const deliveries = async (page: string, query: string): Promise<Ask[]> => {
    const cursor = await deepCursor(api, headers, `/v2/deliveries?limit=50${query}`);
    const first = { page, path: `/v2/deliveries?${query.slice(1)}` };
    return cursor === null ? [first] : [first, { page, path: `${first.path}&cursor=${cursor}` }];
  };
  const text = await must(api, 'GET', `/v2/deliveries?event_id=${eventId}`, undefined, headers);
  const [found] = (JSON.parse(text) as { data: { deliveries: { delivery_id: string }[] } }).data.deliveries;
  const eventCursor = await deepCursor(api, headers, '/v2/event_log?limit=50');
  const replays = (['failed', 'missing', 'all'] as const).flatMap((status) =>
    [DAY_SECONDS, 30 * DAY_SECONDS].map((seconds) => ({
      page: 'Replays',
      path: `/v2/endpoint/${endpointId}/replay`,
      method: 'POST',
      body: { status, since: now - seconds, dry_run: true },
    })),
  );
  return [
    ...overviewAsks('Overview'),
    { page: 'Endpoints', path: '/v2/endpoints' },
    { page: 'Endpoints', path: '/v2/endpoints/health' },
    { page: 'Endpoints', path: `/v2/stats?by=endpoint&interval=1h&since=${hour - 23 * 3600}` },
    { page: 'Endpoint', path: `/v2/endpoint/${endpointId}` },
    { page: 'Endpoint', path: `/v2/deliveries?endpoint_id=${endpointId}&limit=10` },
    { page: 'Endpoint, delete', path: `/v2/deliveries?endpoint_id=${endpointId}&status=pending&limit=200` },
    ...(await deliveries('Deliveries', '&')),
    ...(await deliveries('Deliveries', '&status=delivered')),
    ...(await deliveries('Deliveries', '&status=dead')),
    ...(await deliveries('Deliveries', '&status=pending')),
    ...(await deliveries('Deliveries', `&event=${TYPES[0]}`)),
    ...(await deliveries('Deliveries', `&event=${RARE_TYPE}`)),
    ...(await deliveries('Deliveries', '&status=cancelled')),
    ...(await deliveries('Deliveries', `&status=dead&event=${RARE_TYPE}`)),
    ...(await deliveries('Deliveries', `&endpoint_id=${endpointId}&status=dead`)),
    ...(await deliveries('Deliveries', `&endpoint_id=${endpointId}&event=${RARE_TYPE}`)),
    ...(await deliveries('Deliveries', `&since=${from}&until=${to}`)),
    ...(await deliveries('Deliveries', `&since=${from}&until=${to}&status=dead&event=${TYPES[1]}`)),
    { page: 'Deliveries', path: `/v2/deliveries?event_id=${eventId}` },
    { page: 'Deliveries', path: '/v2/deliveries?event_id=there-is-none' },
    { page: 'Delivery', path: `/v2/delivery/${found?.delivery_id}` },
    { page: 'Events', path: '/v2/event_log' },
    { page: 'Events', path: `/v2/event_log?cursor=${eventCursor}` },
    { page: 'Events', path: `/v2/event_log?event=${RARE_TYPE}` },
    { page: 'Events', path: `/v2/event_log?event=${TYPES[2]}&since=${from}&until=${to}` },
    { page: 'Events', path: `/v2/event_log?event_id=${eventId}` },
    { page: 'Event', path: `/v2/event_log/${eventId}` },
    { page: 'Replays', path: '/v2/replays' },
    ...replays,
    { page: 'Audit log', path: '/v2/audit' },
    { page: 'API keys', path: '/v2/api_keys' },
    { page: 'Event types', path: '/v2/event_types' },
  ];
}

/** The cursor that turning pages comes to, or the last one; null when everything fits on one page. */
async function deepCursor(api: Api, headers: Record<string, string>, path: string): Promise<string | null> {
  let cursor: string | null = null;
  for (let page = 0; page < DEEP_PAGES; page += 1) {
    const query: string = cursor === null ? '' : `&cursor=${cursor}`;
    const text = await must(api, 'GET', `${path}${query}`, undefined, headers);
    const next = (JSON.parse(text) as { data: { next_cursor: string | null } }).data.next_cursor;
    if (next === null) return cursor;
    cursor = next;
  }
  return cursor;
}

/** Prints one table; true when everything was within the limit. */
function report(byEngine: ReadonlyMap<Engine, readonly Timing[]>): boolean {
  const names = [...byEngine.keys()];
  const [first = []] = byEngine.values();
  console.log(`\n| who | page | call | ${names.map((name) => `${name}: p50, max (ms)`).join(' | ')} |`);
  console.log(`|---|---|---|${names.map(() => '---|').join('')}`);
  for (const [number, { role, page, path, body }] of first.entries()) {
    const figures = names.map((name) => {
      const { p50, max } = (byEngine.get(name) as Timing[])[number] as Timing;
      return `${p50.toFixed(1)}, ${max > LIMIT_MS ? `**${max.toFixed(1)}**` : max.toFixed(1)}`;
    });
    const what = path.replaceAll(/(cursor)=[^&]*/g, '$1=…').replaceAll(/\w+_[0-9a-z]{26}/g, '…');
    console.log(
      `| ${role} | ${page} | \`${what}${body === undefined ? '' : ` ${JSON.stringify(body)}`}\` | ${figures.join(' | ')} |`,
    );
  }
  const slow = names.flatMap((name) => (byEngine.get(name) ?? []).filter(({ max }) => max > LIMIT_MS));
  const worst = Math.max(...names.flatMap((name) => (byEngine.get(name) ?? []).map(({ max }) => max)));
  console.log(`\n${slow.length} calls over ${LIMIT_MS} ms; the slowest took ${worst.toFixed(0)} ms`);
  return slow.length === 0;
}

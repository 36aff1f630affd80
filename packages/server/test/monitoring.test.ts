/** deploy/grafana, deploy/prometheus and docs/monitoring.md, held against what a running service exports. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pino } from 'pino';
import { parse } from 'yaml';
import { loadConfig } from '../src/config.ts';
import { createService, type Service } from '../src/service.ts';
import { inTurn, type Receiver, respond, startReceiver } from './support/receivers.ts';
import { type TempDir, tempDir } from './support/tempdir.ts';
import { findProgram, skipsWithout } from './support/tools.ts';

const ROOT = join(import.meta.dirname, '../../..');
const OPERATOR_KEY = 'monitoring-operator-key-'.padEnd(48, '0');
const RULES = join(ROOT, 'deploy/prometheus/posthorn.rules.yaml');
const SCRAPES = join(ROOT, 'deploy/prometheus/prometheus.example.yaml');
/** Variables that Grafana fills in, as what Prometheus' grammar takes there. */
const GRAFANA_VARIABLES: [RegExp, string][] = [
  [/\$__rate_interval/g, '5m'],
  [/\$\{?\w+\}?/g, 'x'],
];
/** Prometheus puts these on every series. */
const FROM_SCRAPE = new Set(['job', 'instance']);
const MISSING_PROMTOOL =
  findProgram('promtool') === null ? "promtool is missing: Debian's package prometheus has it" : null;

/** Series of one process for two hours, a value a minute, in promtool's notation. */
const WELL: Record<string, string> = {
  up: '1x120',
  'posthorn_info{role="all"}': '1x120',
  posthorn_store_up: '1x120',
  // While nodes are replaced one by one.
  posthorn_unknown_migrations: '0x60 1x20 0x40',
  posthorn_queue_oldest_due_seconds: '1x120',
  'posthorn_attempts_total{outcome="success"}': '0+600x120',
  'posthorn_attempts_total{outcome="timeout"}': '0+6x120',
  'posthorn_attempts_total{outcome="proxy_error"}': '0+1x120',
  'posthorn_deliveries_ended_total{status="dead"}': '0x120',
  'posthorn_http_requests_total{status="200"}': '0+600x120',
  'posthorn_http_requests_total{status="503"}': '0+1x120',
  'posthorn_store_failures_total{operation="publish"}': '0x60 1x60',
  'posthorn_event_loop_delay_seconds{percentile="99"}': '0.01x120',
  'posthorn_leases_lost_total{reason="stale"}': '0x120',
  'posthorn_endpoint_turns_total{state="probing"}': '0x30 1x90',
  'posthorn_endpoint_turns_total{state="open"}': '0x40 1x80',
  'posthorn_endpoint_turns_total{state="disabled"}': '0x120',
};
/** By alert: what is otherwise then. */
const TROUBLE: Record<string, Record<string, string>> = {
  PosthornQueueOld: { posthorn_queue_oldest_due_seconds: '1x100 90x20' },
  PosthornNoWorker: { 'posthorn_info{role="all"}': '1x100', 'posthorn_info{role="api"}': '1x120' },
  PosthornProcessDown: { up: '1x100 0x20' },
  PosthornStoreUnavailable: { posthorn_store_up: '1x100 0x20' },
  PosthornStoreFailing: { 'posthorn_store_failures_total{operation="publish"}': '0x100 0+2x20' },
  PosthornProcessOutdated: { posthorn_unknown_migrations: '0x60 1x60' },
  PosthornDeadDeliveries: { 'posthorn_deliveries_ended_total{status="dead"}': '0x100 1x20' },
  PosthornAttemptErrors: { 'posthorn_attempts_total{outcome="timeout"}': '0+300x120' },
  PosthornEgressProxy: { 'posthorn_attempts_total{outcome="proxy_error"}': '0x100 0+100x20' },
  PosthornEndpointsProbing: { 'posthorn_endpoint_turns_total{state="probing"}': '0x100 0+5x20' },
  PosthornEndpointsDisabled: { 'posthorn_endpoint_turns_total{state="disabled"}': '0x100 1x20' },
  PosthornApiErrors: { 'posthorn_http_requests_total{status="503"}': '0+30x120' },
  PosthornEventLoopBusy: { 'posthorn_event_loop_delay_seconds{percentile="99"}': '0.01x100 0.2x20' },
  PosthornLeasesLost: { 'posthorn_leases_lost_total{reason="stale"}': '0x80 0+1x40' },
};

/** What the scrape adds to a series. */
function withScrape(series: string): string {
  const own = 'job="posthorn",instance="one"';
  return series.endsWith('}') ? `${series.slice(0, -1)},${own}}` : `${series}{${own}}`;
}

interface Panel {
  type: string;
  title: string;
  description?: string;
  fieldConfig?: { defaults: { unit?: string } };
  targets?: { expr: string; refId: string }[];
  gridPos: { x: number; y: number; w: number; h: number };
}
interface Rule {
  alert: string;
  expr: string;
  for?: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
}

const dashboards = globSync('deploy/grafana/*.json', { cwd: ROOT }).map((path) => ({
  path,
  content: JSON.parse(readFileSync(join(ROOT, path), 'utf8')) as { uid: string; panels: Panel[] },
}));
const panels = dashboards.flatMap(({ content }) => content.panels).filter(({ type }) => type !== 'row');
const rules = (parse(readFileSync(RULES, 'utf8')) as { groups: { rules: Rule[] }[] }).groups.flatMap(
  (group) => group.rules,
);
const docs = readFileSync(join(ROOT, 'docs/monitoring.md'), 'utf8');

interface Exported {
  /** By name, as Prometheus stores it: a histogram has three. */
  labelsOf: Map<string, Set<string>>;
  families: { name: string; type: string; help: string }[];
  /** Each series once, without its value. */
  series: string[];
}

function readMetrics(text: string): Exported {
  const exported: Exported = { labelsOf: new Map(), families: [], series: [] };
  const types = new Map<string, string>();
  const helps = new Map<string, string>();
  for (const line of text.trim().split('\n')) {
    const comment = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
    if (comment !== null) {
      const [, kind, name = '', rest = ''] = comment;
      (kind === 'HELP' ? helps : types).set(name, rest);
      continue;
    }
    const sample = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    assert.ok(sample !== null, `${line} is a sample`);
    const [, name = '', labels = ''] = sample;
    const names = exported.labelsOf.get(name) ?? new Set();
    for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) names.add(label);
    exported.labelsOf.set(name, names);
    exported.series.push(`${name}{${labels}}`);
  }
  for (const [name, type] of types) exported.families.push({ name, type, help: helps.get(name) ?? '' });
  return exported;
}

/** The metrics that an expression reads, each with the labels that it selects by or groups by. */
function readsOf(expr: string): { name: string; labels: string[] }[] {
  return Array.from(
    expr.matchAll(/\b(posthorn_\w+|up)(?:\{([^}]*)\})?/g),
    ([, name = '', selector = '']) => ({
      name,
      labels: Array.from(selector.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g), ([, label = '']) => label),
    }),
  );
}

let folder: TempDir;
let service: Service;
let receiver: Receiver;
let exported: Exported;
let metricsText: string;

before(async () => {
  folder = await tempDir();
  receiver = await startReceiver(inTurn(respond(200)));
  const config = loadConfig({
    env: {
      POSTHORN_LISTEN: '127.0.0.1:0',
      POSTHORN_ENDPOINT_POLICY: 'development',
      POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
    },
    cwd: folder.path,
  });
  const attempted = Promise.withResolvers<void>();
  const logger = pino(
    {},
    { write: (line: string) => void (JSON.parse(line).msg === 'attempt' && attempted.resolve()) },
  );
  service = await createService(config, { logger });
  const { url } = await service.start();
  const call = async (path: string, body: object, account?: string) => {
    const response = await fetch(url + path, {
      method: 'POST',
      headers: {
        'x-api-key': OPERATOR_KEY,
        'content-type': 'application/json',
        connection: 'close',
        ...(account === undefined ? {} : { 'x-account': account }),
      },
      body: JSON.stringify(body),
    });
    assert.equal(response.status, 200, await response.text());
  };
  await call('/v2/account', { username: 'alice' });
  await call('/v2/endpoint', { url: receiver.url, events: ['generated_image_success'] }, 'alice');
  await call('/v2/publish', {
    username: 'alice',
    event: 'generated_image_success',
    data: { task_id: 't', status: 'completed', image_urls: [] },
  });
  await attempted.promise;
  metricsText = await (await fetch(`${url}/metrics`, { headers: { connection: 'close' } })).text();
  exported = readMetrics(metricsText);
});
after(async () => {
  await service.stop();
  await receiver.close();
  await folder.remove();
});

/** @throws Error with what promtool says, when it isn't content. */
function promtool(...args: string[]): void {
  const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stdout + stderr);
}

function assertReads(expr: string, where: string): void {
  const reads = readsOf(expr);
  assert.ok(reads.length > 0, `${where} reads a metric`);
  for (const { name, labels } of reads) {
    // Prometheus makes this one itself, with these labels, which it also puts on all others.
    const known = name === 'up' ? new Set<string>() : exported.labelsOf.get(name);
    assert.ok(known !== undefined, `${where}: the service exports ${name}`);
    for (const label of labels) {
      assert.ok(known.has(label) || FROM_SCRAPE.has(label), `${where}: ${name} has ${label}`);
    }
  }
  const all = reads.flatMap(({ name }) => [...(exported.labelsOf.get(name) ?? [])]);
  for (const [, list = ''] of expr.matchAll(/\bby \(([^)]*)\)/g)) {
    for (const label of list.split(/\s*,\s*/)) {
      assert.ok(all.includes(label) || FROM_SCRAPE.has(label), `${where}: something has ${label}`);
    }
  }
}

describe('the metrics of a running service', () => {
  it('have help, and the units of the Prometheus conventions in their names', () => {
    assert.ok(exported.families.length >= 25);
    for (const { name, type, help } of exported.families) {
      assert.match(name, /^posthorn_[a-z_]+$/);
      assert.match(help, /^[A-Z0-9].*[.]$/, `${name} has help`);
      assert.ok(['counter', 'gauge', 'histogram'].includes(type), name);
      assert.equal(name.endsWith('_total'), type === 'counter', `${name} ends in _total if it is a counter`);
      assert.doesNotMatch(name, /_(ms|millis|milliseconds|minutes|kib|mib|percent)(_|$)/, 'base units');
      assert.match(
        name,
        /_(total|seconds|bytes|events|attempts|deliveries|endpoints|connections|migrations|info|up)$/,
        `${name} ends in what it counts`,
      );
    }
  });

  it('have no label whose values grow with accounts, endpoints or events', () => {
    const allowed = new Set([
      'outcome',
      'status',
      'source',
      'reason',
      'operation',
      'method',
      'route',
      'state',
      'percentile',
      'le',
      'version',
      'role',
      'engine',
    ]);
    for (const [name, labels] of exported.labelsOf) {
      for (const label of labels) assert.ok(allowed.has(label), `${name} has the label ${label}`);
    }
    assert.deepEqual(exported.series.length, new Set(exported.series).size, 'no series comes twice');
  });

  it('are all in docs/monitoring.md, and nothing else is', () => {
    const documented = new Set(docs.match(/\bposthorn_[a-z_]+\b/g));
    const names = exported.families.map(({ name }) => name);
    assert.deepEqual([...documented].toSorted(), names.toSorted());
  });
});

describe('the Grafana dashboard', () => {
  it('reads only metrics and labels that the service exports', () => {
    assert.ok(panels.length >= 20);
    for (const { title, targets = [] } of panels) {
      assert.ok(targets.length > 0, title);
      for (const { expr } of targets) assertReads(expr, title);
    }
  });

  it('says of each panel what it shows and in which unit, and puts none over another', () => {
    for (const { path, content } of dashboards) {
      const taken = new Set<string>();
      for (const { type, title, description, fieldConfig, gridPos } of content.panels) {
        for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
          for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
            assert.ok(x < 24 && !taken.has(`${x}/${y}`), `${path}: ${title} has its place`);
            taken.add(`${x}/${y}`);
          }
        }
        if (type === 'row') continue;
        assert.match(description ?? '', /^[A-Z0-9].*\.$/, `${path}: ${title} has a description`);
        assert.match(fieldConfig?.defaults.unit ?? '', /^\w+$/, `${path}: ${title} has a unit`);
      }
    }
  });

  it('shows every metric that there is', () => {
    const read = panels.flatMap(({ targets = [] }) => targets.flatMap(({ expr }) => readsOf(expr)));
    const shown = new Set(read.map(({ name }) => name.replace(/_(bucket|sum|count)$/, '')));
    const missing = exported.families.filter(({ name }) => !shown.has(name)).map(({ name }) => name);
    assert.deepEqual(missing, []);
  });
});

describe('the alert rules', () => {
  it('read only metrics and labels that the service exports', () => {
    for (const { alert, expr } of rules) assertReads(expr, alert);
  });

  it('say whom they wake, what is wrong and what to do, each under a name of its own', () => {
    assert.ok(rules.length >= 7);
    for (const { alert, labels, annotations } of rules) {
      assert.match(alert, /^Posthorn[A-Z]\w+$/);
      assert.ok(['page', 'ticket'].includes(labels.severity ?? ''), `${alert} has a severity`);
      assert.match(annotations.summary ?? '', /^[A-Z].*[^.]$/, `${alert} has a summary`);
      assert.match(annotations.description ?? '', /\.$/, `${alert} has a description`);
      assert.ok(docs.includes(`\`${alert}\``), `docs/monitoring.md tells what to do about ${alert}`);
    }
    assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length);
  });

  it('are taken by Prometheus, and so are the scrapes', (t) => {
    if (skipsWithout(t, MISSING_PROMTOOL)) return;
    promtool('check', 'rules', '--lint-fatal', RULES);
    promtool('check', 'config', SCRAPES);
  });

  it('fire on what they are about, and are silent while all is well', async (t) => {
    if (skipsWithout(t, MISSING_PROMTOOL)) return;
    const tests = [null, ...Object.keys(TROUBLE)].map((alert) => ({
      name: alert ?? 'all is well',
      interval: '1m',
      input_series: Object.entries({ ...WELL, ...(alert === null ? {} : TROUBLE[alert]) }).map(
        ([series, values]) => ({ series: withScrape(series), values }),
      ),
      promql_expr_test: [
        {
          expr: 'count by (alertname) (ALERTS{alertstate="firing"})',
          eval_time: '2h',
          exp_samples: alert === null ? [] : [{ labels: `{alertname="${alert}"}`, value: 1 }],
        },
      ],
    }));
    assert.deepEqual(Object.keys(TROUBLE).toSorted(), rules.map(({ alert }) => alert).toSorted());
    const path = join(folder.path, 'alerts.test.json');
    await writeFile(path, JSON.stringify({ rule_files: [RULES], evaluation_interval: '1m', tests }));
    promtool('test', 'rules', path);
  });

  it('would not be taken with a mistake in them', async (t) => {
    if (skipsWithout(t, MISSING_PROMTOOL)) return;
    const path = join(folder.path, 'wrong.rules.yaml');
    await writeFile(path, readFileSync(RULES, 'utf8').replace('max by (job) (', 'max by (job ('));
    assert.throws(() => promtool('check', 'rules', path), /could not parse expression/);
  });
});

describe('the dashboard and /metrics', () => {
  it('are taken by promtool, expression by expression and line by line', async (t) => {
    if (skipsWithout(t, MISSING_PROMTOOL)) return;
    const records = panels.flatMap(({ targets = [] }, panel) =>
      targets.map(({ expr, refId }) => ({
        record: `dashboard:panel_${panel}_${refId}`,
        expr: GRAFANA_VARIABLES.reduce((text, [variable, value]) => text.replace(variable, value), expr),
      })),
    );
    const path = join(folder.path, 'dashboard.rules.json');
    await writeFile(path, JSON.stringify({ groups: [{ name: 'dashboard', rules: records }] }));
    promtool('check', 'rules', path);
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], {
      input: metricsText,
      encoding: 'utf8',
    });
    assert.equal(status, 0, stdout + stderr);
  });
});

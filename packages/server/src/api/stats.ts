/** Counts and latencies over time. */
import { type Static, Type } from './schema.ts';

import { toSeconds } from '../clock.ts';
import { invalid } from '../errors.ts';
import type { StatsPoint } from '../model.ts';
import type { ApiDeps } from './deps.ts';
import { type ApiRoute, route } from './route.ts';
import { NullableText, UnixSeconds } from './shapes.ts';
import { EXPECTED } from './validate.ts';

const DAY_SECONDS = 86_400;
const MIN_INTERVAL_SECONDS = 60;
const MAX_INTERVALS = 1500;
/** The shortest of these that keeps an unasked interval readable on a chart. */
const NICE_INTERVALS = [60, 300, 900, 3600, 21_600, DAY_SECONDS];
const DEFAULT_INTERVALS = 200;
const UNIT_SECONDS: Record<string, number> = { s: 1, m: 60, h: 3600, d: DAY_SECONDS };

function Milliseconds(description: string) {
  return Type.Unsafe<number | null>({ type: ['number', 'null'], minimum: 0, description, examples: [84] });
}

const measures = {
  delivered: Type.Integer({ minimum: 0, examples: [120] }),
  failed_attempts: Type.Integer({ minimum: 0, examples: [3] }),
  dead: Type.Integer({ minimum: 0, description: 'Deliveries given up.', examples: [0] }),
  p50_ms: Milliseconds('Half of the attempts took at most this long; null without attempts.'),
  p95_ms: Milliseconds('95 % of the attempts took at most this long.'),
};

const key = Type.String({
  description: 'The endpoint id, event type or attempt outcome, when `by` was given.',
  examples: ['wh_01kas4h3bq0000w3r8y0e6a1kd'],
});

const PointShape = Type.Object(
  { at: UnixSeconds('When the interval begins.'), key: Type.Optional(key), ...measures },
  { title: 'StatsPoint' },
);
const TotalsShape = Type.Object(measures, { title: 'StatsTotals' });
const GroupShape = Type.Object({ key, ...measures }, { title: 'StatsGroup' });

const StatsShape = Type.Object(
  {
    series: Type.Array(PointShape, { description: 'Oldest first; intervals without attempts are left out.' }),
    totals: TotalsShape,
    groups: Type.Optional(
      Type.Array(GroupShape, {
        description: 'The totals of each endpoint, event type or outcome, with `by`.',
      }),
    ),
  },
  { title: 'Stats' },
);

const StatsInput = Type.Object(
  {
    since: Type.Optional(UnixSeconds('Default: a day before `until`.')),
    until: Type.Optional(UnixSeconds('Default: now.')),
    interval: Type.Optional(
      Type.String({
        pattern: '^[1-9]\\d{0,7}[smhd]?$',
        [EXPECTED]: 'a number of seconds, or a duration such as 1m, 5m, 1h, 1d',
        description: `Seconds, or a duration such as 5m, 1h, 1d; whole minutes, at most ${MAX_INTERVALS} intervals. Default: by the range.`,
        examples: ['1h'],
      }),
    ),
    by: Type.Optional(
      Type.Enum(['endpoint', 'event', 'status'], {
        description: 'Split by endpoint, event type or attempt outcome.',
      }),
    ),
  },
  { additionalProperties: false },
);

function intervalSeconds(text: string | undefined, rangeSeconds: number): number {
  if (text === undefined) {
    const fits = NICE_INTERVALS.find((seconds) => rangeSeconds / seconds <= DEFAULT_INTERVALS);
    const days = Math.ceil(rangeSeconds / DEFAULT_INTERVALS / DAY_SECONDS);
    return fits ?? days * DAY_SECONDS;
  }
  const unit = text.at(-1) as string;
  const seconds =
    unit in UNIT_SECONDS ? Number(text.slice(0, -1)) * (UNIT_SECONDS[unit] as number) : Number(text);
  if (seconds % MIN_INTERVAL_SECONDS !== 0) {
    throw invalid('interval', 'interval must be whole minutes: statistics are kept by the minute');
  }
  if (rangeSeconds / seconds > MAX_INTERVALS) {
    throw invalid(
      'interval',
      `interval gives more than ${MAX_INTERVALS} points over this range; take a longer one, or a shorter range`,
    );
  }
  return seconds;
}

function measuresOf(point: StatsPoint): Static<typeof TotalsShape> {
  return {
    delivered: point.delivered,
    failed_attempts: point.failedAttempts,
    dead: point.dead,
    p50_ms: point.p50Ms,
    p95_ms: point.p95Ms,
  };
}

const NOTHING: Static<typeof TotalsShape> = {
  delivered: 0,
  failed_attempts: 0,
  dead: 0,
  p50_ms: null,
  p95_ms: null,
};

/** What the overview's endpoints are judged by. */
const RECENT_SECONDS = DAY_SECONDS;
const MAX_TROUBLED = 20;

const OverviewShape = Type.Object(
  {
    pending: Type.Integer({ minimum: 0, description: 'Deliveries that are unfinished.', examples: [12] }),
    pending_is_exact: Type.Boolean({
      description: 'False for a long queue: of one account at least so many, of all accounts about so many.',
    }),
    oldest_due_seconds: Type.Number({
      minimum: 0,
      description: 'How long the oldest delivery that is due has waited for its attempt.',
      examples: [0.2],
    }),
    endpoints: Type.Object({
      enabled: Type.Integer({ minimum: 0, examples: [4] }),
      disabled: Type.Integer({ minimum: 0, examples: [0] }),
    }),
    troubled: Type.Array(
      Type.Object({
        username: Type.String({ examples: ['alice'] }),
        endpoint_id: Type.String({ examples: ['wh_01kas4h3bq0000w3r8y0e6a1kd'] }),
        url: Type.String({ examples: ['https://example.com/webhooks'] }),
        status: Type.Enum(['enabled', 'disabled']),
        disabled_reason: NullableText('Why the service disabled it.', 'the receiver answered 410 Gone'),
        delivered: measures.delivered,
        failed_attempts: measures.failed_attempts,
        dead: measures.dead,
      }),
      {
        description: `Endpoints that the service disabled, that gave deliveries up in the last 24 hours of which some are left so, or whose newest attempts failed, with their counts of that time: the worst first, at most ${MAX_TROUBLED}.`,
      },
    ),
  },
  { title: 'Overview' },
);

export function statsRoutes({ store, clock }: ApiDeps): ApiRoute[] {
  return [
    route({
      method: 'GET',
      path: '/overview',
      access: 'account_or_operator',
      operationId: 'getOverview',
      tag: 'Statistics',
      summary: 'Show what waits, and which endpoints need attention',
      description: 'With an operator key and without `x-account`: over all accounts.',
      data: OverviewShape,
      async handle({ username }) {
        const since = clock.now() - RECENT_SECONDS * 1000;
        const overview = await store.overview(username, since, MAX_TROUBLED);
        return {
          pending: overview.pending,
          pending_is_exact: overview.isExact,
          oldest_due_seconds: overview.oldestDueMs / 1000,
          endpoints: overview.endpoints,
          troubled: overview.troubled.map((endpoint) => ({
            username: endpoint.username,
            endpoint_id: endpoint.endpointId,
            url: endpoint.url,
            status: endpoint.status,
            disabled_reason: endpoint.disabledReason,
            delivered: endpoint.delivered,
            failed_attempts: endpoint.failedAttempts,
            dead: endpoint.dead,
          })),
        };
      },
    }),
    route({
      method: 'GET',
      path: '/stats',
      access: 'account_or_operator',
      operationId: 'getStats',
      tag: 'Statistics',
      summary: 'Count deliveries and failures over time, with latencies',
      description: 'With an operator key and without `x-account`: over all accounts.',
      query: StatsInput,
      data: StatsShape,
      async handle({ username, query }) {
        const until = query.until ?? toSeconds(clock.now()) + 1;
        const since = query.since ?? Math.max(0, until - DAY_SECONDS);
        if (since >= until) throw invalid('since', 'since must be earlier than until, and in the past');
        const range = {
          username,
          since: since * 1000,
          until: until * 1000,
          intervalMs: intervalSeconds(query.interval, until - since) * 1000,
        };
        const { by } = query;
        const { series, totals } = await store.stats({ ...range, by: by ?? null });
        const points = series.map((point) => ({
          at: toSeconds(point.at),
          ...(point.key === null ? {} : { key: point.key }),
          ...measuresOf(point),
        }));
        const sumOf = (points: readonly StatsPoint[]) =>
          points[0] === undefined ? NOTHING : measuresOf(points[0]);
        if (by === undefined) return { series: points, totals: sumOf(totals) };
        // Percentiles of groups don't add up to those of the whole.
        const whole = await store.stats({ ...range, by: null });
        return {
          series: points,
          totals: sumOf(whole.totals),
          groups: totals.map((point) => ({ key: point.key ?? '', ...measuresOf(point) })),
        };
      },
    }),
  ];
}

/** An endpoint at a glance: the last day, the last failure, its secret, its newest deliveries. */
import type { Endpoint, EndpointHealth } from '../../api/types.ts';
import { count } from '../../lib/text.ts';
import { Badge } from '../../ui/badge.tsx';
import { ButtonLink, TextLink } from '../../ui/button.tsx';
import { HeaderList } from '../../ui/code.tsx';
import { CopyButton } from '../../ui/copy.tsx';
import { Card, Facts, Id } from '../../ui/page.tsx';
import { Skeleton } from '../../ui/skeleton.tsx';
import { Age, TimeAndAge } from '../../ui/time.tsx';
import { NewestDeliveries } from '../deliveries/newest.tsx';
import { dayOfHours, useDayByEndpoint, useEndpointHealth } from './queries.ts';
import { Secret } from './secret.tsx';
import { Sparkline, hoursOf } from './sparkline.tsx';

export function EndpointSummary({ endpoint, onRotate }: { endpoint: Endpoint; onRotate(): void }) {
  const { endpoint_id: endpointId } = endpoint;
  const health = useEndpointHealth();
  return (
    <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_minmax(0,22rem)]">
      <div className="min-w-0 space-y-4">
        <LastDay endpointId={endpointId} />
        <NewestDeliveries
          title="Newest deliveries"
          query={{ endpoint_id: endpointId }}
          empty="Nothing was sent to this endpoint yet. Send it a test to see what happens."
          actions={
            <ButtonLink small to="/deliveries" search={{ endpoint_id: endpointId }}>
              All deliveries
            </ButtonLink>
          }
        />
      </div>
      <div className="min-w-0 space-y-4">
        <Card title="Signing secret">
          <Secret endpoint={endpoint} onRotate={onRotate} />
        </Card>
        <Card title="About">
          <AboutEndpoint
            endpoint={endpoint}
            health={health.data?.endpoints.find((entry) => entry.endpoint_id === endpointId)}
          />
        </Card>
        <Card title={`Event types (${endpoint.events.length})`}>
          <ul className="max-h-60 space-y-1 overflow-y-auto">
            {endpoint.events.map((name) => (
              <li key={name} className="truncate">
                <TextLink
                  to="/event-types/$name"
                  params={{ name }}
                  className="font-mono text-[0.8125rem]"
                  title={name}
                >
                  {name}
                </TextLink>
              </li>
            ))}
          </ul>
        </Card>
      </div>
    </div>
  );
}

function AboutEndpoint({ endpoint, health }: { endpoint: Endpoint; health: EndpointHealth | undefined }) {
  const { headers, metadata } = endpoint;
  const failure = health?.last_failure;
  return (
    <div className="space-y-4">
      <Facts
        facts={[
          [
            'Id',
            <span key="id" className="flex items-center gap-1">
              <Id>{endpoint.endpoint_id}</Id>
              <CopyButton text={endpoint.endpoint_id} label="Copy the endpoint’s id" />
            </span>,
          ],
          ['Added', <TimeAndAge key="added" at={endpoint.created_at} />],
          [
            'Last success',
            health === undefined ? undefined : health.last_success_at === null ? (
              'none yet'
            ) : (
              <Age key="success" at={health.last_success_at} />
            ),
          ],
          [
            'Last failure',
            failure ? (
              <span key="failure" className="break-words">
                <Age at={failure.at} />
                {`: ${failure.error ?? failure.outcome}`}
              </span>
            ) : undefined,
          ],
          [
            'Failed in a row',
            health !== undefined && health.consecutive_failures > 0 ? (
              <Badge key="row" tone="bad">
                {count(health.consecutive_failures)}
              </Badge>
            ) : undefined,
          ],
          [
            'Rate limit',
            endpoint.rate_limit_per_second === undefined
              ? 'none'
              : `${endpoint.rate_limit_per_second} attempts a second`,
          ],
          [
            'Time limit',
            endpoint.timeout_seconds === undefined ? 'the server’s default' : `${endpoint.timeout_seconds} s`,
          ],
        ]}
      />
      {headers !== undefined && (
        <div>
          <h3 className="text-faint mb-1">Headers of its own</h3>
          <HeaderList headers={headers} empty="" />
        </div>
      )}
      {metadata !== undefined && (
        <div>
          <h3 className="text-faint mb-1">Metadata</h3>
          {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- what scrolls has to be reached by the keyboard */}
          <pre
            tabIndex={0}
            aria-label="Metadata"
            className="border-line bg-sunken max-h-60 overflow-auto rounded-lg border p-3 font-mono text-[0.8125rem] break-all whitespace-pre-wrap"
          >
            {JSON.stringify(metadata, null, 2)}
          </pre>
        </div>
      )}
    </div>
  );
}

function LastDay({ endpointId }: { endpointId: string }) {
  const day = useDayByEndpoint();
  const group = day.data?.groups?.find(({ key }) => key === endpointId);
  const figures: [string, string][] = [
    ['Delivered', count(group?.delivered ?? 0)],
    ['Failed attempts', count(group?.failed_attempts ?? 0)],
    ['Given up', count(group?.dead ?? 0)],
    ['Median time', group?.p50_ms === null || group === undefined ? '–' : `${Math.round(group.p50_ms)} ms`],
    ['95 % within', group?.p95_ms === null || group === undefined ? '–' : `${Math.round(group.p95_ms)} ms`],
  ];
  return (
    <Card
      title="Last 24 hours"
      actions={
        day.data === undefined ? (
          <Skeleton className="h-6 w-30" />
        ) : (
          <Sparkline hours={hoursOf(day.data.series, endpointId, dayOfHours())} />
        )
      }
    >
      <dl className="grid grid-cols-2 gap-4 sm:grid-cols-5">
        {figures.map(([name, value]) => (
          <div key={name}>
            <dt className="text-faint text-[0.8125rem]">{name}</dt>
            <dd className="text-lg font-semibold tabular-nums">
              {day.data === undefined ? <Skeleton className="mt-1 h-5 w-12" /> : value}
            </dd>
          </div>
        ))}
      </dl>
    </Card>
  );
}

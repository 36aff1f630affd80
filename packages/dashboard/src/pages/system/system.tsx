/** How the service itself is: readiness, queue, processes, database, encryption keys. */
import type { EncryptionKeys, SystemHealth } from '../../api/types.ts';
import { useApiQuery } from '../../api/use-api.ts';
import { useNow } from '../../lib/now.ts';
import { bytes, count, counted } from '../../lib/text.ts';
import { milliseconds, span } from '../../lib/time.ts';
import { Badge } from '../../ui/badge.tsx';
import { ErrorPanel } from '../../ui/error-panel.tsx';
import { CheckIcon, WarningIcon } from '../../ui/icons.tsx';
import { Card, Facts, Id, PageHeader } from '../../ui/page.tsx';
import { CardSkeleton, Skeleton } from '../../ui/skeleton.tsx';
import { type Column, DataTable } from '../../ui/table.tsx';
import { Age } from '../../ui/time.tsx';
import { type Finding, findingsOf } from './findings.ts';

const LOOKED_AT_MS = 5000;

export default function SystemPage() {
  const system = useApiQuery<SystemHealth>('/v2/system', { refetchInterval: LOOKED_AT_MS });
  return (
    <>
      <PageHeader title="System">
        How the service itself is. Figures over time are in its metrics, and{' '}
        <code className="font-mono text-[0.8125rem]">posthorn doctor</code> looks at a machine in depth.
      </PageHeader>
      {system.data === undefined ? (
        system.isError ? (
          <ErrorPanel
            error={system.error}
            title="The system’s state can’t be shown"
            onRetry={() => void system.refetch()}
          >
            <p className="text-soft">
              While the database is away nothing is accepted and nothing is lost. It goes on by itself when it
              is back.
            </p>
          </ErrorPanel>
        ) : (
          <CardSkeleton lines={12} />
        )
      ) : (
        <div className="space-y-4">
          {system.isError && (
            <ErrorPanel error={system.error} title="It doesn’t answer now. This is how it was." />
          )}
          <Readiness system={system.data} />
          <Queue queue={system.data.queue} />
          <Nodes nodes={system.data.nodes} />
          <div className="grid items-start gap-4 lg:grid-cols-2">
            <DatabaseCard system={system.data} />
            <KeysCard />
          </div>
        </div>
      )}
    </>
  );
}

function Readiness({ system }: { system: SystemHealth }) {
  const findings = findingsOf(system);
  return (
    <Card title="Readiness" flush>
      <ul className="divide-line mt-1 divide-y">
        {findings.length === 0 ? (
          <li className="flex items-center gap-2 px-4 pt-1 pb-3">
            <CheckIcon className="text-ok size-4" /> Ready: it accepts, stores and delivers.
          </li>
        ) : (
          findings.map((finding) => <FindingRow key={finding.what} finding={finding} />)
        )}
      </ul>
    </Card>
  );
}

function FindingRow({ finding: { tone, what, todo } }: { finding: Finding }) {
  return (
    <li className="flex items-start gap-2 px-4 py-2.5">
      <WarningIcon className={`mt-0.5 size-4 ${tone === 'bad' ? 'text-bad' : 'text-warn'}`} />
      <p className="min-w-0">
        {what} <span className="text-soft">{todo}</span>
      </p>
    </li>
  );
}

function Queue({ queue }: { queue: SystemHealth['queue'] }) {
  const figures: [name: string, value: string, note: string][] = [
    ['Waiting', count(queue.scheduled), 'for their time'],
    ['Due', count(queue.due), 'for an attempt'],
    ['In hand', count(queue.leased), 'leased by a process'],
    [
      'Queue age',
      queue.oldest_due_seconds < 1 ? '0 s' : span(queue.oldest_due_seconds),
      'of the oldest due delivery',
    ],
  ];
  return (
    <Card title="Queue">
      <dl className="grid grid-cols-2 gap-4 sm:grid-cols-4">
        {figures.map(([name, value, note]) => (
          <div key={name}>
            <dt className="text-soft text-[0.8125rem]">{name}</dt>
            <dd>
              <span className="block text-lg font-semibold tabular-nums">{value}</span>
              <span className="text-faint text-xs">{note}</span>
            </dd>
          </div>
        ))}
      </dl>
    </Card>
  );
}

const NODE_COLUMNS: Column<SystemHealth['nodes'][number]>[] = [
  {
    header: 'Process',
    lead: true,
    className: 'md:max-w-0 md:w-full',
    cell: ({ name, is_this: isThis }) => (
      <span className="flex min-w-0 items-center gap-2">
        <Id>{name}</Id>
        {isThis && <Badge tone="info">answered this</Badge>}
      </span>
    ),
  },
  { header: 'State', cell: (node) => <NodeState seenAt={node.seen_at} /> },
  {
    header: 'Does',
    className: 'md:whitespace-nowrap',
    cell: ({ delivers }) => (delivers ? 'delivers' : 'answers calls only'),
  },
  { header: 'Leases', align: 'right', cell: ({ leases }) => count(leases) },
  {
    header: 'Heard',
    align: 'right',
    className: 'md:min-w-24',
    cell: ({ seen_at: at }) => <Age at={at} />,
  },
  {
    header: 'Started',
    align: 'right',
    className: 'md:min-w-24',
    cell: ({ started_at: at }) => <Age at={at} />,
  },
];

/** After so long without a sign the others take over what a process held. */
const DEAD_AFTER_SECONDS = 10;

function NodeState({ seenAt }: { seenAt: number }) {
  const isAlive = useNow((now) => now - seenAt <= DEAD_AFTER_SECONDS + 5);
  return isAlive ? <Badge tone="ok">alive</Badge> : <Badge tone="bad">not heard</Badge>;
}

function Nodes({ nodes }: { nodes: SystemHealth['nodes'] }) {
  return (
    <section aria-label="Processes">
      <h2 className="mb-2 font-semibold">{counted(nodes.length, 'process', 'processes')}</h2>
      <DataTable label="Processes" columns={NODE_COLUMNS} rows={nodes} rowKey={({ name }) => name} />
    </section>
  );
}

function DatabaseCard({ system: { database, version } }: { system: SystemHealth }) {
  const { free_bytes: free } = database;
  return (
    <Card title="Database and version">
      <Facts
        facts={[
          ['Posthorn', version],
          ['Engine', database.engine === 'sqlite' ? 'SQLite' : 'PostgreSQL'],
          ['Version', database.version],
          ['Size', bytes(database.size_bytes)],
          ['Room left', free === null ? undefined : bytes(free)],
          ['A commit took', milliseconds(database.ping_ms)],
        ]}
      />
    </Card>
  );
}

function KeysCard() {
  const keys = useApiQuery<EncryptionKeys>('/v2/encryption_keys', { refetchInterval: LOOKED_AT_MS });
  const { data } = keys;
  return (
    <Card title="Encryption keys">
      {data === undefined ? (
        keys.isError ? (
          <ErrorPanel error={keys.error} compact onRetry={() => void keys.refetch()} />
        ) : (
          <Skeleton className="h-16" />
        )
      ) : (
        <div className="space-y-3">
          <p className="text-soft">
            {data.state === 'running'
              ? `Secrets are being encrypted anew: ${counted(data.remaining, 'value')} left.`
              : data.remaining > 0
                ? `${counted(data.remaining, 'value is', 'values are')} still encrypted with an older key.`
                : 'All secrets are encrypted with the active key.'}
          </p>
          <ul className="space-y-1">
            {data.keys.map(({ key_id: id, active, values }) => (
              <li key={id} className="flex flex-wrap items-center gap-x-3 gap-y-1">
                <Id>{id}</Id>
                {active ? <Badge tone="ok">active</Badge> : <Badge tone="warn">older</Badge>}
                <span className="text-soft">{counted(values, 'value')}</span>
              </li>
            ))}
          </ul>
          <p className="text-faint text-[0.8125rem]">
            Ids only; the keys themselves are shown nowhere.{' '}
            <code className="font-mono">posthorn secrets rotate-key</code> takes a new one.
          </p>
        </div>
      )}
    </Card>
  );
}

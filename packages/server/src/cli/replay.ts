import { type Command, Option } from 'commander';
import { type Client, createClient } from './client.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';
import {
  type CommonOptions,
  waitTimeoutOption,
  momentArgument,
  withAccountOption,
  withClientOptions,
  withExamples,
} from './options.ts';
import { counted, harmless, printFields, printJson, printLine } from './output.ts';
import { poll } from './wait.ts';
import type { ReplayData, ReplayStartData } from './wire.ts';

interface StartOptions extends CommonOptions {
  status: string;
  since: number;
  until?: number;
  wait?: boolean;
  waitTimeout: number;
}

/** `posthorn replay`: sending an endpoint again what it missed. */
export function replayCommand(program: Command, io: Io): void {
  const replay = withExamples(
    program.command('replay').description('send an endpoint again what it missed'),
    'posthorn replay start wh_01kas4h3bq0000w3r8y0e6a1kd --account alice --since 1d',
  );

  const start = replay
    .command('start')
    .description('start a replay; it runs in the server')
    .argument('<endpoint-id>');
  withExamples(
    withAccountOption(withClientOptions(start))
      .addOption(
        new Option(
          '--status <what>',
          'failed: dead and cancelled deliveries; missing: events that never had a delivery to it; all: both, and what was delivered',
        )
          .choices(['failed', 'missing', 'all'])
          .default('failed'),
      )
      .requiredOption(
        '--since <time>',
        'events from this time on: 2h (ago), unix seconds, or 2026-01-31T12:00:00Z',
        momentArgument(io),
      )
      .option('--until <time>', 'events before this time', momentArgument(io))
      .option('--wait', 'wait until all of it is due for delivery')
      .addOption(waitTimeoutOption()),
    'posthorn replay start wh_01kas4h3bq0000w3r8y0e6a1kd --account alice --since 1d',
    'posthorn replay start wh_01kas4h3bq0000w3r8y0e6a1kd --account alice --status all --since 2h --wait',
  ).action(async (endpointId: string, options: StartOptions) => {
    const client = createClient(options, io.env);
    const { status, since, until } = options;
    const started = await client.request<ReplayStartData>({
      method: 'POST',
      path: ['endpoint', endpointId, 'replay'],
      body: { status, since, until },
      forAccount: true,
    });
    if (options.wait === true) return follow(client, started, options, io);
    if (options.json) return printJson(io, started);
    printStarted(io, started);
  });

  const statusCommand = replay
    .command('status')
    .description('show how far a replay is')
    .argument('<replay-id>');
  withExamples(
    withAccountOption(withClientOptions(statusCommand)),
    'posthorn replay status rpl_01kas4h3bq0000w3r8y0e6a1kd --account alice',
  ).action(async (replayId: string, options: CommonOptions) => {
    const state = await readReplay(createClient(options, io.env), replayId);
    if (options.json) return printJson(io, state);
    printFields(io, [
      ['replay', replayId],
      ['status', state.status],
      ['done', `${state.done} of ${state.matched}`],
    ]);
  });

  const stop = replay
    .command('stop')
    .description('stop a replay; what is due already stays')
    .argument('<replay-id>');
  withExamples(
    withAccountOption(withClientOptions(stop)),
    'posthorn replay stop rpl_01kas4h3bq0000w3r8y0e6a1kd --account alice',
  ).action(async (replayId: string, options: CommonOptions) => {
    const answer = await createClient(options, io.env).request<object>({
      method: 'DELETE',
      path: ['replay', replayId],
      forAccount: true,
    });
    if (options.json) return printJson(io, answer);
    printLine(io.stdout, `Stopped replay ${harmless(replayId)}.`);
  });
}

function readReplay(client: Client, replayId: string): Promise<ReplayData> {
  return client.request<ReplayData>({ method: 'GET', path: ['replay', replayId], forAccount: true });
}

function printStarted(io: Io, { replay_id, matched }: ReplayStartData): void {
  printLine(
    io.stdout,
    `Started replay ${harmless(replay_id)}: ${counted(matched, 'delivery', 'deliveries')} to make.`,
  );
}

async function follow(
  client: Client,
  started: ReplayStartData,
  options: StartOptions,
  io: Io,
): Promise<void> {
  if (!options.json) printStarted(io, started);
  const { answer, done } = await poll(
    io,
    options.waitTimeout,
    () => readReplay(client, started.replay_id),
    ({ status }) => status !== 'running',
  );
  if (options.json) printJson(io, answer);
  else printLine(io.stdout, `${harmless(answer.status)}: ${answer.done} of ${answer.matched}`);
  if (!done) {
    throw new CommandError(
      'failed',
      `The replay is still running; \`posthorn replay status ${harmless(started.replay_id)}\` shows how far it is`,
    );
  }
  if (answer.status !== 'done')
    throw new CommandError('failed', `The replay was ${harmless(answer.status)} before its end`);
}

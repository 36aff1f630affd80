import type { Command } from 'commander';
import { formatDuration } from '../config-values.ts';
import { type Client, createClient } from './client.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';
import {
  waitTimeoutOption,
  type CommonOptions,
  readJsonObject,
  withClientOptions,
  withExamples,
} from './options.ts';
import { counted, harmless, printJson, printLine, printTable } from './output.ts';
import { poll } from './wait.ts';
import type { EventDetailData, EventTypeData, PublishData } from './wire.ts';

interface PublishOptions extends CommonOptions {
  account: string;
  data?: string;
  example?: boolean;
  eventId?: string;
  wait?: boolean;
  waitTimeout: number;
}

/** `posthorn publish`: one event, and with `--wait` what becomes of it. */
export function publishCommand(program: Command, io: Io): void {
  const publish = program
    .command('publish')
    .description('publish an event')
    .argument('<type>', 'the event type');
  withExamples(
    withClientOptions(publish)
      .requiredOption('--account <username>', 'the account that the event belongs to')
      .option('--data <json>', "the event's data: a JSON object, @file, or - for stdin")
      .option('--example', "publish the catalogue's example as data")
      .option('--event-id <id>', 'an id of your own: publishing it again changes nothing')
      .option('--wait', 'wait until the deliveries have ended; exit code 1 unless all arrived')
      .addOption(waitTimeoutOption()),
    'posthorn publish generated_video_success --account alice --example --wait',
    'posthorn publish order.paid --account alice --data \'{"order":7}\' --event-id order-7-paid',
    'generate | posthorn publish order.paid --account alice --data -',
  ).action(async (type: string, options: PublishOptions) => {
    const client = createClient(options, io.env);
    const data = await readData(client, type, options, io);
    const published = await client.request<PublishData>({
      method: 'POST',
      path: ['publish'],
      body: publishBody(type, data, options),
    });
    if (options.wait === true) return follow(client, published, options, io);
    if (options.json) return printJson(io, published);
    printPublished(io, published);
  });
}

/** Data goes out as the text that was given: parsing and writing it anew would round large numbers in silence. */
function publishBody(type: string, data: string, options: PublishOptions): string {
  const eventId = options.eventId === undefined ? '' : `,"event_id":${JSON.stringify(options.eventId)}`;
  return `{"username":${JSON.stringify(options.account)},"event":${JSON.stringify(type)}${eventId},"data":${data}}`;
}

async function readData(client: Client, type: string, options: PublishOptions, io: Io): Promise<string> {
  if ((options.data === undefined) === (options.example !== true)) {
    throw new CommandError('usage', 'Give the data of the event with either --data or --example');
  }
  if (options.data !== undefined) return readJsonObject('--data', options.data, io);
  const { example } = await client.request<EventTypeData>({ method: 'GET', path: ['event_type', type] });
  if (example === null) {
    throw new CommandError(
      'failed',
      `The catalogue has no example for ${harmless(type)}: give the data with --data`,
    );
  }
  return JSON.stringify(example);
}

function printPublished(io: Io, { event_id, deliveries, duplicate, deprecated }: PublishData): void {
  const what = duplicate ? 'Published before, nothing new was sent:' : 'Published';
  printLine(io.stdout, `${what} ${harmless(event_id)}, ${counted(deliveries, 'delivery', 'deliveries')}.`);
  if (deprecated === true)
    printLine(io.stderr, 'This event type is deprecated: new code should publish another.');
}

async function follow(
  client: Client,
  published: PublishData,
  options: PublishOptions,
  io: Io,
): Promise<void> {
  if (!options.json) printPublished(io, published);
  const { answer: event, done } = await poll(
    io,
    options.waitTimeout,
    () =>
      client.request<EventDetailData>({
        method: 'GET',
        path: ['event_log', published.event_id],
        forAccount: true,
      }),
    ({ deliveries }) => deliveries.pending === 0,
  );
  if (options.json) printJson(io, event);
  else printTargets(io, event);

  const { pending, dead, cancelled, delivered } = event.deliveries;
  const total = pending + dead + cancelled + delivered;
  if (!done) {
    throw new CommandError(
      'failed',
      `${pending} of ${total} not delivered within ${formatDuration(options.waitTimeout)}; retries go on, ` +
        `\`posthorn deliveries list --account ${harmless(options.account)} --event-id ${harmless(event.event_id)}\` shows them`,
    );
  }
  if (delivered < total) {
    throw new CommandError(
      'failed',
      `${total - delivered} of ${total} not delivered; \`posthorn deliveries show\` says why`,
    );
  }
}

function printTargets(io: Io, { targets, note }: EventDetailData): void {
  if (targets.length > 0) {
    printTable(
      io,
      ['ENDPOINT', 'DELIVERY', 'STATUS', 'REASON'],
      targets.map(({ endpoint_id, delivery_id, status, reason }) => [
        endpoint_id,
        delivery_id,
        status,
        reason,
      ]),
    );
  }
  if (note !== null) printLine(io.stdout, `Note: ${harmless(note)}`);
}

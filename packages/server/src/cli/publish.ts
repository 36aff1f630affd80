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

/** How one waits for the end of an event's deliveries. */
export interface FollowOptions extends CommonOptions {
  account: string;
  waitTimeout: number;
}

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
  return JSON.stringify(await readExample(client, type));
}

/**
 * @param advice - what to do when the catalogue has none
 * @throws {CommandError} when it has none
 */
export async function readExample(
  client: Client,
  type: string,
  advice = 'give the data with --data',
): Promise<object> {
  const { example } = await client.request<EventTypeData>({ method: 'GET', path: ['event_type', type] });
  if (example !== null) return example;
  throw new CommandError('failed', `The catalogue has no example for ${harmless(type)}: ${advice}`);
}

export function printPublished(io: Io, { event_id, deliveries, duplicate, deprecated }: PublishData): void {
  const what = duplicate ? 'Published before, nothing new was sent:' : 'Published';
  printLine(io.stdout, `${what} ${harmless(event_id)}, ${counted(deliveries, 'delivery', 'deliveries')}.`);
  if (deprecated === true)
    printLine(io.stderr, 'This event type is deprecated: new code should publish another.');
}

/**
 * Waits until an event's deliveries have ended, and prints what became of them.
 *
 * @param onLook - told of the event at each look; none other follows before it has resolved
 * @throws {CommandError} `failed` unless all arrived within the time
 */
export async function follow(
  client: Client,
  published: PublishData,
  options: FollowOptions,
  io: Io,
  onLook: (event: EventDetailData) => Promise<void> = async () => {},
): Promise<void> {
  if (!options.json) printPublished(io, published);
  const { answer: event, done } = await poll(
    io,
    options.waitTimeout,
    async () => {
      const event = await client.request<EventDetailData>({
        method: 'GET',
        path: ['event_log', published.event_id],
        forAccount: true,
      });
      await onLook(event);
      return event;
    },
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

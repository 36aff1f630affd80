import type { Command } from 'commander';
import { type Client, createClient } from './client.ts';
import { deliveryLine } from './delivery-lines.ts';
import type { Io } from './io.ts';
import {
  type CommonOptions,
  durationArgument,
  integerArgument,
  withAccountOption,
  withClientOptions,
  withExamples,
} from './options.ts';
import { printLine } from './output.ts';
import type { DeliveryData, DeliveryDetailData, DeliveryPage } from './wire.ts';

const LOOK_EVERY_MS = 1_000;
/** As many as one page of the list can hold. */
const SEEN_AT_ONCE = 200;
/** Of those that wait for a retry while newer ones push them off the page. */
const WAITING_KEPT = 200;
/** Each is a request of its own. */
const READ_AT_ONCE = 20;

interface TailOptions extends CommonOptions {
  last: number;
  for?: number;
  event?: string;
  endpoint?: string;
}

/** `posthorn deliveries tail`: a line for each delivery that is made, attempted or ended, until it is interrupted. */
export function tailCommand(deliveries: Command, io: Io): void {
  const tail = deliveries
    .command('tail')
    .description('follow deliveries as they are made, retried and ended');
  withExamples(
    withAccountOption(withClientOptions(tail))
      .option('--last <n>', 'begin with so many of the past (0 to 200)', integerArgument(0, SEEN_AT_ONCE), 10)
      .option(
        '--for <duration>',
        'end after this time; default: when interrupted',
        durationArgument(1, 86_400_000),
      )
      .option('--event <type>', 'only of this event type')
      .option('--endpoint <endpoint-id>', 'only to this endpoint'),
    'posthorn deliveries tail --account alice',
    'posthorn deliveries tail --account alice --for 1m --json',
  ).action(async (options: TailOptions) => {
    const client = createClient(options, io.env);
    const changes = new DeliveryChanges();
    const endsAt = options.for === undefined ? Number.POSITIVE_INFINITY : io.monotonic() + options.for;
    const look = async () =>
      changes.take(await newest(client, options), io.now() / 1000, (id) => one(client, id));
    let fresh = await look();
    fresh.changed = fresh.changed.slice(Math.max(0, fresh.changed.length - options.last));
    for (;;) {
      if (fresh.missed)
        printLine(io.stderr, 'More happened at once than fits into one look: some are not shown.');
      for (const delivery of fresh.changed) {
        // One line a delivery, so that whoever reads it need not wait for a document's end.
        printLine(io.stdout, options.json ? JSON.stringify(delivery) : deliveryLine(io, delivery));
      }
      const leftMs = endsAt - io.monotonic();
      if (leftMs <= 0) return;
      await io.sleep(Math.min(LOOK_EVERY_MS, leftMs));
      fresh = await look();
    }
  });
}

async function newest(client: Client, { event, endpoint }: TailOptions): Promise<DeliveryData[]> {
  const { deliveries } = await client.request<DeliveryPage>({
    method: 'GET',
    path: ['deliveries'],
    query: { limit: SEEN_AT_ONCE, event, endpoint_id: endpoint },
    forAccount: true,
  });
  return deliveries;
}

/** Only what the list has of it, so that the lines of `--json` are all of one shape. */
async function one(client: Client, deliveryId: string): Promise<DeliveryData> {
  const found = await client.request<DeliveryDetailData & { request: unknown }>({
    method: 'GET',
    path: ['delivery', deliveryId],
    forAccount: true,
  });
  const { url: _url, request: _request, attempt_log: _attempts, ...delivery } = found;
  return delivery;
}

/** What is new in a list that is read again and again; remembers a bounded number of deliveries. */
export class DeliveryChanges {
  /** Of the last look, and those that waited when newer ones pushed them off the page. */
  #known = new Map<string, DeliveryData>();
  #looked = false;

  /**
   * @param page - the newest deliveries, newest first
   * @param nowSeconds - unix seconds
   * @param read - asked for what is not on the page any more and was to be attempted by now
   * @returns what is new or has changed since the last call, oldest first, and whether some may have been missed
   */
  async take(
    page: readonly DeliveryData[],
    nowSeconds: number,
    read: (deliveryId: string) => Promise<DeliveryData>,
  ): Promise<{ changed: DeliveryData[]; missed: boolean }> {
    const listed = new Set(page.map(({ delivery_id: id }) => id));
    const gone = [...this.#known.values()].filter(
      ({ delivery_id: id, status }) => status === 'pending' && !listed.has(id),
    );
    const due = gone.filter(({ next_attempt_at: at }) => at !== null && at <= nowSeconds);
    const asked = new Set(due.slice(0, READ_AT_ONCE));
    const kept = await Promise.all(
      gone
        .slice(-WAITING_KEPT)
        .map(async (delivery) => (asked.has(delivery) ? await read(delivery.delivery_id) : delivery)),
    );
    const now = [...kept, ...page.toReversed()];
    const changed = now.filter((delivery) => {
      const before = this.#known.get(delivery.delivery_id);
      return before?.status !== delivery.status || before.attempts !== delivery.attempts;
    });
    const overlaps = page.some(({ delivery_id: id }) => this.#known.has(id));
    const missed = (this.#looked && page.length === SEEN_AT_ONCE && !overlaps) || gone.length > WAITING_KEPT;
    this.#known = new Map(now.map((delivery) => [delivery.delivery_id, delivery]));
    this.#looked = true;
    return { changed, missed };
  }
}

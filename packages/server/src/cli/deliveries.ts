import { type Command, Option } from 'commander';
import { createClient } from './client.ts';
import { tailCommand } from './deliveries-tail.ts';
import type { Io } from './io.ts';
import {
  type CommonOptions,
  momentArgument,
  withAccountOption,
  withClientOptions,
  withExamples,
  withPageOptions,
} from './options.ts';
import { formatTime, harmless, printFields, printJson, printLine, printMore, printTable } from './output.ts';
import type { DeliveryData, DeliveryDetailData, DeliveryPage } from './wire.ts';

interface ListOptions extends CommonOptions {
  limit: number;
  cursor?: string;
  status?: string;
  event?: string;
  endpoint?: string;
  eventId?: string;
  since?: number;
  until?: number;
}

/** `posthorn deliveries`: what happened to an account's events, and trying again. */
export function deliveriesCommand(program: Command, io: Io): void {
  const deliveries = withExamples(
    program
      .command('deliveries')
      .description('list deliveries, follow them, show one with its attempts, retry it'),
    'posthorn deliveries list --account alice --status dead',
    'posthorn deliveries show dlv_01kas4h3bq0000w3r8y0e6a1kd --account alice',
  );

  const list = deliveries.command('list').description("list an account's deliveries, newest first");
  withExamples(
    withPageOptions(withAccountOption(withClientOptions(list)))
      .addOption(
        new Option('--status <status>', 'only these').choices(['pending', 'delivered', 'dead', 'cancelled']),
      )
      .option('--event <type>', 'only of this event type')
      .option('--endpoint <endpoint-id>', 'only to this endpoint')
      .option('--event-id <event-id>', 'only of this event')
      .option(
        '--since <time>',
        'made at or after: 2h (ago), unix seconds, or 2026-01-31T12:00:00Z',
        momentArgument(io),
      )
      .option('--until <time>', 'made before', momentArgument(io)),
    'posthorn deliveries list --account alice --status dead --since 1d',
    'posthorn deliveries list --account alice --event-id evt_01kas4h3bq0000w3r8y0e6a1kd --json',
  ).action(async (options: ListOptions) => {
    const { limit, cursor, status, event, since, until } = options;
    const page = await createClient(options, io.env).request<DeliveryPage>({
      method: 'GET',
      path: ['deliveries'],
      query: {
        limit,
        cursor,
        status,
        event,
        endpoint_id: options.endpoint,
        event_id: options.eventId,
        since,
        until,
      },
      forAccount: true,
    });
    if (options.json) return printJson(io, page);
    printTable(
      io,
      ['DELIVERY', 'EVENT', 'ENDPOINT', 'STATUS', 'ATTEMPTS', 'CREATED', 'NEXT ATTEMPT'],
      page.deliveries.map((delivery) => [
        delivery.delivery_id,
        delivery.event,
        delivery.endpoint_id,
        delivery.status,
        delivery.attempts,
        formatTime(delivery.created_at),
        formatTime(delivery.next_attempt_at),
      ]),
    );
    printMore(io, page.next_cursor);
  });

  tailCommand(deliveries, io);

  const show = deliveries
    .command('show')
    .description('show a delivery with its attempts')
    .argument('<delivery-id>');
  withExamples(
    withAccountOption(withClientOptions(show)),
    'posthorn deliveries show dlv_01kas4h3bq0000w3r8y0e6a1kd --account alice',
  ).action(async (deliveryId: string, options: CommonOptions) => {
    const delivery = await createClient(options, io.env).request<DeliveryDetailData>({
      method: 'GET',
      path: ['delivery', deliveryId],
      forAccount: true,
    });
    if (options.json) return printJson(io, delivery);
    printDelivery(io, delivery);
  });

  const retry = deliveries.command('retry').description('make a delivery due now').argument('<delivery-id>');
  withExamples(
    withAccountOption(withClientOptions(retry)),
    'posthorn deliveries retry dlv_01kas4h3bq0000w3r8y0e6a1kd --account alice',
  ).action(async (deliveryId: string, options: CommonOptions) => {
    const delivery = await createClient(options, io.env).request<DeliveryData>({
      method: 'POST',
      path: ['delivery', deliveryId, 'retry'],
      forAccount: true,
    });
    if (options.json) return printJson(io, delivery);
    printLine(
      io.stdout,
      `Delivery ${harmless(delivery.delivery_id)} is ${harmless(delivery.status)} and due now.`,
    );
  });
}

function printDelivery(io: Io, delivery: DeliveryDetailData): void {
  printFields(io, [
    ['delivery', delivery.delivery_id],
    ['event', `${delivery.event} ${delivery.event_id}`],
    ['endpoint', `${delivery.endpoint_id} ${delivery.url}`],
    ['status', delivery.status],
    ['reason', delivery.status_reason],
    ['created', formatTime(delivery.created_at)],
    ['next attempt', formatTime(delivery.next_attempt_at)],
    ['completed', formatTime(delivery.completed_at)],
  ]);
  if (delivery.attempt_log.length === 0) return;
  printLine(io.stdout, '');
  printTable(
    io,
    ['ATTEMPT', 'STARTED', 'MS', 'OUTCOME', 'HTTP', 'ASKED BY', 'ERROR'],
    delivery.attempt_log.map((attempt) => [
      attempt.number,
      formatTime(attempt.started_at),
      attempt.duration_ms,
      attempt.outcome,
      attempt.http_status,
      attempt.manual ? 'a person' : 'schedule',
      attempt.error,
    ]),
  );
}

import type { Command } from 'commander';
import { type Client, createClient } from './client.ts';
import { attemptLine } from './delivery-lines.ts';
import type { Io } from './io.ts';
import { waitTimeoutOption, withClientOptions, withExamples } from './options.ts';
import { printJson, printLine } from './output.ts';
import { follow, type FollowOptions, printPublished, readExample } from './publish.ts';
import { withSettings } from './trigger-data.ts';
import type { DeliveryDetailData, EventDetailData, PublishData } from './wire.ts';

interface TriggerOptions extends FollowOptions {
  data: string[];
  watch?: boolean;
}

/** `posthorn trigger`: an event as it would really come, and with `--watch` each attempt to deliver it. */
export function triggerCommand(program: Command, io: Io): void {
  const trigger = program
    .command('trigger')
    .description("publish the catalogue's example of an event type, with values of your own")
    .argument('<type>', 'the event type');
  withExamples(
    withClientOptions(trigger)
      .requiredOption('--account <username>', 'the account that the event belongs to')
      .option(
        '--data <name=value>',
        'set a field of the example, as text or JSON; a dot goes into an object; may be repeated',
        (setting: string, settings: string[]) => [...settings, setting],
        [] as string[],
      )
      .option('--watch', 'print each attempt until the deliveries have ended; exit code 1 unless all arrived')
      .addOption(waitTimeoutOption()),
    'posthorn trigger generated_video_success --account alice --watch',
    'posthorn trigger generated_video_failed --account alice --data video_id=v7 --data error.code=7',
  ).action(async (type: string, options: TriggerOptions) => {
    const client = createClient(options, io.env);
    const data = withSettings(
      await readExample(client, type, 'publish it with `posthorn publish --data`'),
      options.data,
    );
    const published = await client.request<PublishData>({
      method: 'POST',
      path: ['publish'],
      body: { username: options.account, event: type, data },
    });
    if (options.watch === true) {
      const onLook = options.json ? undefined : attemptPrinter(client, io);
      return follow(client, published, options, io, onLook);
    }
    if (options.json) return printJson(io, published);
    printPublished(io, published);
  });
}

/** Prints what was attempted since the last look. */
function attemptPrinter(client: Client, io: Io): (event: EventDetailData) => Promise<void> {
  const printed = new Map<string, number>();
  const ended = new Set<string>();
  return async ({ targets }) => {
    for (const { delivery_id: deliveryId, endpoint_id: endpointId, status } of targets) {
      if (deliveryId === undefined || ended.has(deliveryId)) continue;
      const { attempt_log: attempts } = await client.request<DeliveryDetailData>({
        method: 'GET',
        path: ['delivery', deliveryId],
        forAccount: true,
      });
      const last = printed.get(deliveryId) ?? 0;
      for (const attempt of attempts.filter(({ number }) => number > last)) {
        printLine(io.stdout, attemptLine(io, endpointId, attempt));
        printed.set(deliveryId, attempt.number);
      }
      // As the event was read first, its end has brought all attempts with it.
      if (status !== 'pending') ended.add(deliveryId);
    }
  };
}

import type { Command } from 'commander';
import { toSeconds } from '../clock.ts';
import { createSecret, isSecret, KeyRing, signatureHeaders } from '../delivery/sign.ts';
import { createClient } from './client.ts';
import { coloured } from './colours.ts';
import { CommandError } from './failure.ts';
import type { Forwarded, Forwarder } from './forward.ts';
import type { Io } from './io.ts';
import { followStream, type WebhookMessage } from './listen-stream.ts';
import {
  type CommonOptions,
  durationArgument,
  integerArgument,
  withAccountOption,
  withClientOptions,
  withExamples,
} from './options.ts';
import { formatTime, harmless, printLine } from './output.ts';

/** As many as a service has in flight to one endpoint. */
const FORWARDED_AT_ONCE = 10;
const CTRL_C = '\x03';

interface ListenOptions extends CommonOptions {
  forwardTo?: string;
  events?: string;
  printSecret?: boolean;
  timeout: number;
  count?: number;
}

/** `posthorn listen`: an account's events as they happen, handed to a receiver on this machine. */
export function listenCommand(program: Command, io: Io): void {
  const listen = program
    .command('listen')
    .description("show an account's events as they happen, and forward them to a receiver on this machine");
  withExamples(
    withAccountOption(withClientOptions(listen))
      .option('--forward-to <url>', 'where to POST each event; default: only show them')
      .option('--events <types>', 'only these event types, separated by commas')
      .option(
        '--print-secret',
        'show the secret that signs (POSTHORN_LISTEN_SECRET; default: made for this run)',
      )
      .option(
        '--timeout <duration>',
        'how long the receiver has to answer',
        durationArgument(100, 600_000),
        5_000,
      )
      .option('--count <n>', 'end after so many events', integerArgument(1, 1_000_000)),
    'posthorn listen --account alice --forward-to http://localhost:3000/hook --print-secret',
    'posthorn listen --events generated_video_success,generated_video_failed --json',
  ).action(async (options: ListenOptions) => {
    const client = createClient(options, io.env);
    const secret = sessionSecret(io);
    const to = options.forwardTo === undefined ? null : receiverUrl(options.forwardTo);
    // Loaded here: no other command needs the HTTP client.
    const forwarder =
      to === null ? null : (await import('./forward.ts')).createForwarder(to, options.timeout);
    const ending = new AbortController();
    const session = new ListenSession(io, options, secret, forwarder);
    const releaseKeys = onKeys(io, (key) => {
      if (key === 'r') session.replayLast();
      else if (key === CTRL_C || key === 'q') ending.abort();
    });
    if (options.printSecret) printLine(io.stderr, `Signed with ${secret}`);
    else if (!io.env.POSTHORN_LISTEN_SECRET) {
      printLine(
        io.stderr,
        'Signed with a secret of this run: --print-secret shows it, POSTHORN_LISTEN_SECRET sets it.',
      );
    }
    if (releaseKeys !== null) printLine(io.stderr, 'Keys: r sends the last event again, q ends.');
    let left = options.count ?? Number.POSITIVE_INFINITY;
    try {
      await followStream(io, {
        client,
        events: options.events ?? null,
        secret,
        async onWebhook(message) {
          await session.take(message);
          left -= 1;
          if (left <= 0) ending.abort();
        },
        onNotice: (text) => printLine(io.stderr, harmless(text)),
        signal: ending.signal,
      });
      await session.idle();
    } finally {
      releaseKeys?.();
      await forwarder?.close();
    }
  });
}

function sessionSecret({ env }: Io): string {
  const given = env.POSTHORN_LISTEN_SECRET;
  if (!given) return createSecret();
  if (isSecret(given)) return given;
  throw new CommandError('usage', 'POSTHORN_LISTEN_SECRET must be whsec_ and the base64 of 24 to 64 bytes');
}

function receiverUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url !== null && /^https?:$/.test(url.protocol)) return url.href;
  throw new CommandError(
    'usage',
    '--forward-to must be an http or https URL such as http://localhost:3000/hook',
  );
}

/** What is forwarded, and what is printed of it. */
class ListenSession {
  readonly #io: Io;
  readonly #options: ListenOptions;
  readonly #secret: string;
  readonly #forwarder: Forwarder | null;
  readonly #ring = new KeyRing();
  readonly #inFlight = new Set<Promise<void>>();
  #last: WebhookMessage | null = null;

  constructor(io: Io, options: ListenOptions, secret: string, forwarder: Forwarder | null) {
    this.#io = io;
    this.#options = options;
    this.#secret = secret;
    this.#forwarder = forwarder;
  }

  /** Resolves when there is room for another. */
  async take(message: WebhookMessage): Promise<void> {
    this.#last = message;
    this.#start(message, false);
    while (this.#inFlight.size >= FORWARDED_AT_ONCE) await Promise.race(this.#inFlight);
  }

  /** The last event once more, signed anew: receivers refuse signatures that are some minutes old. */
  replayLast(): void {
    if (this.#last === null) return printLine(this.#io.stderr, 'Nothing came yet.');
    const { event_id: eventId, body } = this.#last;
    const signatures = signatureHeaders(
      {
        secret: this.#secret,
        eventId,
        timestampSeconds: toSeconds(this.#io.now()),
        body: Buffer.from(body, 'utf8'),
      },
      this.#ring,
    );
    this.#start({ ...this.#last, headers: { ...this.#last.headers, ...signatures } }, true);
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    await Promise.all(this.#inFlight);
  }

  #start(message: WebhookMessage, isReplay: boolean): void {
    const forwarding = this.#forward(message, isReplay).finally(() => this.#inFlight.delete(forwarding));
    this.#inFlight.add(forwarding);
  }

  async #forward(message: WebhookMessage, isReplay: boolean): Promise<void> {
    const forwarded = (await this.#forwarder?.post(message.headers, message.body)) ?? null;
    const text = this.#options.json
      ? JSON.stringify(asJson(message, forwarded, isReplay))
      : this.#line(message, forwarded, isReplay);
    printLine(this.#io.stdout, text);
  }

  #line(
    { event, event_id: eventId }: WebhookMessage,
    forwarded: Forwarded | null,
    isReplay: boolean,
  ): string {
    const io = this.#io;
    const parts = [
      coloured(io, 'dim', formatTime(toSeconds(io.now())) ?? '-'),
      harmless(event),
      harmless(eventId),
      ...(isReplay ? ['again'] : []),
    ];
    if (forwarded !== null) {
      const { httpStatus, durationMs, error } = forwarded;
      const arrived = httpStatus !== null && httpStatus >= 200 && httpStatus < 300;
      const result = httpStatus === null ? 'failed' : `HTTP ${httpStatus}`;
      parts.push(coloured(io, arrived ? 'green' : 'red', result), `${durationMs} ms`);
      if (error !== null) parts.push(`(${harmless(error)})`);
    }
    return parts.join('  ');
  }
}

function asJson(message: WebhookMessage, forwarded: Forwarded | null, isReplay: boolean): object {
  const { httpStatus, durationMs, error } = forwarded ?? {};
  return {
    ...message,
    replay: isReplay,
    forwarded: forwarded === null ? null : { http_status: httpStatus, duration_ms: durationMs, error },
  };
}

/** Hears single keys where stdin is a terminal; answers how to end that, or null. */
function onKeys(io: Io, heard: (key: string) => void): (() => void) | null {
  const stdin = io.stdin as Io['stdin'] & { isTTY?: boolean; setRawMode?(raw: boolean): unknown };
  if (stdin.isTTY !== true || stdin.setRawMode === undefined) return null;
  const onData = (data: Buffer | string) => {
    for (const key of data.toString()) heard(key);
  };
  stdin.setRawMode(true);
  stdin.on('data', onData);
  stdin.resume();
  return () => {
    stdin.off('data', onData);
    stdin.setRawMode?.(false);
    stdin.pause();
  };
}

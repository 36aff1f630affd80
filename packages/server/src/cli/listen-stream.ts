/** The stream of `GET /v2/listen` across lost connections. */
import { ApiError, type Client } from './client.ts';
import { readMessages } from './event-stream.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';

/** The server sends something every 15 s. */
const SILENCE_MS = 45_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;
/** More than the server sends again after a break. */
const REMEMBERED_EVENTS = 2_000;

export interface WebhookMessage {
  event_id: string;
  event: string;
  headers: Record<string, string>;
  body: string;
}

export interface ListenStreamOptions {
  client: Client;
  /** Null: all. */
  events: string | null;
  secret: string;
  /** Each event once. The next one is read when it has resolved. */
  onWebhook(message: WebhookMessage): Promise<void>;
  /** What a person should know: connected, lost, missed. */
  onNotice(text: string): void;
  /** Ends the stream. */
  signal: AbortSignal;
}

/**
 * Follows the stream until the signal ends it, and takes it up again where it broke off.
 *
 * @throws {CommandError} when the first connection fails, or the server refuses for good (a revoked key)
 */
export async function followStream(io: Pick<Io, 'sleep'>, options: ListenStreamOptions): Promise<void> {
  const { client, events, secret, onNotice, signal } = options;
  const seen = new Set<string>();
  let lastId: string | null = null;
  let isFirst = true;
  let isBreakTold = false;
  let pauseMs = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    let ending = 'the connection was lost';
    const silence = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
    };
    try {
      alive();
      const bytes = await client.stream({
        path: ['listen'],
        query: { events: events ?? undefined },
        headers: { 'x-listen-secret': secret, ...(lastId === null ? {} : { 'last-event-id': lastId }) },
        signal: AbortSignal.any([signal, silence.signal]),
      });
      for await (const message of readMessages(bytes)) {
        alive();
        if (message.event === 'session') {
          onNotice(isFirst ? 'Listening.' : 'Listening again.');
          isFirst = false;
          isBreakTold = false;
          pauseMs = FIRST_PAUSE_MS;
        } else if (message.event === 'webhook') {
          const webhook = JSON.parse(message.data) as WebhookMessage;
          if (!seen.has(webhook.event_id)) {
            // Forwarding may take its time; the server's silence meanwhile is none.
            clearTimeout(timer);
            await options.onWebhook(webhook);
            alive();
          }
          seen.add(webhook.event_id);
          if (seen.size > REMEMBERED_EVENTS) seen.delete(seen.values().next().value as string);
        } else if (message.event === 'missed') {
          onNotice(`Missed events: ${textOf(message.data)}`);
        } else if (message.event === 'end') {
          ending = textOf(message.data);
        }
        // After the event was handled: what a break interrupts comes again.
        lastId = message.id ?? lastId;
        if (signal.aborted) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (isFirst || !mayPass(error)) throw error;
    } finally {
      clearTimeout(timer);
    }
    if (signal.aborted) return;
    // Once a break: a server may be away for a night.
    if (!isBreakTold) onNotice(`${ending}; trying again.`);
    isBreakTold = true;
    await io.sleep(pauseMs);
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }
}

function textOf(data: string): string {
  const { msg } = JSON.parse(data) as { msg?: unknown };
  return typeof msg === 'string' ? msg : 'the server ended the stream';
}

/** Whether the next connection may do better. */
function mayPass(error: unknown): boolean {
  if (error instanceof ApiError) return error.httpStatus >= 500 || error.httpStatus === 429;
  return !(error instanceof CommandError) || error.reason === 'unreachable';
}

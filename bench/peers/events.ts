/**
 * The events of a run and how they are numbered, so that the load generator, the receiver and the bare loop agree
 * without speaking: event `n` belongs to account `n % accounts`, and goes to each endpoint of that account.
 */
import { EVENT_TYPE, type Fleet } from './system.ts';

/** The size of the body that is signed and delivered, in bytes. */
export const SEALED_BYTES = 1024;

/** What tells one run's events from another's: six characters of `[a-z0-9]`. */
export type RunName = string;

const NUMBER_DIGITS = 8;
const ACCOUNT_DIGITS = 5;
/** `bench-` + run + `-` + number: every id has the same length, so that requests can be patched in place. */
const ID_LENGTH = 'bench-'.length + 6 + 1 + NUMBER_DIGITS;
const SEALED_START = '{"event_id":"';

export function eventId(run: RunName, number: number): string {
  return `bench-${run}-${String(number).padStart(NUMBER_DIGITS, '0')}`;
}

/** The number of a run's event; -1 for any other id. */
export function eventNumber(run: RunName, id: string): number {
  if (id.length !== ID_LENGTH || !id.startsWith(`bench-${run}-`)) return -1;
  const number = Number(id.slice(-NUMBER_DIGITS));
  return Number.isSafeInteger(number) ? number : -1;
}

/** The number of the event in a sealed body, whose first field is the id (wire contract, section 2); -1 for any other body. */
export function sealedEventNumber(run: RunName, body: Buffer): number {
  const start = body.toString('latin1', 0, SEALED_START.length + ID_LENGTH);
  return start.startsWith(SEALED_START) ? eventNumber(run, start.slice(SEALED_START.length)) : -1;
}

export function usernameOf(account: number): string {
  return `bench-${String(account).padStart(ACCOUNT_DIGITS, '0')}`;
}

/** A fleet of accounts with the same number of endpoints each, all at one receiver. */
export function makeFleet(accounts: number, endpointsEach: number, receiverPort: number): Fleet {
  return {
    accounts: Array.from({ length: accounts }, (_, account) => ({
      username: usernameOf(account),
      endpoints: Array.from({ length: endpointsEach }, (_, index) => {
        const number = account * endpointsEach + index;
        return { number, url: `http://127.0.0.1:${receiverPort}/e/${number}`, secret: secretOf(number) };
      }),
    })),
  };
}

/** Any secret of the right form does: 32 bytes in base64 behind the prefix (wire contract, section 2). */
function secretOf(number: number): string {
  return `whsec_${Buffer.from(`benchmark endpoint no. ${String(number).padStart(9, '0')}`).toString('base64')}`;
}

/** The `data` of every event: what the built-in schema asks for, and a note that makes the sealed body {@link SEALED_BYTES} long. */
export function makeData(): Record<string, string | number> {
  const data = {
    video_id: 'video_8f3a61c2d94e',
    project_id: 'video_8f3a61c2d94e',
    status: 'completed',
    video_url: 'https://media.example.com/videos/8f3a61c2d94e.mp4',
    cover_url: 'https://media.example.com/videos/8f3a61c2d94e.jpg',
    duration: 31.4,
    created_at: 1_767_225_600,
    note: '',
  };
  const sealed = sealEvent(eventId('000000', 0), data, 1_767_225_600);
  return { ...data, note: 'x'.repeat(SEALED_BYTES - Buffer.byteLength(sealed)) };
}

/** The body that is delivered, as the wire contract has it (section 2). */
export function sealEvent(id: string, data: unknown, unixSeconds: number): string {
  return JSON.stringify({ event_id: id, event: EVENT_TYPE, timestamp: unixSeconds, data });
}

/**
 * The bytes of publish requests, made by writing account and id over one template: cheaper than building each request,
 * so that the load takes less of the machine from what it measures.
 */
export class PublishRequest {
  readonly bytes: Buffer;
  readonly #usernameAt: number;
  readonly #idAt: number;

  constructor(run: RunName, port: number, apiKey: string) {
    const [username, id] = [usernameOf(0), eventId(run, 0)];
    const body = JSON.stringify({ username, event: EVENT_TYPE, event_id: id, data: makeData() });
    const head = [
      'POST /v2/publish HTTP/1.1',
      `host: 127.0.0.1:${port}`,
      `x-api-key: ${apiKey}`,
      'content-type: application/json',
      `content-length: ${Buffer.byteLength(body)}`,
      '',
      '',
    ].join('\r\n');
    this.bytes = Buffer.from(head + body);
    this.#usernameAt = head.length + body.indexOf(username) + username.length - ACCOUNT_DIGITS;
    this.#idAt = head.length + body.indexOf(id) + id.length - NUMBER_DIGITS;
  }

  /** Makes {@link bytes} the request for one event; they hold until the next call. */
  write(account: number, number: number): void {
    writeDigits(this.bytes, this.#usernameAt, ACCOUNT_DIGITS, account);
    writeDigits(this.bytes, this.#idAt, NUMBER_DIGITS, number);
  }
}

function writeDigits(into: Buffer, at: number, digits: number, value: number): void {
  let rest = value;
  for (let index = at + digits - 1; index >= at; index -= 1) {
    into[index] = 48 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
}

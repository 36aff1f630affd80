import { createSocket } from 'node:dgram';
import type { AddressInfo } from 'node:net';

/** What a name resolves to: addresses, nothing of the asked kind, no such name, a failing zone, or no reply at all. */
export type Zone = Record<string, { a?: string[]; aaaa?: string[] } | 'no-such-name' | 'failure' | 'silence'>;

export interface NameServer {
  /** `127.0.0.1:port`. */
  address: string;
  /** Every question that came in, as `A name` or `AAAA name`. */
  questions: string[];
  /** Resolves when a question about `name` has come in. */
  whenAsked(name: string): Promise<void>;
  close(): Promise<void>;
}

const TYPE_A = 1;
const NO_SUCH_NAME = 3;
const FAILURE = 2;

/** A DNS server on a free UDP port of 127.0.0.1 that knows `zone`, and answers "no such name" for all else. */
export async function startNameServer(zone: Zone): Promise<NameServer> {
  const socket = createSocket('udp4');
  const questions: string[] = [];
  const waiting: { name: string; resolve: () => void }[] = [];
  socket.on('message', (query, from) => {
    const { name, type, end } = readQuestion(query);
    questions.push(`${type === TYPE_A ? 'A' : 'AAAA'} ${name}`);
    for (const waiter of waiting) if (waiter.name === name) waiter.resolve();
    const answer = zone[name] ?? 'no-such-name';
    if (answer === 'silence') return;
    const known = typeof answer === 'string' ? {} : answer;
    const addresses = (type === TYPE_A ? known.a : known.aaaa) ?? [];
    const code = answer === 'no-such-name' ? NO_SUCH_NAME : answer === 'failure' ? FAILURE : 0;
    socket.send(reply(query.subarray(0, end), code, type, addresses), from.port);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${(socket.address() as AddressInfo).port}`,
    questions,
    whenAsked: (name) =>
      new Promise((resolve) => {
        if (questions.some((question) => question.endsWith(` ${name}`))) resolve();
        else waiting.push({ name, resolve });
      }),
    close: () => new Promise((resolve) => void socket.close(resolve)),
  };
}

function readQuestion(query: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] as number; length > 0; length = query[at] as number) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 };
}

function reply(question: Buffer, code: number, type: number, addresses: string[]): Buffer {
  const header = Buffer.from(question);
  header.writeUInt16BE(0x8180 | code, 2);
  header.writeUInt16BE(addresses.length, 6);
  header.writeUInt32BE(0, 8);
  const records = addresses.map((address) => {
    const data = type === TYPE_A ? ipv4Bytes(address) : ipv6Bytes(address);
    // A pointer to the question's name, type, class IN, a life of 0 s, and the data.
    return Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 0, 0, data.length, ...data]);
  });
  return Buffer.concat([header, ...records]);
}

function ipv4Bytes(address: string): number[] {
  return address.split('.').map(Number);
}

/** Written out in full only: eight words. */
function ipv6Bytes(address: string): number[] {
  return address.split(':').flatMap((word) => {
    const value = Number.parseInt(word, 16);
    return [value >> 8, value & 255];
  });
}

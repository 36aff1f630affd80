import { createSocket } from 'node:dgram';
import type { AddressInfo } from 'node:net';
import { type Answer as Resource, AUTHORITATIVE_ANSWER, decode, encode } from 'dns-packet';

/**
 * What a name resolves to: addresses, at the end of a chain of aliases where there are any; nothing of the asked kind;
 * no such name; a failing zone; no reply at all; a reply to another question; or bytes that are no reply.
 */
export type Answer =
  | { a?: string[]; aaaa?: string[]; aliases?: string[]; ttl?: number; silentAbout?: 'A' | 'AAAA' }
  | 'no-such-name'
  | 'failure'
  | 'silence'
  | 'wrong-id'
  | 'garbage';

/** A list is a name that changes its mind: an answer for each question of a kind in turn, the last one stays. */
export type Zone = Record<string, Answer | Answer[]>;

export interface NameServer {
  /** `127.0.0.1:port`. */
  address: string;
  /** Every question that came in, as `A name` or `AAAA name`. */
  questions: string[];
  /** Resolves when a question about `name` has come in. */
  whenAsked(name: string): Promise<void>;
  close(): Promise<void>;
}

const NO_SUCH_NAME = 3;
const FAILURE = 2;
/** For what a reply to another question claims: nobody may believe it. */
const FORGED_ADDRESS = '192.0.2.66';

/** A DNS server on a free UDP port of 127.0.0.1 that knows `zone`, and answers "no such name" for all else. */
export async function startNameServer(zone: Zone): Promise<NameServer> {
  const socket = createSocket('udp4');
  const questions: string[] = [];
  const waiting: { name: string; resolve: () => void }[] = [];
  socket.on('message', (bytes, from) => {
    const query = decode(bytes);
    const [question] = query.questions ?? [];
    if (question === undefined) return;
    const name = question.name.toLowerCase();
    const type = question.type === 'AAAA' ? 'AAAA' : 'A';
    questions.push(`${type} ${name}`);
    for (const waiter of waiting) if (waiter.name === name) waiter.resolve();
    const known = zone[name] ?? 'no-such-name';
    const times = questions.filter((asked) => asked === `${type} ${name}`).length;
    const answer = Array.isArray(known) ? (known[Math.min(times, known.length) - 1] as Answer) : known;
    if (answer === 'silence' || (typeof answer === 'object' && answer.silentAbout === type)) return;
    if (answer === 'garbage') {
      // The question's id, so that it is read at all.
      socket.send(Buffer.concat([bytes.subarray(0, 2), Buffer.alloc(40, 0xff)]), from.port);
      return;
    }
    const reply = encode({
      type: 'response',
      id: answer === 'wrong-id' ? ((query.id ?? 0) + 1) % 65_536 : (query.id ?? 0),
      flags:
        AUTHORITATIVE_ANSWER |
        (answer === 'no-such-name' ? NO_SUCH_NAME : answer === 'failure' ? FAILURE : 0),
      questions: [question],
      answers: resources(question.name, type, answer),
    });
    socket.send(reply, from.port);
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

function resources(asked: string, type: 'A' | 'AAAA', answer: Answer): Resource[] {
  if (answer === 'wrong-id')
    return type === 'A' ? [{ name: asked, type, ttl: 60, data: FORGED_ADDRESS }] : [];
  if (typeof answer === 'string') return [];
  const { aliases = [], ttl = 0 } = answer;
  const chain = [asked, ...aliases];
  const links = aliases.map(
    (alias, i): Resource => ({ name: chain[i] as string, type: 'CNAME', ttl, data: alias }),
  );
  const addresses = (type === 'A' ? answer.a : answer.aaaa) ?? [];
  return [
    ...links,
    ...addresses.map((data): Resource => ({ name: chain.at(-1) as string, type, ttl, data })),
  ];
}

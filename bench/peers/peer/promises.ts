/**
 * What a queue leaves to those who build a webhook service on it, and what Posthorn does for every event and attempt: with
 * it a peer does the same work. Made of the same parts as Posthorn's own: pino, ajv (in Fastify), Node's crypto.
 */
import { createHash, createHmac } from 'node:crypto';
import { BlockList, isIPv6 } from 'node:net';
import { type Logger, pino } from 'pino';
import type { Target } from './fleet.ts';

/** The JSON Schema of the benchmark's event type, as Posthorn's catalogue has it in essence. */
export const DATA_SCHEMA = {
  type: 'object',
  required: ['video_id', 'project_id', 'status', 'video_url', 'cover_url', 'duration', 'created_at'],
  properties: {
    video_id: { type: 'string' },
    project_id: { type: 'string' },
    status: { type: 'string' },
    video_url: { type: 'string' },
    cover_url: { type: 'string' },
    duration: { type: 'number' },
    created_at: { type: 'integer' },
  },
};

/** Most of a response that an attempt keeps, in bytes. */
export const KEPT_RESPONSE_BYTES = 4096;

const LOG_BYTES_A_WRITE = 8 * 1024;
const LOG_FLUSH_MS = 100;
let logger: Logger | undefined;

/** Logs one request or attempt; lines are written in large pieces, off the event loop's thread. */
export function logLine(fields: object, message: 'request' | 'attempt'): void {
  logger ??= openLog();
  logger.info(fields, message);
}

function openLog(): Logger {
  const log = pino(pino.destination({ dest: 1, sync: false, minLength: LOG_BYTES_A_WRITE }));
  setInterval(() => log.flush(), LOG_FLUSH_MS).unref();
  return log;
}

/** What no webhook may dial; loopback is where the benchmark's receivers are. */
const FORBIDDEN = new BlockList();
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const)
  FORBIDDEN.addSubnet(network, bits, 'ipv4');
for (const [network, bits] of [
  ['fc00::', 7],
  ['fe80::', 10],
  ['ff00::', 8],
] as const)
  FORBIDDEN.addSubnet(network, bits, 'ipv6');

/** @throws Error when the address, such as `10.0.0.1`, is none that may be dialled */
export function checkAddress({ hostname }: Target): void {
  if (FORBIDDEN.check(hostname, isIPv6(hostname) ? 'ipv6' : 'ipv4'))
    throw new Error(`${hostname} is refused`);
}

/** The second signature, of Standard Webhooks, with its headers. */
export function standardHeaders(secret: string, eventId: string, body: string): Record<string, string> {
  const timestamp = String(Math.floor(Date.now() / 1000));
  const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
  const signature = createHmac('sha256', key).update(`${eventId}.${timestamp}.${body}`).digest('base64');
  return { 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` };
}

/** The same for the same content, whatever the order of its keys. */
export function fingerprintOf(event: string, data: Record<string, unknown>): string {
  const sorted = Object.fromEntries(Object.entries(data).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  return createHash('sha256')
    .update(`${event}\n${JSON.stringify(sorted)}`)
    .digest('hex');
}

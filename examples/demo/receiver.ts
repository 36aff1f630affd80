/**
 * A receiver as a customer would write it: verifies both signatures of every delivery before it believes the body. The
 * demo starts it as a process of its own and tells it the endpoints' secrets; it reports each delivery to the demo.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What the demo sends: the secret of each path. */
export interface SecretsMessage {
  secrets: Record<string, string>;
}

/** What the receiver sends: its port at the start, then each delivery. */
export type ReceiverMessage =
  | { kind: 'listening'; port: number }
  | {
      kind: 'delivery';
      path: string;
      eventId: string;
      event: string;
      verified: boolean;
      status: number;
      at: number;
    };

/** Deliveries that are older could be recordings played again. */
const TOLERANCE_SECONDS = 300;

function sameText(a: string, b: string): boolean {
  const left = Buffer.from(a);
  const right = Buffer.from(b);
  return left.length === right.length && timingSafeEqual(left, right);
}

/** Whether `x-webhook-signature` and the Standard Webhooks headers both fit the raw body. */
export function isGenuine(
  headers: IncomingHttpHeaders,
  body: Buffer,
  secret: string,
  nowMs: number,
): boolean {
  const id = String(headers['webhook-id'] ?? '');
  const timestamp = String(headers['webhook-timestamp'] ?? '');
  const age = Math.abs(nowMs / 1000 - Number(timestamp));
  if (!(age <= TOLERANCE_SECONDS)) return false;

  const hex = createHmac('sha256', secret).update(body).digest('hex');
  const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
  const base64 = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest('base64');
  const standard = String(headers['webhook-signature'] ?? '').split(' ');
  return (
    sameText(hex, String(headers['x-webhook-signature'] ?? '')) &&
    standard.some((signature) => sameText(signature, `v1,${base64}`))
  );
}

/** About one in five: the same ones in each run, because the demo gives its events fixed ids. */
function stumblesAtFirst(path: string, eventId: string): boolean {
  return (createHash('sha256').update(`${path} ${eventId}`).digest()[0] as number) % 5 === 0;
}

function startReceiver(tell: (message: ReceiverMessage) => void): void {
  let secrets: Record<string, string> = {};
  process.on('message', (message: SecretsMessage) => {
    secrets = message.secrets;
  });
  // The demo's end closes the channel: nothing is left running.
  process.on('disconnect', () => process.exit(0));
  // Ctrl-C reaches the whole group; the demo decides when this process ends.
  process.on('SIGINT', () => {});

  const seen = new Set<string>();
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const path = request.url ?? '/';
    const secret = secrets[path];
    const verified = secret !== undefined && isGenuine(request.headers, body, secret, Date.now());
    if (!verified) {
      tell({ kind: 'delivery', path, eventId: '', event: '', verified, status: 401, at: Date.now() });
      response.writeHead(401).end('signature does not match');
      return;
    }
    const { event_id: eventId, event } = JSON.parse(body.toString('utf8')) as {
      event_id: string;
      event: string;
    };
    const first = !seen.has(`${path} ${eventId}`);
    seen.add(`${path} ${eventId}`);
    const status = first && stumblesAtFirst(path, eventId) ? 500 : 200;
    response.writeHead(status).end(status === 200 ? 'ok' : 'not today');
    tell({ kind: 'delivery', path, eventId, event, verified, status, at: Date.now() });
  });
  server.listen(0, '127.0.0.1', () =>
    tell({ kind: 'listening', port: (server.address() as AddressInfo).port }),
  );
}

if (import.meta.main) {
  startReceiver((message) => void process.send?.(message, undefined, undefined, () => {}));
}

/** Express 4 and 5. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Receiver } from '../receiver.ts';
import { type NodeRequest, receiveNode } from './node-body.ts';

/**
 * A handler for a route of its own. Mount it before `express.json()`, or with `express.raw({ type: '*\/*' })`, or keep the
 * raw body by {@link keepRawBody}.
 *
 * @example
 * app.post('/hooks', expressHandler(receiver));
 */
export function expressHandler(
  receiver: Receiver,
): (request: NodeRequest, response: ServerResponse) => Promise<void> {
  return (request, response) => receiveNode(receiver, request, response);
}

/**
 * Keeps the bytes of a body that is parsed for the whole application. Their number is limited by the parser.
 *
 * @example
 * app.use(express.json({ verify: keepRawBody }));
 */
export function keepRawBody(request: IncomingMessage, _response: ServerResponse, body: Uint8Array): void {
  (request as NodeRequest).rawBody = body;
}

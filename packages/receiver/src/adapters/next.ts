/** Next.js: route handlers of the App Router and API routes of the Pages Router. */
import type { ServerResponse } from 'node:http';
import type { Receiver, ReceiverHost } from '../receiver.ts';
import { fetchHandler } from './fetch.ts';
import { type NodeRequest, receiveNode } from './node-body.ts';

/**
 * A route handler of the App Router. On hosts that stop after the answer give `after` of `next/server`, so that what still
 * runs comes to its end.
 *
 * @example
 * export const POST = nextAppHandler(receiver, { waitUntil: after });
 */
export function nextAppHandler(
  receiver: Receiver,
  host?: ReceiverHost,
): (request: Request) => Promise<Response> {
  const receive = fetchHandler(receiver);
  return (request) => receive(request, host);
}

/**
 * An API route of the Pages Router. Next.js parses bodies unless the file says otherwise, and only reads that from the
 * file itself:
 *
 * @example
 * export const config = { api: { bodyParser: false } };
 * export default nextPagesHandler(receiver);
 */
export function nextPagesHandler(
  receiver: Receiver,
): (request: NodeRequest, response: ServerResponse) => Promise<void> {
  return (request, response) => receiveNode(receiver, request, response);
}

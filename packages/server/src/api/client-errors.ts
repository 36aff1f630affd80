/** Requests that never became one: answered in the envelope as well, straight on the socket. */
import type { Socket } from 'node:net';

import type { Logger } from 'pino';

import type { Clock } from '../clock.ts';
import { PosthornError } from '../errors.ts';
import { refusal } from './envelope.ts';

/** By `import` it would bring the whole of Node's fetch along: 50 ms of a start. */
const { STATUS_CODES } = process.getBuiltinModule('node:http');

const LINGER_MS = 2000;

type ClientError = Error & { code?: string };

function meaningOf(error: ClientError): { httpStatus: number; refused: PosthornError } {
  switch (error.code) {
    case 'HPE_HEADER_OVERFLOW': {
      // Reading stopped before a key could be found, so the caller is nobody.
      const refused = new PosthornError(
        'unauthorized',
        'no API key could be read: the request headers are larger than 16 KiB; send the key alone in x-api-key',
      );
      return { httpStatus: refused.httpStatus, refused };
    }
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return {
        httpStatus: 408,
        refused: new PosthornError('invalid_parameter', 'the request took too long to arrive; send it again'),
      };
    default: {
      const refused = new PosthornError('invalid_parameter', 'the request is not valid HTTP/1.1');
      return { httpStatus: refused.httpStatus, refused };
    }
  }
}

/**
 * Answers what the HTTP parser refused, then ends the connection: where the next request would begin is unknown.
 *
 * @param makeRid makes the request id.
 */
export function answerClientError(
  error: ClientError,
  socket: Socket,
  context: { makeRid: () => string; logger: Logger; clock: Clock },
): void {
  // Answered already: what still arrives of the broken request fails again and again until the client closes.
  if (socket.writableEnded) return;
  const inProgress = (socket as Socket & { _httpMessage?: { headersSent: boolean } | null })._httpMessage;
  if (error.code === 'ECONNRESET' || !socket.writable || inProgress?.headersSent) {
    socket.destroy();
    return;
  }
  const rid = context.makeRid();
  const { httpStatus, refused } = meaningOf(error);
  const body = JSON.stringify(refusal(rid, refused).body);
  const head = [
    `HTTP/1.1 ${httpStatus} ${STATUS_CODES[httpStatus]}`,
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${rid}`,
    'cache-control: no-store',
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
  // Closing while the client still sends would reset the connection, and the answer could be lost with it.
  context.clock.timer(LINGER_MS, () => socket.destroy());
  context.logger.info(
    { rid, method: null, route: 'none', status: httpStatus, code: refused.code, reason: error.code ?? null },
    'request',
  );
}

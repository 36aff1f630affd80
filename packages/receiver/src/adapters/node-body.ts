import type { IncomingMessage, ServerResponse } from 'node:http';
import { concat } from '../bytes.ts';
import { WebhookError } from '../errors.ts';
import { bodyTooLarge, type Receiver, type ReceiverAnswer } from '../receiver.ts';
import type { RawBody } from '../verify.ts';

/** A request of Node, as frameworks extend it with what they have read. */
export interface NodeRequest extends IncomingMessage {
  /** The raw bytes, where a framework keeps them beside the parsed body. */
  rawBody?: unknown;
  body?: unknown;
}

/**
 * The raw body: what a framework kept of it, or the request itself. A body that was parsed is given on, so that the
 * receiver says what is wrong.
 *
 * @throws WebhookError `body_too_large`, `body_missing` when the connection ends before the body
 */
export async function readNodeBody(request: NodeRequest, maxBodyBytes: number): Promise<RawBody> {
  // Not `request.body`: some parsers set it to {} for requests that they have left alone.
  if (!request.readableDidRead && !request.readableEnded) return readStream(request, maxBodyBytes);
  return (request.rawBody ?? request.body) as RawBody;
}

/** Receives one delivery and writes the answer. */
export async function receiveNode(
  receiver: Receiver,
  request: NodeRequest,
  response: ServerResponse,
): Promise<void> {
  sendNode(request, response, await answerNode(receiver, request));
}

export async function answerNode(receiver: Receiver, request: NodeRequest): Promise<ReceiverAnswer> {
  const { method, headers } = request;
  try {
    const body = method === 'POST' ? await readNodeBody(request, receiver.maxBodyBytes) : '';
    return await receiver.receive({ method, headers, body });
  } catch (error) {
    return receiver.refuse(error);
  }
}

function sendNode(request: IncomingMessage, response: ServerResponse, answer: ReceiverAnswer): void {
  response.statusCode = answer.status;
  for (const [name, value] of Object.entries(answer.headers)) response.setHeader(name, value);
  if (request.complete) {
    response.end(answer.body);
    return;
  }
  // What is left of the body would be taken for the next request.
  if (request.httpVersionMajor === 1) response.setHeader('connection', 'close');
  response.end(answer.body, () => request.destroy());
}

function readStream(request: IncomingMessage, maxBodyBytes: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    if (Number(request.headers['content-length']) > maxBodyBytes) return reject(bodyTooLarge(maxBodyBytes));
    const broken = (cause?: Error): void => {
      reject(new WebhookError('body_missing', 'The connection ended before the body did', { cause }));
    };
    const chunks: Uint8Array[] = [];
    let size = 0;
    request
      .on('data', (chunk: Uint8Array) => {
        size += chunk.length;
        if (size <= maxBodyBytes) return void chunks.push(chunk);
        request.pause().removeAllListeners('data');
        reject(bodyTooLarge(maxBodyBytes));
      })
      .once('end', () => resolve(concat(chunks)))
      .once('error', broken)
      .once('close', broken);
  });
}

/** Whatever speaks `Request` and `Response`: Bun, Deno, Remix, SvelteKit, Astro, … */
import { concat } from '../bytes.ts';
import { WebhookError } from '../errors.ts';
import { bodyTooLarge, type Receiver, type ReceiverHost } from '../receiver.ts';
import type { RawBody } from '../verify.ts';

/**
 * Receives a `Request` and answers a `Response`. Where the runtime stops after the answer, give its `waitUntil`.
 *
 * @example
 * const receive = fetchHandler(receiver);
 * Bun.serve({ fetch: (request) => receive(request) });
 */
export function fetchHandler(
  receiver: Receiver,
): (request: Request, host?: ReceiverHost) => Promise<Response> {
  return (request, host) =>
    receiveFetch(receiver, request, () => readFetchBody(request, receiver.maxBodyBytes), host);
}

export async function receiveFetch(
  receiver: Receiver,
  request: Request,
  readBody: () => Promise<RawBody>,
  host?: ReceiverHost,
): Promise<Response> {
  const { method, headers } = request;
  let answer: Awaited<ReturnType<Receiver['receive']>>;
  try {
    const body = method === 'POST' ? await readBody() : '';
    answer = await receiver.receive({ method, headers, body }, host);
  } catch (error) {
    answer = receiver.refuse(error);
  }
  return new Response(answer.body, { status: answer.status, headers: answer.headers });
}

/** @throws WebhookError `body_too_large`, `body_not_raw` when it was read before, `body_missing` when it breaks off */
export async function readFetchBody(request: Request, maxBodyBytes: number): Promise<Uint8Array> {
  if (request.bodyUsed) {
    throw new WebhookError(
      'body_not_raw',
      'The body of the request has been read before: give the receiver the request first, or a clone of it',
    );
  }
  if (Number(request.headers.get('content-length')) > maxBodyBytes) throw bodyTooLarge(maxBodyBytes);
  const reader = request.body?.getReader();
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (let part = await read(reader); part !== undefined; part = await read(reader)) {
    size += part.length;
    if (size > maxBodyBytes) {
      // Not awaited: some runtimes end a cancelled upload only with the answer.
      reader?.cancel().catch(() => {});
      throw bodyTooLarge(maxBodyBytes);
    }
    chunks.push(part);
  }
  return concat(chunks);
}

async function read(
  reader: { read(): Promise<{ value?: Uint8Array | undefined }> } | undefined,
): Promise<Uint8Array | undefined> {
  try {
    return (await reader?.read())?.value;
  } catch (cause) {
    throw new WebhookError('body_missing', 'The connection ended before the body did', { cause });
  }
}

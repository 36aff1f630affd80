/** Hono 4, on every runtime that it runs on. */
import type { Receiver } from '../receiver.ts';
import { readFetchBody, receiveFetch } from './fetch.ts';

/** What is used of Hono's context. */
interface Context {
  req: { raw: Request; bodyCache: { text?: unknown; arrayBuffer?: unknown } };
  /** Throws where the runtime has none. */
  readonly executionCtx: { waitUntil(work: Promise<unknown>): void };
}

/**
 * A handler for a route. Middleware may have read the body as text or bytes before, Hono keeps these.
 *
 * @example
 * app.post('/hooks', honoHandler(receiver));
 */
export function honoHandler(receiver: Receiver): (context: Context) => Promise<Response> {
  return (context) => {
    const { raw, bodyCache } = context.req;
    const readBody = async (): Promise<Uint8Array | ArrayBuffer | string> => {
      const kept = (await (bodyCache.arrayBuffer ?? bodyCache.text)) as ArrayBuffer | string | undefined;
      return raw.bodyUsed && kept !== undefined ? kept : readFetchBody(raw, receiver.maxBodyBytes);
    };
    return receiveFetch(receiver, raw, readBody, { waitUntil: waitUntilOf(context) });
  };
}

function waitUntilOf(context: Context): ((work: Promise<unknown>) => void) | undefined {
  try {
    const { executionCtx } = context;
    return (work) => executionCtx.waitUntil(work);
  } catch {
    return undefined;
  }
}

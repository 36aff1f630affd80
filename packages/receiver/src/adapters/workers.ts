/** Cloudflare Workers, as a module. */
import type { Receiver } from '../receiver.ts';
import { fetchHandler } from './fetch.ts';

/** What is used of a Worker's execution context. */
interface ExecutionContext {
  waitUntil(work: Promise<unknown>): void;
}

/**
 * The default export of a Worker. Its secrets come with the first request, so the receiver is made then, once for each
 * isolate. An isolate remembers events only as long as it lives, so give the receiver an idempotency store outside.
 *
 * @param path where to receive; everything else is 404. Default: everywhere
 *
 * @example
 * export default workersHandler((env: Env) => createReceiver({ secrets: env.WEBHOOK_SECRET, idempotency, on }));
 */
export function workersHandler<Env>(
  create: (env: Env) => Receiver,
  options: { path?: string } = {},
): { fetch(request: Request, env: Env, context: ExecutionContext): Promise<Response> } {
  const { path } = options;
  let receive: ReturnType<typeof fetchHandler> | undefined;
  return {
    async fetch(request, env, context) {
      if (path !== undefined && new URL(request.url).pathname !== path)
        return new Response(null, { status: 404 });
      receive ??= fetchHandler(create(env));
      return receive(request, { waitUntil: (work) => context.waitUntil(work) });
    },
  };
}

/** Koa 2 and 3. */
import type { Receiver } from '../receiver.ts';
import { answerNode, type NodeRequest } from './node-body.ts';

/** What is used of Koa's context. */
interface Context {
  path: string;
  req: NodeRequest;
  /** Body parsers leave here what they have read. */
  request: object;
  status: number;
  body: unknown;
  set(headers: Record<string, string>): void;
}

/**
 * Middleware that receives at one path, or without a path wherever it is mounted. Put it before body parsers; `rawBody`, as
 * `koa-bodyparser` keeps it, is read, too.
 *
 * @example
 * app.use(koaHandler(receiver, { path: '/hooks' }));
 */
export function koaHandler(
  receiver: Receiver,
  options: { path?: string } = {},
): (context: Context, next: () => Promise<unknown>) => Promise<unknown> {
  const { path } = options;
  return async (context, next) => {
    if (path !== undefined && context.path !== path) return next();
    const { rawBody, body } = context.request as { rawBody?: unknown; body?: unknown };
    if (context.req.readableDidRead) Object.assign(context.req, { rawBody, body });
    const answer = await answerNode(receiver, context.req);
    context.status = answer.status;
    context.set(context.req.complete ? answer.headers : { ...answer.headers, connection: 'close' });
    context.body = answer.body;
    return undefined;
  };
}

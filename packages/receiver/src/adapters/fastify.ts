/** Fastify 4 and 5. */
import { bodyTooLarge, type Receiver, type ReceiverAnswer } from '../receiver.ts';
import type { RawBody } from '../verify.ts';

interface Request {
  method: string;
  headers: Record<string, string | string[] | undefined>;
  body: unknown;
}

interface Reply {
  code(status: number): Reply;
  headers(headers: Record<string, string>): Reply;
  send(body: string): unknown;
}

/** What is used of a Fastify instance; its own types differ by version. */
interface App {
  removeAllContentTypeParsers(): void;
  addContentTypeParser(type: string, options: never, parser: never): unknown;
  setErrorHandler(handler: never): unknown;
  all(path: string, handler: never): unknown;
}

/**
 * A plugin with a body parser of its own: the rest of the application goes on parsing JSON.
 *
 * @example
 * await app.register(fastifyPlugin(receiver), { prefix: '/hooks' });
 */
export function fastifyPlugin(receiver: Receiver): (app: App) => Promise<void> {
  return async (app) => {
    app.removeAllContentTypeParsers();
    const whole = (_request: unknown, body: unknown, done: (error: null, body: unknown) => void): void =>
      done(null, body);
    const limits = { parseAs: 'buffer', bodyLimit: receiver.maxBodyBytes };
    app.addContentTypeParser('*', limits as never, whole as never);
    const onError = (error: { code?: string }, _request: Request, reply: Reply): unknown => {
      if (error.code !== 'FST_ERR_CTP_BODY_TOO_LARGE') throw error;
      return send(reply, receiver.refuse(bodyTooLarge(receiver.maxBodyBytes)));
    };
    app.setErrorHandler(onError as never);
    const receive = async ({ method, headers, body }: Request, reply: Reply): Promise<unknown> =>
      send(reply, await receiver.receive({ method, headers, body: body as RawBody }));
    app.all('/', receive as never);
  };
}

function send(reply: Reply, { status, headers, body }: ReceiverAnswer): unknown {
  return reply.code(status).headers(headers).send(body);
}

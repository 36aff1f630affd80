/** Fastify 4 and 5. */
import type { RequestHeaders } from '../headers.ts';
import { bodyTooLarge, type Receiver } from '../receiver.ts';
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

/** What is used of a Fastify instance. */
interface App {
  removeAllContentTypeParsers(): void;
  addContentTypeParser(
    type: string,
    options: { parseAs: 'buffer'; bodyLimit: number },
    parser: (request: never, body: never, done: (error: null, body: unknown) => void) => void,
  ): unknown;
  setErrorHandler(handler: (error: never, request: never, reply: never) => unknown): unknown;
  all(path: string, handler: (request: never, reply: never) => unknown): unknown;
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
    app.addContentTypeParser(
      '*',
      { parseAs: 'buffer', bodyLimit: receiver.maxBodyBytes },
      (_request, body, done) => done(null, body),
    );
    app.setErrorHandler((error: { code?: string }, _request: Request, reply: Reply) => {
      if (error.code !== 'FST_ERR_CTP_BODY_TOO_LARGE') throw error;
      const { status, headers, body } = receiver.refuse(bodyTooLarge(receiver.maxBodyBytes));
      return reply.code(status).headers(headers).send(body);
    });
    app.all('/', async (request: Request, reply: Reply) => {
      const answer = await receiver.receive({
        method: request.method,
        headers: request.headers as RequestHeaders,
        body: request.body as RawBody,
      });
      return reply.code(answer.status).headers(answer.headers).send(answer.body);
    });
  };
}

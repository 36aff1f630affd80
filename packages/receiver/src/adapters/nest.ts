/** NestJS, on Express and on Fastify. */
import type { ServerResponse } from 'node:http';
import type { Receiver } from '../receiver.ts';
import { answerNode, type NodeRequest, receiveNode } from './node-body.ts';

/** Fastify's, where Nest runs on it. */
interface FastifyRequest {
  raw: NodeRequest;
  rawBody?: unknown;
  body?: unknown;
}

interface FastifyReply {
  raw: ServerResponse;
  code(status: number): FastifyReply;
  headers(headers: Record<string, string>): FastifyReply;
  send(body: string): unknown;
}

/**
 * For a method of a controller that takes `@Req()` and `@Res()`. Nest parses bodies before controllers run, so make the
 * application with `{ rawBody: true }`.
 *
 * @example
 * @Controller('hooks')
 * class HooksController {
 *   readonly #receive = nestHandler(receiver);
 *
 *   @Post()
 *   receive(@Req() request: Request, @Res() response: Response) {
 *     return this.#receive(request, response);
 *   }
 * }
 */
export function nestHandler(
  receiver: Receiver,
): (request: NodeRequest | FastifyRequest, response: ServerResponse | FastifyReply) => Promise<void> {
  return async (request, response) => {
    if (!('raw' in request) || !('raw' in response)) {
      return receiveNode(receiver, request as NodeRequest, response as ServerResponse);
    }
    const { raw, rawBody, body } = request;
    const answer = await answerNode(receiver, Object.assign(raw, { rawBody, body }));
    response.code(answer.status).headers(answer.headers).send(answer.body);
  };
}

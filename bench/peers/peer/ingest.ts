import { createHash, timingSafeEqual } from 'node:crypto';
import { type FastifyInstance, fastify } from 'fastify';
import type { Directory } from './fleet.ts';
import type { Producer } from './queue.ts';

interface Publish {
  username: string;
  event: string;
  event_id: string;
  data: Record<string, unknown>;
}

const PUBLISH = {
  type: 'object',
  required: ['username', 'event', 'event_id', 'data'],
  additionalProperties: false,
  properties: {
    username: { type: 'string', minLength: 1, maxLength: 128 },
    event: { type: 'string', pattern: '^[a-z0-9_.]{1,128}$' },
    event_id: { type: 'string', minLength: 1, maxLength: 128 },
    data: { type: 'object' },
  },
};

/** With the answers' shapes known, Fastify writes them without a general JSON.stringify. */
const ENVELOPE = {
  type: 'object',
  properties: {
    rid: { type: 'string' },
    code: { type: 'integer' },
    msg: { type: 'string' },
    data: { type: ['object', 'null'], properties: { event_id: { type: 'string' } } },
  },
};

const REQUEST_LIMIT_BYTES = 5 * 1024 * 1024;

/**
 * The peer's API: `POST /v2/publish` as the benchmark sends it to every system. Answers 200 when `producer` has stored one
 * job for each endpoint of the account, 401 without the key, 400 for a body that doesn't fit, 404 for an unknown account.
 */
export function buildIngest(apiKey: string, directory: Directory, producer: Producer): FastifyInstance {
  const app = fastify({ logger: false, bodyLimit: REQUEST_LIMIT_BYTES });
  const expected = digest(apiKey);
  app.addHook('onRequest', (request, reply, done) => {
    const given = request.headers['x-api-key'];
    if (typeof given === 'string' && timingSafeEqual(digest(given), expected)) return done();
    void reply.code(401).send({ rid: request.id, code: 10105, msg: 'invalid API key', data: null });
  });
  app.post<{ Body: Publish }>(
    '/v2/publish',
    { schema: { body: PUBLISH, response: { 200: ENVELOPE } } },
    async (request, reply) => {
      const { username, event, event_id, data } = request.body;
      const endpoints = directory.endpointsByAccount.get(username);
      if (endpoints === undefined) {
        return reply
          .code(404)
          .send({ rid: request.id, code: 10104, msg: `username: no account ${username}`, data: null });
      }
      const body = JSON.stringify({ event_id, event, timestamp: Math.floor(Date.now() / 1000), data });
      await producer.add(
        endpoints.map((endpoint) => ({ endpoint, eventId: event_id, eventType: event, body })),
      );
      return { rid: request.id, code: 0, msg: 'Success', data: { event_id } };
    },
  );
  return app;
}

/** Of one length for every key, as a comparison in constant time needs it. */
function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

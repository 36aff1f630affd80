import { createHash, timingSafeEqual } from 'node:crypto';
import { type FastifyInstance, fastify } from 'fastify';
import type { Directory } from './fleet.ts';
import { DATA_SCHEMA, fingerprintOf, logLine } from './promises.ts';
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
export function buildIngest(
  apiKey: string,
  directory: Directory,
  producer: Producer,
  keepsPromises: boolean,
): FastifyInstance {
  const app = fastify({ logger: false, bodyLimit: REQUEST_LIMIT_BYTES });
  const expected = digest(apiKey);
  app.addHook('onRequest', (request, reply, done) => {
    const given = request.headers['x-api-key'];
    if (typeof given === 'string' && timingSafeEqual(digest(given), expected)) return done();
    void reply.code(401).send({ rid: request.id, code: 10105, msg: 'invalid API key', data: null });
  });
  const { addOnce } = producer;
  if (keepsPromises && addOnce === undefined) throw new Error('this queue keeps no events');
  if (keepsPromises) {
    app.addHook('onResponse', (request, reply, done) => {
      const { method, url, id } = request;
      const duration_ms = reply.elapsedTime;
      logLine({ request_id: id, method, route: url, status: reply.statusCode, duration_ms }, 'request');
      done();
    });
  }
  const body = keepsPromises
    ? { ...PUBLISH, properties: { ...PUBLISH.properties, data: DATA_SCHEMA } }
    : PUBLISH;
  app.post<{ Body: Publish }>(
    '/v2/publish',
    { schema: { body, response: { 200: ENVELOPE } } },
    async (request, reply) => {
      const { username, event, event_id, data } = request.body;
      const endpoints = directory.endpointsByAccount.get(username);
      if (endpoints === undefined) {
        return reply
          .code(404)
          .send({ rid: request.id, code: 10104, msg: `username: no account ${username}`, data: null });
      }
      const body = JSON.stringify({ event_id, event, timestamp: Math.floor(Date.now() / 1000), data });
      const deliveries = endpoints.map((endpoint) => ({
        endpoint,
        eventId: event_id,
        eventType: event,
        body,
      }));
      if (keepsPromises && addOnce !== undefined) {
        const fingerprint = fingerprintOf(event, data);
        const result = await addOnce({ username, eventId: event_id, fingerprint, body }, deliveries);
        if (result === 'conflict') {
          return reply
            .code(409)
            .send({ rid: request.id, code: 10109, msg: 'event_id: taken by another event', data: null });
        }
      } else {
        await producer.add(deliveries);
      }
      return { rid: request.id, code: 0, msg: 'Success', data: { event_id } };
    },
  );
  return app;
}

/** Of one length for every key, as a comparison in constant time needs it. */
function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

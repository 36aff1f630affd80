/** Live listening: an account's events as server-sent events, with the body and the headers that a receiver gets. */
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from './schema.ts';

import { toSeconds } from '../clock.ts';
import { webhookHeaders } from '../delivery/headers.ts';
import { createSecret, isSecret, KeyRing, signatureHeaders } from '../delivery/sign.ts';
import { PosthornError, invalid } from '../errors.ts';
import { BUFFERED_EVENTS, formatPosition, type LiveListener, parsePosition } from '../live-events.ts';
import type { Authenticator } from './auth.ts';
import type { ApiDeps } from './deps.ts';
import { type ApiRoute, streamRoute } from './route.ts';
import { credentialsOf } from './session.ts';
import { quoted } from './validate.ts';

const HEARTBEAT_MS = 15_000;
/** A revoked key and a suspended account end what they have begun. */
const CHECK_KEY_MS = 5_000;
/** Who takes nothing for so long is cut off; it may come back and go on. */
const LONGEST_STALL_MS = 60_000;
const MAX_LISTED_EVENTS = 100;
/** What clients wait before they come back, in ms. */
const RETRY_MS = 1_000;
const ALL_DIGITS_AND_MORE = 256;

const MessageShape = Type.Object(
  {
    event_id: Type.String({ examples: ['evt_01kas4h3bq0000w3r8y0e6a1kd'] }),
    event: Type.String({ examples: ['generated_video_success'] }),
    headers: Type.Record(Type.String(), Type.String(), {
      description: 'What a receiver gets, signed with the secret of the session at the time of sending.',
      examples: [{ 'content-type': 'application/json', 'x-webhook-event': 'generated_video_success' }],
    }),
    body: Type.String({
      description: 'The exact text that is signed.',
      examples: [
        '{"event_id":"evt_01kas4h3bq0000w3r8y0e6a1kd","event":"…","timestamp":1767225600,"data":{}}',
      ],
    }),
  },
  { title: 'ListenMessage' },
);

const DESCRIPTION = `A stream of server-sent events that stays open. No endpoint is needed, and none is changed or delayed by it. Messages by their \`event\`:

- \`session\`, first: \`{ "secret"?: "whsec_…" }\`, with which everything in the stream is signed; absent when the request brought one.
- \`webhook\`: an event of the account, once, with the headers and the exact body that a receiver gets.
- \`missed\`: \`{ "msg": "…" }\`. The listener was further behind than the last ${BUFFERED_EVENTS} events, or than the log is kept; what is older was left out.
- \`end\`: \`{ "msg": "…" }\`: the stream ends, because the key does not hold any more or the server stops.

To go on after a break send the last message's \`id\` as \`last-event-id\`: what was accepted in between comes first. Where several nodes share a database, events of the minute before may come once more: drop what you have seen by \`event_id\`. An account may have ten listeners a node.`;

interface Session {
  listener: LiveListener;
  /** Null: all. */
  types: ReadonlySet<string> | null;
  secret: string;
  isSecretNew: boolean;
}

/** One message of a stream; without line breaks of its own, because JSON has none. */
function message(event: string, data: object, id?: string): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

export function listenRoutes(deps: ApiDeps, auth: Authenticator): ApiRoute[] {
  const { store, catalogue, clock, logger, live, version } = deps;
  const ring = new KeyRing();

  async function typesOf(text: string | undefined): Promise<ReadonlySet<string> | null> {
    if (text === undefined) return null;
    const names = new Set(text.split(','));
    if (names.size > MAX_LISTED_EVENTS) {
      throw invalid('events', `events must name at most ${MAX_LISTED_EVENTS} event types`);
    }
    await catalogue.lookFor(names);
    for (const name of names) {
      if (catalogue.get(name) === null) {
        throw invalid('events', `event ${quoted(name)} is not a known event type; GET /v2/events lists them`);
      }
    }
    return names;
  }

  /** Rejects while the answer can still be an envelope. */
  async function open(request: FastifyRequest, query: { events?: string }): Promise<Session> {
    const types = await typesOf(query.events);
    const given = request.headers['x-listen-secret'];
    if (given !== undefined && (typeof given !== 'string' || !isSecret(given))) {
      // Its value is a secret, and stays out of the message.
      throw invalid('x-listen-secret', 'x-listen-secret must be whsec_ and the base64 of 24 to 64 bytes');
    }
    const lastId = request.headers['last-event-id'];
    const position = typeof lastId === 'string' ? parsePosition(lastId.slice(0, ALL_DIGITS_AND_MORE)) : null;
    if (lastId !== undefined && position === null) {
      throw invalid(
        'last-event-id',
        'last-event-id must be the id of a message of this stream; leave it out',
      );
    }
    const listener = live.listen(request.username as string, position);
    return { listener, types, secret: given ?? createSecret(), isSecretNew: given === undefined };
  }

  /** Why the stream must end, or null: the key doesn't hold any more, or not for this account. */
  async function refusalOf(request: FastifyRequest): Promise<string | null> {
    try {
      const caller = await auth.authenticate(credentialsOf(request), request.ip);
      await auth.authorize(caller, 'account', request.headers['x-account']);
      return null;
    } catch (error) {
      // While the store is away nobody knows; the look that finds it back asks again.
      if (error instanceof PosthornError) return error.kind === 'unavailable' ? null : error.message;
      throw error;
    }
  }

  async function webhook(
    { listener, secret }: Session,
    eventId: string,
  ): Promise<Static<typeof MessageShape> | null> {
    const found = await store.getEvent(listener.username, eventId);
    if (found === null) return null;
    const body = Buffer.from(found.body, 'utf8');
    const signatures = signatureHeaders(
      { secret, eventId, timestampSeconds: toSeconds(clock.now()), body },
      ring,
    );
    const headers = webhookHeaders(found.event, signatures, `Posthorn-Webhook/${version}`);
    return { event_id: eventId, event: found.event, headers, body: found.body };
  }

  async function* messages(request: FastifyRequest, session: Session): AsyncGenerator<string> {
    const { listener, types } = session;
    let position = '';
    let writtenAt = clock.monotonic();
    let checkedAt = writtenAt;
    let isFirst = true;
    while (!listener.closed) {
      const looked = await listener.look().catch((error: unknown) => {
        if (error instanceof PosthornError && error.kind === 'unavailable') return null;
        throw error;
      });
      const now = clock.monotonic();
      if (isFirst && looked !== null) {
        isFirst = false;
        // A client that loses its connection before the first event must have a place to go on from, too.
        position = formatPosition(session.listener.position ?? { createdAt: clock.now(), eventId: null });
        const secret = session.isSecretNew ? { secret: session.secret } : {};
        const id = looked.found.length === 0 ? position : undefined;
        yield `retry: ${RETRY_MS}\n${message('session', secret, id)}`;
        writtenAt = now;
      }
      if (looked?.missed) {
        const msg = `more than ${BUFFERED_EVENTS} events behind, or longer than the log is kept: older ones were left out; look at GET /v2/event_log`;
        yield message('missed', { msg });
      }
      for (const ref of looked?.found ?? []) {
        if (listener.closed) break;
        if (types !== null && !types.has(ref.event)) continue;
        const data = await webhook(session, ref.eventId);
        if (data !== null) yield message('webhook', data, formatPosition(ref));
        writtenAt = clock.monotonic();
      }
      if (clock.monotonic() - writtenAt >= HEARTBEAT_MS) {
        yield ': heartbeat\n\n';
        writtenAt = clock.monotonic();
      }
      if (clock.monotonic() - checkedAt >= CHECK_KEY_MS) {
        const refused = await refusalOf(request);
        if (refused !== null) {
          yield message('end', { msg: refused });
          return;
        }
        checkedAt = clock.monotonic();
      }
      await listener.untilNextLook();
    }
    yield message('end', { msg: 'this server is stopping; come back with last-event-id' });
  }

  return [
    streamRoute({
      path: '/listen',
      access: 'account',
      operationId: 'listen',
      tag: 'Event log',
      summary: 'Listen to events live',
      description: DESCRIPTION,
      query: Type.Object(
        {
          events: Type.Optional(
            Type.String({
              description: `Only these event types, up to ${MAX_LISTED_EVENTS}, separated by commas.`,
              examples: ['generated_video_success,generated_video_failed'],
            }),
          ),
        },
        { additionalProperties: false },
      ),
      headers: {
        'last-event-id': 'The `id` of the last message before the connection was lost.',
        'x-listen-secret': 'The secret to sign with (`whsec_…`), instead of one made for this stream.',
      },
      message: MessageShape,
      async stream(query, request: FastifyRequest, reply: FastifyReply) {
        const session = await open(request, query);
        const { listener } = session;
        const stream = Readable.from(watched(messages(request, session)), { highWaterMark: 1 });
        let stalledSince: number | null = null;

        /** Notes while nobody takes what is ready. */
        async function* watched(source: AsyncGenerator<string>): AsyncGenerator<string> {
          for await (const text of source) {
            stalledSince = clock.monotonic();
            yield text;
            stalledSince = null;
          }
        }
        let cancel = () => {};
        const watch = () => {
          if (stalledSince !== null && clock.monotonic() - stalledSince >= LONGEST_STALL_MS) stream.destroy();
          else cancel = clock.timer(HEARTBEAT_MS, watch);
        };
        watch();
        // Of the connection: the stream's own waits for the end of what its generator waits for.
        reply.raw.once('close', () => {
          cancel();
          listener.close();
        });
        stream.once('error', (err) =>
          logger.error({ err, rid: request.id }, 'a stream of live events failed'),
        );
        // Proxies that gather answers would hold back the messages.
        reply.header('x-accel-buffering', 'no').type('text/event-stream; charset=utf-8');
        return reply.send(stream);
      },
    }),
  ];
}

/**
 * `POST /v2/publish` straight on Node's request and response: it carries nearly all of the load, and a sixth to a
 * quarter of its time went into a framework that judges what a plain publish doesn't ask for
 * (docs/decisions/0012-publish-path.md).
 *
 * Only plain requests are taken: known key, JSON, a length within the limit. All others are the app's, which refuses or
 * answers them. What is decided here is decided by the functions that the app's route calls, too.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';

import type { PosthornError } from '../errors.ts';
import { parseJson } from '../json.ts';
import { type Authenticator, type Caller, mayCall } from './auth.ts';
import type { ApiDeps } from './deps.ts';
import { type Envelope, envelopeOf, fromFrameworkError, refusal } from './envelope.ts';
import type { Publish } from './publish.ts';
import { noteAnswer, traceOf } from './request-log.ts';
import { SECURITY_HEADERS } from './security-headers.ts';

const PATHS = new Set(['/v2/publish', '/open/v2/publish']);
const CONTENT_TYPES = new Set(['application/json', 'application/json; charset=utf-8']);
const COMMON_HEADERS = [
  ...Object.entries(SECURITY_HEADERS).flat(),
  'cache-control',
  'no-store',
  'content-type',
  'application/json; charset=utf-8',
];

export interface DirectPublishOptions extends Pick<ApiDeps, 'logger' | 'clock' | 'onRequestDone'> {
  auth: Authenticator;
  publish: Publish;
  maxRequestBytes: number;
  makeRid: () => string;
  /** True once the server ends: it takes no new request, and answers what is under way with `connection: close`. */
  isClosing: () => boolean;
  /** Called when an answer has left. */
  onAnswered: () => void;
}

/** Answers a plain publish and returns true; returns false, with the request untouched, for every other request. */
export type DirectPublish = (request: IncomingMessage, response: ServerResponse) => boolean;

export function directPublish(options: DirectPublishOptions): DirectPublish {
  const { auth, publish, maxRequestBytes, logger, clock } = options;

  function isPlain({ method, url, headers }: IncomingMessage): boolean {
    const length = Number(headers['content-length']);
    return (
      method === 'POST' &&
      PATHS.has(url as string) &&
      CONTENT_TYPES.has(headers['content-type'] as string) &&
      length > 0 &&
      length <= maxRequestBytes &&
      headers['transfer-encoding'] === undefined &&
      headers.expect === undefined
    );
  }

  function exchange(request: IncomingMessage, response: ServerResponse, caller: Caller): void {
    const startedAtMs = clock.monotonic();
    const rid = options.makeRid();
    const chunks: Buffer[] = [];
    let isRead = false;
    let isNoted = false;
    let code: number | null = null;
    let failure: PosthornError | null = null;
    const trace = traceOf(request);

    function send(httpStatus: number, envelope: Envelope, further: readonly string[]): void {
      code = envelope.code;
      const text = JSON.stringify(envelope);
      response
        .writeHead(httpStatus, [
          ...COMMON_HEADERS,
          'x-request-id',
          rid,
          ...further,
          'content-length',
          String(Buffer.byteLength(text)),
        ])
        .end(text);
    }

    function fail(error: unknown, endsConnection: boolean): void {
      failure = fromFrameworkError(error, maxRequestBytes);
      const { httpStatus, headers, body } = refusal(rid, failure);
      const further = Object.entries(headers).flat();
      if (endsConnection || options.isClosing()) further.push('connection', 'close');
      send(httpStatus, body, further);
    }

    async function answer(): Promise<void> {
      let body: unknown;
      try {
        body = parseJson(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks));
      } catch (error) {
        // As after every body that the app can't read.
        fail(error, true);
        return;
      }
      try {
        const result = await publish(body, () => logger.child({ rid }), trace);
        send(200, envelopeOf(rid, result), options.isClosing() ? ['connection', 'close'] : []);
      } catch (error) {
        fail(error, false);
      }
    }

    function done(): void {
      if (isNoted) return;
      isNoted = true;
      noteAnswer(options, {
        rid,
        method: 'POST',
        route: request.url as string,
        status: response.statusCode,
        code,
        durationMs: clock.monotonic() - startedAtMs,
        username: caller.username,
        keyId: caller.keyId,
        trace: trace.context,
        failure,
      });
      options.onAnswered();
    }

    response.on('finish', done).on('error', done);
    request
      .on('data', (chunk: Buffer) => chunks.push(chunk))
      .on('end', () => {
        isRead = true;
        void answer();
      })
      // A connection that breaks later on has its answer under way.
      .on('error', (error) => {
        if (!isRead) fail(error, true);
      });
  }

  return (request, response) => {
    if (!isPlain(request) || options.isClosing()) return false;
    const caller = auth.recognize(request);
    if (caller === null || !mayCall(caller, 'publish')) return false;
    exchange(request, response, caller);
    return true;
  };
}

import { createHmac } from 'node:crypto';
import { Agent } from 'undici';
import type { Directory } from './fleet.ts';
import { checkAddress, KEPT_RESPONSE_BYTES, logLine, standardHeaders } from './promises.ts';
import type { Deliver, Exchange, Outcome } from './queue.ts';

const TIMEOUT_MS = 5_000;
/** Longer than any pause of the benchmark, so that no connection is opened twice. */
const KEEP_ALIVE_MS = 60_000;

/** POSTs deliveries over keep-alive connections; `close` ends these. */
export interface Sender {
  deliver: Deliver;
  close(): Promise<void>;
}

/**
 * Signs (wire contract, section 2: `x-webhook-signature`) and POSTs. There is a pool for each origin, without a limit: the
 * queue's concurrency is the limit of what is in flight.
 *
 * @param keepsPromises - checks the address, signs twice, keeps the answer and writes a log line, as Posthorn does
 */
export function createSender({ targets }: Directory, keepsPromises: boolean): Sender {
  const agent = new Agent({
    allowH2: false,
    pipelining: 1,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS,
    connect: { timeout: TIMEOUT_MS },
    // The coarse timers of undici, which cost nothing, instead of an AbortSignal for each request.
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
  });

  return {
    deliver: async ({ endpoint, eventId, eventType, body }) => {
      const startedAt = Date.now();
      const target = targets.get(endpoint);
      if (target === undefined) return ended(startedAt, null, 'no such endpoint');
      let exchange: Exchange | undefined;
      try {
        const headers: Record<string, string> = {
          'content-type': 'application/json',
          'user-agent': 'peer/1',
          'webhook-id': eventId,
          'x-webhook-event': eventType,
          'x-webhook-signature': createHmac('sha256', target.secret).update(body).digest('hex'),
        };
        if (keepsPromises) {
          checkAddress(target);
          Object.assign(headers, standardHeaders(target.secret, eventId, body));
          const url = target.origin + target.path;
          exchange = { url, requestHeaders: headers, responseHeaders: null, responseBody: null };
        }
        const response = await agent.request({
          origin: target.origin,
          path: target.path,
          method: 'POST',
          headers,
          body,
        });
        const { statusCode } = response;
        if (exchange === undefined) await response.body.dump();
        else {
          exchange.responseHeaders = response.headers;
          exchange.responseBody = (await response.body.text()).slice(0, KEPT_RESPONSE_BYTES);
        }
        const isSuccess = statusCode >= 200 && statusCode < 300;
        return report(ended(startedAt, statusCode, isSuccess ? null : `status ${statusCode}`, exchange));
      } catch (error) {
        const failure = error instanceof Error ? error.message : String(error);
        return report(ended(startedAt, null, failure, exchange));
      }

      function report(outcome: Outcome): Outcome {
        if (keepsPromises) {
          const { status, failure, durationMs } = outcome;
          logLine(
            { event_id: eventId, event: eventType, endpoint, status, failure, duration_ms: durationMs },
            'attempt',
          );
        }
        return outcome;
      }
    },
    close: () => agent.close(),
  };
}

function ended(
  startedAt: number,
  status: number | null,
  failure: string | null,
  exchange?: Exchange,
): Outcome {
  const outcome = { status, failure, startedAt, durationMs: Date.now() - startedAt };
  return exchange === undefined ? outcome : { ...outcome, exchange };
}

import { createHmac } from 'node:crypto';
import { Agent } from 'undici';
import type { Directory } from './fleet.ts';
import type { Deliver, Outcome } from './queue.ts';

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
 */
export function createSender({ targets }: Directory): Sender {
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
      try {
        const response = await agent.request({
          origin: target.origin,
          path: target.path,
          method: 'POST',
          headers: {
            'content-type': 'application/json',
            'user-agent': 'peer/1',
            'webhook-id': eventId,
            'x-webhook-event': eventType,
            'x-webhook-signature': createHmac('sha256', target.secret).update(body).digest('hex'),
          },
          body,
        });
        await response.body.dump();
        const { statusCode } = response;
        const isSuccess = statusCode >= 200 && statusCode < 300;
        return ended(startedAt, statusCode, isSuccess ? null : `status ${statusCode}`);
      } catch (error) {
        return ended(startedAt, null, error instanceof Error ? error.message : String(error));
      }
    },
    close: () => agent.close(),
  };
}

function ended(startedAt: number, status: number | null, failure: string | null): Outcome {
  return { status, failure, startedAt, durationMs: Date.now() - startedAt };
}

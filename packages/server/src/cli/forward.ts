/** Hands events to a receiver on the developer's machine, as a delivery would come. */
import { Agent, request } from 'undici';

export interface Forwarded {
  /** Null when there was no answer. */
  httpStatus: number | null;
  durationMs: number;
  /** Null when there was an answer. */
  error: string | null;
}

export interface Forwarder {
  /** Never rejects. */
  post(headers: Record<string, string>, body: string): Promise<Forwarded>;
  close(): Promise<void>;
}

const ERRORS: Record<string, string> = {
  ECONNREFUSED: 'connection refused: nothing listens there',
  ECONNRESET: 'the connection was closed before an answer',
  UND_ERR_SOCKET: 'the connection was closed before an answer',
  ENOTFOUND: 'the host name is unknown',
};

/** @param timeoutMs - for a whole attempt, as for a delivery */
export function createForwarder(url: string, timeoutMs: number): Forwarder {
  // A server that was restarted in between leaves no dead connection behind.
  const agent = new Agent({ keepAliveTimeout: 1_000 });
  return {
    async post(headers, body) {
      const startedMs = performance.now();
      const ended = (httpStatus: number | null, error: string | null): Forwarded => ({
        httpStatus,
        durationMs: Math.round(performance.now() - startedMs),
        error,
      });
      try {
        const signal = AbortSignal.timeout(timeoutMs);
        const answer = await request(url, { method: 'POST', headers, body, signal, dispatcher: agent });
        // The end of the answer belongs to the attempt; what it says doesn't.
        await answer.body.dump({ limit: 64 * 1024, signal });
        return ended(answer.statusCode, null);
      } catch (error) {
        const { name, code, message } = error as NodeJS.ErrnoException;
        if (name === 'TimeoutError') return ended(null, `no answer within ${timeoutMs} ms`);
        return ended(null, ERRORS[code ?? ''] ?? message);
      }
    },
    close: () => agent.destroy(),
  };
}

/** `node:http`, and everything whose requests and responses are Node's. */
import type { Server, ServerResponse } from 'node:http';
import type { Receiver } from '../receiver.ts';
import { type NodeRequest, receiveNode } from './node-body.ts';

/** A connection that is kept alive is closed so long after its last answer, while the server closes. */
const SWEEP_INTERVAL_MS = 20;
/** No longer than senders wait. */
const ANSWERS_TIMEOUT_MS = 5_000;

/**
 * A listener for `node:http` that receives at every path.
 *
 * @example
 * createServer(nodeHandler(receiver)).listen(3000);
 */
export function nodeHandler(
  receiver: Receiver,
): (request: NodeRequest, response: ServerResponse) => Promise<void> {
  return (request, response) => receiveNode(receiver, request, response);
}

export interface CloseOnSignalOptions {
  /** Takes no new connections from then on, and gets to send the answers that are due. */
  server?: Pick<Server, 'close' | 'closeIdleConnections'>;
  /** Default SIGTERM and SIGINT. */
  signals?: readonly NodeJS.Signals[];
  /** How long handlers and the queue may take to end. Default 10 000. */
  timeoutMs?: number;
}

/**
 * Ends well when the process is told to: new deliveries are refused, which come again, what was accepted is handled, and
 * then the signal does what it does without a listener. Answers what takes it back.
 *
 * @example
 * closeOnSignal(receiver, { server });
 */
export function closeOnSignal(receiver: Receiver, options: CloseOnSignalOptions = {}): () => void {
  const { server, signals = ['SIGTERM', 'SIGINT'], timeoutMs } = options;
  const remove = (): void => {
    for (const signal of signals) process.off(signal, onSignal);
  };
  const onSignal = (signal: NodeJS.Signals): void => {
    remove();
    const answered = server === undefined ? Promise.resolve() : closeServer(server);
    void receiver
      .close(timeoutMs === undefined ? {} : { timeoutMs })
      .then(() => answered)
      .finally(() => process.kill(process.pid, signal));
  };
  for (const signal of signals) process.on(signal, onSignal);
  return remove;
}

/** Resolves when each connection has ended: idle ones at once, others after their answer or when a client is too slow. */
function closeServer(server: Pick<Server, 'close' | 'closeIdleConnections'>): Promise<void> {
  return new Promise((resolve) => {
    const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_INTERVAL_MS);
    const limit = setTimeout(resolve, ANSWERS_TIMEOUT_MS);
    server.close(() => {
      clearInterval(sweep);
      clearTimeout(limit);
      resolve();
    });
  });
}

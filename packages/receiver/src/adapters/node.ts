/** `node:http`, and everything whose requests and responses are Node's. */
import type { Server, ServerResponse } from 'node:http';
import type { Receiver } from '../receiver.ts';
import { type NodeRequest, receiveNode } from './node-body.ts';

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
  /** Takes no new connections from then on. */
  server?: Pick<Server, 'close'>;
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
    const closed = receiver.close(timeoutMs === undefined ? {} : { timeoutMs });
    server?.close();
    void closed.finally(() => process.kill(process.pid, signal));
  };
  for (const signal of signals) process.on(signal, onSignal);
  return remove;
}

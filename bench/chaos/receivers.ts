/** The receivers of all accounts, on a thread of their own: most take what comes, some are bad until they are healed. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { preciseNow } from '../support.ts';
import { Ledger, type LedgerMemory, type Mischief, mischiefOf } from './ledger.ts';

const DRIP_INTERVAL_MS = 1000;

/** Starts them; their thread ends with the process. */
export async function startReceivers(ledger: Ledger): Promise<number> {
  const worker = new Worker(new URL(import.meta.url), { workerData: ledger.memory });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  worker.once('message', resolve);
  // A receiver that fails would make every figure after it meaningless.
  worker.on('error', (error) => {
    reject(error);
    throw error;
  });
  const port = await promise;
  worker.unref();
  return port;
}

function receive(ledger: Ledger): void {
  const server = createServer((incoming, answer) => {
    ledger.hold(1);
    answer.once('close', () => ledger.hold(-1));
    incoming.on('error', () => {});
    incoming.resume().once('end', () => {
      const mischief = ledger.isHealed ? null : mischiefOf(Number(incoming.url?.slice(1)));
      if (mischief !== null) {
        ledger.spoil();
        misbehave(mischief, incoming, answer);
        return;
      }
      ledger.take(String(incoming.headers['webhook-id']), preciseNow());
      answer.writeHead(204).end();
    });
  });
  // Connections that the service keeps for later must not be closed under it: that is another test's matter.
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1', () => parentPort?.postMessage((server.address() as AddressInfo).port));
}

function misbehave(mischief: Mischief, { socket }: IncomingMessage, answer: ServerResponse): void {
  switch (mischief) {
    case 'hang':
      return;
    case 'reset':
      socket.resetAndDestroy();
      return;
    case 'error':
      answer.writeHead(500, { 'content-type': 'text/html' }).end('<h1>Internal Server Error</h1>');
      return;
    case 'drip': {
      answer.writeHead(200, { 'content-length': '1000000' });
      const timer = setInterval(() => answer.write('x'), DRIP_INTERVAL_MS);
      answer.once('close', () => clearInterval(timer));
      return;
    }
    case 'garbage':
      socket.end('\x00\xff\x16\x03 this is not HTTP\r\n\r\n\r\n');
  }
}

if (!isMainThread) receive(new Ledger(workerData as LedgerMemory));

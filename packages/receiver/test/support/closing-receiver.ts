/** A receiver in a process of its own whose handler ends after SIGTERM. Tells its parent its port, and when a handler began. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { closeOnSignal, nodeHandler } from '../../src/adapters/node.ts';
import { createReceiver } from '../../src/index.ts';

const receiver = createReceiver({
  secrets: process.env.WEBHOOK_SECRET ?? '',
  on: {
    generated_video_success: async () => {
      const told = once(process, 'SIGTERM');
      process.send?.({ begun: true });
      await told;
    },
  },
});
const server = createServer(nodeHandler(receiver)).listen(0, '127.0.0.1', () => {
  process.send?.({ port: (server.address() as AddressInfo).port });
});
closeOnSignal(receiver, { server });

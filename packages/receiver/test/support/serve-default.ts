/** Serves the default export of a module, `{ fetch }`, as Bun, Deno and Workers do. Argument: the module. */
import type { AddressInfo } from 'node:net';
import { type HttpBindings, serve } from '@hono/node-server';

const { default: app } = (await import(process.argv[2] ?? '')) as {
  default: { fetch(request: Request, env?: HttpBindings): Response | Promise<Response> };
};
serve({ fetch: (request) => app.fetch(request), port: 0, hostname: '127.0.0.1' }, (info) =>
  process.send?.({ port: (info as AddressInfo).port }),
);

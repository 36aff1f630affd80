/** The same receiver in each framework: an application that listens on a free port of the loopback interface. */
import 'reflect-metadata';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { Controller, Module, Post, Req, Res } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import express from 'express';
import { fastify } from 'fastify';
import { Hono } from 'hono';
import Koa from 'koa';
import { apiResolver } from 'next/dist/server/api-utils/node/api-resolver.js';
import { NextRequest } from 'next/server.js';
import { expressHandler, keepRawBody } from '../../src/adapters/express.ts';
import { fastifyPlugin } from '../../src/adapters/fastify.ts';
import { fetchHandler } from '../../src/adapters/fetch.ts';
import { honoHandler } from '../../src/adapters/hono.ts';
import { koaHandler } from '../../src/adapters/koa.ts';
import { nestHandler } from '../../src/adapters/nest.ts';
import { nextAppHandler, nextPagesHandler } from '../../src/adapters/next.ts';
import { nodeHandler } from '../../src/adapters/node.ts';
import { workersHandler } from '../../src/adapters/workers.ts';
import type { Receiver } from '../../src/index.ts';

export interface RunningApp {
  port: number;
  /** Where deliveries go. */
  url: string;
  /** Breaks what is open. */
  close(): Promise<void>;
}

export type StartApp = (receiver: Receiver) => Promise<RunningApp>;

const PATH = '/hooks';
const nothing = { waitUntil() {} };

/** Serves whatever answers a listener of Node. */
export async function listen(listener: RequestListener): Promise<RunningApp> {
  const server: Server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return running((server.address() as AddressInfo).port, async () => {
    server.close();
    server.closeAllConnections();
  });
}

function running(port: number, close: () => Promise<unknown>): RunningApp {
  return {
    port,
    url: `http://127.0.0.1:${port}${PATH}`,
    async close() {
      await close();
    },
  };
}

/** Node can't strip decorators, so they are applied by hand. */
function nestModule(receiver: Receiver): new () => object {
  class HooksController {
    readonly #receive = nestHandler(receiver);

    receive(request: never, response: never): Promise<void> {
      return this.#receive(request, response);
    }
  }
  const method = Object.getOwnPropertyDescriptor(HooksController.prototype, 'receive') as PropertyDescriptor;
  Controller('hooks')(HooksController);
  Post()(HooksController.prototype, 'receive', method);
  Req()(HooksController.prototype, 'receive', 0);
  Res()(HooksController.prototype, 'receive', 1);
  class AppModule {}
  Module({ controllers: [HooksController] })(AppModule);
  return AppModule;
}

export async function startNest(
  receiver: Receiver,
  platform: 'express' | 'fastify',
  rawBody = true,
): Promise<RunningApp> {
  const adapter = platform === 'express' ? new ExpressAdapter() : new FastifyAdapter();
  const app = await NestFactory.create(nestModule(receiver), adapter, { rawBody, logger: false });
  await app.listen(0, '127.0.0.1');
  const server = app.getHttpServer() as Server;
  return running((server.address() as AddressInfo).port, async () => {
    server.closeAllConnections();
    await app.close();
  });
}

export function startNextPages(
  receiver: Receiver,
  config: object = { api: { bodyParser: false } },
): Promise<RunningApp> {
  const page = { default: nextPagesHandler(receiver), config };
  const context = { previewModeId: '', previewModeEncryptionKey: '', previewModeSigningKey: '' };
  return listen((request, response) => {
    void apiResolver(request, response, {}, page, context as never, false);
  });
}

/** Each adapter in its framework. */
export const APPS: Readonly<Record<string, StartApp>> = {
  node: (receiver) => listen(nodeHandler(receiver)),
  express: (receiver) => {
    const app = express();
    app.post(PATH, expressHandler(receiver));
    return listen(app);
  },
  'express behind express.json()': (receiver) => {
    const app = express();
    app.use(express.json({ verify: keepRawBody, limit: '2mb' }));
    app.post(PATH, expressHandler(receiver));
    return listen(app);
  },
  fastify: async (receiver) => {
    const app = fastify({ forceCloseConnections: true });
    await app.register(fastifyPlugin(receiver), { prefix: PATH });
    await app.listen({ port: 0, host: '127.0.0.1' });
    return running((app.server.address() as AddressInfo).port, () => app.close());
  },
  hono: (receiver) => {
    const app = new Hono();
    app.post(PATH, honoHandler(receiver));
    return listen(getRequestListener(app.fetch));
  },
  'next app router': (receiver) => {
    const POST = nextAppHandler(receiver, nothing);
    return listen(
      getRequestListener(({ url, method, headers, body }) =>
        POST(new NextRequest(url, { method, headers, body, ...(body === null ? {} : { duplex: 'half' }) })),
      ),
    );
  },
  'next pages router': (receiver) => startNextPages(receiver),
  koa: (receiver) => {
    const app = new Koa();
    app.use(koaHandler(receiver, { path: PATH }));
    return listen(app.callback());
  },
  'nest on express': (receiver) => startNest(receiver, 'express'),
  'nest on fastify': (receiver) => startNest(receiver, 'fastify'),
  workers: (receiver) => {
    const worker = workersHandler(() => receiver, { path: PATH });
    return listen(getRequestListener((request) => worker.fetch(request, {}, nothing)));
  },
  fetch: (receiver) => {
    const receive = fetchHandler(receiver);
    return listen(getRequestListener((request) => receive(request)));
  },
};

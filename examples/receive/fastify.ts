import { fastify } from 'fastify';
import { fastifyPlugin } from '@posthorn/receiver/fastify';
import { receiver } from './receiver.ts';

const app = fastify();
await app.register(fastifyPlugin(receiver), { prefix: '/hooks' });
await app.listen({ port: 3000 });

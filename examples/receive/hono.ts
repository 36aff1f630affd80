import { Hono } from 'hono';
import { honoHandler } from '@posthorn/receiver/hono';
import { receiver } from './receiver.ts';

const app = new Hono();
app.post('/hooks', honoHandler(receiver));
export default app;

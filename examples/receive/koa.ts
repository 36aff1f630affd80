import Koa from 'koa';
import { koaHandler } from '@posthorn/receiver/koa';
import { receiver } from './receiver.ts';

const app = new Koa();
app.use(koaHandler(receiver, { path: '/hooks' })); // before body parsers
app.listen(3000);

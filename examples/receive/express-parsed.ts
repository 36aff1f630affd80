import express from 'express';
import { expressHandler, keepRawBody } from '@posthorn/receiver/express';
import { receiver } from './receiver.ts';

const app = express();
app.use(express.json({ verify: keepRawBody }));
app.post('/hooks', expressHandler(receiver));
app.listen(3000);

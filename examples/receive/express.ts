import express from 'express';
import { expressHandler } from '@posthorn/receiver/express';
import { receiver } from './receiver.ts';

const app = express();
app.post('/hooks', expressHandler(receiver)); // before app.use(express.json())
app.listen(3000);

import { createServer } from 'node:http';
import { nodeHandler } from '@posthorn/receiver/node';
import { receiver } from './receiver.ts';

createServer(nodeHandler(receiver)).listen(3000);

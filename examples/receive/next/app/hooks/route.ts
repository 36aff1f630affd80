import { nextAppHandler } from '@posthorn/receiver/next';
import { after } from 'next/server.js';
import { receiver } from '../../../receiver.ts';

export const POST = nextAppHandler(receiver, { waitUntil: after });

import { nextPagesHandler } from '@posthorn/receiver/next';
import { receiver } from '../../../receiver.ts';

export const config = { api: { bodyParser: false } };
export default nextPagesHandler(receiver);

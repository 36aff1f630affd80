import { fetchHandler } from '@posthorn/receiver/fetch';
import { receiver } from './receiver.ts';

const receive = fetchHandler(receiver);
export default { fetch: (request: Request) => receive(request) };

/** Stands between Posthorn and a receiver, and sends each delivery on several times at once. */
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { listen, type RunningApp } from './apps.ts';

/** A delivery as it came from Posthorn. */
export interface Captured {
  headers: Record<string, string>;
  body: Buffer;
}

export interface Storm extends RunningApp {
  /** Of each delivery, retries included. */
  readonly captured: Captured[];
  /** What the receiver answered, 0 where the connection broke. */
  readonly statuses: number[];
  /** Where deliveries go on to. */
  target: string;
}

const NOT_SENT_ON = new Set(['host', 'connection', 'transfer-encoding', 'content-length']);

/** Answers Posthorn with 200 when each copy was answered 2xx, otherwise with 503, so that it sends again. */
export async function startStorm(copies: number): Promise<Storm> {
  const captured: Captured[] = [];
  const statuses: number[] = [];
  const app = await listen((request, response) => {
    void buffer(request).then(async (body) => {
      const delivery = { headers: sentOn(request.headers), body };
      captured.push(delivery);
      const answers = await Promise.all(Array.from({ length: copies }, () => post(storm.target, delivery)));
      statuses.push(...answers);
      response.writeHead(answers.every((status) => status >= 200 && status < 300) ? 200 : 503).end();
    });
  });
  const storm: Storm = { ...app, captured, statuses, target: '' };
  return storm;
}

/** The status of the answer; 0 when there was none. */
export function post(url: string, { headers, body }: Captured): Promise<number> {
  return new Promise((resolve) => {
    const request = httpRequest(url, { method: 'POST', headers, agent: false }, (response) => {
      response.resume();
      response.on('close', () => resolve(response.statusCode ?? 0));
    });
    request.on('error', () => resolve(0));
    request.end(body);
  });
}

function sentOn(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      NOT_SENT_ON.has(name) || value === undefined ? [] : [[name, String(value)]],
    ),
  );
}

/** Ways to tamper with a delivery, all of which a receiver has to refuse. */
import assert from 'node:assert/strict';
import { toSeconds } from '../../../server/src/clock.ts';
import { sign } from '../../src/index.ts';
import { OTHER_SECRET } from './samples.ts';
import { type Captured, post, type Storm } from './storm.ts';

function without(headers: Captured['headers'], leaves: (name: string) => boolean): Captured['headers'] {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !leaves(name)));
}

/** Ways to tamper with a delivery, or to make one up. */
const TAMPERING: Record<
  string,
  (good: Captured, other: Captured, secret: string) => Promise<Captured> | Captured
> = {
  'a changed byte of the body': ({ headers, body }) => ({
    headers,
    body: Buffer.from(body.toString().replace('"completed"', '"completes"').replace('"failed"', '"failee"')),
  }),
  'white space behind the body': ({ headers, body }) => ({
    headers,
    body: Buffer.from(`${body.toString()}\n`),
  }),
  'a field more': ({ headers, body }) => ({
    headers,
    body: Buffer.from(body.toString().replace('{', '{"admin":true,')),
  }),
  'another id': ({ headers, body }) => ({ headers: { ...headers, 'webhook-id': 'evt_other' }, body }),
  'a fresh timestamp on an old signature': ({ headers, body }) => ({
    headers: { ...headers, 'webhook-timestamp': `${Number(headers['webhook-timestamp']) + 1}` },
    body,
  }),
  'a replay after the tolerance': async ({ headers, body }, _other, secret) => ({
    headers: {
      ...headers,
      ...(await sign(body, { secrets: secret, timestamp: toSeconds(Date.now()) - 301 })),
    },
    body,
  }),
  'the secret of somebody else': async ({ headers, body }) => ({
    headers: { ...headers, ...(await sign(body, { secrets: OTHER_SECRET })) },
    body,
  }),
  'the signature of another delivery': ({ headers, body }, other) => ({
    headers: { ...headers, 'webhook-signature': other.headers['webhook-signature'] as string },
    body,
  }),
  'no signature': ({ headers, body }) => ({
    headers: without(headers, (name) => name === 'webhook-signature'),
    body,
  }),
  'the headers of Standard Webhooks left out, for the weaker scheme': ({ headers, body }) => ({
    headers: without(headers, (name) => name.startsWith('webhook-')),
    body,
  }),
  'a signature cut short': ({ headers, body }) => ({
    headers: { ...headers, 'webhook-signature': (headers['webhook-signature'] as string).slice(0, -4) },
    body,
  }),
  'x-webhook-event of another type': ({ headers, body }) => ({
    headers: { ...headers, 'x-webhook-event': 'order.paid' },
    body,
  }),
};

/** Tampers with what a storm has captured; what nobody has tampered with passes. */
export async function assertRefused(storm: Storm, secret: string): Promise<void> {
  const [good, other] = storm.captured as [Captured, Captured];
  for (const [how, tamper] of Object.entries(TAMPERING)) {
    const status = await post(storm.target, await tamper(good, other, secret));
    assert.ok(status === 400 || status === 401, `${how}: ${status}`);
  }
  assert.equal(await post(storm.target, good), 200, 'what is not tampered with passes');
}

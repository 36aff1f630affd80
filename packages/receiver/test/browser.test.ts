/** The built package in a browser: its WebCrypto, which has no Node beside it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { findProgram, skipsWithout } from '../../server/test/support/tools.ts';
import { listen } from './support/apps.ts';
import { OTHER_SECRET, SECRET } from './support/samples.ts';

const DIST = fileURLToPath(new URL('../dist/esm/', import.meta.url));

it('Chromium verifies both schemes, public keys and a rotation, refuses what is forged, and runs a receiver', async (t) => {
  const executablePath = findProgram('chromium');
  if (skipsWithout(t, executablePath === null ? 'no chromium here: apt-get install chromium' : null)) return;
  const site = await listen((request, response) => {
    const path = normalize(new URL(request.url ?? '', 'http://x').pathname);
    const isModule = path.endsWith('.js');
    response.writeHead(200, { 'content-type': isModule ? 'text/javascript' : 'text/html' });
    response.end(isModule ? readFileSync(join(DIST, path)) : '<!doctype html><title>receiver</title>');
  });
  const browser = await chromium.launch({
    executablePath: executablePath ?? '',
    args: ['--no-sandbox', '--disable-dev-shm-usage'],
  });
  try {
    const page = await browser.newPage();
    await page.goto(new URL(site.url).origin);
    // Text, since what it says is for the browser and not for Node's types.
    const seen = await page.evaluate(`(async () => {
      const core = await import('/core.js');
      const { createReceiver } = await import('/index.js');
      const secret = ${JSON.stringify(SECRET)};
      const codeOf = async (verified) => (await verified).error?.code ?? 'verified';
      const body = new TextEncoder().encode('{"test": 2432232314}');
      const known = {
        'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
        'webhook-timestamp': '1614265330',
        'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
        'x-webhook-signature': '80ec8a89ce3cd22133a1066caecb4d04fea7467657c8514d717ec42c38a5c94c',
      };
      const now = () => 1614265330_000;
      const id = (await core.verifySignature(body, new Headers(known), { secrets: secret, scheme: 'both', now })).id;

      const pair = await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify']);
      const toText = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
      const publicKey = 'whpk_' + toText(await crypto.subtle.exportKey('raw', pair.publicKey));
      const pkcs8 = new Uint8Array(await crypto.subtle.exportKey('pkcs8', pair.privateKey));
      const privateKey = 'whsk_' + toText(pkcs8.slice(-32));

      const event = JSON.stringify({ event_id: 'evt_1', event: 'order.paid', timestamp: 1, data: { id: 7 } });
      const headers = await core.sign(event, { secrets: [${JSON.stringify(OTHER_SECRET)}, secret] });
      const byKey = await core.sign(event, { secrets: privateKey, scheme: 'standard' });
      const handled = [];
      const receiver = createReceiver({ secrets: secret, on: { 'order.paid': ({ data }) => handled.push(data.id) } });
      const answer = await receiver.receive({ method: 'POST', headers, body: event });
      return {
        node: typeof process,
        id,
        rotated: await codeOf(core.safeVerify(event, headers, { secrets: secret })),
        byKey: await codeOf(core.safeVerify(event, byKey, { secrets: publicKey })),
        forged: await codeOf(core.safeVerify(event.replace('7', '8'), headers, { secrets: secret })),
        forgedByKey: await codeOf(core.safeVerify(event.replace('7', '8'), byKey, { secrets: publicKey })),
        status: answer.status,
        handled,
      };
    })()`);
    assert.deepEqual(seen, {
      node: 'undefined',
      id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      rotated: 'verified',
      byKey: 'verified',
      forged: 'signature_mismatch',
      forgedByKey: 'signature_mismatch',
      status: 200,
      handled: [7],
    });
  } finally {
    await browser.close();
    await site.close();
  }
});

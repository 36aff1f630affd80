/** How the dashboard's page is served: addresses, caching, compression, and what a browser may do with it. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { brotliDecompressSync, gunzipSync, gzipSync } from 'node:zlib';
import { type PosthornHandler, embed } from '../../src/api/embed.ts';
import { systemClock } from '../../src/clock.ts';
import { pino } from 'pino';
import { type TestApp, testApp } from '../support/app.ts';
import { type TempDir, tempDir } from '../support/tempdir.ts';

const INDEX = `<!doctype html><html><head><script src="./theme.js"></script><link href="./assets/a-1.css"></head></html>`;
const SCRIPT = `console.log(${JSON.stringify('x'.repeat(4000))});`;
const BROWSER = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' };

let dir: TempDir;
let api: TestApp;

before(async () => {
  dir = await tempDir();
  await mkdir(join(dir.path, 'assets'));
  await writeFile(join(dir.path, 'index.html'), INDEX);
  await writeFile(join(dir.path, 'theme.js'), '// theme');
  await writeFile(join(dir.path, 'favicon.svg'), '<svg/>');
  await writeFile(join(dir.path, 'assets/main-1.js'), SCRIPT);
  await writeFile(join(dir.path, 'assets/main-1.js.gz'), gzipSync(SCRIPT));
  await writeFile(join(dir.path, 'assets/secret.env'), 'not for anybody');
  await writeFile(join(dir.path, 'outside.js'), '// not in assets');
  api = await testApp({ pageFolder: dir.path });
});
after(async () => {
  await api.close();
  await dir.remove();
});

function get(url: string, headers: Record<string, string> = {}, method: 'GET' | 'HEAD' | 'POST' = 'GET') {
  return api.app.inject({ method, url, headers });
}

describe('the page', () => {
  it('is at the root, whatever is asked for it, and asks each time whether it is still the same', async () => {
    const page = await get('/', { accept: '*/*' });
    assert.equal(page.statusCode, 200);
    assert.equal(page.headers['content-type'], 'text/html; charset=utf-8');
    assert.equal(page.headers['cache-control'], 'no-cache');
    assert.match(page.body, /<script src="\/theme\.js">/);
    const again = await get('/', { 'if-none-match': page.headers.etag as string });
    assert.equal(again.statusCode, 304);
    assert.equal(again.body, '');
  });

  it('may load scripts, styles and images of this server alone, call it, and be framed by nobody', async () => {
    const { headers } = await get('/');
    const policy = new Map(
      String(headers['content-security-policy'])
        .split('; ')
        .map((rule) => [rule.split(' ')[0], rule.split(' ').slice(1).join(' ')]),
    );
    assert.equal(policy.get('default-src'), "'none'");
    assert.equal(policy.get('script-src'), "'self'");
    assert.equal(policy.get('style-src'), "'self'");
    assert.equal(policy.get('connect-src'), "'self'");
    assert.equal(policy.get('frame-ancestors'), "'none'");
    assert.equal(policy.get('base-uri'), "'none'");
    assert.doesNotMatch(String(headers['content-security-policy']), /unsafe|data:|https?:/);
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['x-frame-options'], 'DENY');
    assert.equal(headers['referrer-policy'], 'no-referrer');
  });

  it('leaves the API its own policy', async () => {
    const { headers } = await api.request('GET', '/v2/events', { key: api.operatorKey });
    assert.equal(headers['content-security-policy'], "default-src 'none';frame-ancestors 'none'");
  });

  for (const path of ['/deliveries', '/deliveries/dlv_1', '/event-types/order.paid?tab=schema', '/portal']) {
    it(`is what a browser gets at ${path}`, async () => {
      const page = await get(path, BROWSER);
      assert.equal(page.statusCode, 200);
      assert.match(page.body, /<!doctype html>/);
      assert.equal((await get(path, BROWSER, 'HEAD')).statusCode, 200);
    });
  }

  for (const path of [
    '/v2/deliverys',
    '/v1/nothing',
    '/open/v2/nothing',
    '/dashboard/nothing',
    '/docs/nothing',
  ]) {
    it(`is not what a browser gets at ${path}, which is the API's`, async () => {
      const answer = await get(path, BROWSER);
      assert.notEqual(answer.statusCode, 200);
      assert.match(String(answer.headers['content-type']), /^application\/json/);
    });
  }

  it('is no answer for clients that want none: they hear that there is no such route', async () => {
    for (const answer of [
      await get('/deliveries', { accept: 'application/json' }),
      await get('/deliveries'),
      await get('/deliveries', BROWSER, 'POST'),
    ]) {
      assert.equal(answer.statusCode, 404);
      assert.equal(answer.json().code, 10104);
    }
  });

  it('has files that are kept for ever, because their names change with them', async () => {
    const script = await get('/assets/main-1.js');
    assert.equal(script.headers['cache-control'], 'public, max-age=31536000, immutable');
    assert.equal(script.headers['content-type'], 'text/javascript; charset=utf-8');
    assert.equal(script.headers['x-content-type-options'], 'nosniff');
    assert.equal(script.body, SCRIPT);
  });

  it('sends files as the build has compressed them, to whom takes them so', async () => {
    const zipped = await get('/assets/main-1.js', { 'accept-encoding': 'deflate, gzip;q=0.5, br' });
    assert.equal(zipped.headers['content-encoding'], 'gzip');
    assert.equal(zipped.headers.vary, 'accept-encoding');
    assert.equal(gunzipSync(zipped.rawPayload).toString(), SCRIPT);
    for (const encoding of ['', 'gzip;q=0', 'identity']) {
      const plain = await get('/assets/main-1.js', { 'accept-encoding': encoding });
      assert.equal(plain.headers['content-encoding'], undefined);
      assert.equal(plain.body, SCRIPT);
    }
  });

  for (const path of [
    '/assets/gone-2.js',
    '/assets/secret.env',
    '/assets/main-1.js.gz',
    '/assets/..%2foutside.js',
    '/assets/%2e%2e%2foutside.js',
    '/assets/..%5coutside.js',
    '/assets/',
    '/assets/constructor',
  ]) {
    it(`has no file at ${path}`, async () => {
      const answer = await get(path, BROWSER);
      assert.equal(answer.statusCode, 404, answer.body);
      assert.equal(answer.json().data, null);
    });
  }

  it('says how to make it where it was not built', async (t) => {
    const bare = await testApp({ pageFolder: join(dir.path, 'nowhere') });
    t.after(() => bare.close());
    const answer = await bare.request('GET', '/');
    assert.equal(answer.status, 404);
    assert.match(answer.msg, /isn't built: run `npm run build`/);
  });

  it('is not on a node that only delivers', async (t) => {
    const worker = await testApp({ pageFolder: dir.path, surface: 'health' });
    t.after(() => worker.close());
    const answer = await worker.request('GET', '/', { headers: BROWSER });
    assert.equal(answer.status, 404);
    assert.match(answer.msg, /API and dashboard are at the nodes of role api or all/);
  });
});

describe('the page in a host’s server', () => {
  async function serve(
    t: TestContext,
    mount: (handler: PosthornHandler) => Parameters<typeof createServer>[1],
  ) {
    const { handler } = embed({
      app: api.app,
      clock: systemClock,
      logger: pino({ level: 'silent' }),
      makeRid: () => 'req_test',
    });
    const server = createServer(mount(handler) as Parameters<typeof createServer>[1]);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.after(() => server.close());
    const { port } = server.address() as { port: number };
    return (path: string) => fetch(`http://127.0.0.1:${port}${path}`, { headers: BROWSER });
  }

  async function assertStandsUnder(prefix: string, response: Response) {
    assert.equal(response.status, 200);
    const text = await response.text();
    assert.match(text, new RegExp(`<meta name="posthorn-base" content="${prefix}" />`));
    assert.match(text, new RegExp(`src="${prefix}/theme\\.js"`));
    assert.match(text, new RegExp(`href="${prefix}/assets/a-1\\.css"`));
  }

  it('stands under the prefix of the handler', async (t) => {
    const get = await serve(t, (handler) => handler.under('/webhooks'));
    await assertStandsUnder('/webhooks', await get('/webhooks'));
    await assertStandsUnder('/webhooks', await get('/webhooks/deliveries/dlv_1'));
  });

  it('stands under the prefix that a router in front took away, as Express does', async (t) => {
    const get = await serve(t, (handler) => (request, response) => {
      const express = request as typeof request & { originalUrl: string };
      express.originalUrl = request.url as string;
      request.url = express.originalUrl.replace(/^\/in\/here/, '') || '/';
      handler(request, response);
    });
    await assertStandsUnder('/in/here', await get('/in/here'));
    await assertStandsUnder('/in/here', await get('/in/here/deliveries?status=dead'));
  });

  it('takes nothing for its prefix that could lead elsewhere', async (t) => {
    const get = await serve(t, (handler) => (request, response) => {
      const express = request as typeof request & { originalUrl: string };
      express.originalUrl = request.url as string;
      request.url = '/deliveries';
      handler(request, response);
    });
    for (const path of [
      '//evil.example/deliveries',
      '/%22%3e%3cscript%3e/deliveries',
      '/a/../b"/deliveries',
    ]) {
      const text = await (await get(path)).text();
      assert.match(text, /content="(?:\/b)?" \/>|content="" \/>/);
      assert.doesNotMatch(text, /evil|%22|<script>/);
    }
  });
});

describe('the page as it is built', () => {
  const built = join(import.meta.dirname, '../../dist/dashboard');

  it('loads with less than 250 KB, compressed', async (t) => {
    const real = await testApp({ pageFolder: built });
    t.after(() => real.close());
    const fetched = async (url: string, encoding: string) => {
      const answer = await real.app.inject({ url, headers: { 'accept-encoding': encoding } });
      assert.equal(answer.statusCode, 200, url);
      return answer;
    };
    const index = await fetched('/', 'identity');
    const parts = [...index.body.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map((match) => match[1] as string);
    assert.ok(parts.length >= 4, index.body);
    let gzipped = gzipSync(index.rawPayload).length;
    for (const part of parts) {
      const plain = await fetched(part, 'identity');
      const answer = await fetched(part, 'gzip');
      gzipped += answer.rawPayload.length;
      if (plain.rawPayload.length < 1024) continue;
      assert.equal(answer.headers['content-encoding'], 'gzip', part);
      assert.deepEqual(gunzipSync(answer.rawPayload), plain.rawPayload);
      const brotli = await fetched(part, 'gzip, br');
      assert.equal(brotli.headers['content-encoding'], 'br');
      assert.deepEqual(brotliDecompressSync(brotli.rawPayload), plain.rawPayload);
    }
    t.diagnostic(`${Math.round(gzipped / 1024)} KB gzipped`);
    assert.ok(gzipped < 250 * 1024, `${gzipped} bytes`);
  });

  it('has no script in its index.html', async (t) => {
    const real = await testApp({ pageFolder: built });
    t.after(() => real.close());
    const { body } = await real.app.inject('/');
    assert.doesNotMatch(body, /<script(?![^>]*\ssrc=)/);
    assert.doesNotMatch(body, /<style|\son\w+=|style=/);
  });
});

/** A real server with a real database, and a real Chromium that looks at it: what every test of the page stands on. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pino } from 'pino';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';

import { loadConfig } from '../../../server/src/config.ts';
import { createApiKey, createEncryptionKey } from '../../../server/src/secrets.ts';
import { createService } from '../../../server/src/service.ts';
import { tempDir } from '../../../server/test/support/tempdir.ts';
import { findProgram } from '../../../server/test/support/tools.ts';

/** What a person waits for at most before a test gives up: generous, because test machines are busy. */
export const PATIENCE_MS = 60_000;
export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 390, height: 844 };

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Where Chromium is: named by `POSTHORN_CHROMIUM`, found, or installed here where that is possible. */
export function findChromium(): string | null {
  const named = process.env.POSTHORN_CHROMIUM;
  if (named !== undefined && named !== '') return named;
  const found = findProgram('chromium') ?? findProgram('chromium-browser') ?? findProgram('google-chrome');
  if (found !== null || process.getuid?.() !== 0 || findProgram('apt-get') === null) return found;
  const env = { ...process.env, RUNLEVEL: '1', DEBIAN_FRONTEND: 'noninteractive' };
  for (const args of [
    ['update', '-qq'],
    ['install', '-y', '-qq', '--no-install-recommends', 'chromium'],
  ]) {
    if (spawnSync('apt-get', args, { env, stdio: 'ignore' }).status !== 0) return null;
  }
  return findProgram('chromium');
}

export const LACKS_CHROMIUM =
  'no Chromium here: apt-get install chromium, or name a browser with POSTHORN_CHROMIUM';

export function launch(executablePath: string): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  });
}

/** What the API answers, with its `data` as tests read it. */
interface Answer {
  code: number;
  msg: string;
  data: any;
}

/** A running service with an operator's key, and the API beside the page to prepare and to look. */
export class TestServer {
  readonly url: string;
  readonly operatorKey: string;
  /** Ends it; once. */
  readonly stop: () => Promise<void>;

  /** One that runs already, at whatever base URL. */
  constructor(url: string, operatorKey: string, stop: () => Promise<void>) {
    this.url = url;
    this.operatorKey = operatorKey;
    this.stop = stop;
  }

  /**
   * @param databaseUrl - default: a new SQLite file
   * @param settings - beside those that all test servers have
   */
  static async start(databaseUrl?: string, settings: Record<string, string> = {}): Promise<TestServer> {
    const dir = await tempDir();
    const operatorKey = settings.POSTHORN_OPERATOR_KEY ?? createApiKey();
    const env = {
      POSTHORN_LISTEN: '127.0.0.1:0',
      POSTHORN_DATABASE_URL: databaseUrl ?? `sqlite:${join(dir.path, 'posthorn.db')}`,
      POSTHORN_OPERATOR_KEY: operatorKey,
      POSTHORN_ENCRYPTION_KEY: createEncryptionKey(),
      POSTHORN_RATE_LIMIT_POST: 'off',
      POSTHORN_TIMEOUT: '1s',
      ...settings,
    };
    const logger = pino({ level: 'silent' }, { write() {} });
    const service = await createService(loadConfig({ env }), { logger });
    const { url } = await service.start();
    return new TestServer(url, operatorKey, async () => {
      await service.stop();
      await dir.remove();
    });
  }

  async call(
    method: string,
    path: string,
    body?: object,
    { key = this.operatorKey, account }: { key?: string; account?: string } = {},
  ): Promise<any> {
    const response = await fetch(this.url + path, {
      method,
      headers: {
        'x-api-key': key,
        ...(account === undefined ? {} : { 'x-account': account }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer = (await response.json()) as Answer;
    assert.equal(answer.code, 0, `${method} ${path}: ${answer.msg}`);
    return answer.data;
  }
}

/** A person's browser: a page that notes whatever a strict eye would mind. */
export class Visitor {
  readonly page: Page;
  readonly #context: BrowserContext;
  readonly #server: TestServer;
  readonly troubles: string[] = [];

  private constructor(context: BrowserContext, page: Page, server: TestServer) {
    this.#context = context;
    this.page = page;
    this.#server = server;
  }

  static async open(browser: Browser, server: TestServer, viewport = DESKTOP): Promise<Visitor> {
    const context = await browser.newContext({ viewport, colorScheme: 'light', timezoneId: 'Europe/Berlin' });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    const visitor = new Visitor(context, page, server);
    const { troubles } = visitor;
    // Refusals of the API are logged by browsers as errors, too; what is wrong among them is noted below.
    page.on('console', (message) => {
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
        troubles.push(`console: ${message.text()}`);
      }
    });
    page.on('pageerror', (error) => troubles.push(`exception: ${error.message}`));
    page.on('dialog', (dialog) => {
      troubles.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('request', (request) => {
      if (!request.url().startsWith(`${server.url}/`) && !request.url().startsWith('data:')) {
        troubles.push(`request to ${request.url()}`);
      }
    });
    page.on('response', (response) => {
      if (response.status() >= 500) troubles.push(`${response.status()} from ${response.url()}`);
    });
    await page.addInitScript(`addEventListener('securitypolicyviolation', (event) => {
      console.error('policy: ' + event.violatedDirective + ' ' + event.blockedURI);
    })`);
    return visitor;
  }

  /** Opens an address of the page and waits until it is there. */
  async go(path: string): Promise<void> {
    await this.page.goto(this.#server.url + path);
    await this.settled();
  }

  /** Until the page has a heading and nothing on it is loading any more. */
  async settled(): Promise<void> {
    await this.page.locator('h1').first().waitFor();
    await this.page.locator('[aria-busy="true"], .animate-pulse').first().waitFor({ state: 'detached' });
  }

  async signIn(key: string): Promise<void> {
    await this.go('/sign-in');
    await this.page.getByLabel('API key').fill(key);
    await this.page.getByRole('button', { name: 'Sign in' }).click();
    await this.page.getByRole('navigation', { name: 'Main' }).waitFor({ state: 'attached' });
    await this.settled();
  }

  /** By a portal link, as the operator's product would hand it out. */
  async openPortal(username: string): Promise<void> {
    const { url } = await this.#server.call('POST', `/v2/account/${username}/portal_link`);
    await this.page.goto(url);
    await this.page.getByRole('navigation', { name: 'Main' }).waitFor({ state: 'attached' });
    await this.settled();
  }

  /** What axe finds wrong on the page as it is now, one line each. */
  async accessibilityMistakes(rules?: string[]): Promise<string[]> {
    // Transitions of colours would be judged half-way.
    await this.page.evaluate(
      `Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => {})))`,
    );
    if (!(await this.page.evaluate<boolean>('"axe" in window'))) await this.page.evaluate(AXE);
    const options = {
      resultTypes: ['violations'],
      ...(rules !== undefined && { runOnly: { type: 'rule', values: rules } }),
    };
    const { violations } = await this.page.evaluate<any>(`axe.run(document, ${JSON.stringify(options)})`);
    return violations.flatMap(
      ({ id, nodes }: { id: string; nodes: { html: string; failureSummary: string }[] }) =>
        nodes.map(
          ({ html, failureSummary }) => `${id}: ${html.slice(0, 200)} – ${failureSummary.slice(0, 300)}`,
        ),
    );
  }

  /** How much wider than the window the page is, in CSS pixels; 0 when nothing is cut off. */
  overflow(): Promise<number> {
    return this.page.evaluate<number>('document.documentElement.scrollWidth - innerWidth');
  }

  async close(): Promise<void> {
    await this.#context.close();
  }
}

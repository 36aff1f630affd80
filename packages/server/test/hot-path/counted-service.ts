/**
 * A service under a load whose every wave comes at one moment: all requests of a wave lie in the sockets before the
 * service may read one (it is stopped by SIGSTOP meanwhile), and so do all answers of the receivers. So it is up to the
 * service alone what shares a commit, however busy the machine is.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Client } from '../support/client.ts';
import { type Receiver, respond, startReceiver } from '../support/receivers.ts';
import { type TempDir, tempDir } from '../support/tempdir.ts';
import type { InnerCounts } from './counting.ts';

const ENTRY = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const COUNTING = new URL('./counting.ts', import.meta.url).href;
const OPERATOR_KEY = 'hot-path-test-operator-key-'.padEnd(48, '0');
const EVENT_TYPE = 'generated_image_success';
/** Room for all that a test allocates, in MiB: what is never collected can be told by what is in use. */
const YOUNG_GENERATION_MIB = 256;
/** Each may run ten attempts at once, so that a whole wave is under way. */
const ACCOUNTS = 10;
const ANSWER = respond(200, { headers: { 'content-type': 'application/json' }, body: '{"ok":true}' });

export interface Counts extends InnerCounts {
  logBytes: number;
  /** What the store's writer gave to `write(2)`: on SQLite its log. 0 without such a thread. */
  writtenBytes: number;
}

/** Events a wave, each on a connection of its own and with one delivery. */
export const EVENTS_A_WAVE = 50;

/**
 * @example
 * const service = await CountedService.start({ POSTHORN_DATABASE_URL: 'sqlite:./posthorn.db' });
 * t.after(() => service.end());
 * await service.publishWave();
 * await service.deliverWave();
 */
export class CountedService {
  readonly #folder: TempDir;
  readonly #child: ChildProcess;
  readonly #receiver: Receiver;
  readonly #held: Socket[];
  readonly #publishers: Publisher[] = [];
  #logBytes = 0;
  #unreadLog = '';
  #attempts = 0;
  #published = 0;
  #attemptsAwaited: { count: number; reached: () => void } | null = null;

  /** @param env - `POSTHORN_…` variables */
  static async start(env: Record<string, string>): Promise<CountedService> {
    const held: Socket[] = [];
    const receiver = await startReceiver((socket) => void held.push(socket));
    const service = new CountedService(env, await tempDir(), receiver, held);
    try {
      await service.#open();
    } catch (error) {
      await service.end();
      throw error;
    }
    return service;
  }

  private constructor(env: Record<string, string>, folder: TempDir, receiver: Receiver, held: Socket[]) {
    this.#folder = folder;
    this.#receiver = receiver;
    this.#held = held;
    const node = [
      `--min-semi-space-size=${YOUNG_GENERATION_MIB}`,
      `--max-semi-space-size=${YOUNG_GENERATION_MIB}`,
    ];
    this.#child = spawn(
      process.execPath,
      [...node, '--import', COUNTING, ENTRY, 'serve', '--listen', '127.0.0.1:0'],
      {
        cwd: folder.path,
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
        env: {
          PATH: process.env.PATH,
          POSTHORN_OPERATOR_KEY: OPERATOR_KEY,
          POSTHORN_ENDPOINT_POLICY: 'development',
          POSTHORN_RATE_LIMIT_POST: 'off',
          // Of a machine that has no time for it, not of the service: nothing may be attempted twice.
          POSTHORN_TIMEOUT: '30s',
          ...env,
        },
      },
    );
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#readLog(text));
  }

  /** Publishes a wave; resolves when all of it is acknowledged and every delivery waits for its receiver's answer. */
  async publishWave(): Promise<void> {
    const arrived = this.#receiver.whenRequests(this.#receiver.requests.length + EVENTS_A_WAVE);
    const answered = this.#publishers.map((publisher) => publisher.answered());
    await this.#atOnce(
      this.#publishers.map((publisher, index) => publisher.write(index % ACCOUNTS, this.#published + index)),
    );
    this.#published += this.#publishers.length;
    await Promise.all([...answered, arrived]);
  }

  /** Has the receivers answer what they hold; resolves when every attempt is stored and logged. */
  async deliverWave(): Promise<void> {
    const logged = Promise.withResolvers<void>();
    this.#attemptsAwaited = { count: this.#attempts + this.#held.length, reached: logged.resolve };
    const [first] = this.#receiver.requests;
    assert.ok(first, 'something was received');
    await this.#atOnce(
      this.#held.splice(0).map(async (socket) => {
        ANSWER(socket, first);
        if (socket.writableLength > 0) await once(socket, 'drain');
      }),
    );
    await logged.promise;
  }

  async counts(): Promise<Counts> {
    this.#child.send('counts');
    const [inner] = (await once(this.#child, 'message')) as [InnerCounts];
    return { ...inner, logBytes: this.#logBytes, writtenBytes: this.#writtenByWriter() };
  }

  async end(): Promise<void> {
    for (const publisher of this.#publishers) publisher.close();
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGKILL');
      await once(this.#child, 'exit');
    }
    await this.#receiver.close();
    await this.#folder.remove();
  }

  async #open(): Promise<void> {
    const url = await this.#listening();
    const operator = new Client(url, OPERATOR_KEY);
    for (let account = 0; account < ACCOUNTS; account += 1) {
      const username = usernameOf(account);
      await operator.data('POST', '/v2/account', { body: { username } });
      const body = { url: `${this.#receiver.url}/${account}`, events: [EVENT_TYPE] };
      await operator.data('POST', '/v2/endpoint', { account: username, body });
    }
    const port = Number(new URL(url).port);
    for (let index = 0; index < EVENTS_A_WAVE; index += 1) this.#publishers.push(await Publisher.open(port));
  }

  async #listening(): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    let stderr = '';
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      const listening = /Posthorn listens on (\S+);/.exec(stderr);
      if (listening !== null) resolve(listening[1] as string);
    });
    this.#child.once('exit', () => reject(new Error(`serve ended before it listened: ${stderr}`)));
    return promise;
  }

  /** Has the service see what is written as if it had come in one moment. */
  async #atOnce(writes: Promise<void>[]): Promise<void> {
    this.#child.kill('SIGSTOP');
    await Promise.all(writes);
    this.#child.kill('SIGCONT');
  }

  #readLog(text: string): void {
    this.#logBytes += Buffer.byteLength(text);
    // The last part may go on in the next text.
    const lines = (this.#unreadLog + text).split('\n');
    this.#unreadLog = lines.pop() as string;
    for (const line of lines) if (line.includes('"msg":"attempt"')) this.#attempts += 1;
    const awaited = this.#attemptsAwaited;
    if (awaited !== null && this.#attempts >= awaited.count) awaited.reached();
  }

  #writtenByWriter(): number {
    const tasks = `/proc/${this.#child.pid}/task`;
    for (const task of readdirSync(tasks)) {
      if (readFileSync(`${tasks}/${task}/comm`, 'utf8').trim() !== 'store-writer') continue;
      return Number(/^wchar: (\d+)/m.exec(readFileSync(`${tasks}/${task}/io`, 'utf8'))?.[1]);
    }
    return 0;
  }
}

function usernameOf(account: number): string {
  return `counted-${account}`;
}

/** A keep-alive connection that publishes, one request at a time. */
class Publisher {
  readonly #socket: Socket;
  #text = '';
  #answered: PromiseWithResolvers<void> | null = null;

  static async open(port: number): Promise<Publisher> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    return new Publisher(socket);
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8').on('data', (text: string) => this.#read(text));
    socket.on('close', () =>
      this.#answered?.reject(new Error('the service closed a publisher’s connection')),
    );
    socket.on('error', () => {});
  }

  /** Resolves when the bytes are the kernel's. */
  write(account: number, number: number): Promise<void> {
    const data = {
      image_urls: ['https://media.example.com/images/8f3a61c2d94e.png'],
      status: 'completed',
      task_id: `task_${String(number).padStart(8, '0')}`,
      text: 'x'.repeat(800),
    };
    const body = JSON.stringify({
      username: usernameOf(account),
      event: EVENT_TYPE,
      event_id: `counted-${String(number).padStart(8, '0')}`,
      data,
    });
    const head = [
      'POST /v2/publish HTTP/1.1',
      'host: 127.0.0.1',
      `x-api-key: ${OPERATOR_KEY}`,
      'content-type: application/json',
      `content-length: ${Buffer.byteLength(body)}`,
    ];
    return new Promise((resolve, reject) => {
      const isSent = (error?: Error | null): void => (error ? reject(error) : resolve());
      this.#socket.write(`${head.join('\r\n')}\r\n\r\n${body}`, isSent);
    });
  }

  /** The answer to what is written next; rejects unless it is a success. */
  answered(): Promise<void> {
    this.#answered = Promise.withResolvers<void>();
    return this.#answered.promise;
  }

  close(): void {
    this.#answered = null;
    this.#socket.destroy();
  }

  #read(text: string): void {
    this.#text += text;
    const bodyAt = this.#text.indexOf('\r\n\r\n') + 4;
    const length = Number(/^content-length: (\d+)/im.exec(this.#text)?.[1] ?? Number.NaN);
    if (bodyAt < 4 || this.#text.length < bodyAt + length) return;
    const isSuccess = this.#text.startsWith('HTTP/1.1 200 ') && this.#text.includes('"code":0');
    if (isSuccess) this.#answered?.resolve();
    else this.#answered?.reject(new Error(`refused: ${this.#text.slice(0, 500)}`));
    this.#text = '';
  }
}

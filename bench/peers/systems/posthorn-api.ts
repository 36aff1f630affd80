/** What the benchmark asks of Posthorn over HTTP to set it up, and to see that it is ready. */
import { Agent, request } from 'node:http';
import { EVENT_TYPE, type Fleet } from '../system.ts';

/** Set-up calls under way at once. */
const PARALLEL_CALLS = 25;

interface Answer {
  status: number;
  text: string;
}

/** A client of one Posthorn, by its operator key. */
export class PosthornApi {
  readonly #port: number;
  readonly #key: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: PARALLEL_CALLS });

  constructor(port: number, key: string) {
    this.#port = port;
    this.#key = key;
  }

  async isReady(): Promise<boolean> {
    return this.call('GET', '/readyz').then(
      ({ status }) => status === 200,
      () => false,
    );
  }

  /** Makes the accounts and endpoints, and writes the secrets that they got into the fleet. */
  async createFleet(fleet: Fleet): Promise<void> {
    const waiting = fleet.accounts.values();
    const work = async (): Promise<void> => {
      for (const { username, endpoints } of waiting) {
        await this.must('POST', '/v2/account', { username });
        for (const endpoint of endpoints) {
          const body = { url: endpoint.url, events: [EVENT_TYPE] };
          const { data } = await this.must('POST', '/v2/endpoint', body, { 'x-account': username });
          endpoint.secret = (data as { secret: string }).secret;
        }
      }
    };
    await Promise.all(Array.from({ length: PARALLEL_CALLS }, work));
  }

  /** @throws Error for any answer but HTTP 200 */
  async must(
    method: string,
    path: string,
    body?: object,
    headers: Record<string, string> = {},
  ): Promise<{ data: unknown }> {
    const { status, text } = await this.call(method, path, body, headers);
    if (status !== 200) throw new Error(`${method} ${path}: HTTP ${status} ${text.slice(0, 300)}`);
    return JSON.parse(text) as { data: unknown };
  }

  call(method: string, path: string, body?: object, headers: Record<string, string> = {}): Promise<Answer> {
    const json = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const content =
      json === undefined ? {} : { 'content-type': 'application/json', 'content-length': json.length };
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const outgoing = request(
      {
        host: '127.0.0.1',
        port: this.#port,
        method,
        path,
        agent: this.#agent,
        headers: { 'x-api-key': this.#key, ...content, ...headers },
      },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('end', () =>
          resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
        );
        answer.on('error', reject);
      },
    );
    outgoing.on('error', reject);
    outgoing.end(json);
    return promise;
  }

  close(): void {
    this.#agent.destroy();
  }
}

/**
 * The dashboard's page: the files that the build has laid into one folder, from memory, and `index.html` for every address
 * of the page's own. A request's path is only ever looked up among the names of these files: none reaches the file system.
 */
import { hash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

import { PosthornError } from '../errors.ts';
import { mountedUnder } from './embed.ts';

/**
 * Everything comes from this server, scripts and styles from files alone. `connect-src` lets the page call the API; no form
 * is ever sent without a script.
 */
export const PAGE_CSP = [
  "default-src 'none'",
  "base-uri 'none'",
  "connect-src 'self'",
  "font-src 'self'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "img-src 'self'",
  "script-src 'self'",
  "style-src 'self'",
].join('; ');

/** Where the build puts what has a hash in its name: the same name is always the same content. */
const ASSETS = 'assets';
const FOR_EVER = 'public, max-age=31536000, immutable';
/** Ask each time; the etag makes the answer short. */
const ASK_AGAIN = 'no-cache';

const CONTENT_TYPES: Record<string, string> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

/** How a file lies there beside itself, made by the build, in order of preference. */
const ENCODINGS = [
  { name: 'br', suffix: '.br' },
  { name: 'gzip', suffix: '.gz' },
] as const;
type Encoding = (typeof ENCODINGS)[number]['name'] | 'identity';

/** Paths that are the API's or a machine's, never the page's. */
const NOT_THE_PAGE =
  /^\/(?:open|v1|v2|dashboard|docs|healthz|readyz|metrics|openapi\.json|assets|test-receiver)(?:\/|$)/;

/** The build's addresses, which a page at `/deliveries/…` would look for beside itself. */
const RELATIVE = /(?<=(?:href|src)=")\.\//g;
const HEAD = '<head>';
const MAX_PREFIXES = 20;

interface PageFile {
  type: string;
  etag: string;
  cacheControl: string;
  bodies: Partial<Record<Encoding, Buffer>>;
}

/** The files of a built page, read when they are first asked for. */
class PageFiles {
  readonly #folder: string;
  readonly #names: ReadonlySet<string>;
  readonly #read = new Map<string, PageFile>();

  constructor(folder: string) {
    this.#folder = folder;
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    this.#names = new Set(names.map((name) => name.replaceAll('\\', '/')));
  }

  /** Null when there is no such file, or none of a kind that a page has. */
  file(name: string): PageFile | null {
    const known = this.#read.get(name);
    if (known !== undefined) return known;
    const type = CONTENT_TYPES[extname(name)];
    if (type === undefined || !this.#names.has(name)) return null;
    const identity = readFileSync(join(this.#folder, name));
    const bodies: PageFile['bodies'] = { identity };
    for (const { name: encoding, suffix } of ENCODINGS) {
      if (this.#names.has(name + suffix)) bodies[encoding] = readFileSync(join(this.#folder, name + suffix));
    }
    const file = {
      type,
      etag: hash('sha256', identity, 'base64url').slice(0, 22),
      cacheControl: name.startsWith(`${ASSETS}/`) ? FOR_EVER : ASK_AGAIN,
      bodies,
    };
    this.#read.set(name, file);
    return file;
  }
}

/** `index.html` as it stands under a prefix: its addresses begin with the prefix, and it tells the page's code of it. */
function indexUnder(prefix: string, index: PageFile): PageFile {
  const base = prefix.replace(/["&<>]/g, (character) => `&#${character.charCodeAt(0)};`);
  const text = (index.bodies.identity as Buffer)
    .toString('utf8')
    .replace(RELATIVE, () => `${base}/`)
    .replace(HEAD, () => `${HEAD}\n    <meta name="posthorn-base" content="${base}" />`);
  const identity = Buffer.from(text, 'utf8');
  return { ...index, etag: hash('sha256', identity, 'base64url').slice(0, 22), bodies: { identity } };
}

/** Whether a header such as `br;q=1.0, gzip` takes an encoding. */
function takes(header: string | undefined, encoding: string): boolean {
  return (header ?? '').split(',').some((part) => {
    const [name, ...parameters] = part.split(';').map((text) => text.trim().toLowerCase());
    return name === encoding && !parameters.some((parameter) => /^q=0(?:\.0*)?$/.test(parameter));
  });
}

function send(request: FastifyRequest, reply: FastifyReply, file: PageFile): FastifyReply {
  const accepted = request.headers['accept-encoding'];
  const encoding: Encoding =
    ENCODINGS.find(({ name }) => file.bodies[name] !== undefined && takes(accepted, name))?.name ??
    'identity';
  const etag = `"${file.etag}${encoding === 'identity' ? '' : `-${encoding}`}"`;
  reply.headers({
    'content-security-policy': PAGE_CSP,
    'x-frame-options': 'DENY',
    'cache-control': file.cacheControl,
    vary: 'accept-encoding',
    etag,
  });
  if (request.headers['if-none-match'] === etag) return reply.code(304).send();
  if (encoding !== 'identity') reply.header('content-encoding', encoding);
  return reply.type(file.type).send(file.bodies[encoding] as Buffer);
}

export interface Page {
  /**
   * Answers a request of a browser for an address that only the page knows, such as `/deliveries/dlv_…`; false when it
   * isn't one.
   */
  answers(request: FastifyRequest, reply: FastifyReply): boolean;
}

/**
 * Mounts `/`, the page's files, and nothing else: whoever has no route asks {@link Page.answers}.
 *
 * @param folder - the build's; when it isn't there `/` says how to make it
 */
export function mountPage(app: FastifyInstance, folder: string): Page {
  let files: PageFiles | null = null;
  const indexes = new Map<string, PageFile>();

  function filesOf(): PageFiles {
    if (files === null) {
      if (!existsSync(join(folder, 'index.html'))) {
        throw new PosthornError(
          'not_found',
          "the dashboard's page isn't built: run `npm run build` in the checkout, or install the package posthorn, which holds it; the API works without it",
        );
      }
      files = new PageFiles(folder);
    }
    return files;
  }

  function sendIndex(request: FastifyRequest, reply: FastifyReply): FastifyReply {
    const prefix = mountedUnder(request.raw);
    let index = indexes.get(prefix);
    if (index === undefined) {
      index = indexUnder(prefix, filesOf().file('index.html') as PageFile);
      // Where a host's router takes a pattern away, callers choose it.
      if (indexes.size >= MAX_PREFIXES) indexes.clear();
      indexes.set(prefix, index);
    }
    return send(request, reply, index);
  }

  const method = ['GET', 'HEAD'];
  app.route({
    method,
    url: '/',
    handler: async (request, reply) => sendIndex(request, reply),
  });
  for (const name of ['favicon.svg', 'theme.js']) {
    app.route({
      method,
      url: `/${name}`,
      handler: async (request, reply) => send(request, reply, filesOf().file(name) as PageFile),
    });
  }
  app.route<{ Params: { name: string } }>({
    method,
    url: `/${ASSETS}/:name`,
    async handler(request, reply) {
      const file = filesOf().file(`${ASSETS}/${request.params.name}`);
      if (file !== null) return send(request, reply, file);
      throw new PosthornError(
        'not_found',
        'no such file of the page: another version of it was installed since; load the page again',
      );
    },
  });

  return {
    answers(request, reply) {
      const isRead = request.method === 'GET' || request.method === 'HEAD';
      const wantsPage = (request.headers.accept ?? '').includes('text/html');
      if (!isRead || !wantsPage || NOT_THE_PAGE.test(request.url.split('?', 1)[0] as string)) return false;
      sendIndex(request, reply);
      return true;
    },
  };
}

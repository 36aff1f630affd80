/**
 * `/docs`: the OpenAPI document rendered by Swagger UI, whose files are local. They and what serves them are loaded when
 * the page is first asked for: a start would take a seventh longer with them.
 */
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';

import { mountedUnder } from './embed.ts';

/**
 * Swagger UI sets styles on elements and carries its icons as data: URLs; scripts come from this server alone.
 */
const DOCS_CSP = [
  "default-src 'none'",
  "base-uri 'none'",
  "connect-src 'self'",
  "font-src 'self' data:",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "img-src 'self' data:",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
].join('; ');

/** Without it a phone lays the page out for a desktop and shows it at a third of its size. */
const VIEWPORT = '<meta name="viewport" content="width=device-width, initial-scale=1">';

/** Swagger UI has dark colours, but only its own top bar, which isn't shown here, turns them on. */
const FOLLOW_COLOUR_SCHEME = `const dark = window.matchMedia('(prefers-color-scheme: dark)');
function follow() {
  document.documentElement.classList.toggle('dark-mode', dark.matches);
}
dark.addEventListener('change', follow);
follow();
`;

const STYLE = `@media (prefers-color-scheme: dark) {
  body { background: #1c2022; }
}
.swagger-ui .info { margin: 24px 0; }
.swagger-ui .info hgroup > a { display: none; }
.swagger-ui .scheme-container { padding: 16px 0; }
.swagger-ui .response-col_links { display: none; }
.swagger-ui table.headers td, .swagger-ui table.headers th { color: inherit; }
.swagger-ui .webhooks .parameters-col_description input { display: none; }
@media (max-width: 600px) {
  .swagger-ui .wrapper { padding: 0 10px; }
  .swagger-ui .info .title { font-size: 28px; overflow-wrap: anywhere; }
  .swagger-ui .info p, .swagger-ui .info li { overflow-wrap: anywhere; }
  .swagger-ui .opblock .opblock-summary-method { min-width: 62px; padding: 6px 0; font-size: 12px; }
  .swagger-ui .opblock .opblock-summary-path { max-width: none; }
  .swagger-ui .opblock-tag { display: grid; grid-template-columns: 1fr auto; font-size: 20px; }
  .swagger-ui .opblock-tag small { grid-area: 2 / 1 / 3 / 3; padding: 2px 0; }
  .swagger-ui .opblock-summary-path-description-wrapper { min-width: 0; }
}
`;

const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#c8860d"/><g fill="none" stroke="#fff" stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round"><circle cx="14" cy="17" r="5.5"/><path d="M5 22.5h13l8 4v-10l-4 2"/></g></svg>`;

interface Described {
  tags: { name: string }[];
  paths: Record<string, Record<string, { tags: string[] }>>;
}

/**
 * The document as the page shows it: it lists webhooks apart and doesn't group them, so that their categories would
 * stand there as groups with nothing in them.
 */
function forReading(document: Described, prefix: string): Record<string, unknown> {
  const inPaths = new Set(
    Object.values(document.paths).flatMap((path) => Object.values(path).flatMap(({ tags }) => tags)),
  );
  return {
    ...document,
    tags: document.tags.filter(({ name }) => inPaths.has(name)),
    ...(prefix !== '' && { servers: [{ url: prefix }] }),
    externalDocs: {
      url: `${prefix}/openapi.json`,
      description: 'OpenAPI 3.1 document, for generators of clients',
    },
  };
}

/** What of a request matters for a file. */
const PASSED_ON = ['accept', 'accept-encoding', 'if-modified-since', 'if-none-match', 'range'] as const;
/** What of an answer belongs to its connection. */
const NOT_PASSED_BACK = ['connection', 'date', 'keep-alive', 'transfer-encoding'];
/** Tells the pages under which prefix the host serves them; no client can send it. */
const PREFIX_HEADER = 'x-prefix';

function prefixOf({ headers }: FastifyRequest): string {
  return String(headers[PREFIX_HEADER] ?? '');
}

/** @param document makes the document as it is now. */
export function mountDocs(app: FastifyInstance, document: () => object): void {
  let loading: Promise<FastifyInstance> | null = null;
  const answer = async (request: FastifyRequest, reply: FastifyReply) => {
    loading ??= loadPages(document);
    const pages = await loading.catch((error: unknown) => {
      loading = null;
      throw error;
    });
    const { statusCode, headers, rawPayload } = await pages.inject({
      method: request.method as 'GET' | 'HEAD',
      url: request.url,
      headers: {
        ...Object.fromEntries(
          PASSED_ON.flatMap((name) => (name in request.headers ? [[name, request.headers[name]]] : [])),
        ),
        [PREFIX_HEADER]: mountedUnder(request.raw),
      },
    });
    if (statusCode === 404) return reply.callNotFound();
    for (const name of NOT_PASSED_BACK) delete headers[name];
    return reply.code(statusCode).headers(headers).send(rawPayload);
  };
  for (const url of ['/docs', '/docs/*']) app.route({ method: ['GET', 'HEAD'], url, handler: answer });
  app.addHook('onClose', async () => {
    await (await loading?.catch(() => null))?.close();
  });
}

async function loadPages(document: () => object): Promise<FastifyInstance> {
  const [{ default: swagger }, { default: swaggerUi }] = await Promise.all([
    import('@fastify/swagger'),
    import('@fastify/swagger-ui'),
  ]);
  const pages = fastify();
  pages.addHook('onSend', async (request, reply, payload) =>
    typeof payload === 'string' && String(reply.getHeader('content-type')).startsWith('text/html')
      ? payload
          .replace('</title>', `</title>\n      ${VIEWPORT}`)
          .replaceAll('="/docs/', `="${prefixOf(request)}/docs/`)
      : payload,
  );
  // Swagger UI demands this plugin; it is only asked for the document that it is given.
  await pages.register(swagger, {
    mode: 'static',
    specification: { document: { openapi: '3.1.1', info: { title: 'Posthorn', version: '' }, paths: {} } },
  });
  await pages.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: DOCS_CSP,
    transformSpecification: (_document, request) => forReading(document() as Described, prefixOf(request)),
    transformSpecificationClone: false,
    uiConfig: {
      // Without the top bar, which offers to open any other document and shows a foreign mark.
      layout: 'BaseLayout',
      docExpansion: 'list',
      deepLinking: true,
      persistAuthorization: false,
      tryItOutEnabled: false,
    },
    theme: {
      title: 'Posthorn API',
      css: [{ filename: 'posthorn.css', content: STYLE }],
      js: [{ filename: 'colour-scheme.js', content: FOLLOW_COLOUR_SCHEME }],
      favicon: [{ filename: 'icon.svg', rel: 'icon', type: 'image/svg+xml', sizes: 'any', content: ICON }],
    },
  });
  await pages.ready();
  return pages;
}

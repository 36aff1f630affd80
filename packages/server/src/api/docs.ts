/** `/docs`: the OpenAPI document rendered by Swagger UI, whose files are local. */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance } from 'fastify';

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

/** @param document makes the document as it is now. */
export async function mountDocs(app: FastifyInstance, document: () => object): Promise<void> {
  // Swagger UI demands this plugin; it is only asked for the document that it is given.
  await app.register(swagger, {
    mode: 'static',
    specification: { document: { openapi: '3.1.1', info: { title: 'Posthorn', version: '' }, paths: {} } },
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: DOCS_CSP,
    transformSpecification: () => document() as Record<string, unknown>,
    transformSpecificationClone: false,
    uiConfig: {
      docExpansion: 'list',
      deepLinking: true,
      persistAuthorization: false,
      tryItOutEnabled: false,
    },
    theme: { title: 'Posthorn API' },
  });
}

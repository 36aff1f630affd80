/** Links into the customers' portal, for the operator's product to hand out. */
import { Type } from './schema.ts';

import { idFactory, toSeconds } from '../clock.ts';
import { invalid } from '../errors.ts';
import type { ApiDeps } from './deps.ts';
import { type ApiRoute, pathParams, route } from './route.ts';
import { newToken } from './session-cookie.ts';
import { UnixSeconds } from './shapes.ts';

const DEFAULT_SECONDS = 900;

export function portalRoutes({ store, clock, settings }: ApiDeps): ApiRoute[] {
  const makeId = idFactory();
  return [
    route({
      method: 'POST',
      path: '/account/:username/portal_link',
      access: 'operator',
      operationId: 'createPortalLink',
      tag: 'Accounts',
      summary: 'Make a link into an account’s portal',
      description:
        'Whoever opens it is signed in to the dashboard as the account, without a key. It opens one session, and only until it expires; the session lasts 12 hours.',
      params: pathParams('username'),
      body: Type.Object(
        {
          expires_in_seconds: Type.Optional(
            Type.Integer({
              minimum: 60,
              maximum: 86_400,
              default: DEFAULT_SECONDS,
              description: 'How long it can be opened.',
              examples: [900],
            }),
          ),
        },
        { additionalProperties: false },
      ),
      bodyOptional: true,
      data: Type.Object(
        {
          url: Type.String({
            description:
              'For the customer’s browser. Its secret stands behind the `#`, which browsers send to no server.',
            examples: ['https://hooks.example.com/portal#kO0r3…'],
          }),
          expires_at: UnixSeconds('Until when it can be opened.'),
        },
        { title: 'PortalLink' },
      ),
      errors: ['not_found'],
      async handle({ params: { username }, body, by, baseUrl }) {
        const base = settings.publicUrl ?? baseUrl();
        if (base === null) {
          throw invalid(
            'host',
            'the host header names no address that a link could lead to: set POSTHORN_PUBLIC_URL to the address that customers have of this service',
          );
        }
        const now = clock.now();
        const { token, hash } = newToken();
        const { expiresAt } = await store.as(by).createPortalLink({
          linkId: makeId('plk', now),
          username,
          hash,
          expiresAt: now + (body.expires_in_seconds ?? DEFAULT_SECONDS) * 1000,
        });
        return { url: `${base}/portal#${token}`, expires_at: toSeconds(expiresAt) };
      },
    }),
  ];
}

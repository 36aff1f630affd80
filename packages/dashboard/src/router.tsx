/** The page's addresses. Filters, tabs and cursors are search parameters, so that a reload or a link leads to the same view. */
import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  retainSearchParams,
} from '@tanstack/react-router';

import { Shell } from './layout/shell.tsx';
import { NotFound, PageError, PageLoading } from './layout/states.tsx';
import { BASE } from './lib/base.ts';
import { parseSearch, stringifySearch, texts } from './lib/search.ts';

const root = createRootRoute({
  // An operator's account in view stays while they go from page to page.
  validateSearch: texts('account'),
  search: { middlewares: [retainSearchParams(['account'])] },
  notFoundComponent: NotFound,
});

const signIn = createRoute({
  getParentRoute: () => root,
  path: '/sign-in',
  validateSearch: texts('next'),
  component: lazyRouteComponent(() => import('./pages/sign-in.tsx')),
});

const portal = createRoute({
  getParentRoute: () => root,
  path: '/portal',
  component: lazyRouteComponent(() => import('./pages/portal.tsx')),
});

/** Everything that needs a session. */
const shell = createRoute({ getParentRoute: () => root, id: 'app', component: Shell });

const overview = createRoute({
  getParentRoute: () => shell,
  path: '/',
  validateSearch: texts('range'),
  component: lazyRouteComponent(() => import('./pages/overview/overview.tsx')),
});

const eventTypes = createRoute({
  getParentRoute: () => shell,
  path: '/event-types',
  validateSearch: texts('q', 'category', 'new'),
  component: lazyRouteComponent(() => import('./pages/event-types/list.tsx')),
});

const eventType = createRoute({
  getParentRoute: () => shell,
  path: '/event-types/$name',
  validateSearch: texts('tab'),
  component: lazyRouteComponent(() => import('./pages/event-types/detail.tsx')),
});

const endpoints = createRoute({
  getParentRoute: () => shell,
  path: '/endpoints',
  validateSearch: texts('q', 'status'),
  component: lazyRouteComponent(() => import('./pages/endpoints/list.tsx')),
});

const newEndpoint = createRoute({
  getParentRoute: () => shell,
  path: '/endpoints/new',
  validateSearch: texts('url', 'events'),
  component: lazyRouteComponent(() => import('./pages/endpoints/new.tsx')),
});

const endpoint = createRoute({
  getParentRoute: () => shell,
  path: '/endpoints/$endpointId',
  validateSearch: texts('tab'),
  component: lazyRouteComponent(() => import('./pages/endpoints/detail.tsx')),
});

const deliveries = createRoute({
  getParentRoute: () => shell,
  path: '/deliveries',
  validateSearch: texts('status', 'event', 'endpoint_id', 'event_id', 'since', 'until', 'cursor', 'live'),
  component: lazyRouteComponent(() => import('./pages/deliveries/list.tsx')),
});

const delivery = createRoute({
  getParentRoute: () => shell,
  path: '/deliveries/$deliveryId',
  component: lazyRouteComponent(() => import('./pages/deliveries/detail.tsx')),
});

const events = createRoute({
  getParentRoute: () => shell,
  path: '/events',
  validateSearch: texts('event', 'event_id', 'since', 'until', 'cursor'),
  component: lazyRouteComponent(() => import('./pages/events/list.tsx')),
});

const event = createRoute({
  getParentRoute: () => shell,
  path: '/events/$eventId',
  component: lazyRouteComponent(() => import('./pages/events/detail.tsx')),
});

const replays = createRoute({
  getParentRoute: () => shell,
  path: '/replays',
  validateSearch: texts('endpoint_id', 'status', 'since', 'until', 'replay_id'),
  component: lazyRouteComponent(() => import('./pages/replays/replays.tsx')),
});

const apiKeys = createRoute({
  getParentRoute: () => shell,
  path: '/api-keys',
  validateSearch: texts('show', 'new'),
  component: lazyRouteComponent(() => import('./pages/api-keys/api-keys.tsx')),
});

const firstRun = createRoute({
  getParentRoute: () => shell,
  path: '/first-run',
  component: lazyRouteComponent(() => import('./pages/first-run/first-run.tsx')),
});

const accounts = createRoute({
  getParentRoute: () => shell,
  path: '/accounts',
  validateSearch: texts('q', 'new', 'cursor'),
  component: lazyRouteComponent(() => import('./pages/accounts/list.tsx')),
});

const accountPage = createRoute({
  getParentRoute: () => shell,
  path: '/accounts/$username',
  component: lazyRouteComponent(() => import('./pages/accounts/detail.tsx')),
});

const audit = createRoute({
  getParentRoute: () => shell,
  path: '/audit',
  validateSearch: texts('action', 'target_type', 'target', 'key_id', 'since', 'until', 'cursor'),
  component: lazyRouteComponent(() => import('./pages/audit/audit.tsx')),
});

const system = createRoute({
  getParentRoute: () => shell,
  path: '/system',
  component: lazyRouteComponent(() => import('./pages/system/system.tsx')),
});

export const router = createRouter({
  routeTree: root.addChildren([
    signIn,
    portal,
    shell.addChildren([
      overview,
      eventTypes,
      eventType,
      endpoints,
      newEndpoint,
      endpoint,
      deliveries,
      delivery,
      events,
      event,
      replays,
      apiKeys,
      firstRun,
      accounts,
      accountPage,
      audit,
      system,
    ]),
  ]),
  basepath: BASE === '' ? '/' : BASE,
  parseSearch,
  stringifySearch,
  defaultPreload: 'intent',
  defaultPendingComponent: PageLoading,
  defaultPendingMs: 150,
  defaultErrorComponent: PageError,
  scrollRestoration: true,
});

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}

import type { Logger } from 'pino';

import type { Catalogue } from '../catalogue/index.ts';
import type { Clock } from '../clock.ts';
import type { EndpointPolicy } from '../delivery/address-guard.ts';
import type { AllowList } from '../delivery/allow-list.ts';
import type { KeyRotation } from '../key-rotation.ts';
import type { LiveEvents } from '../live-events.ts';
import type { Publisher } from '../publish.ts';
import type { Vault } from '../secrets.ts';
import type { Store } from '../store/store.ts';
import type { Tracing } from '../tracing.ts';

export interface ApiSettings {
  /** Which endpoint URLs may be saved. */
  endpointPolicy: EndpointPolicy;
  /** What may be saved beyond the policy. */
  allow: AllowList;
  /** Endpoints an account may have. */
  maxEndpoints: number;
  /** The largest sealed body of an event. */
  maxBodyBytes: number;
  /** The largest request. */
  maxRequestBytes: number;
  /** Of all request bodies that are received or worked on at once; default: 16 of the largest, 128 MiB at least. */
  maxBodiesBytes?: number;
  /** Resident memory of the process beyond which requests with a body are refused; null or absent: no limit. */
  maxMemoryBytes?: number | null;
  /** POST requests an account key may make a minute over all routes; null: no limit. */
  rateLimitPostPerMinute: number | null;
  /** Failed authentications a remote address may make a minute before it gets 429. Default 60. */
  failedAuthPerMinute?: number;
  /** Which proxies' `x-forwarded-for` is believed: a number of hops, or addresses and ranges. Default: none. */
  trustProxy?: false | number | string[];
  /** The address that customers have of this service, without a slash at its end; null: as each request has it. */
  publicUrl: string | null;
}

/** One answered request, for metrics. */
export interface RequestOutcome {
  method: string;
  /** The route's pattern, never the path itself; `none` for an unknown one. */
  route: string;
  httpStatus: number;
  durationMs: number;
}

/** Everything the HTTP API stands on. Plain values and contracts: the API never sees the configuration. */
export interface ApiDeps {
  store: Store;
  publisher: Publisher;
  catalogue: Catalogue;
  vault: Vault;
  keyRotation: Pick<KeyRotation, 'status' | 'rotate'>;
  delivery: {
    /** Something became due. */
    wake(): void;
    /** From the call's return on, no attempt starts with what the endpoint was before. */
    endpointChanged(endpointId: string): void;
  };
  /** Who listens to events as they are accepted. */
  live: LiveEvents;
  tracing: Tracing;
  clock: Clock;
  logger: Logger;
  /** The product's version, shown by `/openapi.json`. */
  version: string;
  /** Told by `/readyz`. */
  role: 'all' | 'api' | 'worker';
  /** SHA-256 (hex) of an operator key from the configuration, valid without a row in the store. */
  operatorKeyHash: string | null;
  settings: ApiSettings;
  /** `health`: only `/healthz`, `/readyz` and `/metrics`, of a process that delivers and has no API. Default `all`. */
  surface?: 'all' | 'health';
  /** Where the build of the dashboard's page lies, served at `/`; without it there is no page. */
  pageFolder?: string;
  /** What `/metrics` answers; without it the route doesn't exist. */
  metrics?: { contentType: string; render(): Promise<string> };
  /** Further conditions of `/readyz`; a rejection's message is what it says. */
  ready?: () => Promise<void>;
  /** Called once for each answered request. */
  onRequestDone?: (outcome: RequestOutcome) => void;
}

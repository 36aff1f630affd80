import { randomBytes } from 'node:crypto';
import { idFactory, type IdPrefix } from '../../clock.ts';
import type { Store } from '../store.ts';
import { accountOperations } from './accounts.ts';
import { type AuditedCall, auditedCall, auditOperations } from './audit.ts';
import { type FailingEndpoints, rememberFailing } from './circuits.ts';
import type { Database } from './database.ts';
import { deliveryOperations } from './deliveries.ts';
import { encryptionKeyOperations } from './encryption-keys.ts';
import { endpointHealthOperations } from './endpoint-health.ts';
import { endpointOperations } from './endpoints.ts';
import { eventTypeOperations } from './event-types.ts';
import { eventOperations } from './events.ts';
import { keyOperations } from './keys.ts';
import { metaOperations } from './meta.ts';
import { operatorKeyOperations } from './operator-key.ts';
import { overviewOperations } from './overview.ts';
import { publishOperations } from './publish.ts';
import { purgeOperations } from './purge.ts';
import { queueOperations } from './queue.ts';
import { rateWindowOperations } from './rate-windows.ts';
import { type ReplayCreation, replayOperations } from './replays.ts';
import { sessionOperations } from './sessions.ts';
import { stateOperations } from './state.ts';
import { statsOperations } from './stats.ts';
import { rememberSubscribers, type Subscribers } from './subscribers.ts';

/** The contract's operations as they run inside the store's thread: at once, within an open transaction. */
export type SyncStore = {
  [Name in Exclude<keyof Store, 'as' | 'close' | 'isSoleDeliverer' | 'ping'>]: (
    ...args: Parameters<Store[Name]>
  ) => Awaited<ReturnType<Store[Name]>>;
};

export type OperationName = keyof SyncStore;

/** What every file of SQL gets. */
export interface EngineContext {
  db: Database;
  /** The store's clock, read when the caller made the call; the same within one operation. */
  now(): number;
  nextId(prefix: IdPrefix): string;
  /** A lease's token: fresh, and unguessable, so that no late worker holds a valid one by accident. */
  nextToken(): string;
  subscribers: Subscribers;
  failing: FailingEndpoints;
}

/**
 * Binds the operations to a connection. They assume an open transaction around each call: `thread.ts` gives many
 * calls one commit.
 */
export function createEngine(
  db: Database,
  clock: { now(): number },
): SyncStore & ReplayCreation & { audited: AuditedCall; forget(): void } {
  const makeId = idFactory();
  let tokens = Buffer.alloc(0);
  let used = 0;
  const context: EngineContext = {
    db,
    now: clock.now,
    subscribers: rememberSubscribers(db),
    failing: rememberFailing(db),
    nextId: (prefix) => makeId(prefix, clock.now()),
    nextToken() {
      if (used === tokens.length) {
        tokens = randomBytes(16 * 256);
        used = 0;
      }
      used += 16;
      return tokens.toString('base64url', used - 16, used);
    },
  };
  const operations = {
    ...metaOperations(context),
    ...accountOperations(context),
    ...keyOperations(context),
    ...operatorKeyOperations(context),
    ...sessionOperations(context),
    ...rateWindowOperations(context),
    // Nobody else can have the file open.
    takeChanges: () => ({ catalogue: false, endpointIds: [] }),
    ...eventTypeOperations(context),
    ...endpointOperations(context),
    ...endpointHealthOperations(context),
    ...publishOperations(context),
    ...queueOperations(context),
    ...replayOperations(context),
    ...deliveryOperations(context),
    ...eventOperations(context),
    ...statsOperations(context),
    ...stateOperations(context),
    ...overviewOperations(context),
    ...purgeOperations(context),
    ...encryptionKeyOperations(context),
    ...auditOperations(context),
  };
  return {
    ...operations,
    audited: auditedCall(context, operations),
    /** What was read is read anew: it may have been changed, or a change of it undone. */
    forget() {
      context.subscribers.forget();
      context.failing.forget();
    },
  };
}

import type { MessagePort } from 'node:worker_threads';

/** `writer` commits, `reader` answers lists, `copier` keeps the writer's log short. */
export type ThreadRole = 'writer' | 'reader' | 'copier';

/** What a thread of the store is started with. */
export interface ThreadData {
  path: string;
  role: ThreadRole;
  /** To whoever calls. */
  port: MessagePort;
  /** Between writer and copier; null for a reader. */
  copies: MessagePort | null;
}

import { isDeepStrictEqual } from 'node:util';
import { readJson } from '../json-read.ts';
import type { SealedEvent } from '../model.ts';

/** What a store keeps of an event to know a repeat of it. */
export interface StoredEvent {
  event: string;
  /** Unix seconds. */
  timestamp: number;
  fingerprint: string | null;
  body: string;
}

/**
 * Whether an event says the same as the one that has its id already: then it is a duplicate, else a conflict.
 *
 * @param existing - the stored event with the same account and id
 */
export function isRepeat(event: SealedEvent, existing: StoredEvent): boolean {
  if (event.event !== existing.event) return false;
  if (event.timestampGiven && event.timestamp !== existing.timestamp) return false;
  if (existing.fingerprint !== null) return existing.fingerprint === event.fingerprint;
  // Published without an id the first time, repeated with the one that was made: compare what was said.
  const data = (body: string) => (readJson(body) as { data: unknown }).data;
  return isDeepStrictEqual(data(event.body), data(existing.body));
}

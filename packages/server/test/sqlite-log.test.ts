/** SQLite's write-ahead log under writers that never pause. */
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { SealedEvent } from '../src/model.ts';
import { openSqliteStore } from '../src/store/sqlite/index.ts';
import { tempDir } from './support/tempdir.ts';

const MIB = 1024 * 1024;
const EVENT_BYTES = 250_000;

describe("SQLite's log", () => {
  it('begins anew again and again while commits follow each other without a pause', async (t) => {
    const folder = await tempDir();
    t.after(() => folder.remove());
    const path = join(folder.path, 'posthorn.db');
    const store = await openSqliteStore({ path });
    t.after(() => store.close());
    await store.createAccount({ username: 'alice', metadata: null });
    let written = 0;
    let longest = 0;
    let number = 0;
    const writer = async (): Promise<void> => {
      // Six times what the log may hold before it begins anew.
      while (written < 200 * MIB) {
        written += EVENT_BYTES;
        number += 1;
        await store.publish([eventOf(number)], null);
        longest = Math.max(longest, statSync(`${path}-wal`).size);
      }
    };
    await Promise.all([writer(), writer(), writer()]);
    assert.ok(longest > 30 * MIB, 'it grew to where it begins anew');
    assert.ok(longest < 100 * MIB, `the log grew to ${longest} bytes of ${written} that were written`);
    const { items } = await store.listEvents('alice', {}, { limit: 1, cursor: null });
    assert.equal(items.length, 1);
  });
});

function eventOf(number: number): SealedEvent {
  return {
    username: 'alice',
    eventId: `evt_${number}`,
    event: 'log.grows',
    timestamp: 1_767_225_600,
    body: JSON.stringify({ text: 'x'.repeat(EVENT_BYTES) }),
    fingerprint: null,
    timestampGiven: false,
  };
}

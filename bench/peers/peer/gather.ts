import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Makes one write of many: what is asked for within `lingerMs`, or while a write is under way, goes into one write
 * together. Each promise settles with the write that carried its item.
 *
 * @example
 * const record = gather((rows: Row[]) => insert(rows), { mostAWrite: 500, lingerMs: 5 });
 * await record(row);
 */
export function gather<T>(
  write: (items: T[]) => Promise<void>,
  { mostAWrite, lingerMs }: { mostAWrite: number; lingerMs: number },
): (item: T) => Promise<void> {
  let waiting: { item: T; resolve: () => void; reject: (reason: unknown) => void }[] = [];
  let isWriting = false;

  async function writeAll(): Promise<void> {
    isWriting = true;
    while (waiting.length > 0) {
      await sleep(lingerMs);
      const batch = waiting.slice(0, mostAWrite);
      waiting = waiting.slice(mostAWrite);
      try {
        await write(batch.map(({ item }) => item));
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    isWriting = false;
  }

  return (item) =>
    new Promise<void>((resolve, reject) => {
      waiting.push({ item, resolve, reject });
      if (!isWriting) void writeAll();
    });
}

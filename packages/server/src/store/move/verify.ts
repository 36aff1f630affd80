import { setImmediate as nextTurn } from 'node:timers/promises';
import { partOf, RowSum, type Value } from './row-sum.ts';
import { rowName, type Source } from './source.ts';
import type { MovedTable } from './tables.ts';
import type { Target } from './target.ts';

/** A table as both sides have it. */
export interface TableCheck {
  table: string;
  sourceRows: number;
  targetRows: number;
  /** See {@link RowSum}. */
  sourceChecksum: string;
  targetChecksum: string;
  same: boolean;
  /** Some of the rows that differ, as sentences; empty when the sides are the same. */
  differences: string[];
}

/** More would not tell more. */
const MAX_DIFFERENCES = 5;
/** Parts of the table whose rows are kept to find the ones that differ. */
const MAX_PARTS = 4;
const READ_AT_ONCE = { rows: 2_000, chars: 4 * 1024 * 1024 };

/**
 * Reads a table on both sides and compares it row by row, by checksums: the order doesn't matter, nothing is kept in
 * memory.
 *
 * @param onRead - hears how many of the source's rows have been read so far
 */
export async function verifyTable(
  source: Source,
  target: Target,
  table: MovedTable,
  onRead: (rows: number) => void,
): Promise<TableCheck> {
  const add = (sum: RowSum, row: Value[]) => sum.add(rowName(table, row), JSON.stringify(row));
  const [here, there] = await readBoth(source, target, table, () => new RowSum(), add, onRead);
  const same = here.equals(there);
  return {
    table: table.name,
    sourceRows: here.rows,
    targetRows: there.rows,
    sourceChecksum: here.checksum,
    targetChecksum: there.checksum,
    same,
    differences: same ? [] : await findDifferences(source, target, table, here.differingParts(there)),
  };
}

/** Both at once: while one side waits, the other is added up. */
async function readBoth<T>(
  source: Source,
  target: Target,
  table: MovedTable,
  make: () => T,
  take: (into: T, row: Value[]) => void,
  onRead: (rows: number) => void = () => {},
): Promise<[source: T, target: T]> {
  async function readSource(): Promise<T> {
    const into = make();
    let rows = 0;
    for (let batch = source.read(table, null, READ_AT_ONCE); batch !== null; ) {
      for (const row of batch.rows) take(into, row);
      rows += batch.rows.length;
      onRead(rows);
      await nextTurn();
      batch = source.read(table, batch.after, READ_AT_ONCE);
    }
    return into;
  }
  return Promise.all([readSource(), target.scan(table, make, take)]);
}

async function findDifferences(
  source: Source,
  target: Target,
  table: MovedTable,
  differing: ReadonlySet<number>,
): Promise<string[]> {
  const parts = new Set([...differing].slice(0, MAX_PARTS));
  const keep = (rows: Map<string, Value[][]>, row: Value[]) => {
    const name = rowName(table, row);
    if (!parts.has(partOf(name))) return;
    const alike = rows.get(name);
    if (alike === undefined) rows.set(name, [row]);
    else alike.push(row);
  };
  const [here, there] = await readBoth(source, target, table, () => new Map<string, Value[][]>(), keep);
  const differences: string[] = [];
  for (const name of new Set([...here.keys(), ...there.keys()])) {
    const difference = differenceOf(table, here.get(name) ?? [], there.get(name) ?? []);
    if (difference === null) continue;
    differences.push(`${table.name} ${name}: ${difference}`);
    if (differences.length === MAX_DIFFERENCES) break;
  }
  return differences;
}

/** What tells the rows of one name apart, null when nothing does. Values may be secrets: only columns are named. */
function differenceOf(table: MovedTable, here: readonly Value[][], there: readonly Value[][]): string | null {
  if (here.length > 0 && there.length === 0) return 'missing in the target';
  if (here.length === 0) return 'only in the target';
  if (here.length !== there.length)
    return `${here.length} times in the source, ${there.length} times in the target`;
  const texts = (rows: readonly Value[][]) => rows.map((row) => JSON.stringify(row)).sort();
  const theirs = texts(there);
  const first = texts(here).findIndex((text, i) => text !== theirs[i]);
  if (first === -1) return null;
  const columns = table.columns.filter((_, i) => here.every((row, n) => row[i] !== there[n]?.[i]));
  return `other ${columns.length === 0 ? 'values' : columns.map(({ name }) => name).join(', ')}`;
}

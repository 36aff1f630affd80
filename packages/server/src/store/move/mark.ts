import { PosthornError } from '../../errors.ts';
import type { Sql } from '../postgres/engine.ts';
import type { Value } from './row-sum.ts';

/** The name under which a move keeps its mark in the target's table `meta`. */
export const MARK = 'move';

/** How far a move has come. Written with each batch, in its transaction. */
export interface MoveMark {
  /** Which database is moved: see {@link ./source.ts}. */
  source: string;
  /** What was in it when the move began. */
  contents: string;
  /** Where the file lay, for people. */
  from: string;
  /** Unix ms by the target's clock. */
  begunAt: number;
  /** The table that is being copied; null when all are. */
  table: string | null;
  /** The key of the last row that was copied of it; null before the first. */
  after: Value[] | null;
  /** Copied so far, of all tables. */
  rows: number;
  /** When both sides were found equal, unix ms; null before. */
  finishedAt: number | null;
}

/** The mark as it stands, null without one. */
export async function readMark(sql: Sql): Promise<MoveMark | null> {
  const [row] = await sql.query<{ value: string }>('SELECT value FROM posthorn.meta WHERE name = $1', [MARK]);
  return row === undefined ? null : (JSON.parse(row.value) as MoveMark);
}

/**
 * What a service asks before it works on a database.
 *
 * @throws PosthornError `unavailable` while a move to the database isn't finished: what is still missing would be taken
 *   for never published, and what was copied would be changed before it is compared
 */
export async function refuseUnfinishedMove(sql: Sql): Promise<void> {
  const mark = await readMark(sql);
  if (mark === null || mark.finishedAt !== null) return;
  throw new PosthornError(
    'unavailable',
    `the database holds an unfinished move from sqlite:${mark.from}, begun ${new Date(mark.begunAt).toISOString()}: run ` +
      'posthorn migrate --from … --to … again, it goes on where it stopped',
  );
}

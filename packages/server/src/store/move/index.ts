/**
 * Moves a service's data from an SQLite file to an empty PostgreSQL database: everything, so that a service that is
 * started on the other side goes on where the one here stopped.
 *
 * The source is only read. Each batch and the mark that says how far the move has come are one transaction, so a move
 * that is killed at any moment goes on from there when it is started again. Until both sides were compared and found
 * equal the mark keeps services off the target.
 */
import { PosthornError } from '../../errors.ts';
import { systemClock } from '../../clock.ts';
import type { MoveMark } from './mark.ts';
import { type BatchLimits, Source, type Survey } from './source.ts';
import { MOVED_TABLES, type MovedTable } from './tables.ts';
import { Target } from './target.ts';
import { type TableCheck, verifyTable } from './verify.ts';

export type { TableCheck } from './verify.ts';

export interface MoveProgress {
  phase: 'copy' | 'verify';
  table: string;
  /** Rows of the table that are done, and that the source has. */
  done: number;
  total: number;
  /** True once for each table. */
  isTableDone: boolean;
}

export interface MoveOptions {
  /** The path of the SQLite file. */
  from: string;
  /** The `postgres://…` URL of a database. */
  to: string;
  /** Compares both sides of a finished move and changes nothing. */
  verifyOnly?: boolean;
  /** Called after each batch; what it throws ends the move. */
  onProgress?: (progress: MoveProgress) => void;
  /** Of a batch; default 2,000 rows or 4 Mi characters. */
  limits?: BatchLimits;
}

export interface MoveReport {
  /**
   * `moved`: copied and found equal. `differs`: the sides were compared and are not the same; after a copy the move
   * stays unfinished. `verified`: only compared, and equal. `already_moved`: an earlier run has finished it, nothing was
   * done.
   */
  outcome: 'moved' | 'differs' | 'verified' | 'already_moved';
  /** Unix ms. */
  begunAt: number;
  finishedAt: number | null;
  /** Rows that an earlier run had copied. */
  resumedRows: number;
  /** Rows that this run copied, and how long it took. */
  copiedRows: number;
  copyMs: number;
  verifyMs: number;
  /** Empty when nothing was compared. */
  tables: TableCheck[];
}

const DEFAULT_LIMITS: BatchLimits = { rows: 2_000, chars: 4 * 1024 * 1024 };

/**
 * Moves, or goes on with a move that was interrupted.
 *
 * @example
 * const { outcome, tables } = await moveToPostgres({
 *   from: './posthorn-data/posthorn.db',
 *   to: 'postgres://posthorn:secret@db.example/posthorn',
 * });
 * @throws PosthornError `unavailable` when either side can't be used or has another schema than this version,
 *   `conflict` when the target holds anything but a move of this source, or the source has changed since the move began
 */
export async function moveToPostgres(options: MoveOptions): Promise<MoveReport> {
  const source = Source.open(options.from);
  try {
    const target = new Target(options.to);
    try {
      return await move(source, target, options);
    } finally {
      await target.close();
    }
  } finally {
    source.close();
  }
}

async function move(source: Source, target: Target, options: MoveOptions): Promise<MoveReport> {
  const { verifyOnly = false, onProgress = () => {}, limits = DEFAULT_LIMITS } = options;
  if (verifyOnly) await target.checkSchema();
  else await target.migrate();
  const survey = source.survey();
  const found = await target.readMark();
  if (found !== null) checkMark(found, source, target, survey);
  const report: MoveReport = {
    outcome: 'already_moved',
    begunAt: found?.begunAt ?? 0,
    finishedAt: found?.finishedAt ?? null,
    resumedRows: found?.rows ?? 0,
    copiedRows: 0,
    copyMs: 0,
    verifyMs: 0,
    tables: [],
  };

  if (verifyOnly) {
    if (found === null || found.finishedAt === null) {
      throw new PosthornError(
        'conflict',
        `${target.server} holds no finished move of ${source.path}: run the same without --verify-only first`,
      );
    }
    await verify(source, target, survey, report, onProgress);
    return { ...report, outcome: report.tables.every(({ same }) => same) ? 'verified' : 'differs' };
  }
  if (found !== null && found.finishedAt !== null) return report;

  const begun =
    found ??
    (await target.begin({ source: source.identity, contents: survey.contents, from: source.path }, survey));
  report.begunAt = begun.begunAt;
  const startedAt = systemClock.monotonic();
  const copied = await copy(source, target, begun, survey, limits, onProgress);
  report.copiedRows = copied.rows - begun.rows;
  report.copyMs = systemClock.monotonic() - startedAt;
  await target.analyze();

  await verify(source, target, survey, report, onProgress);
  if (!report.tables.every(({ same }) => same)) return { ...report, outcome: 'differs' };
  const { finishedAt } = await target.finish(copied);
  return { ...report, outcome: 'moved', finishedAt };
}

function checkMark(mark: MoveMark, source: Source, target: Target, { contents }: Survey): void {
  const began = `${mark.finishedAt === null ? 'an unfinished' : 'a finished'} move, begun ${new Date(mark.begunAt).toISOString()}`;
  if (mark.source !== source.identity) {
    throw new PosthornError(
      'conflict',
      `${target.server} holds ${began}, of another database (${mark.from}): give an empty database to move to`,
    );
  }
  if (mark.contents === contents) return;
  const loss = mark.finishedAt === null ? '' : '; what a service has done on the target since would be lost';
  throw new PosthornError(
    'conflict',
    `${source.path} has changed since it was moved: ${target.server} holds ${began}. To move what is in the file now, ` +
      `empty the target with DROP SCHEMA posthorn CASCADE and run this again${loss}`,
  );
}

/** Copies what the mark says is missing; answers the mark at the end. */
async function copy(
  source: Source,
  target: Target,
  begun: MoveMark,
  survey: Survey,
  limits: BatchLimits,
  onProgress: (progress: MoveProgress) => void,
): Promise<MoveMark> {
  let mark = begun;
  const left = MOVED_TABLES.slice(MOVED_TABLES.findIndex(({ name }) => name === mark.table));
  for (const [i, table] of (mark.table === null ? [] : left).entries()) {
    const total = survey.rows.get(table.name) ?? 0;
    let done = i === 0 ? mark.rows - rowsBefore(table, survey) : 0;
    for (let batch = source.read(table, mark.after, limits); batch !== null; ) {
      const { rows, after } = batch;
      const next = { ...mark, after, rows: mark.rows + rows.length };
      const written = target.write(table, rows, mark, next);
      written.catch(() => {}); // awaited below, unless reading fails first
      // The next batch is read while the server writes this one.
      batch = source.read(table, after, limits);
      await written;
      mark = next;
      done += rows.length;
      onProgress({ phase: 'copy', table: table.name, done, total, isTableDone: false });
    }
    const next = { ...mark, table: left[i + 1]?.name ?? null, after: null };
    await target.setMark(mark, next);
    mark = next;
    onProgress({ phase: 'copy', table: table.name, done, total, isTableDone: true });
  }
  return mark;
}

function rowsBefore(table: MovedTable, survey: Survey): number {
  let rows = 0;
  for (const { name } of MOVED_TABLES) {
    if (name === table.name) break;
    rows += survey.rows.get(name) ?? 0;
  }
  return rows;
}

async function verify(
  source: Source,
  target: Target,
  survey: Survey,
  report: MoveReport,
  onProgress: (progress: MoveProgress) => void,
): Promise<void> {
  const startedAt = systemClock.monotonic();
  for (const table of MOVED_TABLES) {
    const total = survey.rows.get(table.name) ?? 0;
    const show = (done: number, isTableDone: boolean) =>
      onProgress({ phase: 'verify', table: table.name, done, total, isTableDone });
    show(0, false);
    report.tables.push(await verifyTable(source, target, table, (rows) => show(rows, false)));
    show(total, true);
  }
  report.verifyMs = systemClock.monotonic() - startedAt;
}

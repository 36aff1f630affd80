/** `posthorn migrate --from … --to …`: everything from an SQLite file to PostgreSQL. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { encryptionKeyFile } from '../config.ts';
import { type DatabaseLocation, formatDatabaseUrl, parseDatabaseUrl } from '../config-database.ts';
import { ValueError } from '../config-values.ts';
import type { MoveProgress, MoveReport } from '../store/move/index.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';
import { printJson, printLine, printTable } from './output.ts';

export interface MoveCommandOptions {
  from: string;
  to: string;
  verifyOnly: boolean;
  json: boolean;
}

/** Where the output goes into a file, a line at the end of each table and every so often within one. */
const LINE_INTERVAL_MS = 10_000;
const REDRAW_INTERVAL_MS = 100;

/** @throws CommandError when the sides differ */
export async function moveCommand(options: MoveCommandOptions, io: Io): Promise<void> {
  const from = locationOf('--from', options.from);
  const to = locationOf('--to', options.to);
  if (from.engine !== 'sqlite' || to.engine !== 'postgres') {
    throw new CommandError(
      'usage',
      'a move goes from an SQLite file to PostgreSQL: --from sqlite:<path> --to postgres://…',
    );
  }
  const path = resolve(io.cwd, from.path);
  // Loaded here, so that the other commands start without the database's code.
  const { moveToPostgres } = await import('../store/move/index.ts');
  const progress = new ProgressPrinter(io);
  let report: MoveReport;
  try {
    report = await moveToPostgres({
      from: path,
      to: to.url,
      verifyOnly: options.verifyOnly,
      onProgress: (step) => progress.show(step),
    });
  } catch (error) {
    progress.end();
    if (progress.hasCopied) {
      printLine(io.stderr, 'What was copied stays: run the same command again, and it goes on from there.');
    }
    throw error;
  }
  progress.end();
  const sides = { from: formatDatabaseUrl({ engine: 'sqlite', path }), to: formatDatabaseUrl(to) };
  if (options.json) printJson(io, toJson(report, sides));
  else printReport(io, report, sides, encryptionKeyFile(path));
  if (report.outcome !== 'differs') return;
  throw new CommandError(
    'failed',
    options.verifyOnly
      ? 'the two sides differ. What a service has done on the target since the move is rightly there'
      : 'the two sides differ, so no service will open the target. Empty it with DROP SCHEMA posthorn CASCADE and move ' +
          'again; if they differ again, it is a defect of Posthorn: please report the lines above',
  );
}

function locationOf(option: string, text: string): DatabaseLocation {
  try {
    return parseDatabaseUrl(text);
  } catch (error) {
    if (error instanceof ValueError)
      throw new CommandError('usage', `${option} ${error.message}`, { cause: error });
    throw error;
  }
}

function rowsASecond(rows: number, ms: number): number {
  return Math.round(rows / Math.max(0.001, ms / 1000));
}

function toJson(report: MoveReport, { from, to }: { from: string; to: string }) {
  const iso = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString());
  return {
    from,
    to,
    outcome: report.outcome,
    begun_at: iso(report.begunAt),
    finished_at: iso(report.finishedAt),
    resumed_rows: report.resumedRows,
    copied_rows: report.copiedRows,
    copy_seconds: report.copyMs / 1000,
    rows_per_second: rowsASecond(report.copiedRows, report.copyMs),
    verify_seconds: report.verifyMs / 1000,
    tables: report.tables.map((check) => ({
      table: check.table,
      source_rows: check.sourceRows,
      target_rows: check.targetRows,
      source_checksum: check.sourceChecksum,
      target_checksum: check.targetChecksum,
      same: check.same,
      differences: check.differences,
    })),
  };
}

function printReport(
  io: Io,
  report: MoveReport,
  { from, to }: { from: string; to: string },
  keyFile: string,
): void {
  const say = (text: string) => printLine(io.stdout, text);
  if (report.outcome === 'already_moved') {
    say(
      `${from} was moved to ${to} already, by ${new Date(report.finishedAt ?? 0).toISOString()}: nothing to do.`,
    );
    say('Add --verify-only to compare the two.');
    return;
  }
  printTable(
    io,
    ['TABLE', 'SOURCE ROWS', 'TARGET ROWS', 'SOURCE CHECKSUM', 'TARGET CHECKSUM', 'RESULT'],
    report.tables.map((check) => [
      check.table,
      check.sourceRows,
      check.targetRows,
      check.sourceChecksum,
      check.targetChecksum,
      check.same ? 'same' : 'DIFFERS',
    ]),
  );
  for (const difference of report.tables.flatMap(({ differences }) => differences)) say(difference);
  if (report.outcome === 'verified') say(`\n${from} and ${to} hold the same.`);
  if (report.outcome !== 'moved') return;
  const { resumedRows, copiedRows, copyMs, verifyMs } = report;
  const seconds = (ms: number) => (ms / 1000).toFixed(1);
  const resumed = resumedRows === 0 ? '' : `, after ${grouped(resumedRows)} of an earlier run`;
  say('');
  say(
    `Copied ${grouped(copiedRows)} rows in ${seconds(copyMs)} s (${grouped(rowsASecond(copiedRows, copyMs))} rows/s)${resumed}; ` +
      `compared both sides in ${seconds(verifyMs)} s: they hold the same.`,
  );
  const key = existsSync(keyFile)
    ? `the key in ${keyFile}`
    : 'the key that the service has been started with (its secrets are encrypted with it)';
  say('');
  say('What to do next:');
  say(`1. Set POSTHORN_DATABASE_URL to ${to} (with its password), and POSTHORN_ENCRYPTION_KEY to`);
  say(`   ${key}.`);
  say('2. Start the service: it goes on with what was pending.');
  say(`3. Keep ${from} as a backup. Don't start a service on it any more: it would deliver`);
  say('   once more what the new one delivers.');
}

function grouped(count: number): string {
  return count.toLocaleString('en-US');
}

/** On a terminal one line that is written over, else lines now and then. On stderr: stdout has the result. */
class ProgressPrinter {
  /** Whether this run has copied anything yet. */
  hasCopied = false;
  readonly #io: Io;
  readonly #isTerminal: boolean;
  #table = '';
  #tableBeganAt = 0;
  #firstRow = 0;
  #shownAt = 0;
  #drawn = 0;

  constructor(io: Io) {
    this.#io = io;
    this.#isTerminal = io.stderr.isTTY === true;
  }

  show({ phase, table, done, total, isTableDone }: MoveProgress): void {
    if (phase === 'copy') this.hasCopied = true;
    const now = this.#io.monotonic();
    const name = `${phase} ${table}`;
    if (name !== this.#table) {
      this.#table = name;
      this.#tableBeganAt = now;
      this.#firstRow = isTableDone ? 0 : done;
      this.#shownAt = now;
    }
    const interval = this.#isTerminal ? REDRAW_INTERVAL_MS : LINE_INTERVAL_MS;
    if (!isTableDone && now - this.#shownAt < interval) return;
    this.#shownAt = now;
    const verb = phase === 'copy' ? 'copied' : 'compared';
    const elapsedMs = now - this.#tableBeganAt;
    const speed =
      done - this.#firstRow < 1_000
        ? ''
        : `, ${grouped(rowsASecond(done - this.#firstRow, elapsedMs))} rows/s`;
    const of = isTableDone ? `${grouped(done)} rows` : `${grouped(done)} of ${grouped(total)} rows`;
    this.#write(`${verb} ${table}: ${of}${speed}`, isTableDone);
  }

  end(): void {
    if (this.#drawn > 0) this.#io.stderr.write('\n');
  }

  #write(line: string, isLast: boolean): void {
    if (!this.#isTerminal) return printLine(this.#io.stderr, line);
    this.#io.stderr.write(`\r${line.padEnd(this.#drawn)}${isLast ? '\n' : ''}`);
    this.#drawn = isLast ? 0 : line.length;
  }
}

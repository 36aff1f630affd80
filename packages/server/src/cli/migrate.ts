import type { Command } from 'commander';
import { loadConfig } from '../config.ts';
import type { MigrationReport } from '../store/migrate.ts';
import type { Io } from './io.ts';
import { withExamples } from './options.ts';
import { counted, printJson, printLine } from './output.ts';

interface MigrateOptions {
  config?: string;
  databaseUrl?: string;
  json?: boolean;
}

/** `posthorn migrate`: brings the database's schema up to date, as `serve` does at its start. */
export function migrateCommand(program: Command, io: Io): void {
  withExamples(
    program
      .command('migrate')
      .description("bring the database's schema up to date (serve does it too)")
      .option('--config <file>', 'the configuration file, as for serve (POSTHORN_CONFIG)')
      .option('--database-url <url>', 'the database, as for serve (POSTHORN_DATABASE_URL)')
      .option('--json', 'print what was done as JSON'),
    'posthorn migrate',
    'posthorn migrate --database-url sqlite:/var/lib/posthorn/posthorn.db',
  ).action(async (options: MigrateOptions) => {
    const { databasePath } = loadConfig({
      flags: { 'database-url': options.databaseUrl },
      env: io.env,
      file: options.config,
      cwd: io.cwd,
    });
    // Loaded here, so that the other commands start without the database's code.
    const { lockDatabase, migrate, openDatabase } = await import('../store/sqlite/database.ts');
    // Refused while a service runs: an older one would go on with a schema that it doesn't know.
    const lock = lockDatabase(databasePath);
    let report: MigrationReport;
    try {
      const db = openDatabase(databasePath);
      try {
        report = migrate(db, io.now());
      } finally {
        db.close();
      }
    } finally {
      lock.unlock();
    }
    if (options.json) return printJson(io, { database: databasePath, ...report });
    const { from, to, applied } = report;
    printLine(
      io.stdout,
      from === to
        ? `${databasePath} is up to date: schema version ${to}.`
        : `${databasePath} went from schema version ${from} to ${to}: ${counted(applied.length, 'migration')}.`,
    );
  });
}

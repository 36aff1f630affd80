import type { Command } from 'commander';
import { loadDatabaseLocation } from '../config.ts';
import { type DatabaseLocation, formatDatabaseUrl } from '../config-database.ts';
import type { AuditActor } from '../model.ts';
import type { MigrationReport } from '../store/migrate.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';
import { moveCommand } from './move.ts';
import { withExamples } from './options.ts';
import { counted, printJson, printLine } from './output.ts';

interface MigrateOptions {
  config?: string;
  databaseUrl?: string;
  from?: string;
  to?: string;
  verifyOnly?: boolean;
  grantPublish?: string;
  json?: boolean;
}

/**
 * `posthorn migrate`: brings the database's schema up to date, as `serve` does at its start; with `--from` and `--to`
 * moves everything from an SQLite file to PostgreSQL.
 */
export function migrateCommand(program: Command, io: Io): void {
  withExamples(
    program
      .command('migrate')
      .description(
        "bring the database's schema up to date (serve does it too), or move from SQLite to PostgreSQL",
      )
      .option('--config <file>', 'the configuration file, as for serve (POSTHORN_CONFIG)')
      .option('--database-url <url>', 'the database, as for serve (POSTHORN_DATABASE_URL)')
      .option('--from <url>', 'the SQLite file to move everything from: sqlite:<path>')
      .option('--to <url>', 'the empty PostgreSQL database to move to; its password may be in PGPASSWORD')
      .option('--verify-only', 'with --from and --to: compare both after a move, and change nothing')
      .option('--grant-publish <role>', 'let this PostgreSQL role call posthorn.publish, and nothing else')
      .option('--json', 'print what was done as JSON'),
    'posthorn migrate',
    'posthorn migrate --database-url sqlite:/var/lib/posthorn/posthorn.db',
    'POSTHORN_DATABASE_URL=postgres://posthorn:secret@db/posthorn posthorn migrate',
    'posthorn migrate --from sqlite:./posthorn-data/posthorn.db --to postgres://posthorn@db/posthorn',
  ).action(async (options: MigrateOptions) => {
    const { from: moveFrom, to: moveTo, verifyOnly = false, grantPublish: role, json = false } = options;
    const isForOne = options.databaseUrl !== undefined || role !== undefined;
    if (moveFrom !== undefined && moveTo !== undefined && !isForOne) {
      return moveCommand({ from: moveFrom, to: moveTo, verifyOnly, json }, io);
    }
    if (moveFrom !== undefined || moveTo !== undefined || verifyOnly) {
      throw new CommandError(
        'usage',
        'a move needs --from sqlite:<path> and --to postgres://…, and neither --database-url nor --grant-publish',
      );
    }
    const location = loadDatabaseLocation({
      flags: { 'database-url': options.databaseUrl },
      env: io.env,
      file: options.config,
      cwd: io.cwd,
    });
    if (role !== undefined && location.engine === 'sqlite') {
      throw new CommandError('usage', '--grant-publish is for PostgreSQL: on SQLite nobody publishes by SQL');
    }
    const report = await migrateAt(location, io);
    const database = location.engine === 'sqlite' ? location.path : formatDatabaseUrl(location);
    if (role !== undefined && location.engine === 'postgres') {
      const { grantPublish } = await import('../store/postgres/grants.ts');
      await grantPublish(location.url, role, commandActor('posthorn migrate --grant-publish'));
    }
    if (json) {
      const granted = role === undefined ? {} : { granted_publish: role };
      return printJson(io, { database, ...report, ...granted });
    }
    const { from, to, applied } = report;
    printLine(
      io.stdout,
      from === to
        ? `${database} is up to date: schema version ${to}.`
        : `${database} went from schema version ${from} to ${to}: ${counted(applied.length, 'migration')}.`,
    );
    if (role !== undefined) printLine(io.stdout, `The role ${role} may publish by SQL.`);
  });
}

/** In whose name a command changes the database itself. */
function commandActor(via: string): AuditActor {
  return {
    kind: 'command',
    keyId: null,
    username: null,
    via,
    requestId: null,
    remoteAddress: null,
    through: null,
  };
}

/** The engines' code is loaded here, so that the other commands start without it. */
async function migrateAt(location: DatabaseLocation, io: Io): Promise<MigrationReport> {
  if (location.engine === 'postgres') {
    const { migrateDatabase } = await import('../store/postgres/migrate.ts');
    // Beside running nodes, too: an older one ends with a sentence when it is next started.
    return migrateDatabase(location.url);
  }
  const { lockDatabase, migrate, openDatabase } = await import('../store/sqlite/database.ts');
  // Refused while a service runs: an older one would go on with a schema that it doesn't know.
  const lock = lockDatabase(location.path);
  try {
    const db = openDatabase(location.path);
    try {
      return migrate(db, io.now());
    } finally {
      db.close();
    }
  } finally {
    lock.unlock();
  }
}

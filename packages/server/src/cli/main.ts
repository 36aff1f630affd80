/** The command line's entry: which commands there are, and how their failures become sentences and exit codes. */
import { inspect } from 'node:util';
import { Command, CommanderError } from 'commander';
import { ConfigError } from '../config.ts';
import { PosthornError } from '../errors.ts';
import { accountCommand } from './account.ts';
import { auditCommand } from './audit.ts';
import { backupCommand } from './backup.ts';
import { restoreCommand } from './backup-restore.ts';
import { deliveriesCommand } from './deliveries.ts';
import { doctorCommand } from './doctor.ts';
import { CommandError, EXIT_CODES } from './failure.ts';
import { type Io, processIo } from './io.ts';
import { keyCommand } from './key.ts';
import { listenCommand } from './listen.ts';
import { migrateCommand } from './migrate.ts';
import { withExamples } from './options.ts';
import { printLine } from './output.ts';
import { publishCommand } from './publish.ts';
import { readyCommand } from './ready.ts';
import { replayCommand } from './replay.ts';
import { secretsCommand } from './secrets.ts';
import { serveCommand } from './serve.ts';
import { triggerCommand } from './trigger.ts';
import { typesCommand } from './types.ts';
import { packageVersion } from './version.ts';

/**
 * Runs one command and answers its exit code, see {@link EXIT_CODES}.
 *
 * @param argv - the arguments after the program's name
 * @example
 * await main(['account', 'list', '--json'], processIo()); // 0
 */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  try {
    await buildProgram(io).parseAsync(argv, { from: 'user' });
    return EXIT_CODES.ok;
  } catch (error) {
    return report(error, io);
  }
}

function buildProgram(io: Io): Command {
  const program = new Command('posthorn')
    .description('Webhooks that arrive: store an event, sign it, deliver it, show what happened.')
    .version(packageVersion())
    // Set before the commands are made, because they inherit it.
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
    });
  serveCommand(program, io);
  migrateCommand(program, io);
  backupCommand(program, io);
  restoreCommand(program, io);
  publishCommand(program, io);
  listenCommand(program, io);
  triggerCommand(program, io);
  deliveriesCommand(program, io);
  replayCommand(program, io);
  accountCommand(program, io);
  keyCommand(program, io);
  typesCommand(program, io);
  secretsCommand(program, io);
  auditCommand(program, io);
  doctorCommand(program, io);
  readyCommand(program, io);
  return withExamples(
    program,
    'posthorn serve',
    'posthorn account create alice',
    'posthorn publish generated_video_success --account alice --example --wait',
  );
}

function report(error: unknown, io: Io): number {
  if (error instanceof CommanderError) {
    // It has printed its own sentence; its code for every wrong usage is 1.
    return error.exitCode === 0 ? EXIT_CODES.ok : EXIT_CODES.usage;
  }
  if (io.env.POSTHORN_DEBUG) {
    printLine(io.stderr, inspect(error));
  } else {
    printLine(io.stderr, `posthorn: ${error instanceof Error ? error.message : String(error)}`);
    const expected = [CommandError, ConfigError, PosthornError].some((kind) => error instanceof kind);
    if (!expected) printLine(io.stderr, 'This is a defect of Posthorn; with POSTHORN_DEBUG=1 it says where.');
  }
  if (error instanceof CommandError) return EXIT_CODES[error.reason];
  return error instanceof ConfigError ? EXIT_CODES.usage : EXIT_CODES.failed;
}

/** Runs the command that this process was started for, and ends it with the command's code. */
export async function runAsProcess(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    // Whoever read the output has seen enough (`posthorn … | head -1`): no reason to fail.
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }
  const code = await main(process.argv.slice(2), processIo());
  for (const stream of [process.stdout, process.stderr]) {
    await new Promise<void>((resolve) => stream.write('', () => resolve()));
  }
  // Whatever a failed start has left open must not keep a process alive that has said that it failed.
  process.exit(code);
}

if (import.meta.main) await runAsProcess();

import type { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { readReadiness } from './client.ts';
import { addressToAsk } from './doctor.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';
import { withExamples } from './options.ts';
import { printJson, printLine } from './output.ts';

const TIMEOUT_MS = 4000;

interface ReadyOptions {
  config?: string;
  url?: string;
  json?: boolean;
}

/** `posthorn ready`: asks the running server, for health checks that know nothing but exit codes. */
export function readyCommand(program: Command, io: Io): void {
  withExamples(
    program
      .command('ready')
      .description('ask the running server whether it is ready: for health checks, without a key')
      .option('--config <file>', 'the configuration file, as for serve (POSTHORN_CONFIG)')
      .option('--url <url>', 'the server (POSTHORN_URL; default: the configured address)')
      .option('--json', 'print the answer as JSON'),
    'posthorn ready',
    'posthorn ready --url http://127.0.0.1:8080 && echo ready',
  ).action(async (options: ReadyOptions) => {
    // With a URL the settings don't matter, and the server may be another machine's.
    const given = options.url ?? (io.env.POSTHORN_URL || undefined);
    const asked = given ?? addressToAsk(loadConfig({ env: io.env, file: options.config, cwd: io.cwd }));
    const { url, httpStatus, reason } = await readReadiness({ url: asked }, io.env, TIMEOUT_MS);
    const ready = httpStatus === 200;
    if (options.json) printJson(io, { ready, url, http_status: httpStatus, reason: ready ? null : reason });
    if (httpStatus === null) throw new CommandError('unreachable', `nobody answers at ${url} (${reason})`);
    if (!ready) throw new CommandError('failed', `${url} is not ready: HTTP ${httpStatus}, ${reason}`);
    if (!options.json) printLine(io.stdout, `${url} is ready`);
  });
}

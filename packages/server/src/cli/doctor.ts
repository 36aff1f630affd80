import type { Command } from 'commander';
import { type Config, ConfigError, loadConfig } from '../config.ts';
import { readReadiness } from './client.ts';
import type { Check } from './doctor-checks.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';
import { withExamples } from './options.ts';
import { counted, harmless, printJson, printLine } from './output.ts';

const READINESS_TIMEOUT_MS = 5000;

interface DoctorOptions {
  config?: string;
  databaseUrl?: string;
  url?: string;
  to?: string;
  json?: boolean;
}

/** `posthorn doctor`: looks for what keeps the service from working, changes nothing, and may run beside it. */
export function doctorCommand(program: Command, io: Io): void {
  withExamples(
    program
      .command('doctor')
      .description('check this machine, the configuration, the data and the running server')
      .option('--config <file>', 'the configuration file, as for serve (POSTHORN_CONFIG)')
      .option('--database-url <url>', 'the database, as for serve (POSTHORN_DATABASE_URL)')
      .option('--url <url>', 'the server (POSTHORN_URL; default: the configured address)')
      .option(
        '--to <url>',
        'a receiver to look up and dial, without sending anything (default: the newest endpoint)',
      )
      .option('--json', 'print the checks as JSON'),
    'posthorn doctor',
    'posthorn doctor --config /etc/posthorn.yaml --json',
    'posthorn doctor --to https://hooks.example.com/',
  ).action(async (options: DoctorOptions) => {
    const checks = await runChecks(options, io);
    const wrong = checks.filter(({ status }) => status === 'wrong').length;
    if (options.json) printJson(io, { ok: wrong === 0, checks });
    else printChecks(io, checks);
    if (wrong > 0) throw new CommandError('failed', `${counted(wrong, 'check')} found something wrong`);
  });
}

async function runChecks(options: DoctorOptions, io: Io): Promise<Check[]> {
  // Loaded here, so that the other commands start without the database's code.
  const look = await import('./doctor-checks.ts');
  const { checkEgress } = await import('./doctor-egress.ts');
  const { AllowList } = await import('../delivery/allow-list.ts');
  const { createResolver } = await import('../delivery/resolve.ts');
  const checks: Check[] = [look.checkNodeVersion(process.versions.node), look.checkClock(io.now())];
  let config: Config;
  try {
    config = loadConfig({
      flags: { 'database-url': options.databaseUrl },
      env: io.env,
      file: options.config,
      cwd: io.cwd,
    });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const mistakes = error.mistakes.map((mistake): Check => {
      return {
        check: 'configuration',
        status: 'wrong',
        detail: mistake,
        fix: 'correct it; nothing below could be checked',
      };
    });
    return [...checks, ...mistakes];
  }
  checks.push({ check: 'configuration', status: 'ok', detail: 'every setting is valid', fix: null });
  const { database, databasePoolSize: poolSize, encryptionKey, olderEncryptionKeys } = config;
  let newest: string | null = null;
  if (database.engine === 'sqlite') {
    checks.push(await look.checkDataFolder(database.path));
    checks.push(await look.checkDiskSpace(database.path));
    checks.push(await look.checkEncryptionKey(database.path, encryptionKey));
    checks.push(...(await look.checkDatabase(database.path, io.now())));
    newest = look.newestEndpoint(database.path);
  } else {
    const { checkPostgres, newestEndpoint } = await import('./doctor-postgres.ts');
    checks.push(
      ...(await checkPostgres({ url: database.url, poolSize, encryptionKey, olderEncryptionKeys })),
    );
    newest = await newestEndpoint(database.url);
  }
  const { endpointPolicy: policy, egressProxy: proxy } = config;
  const allow = AllowList.of(config.allowPrivate);
  const resolver = createResolver(policy, { isOwnName: (hostname) => allow.hasHost(hostname) });
  try {
    const { lookup } = resolver;
    const url = options.to ?? newest;
    checks.push(...(await checkEgress({ url, policy, allow, proxy, lookup })));
  } finally {
    resolver.close();
  }
  checks.push(await checkServer(config, options, io));
  return checks;
}

async function checkServer(config: Config, options: DoctorOptions, io: Io): Promise<Check> {
  const configured = { url: options.url ?? (io.env.POSTHORN_URL || addressToAsk(config)) };
  const { url, httpStatus, reason } = await readReadiness(configured, io.env, READINESS_TIMEOUT_MS);
  const check = 'server';
  if (httpStatus === 200) return { check, status: 'ok', detail: `${url} is ready`, fix: null };
  if (httpStatus === null) {
    return {
      check,
      status: 'skipped',
      detail: `nobody answers at ${url} (${reason}): not running?`,
      fix: null,
    };
  }
  const fix =
    httpStatus === 503 ? 'see the log of posthorn serve' : 'check --url: another program answers there';
  return { check, status: 'wrong', detail: `${url} is not ready: HTTP ${httpStatus}, ${reason}`, fix };
}

/** Where a server that listens on every interface is reached from this machine. */
export function addressToAsk({ listen: { host, port } }: Config): string {
  const local: Record<string, string> = { '0.0.0.0': '127.0.0.1', '::': '[::1]' };
  return `http://${local[host] ?? (host.includes(':') ? `[${host}]` : host)}:${port}`;
}

const MARKS = { ok: '✓', warning: '!', wrong: '✗', skipped: '–' } as const;

function printChecks(io: Io, checks: readonly Check[]): void {
  const width = Math.max(...checks.map(({ check }) => check.length)) + 2;
  for (const { check, status, detail, fix } of checks) {
    printLine(io.stdout, `${MARKS[status]} ${check.padEnd(width)}${harmless(detail)}`);
    if (fix !== null) printLine(io.stdout, `  ${' '.repeat(width)}→ ${harmless(fix)}`);
  }
}

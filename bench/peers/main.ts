/** The command of the benchmark: `npm run bench -- --help`. */
import { spawnSync } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { helpText, type Options, parseOptions } from './options.ts';
import { writeReport } from './report.ts';
import { runBenchmark } from './runner.ts';
import { RunSite } from './site.ts';
import { PEER_NAMES } from './systems/index.ts';

const HERE = import.meta.dirname;
const REDIS_PEER = /^bullmq/;

async function main(): Promise<number> {
  let options: Options;
  try {
    options = parseOptions(process.argv.slice(2));
  } catch (error) {
    console.error(
      `bench: ${error instanceof Error ? error.message : String(error)}\nSee npm run bench -- --help`,
    );
    return 2;
  }
  if (options.help) {
    console.log(helpText());
    return 0;
  }
  if (options.systems.some((name) => PEER_NAMES.includes(name))) installPeers();
  if (options.systems.some((name) => REDIS_PEER.test(name))) installRedis();

  const site = await RunSite.open(options.revision);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      console.error(`bench: ${signal}: cleaning up`);
      void site.remove().finally(() => process.exit(130));
    });
  }
  try {
    const { results, faults } = await runBenchmark(options, site, (line) => console.error(line));
    if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
    console.log(writeReport(results));
    for (const fault of faults) console.error(`FAILED ${fault}`);
    return faults.length === 0 ? 0 : 1;
  } finally {
    await site.remove();
  }
}

/** Installs the peers' packages when the lock file is newer than what is installed. */
function installPeers(): void {
  if (changedAt('node_modules/.package-lock.json') >= changedAt('package-lock.json')) return;
  console.error('bench: installing the peers (npm ci in bench/peers)');
  const { status } = spawnSync('npm', ['ci'], { cwd: HERE, stdio: ['ignore', 'ignore', 'inherit'] });
  if (status !== 0) throw new Error('npm ci in bench/peers failed; leave the peers out with --systems');
}

/** Installs Redis where that is a matter of one command; elsewhere its systems say how, and are left out. */
function installRedis(): void {
  if (spawnSync('redis-server', ['--version']).status === 0) return;
  if (process.getuid?.() !== 0 || spawnSync('apt-get', ['--version']).status !== 0) return;
  console.error('bench: installing redis-server (apt-get install redis-server)');
  spawnSync('apt-get', ['install', '--yes', '--no-install-recommends', 'redis-server'], {
    // Its package would start a server on the usual port, which nobody here asks for.
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

function changedAt(file: string): number {
  return statSync(join(HERE, file), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

process.exitCode = await main();

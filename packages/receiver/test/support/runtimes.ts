/** The runtimes in `test/runtimes`, which `npm run runtimes` installs. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../runtimes/node_modules', import.meta.url));
const { platform } = process;
const isArm = process.arch === 'arm64';

/** Where their packages have the programs. */
const PROGRAMS = {
  bun: `@oven/bun-${platform}-${isArm ? 'aarch64' : 'x64'}/bin/bun`,
  deno: `@deno/${platform}-${isArm ? 'arm64' : 'x64'}${platform === 'linux' ? '-glibc' : ''}/deno`,
  workerd: `@cloudflare/workerd-${platform}-${isArm ? 'arm64' : '64'}/bin/workerd`,
  node22: 'node22/bin/node',
};

export type Runtime = keyof typeof PROGRAMS;

export interface InstalledRuntime {
  program: string;
  /** What the machine lacks and how to get it; null when it is there. */
  missing: string | null;
}

export function findRuntime(name: Runtime): InstalledRuntime {
  const program = join(FOLDER, PROGRAMS[name]);
  return { program, missing: existsSync(program) ? null : `no ${name} here: npm run runtimes` };
}

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { openLogDestination } from '../../src/cli/log-destination.ts';
import { tempDir } from '../support/tempdir.ts';

const MODULE = new URL('../../src/cli/log-destination.ts', import.meta.url);
/** More than a pipe holds. */
const MANY_LINES = 20_000;

async function logFile(t: TestContext): Promise<{ fd: number; read: () => string }> {
  const dir = await tempDir();
  t.after(() => dir.remove());
  const path = join(dir.path, 'log');
  return { fd: openSync(path, 'a'), read: () => readFileSync(path, 'utf8') };
}

/** What a process of its own has written on stdout when it is over. */
async function stdoutOf(code: string): Promise<string> {
  const script = `import { openLogDestination } from ${JSON.stringify(MODULE.href)};
    const log = openLogDestination(1);
    ${code}`;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module-typescript', '--eval', script],
    { maxBuffer: 64 * 1024 * 1024 },
  );
  return stdout;
}

describe('the destination of the log', () => {
  it('writes the lines that come within some milliseconds together', async (t) => {
    const { fd, read } = await logFile(t);
    const log = openLogDestination(fd);
    log.write('1\n');
    log.write('2\n');
    assert.equal(read(), '');
    while (read() === '') await new Promise(setImmediate);
    assert.equal(read(), '1\n2\n');
    await log.close();
  });

  it('has written every line in its order when it is closed', async (t) => {
    const { fd, read } = await logFile(t);
    const log = openLogDestination(fd);
    const lines = Array.from({ length: 1000 }, (_, i) => `${i} ${'x'.repeat(i)}\n`);
    for (const [i, line] of lines.entries()) {
      log.write(line);
      if (i % 100 === 0) await new Promise(setImmediate);
    }
    await log.close();
    assert.equal(read(), lines.join(''));
  });

  it('writes what waits at once when it is told to', async (t) => {
    const { fd, read } = await logFile(t);
    const log = openLogDestination(fd);
    log.write('1\n');
    log.flushSync();
    assert.equal(read(), '1\n');
    await log.close();
    assert.throws(() => closeSync(fd), { code: 'EBADF' });
  });

  it('loses nothing when the process ends without a word', async () => {
    const out = await stdoutOf(`for (let i = 0; i < ${MANY_LINES}; i++) log.write(i + '\\n');
      process.exit(0);`);
    // A write that was under way may land behind what the exit wrote.
    const numbers = out.trimEnd().split('\n').map(Number);
    assert.deepEqual(
      numbers.sort((x, y) => x - y),
      Array.from({ length: MANY_LINES }, (_, i) => i),
    );
  });

  it('loses nothing of a defect that ends the process', async () => {
    const out = await stdoutOf(`process.on('uncaughtException', () => {
        log.write('a defect\\n');
        process.exit(0);
      });
      log.write('before\\n');
      throw new Error('defect');`);
    assert.equal(out, 'before\na defect\n');
  });

  it('has written, when the process is killed, all but the last lines', async (t) => {
    const script = `import { openLogDestination } from ${JSON.stringify(MODULE.href)};
      const log = openLogDestination(1);
      log.write('former\\n');
      process.stdin.once('data', () => {
        log.write('last\\n');
        process.kill(process.pid, 'SIGKILL');
      });`;
    const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', script]);
    t.after(() => child.kill('SIGKILL'));
    let out = '';
    child.stdout.on('data', (chunk) => {
      out += chunk;
      child.stdin.write('now');
    });
    const [, signal] = await once(child, 'close');
    assert.equal(signal, 'SIGKILL');
    assert.equal(out, 'former\n');
  });
});

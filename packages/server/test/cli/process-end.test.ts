import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const FIXTURE = fileURLToPath(new URL('./fixtures/never-stops.ts', import.meta.url));

/** Runs the service that never stops; `react` sees each log line and may send signals. */
async function run(args: string[], react: (message: string, kill: (signal: NodeJS.Signals) => void) => void) {
  const child = spawn(process.execPath, [FIXTURE, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  const lines: { level: string; msg: string; err?: { message: string } }[] = [];
  for await (const line of createInterface(child.stdout)) {
    const parsed = JSON.parse(line);
    lines.push(parsed);
    react(parsed.msg, (signal) => child.kill(signal));
  }
  const [code, signal] = await ended;
  return { code, signal, lines };
}

describe('a service that does not stop when it is asked to', () => {
  it('is ended by force at the deadline, with code 1 and a log line', async () => {
    const { code, lines } = await run(['50'], (message, kill) => {
      if (message === 'running') kill('SIGTERM');
    });
    assert.equal(code, 1);
    assert.deepEqual(
      lines.map(({ level, msg }) => `${level} ${msg.split(':')[0]}`),
      ['info running', 'info stopping', 'error the stop took too long'],
    );
  });

  it('is ended at once by a second signal', async () => {
    const { code, lines } = await run(['600000'], (message, kill) => {
      if (message === 'running') kill('SIGINT');
      if (message === 'stopping') kill('SIGTERM');
    });
    assert.equal(code, 1);
    assert.match(lines.at(-1)?.msg ?? '', /^second signal/);
  });
});

describe('a defect that nothing catches', () => {
  it('leaves its stack in the log and ends the process with code 1', async () => {
    const { code, lines } = await run(['600000', 'defect'], (message, kill) => {
      if (message === 'running') kill('SIGTERM');
    });
    assert.equal(code, 1);
    // The last line is written without waiting for the one before it, so their order may change.
    assert.equal(lines.find(({ level }) => level === 'fatal')?.err?.message, 'it broke');
  });
});

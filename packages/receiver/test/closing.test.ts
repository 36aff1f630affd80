/** A receiver whose process is told to end. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { delivery, SECRET } from './support/samples.ts';

describe('SIGTERM', { timeout: 30_000 }, () => {
  it('lets handlers end and their answers reach the sender, and then ends the process', async () => {
    const program = fileURLToPath(new URL('support/closing-receiver.ts', import.meta.url));
    const child = fork(program, { env: { ...process.env, WEBHOOK_SECRET: SECRET } });
    const [{ port }] = (await once(child, 'message')) as [{ port: number }];
    const ended = once(child, 'exit');
    const begun = once(child, 'message');
    const { body, headers } = await delivery();
    const answered = fetch(`http://127.0.0.1:${port}/`, { method: 'POST', headers, body });
    await begun;
    child.kill('SIGTERM');
    const response = await answered;
    assert.deepEqual([response.status, await response.json()], [200, { status: 'handled' }]);
    assert.deepEqual(await ended, [null, 'SIGTERM']);
  });
});

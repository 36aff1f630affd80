/**
 * Preloaded into a process (`NODE_OPTIONS=--import=…`): notes each module that it loads in the file NOTE_MODULES_IN, and
 * at its end what it had loaded of Node's own (`NativeModule internal/deps/…`).
 */
import { appendFileSync } from 'node:fs';
import { registerHooks } from 'node:module';

const file = String(process.env.NOTE_MODULES_IN);

registerHooks({
  load(url, context, nextLoad) {
    appendFileSync(file, `${url}\n`);
    return nextLoad(url, context);
  },
});

process.on('exit', () => {
  const { moduleLoadList } = process as unknown as { moduleLoadList: string[] };
  appendFileSync(file, moduleLoadList.map((name) => `${name}\n`).join(''));
});

/** Preloaded into a process (`NODE_OPTIONS=--import=…`): notes each module that it loads in the file NOTE_MODULES_IN. */
import { appendFileSync } from 'node:fs';
import { registerHooks } from 'node:module';

const file = String(process.env.NOTE_MODULES_IN);

registerHooks({
  load(url, context, nextLoad) {
    appendFileSync(file, `${url}\n`);
    return nextLoad(url, context);
  },
});

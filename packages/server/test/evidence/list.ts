/** Prints, as JSON, the names of all tests in the files that are its arguments: `{ file: names }`. Runs none of them. */
import { registerHooks } from 'node:module';
import { pathToFileURL } from 'node:url';
import { takeNames } from './recorder.ts';

const recorder = new URL('./recorder.ts', import.meta.url).href;
registerHooks({
  resolve: (specifier, context, next) =>
    specifier === 'node:test' ? { url: recorder, shortCircuit: true } : next(specifier, context),
});

const listed: Record<string, string[]> = {};
for (const file of process.argv.slice(2)) {
  await import(pathToFileURL(file).href);
  listed[file] = takeNames();
}
process.stdout.write(JSON.stringify(listed));

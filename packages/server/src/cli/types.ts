import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { type RenderedType, renderTypes } from '../catalogue/typescript.ts';
import { createClient } from './client.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';
import { type CommonOptions, withClientOptions, withExamples } from './options.ts';
import { counted, printJson, printLine } from './output.ts';

const DEFAULT_NAME = 'Events';
const HEADER = [
  "The event types of a Posthorn server's catalogue, with what their deliveries carry in `data`.",
  'Made by `posthorn types --ts`: make it anew instead of editing it.',
];

interface TypesOptions extends CommonOptions {
  ts: string;
  name: string;
  check?: boolean;
}

/** `posthorn types`: a server's catalogue as TypeScript, to be checked in beside the code that receives. */
export function typesCommand(program: Command, io: Io): void {
  const types = program.command('types').description("write the catalogue's event types as TypeScript");
  withExamples(
    withClientOptions(types)
      .requiredOption('--ts <file>', 'the file to write; - for stdout')
      .option('--name <name>', 'name of the interface of all types', interfaceName, DEFAULT_NAME)
      .option('--check', 'write nothing: exit code 1 unless the file is up to date'),
    'posthorn types --ts src/webhook-events.ts',
    'posthorn types --ts src/webhook-events.ts --check',
  ).action(async ({ ts: file, name, check, ...options }: TypesOptions) => {
    if (file === '-' && (check || options.json)) {
      throw new CommandError(
        'usage',
        '--ts - prints the types and nothing else: leave --check and --json out',
      );
    }
    const { event_types: listed } = await createClient(options, io.env).request<{
      event_types: RenderedType[];
    }>({ method: 'GET', path: ['event_types'] });
    const text = renderTypes(listed, { eventsName: name, header: HEADER });
    if (file === '-') {
      io.stdout.write(text);
      return;
    }
    const changed = (await textOf(file, io)) !== text;
    if (changed && check) {
      throw new CommandError(
        'failed',
        `${file} is not what the server's catalogue says: run \`posthorn types --ts ${file}\` and commit it`,
      );
    }
    // Left alone when nothing has changed, so that watching compilers don't start.
    if (changed) await write(file, text, io);
    if (options.json) return printJson(io, { file, event_types: listed.length, changed });
    const what = counted(listed.length, 'event type');
    printLine(io.stdout, changed ? `Wrote ${what} to ${file}.` : `${file} is up to date (${what}).`);
  });
}

function interfaceName(text: string): string {
  if (/^[A-Z][A-Za-z0-9_]{0,63}$/.test(text)) return text;
  throw new InvalidArgumentError('It must be a TypeScript name such as Events.');
}

/** Null when there is no such file. */
async function textOf(file: string, io: Io): Promise<string | null> {
  try {
    return await readFile(resolve(io.cwd, file), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw fileError(file, 'read', error);
  }
}

async function write(file: string, text: string, io: Io): Promise<void> {
  try {
    await writeFile(resolve(io.cwd, file), text);
  } catch (error) {
    throw fileError(file, 'written', error);
  }
}

function fileError(file: string, done: 'read' | 'written', error: unknown): CommandError {
  const { code } = error as NodeJS.ErrnoException;
  const reason = code === 'ENOENT' ? "its folder isn't there" : (code ?? 'unknown error');
  return new CommandError('failed', `${file} can't be ${done} (${reason}): name another with --ts`, {
    cause: error,
  });
}

/** What commands have in common: how they are declared, and how they read times, numbers and JSON. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseDurationMs, parseInteger, quoted, ValueError } from '../config-values.ts';
import { type ClientOptions, DEFAULT_URL } from './client.ts';
import { CommandError } from './failure.ts';
import type { Io } from './io.ts';

const EXIT_CODE_HELP =
  'Exit codes: 0 done, 1 the operation failed, 2 wrong usage or configuration, 3 no Posthorn server answered.';

/** Ends a command's help with examples and the exit codes. */
export function withExamples(command: Command, ...examples: string[]): Command {
  const lines = examples.map((example) => `  ${example}`).join('\n');
  return command.addHelpText('after', `\nExamples:\n${lines}\n\n${EXIT_CODE_HELP}`);
}

export interface CommonOptions extends ClientOptions {
  json?: boolean;
}

/** The options of every command that talks to a server. */
export function withClientOptions(command: Command): Command {
  return command
    .option('--url <url>', `the server (POSTHORN_URL; default ${DEFAULT_URL})`)
    .option('--key <key>', 'the API key (POSTHORN_API_KEY, then POSTHORN_OPERATOR_KEY)')
    .option('--json', "print the API's data as JSON");
}

/** `--account`, for routes on which an operator's key acts for an account. */
export function withAccountOption(command: Command): Command {
  return command.option('--account <username>', "the account to act for, with an operator's key");
}

/** `--limit` and `--cursor` of a list. */
export function withPageOptions(command: Command): Command {
  return command
    .option('--limit <n>', 'how many to print (1 to 200)', integerArgument(1, 200), 50)
    .option('--cursor <cursor>', 'go on where a list ended');
}

/** `--wait-timeout`, beside `--wait`; its value is in ms. */
export function waitTimeoutOption(): Option {
  return new Option('--wait-timeout <duration>', 'how long to wait')
    .argParser(durationArgument(1, 86_400_000))
    .default(60_000, '1m');
}

function asArgument<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      if (error instanceof ValueError) throw new InvalidArgumentError(`${error.message}.`);
      throw error;
    }
  };
}

/** Reads an option's whole number. */
export function integerArgument(min: number, max: number): (text: string) => number {
  return asArgument((text) => parseInteger(text, { min, max }));
}

/** Reads an option's duration, in ms. */
export function durationArgument(minMs: number, maxMs: number): (text: string) => number {
  return asArgument((text) => parseDurationMs(text, { minMs, maxMs }));
}

/** Reads an option's time, in unix seconds, see {@link parseMoment}. */
export function momentArgument(io: Pick<Io, 'now'>): (text: string) => number {
  return asArgument((text) => parseMoment(text, io.now()));
}

/**
 * Unix seconds of a time that a person wrote: `2h` (that long before now), `1767225600` (unix seconds), or
 * `2026-01-01T00:00:00Z` (ISO 8601; without a zone: UTC).
 *
 * @throws {ValueError}
 */
export function parseMoment(text: string, nowMs: number): number {
  if (/^\d{1,4}(ms|s|m|h|d)$/.test(text)) return Math.floor((nowMs - parseDurationMs(text)) / 1000);
  if (/^\d{9,11}$/.test(text)) return Number(text);
  const iso = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|[+-]\d\d:?\d\d)?)?$/.exec(text);
  const ms = iso === null ? Number.NaN : Date.parse(`${iso[1]}T${iso[2] ?? '00:00'}${iso[3] ?? 'Z'}`);
  if (Number.isNaN(ms)) {
    throw new ValueError(
      `${quoted(text)} is not a time; write how long ago (2h, 3d), unix seconds, or 2026-01-31T12:00:00Z`,
    );
  }
  return Math.floor(ms / 1000);
}

/**
 * The text of a JSON object given as an option: the text itself, `@<file>`, or `-` for stdin. Checked and passed on as
 * it was written.
 *
 * @throws {CommandError} `usage` when it can't be read or is no JSON object.
 */
export async function readJsonObject(option: string, value: string, io: Io): Promise<string> {
  const { text, origin } = await readSource(option, value, io);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new CommandError('usage', `${origin} is not JSON: ${(error as Error).message}`, { cause: error });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new CommandError('usage', `${origin} must be a JSON object such as {"video_id": "v1"}`);
  }
  return text;
}

async function readSource(option: string, value: string, io: Io): Promise<{ text: string; origin: string }> {
  if (value === '-') return { text: await textOf(io.stdin), origin: `${option} from stdin` };
  if (!value.startsWith('@')) return { text: value, origin: option };
  const path = value.slice(1);
  try {
    return { text: await readFile(resolve(io.cwd, path), 'utf8'), origin: `${option} from ${path}` };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason = code === 'ENOENT' ? "isn't there" : `can't be read (${code ?? 'unknown error'})`;
    throw new CommandError('usage', `${option}: the file ${path} ${reason}`, { cause: error });
  }
}

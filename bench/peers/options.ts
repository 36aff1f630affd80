/** The command line of the benchmark. Pure. */
import { parseArgs } from 'node:util';
import { MEASURES } from './measures/index.ts';
import { SHORT_FORM_SYSTEMS, SYSTEM_NAMES } from './systems/index.ts';

export interface Options {
  form: 'short' | 'long';
  systems: string[];
  measures: string[];
  /** Null: as many as fit into the short form's time, at most 3; 3 in the long form. */
  rounds: number | null;
  json: string | null;
  /** Files of earlier runs whose samples are counted too. */
  add: string[];
  /** Of Posthorn; null: the working tree. */
  revision: string | null;
  help: boolean;
}

/** @throws Error with a sentence that says what is wrong and what there is */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      long: { type: 'boolean', default: false },
      systems: { type: 'string' },
      measures: { type: 'string' },
      rounds: { type: 'string' },
      json: { type: 'string' },
      add: { type: 'string', multiple: true, default: [] },
      revision: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const names = MEASURES.map(({ name }) => name);
  const usual = MEASURES.filter(({ isKey }) => isKey || values.long).map(({ name }) => name);
  return {
    form: values.long ? 'long' : 'short',
    systems: choose(
      '--systems',
      values.systems,
      SYSTEM_NAMES,
      values.long ? SYSTEM_NAMES : SHORT_FORM_SYSTEMS,
    ),
    measures: choose('--measures', values.measures, names, usual),
    rounds: values.rounds === undefined ? null : wholeNumber('--rounds', values.rounds),
    json: values.json ?? null,
    add: values.add,
    revision: values.revision ?? null,
    help: values.help,
  };
}

function choose(
  flag: string,
  text: string | undefined,
  known: readonly string[],
  fallback: readonly string[],
): string[] {
  if (text === undefined) return [...fallback];
  const chosen = text.split(',').filter((name) => name !== '');
  const unknown = chosen.filter((name) => !known.includes(name));
  if (unknown.length > 0 || chosen.length === 0) {
    throw new Error(`${flag} ${text}: choose, separated by commas, out of ${known.join(', ')}`);
  }
  return known.filter((name) => chosen.includes(name));
}

function wholeNumber(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new Error(`${flag} ${text}: must be a whole number from 1 on`);
  return value;
}

export function helpText(): string {
  const measures = MEASURES.map(
    ({ name, says, isKey }) => `  ${name.padEnd(10)} ${says}${isKey ? ' (short form)' : ''}`,
  );
  return `npm run bench -- [options]

Measures Posthorn beside the queues that a Node team would reach for, and prints one Markdown report.
Everything runs on 127.0.0.1, in a folder that is gone afterwards. Only Linux counts CPU time and memory.

  --long           every measure at full size; without it a short form of about three minutes
  --systems a,b    out of ${SYSTEM_NAMES.join(', ')}
                   (all of them; without --long all but bullmq-always-same-work)
  --measures a,b   out of those below
  --rounds N       how often each is measured (medians are shown); default: 3, in the short form as many of them
                   as fit into three minutes
  --json FILE      also write every sample
  --add FILE       count the samples of an earlier run of the same form too; can be repeated
  --revision REV   measure Posthorn as of a git revision, such as HEAD, instead of the working tree
  -h, --help       this

${measures.join('\n')}

Exit code 1 when a system lost an event, signed one wrongly or failed; its other figures are still shown.
`;
}

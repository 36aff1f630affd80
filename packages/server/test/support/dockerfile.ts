/** Reads a Dockerfile into its stages: no more of the language than ours needs. */

export interface Stage {
  name: string | null;
  from: string;
  /** In order; with arguments as they stand, on one line. */
  instructions: { keyword: string; argument: string }[];
  env: Record<string, string>;
  all(keyword: string): string[];
  /** The last of its kind, which is the one that counts. */
  last(keyword: string): string;
  /** What is copied from the build's context. */
  contextSources(): string[];
}

/**
 * @throws Error for what it can't read
 * @example
 * readDockerfile('FROM node:24\nUSER 1000').finalStage.last('USER'); // '1000'
 */
export function readDockerfile(text: string): { stages: Stage[]; finalStage: Stage } {
  const lines = text
    .split('\n')
    .filter((line) => !/^\s*(#|$)/.test(line))
    .join('\n')
    .replaceAll(/\\\n\s*/g, ' ')
    .split('\n');
  const stages: Stage[] = [];
  for (const line of lines) {
    const [, keyword = '', argument = ''] = /^([A-Z]+) (.*)$/.exec(line) ?? [];
    if (keyword === '') throw new Error(`no instruction: ${line}`);
    if (keyword === 'FROM') stages.push(newStage(argument));
    else stages.at(-1)?.instructions.push({ keyword, argument });
  }
  const finalStage = stages.at(-1);
  if (finalStage === undefined) throw new Error('a Dockerfile begins with FROM');
  return { stages, finalStage };
}

function newStage(argument: string): Stage {
  const [from = '', , name = null] = argument.split(' ');
  const instructions: Stage['instructions'] = [];
  const all = (keyword: string) =>
    instructions.filter((instruction) => instruction.keyword === keyword).map((found) => found.argument);
  return {
    name,
    from,
    instructions,
    all,
    last(keyword) {
      const found = all(keyword).at(-1);
      if (found === undefined) throw new Error(`the stage has no ${keyword}`);
      return found;
    },
    get env() {
      const pairs = all('ENV').flatMap((line) => line.split(' '));
      return Object.fromEntries(
        pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
      );
    },
    contextSources: () =>
      all('COPY')
        .filter((copied) => !copied.startsWith('--from'))
        .flatMap((copied) => copied.split(' ').slice(0, -1)),
  };
}

/**
 * What a `.dockerignore` lets into the build's context, for one that first leaves out everything (`*`), then names what
 * comes in (`!name`, at the top), then what stays out after all (a name or a pattern, at any depth: `**` before a slash).
 *
 * @param path - relative to the context, with slashes
 */
export function isInContext(dockerignore: string, path: string): boolean {
  const patterns = dockerignore.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const [everything, ...rest] = patterns;
  if (everything !== '*') throw new Error('it is written for one that begins with *');
  const segments = path.split('/');
  const named = rest.filter((pattern) => pattern.startsWith('!')).map((pattern) => pattern.slice(1));
  if (!named.includes(segments[0] as string)) return false;
  return rest
    .filter((pattern) => !pattern.startsWith('!'))
    .every((pattern) => {
      if (!pattern.startsWith('**/')) throw new Error(`${pattern} has another form`);
      const name = new RegExp(`^${pattern.slice(3).replaceAll('.', '\\.').replaceAll('*', '[^/]*')}$`);
      return segments.every((segment) => !name.test(segment));
    });
}

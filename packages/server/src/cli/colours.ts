import type { Io } from './io.ts';

const CODES = { green: 32, red: 31, yellow: 33, dim: 2 } as const;

export type Colour = keyof typeof CODES;

/** The text in a colour where stdout is a terminal and `NO_COLOR` is not set; elsewhere as it is. */
export function coloured(io: Pick<Io, 'stdout' | 'env'>, colour: Colour, text: string): string {
  if (io.stdout.isTTY !== true || io.env.NO_COLOR) return text;
  return `\x1b[${CODES[colour]}m${text}\x1b[0m`;
}

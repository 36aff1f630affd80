/** The exit codes of every command; the help prints them. */
export const EXIT_CODES = {
  ok: 0,
  /** The operation was tried and failed. */
  failed: 1,
  /** Wrong usage or configuration: nothing was tried. */
  usage: 2,
  /** No Posthorn server answered. */
  unreachable: 3,
} as const;

export type ExitReason = Exclude<keyof typeof EXIT_CODES, 'ok'>;

/** Ends a command with a sentence for the person at the terminal: what was wrong and what to do. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly reason: ExitReason;

  constructor(reason: ExitReason, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.reason = reason;
  }
}

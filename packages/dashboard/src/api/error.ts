/** What the API refused, or that it couldn't be asked. */

export interface ApiErrorFacts {
  /** HTTP status; 0 when no answer came. */
  status: number;
  /** The envelope's code (wire contract, section 1); -1 when no envelope came. */
  code: number;
  /** The request id, to find the request in the server's log; null when no answer came. */
  requestId: string | null;
  /** After how many seconds another try makes sense; null when the server didn't say. */
  retryAfterSeconds: number | null;
}

/** A refusal in the API's own words: `message` is the envelope's `msg`. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly code: number;
  readonly requestId: string | null;
  readonly retryAfterSeconds: number | null;

  constructor(message: string, facts: ApiErrorFacts) {
    super(message);
    this.status = facts.status;
    this.code = facts.code;
    this.requestId = facts.requestId;
    this.retryAfterSeconds = facts.retryAfterSeconds;
  }

  get isNotFound(): boolean {
    return this.code === 10104;
  }

  /** Signed out, or never signed in. */
  get isUnauthorized(): boolean {
    return this.code === 10105;
  }

  /** Nothing was reached: the network, or the server itself, is away. */
  get isUnreachable(): boolean {
    return this.status === 0;
  }

  /**
   * The form's field that the message is about. The API's messages begin with the field's name (`url must use https`,
   * `events[2] …`), or name it as a word.
   *
   * @param names - the form's fields, as the API calls them
   * @returns one of `names`; null when the message is about none of them, and belongs above the form
   */
  fieldAmong(names: readonly string[]): string | null {
    if (this.code !== 40000) return null;
    const words = this.message.split(/[^A-Za-z0-9_]+/);
    const first = words[0] ?? '';
    return names.find((name) => name === first) ?? names.find((name) => words.includes(name)) ?? null;
  }
}

/** Anything thrown, as something to show. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new ApiError(message, { status: 0, code: -1, requestId: null, retryAfterSeconds: null });
}

/**
 * Every way in which Posthorn refuses a request, in one table: the envelope's `code` and the HTTP status
 * (wire contract, section 1). Rooms throw a {@link PosthornError} of a kind; only `api/` knows about HTTP.
 */
export const ERROR_KINDS = {
  /** A parameter is missing, malformed or out of range; the message names it. */
  invalid_parameter: { code: 40000, httpStatus: 400 },
  /** The request contradicts what is stored: a taken name, an `event_id` with other content. */
  conflict: { code: 40000, httpStatus: 409 },
  /** The body is over a size limit. */
  too_large: { code: 40000, httpStatus: 413 },
  /** The body isn't JSON by its content type. */
  unsupported_media_type: { code: 40000, httpStatus: 415 },
  /** No such record, or one of another account: the two are indistinguishable on purpose. */
  not_found: { code: 10104, httpStatus: 404 },
  /** No API key, or one that doesn't hold. */
  unauthorized: { code: 10105, httpStatus: 401 },
  /** The key is valid and may not call this route: scope, or a suspended account. */
  forbidden: { code: 18025, httpStatus: 403 },
  /** Too many requests; `retryAfterSeconds` says when to come back. */
  rate_limited: { code: 429, httpStatus: 429 },
  /** A defect of ours. The message never carries internals. */
  internal: { code: 50000, httpStatus: 500 },
  /** The store can't be written or the service is saturated; nothing was acknowledged. Try again. */
  unavailable: { code: 50000, httpStatus: 503 },
} as const;

export type ErrorKind = keyof typeof ERROR_KINDS;

export interface PosthornErrorOptions {
  /** The offending parameter, as the caller named it. */
  field?: string;
  /** Whole seconds after which a retry makes sense; sent as `retry-after`. */
  retryAfterSeconds?: number;
  cause?: unknown;
}

/**
 * A refusal with a sentence for the caller: what was wrong, where, and what to do.
 *
 * @example
 * throw new PosthornError('invalid_parameter', 'url must be an absolute https URL', { field: 'url' });
 */
export class PosthornError extends Error {
  override readonly name = 'PosthornError';
  readonly kind: ErrorKind;
  readonly field: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(kind: ErrorKind, message: string, options: PosthornErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.field = options.field;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }

  /** The envelope's `code`. */
  get code(): number {
    return ERROR_KINDS[this.kind].code;
  }

  get httpStatus(): number {
    return ERROR_KINDS[this.kind].httpStatus;
  }
}

/** A parameter error that names its field. */
export function invalid(field: string, message: string): PosthornError {
  return new PosthornError('invalid_parameter', message, { field });
}

/** "No such …", the same words whether it never existed or belongs to somebody else. */
export function notFound(what: string, id: string): PosthornError {
  return new PosthornError('not_found', `${what} ${JSON.stringify(id)} not found`);
}

/** The answer while the store can't be written: safe to repeat, nothing was acknowledged. */
export function unavailable(message: string, cause?: unknown, retryAfterSeconds = 1): PosthornError {
  return new PosthornError('unavailable', message, { retryAfterSeconds, cause });
}

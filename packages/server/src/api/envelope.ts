/** The envelope that every answer wears (wire contract, section 1), and the way from an error to it. */
import { PosthornError } from '../errors.ts';

export interface Envelope {
  rid: string;
  code: number;
  msg: string;
  data: unknown;
}

export const SUCCESS_MESSAGE = 'Success';

export function success(rid: string, data: unknown): Envelope {
  return { rid, code: 0, msg: SUCCESS_MESSAGE, data };
}

/**
 * What a handler returns when it did its work and yet not all of it succeeded (a batch with refused items): HTTP 200
 * with `data`, and a code other than 0.
 */
export class PartialFailure<T> {
  readonly data: T;
  readonly code: number;
  readonly msg: string;

  constructor(data: T, code: number, msg: string) {
    this.data = data;
    this.code = code;
    this.msg = msg;
  }
}

/** The envelope of what a handler returned. */
export function envelopeOf(rid: string, result: unknown): Envelope {
  if (!(result instanceof PartialFailure)) return success(rid, result);
  const { code, msg, data } = result;
  return { rid, code, msg, data };
}

/** How a refusal looks on the wire. */
export interface Refusal {
  httpStatus: number;
  headers: Record<string, string>;
  body: Envelope;
}

/**
 * The answer for an error. Defects of ours keep their words for the log: the caller gets the request id to ask with.
 */
export function refusal(rid: string, error: PosthornError): Refusal {
  const msg =
    error.kind === 'internal'
      ? `internal error; the server's log has the cause under request id ${rid}`
      : error.message;
  return {
    httpStatus: error.httpStatus,
    headers: error.retryAfterSeconds === undefined ? {} : { 'retry-after': String(error.retryAfterSeconds) },
    body: { rid, code: error.code, msg, data: null },
  };
}

/** Fastify's own errors, by code, in our words. `limitBytes` is the request limit. */
export function fromFrameworkError(error: unknown, limitBytes: number): PosthornError {
  if (error instanceof PosthornError) return error;
  const { code, statusCode } = (error ?? {}) as { code?: unknown; statusCode?: unknown };
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new PosthornError(
        'too_large',
        `the request body is larger than ${limitBytes} bytes; send less at once`,
        {
          field: 'body',
        },
      );
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new PosthornError(
        'unsupported_media_type',
        'the content-type header must be application/json: send the body as JSON in UTF-8',
        { field: 'content-type' },
      );
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new PosthornError(
        'invalid_parameter',
        'the request body is shorter or longer than its content-length header says',
        { field: 'body' },
      );
    case 'FST_ERR_BAD_URL':
      return new PosthornError('invalid_parameter', 'the path is malformed: check its percent-encoding', {
        field: 'path',
      });
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new PosthornError('not_found', 'no record has an id as long as the one in the path');
    case 'ECONNRESET':
    case 'ECONNABORTED':
      return new PosthornError('invalid_parameter', 'the request ended before its body was complete', {
        field: 'body',
        cause: error,
      });
    default:
  }
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500) {
    return new PosthornError('invalid_parameter', 'the request is malformed', { cause: error });
  }
  return new PosthornError('internal', 'unexpected error', { cause: error });
}

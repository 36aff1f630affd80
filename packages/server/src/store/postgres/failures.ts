import { DatabaseError } from 'pg';
import { PosthornError, unavailable } from '../../errors.ts';

/** Why a database that refuses with such a SQLSTATE may take the same statement later. */
const PASSING: readonly [prefix: string, sentence: string][] = [
  ['08', "the database's connection failed"],
  ['25006', 'the database is read-only now'],
  ['25P03', 'the database ended a transaction that stood still'],
  ['40', "the database gave up a transaction for another's sake"],
  ['53100', "the database's disk is full"],
  ['53300', 'the database has no connection free'],
  ['53', 'the database is short of resources'],
  ['55P03', 'the database could not get a lock in time'],
  ['57014', 'the database did not finish a statement in time'],
  ['57', 'the database is starting, stopping or was told to end a session'],
  ['58', "the database's files can't be read or written"],
  // Raised by `check_sealing`.
  ['PH001', 'the encryption key was changed meanwhile'],
];

/** What a server says when it doesn't let a client in, in words for whoever set the URL. */
const REFUSED_LOGIN: readonly [prefix: string, sentence: string][] = [
  ['28', "the database refuses this user: check user and password, and the server's pg_hba.conf"],
  ['3D000', 'the database of this name does not exist: create it first'],
  ['42501', 'this user may not connect to the database: grant it CONNECT'],
];

/** Fields of an error that may repeat the values of a row: bodies, sealed secrets. They must not reach a log. */
const CARRY_VALUES = ['detail', 'where', 'internalQuery'] as const;

/** The driver's own words, which have no code. */
const NO_TLS = 'The server does not support SSL connections';

function sentenceOf(table: readonly [string, string][], sqlState: string): string | undefined {
  return table.find(([prefix]) => sqlState.startsWith(prefix))?.[1];
}

function withoutValues(error: DatabaseError): DatabaseError {
  for (const field of CARRY_VALUES) delete error[field];
  return error;
}

/** The SQLSTATE of an error of the server; undefined for any other error, a lost connection for example. */
export function sqlStateOf(error: unknown): string | undefined {
  if (error instanceof DatabaseError) return error.code;
  return error instanceof PosthornError && error.cause instanceof DatabaseError
    ? error.cause.code
    : undefined;
}

/**
 * What a failed statement means to the store's callers: `unavailable` where trying again may help, `invalid_parameter`
 * for text that PostgreSQL can't hold, else `internal`, a defect of ours. Messages carry no values, hosts or passwords.
 */
export function toPosthornError(error: unknown): PosthornError {
  if (error instanceof PosthornError) return error;
  if (error instanceof TypeError || error instanceof RangeError || error instanceof SyntaxError) {
    return new PosthornError('internal', `the store failed: ${error.message}`, { cause: error });
  }
  if (!(error instanceof DatabaseError)) {
    // Not from the server, so about the way to it: refused, reset, timed out, ended.
    const { code, message } = error as { code?: unknown; message?: unknown };
    if (message === NO_TLS) {
      return unavailable('the server speaks no TLS: set it up there, or give sslmode=disable', error);
    }
    return unavailable(
      `the database can't be reached${typeof code === 'string' ? ` (${code})` : ''}: try again`,
      error,
    );
  }
  const cause = withoutValues(error);
  const sqlState = cause.code ?? 'unknown';
  const passing = sentenceOf(PASSING, sqlState);
  if (passing !== undefined || isFatal(cause)) {
    return unavailable(
      `${passing ?? 'the database ended the session'} (SQLSTATE ${sqlState}): try again`,
      cause,
    );
  }
  if (sqlState === '22021' || sqlState === '22P05') {
    return new PosthornError('invalid_parameter', "text must not hold U+0000: PostgreSQL can't keep it", {
      cause,
    });
  }
  return new PosthornError(
    'internal',
    `the database refused a statement (SQLSTATE ${sqlState}: ${cause.message})`,
    { cause },
  );
}

/** What a failed attempt to connect means: always `unavailable`, for the server may let us in the next time. */
export function toConnectionError(error: unknown): PosthornError {
  const sqlState = error instanceof DatabaseError ? (error.code ?? '') : '';
  const refused = sentenceOf(REFUSED_LOGIN, sqlState);
  if (refused !== undefined) return unavailable(`${refused} (SQLSTATE ${sqlState})`, error);
  const failure = toPosthornError(error);
  return failure.kind === 'unavailable' ? failure : unavailable(failure.message, error);
}

function isFatal(error: DatabaseError): boolean {
  return error.severity === 'FATAL' || error.severity === 'PANIC';
}

/**
 * Whether the session can't be used any more: it is gone, or it leads to a server that only reads (25006), where a new
 * connection may lead to the one that took over.
 */
export function endsSession(error: unknown): boolean {
  return !(error instanceof DatabaseError) || isFatal(error) || error.code === '25006';
}

/** Whether PostgreSQL gave a transaction up for another's sake, so that the same again may pass. */
export function isDeadlockOrSerialization(error: unknown): boolean {
  const sqlState = sqlStateOf(error);
  return sqlState === '40001' || sqlState === '40P01';
}

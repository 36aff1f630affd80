/** Where the data lives, as a person writes it in `POSTHORN_DATABASE_URL`. The text may hold a password: no message repeats it. */
import { ValueError } from './config-values.ts';

export type DatabaseLocation =
  | { engine: 'sqlite'; path: string }
  /** `url` may hold the password: show {@link formatDatabaseUrl} instead. */
  | { engine: 'postgres'; url: string };

/** What the driver understands behind the question mark; a password is better off where everybody looks for it. */
const POSTGRES_PARAMETERS = new Set([
  'application_name',
  'fallback_application_name',
  'host',
  'options',
  'port',
  'sslcert',
  'sslkey',
  'sslmode',
  'sslrootcert',
  'uselibpqcompat',
  'user',
]);
const POSTGRES_EXAMPLE = 'postgres://user:password@host:5432/database';

/**
 * `sqlite:<path>` or `postgres://user:password@host:5432/database`.
 *
 * @throws {ValueError}
 */
export function parseDatabaseUrl(text: string): DatabaseLocation {
  if (/^postgres(ql)?:/i.test(text)) return { engine: 'postgres', url: checkedPostgresUrl(text) };
  return { engine: 'sqlite', path: parseSqlitePath(text) };
}

function parseSqlitePath(text: string): string {
  const match = /^sqlite:(.*)$/is.exec(text);
  if (match === null) {
    throw new ValueError(
      `is not a database URL; write sqlite:<path>, such as sqlite:./posthorn-data/posthorn.db, or ${POSTGRES_EXAMPLE}`,
    );
  }
  const path = match[1] as string;
  if (path === '' || /[/\\]$/.test(path)) {
    throw new ValueError(
      'names no file; write the path of the database file, such as sqlite:./data/posthorn.db',
    );
  }
  if (path.startsWith('//') && !path.startsWith('///')) {
    throw new ValueError(
      'has a host name; write sqlite:<path> with a path relative to the working directory, or an absolute one',
    );
  }
  if (path.includes(':memory:')) {
    throw new ValueError('keeps the data in memory, where a restart loses it; write the path of a file');
  }
  if (/[?#\0]/.test(path)) {
    throw new ValueError('has parameters (? or #); only the path of a file is possible');
  }
  return path;
}

/** Signs of a password that wasn't percent-encoded make the URL another one; each of them is refused here. */
function checkedPostgresUrl(text: string): string {
  const encode = 'special characters of the password must be percent-encoded (/ is %2F, # is %23, ? is %3F)';
  const url = /^postgres(ql)?:\/\//i.test(text) && URL.canParse(text) ? new URL(text) : null;
  if (url === null || url.hash !== '') {
    throw new ValueError(`is not a PostgreSQL URL; write ${POSTGRES_EXAMPLE}, and ${encode}`);
  }
  if (url.searchParams.has('password')) {
    throw new ValueError(`has its password behind the question mark; write ${POSTGRES_EXAMPLE}`);
  }
  if (![...url.searchParams.keys()].every((name) => POSTGRES_PARAMETERS.has(name))) {
    const known = [...POSTGRES_PARAMETERS].filter((name) => name !== 'uselibpqcompat').join(', ');
    throw new ValueError(
      `has a parameter that PostgreSQL's client doesn't know (${known} are possible); ${encode}`,
    );
  }
  if (!/^\/[^/@]+$/.test(url.pathname)) {
    throw new ValueError(`must name one database behind the host: ${POSTGRES_EXAMPLE}; ${encode}`);
  }
  if (url.host === '' && !url.searchParams.has('host')) {
    throw new ValueError(`names no host; write ${POSTGRES_EXAMPLE}`);
  }
  // The engine knows only the lower-case spelling.
  return text.replace(/^[a-z]+/i, (scheme) => scheme.toLowerCase());
}

/**
 * The location as it may be shown: without the password.
 *
 * @example
 * formatDatabaseUrl({ engine: 'postgres', url: 'postgres://posthorn:secret@db:5432/posthorn' });
 * // 'postgres://posthorn:***@db:5432/posthorn'
 */
export function formatDatabaseUrl(location: DatabaseLocation): string {
  if (location.engine === 'sqlite') return `sqlite:${location.path}`;
  const url = new URL(location.url);
  if (url.password !== '') url.password = '***';
  return url.href;
}

/** What `posthorn doctor` looks at in PostgreSQL. Nothing is changed there. */
import { formatDatabaseUrl } from '../config-database.ts';
import { parseEncryptionKey, Vault } from '../secrets.ts';
import { type AppliedMigration, pendingMigrations, readMigrations } from '../store/migrate.ts';
import { type DedicatedConnection, PostgresPool } from '../store/postgres/connection.ts';
import { sqlStateOf } from '../store/postgres/failures.ts';
import { appliedSchema, MIGRATIONS } from '../store/postgres/migrate.ts';
import { type Check, NEWEST_ENDPOINT } from './doctor-checks.ts';

const OLDEST_SERVER = 15;
/** Receivers refuse signatures that are minutes off, but the attempt log goes by this machine's clock, too. */
const CLOCK_NOTICEABLE_MS = 1_000;
const CLOCK_WRONG_MS = 10_000;
const NOTICE_TIMEOUT_MS = 1_000;
const NOTICE_CHANNEL = 'posthorn_doctor';
const INSUFFICIENT_PRIVILEGE = '42501';

interface Server {
  version: string;
  major: number;
  encoding: string;
  standby: boolean;
}

export interface PostgresToCheck {
  url: string;
  poolSize: number;
  /** Base64. */
  encryptionKey: string | null;
  olderEncryptionKeys: readonly string[];
}

/** Reachable, fit for Posthorn, up to date, usable by this user, in time with this machine, and able to tell nodes of changes. */
export async function checkPostgres(database: PostgresToCheck): Promise<Check[]> {
  const { url, poolSize } = database;
  const shown = formatDatabaseUrl({ engine: 'postgres', url });
  let pool: PostgresPool;
  try {
    pool = new PostgresPool({ url, poolSize: 2 });
  } catch (error) {
    return [wrong('database', (error as Error).message, 'correct POSTHORN_DATABASE_URL')];
  }
  const checks: Check[] = [];
  try {
    const startedAt = performance.now();
    const server = await describeServer(pool);
    const tookMs = Math.round(performance.now() - startedAt);
    checks.push(
      ok('database', `${shown} answers within ${tookMs} ms`),
      checkVersion(server),
      checkEncoding(server),
    );
    if (server.standby) {
      checks.push(
        wrong('primary', 'the server is a standby, which only reads', 'give the address of its primary'),
      );
    }
    if (checks.some(({ status }) => status === 'wrong')) return checks;
    const schema = await checkSchema(url);
    const rights = await checkRights(pool, schema.status !== 'skipped');
    checks.push(schema, rights);
    if (schema.status === 'ok' && rights.status === 'ok') checks.push(await checkKeys(pool, database));
    checks.push(
      await checkDatabaseClock(pool),
      await checkNotices(pool),
      await checkConnections(pool, poolSize + 1),
    );
    return checks;
  } catch (error) {
    const { message } = error as Error;
    const fix =
      'see that PostgreSQL runs and lets this machine in; check host, port, user, password and database of POSTHORN_DATABASE_URL';
    return [...checks, wrong('database', `${shown} can't be used: ${message}`, fix)];
  } finally {
    await pool.close();
  }
}

/** As on SQLite. */
export async function newestEndpoint(url: string): Promise<string | null> {
  try {
    const pool = new PostgresPool({ url, poolSize: 1 });
    try {
      const [row] = await pool.query<{ url: string }>(NEWEST_ENDPOINT('posthorn.'));
      return row?.url ?? null;
    } finally {
      await pool.close();
    }
  } catch {
    return null;
  }
}

async function describeServer(pool: PostgresPool): Promise<Server> {
  const [server] = await pool.query<Server>(
    `SELECT current_setting('server_version') AS version, current_setting('server_version_num')::integer / 10000 AS major,
       current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS standby`,
  );
  return server as Server;
}

function checkVersion({ version, major }: Server): Check {
  if (major >= OLDEST_SERVER) return ok('PostgreSQL', version);
  return wrong('PostgreSQL', `${version} is too old`, `upgrade the server to ${OLDEST_SERVER} or newer`);
}

function checkEncoding({ encoding }: Server): Check {
  if (encoding === 'UTF8') return ok('encoding', encoding);
  return wrong('encoding', encoding, "make the database with ENCODING 'UTF8'");
}

async function checkSchema(url: string): Promise<Check> {
  const known = readMigrations(MIGRATIONS);
  let applied: AppliedMigration[];
  try {
    applied = await appliedSchema(url);
  } catch (error) {
    if (sqlStateOf(error) !== INSUFFICIENT_PRIVILEGE) throw error;
    return wrong('schema', 'this user may not read it', 'connect as the owner of the schema posthorn');
  }
  if (applied.length === 0) {
    return { check: 'schema', status: 'skipped', detail: 'is made at the first start', fix: null };
  }
  try {
    if (pendingMigrations(known, applied).length === 0) {
      return ok('schema', `version ${applied.length}, up to date`);
    }
  } catch (error) {
    return wrong('schema', (error as Error).message, 'run the Posthorn that the database belongs to');
  }
  return wrong(
    'schema',
    `version ${applied.length}, and this Posthorn wants ${known.length}`,
    'run posthorn migrate, or start posthorn serve, which does the same',
  );
}

async function checkRights(pool: PostgresPool, hasSchema: boolean): Promise<Check> {
  const check = 'rights';
  if (!hasSchema) {
    const [row] = await pool.query<{ may: boolean }>(
      `SELECT has_database_privilege(current_database(), 'CREATE') AS may`,
    );
    if (row?.may) return ok(check, `${pool.user} may make the schema`);
    return wrong(
      check,
      `${pool.user} may not make the schema posthorn`,
      `GRANT CREATE ON DATABASE … TO ${pool.user}, or make it the database's owner`,
    );
  }
  const [row] = await pool.query<{ owns: boolean; writes: boolean }>(
    `SELECT coalesce(bool_and(pg_has_role(relowner, 'USAGE')), false) AS owns,
       coalesce(bool_and(has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
         AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')), false) AS writes
     FROM pg_class WHERE relnamespace = to_regnamespace('posthorn') AND relkind IN ('r', 'p')`,
  );
  if (row?.owns && row.writes) return ok(check, `${pool.user} owns the schema's tables`);
  return wrong(
    check,
    `${pool.user} ${row?.writes ? "doesn't own the schema's tables, and can't add the partitions of new days" : "may not change the schema's tables"}`,
    `ALTER SCHEMA posthorn OWNER TO ${pool.user}, and its tables, or connect as their owner`,
  );
}

async function checkKeys(
  pool: PostgresPool,
  { encryptionKey, olderEncryptionKeys }: PostgresToCheck,
): Promise<Check> {
  const check = 'encryption key';
  const [active] = await pool.query<{ value: string }>(
    `SELECT value FROM posthorn.meta WHERE name = 'encryption_key_id'`,
  );
  if (encryptionKey === null || active === undefined) return ok(check, 'from the configuration');
  const needed = await pool.query<{ id: string }>('SELECT key_id AS id FROM posthorn.encryption_key');
  const vault = new Vault(parseEncryptionKey(encryptionKey), {
    older: olderEncryptionKeys.map(parseEncryptionKey),
  });
  if (!vault.knows(active.value)) {
    return wrong(
      check,
      `is ${vault.keyId}, but the data was written with ${active.value}`,
      'give every node the key that belongs to the data, as POSTHORN_ENCRYPTION_KEY',
    );
  }
  const missing = needed.map(({ id }) => id).filter((id) => !vault.knows(id));
  if (missing.length > 0) {
    return wrong(
      check,
      `some of the data is still encrypted with ${missing.join(' and ')}`,
      'give it as POSTHORN_ENCRYPTION_KEY_OLD until posthorn secrets status shows it no more',
    );
  }
  if (vault.keyId !== active.value) {
    return warning(
      check,
      `${vault.keyId} is configured, but ${active.value} is in use`,
      'run posthorn secrets rotate-key when every node was started with both',
    );
  }
  return ok(check, `${vault.keyId}, with which the data was written`);
}

/** The middle of the way there and back is taken for the moment at which the server looked at its clock. */
async function checkDatabaseClock(pool: PostgresPool): Promise<Check> {
  const check = 'database clock';
  const askedAt = Date.now();
  const [row] = await pool.query<{ now: number }>(
    'SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now',
  );
  const answeredAt = Date.now();
  const aheadMs = Math.round((askedAt + answeredAt) / 2 - (row?.now ?? 0));
  const detail = `this machine is ${Math.abs(aheadMs)} ms ${aheadMs < 0 ? 'behind' : 'ahead of'} the database`;
  if (Math.abs(aheadMs) <= CLOCK_NOTICEABLE_MS + (answeredAt - askedAt)) return ok(check, detail);
  const fix =
    'let NTP set the clocks of both machines: signatures and the attempt log carry the time of this one, and receivers refuse a wrong one';
  return Math.abs(aheadMs) < CLOCK_WRONG_MS ? warning(check, detail, fix) : wrong(check, detail, fix);
}

async function checkNotices(pool: PostgresPool): Promise<Check> {
  const check = 'notices';
  let connection: DedicatedConnection | null = null;
  let timer: NodeJS.Timeout | undefined;
  try {
    connection = await pool.dedicated();
    const { promise: arrived, resolve } = Promise.withResolvers<boolean>();
    connection.onNotification(() => resolve(true));
    await connection.query(`LISTEN ${NOTICE_CHANNEL}`);
    const startedAt = performance.now();
    await pool.query(`SELECT pg_notify('${NOTICE_CHANNEL}', '')`);
    timer = setTimeout(() => resolve(false), NOTICE_TIMEOUT_MS);
    if (await arrived) return ok(check, `arrive within ${Math.round(performance.now() - startedAt)} ms`);
    return warning(
      check,
      `don't arrive: a proxy that pools transactions drops them`,
      'connect past the proxy to let nodes hear of each other at once; without it they look every second',
    );
  } finally {
    clearTimeout(timer);
    connection?.close();
  }
}

async function checkConnections(pool: PostgresPool, wanted: number): Promise<Check> {
  const check = 'connections';
  const [row] = await pool.query<{ most: number; used: number }>(
    `SELECT current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
         - coalesce(current_setting('reserved_connections', true)::integer, 0) AS most,
       (SELECT sum(numbackends) FROM pg_stat_database)::integer AS used`,
  );
  const { most = 0, used = 0 } = row ?? {};
  const detail = `this node takes up to ${wanted}; the server has ${most}, of which ${used} are in use now`;
  const fix =
    'lower POSTHORN_DATABASE_POOL, raise max_connections of the server, or put PgBouncer in between';
  if (wanted > most) return wrong(check, detail, fix);
  // A node of this configuration may be running already, and be among those in use.
  return used > most - wanted ? warning(check, detail, fix) : ok(check, detail);
}

function ok(check: string, detail: string): Check {
  return { check, status: 'ok', detail, fix: null };
}

function warning(check: string, detail: string, fix: string): Check {
  return { check, status: 'warning', detail, fix };
}

function wrong(check: string, detail: string, fix: string): Check {
  return { check, status: 'wrong', detail, fix };
}

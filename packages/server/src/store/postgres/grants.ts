import { invalid } from '../../errors.ts';
import { PostgresPool } from './connection.ts';

/**
 * Lets a role publish from SQL, and do nothing else with Posthorn's schema. May be done again.
 *
 * @param url - for the owner of the schema
 * @throws PosthornError `invalid_parameter` when there is no such role, `unavailable` when the database can't be reached
 * @example
 * await grantPublish('postgres://posthorn@localhost/app', 'app_backend');
 */
export async function grantPublish(url: string, role: string): Promise<void> {
  const pool = new PostgresPool({ url, poolSize: 1 });
  try {
    await pool.transaction(async (sql) => {
      const [found] = await sql.query<{ name: string }>(
        'SELECT quote_ident(rolname) AS name FROM pg_roles WHERE rolname = $1',
        [role],
      );
      if (found === undefined) {
        throw invalid(
          'role',
          `there is no role ${JSON.stringify(role)}: create it first (CREATE ROLE … LOGIN)`,
        );
      }
      await sql.query(`GRANT USAGE ON SCHEMA posthorn TO ${found.name}`);
      await sql.query(`GRANT EXECUTE ON FUNCTION posthorn.publish(text, text, jsonb, text) TO ${found.name}`);
    });
  } finally {
    await pool.close();
  }
}

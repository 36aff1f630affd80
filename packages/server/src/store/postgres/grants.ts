import { invalid } from '../../errors.ts';
import type { AuditActor } from '../../model.ts';
import { writeAuditLine } from './audit.ts';
import { PostgresPool } from './connection.ts';

/**
 * Lets a role publish from SQL, and do nothing else with Posthorn's schema. May be done again: each time has its line in
 * the audit log.
 *
 * @param url - for the owner of the schema
 * @throws PosthornError `invalid_parameter` when there is no such role, `unavailable` when the database can't be reached
 * @example
 * await grantPublish('postgres://posthorn@localhost/app', 'app_backend', actor);
 */
export async function grantPublish(url: string, role: string, by: AuditActor): Promise<void> {
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
      const [session] = await sql.query<{ database: string; user: string }>(
        'SELECT current_database() AS database, session_user::text AS user',
      );
      await writeAuditLine(sql, {
        by,
        action: 'database.grant_publish',
        targetType: 'database',
        target: session?.database ?? '',
        username: null,
        before: null,
        after: { role, granted_by: session?.user ?? null },
      });
    });
  } finally {
    await pool.close();
  }
}

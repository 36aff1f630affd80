/**
 * Set-up and tear-down of a whole run (`node --test --test-global-setup=…`): one cluster for all test files, which
 * find it by `POSTHORN_TEST_POSTGRES_URL`. A file that is run alone starts its own.
 */
import { PostgresCluster } from './postgres-cluster.ts';

let cluster: PostgresCluster | undefined;

export async function globalSetup(): Promise<void> {
  if (process.env.POSTHORN_TEST_POSTGRES_URL) return;
  try {
    cluster = await PostgresCluster.start();
  } catch (error) {
    // The tests that need PostgreSQL fail by themselves, and tell why; the others needn't.
    console.error((error as Error).message);
    return;
  }
  process.env.POSTHORN_TEST_POSTGRES_URL = cluster.url();
}

export async function globalTeardown(): Promise<void> {
  await cluster?.remove();
}

/**
 * Set-up and tear-down of a whole run (`node --test --test-global-setup=…`): one cluster for all test files, which
 * find it by `POSTHORN_TEST_POSTGRES_URL`, and one cache of compiled sources. A file that is run alone starts its own
 * cluster and compiles for itself.
 */
import { join } from 'node:path';
import { PostgresCluster } from './postgres-cluster.ts';

/** A test file, and each command that one starts, loads over a hundred sources: compiling them is half of a start. */
const COMPILE_CACHE = join(import.meta.dirname, '../../../../node_modules/.cache/node-compile');

let cluster: PostgresCluster | undefined;

export async function globalSetup(): Promise<void> {
  process.env.NODE_COMPILE_CACHE ??= COMPILE_CACHE;
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

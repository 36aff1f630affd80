import { after } from 'node:test';

import { testApp } from '../support/app.ts';
import { PostgresEngine } from '../support/postgres-store.ts';
import { fuzzSuite } from './fuzz.suite.ts';

const engine = new PostgresEngine();
after(() => engine.dispose());

fuzzSuite('PostgreSQL', async (t) => {
  const database = await engine.createDatabase();
  const api = await testApp({ openStore: () => database.open() });
  t.after(() => api.close());
  return api;
});

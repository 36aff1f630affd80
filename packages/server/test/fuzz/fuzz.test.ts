import { testApp } from '../support/app.ts';
import { fuzzSuite } from './fuzz.suite.ts';

fuzzSuite('SQLite', async (t) => {
  const api = await testApp();
  t.after(() => api.close());
  return api;
});

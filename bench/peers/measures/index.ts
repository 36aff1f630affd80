/** All measures, in the order in which a round takes them. */
import { bothAndLatency, latencyTen, manyAccounts } from './both.ts';
import { ingestAndDrain, ingestTen } from './ingest-drain.ts';
import { isolation } from './isolation.ts';
import type { Measure } from './measure.ts';
import { start } from './start.ts';
import { stored } from './stored.ts';

export const MEASURES: readonly Measure[] = [
  ingestAndDrain,
  bothAndLatency,
  ingestTen,
  latencyTen,
  isolation,
  start,
  stored,
  manyAccounts,
];

/** What a measure is, and how much of everything the two forms of the benchmark take. */
import type { Stand } from '../stand.ts';
import type { System } from '../system.ts';

/** Durations in ms, counts in events or deliveries. */
export interface Scale {
  warmUpMs: number;
  ingestMs: number;
  /** Ingest ends at so many events; they are the backlog that is drained. */
  backlogEvents: number;
  bothMs: number;
  latencyMs: number;
  isolationMs: number;
  /** Deliveries stored beside what is measured. */
  stored: { finished: number; pending: number };
  /** How often each side of a comparison within one measure is measured. */
  repeats: number;
  /** Pending deliveries at a start after a kill. */
  pendingAtStart: number;
  accounts: number;
  /** How long deliveries may take to arrive after everything was published. */
  patienceMs: number;
}

export const SHORT: Scale = {
  warmUpMs: 500,
  ingestMs: 4000,
  backlogEvents: 30_000,
  bothMs: 3000,
  latencyMs: 4000,
  isolationMs: 8000,
  stored: { finished: 100_000, pending: 100_000 },
  repeats: 1,
  pendingAtStart: 20_000,
  accounts: 1000,
  patienceMs: 30_000,
};

export const LONG: Scale = {
  warmUpMs: 1000,
  ingestMs: 10_000,
  backlogEvents: 60_000,
  bothMs: 8000,
  latencyMs: 10_000,
  isolationMs: 15_000,
  stored: { finished: 1_000_000, pending: 1_000_000 },
  repeats: 3,
  pendingAtStart: 100_000,
  accounts: 10_000,
  patienceMs: 120_000,
};

/** Figures by name; the names and their units are those of `FIGURES` in `../figure-names.ts`. */
export type Figures = Record<string, number>;

export interface Measure {
  /** What `--measures` takes. */
  name: string;
  /** One line for `--help`. */
  says: string;
  /** Part of the short form when no measures are chosen. */
  isKey: boolean;
  /** Measured in the first round only, because it repeats within itself. */
  isOnce: boolean;
  /** True, or why the system can't be measured so. */
  fits(system: System): true | string;
  run(stand: Stand, system: System, scale: Scale): Promise<Figures>;
}

/** For measures that publish: everything but a system without ingest. */
export function needsIngest(system: System): true | string {
  return system.prepare === undefined ? true : 'it accepts nothing';
}

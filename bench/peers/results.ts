/** What a run has found, as it is written with `--json` and read back with `--add`. */
import { median } from './figures.ts';
import type { Figures } from './measures/measure.ts';
import type { System } from './system.ts';

export interface MachineFacts {
  cores: number;
  cpu: string;
  memoryGiB: number;
  node: string;
  kernel: string;
}

export interface SystemResult {
  name: string;
  family: System['family'];
  durability: System['durability'];
  settings: Record<string, string>;
  /** Every round's value, by figure. */
  samples: Record<string, number[]>;
  /** Why it has no figures for a measure, by measure; `*` for all. */
  missing: Record<string, string>;
}

export interface Results {
  format: 1;
  form: 'short' | 'long';
  startedAt: string;
  machine: MachineFacts;
  postgresSettings: Record<string, string>;
  systems: SystemResult[];
}

export function addSample(result: SystemResult, figures: Figures): void {
  for (const [key, value] of Object.entries(figures)) (result.samples[key] ??= []).push(value);
}

/** The median of a figure over all rounds; NaN where it wasn't measured. */
export function valueOf(result: SystemResult, key: string): number {
  return median(result.samples[key] ?? []);
}

/** Puts the samples of an earlier run of the same form beside this one's. */
export function merge(into: Results, earlier: Results): void {
  if (earlier.format !== 1 || earlier.form !== into.form) {
    throw new Error(
      `only results of the ${into.form} form can be added to it; these are of the ${earlier.form} one`,
    );
  }
  for (const old of earlier.systems) {
    const same = into.systems.find(({ name }) => name === old.name);
    if (same === undefined) {
      into.systems.push(old);
      continue;
    }
    for (const [key, values] of Object.entries(old.samples)) {
      same.samples[key] = [...values, ...(same.samples[key] ?? [])];
    }
  }
}

/** A whole run: rounds of measures, each taken by all systems in turns. */
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { type Measure, LONG, type Scale, SHORT } from './measures/measure.ts';
import { MEASURES } from './measures/index.ts';
import type { Options } from './options.ts';
import { addSample, type MachineFacts, merge, type Results, type SystemResult } from './results.ts';
import type { RunSite } from './site.ts';
import { Stand } from './stand.ts';
import type { System } from './system.ts';
import { loadSystem } from './systems/index.ts';

const ROUNDS = 3;
/** The short form begins no round that would end later. */
const SHORT_FORM_MS = 170_000;

interface Entry {
  system: System;
  result: SystemResult;
}

/**
 * Measures, and tells its progress by `say`.
 *
 * @returns the results, and what went wrong on the way as sentences
 */
export async function runBenchmark(
  options: Options,
  site: RunSite,
  say: (line: string) => void,
): Promise<{ results: Results; faults: string[] }> {
  const scale = options.form === 'long' ? LONG : SHORT;
  const measures = MEASURES.filter(({ name }) => options.measures.includes(name));
  const entries = await loadEntries(options.systems, say);
  const results: Results = {
    format: 1,
    form: options.form,
    startedAt: new Date().toISOString(),
    machine: machineFacts(),
    postgresSettings: {},
    systems: entries.map(({ result }) => result),
  };
  const faults: string[] = [];
  const stand = await Stand.open(site);
  const startedAt = performance.now();
  for (let round = 0; hasTimeFor(round, options, performance.now() - startedAt); round += 1) {
    for (const measure of measures) {
      if (measure.isOnce && round > 0) continue;
      // Another order each round: whoever is first meets another machine than whoever is last.
      for (const entry of turned(entries, round)) {
        const fault = await takeMeasure(stand, entry, measure, scale, `round ${round + 1}`, say);
        if (fault !== null) faults.push(fault);
      }
    }
  }
  results.postgresSettings = await site.postgresSettings();
  for (const file of options.add) merge(results, JSON.parse(readFileSync(file, 'utf8')) as Results);
  return { results, faults };
}

async function loadEntries(names: readonly string[], say: (line: string) => void): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (const name of names) {
    const system = await loadSystem(name);
    const { family, durability, settings } = system;
    const result: SystemResult = { name, family, durability, settings, samples: {}, missing: {} };
    const available = await system.isAvailable();
    if (available !== true) {
      result.missing['*'] = available;
      say(`${name} is left out: ${available}`);
    }
    entries.push({ system, result });
  }
  return entries;
}

async function takeMeasure(
  stand: Stand,
  { system, result }: Entry,
  measure: Measure,
  scale: Scale,
  when: string,
  say: (line: string) => void,
): Promise<string | null> {
  if (result.missing['*'] !== undefined) return null;
  const fits = measure.fits(system);
  if (fits !== true) {
    result.missing[measure.name] = fits;
    return null;
  }
  const startedAt = performance.now();
  try {
    const figures = await measure.run(stand, system, scale);
    addSample(result, figures);
    const shown = Object.entries(figures).map(([key, value]) => `${key} ${Number(value.toPrecision(4))}`);
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    say(`${when}, ${measure.name}, ${system.name} (${seconds} s): ${shown.join(', ')}`);
    return null;
  } catch (error) {
    const fault = `${when}, ${measure.name}, ${system.name}: ${error instanceof Error ? error.message : String(error)}`;
    result.missing[measure.name] = fault;
    say(`FAILED ${fault}`);
    return fault;
  }
}

function turned<T>(values: readonly T[], by: number): T[] {
  const at = values.length === 0 ? 0 : by % values.length;
  return [...values.slice(at), ...values.slice(0, at)];
}

/** Whether another round begins after so many have ended. */
export function hasTimeFor(
  round: number,
  { rounds, form }: Pick<Options, 'rounds' | 'form'>,
  elapsedMs: number,
): boolean {
  if (round === 0) return true;
  if (rounds !== null) return round < rounds;
  if (form === 'long') return round < ROUNDS;
  return round < ROUNDS && (elapsedMs / round) * (round + 1) <= SHORT_FORM_MS;
}

function machineFacts(): MachineFacts {
  const [first, ...others] = cpus();
  return {
    cores: others.length + 1,
    cpu: first?.model.trim() ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.versions.node,
    kernel: release(),
  };
}

/** Memory and file handles of processes over their lives, from `/proc` (Linux). */
import { readdirSync, readFileSync } from 'node:fs';

export interface Sample {
  /** Seconds since the life began. */
  atS: number;
  rssMiB: number;
  pssMiB: number;
  files: number;
}

/** The life of one process, from its start to its end. */
export class Life {
  readonly samples: Sample[] = [];
  readonly name: string;
  readonly #pid: number;
  readonly #startedAt = performance.now();

  constructor(name: string, pid: number) {
    this.name = name;
    this.#pid = pid;
  }

  /** Adds a sample; nothing when the process is gone. */
  sample(): void {
    try {
      const memory = readFileSync(`/proc/${this.#pid}/smaps_rollup`, 'utf8');
      const files = readdirSync(`/proc/${this.#pid}/fd`).length;
      const mib = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(memory)?.[1]) / 1024;
      const atS = (performance.now() - this.#startedAt) / 1000;
      this.samples.push({ atS, rssMiB: mib('Rss'), pssMiB: mib('Pss'), files });
    } catch {
      // It ended meanwhile.
    }
  }

  /** `| node a, life 1 | 300 s | … |`; the slope leaves out the first minute, when caches fill. */
  row(): string {
    const { samples } = this;
    const [first, last] = [samples[0], samples.at(-1)];
    if (first === undefined || last === undefined) return `| ${this.name} | ended at once | | | |`;
    const most = (of: (sample: Sample) => number) => Math.max(...samples.map(of));
    const settled = samples.filter(({ atS }) => atS >= 60);
    const slope = (of: (sample: Sample) => number) =>
      settled.length < 6 ? '–' : (slopePerSecond(settled, of) * 600).toFixed(1);
    const memory = (of: (sample: Sample) => number) =>
      `${of(first).toFixed(0)} / ${of(last).toFixed(0)} / ${most(of).toFixed(0)} | ${slope(of)}`;
    return (
      `| ${this.name} | ${last.atS.toFixed(0)} s | ${memory(({ pssMiB }) => pssMiB)} ` +
      `| ${memory(({ rssMiB }) => rssMiB)} | ${memory(({ files }) => files)} |`
    );
  }
}

export const LIVES_HEAD =
  '| life | lasted | PSS MiB: first / last / most | slope in 10 min | RSS MiB: first / last / most | slope in 10 min ' +
  '| files: first / last / most | slope in 10 min |\n|---|---|---|---|---|---|---|---|';

/** By least squares. */
function slopePerSecond(samples: readonly Sample[], of: (sample: Sample) => number): number {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const meanX = mean(samples.map(({ atS }) => atS));
  const meanY = mean(samples.map(of));
  let above = 0;
  let below = 0;
  for (const sample of samples) {
    above += (sample.atS - meanX) * (of(sample) - meanY);
    below += (sample.atS - meanX) ** 2;
  }
  return above / below;
}

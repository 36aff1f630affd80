/** CPU time and memory of process trees, as Linux counts them in `/proc`. */
import { readdirSync, readFileSync } from 'node:fs';

/** Linux gives times in this unit to programs on every architecture that Node runs on. */
const CLOCK_TICKS_PER_SECOND = 100;

interface Stat {
  parent: number;
  ticks: number;
}

/** The fields of `/proc/<pid>/stat` behind the name, which may hold blanks and brackets itself. */
export function parseStat(text: string): Stat {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [parent, user, system, childrenUser, childrenSystem] = [1, 11, 12, 13, 14].map((index) =>
    Number(fields[index]),
  );
  return {
    parent: parent ?? 0,
    ticks: (user ?? 0) + (system ?? 0) + (childrenUser ?? 0) + (childrenSystem ?? 0),
  };
}

/** CPU seconds used so far by the trees below these processes. Take the difference of two. */
export function cpuSeconds(roots: readonly number[]): number {
  let ticks = 0;
  for (const { stat } of treeOf(roots)) ticks += stat.ticks;
  return ticks / CLOCK_TICKS_PER_SECOND;
}

/** Memory held now by the trees below these processes. */
export function memoryMiB(roots: readonly number[]): number {
  let kib = 0;
  for (const { pid } of treeOf(roots)) {
    const text = readOrEmpty(`/proc/${pid}/smaps_rollup`);
    kib += Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1] ?? 0);
  }
  return kib / 1024;
}

/** Notes the most memory held while it runs, looking every second. */
export class MemoryWatch {
  #peakMiB = 0;
  readonly #timer: NodeJS.Timeout;
  readonly #look: () => void;

  constructor(roots: readonly number[]) {
    this.#look = () => {
      this.#peakMiB = Math.max(this.#peakMiB, memoryMiB(roots));
    };
    this.#timer = setInterval(this.#look, 1000);
  }

  /** Looks once more, and answers the most that was seen. */
  end(): number {
    clearInterval(this.#timer);
    this.#look();
    return this.#peakMiB;
  }
}

function treeOf(roots: readonly number[]): { pid: number; stat: Stat }[] {
  const stats = new Map<number, Stat>();
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const text = readOrEmpty(`/proc/${pid}/stat`);
    if (text !== '') stats.set(pid, parseStat(text));
  }
  const wanted = new Set(roots);
  const isWanted = (pid: number): boolean => {
    for (let at = pid; at > 1; at = stats.get(at)?.parent ?? 0) if (wanted.has(at)) return true;
    return false;
  };
  return [...stats].filter(([pid]) => isWanted(pid)).map(([pid, stat]) => ({ pid, stat }));
}

/** A process may end while it is looked at. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/**
 * Counters, gauges and histograms, and how Prometheus reads them (text format 0.0.4).
 *
 * Own code because of what one observation costs: a child is resolved once and is then an addition in an array, some
 * nanoseconds, where a library that looks its labels up each time takes 60 to 350 (docs/monitoring.md, "What it costs").
 */

/** What the text of {@link Registry.render} is. */
export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export type Labels = Readonly<Record<string, string>>;

/** One series that only grows. */
export class Counter {
  value = 0;

  inc(by = 1): void {
    this.value += by;
  }
}

/** One series that is set. */
export class Gauge {
  value = 0;

  set(value: number): void {
    this.value = value;
  }
}

/** One series of counts by size. */
export class Histogram {
  /** Upper bounds, ascending, without the infinite one. */
  readonly bounds: readonly number[];
  /** One more than bounds: the last is for what is above all of them. Not cumulative. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const { bounds, counts } = this;
    let i = 0;
    // Fewer than twenty, and most values are in the first ones: quicker than halving.
    while (i < bounds.length && value > (bounds[i] as number)) i += 1;
    counts[i] = (counts[i] as number) + 1;
    this.sum += value;
  }
}

/** All series of one name. */
export class Family<Child> {
  readonly #make: () => Child;
  readonly #children = new Map<string, Child>();

  constructor(make: () => Child) {
    this.#make = make;
  }

  /**
   * The series with these labels, made when it is new. Not for the hot path: ask once and keep the answer.
   *
   * @example
   * const succeeded = attempts.with({ outcome: 'success' });
   * succeeded.inc();
   */
  with(labels: Labels): Child {
    const key = labelText(labels);
    let child = this.#children.get(key);
    if (child === undefined) {
      child = this.#make();
      this.#children.set(key, child);
    }
    return child;
  }

  /** Takes all series away: nothing is told of them until they are made again. */
  clear(): void {
    this.#children.clear();
  }

  /** Each child with its labels as text, without braces. */
  entries(): Iterable<[labels: string, child: Child]> {
    return this.#children.entries();
  }
}

interface Metric {
  name: string;
  help: string;
  type: 'counter' | 'gauge' | 'histogram';
  lines(): string[];
}

/**
 * @example
 * const registry = new Registry();
 * const attempts = registry.counters('posthorn_attempts_total', 'Delivery attempts by how they ended.');
 * attempts.with({ outcome: 'success' }).inc();
 * registry.render(); // '# HELP posthorn_attempts_total Delivery …'
 */
export class Registry {
  readonly #metrics = new Map<string, Metric>();

  /** @throws Error when the name is taken, or doesn't end in `_total` as Prometheus wants of counters. */
  counters(name: string, help: string): Family<Counter> {
    if (!name.endsWith('_total')) throw new Error(`the counter ${name} must end in _total`);
    const family = new Family(() => new Counter());
    this.#add({ name, help, type: 'counter', lines: () => valueLines(name, family) });
    return family;
  }

  /** @throws Error when the name is taken. */
  gauges(name: string, help: string): Family<Gauge> {
    const family = new Family(() => new Gauge());
    this.#add({ name, help, type: 'gauge', lines: () => valueLines(name, family) });
    return family;
  }

  /**
   * @param bounds upper bounds of the buckets, ascending, in the unit of the name
   * @throws Error when the name is taken
   */
  histograms(name: string, help: string, bounds: readonly number[]): Family<Histogram> {
    const family = new Family(() => new Histogram(bounds));
    this.#add({ name, help, type: 'histogram', lines: () => bucketLines(name, family) });
    return family;
  }

  /** Everything as Prometheus reads it. A name without series has its help and type only. */
  render(): string {
    const lines: string[] = [];
    for (const { name, help, type, lines: series } of this.#metrics.values()) {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...series());
    }
    return `${lines.join('\n')}\n`;
  }

  #add(metric: Metric): void {
    if (this.#metrics.has(metric.name)) throw new Error(`the metric ${metric.name} is there already`);
    this.#metrics.set(metric.name, metric);
  }
}

function valueLines(name: string, family: Family<{ value: number }>): string[] {
  return Array.from(family.entries(), ([labels, { value }]) => line(name, labels, value));
}

function bucketLines(name: string, family: Family<Histogram>): string[] {
  const lines: string[] = [];
  for (const [labels, { bounds, counts, sum }] of family.entries()) {
    let count = 0;
    for (const [i, bucketCount] of counts.entries()) {
      count += bucketCount;
      const bound = `le="${numberText(bounds[i] ?? Number.POSITIVE_INFINITY)}"`;
      lines.push(line(`${name}_bucket`, labels === '' ? bound : `${labels},${bound}`, count));
    }
    lines.push(line(`${name}_sum`, labels, sum), line(`${name}_count`, labels, count));
  }
  return lines;
}

function line(name: string, labels: string, value: number): string {
  return `${name}${labels === '' ? '' : `{${labels}}`} ${numberText(value)}`;
}

function numberText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  if (value === Number.NEGATIVE_INFINITY) return '-Inf';
  return String(value);
}

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '"': '\\"', '\n': '\\n' };

function labelText(labels: Labels): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${value.replace(/[\\"\n]/g, (char) => ESCAPES[char] as string)}"`)
    .join(',');
}

/** What is remembered of ids for a moment, bounded: the oldest makes room. */
export class RecentIds {
  readonly #max: number;
  /** In order of their coming. */
  readonly #ids = new Set<string>();

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#ids.size;
  }

  add(id: string): void {
    this.#ids.add(id);
    if (this.#ids.size <= this.#max) return;
    const [oldest] = this.#ids;
    if (oldest !== undefined) this.#ids.delete(oldest);
  }

  /** Whether it was there; it is forgotten. */
  take(id: string): boolean {
    return this.#ids.size > 0 && this.#ids.delete(id);
  }
}

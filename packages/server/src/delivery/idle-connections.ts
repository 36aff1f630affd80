/**
 * Connections that wait for their next request, found by origin and bounded in all: with tens of thousands of
 * endpoints, each origin's keep-alive on its own would use up the process's file handles.
 */
export class IdleConnections<T extends { readonly origin: string }> {
  readonly #max: number;
  readonly #byOrigin = new Map<string, T[]>();
  /** In order of their last use, oldest first. */
  readonly #byAge = new Set<T>();

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#byAge.size;
  }

  /** Takes the connection of an origin that was used last: the others then age and close. */
  take(origin: string): T | undefined {
    const connections = this.#byOrigin.get(origin);
    const connection = connections?.pop();
    if (connection === undefined) return undefined;
    if (connections?.length === 0) this.#byOrigin.delete(origin);
    this.#byAge.delete(connection);
    return connection;
  }

  /** Keeps a connection; answers the one that had to make room, which may be the same. */
  put(connection: T): T | undefined {
    const connections = this.#byOrigin.get(connection.origin);
    if (connections === undefined) this.#byOrigin.set(connection.origin, [connection]);
    else connections.push(connection);
    this.#byAge.add(connection);
    if (this.#byAge.size <= this.#max) return undefined;
    const [oldest] = this.#byAge;
    if (oldest !== undefined) this.remove(oldest);
    return oldest;
  }

  /** False when it isn't idle. */
  remove(connection: T): boolean {
    if (!this.#byAge.delete(connection)) return false;
    const connections = this.#byOrigin.get(connection.origin) ?? [];
    connections.splice(connections.indexOf(connection), 1);
    if (connections.length === 0) this.#byOrigin.delete(connection.origin);
    return true;
  }

  /** Removes and answers all. */
  clear(): T[] {
    const all = [...this.#byAge];
    this.#byAge.clear();
    this.#byOrigin.clear();
    return all;
  }
}

import { hash } from 'node:crypto';

/** A value as both sides are compared: what JSON can say. Bytes are base 64, booleans 0 and 1. */
export type Value = string | number | null;

/** Rows whose names fall into the same part are told apart only when the part differs. */
const PARTS = 1024;

/**
 * Number and checksum of a table's rows, whatever order they come in: the sum (modulo 2^64) of the first eight bytes
 * of each row's SHA-256. It is kept in parts by the rows' names, so that rows which differ are found without keeping
 * all of them.
 *
 * @example
 * const sum = new RowSum();
 * sum.add('["alice","evt_1"]', '["evt_1","alice",1767225600000]');
 * sum.checksum; // '5f1d1f3c7b1f0d52'
 */
export class RowSum {
  rows = 0;
  readonly #parts = new BigUint64Array(PARTS);

  /** @param name - of the row, the same on both sides */
  add(name: string, text: string): void {
    this.rows += 1;
    const part = partOf(name);
    this.#parts[part] = (this.#parts[part] as bigint) + hash('sha256', text, 'buffer').readBigUInt64BE();
  }

  /** 16 hex digits. */
  get checksum(): string {
    let sum = 0n;
    for (const part of this.#parts) sum += part;
    return BigInt.asUintN(64, sum).toString(16).padStart(16, '0');
  }

  equals(other: RowSum): boolean {
    return this.rows === other.rows && this.differingParts(other).size === 0;
  }

  /** Where the rows are that the other doesn't have as they are here. */
  differingParts(other: RowSum): Set<number> {
    const parts = new Set<number>();
    for (let part = 0; part < PARTS; part++) {
      if (this.#parts[part] !== other.#parts[part]) parts.add(part);
    }
    return parts;
  }
}

/** Which part a row's name falls into (FNV-1a). */
export function partOf(name: string): number {
  let sum = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) sum = Math.imul(sum ^ name.charCodeAt(i), 0x01000193);
  return (sum ^ (sum >>> 16)) & (PARTS - 1);
}

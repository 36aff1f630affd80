const NUL = /\0/g;

/**
 * The first bytes of a response, in one buffer: ten thousand tiny chunks cost no more memory than one large one.
 */
export class CapturedBody {
  readonly #maxBytes: number;
  #buffer: Buffer | null = null;
  #length = 0;
  /** Whether the buffer is ours to write to. */
  #owned = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Takes what there is room for; false when that wasn't all of it. */
  add(chunk: Buffer): boolean {
    const taken = Math.min(chunk.length, this.#maxBytes - this.#length);
    if (this.#buffer === null) {
      // Most answers are one short chunk: kept as it is. The buffers that a socket reads are never written to again.
      this.#buffer = chunk.subarray(0, taken);
    } else {
      this.#reserve(this.#length + taken);
      chunk.copy(this.#buffer, this.#length, 0, taken);
    }
    this.#length += taken;
    return taken === chunk.length;
  }

  /**
   * As text that any database takes: invalid UTF-8 and NUL become U+FFFD, a character cut by the limit is left out.
   * A compressed body is named, not shown: it is never inflated, whatever it might hold.
   */
  text(contentEncoding: string | undefined, truncated: boolean): string {
    if (this.#buffer === null || this.#length === 0) return '';
    if (contentEncoding !== undefined && contentEncoding !== '' && contentEncoding !== 'identity') {
      const more = truncated ? 'more than ' : '';
      return `[${more}${this.#length} bytes with content-encoding ${contentEncoding.slice(0, 40)}, not decoded]`;
    }
    const bytes = this.#buffer.subarray(0, this.#length);
    const text = truncated
      ? new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes, { stream: true })
      : bytes.toString('utf8');
    return text.includes('\0') ? text.replace(NUL, '\ufffd') : text;
  }

  #reserve(bytes: number): void {
    const buffer = this.#buffer as Buffer;
    if (bytes <= buffer.length && this.#owned) return;
    const grown = Buffer.allocUnsafe(Math.min(this.#maxBytes, Math.max(1024, bytes * 2)));
    buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
    this.#owned = true;
  }
}

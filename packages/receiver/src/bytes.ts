/** Bytes as the runtimes of JavaScript hand over a request's body. A Node `Buffer` is a `Uint8Array`. */
export type Bytes = Uint8Array | ArrayBuffer;

const encoder = new TextEncoder();

export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/** Null unless `text` is the canonical base64 of some bytes: what decoders read differently is no key. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> | null {
  try {
    const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
    return toBase64(bytes) === text ? bytes : null;
  } catch {
    return null;
  }
}

export function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** `prefix` and `body` in one piece, for WebCrypto, which takes no parts. */
export function joined(prefix: string, body: Uint8Array): Uint8Array<ArrayBuffer> {
  return concat([utf8(prefix), body]);
}

/** A body that came in parts. */
export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((bytes, part) => bytes + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Compares without telling by its duration where two texts differ. Their lengths are no secret. */
export function equalInConstantTime(given: string, expected: string): boolean {
  if (given.length !== expected.length) return false;
  let difference = 0;
  for (let i = 0; i < expected.length; i++) difference |= given.charCodeAt(i) ^ expected.charCodeAt(i);
  return difference === 0;
}

/** A WebCrypto key on its way, by whatever name the runtime's types have for it. */
export type ImportedKey = ReturnType<typeof crypto.subtle.importKey>;

import { randomBytes } from 'node:crypto';
import { HmacKey } from './hmac.ts';

/** What every endpoint secret begins with. */
export const SECRET_PREFIX = 'whsec_';

const MADE_SECRET_BYTES = 32;
const MIN_SECRET_BYTES = 24;
const MAX_SECRET_BYTES = 64;

/** A fresh endpoint secret: `whsec_` and the base64 of 32 random bytes (wire contract, section 2). */
export function createSecret(): string {
  return SECRET_PREFIX + randomBytes(MADE_SECRET_BYTES).toString('base64');
}

/** True for `whsec_` and the canonical base64 of 24–64 bytes (wire contract, section 2). */
export function isSecret(text: string): boolean {
  if (!text.startsWith(SECRET_PREFIX)) return false;
  const encoded = text.slice(SECRET_PREFIX.length);
  const key = Buffer.from(encoded, 'base64');
  if (key.length < MIN_SECRET_BYTES || key.length > MAX_SECRET_BYTES) return false;
  // Node's decoder skips what isn't base64; a text that other decoders refuse would not verify anywhere.
  return key.toString('base64') === encoded;
}

/** A secret as the keys of both schemes. */
interface SigningKeys {
  /** The whole secret text: `x-webhook-signature`. */
  text: HmacKey;
  /** The bytes after the prefix: Standard Webhooks. */
  bytes: HmacKey;
}

function keysOf(secret: string): SigningKeys {
  return {
    text: new HmacKey(Buffer.from(secret, 'utf8')),
    bytes: new HmacKey(Buffer.from(secret.slice(SECRET_PREFIX.length), 'base64')),
  };
}

const DEFAULT_KEPT_SECRETS = 10_000;

/**
 * The keys of the secrets that were used last. They are found by the secret itself, so a rotated one needs no word:
 * nobody asks for its keys again, and newer ones push them out.
 */
export class KeyRing {
  readonly #keysBySecret = new Map<string, SigningKeys>();
  readonly #maxSecrets: number;

  constructor(maxSecrets = DEFAULT_KEPT_SECRETS) {
    this.#maxSecrets = maxSecrets;
  }

  /** How many secrets' keys are kept. */
  get size(): number {
    return this.#keysBySecret.size;
  }

  keysOf(secret: string): SigningKeys {
    let keys = this.#keysBySecret.get(secret);
    if (keys === undefined) {
      keys = keysOf(secret);
      if (this.#keysBySecret.size >= this.#maxSecrets) {
        const oldest = this.#keysBySecret.keys().next();
        if (!oldest.done) this.#keysBySecret.delete(oldest.value);
      }
      this.#keysBySecret.set(secret, keys);
    }
    return keys;
  }
}

/**
 * `x-webhook-signature`: lower-case hex HMAC-SHA256 of the raw body; the key is the whole secret string, prefix
 * included, as UTF-8 bytes (wire contract, section 2).
 */
export function bodySignature(secret: string, body: Buffer): string {
  return keysOf(secret).text.sign('', body, 'hex');
}

/**
 * One Standard Webhooks signature, `v1,<base64>`: HMAC-SHA256 of `id.timestamp.body`; the key is the base64-decoded
 * part of the secret after `whsec_` (wire contract, section 2).
 */
export function standardSignature(
  secret: string,
  eventId: string,
  timestampSeconds: number,
  body: Buffer,
): string {
  return standardMac(keysOf(secret).bytes, `${eventId}.${timestampSeconds}.`, body);
}

function standardMac(key: HmacKey, prefix: string, body: Buffer): string {
  return `v1,${key.sign(prefix, body, 'base64')}`;
}

export interface SignatureInput {
  /** `whsec_…`. */
  secret: string;
  /** The one before the last rotation, while its overlap lasts; its end is the caller's to judge. */
  previousSecret?: string | null;
  eventId: string;
  /** Unix seconds of this attempt: receivers refuse signatures that are some minutes old. */
  timestampSeconds: number;
  /** The exact bytes that are sent. */
  body: Buffer;
}

export type SignatureHeaders = Record<
  'x-webhook-signature' | 'webhook-id' | 'webhook-timestamp' | 'webhook-signature',
  string
>;

/**
 * The signature headers of one attempt under both schemes (wire contract, section 2). During a rotation's overlap
 * `x-webhook-signature` carries the new secret's signature alone and `webhook-signature` both, the new one first.
 *
 * About 2.5 µs for a body of 1 KB.
 *
 * @example
 * const ring = new KeyRing();
 * signatureHeaders({ secret, eventId: 'evt_1', timestampSeconds: toSeconds(clock.now()), body }, ring);
 */
export function signatureHeaders(input: SignatureInput, ring: KeyRing): SignatureHeaders {
  const { secret, previousSecret, eventId, timestampSeconds, body } = input;
  const keys = ring.keysOf(secret);
  const timestamp = String(timestampSeconds);
  const prefix = `${eventId}.${timestamp}.`;
  let signatures = standardMac(keys.bytes, prefix, body);
  if (previousSecret) signatures += ` ${standardMac(ring.keysOf(previousSecret).bytes, prefix, body)}`;
  return {
    'x-webhook-signature': keys.text.sign('', body, 'hex'),
    'webhook-id': eventId,
    'webhook-timestamp': timestamp,
    'webhook-signature': signatures,
  };
}

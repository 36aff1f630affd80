/**
 * What must not be readable: endpoint secrets and custom headers are sealed before they reach the store, API keys are
 * kept as hashes. Nothing here logs, and no error carries a plain text.
 */
import { createCipheriv, createDecipheriv, createHash, hash, randomBytes } from 'node:crypto';

import { PosthornError } from './errors.ts';

const ALGORITHM = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const SEALED_VERSION = 'v1';
const DEFAULT_CACHE_ENTRIES = 10_000;

/** Makes an encryption key: base64 of 32 random bytes, as `POSTHORN_ENCRYPTION_KEY` takes it. */
export function createEncryptionKey(): string {
  return randomBytes(KEY_BYTES).toString('base64');
}

/**
 * Reads an encryption key, white space around it ignored (key files end with a line feed).
 *
 * @throws PosthornError `invalid_parameter` when it isn't base64 (or base64url) of exactly 32 bytes. The message
 *   doesn't repeat the text.
 */
export function parseEncryptionKey(text: string): Buffer {
  const trimmed = text.trim();
  const bytes = Buffer.from(trimmed, 'base64');
  // Node's decoder skips what it doesn't know: a mistyped key must not become another valid one.
  if (bytes.length !== KEY_BYTES || !/^[A-Za-z0-9+/_-]{43}=?$/.test(trimmed)) {
    throw new PosthornError(
      'invalid_parameter',
      'the encryption key must be base64 of exactly 32 bytes; make one with: openssl rand -base64 32',
      { field: 'encryption_key' },
    );
  }
  return bytes;
}

/** The first 8 hex digits of the key's SHA-256: tells keys apart in messages and reveals nothing of them. */
export function keyId(key: Buffer): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 8);
}

/** The context of an endpoint's present and previous `secret`: one, because a rotation moves the sealed text as it is. */
export function endpointSecretContext(endpointId: string): string {
  return `${endpointId}/secret`;
}

/** The context of an endpoint's custom `headers`. */
export function endpointHeadersContext(endpointId: string): string {
  return `${endpointId}/headers`;
}

/**
 * Seals texts with AES-256-GCM. The sealed form is one text, `v1.<key id>.<nonce>.<ciphertext>.<tag>` (base64url), bound
 * to a context: a sealed secret that was moved to another endpoint's row doesn't open. It opens what was sealed with any
 * of its keys, and seals with one of them: the first, until it is told another ({@link Vault.sealWith}).
 *
 * @example
 * const vault = new Vault(parseEncryptionKey(process.env.POSTHORN_ENCRYPTION_KEY));
 * const sealed = vault.seal('whsec_…', endpointSecretContext('wh_1'));
 * vault.open(sealed, endpointSecretContext('wh_1')); // 'whsec_…'
 */
export class Vault {
  /** By id. */
  readonly #keys = new Map<string, Buffer>();
  readonly #maxEntries: number;
  #firstId: string;
  #sealsWith: string;
  /** Opened texts by context and sealed text, least recently used first: each delivery attempt opens its secret. */
  readonly #opened = new Map<string, string>();

  /**
   * @param key 32 bytes, from {@link parseEncryptionKey}
   * @param options.older further keys to open values with
   */
  constructor(key: Buffer, options: { older?: readonly Buffer[]; cacheEntries?: number } = {}) {
    this.#maxEntries = options.cacheEntries ?? DEFAULT_CACHE_ENTRIES;
    this.#firstId = this.#add(key);
    this.#sealsWith = this.#firstId;
    for (const older of options.older ?? []) this.#add(older);
  }

  /** The id of the first key: the one that its owner wants values to be sealed with. */
  get keyId(): string {
    return this.#firstId;
  }

  /** The ids of all its keys, the first one first. */
  get keyIds(): string[] {
    return [this.#firstId, ...[...this.#keys.keys()].filter((id) => id !== this.#firstId)];
  }

  /** The id of the key that {@link seal} takes. */
  get sealsWith(): string {
    return this.#sealsWith;
  }

  knows(id: string): boolean {
    return this.#keys.has(id);
  }

  /** Makes another key the first one. What it seals with stays as it is. */
  addFirst(key: Buffer): void {
    this.#firstId = this.#add(key);
  }

  /** From now on {@link seal} takes the key of this id, which must be known. */
  sealWith(id: string): void {
    this.#keyOf(id, 'a new value');
    this.#sealsWith = id;
  }

  /** Encrypts `text`; two calls never give the same result. */
  seal(text: string, context: string): string {
    const nonce = randomBytes(NONCE_BYTES);
    const key = this.#keyOf(this.#sealsWith, context);
    const cipher = createCipheriv(ALGORITHM, key, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(Buffer.from(context, 'utf8'));
    const ciphertext = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    return [
      SEALED_VERSION,
      this.#sealsWith,
      nonce.toString('base64url'),
      ciphertext.toString('base64url'),
      cipher.getAuthTag().toString('base64url'),
    ].join('.');
  }

  /**
   * Decrypts what {@link seal} made in the same context.
   *
   * @throws PosthornError `internal` when it was sealed with a key that isn't known (the message names the key ids), in
   *   another context, or was altered.
   */
  open(sealed: string, context: string): string {
    const cacheKey = `${context}\n${sealed}`;
    const cached = this.#opened.get(cacheKey);
    if (cached !== undefined) {
      this.#opened.delete(cacheKey);
      this.#opened.set(cacheKey, cached);
      return cached;
    }
    const text = this.#decrypt(sealed, context);
    this.#opened.set(cacheKey, text);
    if (this.#opened.size > this.#maxEntries) {
      const oldest = this.#opened.keys().next();
      if (!oldest.done) this.#opened.delete(oldest.value);
    }
    return text;
  }

  #decrypt(sealed: string, context: string): string {
    const [version, sealedWith, nonce, ciphertext, tag, ...rest] = sealed.split('.');
    if (version !== SEALED_VERSION || tag === undefined || rest.length > 0) {
      throw new PosthornError(
        'internal',
        `${context}: the stored value isn't in the sealed form this version knows`,
      );
    }
    const key = this.#keyOf(sealedWith as string, context);
    try {
      const decipher = createDecipheriv(ALGORITHM, key, Buffer.from(nonce as string, 'base64url'), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAAD(Buffer.from(context, 'utf8'));
      decipher.setAuthTag(Buffer.from(tag, 'base64url'));
      return Buffer.concat([
        decipher.update(Buffer.from(ciphertext as string, 'base64url')),
        decipher.final(),
      ]).toString('utf8');
    } catch (cause) {
      throw new PosthornError(
        'internal',
        `${context}: the stored value was altered or belongs to another record; it can't be opened`,
        { cause },
      );
    }
  }

  #add(key: Buffer): string {
    if (key.length !== KEY_BYTES) {
      throw new PosthornError('internal', `an encryption key has ${KEY_BYTES} bytes, not ${key.length}`);
    }
    const id = keyId(key);
    this.#keys.set(id, Buffer.from(key));
    return id;
  }

  #keyOf(id: string, context: string): Buffer {
    const key = this.#keys.get(id);
    if (key !== undefined) return key;
    throw new PosthornError(
      'internal',
      `${context} was sealed with encryption key ${id}, but this process has ${this.keyIds.join(', ')}: set ` +
        'POSTHORN_ENCRYPTION_KEY to the key the data was written with, or add it to POSTHORN_ENCRYPTION_KEY_OLD',
    );
  }
}

const API_KEY_PREFIX = 'ph_';
/** `ph_` and 8 characters: recognisable, and 32 of 256 bits, so useless for guessing the rest. */
const SHOWN_CHARACTERS = 11;

/** Makes an API key: `ph_` and 256 random bits in hex. Shown once, then only its hash is kept. */
export function createApiKey(): string {
  return API_KEY_PREFIX + randomBytes(32).toString('hex');
}

/**
 * SHA-256 of a key in hex, as the store keeps it. A fast hash is right here: a key has 256 random bits, so there is
 * nothing to slow a guesser down for.
 */
export function hashApiKey(key: string): string {
  return hash('sha256', key, 'hex');
}

/** The first characters of a key, enough to recognise it in a list. */
export function keyPrefix(key: string): string {
  return key.slice(0, SHOWN_CHARACTERS);
}

import { fromBase64, utf8 } from './bytes.ts';
import { type Ed25519, ed25519Verifier } from './ed25519.ts';
import { WebhookError } from './errors.ts';
import { createHmac, type Hmac } from './hmac.ts';

/**
 * How deliveries are verified:
 * - `standard`: Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`), with a time limit.
 * - `jogg`: `x-webhook-signature`, the HMAC of the body alone: a captured delivery can be sent again for ever.
 * - `both`: both must be there and both must fit. Leaving one out doesn't get a delivery through.
 */
export type Scheme = 'standard' | 'jogg' | 'both';

/** One or several; `undefined` is refused when it is read, with a hint at the environment. */
export type Secrets = string | undefined | readonly (string | undefined)[];

/** What the secrets verify with: one function for each secret that serves the scheme. */
export interface Keys {
  jogg: Hmac[];
  v1: Hmac[];
  v1a: Ed25519[];
}

const MIN_SECRET_BYTES = 24;
const MAX_SECRET_BYTES = 64;
const PUBLIC_KEY_BYTES = 32;

/** @throws WebhookError `invalid_configuration`, which names the place but never the secret. */
export function readSecrets(secrets: Secrets, scheme: Scheme): Keys {
  if (scheme !== 'standard' && scheme !== 'jogg' && scheme !== 'both') {
    throw misconfigured(`scheme is ${JSON.stringify(scheme)}; it is 'standard', 'jogg' or 'both'`);
  }
  const keys: Keys = { jogg: [], v1: [], v1a: [] };
  const list = Array.isArray(secrets) ? (secrets as readonly unknown[]) : [secrets];
  for (const [i, secret] of list.entries()) {
    const place = Array.isArray(secrets) ? `secrets[${i}]` : 'secrets';
    if (typeof secret !== 'string' || secret === '') {
      const found = secret === '' ? 'empty' : typeof secret;
      throw misconfigured(`${place} is ${found}: is the environment variable set that it comes from?`);
    }
    if (secret.startsWith('whsk_')) {
      throw misconfigured(
        `${place} is a private key (whsk_…): receivers verify with the public one (whpk_…)`,
      );
    }
    if (secret.startsWith('whpk_')) {
      const key = readKey(secret, 'whpk_', place, PUBLIC_KEY_BYTES, PUBLIC_KEY_BYTES);
      keys.v1a.push(ed25519Verifier(key));
      continue;
    }
    if (scheme !== 'standard') keys.jogg.push(createHmac(utf8(secret)));
    if (scheme !== 'jogg') {
      keys.v1.push(createHmac(readKey(secret, 'whsec_', place, MIN_SECRET_BYTES, MAX_SECRET_BYTES)));
    }
  }
  if (scheme !== 'standard' && keys.jogg.length === 0) {
    throw misconfigured(`secrets has no secret for x-webhook-signature, which scheme '${scheme}' needs`);
  }
  if (keys.v1.length + keys.v1a.length + keys.jogg.length === 0) {
    throw misconfigured('secrets is empty: give the secret of the endpoint');
  }
  return keys;
}

/**
 * The bytes behind a prefix.
 *
 * @throws WebhookError `invalid_configuration`
 */
export function readKey(
  secret: string,
  prefix: string,
  place: string,
  minBytes: number,
  maxBytes: number,
): Uint8Array<ArrayBuffer> {
  const key = secret.startsWith(prefix) ? fromBase64(secret.slice(prefix.length)) : null;
  if (key === null || key.length < minBytes || key.length > maxBytes) {
    const bytes = minBytes === maxBytes ? `${minBytes}` : `${minBytes} to ${maxBytes}`;
    throw misconfigured(`${place} is not ${prefix} and the base64 of ${bytes} bytes: copy the whole secret`);
  }
  return key;
}

export function misconfigured(message: string): WebhookError {
  return new WebhookError('invalid_configuration', message);
}

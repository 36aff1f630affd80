import { type Bytes, utf8 } from './bytes.ts';
import { ed25519Sign } from './ed25519.ts';
import { createHmac } from './hmac.ts';
import { misconfigured, readKey, type Scheme } from './secrets.ts';

export interface SignOptions {
  /**
   * `whsec_…`, or several as during a rotation, the new one first: `webhook-signature` carries all of them and
   * `x-webhook-signature` the first. A private Ed25519 key (`whsk_…`) makes a `v1a` signature.
   */
  secrets: string | readonly string[];
  /** Default `both`, as Posthorn sends. */
  scheme?: Scheme;
  /** `webhook-id`. Default: the body's `event_id`. */
  id?: string;
  /** `webhook-timestamp`, in unix seconds. Default: now. */
  timestamp?: number;
}

/** The headers that sign a delivery; those that the scheme doesn't have are absent. */
export interface SignatureHeaders {
  [name: string]: string;
}

/**
 * Signs a body as Posthorn does (wire contract, section 2), for the tests of a receiver.
 *
 * @throws WebhookError `invalid_configuration`
 *
 * @example
 * const body = JSON.stringify({ event_id: 'evt_1', event: 'order.paid', timestamp: 1767225600, data: { id: 7 } });
 * const headers = await sign(body, { secrets: secret });
 * const response = await app.request('/hooks', { method: 'POST', headers, body });
 */
export async function sign(body: Bytes | string, options: SignOptions): Promise<SignatureHeaders> {
  const { scheme = 'both', timestamp = Math.floor(Date.now() / 1000) } = options;
  const secrets = typeof options.secrets === 'string' ? [options.secrets] : options.secrets;
  const bytes = typeof body === 'string' ? utf8(body) : new Uint8Array(body);
  const headers: SignatureHeaders = {};

  if (scheme !== 'standard') {
    const first = secrets.find((secret) => !secret.startsWith('whsk_'));
    if (first === undefined) throw misconfigured('x-webhook-signature needs a secret that is not whsk_…');
    headers['x-webhook-signature'] = await createHmac(utf8(first))('', bytes, 'hex');
  }
  if (scheme !== 'jogg') {
    const id = options.id ?? idOf(bytes);
    const prefix = `${id}.${timestamp}.`;
    const signatures: string[] = [];
    for (const [i, secret] of secrets.entries()) {
      const place = `secrets[${i}]`;
      signatures.push(
        secret.startsWith('whsk_')
          ? `v1a,${await ed25519Sign(readKey(secret, 'whsk_', place, 32, 64), prefix, bytes)}`
          : `v1,${await createHmac(readKey(secret, 'whsec_', place, 24, 64))(prefix, bytes, 'base64')}`,
      );
    }
    headers['webhook-id'] = id;
    headers['webhook-timestamp'] = String(timestamp);
    headers['webhook-signature'] = signatures.join(' ');
  }
  return headers;
}

function idOf(body: Uint8Array): string {
  try {
    const { event_id } = JSON.parse(new TextDecoder().decode(body)) as { event_id?: unknown };
    if (typeof event_id === 'string') return event_id;
  } catch {
    // Without JSON there is no id in it, as without event_id.
  }
  throw misconfigured('The body has no event_id: give the id');
}

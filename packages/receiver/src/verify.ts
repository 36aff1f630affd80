import { type Bytes, equalInConstantTime, utf8 } from './bytes.ts';
import { WebhookError } from './errors.ts';
import { type AnyEvents, type EventOf, type EventTypes, readEvent } from './event.ts';
import { readHeader, type RequestHeaders } from './headers.ts';
import { type Keys, misconfigured, readSecrets, type Scheme, type Secrets } from './secrets.ts';

/** A body as it came over the wire: its bytes, or their text if nothing has parsed them in between. */
export type RawBody = Bytes | string;

export interface VerifyOptions {
  /**
   * The endpoint's secret (`whsec_…`), or several while one is rotated: any of them may fit. Public keys (`whpk_…`)
   * verify `v1a` signatures.
   */
  secrets: Secrets;
  /** Default `standard`. */
  scheme?: Scheme;
  /** By how much `webhook-timestamp` may differ from now, both ways. Default 300. */
  toleranceSeconds?: number;
  /** Unix milliseconds. Default `Date.now`. */
  now?: () => number;
}

/** Which signature fitted. Under `both` what the Standard Webhooks headers say. */
export interface VerifiedSignature {
  /** `webhook-id`, which is signed; null under `jogg`. */
  id: string | null;
  /** When this attempt was made, in unix seconds; null under `jogg`. */
  timestamp: number | null;
}

/** {@link VerifyOptions}, checked and with keys made once. */
export interface Verifier {
  keys: Keys;
  scheme: Scheme;
  toleranceSeconds: number;
  now: () => number;
}

const DEFAULT_TOLERANCE_SECONDS = 300;
/** A rotation has two. Each costs a comparison, and a public key's verification. */
const MAX_SIGNATURES = 16;
const UNIX_SECONDS = /^\d{1,12}$/;
const HEX_SHA256 = /^[0-9a-f]{64}$/;
const RAW_BODY_ADVICE =
  'The signature covers the exact bytes that were sent, so read the request before any parser does (docs/receiving/raw-body.md)';

/** @throws WebhookError `invalid_configuration` */
export function createVerifier(options: VerifyOptions): Verifier {
  const {
    secrets,
    scheme = 'standard',
    toleranceSeconds = DEFAULT_TOLERANCE_SECONDS,
    now = Date.now,
  } = options;
  if (!(toleranceSeconds > 0 && toleranceSeconds < Number.POSITIVE_INFINITY)) {
    throw misconfigured('toleranceSeconds must be a number of seconds above 0');
  }
  return { keys: readSecrets(secrets, scheme), scheme, toleranceSeconds, now };
}

/**
 * Verifies a delivery and reads its event.
 *
 * @param body the raw bytes of the request, or their text; never a parsed body
 * @returns the event, rejects otherwise
 * @throws WebhookError with a `code` and the `status` to answer with
 *
 * @example
 * const event = await verify<JoggEvents>(await request.bytes(), request.headers, { secrets: process.env.WEBHOOK_SECRET });
 * if (event.event === 'generated_video_success') console.log(event.data.video_url);
 */
export async function verify<Events extends EventTypes<Events> = AnyEvents>(
  body: RawBody,
  headers: RequestHeaders,
  options: VerifyOptions,
): Promise<EventOf<Events>> {
  return (await verifyWith(createVerifier(options), body, headers)) as EventOf<Events>;
}

/** {@link verify} without exceptions, whatever is wrong. */
export async function safeVerify<Events extends EventTypes<Events> = AnyEvents>(
  body: RawBody,
  headers: RequestHeaders,
  options: VerifyOptions,
): Promise<{ ok: true; event: EventOf<Events> } | { ok: false; error: WebhookError }> {
  try {
    return { ok: true, event: await verify<Events>(body, headers, options) };
  } catch (error) {
    if (error instanceof WebhookError) return { ok: false, error };
    throw error;
  }
}

/**
 * Verifies the signature alone, of a body that need not be an event of Posthorn: any sender of Standard Webhooks.
 *
 * @throws WebhookError
 */
export async function verifySignature(
  body: RawBody,
  headers: RequestHeaders,
  options: VerifyOptions,
): Promise<VerifiedSignature> {
  return checkSignature(createVerifier(options), rawBytes(body), headers, typeof body === 'string');
}

/** {@link verify} with a verifier that was made once. */
export async function verifyWith(
  verifier: Verifier,
  body: RawBody,
  headers: RequestHeaders,
): Promise<EventOf<AnyEvents>> {
  const bytes = rawBytes(body);
  await checkSignature(verifier, bytes, headers, typeof body === 'string');
  return readEvent(bytes, headers);
}

/** @throws WebhookError `body_missing` or `body_not_raw`, which says how it comes to that */
function rawBytes(body: unknown): Uint8Array {
  const bytes =
    typeof body === 'string' ? utf8(body) : body instanceof ArrayBuffer ? new Uint8Array(body) : body;
  if (bytes === undefined || bytes === null || (bytes instanceof Uint8Array && bytes.length === 0)) {
    throw new WebhookError(
      'body_missing',
      `The body is empty. If the sender sent one, something has read it before. ${RAW_BODY_ADVICE}`,
    );
  }
  if (bytes instanceof Uint8Array) return bytes;
  throw new WebhookError('body_not_raw', `The body has been parsed. ${RAW_BODY_ADVICE}`);
}

async function checkSignature(
  verifier: Verifier,
  body: Uint8Array,
  headers: RequestHeaders,
  fromText: boolean,
): Promise<VerifiedSignature> {
  const { scheme } = verifier;
  const standard = scheme === 'jogg' ? null : readStandardHeaders(verifier, headers);
  const jogg = scheme === 'standard' ? null : readJoggHeader(headers, standard !== null);
  // Each header that the scheme names must fit by itself: none stands in for another.
  const fits = async (bytes: Uint8Array): Promise<boolean> =>
    (standard === null || (await fitsStandard(verifier.keys, standard, bytes))) &&
    (jogg === null || (await fitsJogg(verifier.keys, jogg, bytes)));

  if (await fits(body)) return { id: standard?.id ?? null, timestamp: standard?.timestamp ?? null };

  const compact = fromText ? compactForm(body) : null;
  if (compact !== null && (await fits(compact))) {
    throw new WebhookError(
      'body_reserialised',
      `The signature fits this JSON without its white space, so it was parsed and written anew. ${RAW_BODY_ADVICE}`,
    );
  }
  throw new WebhookError(
    'signature_mismatch',
    `No signature fits. Is the secret this endpoint's, whole and current? ${RAW_BODY_ADVICE}`,
  );
}

interface StandardHeaders {
  id: string;
  timestamp: number;
  /** What is signed before the body, `id.timestamp.`, as it was sent. */
  prefix: string;
  /** In base64, without their version. */
  v1: string[];
  v1a: string[];
}

/** @throws WebhookError for what is missing or malformed, and for a timestamp out of tolerance */
function readStandardHeaders(verifier: Verifier, headers: RequestHeaders): StandardHeaders {
  const id = readHeader(headers, 'webhook-id');
  const time = readHeader(headers, 'webhook-timestamp');
  const signature = readHeader(headers, 'webhook-signature');
  if (id === null || time === null || signature === null) {
    const missing = id === null ? 'webhook-id' : time === null ? 'webhook-timestamp' : 'webhook-signature';
    const hint =
      verifier.scheme === 'standard' && readHeader(headers, 'x-webhook-signature') !== null
        ? "; x-webhook-signature is there: scheme 'jogg' verifies it"
        : '';
    throw new WebhookError('signature_missing', `${missing} is missing${hint}`);
  }

  const timestamp = Number(time);
  if (!UNIX_SECONDS.test(time)) {
    throw new WebhookError('timestamp_malformed', 'webhook-timestamp is not in unix seconds');
  }
  const age = Math.floor(verifier.now() / 1000) - timestamp;
  if (Math.abs(age) > verifier.toleranceSeconds) {
    throw new WebhookError(
      age > 0 ? 'timestamp_too_old' : 'timestamp_too_new',
      `webhook-timestamp is ${Math.abs(age)} s ${age > 0 ? 'ago' : 'ahead'}, ${verifier.toleranceSeconds} s are allowed: is this an old delivery, or a clock that is wrong?`,
    );
  }

  const signatures = signature.split(' ');
  const ofVersion = (version: string): string[] =>
    signatures.filter((one) => one.startsWith(version)).map((one) => one.slice(version.length));
  const [v1, v1a] = [ofVersion('v1,'), ofVersion('v1a,')];
  if (v1.length + v1a.length === 0 || signatures.length > MAX_SIGNATURES) {
    throw new WebhookError(
      'signature_malformed',
      `webhook-signature has no v1 or v1a signature, or more than ${MAX_SIGNATURES} signatures`,
    );
  }
  return { id, timestamp, prefix: `${id}.${time}.`, v1, v1a };
}

/** @throws WebhookError `signature_missing` or `signature_malformed` */
function readJoggHeader(headers: RequestHeaders, besideStandard: boolean): string {
  const signature = readHeader(headers, 'x-webhook-signature');
  if (signature === null) {
    const hint = besideStandard ? "; scheme 'both' needs it beside webhook-signature" : '';
    throw new WebhookError('signature_missing', `x-webhook-signature is missing${hint}`);
  }
  if (!HEX_SHA256.test(signature)) {
    throw new WebhookError('signature_malformed', 'x-webhook-signature is not 64 lower-case hex digits');
  }
  return signature;
}

async function fitsStandard(
  { v1: hmacs, v1a: publicKeys }: Keys,
  { prefix, v1, v1a }: StandardHeaders,
  body: Uint8Array,
): Promise<boolean> {
  if (v1.length > 0) {
    for (const hmac of hmacs) {
      const expected = await hmac(prefix, body, 'base64');
      if (v1.some((signature) => equalInConstantTime(signature, expected))) return true;
    }
  }
  for (const isSignedBy of publicKeys) {
    for (const signature of v1a) if (await isSignedBy(signature, prefix, body)) return true;
  }
  return false;
}

async function fitsJogg({ jogg }: Keys, signature: string, body: Uint8Array): Promise<boolean> {
  for (const hmac of jogg) {
    if (equalInConstantTime(signature, await hmac('', body, 'hex'))) return true;
  }
  return false;
}

/** JSON without insignificant white space, as deliveries are sent; null when it is so already, or no JSON. */
function compactForm(body: Uint8Array): Uint8Array | null {
  const text = new TextDecoder().decode(body);
  try {
    const compact = JSON.stringify(JSON.parse(text));
    return compact === text ? null : utf8(compact);
  } catch {
    return null;
  }
}

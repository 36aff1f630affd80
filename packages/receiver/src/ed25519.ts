import { fromBase64, type ImportedKey, joined, toBase64 } from './bytes.ts';
import { WebhookError } from './errors.ts';

/** Judges one `v1a` signature (base64). */
export type Ed25519 = (signature: string, prefix: string, body: Uint8Array) => Promise<boolean>;

const SIGNATURE_BYTES = 64;
const SEED_BYTES = 32;
/** What PKCS #8 puts before the 32 bytes of an Ed25519 seed (RFC 8410, section 7): WebCrypto takes no bare seed. */
const PKCS8_HEAD = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/** Verifies by an Ed25519 public key of 32 bytes. */
export function ed25519Verifier(publicKey: Uint8Array<ArrayBuffer>): Ed25519 {
  let imported: ImportedKey | undefined;
  return async (signature, prefix, body) => {
    const bytes = fromBase64(signature);
    if (bytes?.length !== SIGNATURE_BYTES) return false;
    imported ??= importKey('raw', publicKey, 'verify');
    return crypto.subtle.verify('Ed25519', await imported, bytes, joined(prefix, body));
  };
}

/** One `v1a` signature in base64, by a private key of 32 bytes, or of 64 with the public key behind. */
export async function ed25519Sign(privateKey: Uint8Array, prefix: string, body: Uint8Array): Promise<string> {
  const pkcs8 = new Uint8Array([...PKCS8_HEAD, ...privateKey.subarray(0, SEED_BYTES)]);
  const key = await importKey('pkcs8', pkcs8, 'sign');
  return toBase64(new Uint8Array(await crypto.subtle.sign('Ed25519', key, joined(prefix, body))));
}

async function importKey(
  format: 'raw' | 'pkcs8',
  key: Uint8Array<ArrayBuffer>,
  usage: 'verify' | 'sign',
): Promise<Awaited<ImportedKey>> {
  try {
    return await crypto.subtle.importKey(format, key, 'Ed25519', false, [usage]);
  } catch (cause) {
    throw new WebhookError(
      'unsupported_runtime',
      `This runtime has no Ed25519 in WebCrypto, or the key of a v1a signature is none: use a whsec_ secret, or Node.js 20, Chrome 137, Firefox 129, Safari 17 or later`,
      { cause },
    );
  }
}

/** Verification and nothing else, for where each kilobyte counts: the whole is under 4 KB gzipped. */
export { ERROR_STATUSES, WebhookError, type WebhookErrorCode } from './errors.ts';
export type { AnyEvents, EventOf, EventTypes, WebhookEvent } from './event.ts';
export type { RequestHeaders } from './headers.ts';
export type { Scheme, Secrets } from './secrets.ts';
export { sign, type SignatureHeaders, type SignOptions } from './sign.ts';
export {
  type RawBody,
  safeVerify,
  verify,
  type VerifiedSignature,
  type VerifyOptions,
  verifySignature,
} from './verify.ts';

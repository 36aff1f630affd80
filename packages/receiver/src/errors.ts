/** What can be wrong with a delivery, and the HTTP status that its sender gets. `docs/receiving/errors.md` explains each. */
export const ERROR_STATUSES = {
  signature_missing: 401,
  signature_malformed: 400,
  signature_mismatch: 401,
  body_reserialised: 401,
  timestamp_malformed: 400,
  timestamp_too_old: 401,
  timestamp_too_new: 401,
  header_repeated: 400,
  header_mismatch: 400,
  body_missing: 400,
  body_malformed: 400,
  body_too_large: 413,
  body_not_raw: 500,
  method_not_allowed: 405,
  handler_failed: 500,
  handler_slow: 503,
  busy: 503,
  queue_failed: 503,
  store_failed: 503,
  closing: 503,
  gave_up: 500,
  lease_lost: 500,
  unexpected: 500,
  invalid_configuration: 500,
  unsupported_runtime: 500,
} as const;

export type WebhookErrorCode = keyof typeof ERROR_STATUSES;

/**
 * Whatever this library refuses. `code` is for programs, `message` for people; neither holds a secret, a signature or a
 * payload. In a process that loads both the ESM and the CommonJS build, tell errors by `code`, not by `instanceof`.
 */
export class WebhookError extends Error {
  override readonly name = 'WebhookError';
  readonly code: WebhookErrorCode;
  /** What to answer the sender: 4xx when the request is to blame, 5xx when the receiver is. */
  readonly status: number;

  constructor(code: WebhookErrorCode, message: string, options?: { cause: unknown }) {
    super(message, options);
    this.code = code;
    this.status = ERROR_STATUSES[code];
  }
}

import type { SignatureHeaders } from './sign.ts';

/**
 * The headers of a delivery, without custom ones (wire contract, section 2).
 *
 * @param userAgent - `Posthorn-Webhook/<version>`
 */
export function webhookHeaders(
  event: string,
  signatures: SignatureHeaders,
  userAgent: string,
): Record<string, string> {
  return {
    'content-type': 'application/json',
    'user-agent': userAgent,
    'x-webhook-event': event,
    'x-webhook-signature': signatures['x-webhook-signature'],
    'webhook-id': signatures['webhook-id'],
    'webhook-timestamp': signatures['webhook-timestamp'],
    'webhook-signature': signatures['webhook-signature'],
  };
}

/** How a key stands. Pure, so that it can be tested by itself. */
import type { ApiKey } from '../../api/types.ts';

export type KeyState = 'active' | 'expired' | 'revoked';

export function keyState(key: Pick<ApiKey, 'expires_at' | 'revoked_at'>, nowSeconds: number): KeyState {
  if (key.revoked_at !== null) return 'revoked';
  return key.expires_at !== null && key.expires_at <= nowSeconds ? 'expired' : 'active';
}

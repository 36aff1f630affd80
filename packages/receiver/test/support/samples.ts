import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { type WebhookErrorCode, sign, type SignOptions } from '../../src/index.ts';

/** The secret and the other things of the wire contract's first row of known answers. */
export const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
export const OTHER_SECRET = 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD';

export interface Sample {
  body: string;
  headers: Record<string, string>;
}

/** A delivery as Posthorn sends it, of now. */
export async function delivery(
  event: { event?: string; event_id?: string; data?: object } = {},
  options: Partial<SignOptions> = {},
): Promise<Sample> {
  const whole = {
    event_id: `evt_${randomUUID()}`,
    event: 'generated_video_success',
    timestamp: 1_767_225_600,
    data: { video_id: 'v7' },
    ...event,
  };
  const body = JSON.stringify(whole);
  const headers = await sign(body, { secrets: SECRET, ...options });
  return {
    body,
    headers: { 'content-type': 'application/json', 'x-webhook-event': whole.event, ...headers },
  };
}

/** For `assert.rejects`: a WebhookError of this code, whose message tells no secret. */
export function coded(code: WebhookErrorCode, says = /./): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof Error && error.name === 'WebhookError', String(error));
    assert.equal((error as { code?: string }).code, code, error.message);
    assert.match(error.message, says);
    for (const secret of [SECRET, OTHER_SECRET]) {
      assert.ok(
        !`${error.message}${error.stack}`.includes(secret.slice(6, 20)),
        'the error tells the secret',
      );
    }
    return true;
  };
}

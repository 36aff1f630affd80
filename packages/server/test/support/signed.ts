/** Deliveries held to what their endpoints were given: the signature's secret and the custom header. */
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import type { Client } from './client.ts';
import type { ReceivedRequest, Receiver } from './receivers.ts';

export const SIGNED_EVENT = 'generated_script_success';

export interface SignedEndpoint {
  endpointId: string;
  username: string;
  secret: string;
  token: string;
}

/** Accounts with `each` endpoints at one receiver, each told apart by its path and its header. */
export async function addSignedEndpoints(
  operator: Client,
  receiver: Receiver,
  accounts: readonly string[],
  each: number,
): Promise<Map<string, SignedEndpoint>> {
  const endpoints = new Map<string, SignedEndpoint>();
  for (const username of accounts) {
    await operator.data('POST', '/v2/account', { body: { username } });
    await Promise.all(
      Array.from({ length: each }, async (_, n) => {
        const name = `${username}-${n}`;
        const token = `token-of-${name}`;
        const { endpoint_id: endpointId, secret } = await operator.data<{
          endpoint_id: string;
          secret: string;
        }>('POST', '/v2/endpoint', {
          account: username,
          body: { url: `${receiver.url}/${name}`, events: [SIGNED_EVENT], headers: { 'x-token': token } },
        });
        endpoints.set(name, { endpointId, username, secret, token });
      }),
    );
  }
  return endpoints;
}

/** Publishes one event to an account; answers to how many endpoints it goes. */
export async function publishTo(operator: Client, username: string): Promise<number> {
  const data = {
    task_id: 't',
    status: 'completed',
    scripts: [{ script_style: 'a', script_paragraphs: ['b'] }],
  };
  const body = { username, event: SIGNED_EVENT, data };
  return (await operator.data<{ deliveries: number }>('POST', '/v2/publish', { body })).deliveries;
}

/** Every request is signed with its endpoint's secret and carries its header. */
export function assertSigned(
  requests: readonly ReceivedRequest[],
  endpoints: ReadonlyMap<string, SignedEndpoint>,
): void {
  for (const { target, headers, body } of requests) {
    const endpoint = endpoints.get(target.split('/').at(-1) as string);
    assert.ok(endpoint, target);
    const expected = createHmac('sha256', endpoint.secret).update(body).digest('hex');
    assert.equal(headers['x-webhook-signature'], expected, target);
    assert.equal(headers['x-token'], endpoint.token);
  }
}

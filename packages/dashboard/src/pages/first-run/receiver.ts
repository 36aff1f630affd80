/** The built-in receiver as an endpoint: what it answers stands in its address. */
import { type Endpoint, TEST_RECEIVER } from '../../api/types.ts';
import { useApiMutation } from '../../api/use-api.ts';

/** Adds it, for these event types. */
export function useAddReceiver(onDone: (endpointId: string) => void) {
  return useApiMutation<readonly string[], Endpoint>(
    (api, events) =>
      api.send('POST', '/v2/endpoint', {
        url: TEST_RECEIVER.succeed,
        events,
        description: 'The built-in receiver of the first steps',
      }),
    ({ endpoint_id: endpointId }) => onDone(endpointId),
  );
}

/** Lets it work or fail from now on. */
export function useSetReceiver(endpointId: string, onDone: () => void) {
  return useApiMutation<keyof typeof TEST_RECEIVER, Endpoint>(
    (api, behaviour) =>
      api.send('PUT', `/v2/endpoint/${encodeURIComponent(endpointId)}`, { url: TEST_RECEIVER[behaviour] }),
    onDone,
  );
}

/** What all peers have in common, as the report lists it. */
export const PEER_SETTINGS: Readonly<Record<string, string>> = {
  API: 'Fastify 5, schema-validated, one call of the queue a request; the fleet in memory; no log lines, no metrics',
  deliveries:
    'undici 8, a keep-alive pool an origin without a limit, time-out 5 s by its coarse timers; one signature (x-webhook-signature)',
  'left out, in their favour': 'idempotency by event_id, address checks, the capture of responses',
};

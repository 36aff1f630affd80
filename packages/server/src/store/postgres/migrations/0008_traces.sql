-- Traces: what the publisher says of its own is kept with the event, so that an attempt days later, by whichever node,
-- belongs to it (docs/tracing.md).

-- `traceparent` as it came, and behind a space `tracestate` where there was one; null without a trace.
ALTER TABLE posthorn.event ADD COLUMN trace text;

-- The trace of an application that publishes by SQL, as it has set it for its transaction:
-- SELECT set_config('posthorn.traceparent', '00-…', true). What isn't one counts as none: it is no reason to refuse an event.
CREATE FUNCTION posthorn.session_trace() RETURNS text
  LANGUAGE sql STABLE AS $$
  SELECT t.parent || CASE WHEN length(t.state) <= 512 AND t.state ~ '^[\x20-\x7e]+$' THEN ' ' || t.state ELSE '' END
  FROM (SELECT current_setting('posthorn.traceparent', true) COLLATE "C" AS parent,
               coalesce(current_setting('posthorn.tracestate', true), '') COLLATE "C" AS state) t
  WHERE t.parent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' AND t.parent !~ '^00-0{32}-' AND t.parent !~ '-0{16}-..$'
$$;

-- Three places of posthorn.publish_batch and two of posthorn.lease_due change; their text stays where it is. Calls without traces,
-- of posthorn.publish and of nodes of the version before, mean the same function.
DO $$
DECLARE
  v_definition text := pg_get_functiondef('posthorn.publish_batch'::regproc);
  v_change text[];
BEGIN
  FOREACH v_change SLICE 1 IN ARRAY ARRAY[
    ARRAY['p_lease_ms bigint)', 'p_lease_ms bigint, p_traces text[] DEFAULT NULL)'],
    ARRAY['p_fingerprints, p_only_endpoint_ids)
           WITH ORDINALITY AS i(username, event_id, event, "timestamp", body, fingerprint, only_endpoint_id, ord)',
      'p_fingerprints, p_only_endpoint_ids, p_traces)
           WITH ORDINALITY AS i(username, event_id, event, "timestamp", body, fingerprint, only_endpoint_id, trace, ord)'],
    ARRAY['skipped, only_endpoint_id)', 'skipped, only_endpoint_id, trace)'],
    -- Without a node it is an application's own transaction.
    ARRAY['o.skipped::text, f.only_endpoint_id',
      'o.skipped::text, f.only_endpoint_id, CASE WHEN p_node = 0 THEN posthorn.session_trace() ELSE f.trace END']
  ] LOOP
    ASSERT strpos(v_definition, v_change[1]) > 0, format('posthorn.publish_batch has no "%s"', v_change[1]);
    v_definition := replace(v_definition, v_change[1], v_change[2]);
  END LOOP;
  DROP FUNCTION posthorn.publish_batch;
  EXECUTE v_definition;

  v_definition := pg_get_functiondef('posthorn.lease_due'::regproc);
  FOREACH v_change SLICE 1 IN ARRAY ARRAY[
    ARRAY['j.event_id, j.event, v.body))', 'j.event_id, j.event, v.body, v.trace))'],
    ARRAY['(SELECT body FROM posthorn.event', '(SELECT body, trace FROM posthorn.event']
  ] LOOP
    ASSERT strpos(v_definition, v_change[1]) > 0, format('posthorn.lease_due has no "%s"', v_change[1]);
    v_definition := replace(v_definition, v_change[1], v_change[2]);
  END LOOP;
  EXECUTE v_definition;
END $$;

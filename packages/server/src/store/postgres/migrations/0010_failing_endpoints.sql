-- Endpoints that fail: who is probed instead of served, and what was missed by those that were disabled
-- (docs/decisions/0016-failing-endpoints.md). What claims and publishes make of it stands with them, in 0002.

-- A row while an endpoint has failed since its last success, and for a while after, so that its owner isn't told of each
-- turn of one that comes and goes. A healthy endpoint has none. Only settlements and changes of endpoints write here, in
-- the order of the key and before they change the endpoint itself: nobody waits in a circle.
CREATE TABLE posthorn.failing_endpoint (
  username     text COLLATE "C" NOT NULL,
  endpoint_id  text COLLATE "C" NOT NULL,
  failures     integer NOT NULL, -- in a row, over its deliveries and all nodes; 0: it has recovered
  since        bigint NOT NULL,  -- the first of them
  oldest       bigint NOT NULL,  -- when the oldest delivery was made that failed since
  probes       integer NOT NULL, -- how many have failed
  probe_at     bigint,           -- the next probe's time at the earliest; null: the lane is open
  told         boolean NOT NULL, -- whether endpoint.failing was sent for this time
  told_at      bigint,           -- when it was sent last
  last_at      bigint NOT NULL,  -- of the last failure
  last_outcome text NOT NULL,
  last_status  integer,
  last_error   text,
  PRIMARY KEY (username, endpoint_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- What a person asked for goes at once, however much waits for the next probe.
CREATE INDEX queue_manual ON posthorn.queue (username, endpoint_id, due_at, event_seq) WHERE manual;

ALTER TABLE posthorn.endpoint
  ADD COLUMN disabled_at bigint,
  -- Since when, and until when, it may have missed events that no replay has made up for.
  ADD COLUMN missed_since bigint,
  ADD COLUMN missed_until bigint;
CREATE INDEX endpoint_disabled ON posthorn.endpoint (disabled_at) WHERE status = 'disabled' AND disabled_reason IS NOT NULL;

-- ------------------------------------------------------------------------------------------------ claiming

-- Leases, from lanes that the caller has locked, what a person asked for and is due there: p_free of a lane at most.
-- Answers as lease_due does.
CREATE FUNCTION posthorn.lease_asked(
  p_usernames text[], p_endpoints text[], p_free integer[], p_limit integer, p_now bigint, p_until bigint, p_node bigint,
  p_token text, OUT leases json, OUT events json, OUT counts integer[], OUT dues bigint[], OUT seqs bigint[]
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  WITH picked AS MATERIALIZED (
    SELECT l.ord, p.* FROM unnest(p_usernames, p_endpoints, p_free) WITH ORDINALITY AS l(username, endpoint_id, free, ord)
    CROSS JOIN LATERAL (
      SELECT q.ctid AS place, q.username, q.delivery_id, q.endpoint_id, q.event_id, q.event, q.event_at, q.event_seq,
             q.attempts, q.failures, q.due_at
      FROM posthorn.queue q
      WHERE q.username = l.username AND q.endpoint_id = l.endpoint_id AND q.manual AND q.due_at <= p_now
        AND (NOT q.leased OR q.leased_until <= p_now)
      ORDER BY q.due_at, q.event_seq LIMIT l.free FOR UPDATE SKIP LOCKED
    ) p
    WHERE l.free > 0
    ORDER BY l.ord, p.due_at, p.event_seq LIMIT p_limit
  ), numbered AS MATERIALIZED (
    SELECT p.*, row_number() OVER (ORDER BY p.ord, p.due_at, p.event_seq) AS n FROM picked p
  ), leased AS (
    UPDATE posthorn.queue q
    SET leased = true, leased_at = p_now, leased_until = p_until, token = p_token || j.n, holder = p_node
    FROM numbered j WHERE q.ctid = j.place
  )
  SELECT
    (SELECT json_agg(json_build_array(delivery_id, username, p_token || n, attempts, failures, true, event_id, endpoint_id)
                     ORDER BY n) FROM numbered),
    (SELECT json_agg(json_build_array(j.username, j.event_id, j.event, v.body, v.trace))
     FROM (SELECT DISTINCT username, event_id, event, event_at, event_seq FROM numbered) j
     CROSS JOIN LATERAL (SELECT body, trace FROM posthorn.event WHERE username = j.username AND created_at = j.event_at
                           AND seq = j.event_seq OFFSET 0) v),
    array_agg(coalesce(g.n, 0) ORDER BY o.ord), array_agg(g.due ORDER BY o.ord), array_agg(g.seq ORDER BY o.ord)
  INTO leases, events, counts, dues, seqs
  FROM generate_series(1, cardinality(p_usernames)) AS o(ord)
  LEFT JOIN (SELECT ord, count(*)::integer AS n, max(due_at) AS due, max(event_seq) AS seq FROM numbered GROUP BY ord) g
    ON g.ord = o.ord;
END $$;

-- ------------------------------------------------------------------------------------------------ operational events

-- The end of one of these is told to nobody, or a receiver of them that fails would be told of for ever.
CREATE FUNCTION posthorn.is_operational(p_event text) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$ SELECT p_event IN ('endpoint.failing', 'endpoint.recovered', 'endpoint.disabled', 'delivery.dead') $$;

-- Stores an event for the endpoints of an account, and of the operations account, that subscribe to it: in the transaction
-- of what it tells of. p_except isn't told. Without a subscriber nothing is written.
CREATE FUNCTION posthorn.tell(p_username text, p_operations text, p_event text, p_data jsonb, p_except text) RETURNS void
  LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_now bigint := posthorn.now_ms();
  v_listener text;
  v_enabled text[];
  v_skipped json;
  v_seq bigint;
  v_event_id text;
BEGIN
  FOR v_listener IN SELECT DISTINCT u FROM unnest(ARRAY[p_username, p_operations]) u WHERE u IS NOT NULL LOOP
    SELECT coalesce(array_agg(e.endpoint_id ORDER BY e.endpoint_id) FILTER (WHERE e.status = 'enabled'), '{}'),
           json_agg(e.endpoint_id) FILTER (WHERE e.status <> 'enabled')
    INTO v_enabled, v_skipped
    FROM posthorn.subscription s
    JOIN posthorn.endpoint e ON e.username = s.username AND e.endpoint_id = s.endpoint_id AND e.status <> 'deleted'
    JOIN posthorn.account a ON a.username = s.username AND a.status <> 'deleted'
    WHERE s.username = v_listener AND s.event = p_event AND s.endpoint_id IS DISTINCT FROM p_except;
    CONTINUE WHEN cardinality(v_enabled) = 0 AND v_skipped IS NULL;

    v_seq := nextval('posthorn.event_seq');
    v_event_id := posthorn.new_id('evt', v_now);
    INSERT INTO posthorn.event_key (username, event_id, created_at, seq) VALUES (v_listener, v_event_id, v_now, v_seq);
    INSERT INTO posthorn.event (seq, username, event_id, event, timestamp, created_at, body, fingerprint, deliveries, skipped)
    VALUES (v_seq, v_listener, v_event_id, p_event, v_now / 1000, v_now,
            '{"event_id":"' || v_event_id || '","event":"' || p_event || '","timestamp":' || v_now / 1000
              || ',"data":' || posthorn.seal_data(p_data) || '}',
            NULL, cardinality(v_enabled), v_skipped::text);
    -- Before what it speaks of: a call's time is never after that.
    INSERT INTO posthorn.lane_call (username, endpoint_id, at) SELECT v_listener, id, v_now FROM unnest(v_enabled) id;
    INSERT INTO posthorn.queue (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, attempts, failures,
                                manual, pinned, created_at, due_at, leased)
    SELECT v_listener, posthorn.new_id('dlv', v_now), id, v_event_id, p_event, v_now, v_seq, 0, 0, false, false, v_now, v_now,
           false
    FROM unnest(v_enabled) id;
  END LOOP;
END $$;

CREATE FUNCTION posthorn.seconds(p_ms bigint) RETURNS bigint
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT p_ms / 1000 $$;

-- Disables an endpoint that is enabled: since when it has missed events is told by its failures, or by p_oldest, when a
-- delivery was made that has failed just now. Tells of it where p_tells. Answers whether it did.
CREATE FUNCTION posthorn.end_endpoint(
  p_username text, p_endpoint_id text, p_reason text, p_oldest bigint, p_tells boolean, p_operations text
) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_now bigint := posthorn.now_ms();
  v_url text;
  v_missed bigint;
BEGIN
  UPDATE posthorn.endpoint e
  SET status = 'disabled', disabled_reason = p_reason, disabled_at = v_now, missed_until = NULL,
      missed_since = least(e.missed_since, coalesce(p_oldest, v_now), (
        SELECT f.oldest FROM posthorn.failing_endpoint f
        WHERE f.username = p_username AND f.endpoint_id = p_endpoint_id AND f.failures > 0))
  WHERE e.username = p_username AND e.endpoint_id = p_endpoint_id AND e.status = 'enabled'
  RETURNING e.url, e.missed_since INTO v_url, v_missed;
  IF NOT FOUND THEN RETURN false; END IF;
  IF p_tells THEN
    PERFORM posthorn.tell(p_username, p_operations, 'endpoint.disabled', jsonb_build_object(
      'username', p_username, 'endpoint_id', p_endpoint_id, 'url', v_url, 'reason', p_reason,
      'disabled_at', posthorn.seconds(v_now), 'missed_since', posthorn.seconds(v_missed)), p_endpoint_id);
  END IF;
  RETURN true;
END $$;

-- ------------------------------------------------------------------------------------------------ judging

-- Judges endpoints by attempts that were settled together: the twin of judge in store/circuit.ts, and the rules are
-- told there. Columns, an attempt each, in the order in which they ended; p_failed: it counts against its endpoint.
-- Answers [[username, endpoint id, probing | open | disabled, reason]].
CREATE FUNCTION posthorn.judge_endpoints(
  p_usernames text[], p_endpoints text[], p_failed boolean[], p_created_ats bigint[], p_started_ats bigint[],
  p_outcomes text[], p_http_statuses integer[], p_errors text[],
  p_probe_after integer, p_pauses bigint[], p_disable_after bigint, p_disable_reason text, p_operations text
) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  c_tell_every_ms CONSTANT bigint := 600000;
  v_now bigint := posthorn.now_ms();
  v_end record;
  v_row posthorn.failing_endpoint;
  v_is_known boolean;
  v_url text;
  v_turns json[] := '{}';
  v_reason text;
BEGIN
  FOR v_end IN
    SELECT a.username, a.endpoint_id, bool_or(a.outcome = 'success') AS succeeded,
           count(*) FILTER (WHERE a.counts)::integer AS failures, min(a.created_at) FILTER (WHERE a.counts) AS oldest,
           max(a.ord) FILTER (WHERE a.counts) AS last
    FROM (
      SELECT i.*, i.failed AND i.ord > coalesce(max(i.ord) FILTER (WHERE i.outcome = 'success')
                                                  OVER (PARTITION BY i.username, i.endpoint_id), 0) AS counts
      FROM unnest(p_usernames, p_endpoints, p_failed, p_created_ats, p_outcomes) WITH ORDINALITY
           AS i(username, endpoint_id, failed, created_at, outcome, ord)
    ) a
    GROUP BY a.username, a.endpoint_id
    HAVING bool_or(a.counts) OR bool_or(a.outcome = 'success')
    -- In the order of the key: two settlements wait for each other, but not in a circle.
    ORDER BY a.username, a.endpoint_id
  LOOP
    IF v_end.failures > 0 THEN
      -- The first to fail makes the row, so that who comes at the same time waits for it and counts on.
      INSERT INTO posthorn.failing_endpoint (username, endpoint_id, failures, since, oldest, probes, told, last_at,
                                             last_outcome)
      VALUES (v_end.username, v_end.endpoint_id, 0, v_now, v_end.oldest, 0, false, v_now, '')
      ON CONFLICT DO NOTHING;
    END IF;
    SELECT * INTO v_row FROM posthorn.failing_endpoint
    WHERE username = v_end.username AND endpoint_id = v_end.endpoint_id FOR UPDATE;
    CONTINUE WHEN NOT FOUND;
    -- What was under way when it ended says nothing of what it will be like when it is enabled again.
    SELECT url INTO v_url FROM posthorn.endpoint
    WHERE username = v_end.username AND endpoint_id = v_end.endpoint_id AND status = 'enabled';
    IF NOT FOUND THEN
      DELETE FROM posthorn.failing_endpoint
      WHERE username = v_end.username AND endpoint_id = v_end.endpoint_id AND failures = 0;
      CONTINUE;
    END IF;

    IF v_end.succeeded AND v_row.failures > 0 THEN
      IF v_row.probe_at IS NOT NULL THEN
        v_turns := v_turns || json_build_array(v_end.username, v_end.endpoint_id, 'open', NULL);
      END IF;
      IF v_row.told THEN
        PERFORM posthorn.tell(v_end.username, p_operations, 'endpoint.recovered', jsonb_build_object(
          'username', v_end.username, 'endpoint_id', v_end.endpoint_id, 'url', v_url,
          'failing_since', posthorn.seconds(v_row.since), 'recovered_at', posthorn.seconds(v_now),
          'consecutive_failures', v_row.failures), v_end.endpoint_id);
      END IF;
      v_row.failures := 0;
      v_row.probes := 0;
      v_row.probe_at := NULL;
      v_row.told := false;
      IF v_end.failures = 0 AND coalesce(v_row.told_at, 0) <= v_now - c_tell_every_ms THEN
        DELETE FROM posthorn.failing_endpoint
        WHERE username = v_end.username AND endpoint_id = v_end.endpoint_id;
        CONTINUE;
      END IF;
    END IF;

    v_reason := NULL;
    IF v_end.failures > 0 THEN
      IF v_row.failures = 0 THEN
        v_row.since := v_now;
        v_row.oldest := v_end.oldest;
      END IF;
      v_row.failures := v_row.failures + v_end.failures;
      v_row.oldest := least(v_row.oldest, v_end.oldest);
      v_row.last_at := p_started_ats[v_end.last];
      v_row.last_outcome := p_outcomes[v_end.last];
      v_row.last_status := p_http_statuses[v_end.last];
      v_row.last_error := p_errors[v_end.last];
      IF v_row.probe_at IS NULL THEN
        IF v_row.failures >= p_probe_after THEN
          v_row.probe_at := v_now + p_pauses[1];
          v_turns := v_turns || json_build_array(v_end.username, v_end.endpoint_id, 'probing', NULL);
        END IF;
      ELSIF v_now >= v_row.probe_at THEN
        v_row.probes := v_row.probes + 1;
        v_row.probe_at := v_now + p_pauses[least(v_row.probes + 1, cardinality(p_pauses))];
      END IF;
      IF v_row.probe_at IS NOT NULL THEN
        IF NOT v_row.told AND coalesce(v_row.told_at, 0) <= v_now - c_tell_every_ms THEN
          v_row.told := true;
          v_row.told_at := v_now;
          PERFORM posthorn.tell(v_end.username, p_operations, 'endpoint.failing', jsonb_build_object(
            'username', v_end.username, 'endpoint_id', v_end.endpoint_id, 'url', v_url,
            'failing_since', posthorn.seconds(v_row.since), 'consecutive_failures', v_row.failures,
            'next_probe_at', posthorn.seconds(v_row.probe_at),
            'last_failure', jsonb_build_object(
              'at', posthorn.seconds(v_row.last_at), 'outcome', v_row.last_outcome, 'http_status', v_row.last_status,
              'error', v_row.last_error)), v_end.endpoint_id);
        END IF;
        IF v_now - v_row.since >= p_disable_after THEN
          v_reason := p_disable_reason || '; last: ' || coalesce(v_row.last_error, v_row.last_outcome);
        END IF;
      END IF;
    END IF;
    UPDATE posthorn.failing_endpoint f
    SET failures = v_row.failures, since = v_row.since, oldest = v_row.oldest, probes = v_row.probes,
        probe_at = v_row.probe_at, told = v_row.told, told_at = v_row.told_at, last_at = v_row.last_at,
        last_outcome = v_row.last_outcome, last_status = v_row.last_status, last_error = v_row.last_error
    WHERE f.username = v_end.username AND f.endpoint_id = v_end.endpoint_id;

    IF v_reason IS NOT NULL
      AND posthorn.end_endpoint(v_end.username, v_end.endpoint_id, v_reason, v_row.oldest, true, p_operations)
    THEN
      v_turns := v_turns || json_build_array(v_end.username, v_end.endpoint_id, 'disabled', v_reason);
    END IF;
  END LOOP;

  -- What other nodes hold of a lane that shrank and haven't begun is to be given back (0004). That one was disabled is
  -- noted by its change.
  INSERT INTO posthorn.change (endpoint_id, at)
  SELECT t ->> 1, v_now FROM unnest(v_turns) t WHERE t ->> 2 = 'probing';
  RETURN array_to_json(v_turns);
END $$;


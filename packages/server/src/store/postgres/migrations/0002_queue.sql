-- The queue's moves: each function is one statement for its caller, so that it works on any connection and costs one
-- round trip.
--
-- Locks. Nobody waits for a lane: publish and claim take lanes by SKIP LOCKED and hold them until they commit; what
-- makes something due says so in lane_call, which is only ever inserted into. So a transaction of any length, an
-- application's own included, delays nobody's delivery. A lane's leases are counted in a statement after the one
-- that took its lock: only then does the snapshot hold what its former holder committed.

-- ------------------------------------------------------------------------------------------------ small parts
--
-- In PL/pgSQL where they can't be inlined: it keeps its plans for a session, SQL functions parse anew in each transaction.

-- How many unexpired leases a lane may hold: a rate-limited endpoint ten seconds of its rate at most, so that no lease
-- runs out waiting.
CREATE FUNCTION posthorn.lane_capacity(p_lane_limit integer, p_rate double precision) RETURNS integer
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$ SELECT CASE WHEN p_rate IS NULL THEN p_lane_limit ELSE least(p_lane_limit, greatest(1, floor(p_rate * 10)::integer)) END $$;

-- The head of an id: prefix and ten base-32 digits of milliseconds. See clock.ts for the alphabet and the form.
CREATE FUNCTION posthorn.id_head(p_prefix text, p_now bigint) RETURNS text
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  v_digits text := '';
BEGIN
  FOR v_digit IN 0..9 LOOP
    v_digits := substr('0123456789abcdefghjkmnpqrstvwxyz', ((p_now >> (5 * v_digit)) & 31)::integer + 1, 1) || v_digits;
  END LOOP;
  RETURN p_prefix || '_' || v_digits;
END $$;

-- Four digits of a counter and twelve random ones. Base 64 has 6 bits a digit: two of its digits become one of ours.
CREATE FUNCTION posthorn.id_tail(p_counter bigint) RETURNS text
  LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $$
DECLARE
  v_random bytea := uuid_send(gen_random_uuid());
BEGIN
  RETURN substr('0123456789abcdefghjkmnpqrstvwxyz', ((p_counter >> 15) & 31)::integer + 1, 1)
      || substr('0123456789abcdefghjkmnpqrstvwxyz', ((p_counter >> 10) & 31)::integer + 1, 1)
      || substr('0123456789abcdefghjkmnpqrstvwxyz', ((p_counter >> 5) & 31)::integer + 1, 1)
      || substr('0123456789abcdefghjkmnpqrstvwxyz', (p_counter & 31)::integer + 1, 1)
      -- All bytes but those that a random UUID spends on its version and variant.
      || translate(encode(substr(v_random, 1, 2) || substr(v_random, 10, 7), 'base64'),
           'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/',
           '0123456789abcdefghjkmnpqrstvwxyz0123456789abcdefghjkmnpqrstvwxyz');
END $$;

-- Sorts by the time it was made, as the ids made in clock.ts.
CREATE FUNCTION posthorn.new_id(p_prefix text, p_now bigint) RETURNS text
  LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $$
BEGIN
  RETURN posthorn.id_head(p_prefix, p_now) || posthorn.id_tail(nextval('posthorn.event_seq'));
END $$;

CREATE FUNCTION posthorn.cancel_reason(p_status text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$ SELECT CASE p_status WHEN 'disabled' THEN 'endpoint disabled' ELSE 'endpoint deleted' END $$;

-- An endpoint as a lease carries it.
CREATE FUNCTION posthorn.leased_endpoint(e posthorn.endpoint) RETURNS json
  LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT json_build_object(
    'endpoint_id', e.endpoint_id, 'url', e.url, 'secret', e.secret, 'previous_secret', e.previous_secret,
    'previous_secret_expires_at', e.previous_secret_expires_at, 'headers', e.headers,
    'rate_limit_per_second', e.rate_limit_per_second, 'timeout_ms', e.timeout_ms)
$$;

-- Cancels what waits for an endpoint, expired leases included (who held one can no longer settle it), at most p_limit.
-- What another transaction has in hand is left to it: it judges the endpoint itself.
CREATE FUNCTION posthorn.cancel_waiting(p_username text, p_endpoint_id text, p_reason text, p_limit integer)
  RETURNS integer LANGUAGE sql VOLATILE AS $$
  WITH waiting AS MATERIALIZED (
    SELECT delivery_id FROM posthorn.queue
    WHERE username = p_username AND endpoint_id = p_endpoint_id AND (NOT leased OR due_at <= posthorn.now_ms())
    LIMIT p_limit FOR UPDATE SKIP LOCKED
  ), gone AS (
    DELETE FROM posthorn.queue q USING waiting w
    WHERE q.username = p_username AND q.delivery_id = w.delivery_id
    RETURNING q.*
  ), kept AS (
    INSERT INTO posthorn.delivery (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, status,
                                   status_reason, attempts, created_at, completed_at)
    SELECT username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, 'cancelled', p_reason, attempts,
           created_at, posthorn.now_ms()
    FROM gone
    RETURNING 1
  )
  SELECT count(*)::integer FROM kept
$$;

-- ------------------------------------------------------------------------------------------------ publish

-- Stores events that are sealed already and leases what the offer and the lanes allow; without a limit it leases
-- nothing and takes no lane. The ids of a batch are distinct: the caller judges repeats by what is answered here.
--
-- p_events: [{ username, event_id, event, timestamp, body, fingerprint, only_endpoint_id }]
-- p_heads: the same without timestamp, body and fingerprint, so that bodies are read once; null: read from p_events
-- Answers {
--   stored: [index], made: [[index, delivery id, endpoint id, token or null]],
--   endpoints: [the endpoints of leases], taken: [[index, event, timestamp, fingerprint, deliveries, body]],
--   until: end of the leases, next: when another claim may find something }
CREATE FUNCTION posthorn.publish_batch(
  p_events json, p_heads json, p_node bigint, p_limit integer, p_lane_limit integer, p_lease_ms bigint
) RETURNS json LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off AS $$
DECLARE
  v_now bigint := posthorn.now_ms();
  v_until bigint;
  v_head text := posthorn.id_head('dlv', v_now);
  v_ords bigint[];
  v_seqs bigint[];
  v_lanes text[] := '{}';
  v_result json;
  v_taken json;
BEGIN
  -- The ids first: this may wait for another's transaction with the same id, and no lane must be held meanwhile.
  WITH input AS MATERIALIZED (
    SELECT i.*, nextval('posthorn.event_seq') AS seq
    FROM ROWS FROM (json_to_recordset(coalesce(p_heads, p_events)) AS (username text, event_id text, only_endpoint_id text))
         WITH ORDINALITY AS i(username, event_id, only_endpoint_id, ord)
    JOIN LATERAL (SELECT status FROM posthorn.account WHERE username = i.username OFFSET 0) a ON a.status <> 'deleted'
    LEFT JOIN LATERAL (SELECT status FROM posthorn.endpoint
                       WHERE username = i.username AND endpoint_id = i.only_endpoint_id OFFSET 0) o ON true
    WHERE i.only_endpoint_id IS NULL OR o.status = 'enabled'
  ), keyed AS (
    -- In the order of the key: two batches with ids in common wait for each other, but not in a circle.
    INSERT INTO posthorn.event_key (username, event_id, created_at, seq)
    SELECT username, event_id, v_now, seq FROM input ORDER BY username, event_id
    ON CONFLICT DO NOTHING
    RETURNING seq
  )
  SELECT array_agg(i.ord ORDER BY i.ord), array_agg(i.seq ORDER BY i.ord) INTO v_ords, v_seqs
  FROM keyed k JOIN input i ON i.seq = k.seq;
  v_until := posthorn.now_ms() + p_lease_ms;

  IF p_limit > 0 AND v_ords IS NOT NULL THEN
    SELECT coalesce(array_agg(endpoint_id), '{}') INTO v_lanes FROM (
      SELECT l.endpoint_id FROM (
        SELECT DISTINCT i.username, s.endpoint_id
        FROM ROWS FROM (json_to_recordset(coalesce(p_heads, p_events)) AS (username text, event text, only_endpoint_id text))
             WITH ORDINALITY AS i(username, event, only_endpoint_id, ord)
        JOIN unnest(v_ords) AS k(ord) ON k.ord = i.ord
        CROSS JOIN LATERAL (
          SELECT endpoint_id FROM posthorn.subscription
          WHERE i.only_endpoint_id IS NULL AND username = i.username AND event = i.event
          UNION ALL
          SELECT i.only_endpoint_id WHERE i.only_endpoint_id IS NOT NULL
        ) s
      ) t
      CROSS JOIN LATERAL (
        SELECT endpoint_id FROM posthorn.lane
        WHERE username = t.username AND endpoint_id = t.endpoint_id AND NOT parked
          AND (keeper IS NULL OR keeper = p_node OR kept_until <= v_now)
        FOR NO KEY UPDATE SKIP LOCKED
      ) l
      LIMIT p_limit
    ) locked;
  END IF;

  WITH fresh AS MATERIALIZED (
    SELECT i.*, a.status AS account_status, k.seq
    FROM ROWS FROM (json_to_recordset(p_events) AS (username text, event_id text, event text, "timestamp" bigint,
                                                    body text, fingerprint text, only_endpoint_id text))
         WITH ORDINALITY AS i(username, event_id, event, "timestamp", body, fingerprint, only_endpoint_id, ord)
    JOIN unnest(v_ords, v_seqs) AS k(ord, seq) ON k.ord = i.ord
    JOIN LATERAL (SELECT status FROM posthorn.account WHERE username = i.username OFFSET 0) a ON true
  ), target AS MATERIALIZED (
    SELECT f.ord, e.endpoint_id, e.status, e.rate_limit_per_second
    FROM fresh f
    CROSS JOIN LATERAL (
      SELECT endpoint_id FROM posthorn.subscription
      WHERE f.only_endpoint_id IS NULL AND username = f.username AND event = f.event
      UNION ALL
      SELECT f.only_endpoint_id WHERE f.only_endpoint_id IS NOT NULL
    ) s
    CROSS JOIN LATERAL (
      SELECT endpoint_id, status, rate_limit_per_second FROM posthorn.endpoint
      WHERE username = f.username AND endpoint_id = s.endpoint_id OFFSET 0
    ) e
    WHERE e.status <> 'deleted'
  ), fan_out AS (
    SELECT ord, count(*) FILTER (WHERE status = 'enabled') AS enabled,
           json_agg(endpoint_id) FILTER (WHERE status <> 'enabled') AS skipped
    FROM target GROUP BY ord
  ), stored AS (
    INSERT INTO posthorn.event (seq, username, event_id, event, timestamp, created_at, body, fingerprint, deliveries,
                                skipped, only_endpoint_id)
    SELECT f.seq, f.username, f.event_id, f.event, f.timestamp, v_now, f.body, f.fingerprint, coalesce(o.enabled, 0),
           o.skipped::text, f.only_endpoint_id
    FROM fresh f LEFT JOIN fan_out o ON o.ord = f.ord
  ), room AS MATERIALIZED (
    -- Older deliveries that wait must not be passed by new ones.
    SELECT l.endpoint_id, CASE
        WHEN EXISTS (SELECT 1 FROM posthorn.queue q WHERE q.username = l.username AND q.endpoint_id = l.endpoint_id
                       AND NOT q.leased AND q.due_at <= v_now) THEN 0
        ELSE posthorn.lane_capacity(p_lane_limit, l.rate_limit_per_second)
          - (SELECT count(*) FROM posthorn.queue q WHERE q.username = l.username AND q.endpoint_id = l.endpoint_id
               AND q.leased AND q.due_at > v_now)
      END AS free
    FROM (SELECT DISTINCT f.username, t.endpoint_id, t.rate_limit_per_second
          FROM target t JOIN fresh f ON f.ord = t.ord
          WHERE t.status = 'enabled' AND f.account_status = 'active' AND t.endpoint_id = ANY (v_lanes)) l
  ), line AS (
    SELECT f.ord, f.seq, f.username, f.event_id, f.event, f.only_endpoint_id IS NOT NULL AS alone, t.endpoint_id,
           t.rate_limit_per_second,
           coalesce(row_number() OVER (PARTITION BY t.endpoint_id ORDER BY f.ord) <= r.free, false) AS fits
    FROM target t JOIN fresh f ON f.ord = t.ord LEFT JOIN room r ON r.endpoint_id = t.endpoint_id
    WHERE t.status = 'enabled'
  ), placed AS MATERIALIZED (
    SELECT line.*, v_head || posthorn.id_tail(nextval('posthorn.event_seq')) AS delivery_id,
           CASE WHEN fits AND row_number() OVER (ORDER BY fits DESC, ord) <= p_limit
                THEN gen_random_uuid()::text END AS token
    FROM line ORDER BY ord
  ), queued AS (
    INSERT INTO posthorn.queue (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, attempts,
                                failures, manual, pinned, created_at, due_at, leased, leased_at, token, holder)
    SELECT username, delivery_id, endpoint_id, event_id, event, v_now, seq, 0, 0, alone, alone, v_now,
           CASE WHEN token IS NULL THEN v_now ELSE v_until END, token IS NOT NULL,
           CASE WHEN token IS NOT NULL THEN v_now END, token, CASE WHEN token IS NOT NULL THEN p_node END
    FROM placed
  ), called AS (
    INSERT INTO posthorn.lane_call (username, endpoint_id, at)
    SELECT DISTINCT username, endpoint_id, v_now FROM placed WHERE token IS NULL
  ), armed AS (
    UPDATE posthorn.lane l
    SET next_at = least(l.next_at, v_until), keeper = CASE WHEN p.rate_limit_per_second IS NULL THEN NULL ELSE p_node END,
        kept_until = CASE WHEN p.rate_limit_per_second IS NULL THEN NULL ELSE v_now + 10000 END
    FROM (SELECT DISTINCT username, endpoint_id, rate_limit_per_second FROM placed WHERE token IS NOT NULL) p
    WHERE l.username = p.username AND l.endpoint_id = p.endpoint_id
      AND (l.next_at IS NULL OR l.next_at > v_until OR p.rate_limit_per_second IS NOT NULL OR l.keeper IS NOT NULL)
  )
  SELECT json_build_object(
    'stored', (SELECT coalesce(json_agg(ord - 1), '[]') FROM fresh),
    'made', (SELECT coalesce(json_agg(json_build_array(ord - 1, delivery_id, endpoint_id, token) ORDER BY ord, endpoint_id), '[]')
             FROM placed),
    'endpoints', (SELECT coalesce(json_agg(posthorn.leased_endpoint(e)), '[]') FROM posthorn.endpoint e
                  JOIN (SELECT DISTINCT username, endpoint_id FROM placed WHERE token IS NOT NULL) p
                    ON p.username = e.username AND p.endpoint_id = e.endpoint_id),
    'until', v_until)
  INTO v_result;

  -- What wasn't stored, and what stands in its place. A statement of its own sees what others committed meanwhile.
  IF json_array_length(v_result -> 'stored') < json_array_length(p_events) THEN
    SELECT json_agg(json_build_array(i.ord - 1, v.event, v.timestamp, v.fingerprint, v.deliveries,
                                     CASE WHEN v.fingerprint IS NULL THEN v.body END)) INTO v_taken
    FROM ROWS FROM (json_to_recordset(p_events) AS (username text, event_id text)) WITH ORDINALITY
         AS i(username, event_id, ord)
    JOIN posthorn.event_key k ON k.username = i.username AND k.event_id = i.event_id
    JOIN posthorn.event v ON v.username = k.username AND v.created_at = k.created_at AND v.seq = k.seq
    WHERE NOT EXISTS (SELECT 1 FROM json_array_elements_text(v_result -> 'stored') s WHERE s::bigint = i.ord - 1);
  END IF;
  RETURN json_build_object('stored', v_result -> 'stored', 'made', v_result -> 'made',
                           'endpoints', v_result -> 'endpoints', 'until', v_until,
                           'taken', coalesce(v_taken, '[]'), 'next', posthorn.next_due());
END $$;

-- ------------------------------------------------------------------------------------------------ claim

-- When another claim may find something; null when nothing waits. May be early, never late.
CREATE FUNCTION posthorn.next_due() RETURNS bigint
  LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  RETURN least(
    (SELECT next_at FROM posthorn.lane WHERE next_at IS NOT NULL AND NOT parked ORDER BY next_at LIMIT 1),
    -- A bounded look: where there are more calls, something is due as far as anybody knows.
    (SELECT CASE WHEN count(*) = 100 THEN posthorn.now_ms() ELSE min(at) END
     FROM (SELECT at FROM posthorn.lane_call ORDER BY id LIMIT 100) c));
END $$;

-- Takes up calls, then leases due deliveries: each due lane its share first, then what the others left over.
-- Answers { leases: [[…]], events: [[…]], endpoints: […], until, next }; see queue.ts, which reads it.
CREATE FUNCTION posthorn.claim(p_node bigint, p_limit integer, p_lane_limit integer, p_lease_ms bigint) RETURNS json
  LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off AS $$
DECLARE
  v_now bigint := posthorn.now_ms();
  v_until bigint := v_now + p_lease_ms;
  v_usernames text[];
  v_endpoints text[];
  v_tokens text[] := '{}';
  v_owners text[] := '{}';
  v_ids text[] := '{}';
  v_new_tokens text[];
  v_new_owners text[];
  v_new_ids text[];
  v_most integer;
  v_visited boolean := false;
  v_lane record;
  v_result json;
BEGIN
  IF p_limit <= 0 THEN
    RETURN json_build_object('leases', '[]'::json, 'events', '[]'::json, 'endpoints', '[]'::json, 'until', v_until,
                             'next', posthorn.next_due());
  END IF;

  WITH call AS MATERIALIZED (
    SELECT id, username, endpoint_id, at FROM posthorn.lane_call ORDER BY id LIMIT 2000
  ), locked AS MATERIALIZED (
    SELECT l.username, l.endpoint_id FROM posthorn.lane l
    WHERE (l.username, l.endpoint_id) IN (SELECT username, endpoint_id FROM call)
    FOR NO KEY UPDATE SKIP LOCKED
  ), taken AS (
    DELETE FROM posthorn.lane_call c USING call, locked l
    WHERE c.id = call.id AND l.username = call.username AND l.endpoint_id = call.endpoint_id
    RETURNING c.username, c.endpoint_id, c.at
  )
  UPDATE posthorn.lane l SET next_at = t.at
  FROM (SELECT username, endpoint_id, min(at) AS at FROM taken GROUP BY username, endpoint_id) t
  WHERE l.username = t.username AND l.endpoint_id = t.endpoint_id AND (l.next_at IS NULL OR l.next_at > t.at);

  SELECT array_agg(username), array_agg(endpoint_id) INTO v_usernames, v_endpoints FROM (
    SELECT username, endpoint_id FROM posthorn.lane
    WHERE next_at IS NOT NULL AND next_at <= v_now AND NOT parked
      AND (keeper IS NULL OR keeper = p_node OR kept_until <= v_now)
    ORDER BY next_at LIMIT p_limit
    FOR NO KEY UPDATE SKIP LOCKED
  ) due;
  IF v_usernames IS NULL THEN
    RETURN json_build_object('leases', '[]'::json, 'events', '[]'::json, 'endpoints', '[]'::json, 'until', v_until,
                             'next', posthorn.next_due());
  END IF;

  FOR v_lane IN
    SELECT l.username, l.endpoint_id, e.status FROM unnest(v_usernames, v_endpoints) AS l(username, endpoint_id)
    LEFT JOIN posthorn.endpoint e ON e.username = l.username AND e.endpoint_id = l.endpoint_id
    WHERE e.status IS DISTINCT FROM 'enabled'
  LOOP
    PERFORM posthorn.cancel_waiting(v_lane.username, v_lane.endpoint_id, posthorn.cancel_reason(v_lane.status), 500);
  END LOOP;

  FOREACH v_most IN ARRAY ARRAY[greatest(1, p_limit / cardinality(v_usernames)), p_limit] LOOP
    EXIT WHEN cardinality(v_ids) >= p_limit;
    -- A share as large as a lane can be left nothing over.
    EXIT WHEN v_most = p_limit AND p_limit / cardinality(v_usernames) >= p_lane_limit AND v_visited;
    v_visited := true;
    WITH room AS MATERIALIZED (
      SELECT l.ord, l.username, l.endpoint_id, least(v_most, posthorn.lane_capacity(p_lane_limit, e.rate_limit_per_second)
          - (SELECT count(*) FROM posthorn.queue q WHERE q.username = l.username AND q.endpoint_id = l.endpoint_id
               AND q.leased AND q.due_at > v_now)) AS free
      FROM unnest(v_usernames, v_endpoints) WITH ORDINALITY AS l(username, endpoint_id, ord)
      JOIN posthorn.endpoint e ON e.username = l.username AND e.endpoint_id = l.endpoint_id AND e.status = 'enabled'
    ), picked AS MATERIALIZED (
      SELECT r.ord, r.username, p.delivery_id, p.leased, p.due_at
      FROM room r CROSS JOIN LATERAL (
        SELECT found.* FROM (
          -- Leases that ran out, first.
          SELECT expired.* FROM (
            SELECT q.delivery_id, q.leased, q.due_at FROM posthorn.queue q
            WHERE q.username = r.username AND q.endpoint_id = r.endpoint_id AND q.leased AND q.due_at <= v_now
            ORDER BY q.due_at LIMIT greatest(r.free, 0) FOR UPDATE SKIP LOCKED) expired
          UNION ALL
          SELECT waiting.* FROM (
            SELECT q.delivery_id, q.leased, q.due_at FROM posthorn.queue q
            WHERE q.username = r.username AND q.endpoint_id = r.endpoint_id AND NOT q.leased AND q.due_at <= v_now
            ORDER BY q.due_at LIMIT greatest(r.free, 0) FOR UPDATE SKIP LOCKED) waiting
        ) found
        ORDER BY found.leased DESC, found.due_at LIMIT greatest(r.free, 0)
      ) p
      WHERE r.free > 0
      ORDER BY r.ord, p.leased DESC, p.due_at LIMIT p_limit - cardinality(v_ids)
    ), judged AS MATERIALIZED (
      SELECT q.*, p.ord, q.manual OR q.pinned OR EXISTS (
          SELECT 1 FROM posthorn.subscription s
          WHERE s.username = q.username AND s.event = q.event AND s.endpoint_id = q.endpoint_id) AS wanted
      FROM picked p JOIN posthorn.queue q ON q.username = p.username AND q.delivery_id = p.delivery_id
    ), unwanted AS (
      DELETE FROM posthorn.queue q USING judged j
      WHERE NOT j.wanted AND q.username = j.username AND q.delivery_id = j.delivery_id
    ), cancelled AS (
      INSERT INTO posthorn.delivery (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, status,
                                     status_reason, attempts, created_at, completed_at)
      SELECT username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, 'cancelled',
             'event type no longer subscribed', attempts, created_at, v_now
      FROM judged WHERE NOT wanted
    ), leased AS (
      UPDATE posthorn.queue q
      SET leased = true, leased_at = v_now, due_at = v_until, token = gen_random_uuid()::text, holder = p_node
      FROM judged j
      WHERE j.wanted AND q.username = j.username AND q.delivery_id = j.delivery_id
      RETURNING q.username, q.delivery_id, q.token, j.ord, j.due_at AS was_due
    )
    SELECT coalesce(array_agg(token ORDER BY ord, was_due), '{}'), coalesce(array_agg(username ORDER BY ord, was_due), '{}'),
           coalesce(array_agg(delivery_id ORDER BY ord, was_due), '{}')
    INTO v_new_tokens, v_new_owners, v_new_ids FROM leased;
    v_tokens := v_tokens || v_new_tokens;
    v_owners := v_owners || v_new_owners;
    v_ids := v_ids || v_new_ids;
  END LOOP;

  -- When to look again. A full lane is looked at after a second: a settlement that freed a slot at the same moment may
  -- have seen nothing waiting.
  UPDATE posthorn.lane l
  SET next_at = n.at, keeper = CASE WHEN n.rated THEN p_node END, kept_until = CASE WHEN n.rated THEN v_now + 10000 END
  FROM (
    SELECT k.username, k.endpoint_id, e.rate_limit_per_second IS NOT NULL AS rated,
      least(k.lease_end, CASE
        WHEN k.waiting > v_now THEN k.waiting
        WHEN k.waiting IS NULL THEN NULL
        WHEN k.leased >= posthorn.lane_capacity(p_lane_limit, e.rate_limit_per_second) THEN v_now + 1000
        ELSE v_now END) AS at
    FROM (
      SELECT d.username, d.endpoint_id,
        (SELECT min(q.due_at) FROM posthorn.queue q WHERE q.username = d.username AND q.endpoint_id = d.endpoint_id
           AND q.leased) AS lease_end,
        (SELECT min(q.due_at) FROM posthorn.queue q WHERE q.username = d.username AND q.endpoint_id = d.endpoint_id
           AND NOT q.leased) AS waiting,
        (SELECT count(*) FROM posthorn.queue q WHERE q.username = d.username AND q.endpoint_id = d.endpoint_id
           AND q.leased AND q.due_at > v_now) AS leased
      FROM unnest(v_usernames, v_endpoints) AS d(username, endpoint_id)
    ) k
    LEFT JOIN posthorn.endpoint e ON e.username = k.username AND e.endpoint_id = k.endpoint_id
  ) n
  WHERE l.username = n.username AND l.endpoint_id = n.endpoint_id
    AND (l.next_at IS DISTINCT FROM n.at OR n.rated OR l.keeper IS NOT NULL);

  WITH lease AS MATERIALIZED (
    SELECT i.ord, i.token, q.* FROM unnest(v_owners, v_ids, v_tokens) WITH ORDINALITY AS i(owner, id, token, ord)
    JOIN LATERAL (
      SELECT username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, attempts, failures, manual
      FROM posthorn.queue WHERE username = i.owner AND delivery_id = i.id) q ON true
  )
  SELECT json_build_object(
    'leases', (SELECT coalesce(json_agg(json_build_array(delivery_id, username, token, attempts, failures, manual,
                                                         event_id, endpoint_id) ORDER BY ord), '[]') FROM lease),
    -- Each body once, however many endpoints it goes to.
    'events', (SELECT coalesce(json_agg(json_build_array(l.username, l.event_id, l.event, v.body)), '[]')
               FROM (SELECT DISTINCT username, event_id, event, event_at, event_seq FROM lease) l
               JOIN posthorn.event v ON v.username = l.username AND v.created_at = l.event_at AND v.seq = l.event_seq),
    'endpoints', (SELECT coalesce(json_agg(posthorn.leased_endpoint(e)), '[]') FROM posthorn.endpoint e
                  JOIN (SELECT DISTINCT username, endpoint_id FROM lease) l
                    ON l.username = e.username AND l.endpoint_id = e.endpoint_id),
    'until', v_until, 'next', posthorn.next_due())
  INTO v_result;
  RETURN v_result;
END $$;

-- ------------------------------------------------------------------------------------------------ settle, release

-- Writes attempts and next states of the leases whose tokens hold, then claims. A delivery occurs once in a batch.
--
-- p_settlements: [{ username, delivery_id, token, status, due_at, reason, disable, number, started_at, duration_ms,
--   outcome, http_status, error, url, request_headers, response_headers, response_body (base 64), response_truncated,
--   manual, latency }]
-- p_disables: whether any has disable
-- Answers the claim's answer with results: [[index, status]] of those that were settled.
CREATE FUNCTION posthorn.settle(
  p_settlements json, p_disables boolean, p_node bigint, p_limit integer, p_lane_limit integer, p_lease_ms bigint
) RETURNS json LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off AS $$
DECLARE
  v_now bigint := posthorn.now_ms();
  v_results json;
  v_settled bigint[];
  v_disabled record;
  v_claimed json;
BEGIN
  WITH held AS MATERIALIZED (
    SELECT i.*, q.endpoint_id, q.event_id, q.event, q.event_at, q.event_seq, q.attempts, q.failures, q.pinned,
           q.created_at
    FROM ROWS FROM (json_to_recordset(p_settlements) AS (
      username text, delivery_id text, token text, status text, due_at bigint, reason text, disable text, number integer,
      started_at bigint, duration_ms double precision, outcome text, http_status integer, error text, url text,
      request_headers text, response_headers text, response_body text, response_truncated boolean, manual boolean,
      latency integer)) WITH ORDINALITY AS i(
      username, delivery_id, token, status, due_at, reason, disable, number, started_at, duration_ms, outcome, http_status,
      error, url, request_headers, response_headers, response_body, response_truncated, manual, latency, ord)
    JOIN posthorn.queue q ON q.username = i.username AND q.delivery_id = i.delivery_id AND q.leased AND q.token = i.token
    FOR UPDATE OF q
  ), judged AS MATERIALIZED (
    SELECT h.*, CASE WHEN h.status <> 'pending' OR (e.status = 'enabled' AND w.wanted) THEN h.status
                     ELSE 'cancelled' END AS final,
           CASE WHEN h.status <> 'pending' THEN h.reason
                WHEN e.status = 'enabled' THEN 'event type no longer subscribed'
                ELSE posthorn.cancel_reason(e.status) END AS final_reason
    FROM held h
    LEFT JOIN LATERAL (
      -- Disabled by this settlement or one before it counts already.
      SELECT CASE WHEN p_disables AND EXISTS (SELECT 1 FROM held d WHERE d.disable IS NOT NULL AND d.ord <= h.ord
                    AND d.username = h.username AND d.endpoint_id = h.endpoint_id) THEN 'disabled' ELSE o.status END AS status
      FROM posthorn.endpoint o WHERE o.username = h.username AND o.endpoint_id = h.endpoint_id OFFSET 0
    ) e ON true
    CROSS JOIN LATERAL (SELECT h.pinned OR EXISTS (
      SELECT 1 FROM posthorn.subscription s
      WHERE s.username = h.username AND s.event = h.event AND s.endpoint_id = h.endpoint_id) AS wanted) w
  ), gone AS (
    DELETE FROM posthorn.queue q USING judged j
    WHERE j.final <> 'pending' AND q.username = j.username AND q.delivery_id = j.delivery_id
  ), finished AS (
    INSERT INTO posthorn.delivery (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, status,
                                   status_reason, attempts, created_at, completed_at)
    SELECT username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, final, final_reason, attempts + 1,
           created_at, v_now
    FROM judged WHERE final <> 'pending' ORDER BY ord
  ), rescheduled AS (
    UPDATE posthorn.queue q
    SET attempts = j.attempts + 1, failures = j.failures + 1, manual = false, due_at = j.due_at, leased = false,
        leased_at = NULL, token = NULL, holder = NULL
    FROM judged j
    WHERE j.final = 'pending' AND q.username = j.username AND q.delivery_id = j.delivery_id
  ), logged AS (
    INSERT INTO posthorn.attempt (username, delivery_id, event_at, number, started_at, duration_ms, outcome, http_status,
                                  error, url, request_headers, response_headers, response_body, response_truncated,
                                  manual)
    SELECT username, delivery_id, event_at, number, started_at, duration_ms, outcome, http_status, error, url,
           request_headers, response_headers, decode(response_body, 'base64'), response_truncated, manual
    FROM judged ORDER BY ord
  ), counted AS (
    INSERT INTO posthorn.stat AS s (username, at, endpoint_id, event, outcome, latency, node, count)
    SELECT username, at, endpoint_id, event, outcome, latency, p_node, count(*) FROM (
      SELECT username, started_at - started_at % 60000 AS at, endpoint_id, event, outcome, latency FROM judged
      UNION ALL
      SELECT username, started_at - started_at % 60000, endpoint_id, event, 'dead:' || outcome, 0
      FROM judged WHERE final = 'dead'
    ) c
    GROUP BY username, at, endpoint_id, event, outcome, latency
    ORDER BY username, at, endpoint_id, event, outcome, latency
    ON CONFLICT (username, at, endpoint_id, event, outcome, latency, node) DO UPDATE SET count = s.count + excluded.count
  ), called AS (
    INSERT INTO posthorn.lane_call (username, endpoint_id, at)
    SELECT username, endpoint_id, min(due_at) FROM judged WHERE final = 'pending' GROUP BY username, endpoint_id
    UNION ALL
    -- A slot came free for what waits.
    SELECT f.username, f.endpoint_id, v_now FROM (SELECT DISTINCT username, endpoint_id FROM judged) f
    WHERE EXISTS (SELECT 1 FROM posthorn.queue q WHERE q.username = f.username AND q.endpoint_id = f.endpoint_id
                    AND NOT q.leased AND q.due_at <= v_now)
  )
  SELECT coalesce(json_agg(json_build_array(ord - 1, final)), '[]'), array_agg(ord) INTO v_results, v_settled
  FROM judged;

  -- Last, when what was settled here no longer waits.
  IF p_disables THEN
    FOR v_disabled IN
      UPDATE posthorn.endpoint e SET status = 'disabled', disabled_reason = g.disable
      FROM (
        SELECT i.username, coalesce(q.endpoint_id, d.endpoint_id) AS endpoint_id, max(i.disable) AS disable
        FROM ROWS FROM (json_to_recordset(p_settlements) AS (username text, delivery_id text, disable text))
             WITH ORDINALITY AS i(username, delivery_id, disable, ord)
        LEFT JOIN posthorn.queue q ON q.username = i.username AND q.delivery_id = i.delivery_id
        LEFT JOIN posthorn.delivery d ON d.username = i.username AND d.delivery_id = i.delivery_id
        WHERE i.disable IS NOT NULL AND i.ord = ANY (v_settled)
        GROUP BY 1, 2
      ) g
      WHERE e.username = g.username AND e.endpoint_id = g.endpoint_id AND e.status = 'enabled'
      RETURNING e.username, e.endpoint_id
    LOOP
      IF posthorn.cancel_waiting(v_disabled.username, v_disabled.endpoint_id, 'endpoint disabled', 500) = 500 THEN
        INSERT INTO posthorn.lane_call (username, endpoint_id, at)
        VALUES (v_disabled.username, v_disabled.endpoint_id, v_now);
      END IF;
    END LOOP;
  END IF;

  v_claimed := posthorn.claim(p_node, p_limit, p_lane_limit, p_lease_ms);
  RETURN json_build_object('results', v_results, 'leases', v_claimed -> 'leases', 'events', v_claimed -> 'events',
                           'endpoints', v_claimed -> 'endpoints', 'until', v_claimed -> 'until',
                           'next', v_claimed -> 'next');
END $$;

-- Gives leases back: due at once, or cancelled when their endpoint is gone or disabled. p_leases: [{ username,
-- delivery_id, token }]; those whose token doesn't hold are left alone. Answers how many were given back.
CREATE FUNCTION posthorn.release(p_leases json) RETURNS integer
  LANGUAGE sql VOLATILE AS $$
  WITH held AS MATERIALIZED (
    SELECT q.*, e.status FROM (
      SELECT DISTINCT * FROM json_to_recordset(p_leases) AS l(username text, delivery_id text, token text)
    ) i
    JOIN posthorn.queue q ON q.username = i.username AND q.delivery_id = i.delivery_id AND q.leased AND q.token = i.token
    LEFT JOIN posthorn.endpoint e ON e.username = q.username AND e.endpoint_id = q.endpoint_id
    FOR UPDATE OF q
  ), freed AS (
    UPDATE posthorn.queue q
    SET due_at = posthorn.now_ms(), leased = false, leased_at = NULL, token = NULL, holder = NULL
    FROM held h
    WHERE h.status = 'enabled' AND q.username = h.username AND q.delivery_id = h.delivery_id
  ), gone AS (
    DELETE FROM posthorn.queue q USING held h
    WHERE h.status IS DISTINCT FROM 'enabled' AND q.username = h.username AND q.delivery_id = h.delivery_id
  ), cancelled AS (
    INSERT INTO posthorn.delivery (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, status,
                                   status_reason, attempts, created_at, completed_at)
    SELECT username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, 'cancelled',
           posthorn.cancel_reason(status), attempts, created_at, posthorn.now_ms()
    FROM held WHERE status IS DISTINCT FROM 'enabled'
  ), called AS (
    INSERT INTO posthorn.lane_call (username, endpoint_id, at)
    SELECT DISTINCT username, endpoint_id, posthorn.now_ms() FROM held WHERE status = 'enabled'
  )
  SELECT count(*)::integer FROM held
$$;

-- ------------------------------------------------------------------------------------------------ nodes

-- Frees what nodes hold that have not told of themselves for ten seconds, and forgets them. Answers how many leases.
CREATE FUNCTION posthorn.free_dead_nodes() RETURNS integer
  LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_dead bigint[];
  v_freed integer;
BEGIN
  SELECT array_agg(node_id) INTO v_dead FROM (
    SELECT node_id FROM posthorn.node WHERE seen_at < clock_timestamp() - interval '10 seconds' FOR UPDATE SKIP LOCKED
  ) d;
  IF v_dead IS NULL THEN RETURN 0; END IF;
  DELETE FROM posthorn.node WHERE node_id = ANY (v_dead);
  WITH freed AS (
    UPDATE posthorn.queue q
    SET due_at = posthorn.now_ms(), leased = false, leased_at = NULL, token = NULL, holder = NULL
    FROM (SELECT username, delivery_id FROM posthorn.queue
          -- A node that was forgotten may have leased once more before it noticed.
          WHERE leased AND (holder = ANY (v_dead) OR holder NOT IN (SELECT node_id FROM posthorn.node))
          ORDER BY username, delivery_id FOR UPDATE) h
    WHERE q.username = h.username AND q.delivery_id = h.delivery_id
    RETURNING q.username, q.endpoint_id
  ), called AS (
    INSERT INTO posthorn.lane_call (username, endpoint_id, at)
    SELECT DISTINCT username, endpoint_id, posthorn.now_ms() FROM freed
  )
  SELECT count(*)::integer INTO v_freed FROM freed;
  RETURN v_freed;
END $$;

-- Frees what a node leased at least p_age_ms ago and doesn't know of: it never got the answer. Answers how many.
CREATE FUNCTION posthorn.free_lost_leases(p_node bigint, p_known text[], p_age_ms bigint) RETURNS integer
  LANGUAGE sql VOLATILE AS $$
  WITH freed AS (
    UPDATE posthorn.queue q
    SET due_at = posthorn.now_ms(), leased = false, leased_at = NULL, token = NULL, holder = NULL
    FROM (SELECT username, delivery_id FROM posthorn.queue
          WHERE leased AND holder = p_node AND leased_at <= posthorn.now_ms() - p_age_ms AND token <> ALL (p_known)
          ORDER BY username, delivery_id FOR UPDATE SKIP LOCKED) l
    WHERE q.username = l.username AND q.delivery_id = l.delivery_id
    RETURNING q.username, q.endpoint_id
  ), called AS (
    INSERT INTO posthorn.lane_call (username, endpoint_id, at)
    SELECT DISTINCT username, endpoint_id, posthorn.now_ms() FROM freed
  )
  SELECT count(*)::integer FROM freed
$$;

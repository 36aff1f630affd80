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

-- Four digits of a counter.
CREATE FUNCTION posthorn.id_counter(p_counter bigint) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT substr('0123456789abcdefghjkmnpqrstvwxyz', ((p_counter >> 15) & 31)::integer + 1, 1)
      || substr('0123456789abcdefghjkmnpqrstvwxyz', ((p_counter >> 10) & 31)::integer + 1, 1)
      || substr('0123456789abcdefghjkmnpqrstvwxyz', ((p_counter >> 5) & 31)::integer + 1, 1)
      || substr('0123456789abcdefghjkmnpqrstvwxyz', (p_counter & 31)::integer + 1, 1)
$$;

-- Twelve random digits. Base 64 has 6 bits a digit: two of its digits become one of ours.
CREATE FUNCTION posthorn.id_random() RETURNS text
  LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $$
DECLARE
  v_random bytea := uuid_send(gen_random_uuid());
BEGIN
  -- All bytes but those that a random UUID spends on its version and variant.
  RETURN translate(encode(substr(v_random, 1, 2) || substr(v_random, 10, 7), 'base64'),
                   'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/',
                   '0123456789abcdefghjkmnpqrstvwxyz0123456789abcdefghjkmnpqrstvwxyz');
END $$;

-- Sorts by the time it was made, as the ids made in clock.ts.
CREATE FUNCTION posthorn.new_id(p_prefix text, p_now bigint) RETURNS text
  LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $$
BEGIN
  RETURN posthorn.id_head(p_prefix, p_now) || posthorn.id_counter(nextval('posthorn.event_seq')) || posthorn.id_random();
END $$;

-- How the ids of the deliveries begin that were made with an event: its time and its number. The rest of them is made at
-- publish, once for a batch: they are told apart by a count, and can't be guessed from another batch's.
CREATE FUNCTION posthorn.delivery_head(p_created_at bigint, p_seq bigint) RETURNS text
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  RETURN posthorn.id_head('dlv', p_created_at) || posthorn.id_counter(p_seq);
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
    WHERE username = p_username AND endpoint_id = p_endpoint_id AND (NOT leased OR leased_until <= posthorn.now_ms())
    LIMIT p_limit FOR UPDATE SKIP LOCKED
  ), gone AS (
    DELETE FROM posthorn.queue q USING waiting w
    WHERE q.username = p_username AND q.delivery_id = w.delivery_id
    RETURNING q.*
  ), kept AS (
    INSERT INTO posthorn.delivery (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, status,
                                   status_reason, attempts, created_at, completed_at, apart)
    SELECT username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, 'cancelled', p_reason, attempts,
           created_at, posthorn.now_ms(), apart
    FROM gone
    RETURNING 1
  )
  SELECT count(*)::integer FROM kept
$$;

-- ------------------------------------------------------------------------------------------------ publish

-- Stores events that are sealed already and leases what the offer and the lanes allow; without a limit it leases
-- nothing, and without a node it takes no lane. The ids of a batch are distinct: the caller judges repeats by what is answered here.
--
-- Columns instead of rows: an array of a column is read without a parser, a body as it came.
-- Answers {
--   stored: [index], made: [[index, delivery id, endpoint id, token or null]],
--   endpoints: [the endpoints of leases], taken: [[index, event, timestamp, fingerprint, deliveries, body]],
--   until: end of the leases, next: when another claim may find something }
CREATE FUNCTION posthorn.publish_batch(
  p_usernames text[], p_event_ids text[], p_events text[], p_timestamps bigint[], p_bodies text[],
  p_fingerprints text[], p_only_endpoint_ids text[],
  p_node bigint, p_limit integer, p_lane_limit integer, p_lease_ms bigint
) RETURNS json LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  v_now bigint := posthorn.now_ms();
  v_until bigint;
  v_head text := posthorn.id_head('dlv', v_now);
  v_random text := posthorn.id_random();
  v_ords bigint[];
  v_seqs bigint[];
  v_lanes text[] := '{}';
  v_stored json;
  v_made json;
  v_endpoints json;
  v_taken json := '[]';
BEGIN
  -- The ids first: this may wait for another's transaction with the same id, and no lane must be held meanwhile.
  WITH input AS MATERIALIZED (
    SELECT i.username, i.event_id, i.ord, nextval('posthorn.event_seq') AS seq
    FROM unnest(p_usernames, p_event_ids, p_only_endpoint_ids)
         WITH ORDINALITY AS i(username, event_id, only_endpoint_id, ord)
    JOIN LATERAL (SELECT status FROM posthorn.account WHERE username = i.username OFFSET 0) a ON a.status <> 'deleted'
    LEFT JOIN LATERAL (SELECT status FROM posthorn.endpoint
                       WHERE username = i.username AND endpoint_id = i.only_endpoint_id OFFSET 0) o
      ON i.only_endpoint_id IS NOT NULL
    WHERE i.only_endpoint_id IS NULL OR o.status = 'enabled'
  ), keyed AS (
    -- In the order of the key: two batches with ids in common wait for each other, but not in a circle.
    INSERT INTO posthorn.event_key (username, event_id, created_at, seq)
    SELECT username, event_id, v_now, seq FROM input ORDER BY username, event_id
    ON CONFLICT DO NOTHING
    RETURNING seq
  )
  SELECT array_agg(i.ord ORDER BY i.ord), array_agg(i.seq ORDER BY i.ord), json_agg(i.ord - 1)
  INTO v_ords, v_seqs, v_stored
  FROM keyed k JOIN input i ON i.seq = k.seq;
  v_until := posthorn.now_ms() + p_lease_ms;

  -- An application's transaction may last, and takes none.
  IF p_node > 0 AND v_ords IS NOT NULL THEN
    SELECT coalesce(array_agg(endpoint_id), '{}') INTO v_lanes FROM (
      SELECT l.endpoint_id FROM (
        SELECT DISTINCT g.username, s.endpoint_id
        FROM (SELECT DISTINCT i.username, i.event, i.only_endpoint_id
              FROM unnest(p_usernames, p_events, p_only_endpoint_ids)
                   WITH ORDINALITY AS i(username, event, only_endpoint_id, ord)
              JOIN unnest(v_ords) AS k(ord) ON k.ord = i.ord) g
        CROSS JOIN LATERAL (
          SELECT endpoint_id FROM posthorn.subscription
          WHERE g.only_endpoint_id IS NULL AND username = g.username AND event = g.event
          UNION ALL
          SELECT g.only_endpoint_id WHERE g.only_endpoint_id IS NOT NULL
        ) s
      ) t
      CROSS JOIN LATERAL (
        SELECT endpoint_id FROM posthorn.lane
        WHERE username = t.username AND endpoint_id = t.endpoint_id AND NOT parked
          AND (keeper IS NULL OR keeper = p_node OR kept_until <= v_now)
        FOR NO KEY UPDATE SKIP LOCKED
      ) l
      LIMIT greatest(p_limit, 100)
    ) locked;
  END IF;

  IF v_ords IS NOT NULL THEN
    WITH fresh AS MATERIALIZED (
      SELECT i.*, k.seq, posthorn.id_counter(k.seq) AS counter,
             dense_rank() OVER (ORDER BY i.username, i.event, i.only_endpoint_id) AS kind
      FROM unnest(p_usernames, p_event_ids, p_events, p_timestamps, p_bodies, p_fingerprints, p_only_endpoint_ids)
           WITH ORDINALITY AS i(username, event_id, event, "timestamp", body, fingerprint, only_endpoint_id, ord)
      JOIN unnest(v_ords, v_seqs) AS k(ord, seq) ON k.ord = i.ord
    ), kind AS MATERIALIZED (
      -- Events of one account and type have the same endpoints. room: how many leases the lane has room for, null when
      -- it isn't held; free: how many of these are for new deliveries, for older ones that wait must not be passed. Of an
      -- endpoint that is probed they are for test events alone, which pass what waits.
      SELECT f.kind, e.endpoint_id, e.status, e.rate_limit_per_second, r.room, r.probe_at,
        CASE WHEN r.probe_at IS NOT NULL THEN CASE WHEN f.only_endpoint_id IS NULL THEN 0 ELSE greatest(r.room, 0) END
             WHEN r.room > 0 AND NOT EXISTS (
          SELECT 1 FROM posthorn.queue q WHERE q.username = f.username AND q.endpoint_id = e.endpoint_id
            AND (q.due_at, q.event_seq) >= (r.floor_due, r.floor_seq) AND q.due_at <= v_now
            AND (NOT q.leased OR q.leased_until <= v_now)) THEN r.room ELSE 0 END AS free
      FROM (SELECT DISTINCT kind, username, event, only_endpoint_id FROM fresh) f
      JOIN LATERAL (SELECT status FROM posthorn.account WHERE username = f.username OFFSET 0) a ON true
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
      LEFT JOIN LATERAL (
        SELECT l.floor_due, l.floor_seq,
          (SELECT f2.probe_at FROM posthorn.failing_endpoint f2
           WHERE f2.username = f.username AND f2.endpoint_id = e.endpoint_id) AS probe_at,
          CASE WHEN p_limit = 0 THEN 0
          ELSE posthorn.lane_capacity(p_lane_limit, e.rate_limit_per_second) - (
            SELECT count(*) FROM posthorn.queue q WHERE q.username = f.username AND q.endpoint_id = e.endpoint_id
              AND (q.due_at, q.event_seq) >= (l.floor_due, l.floor_seq)
              AND (q.due_at, q.event_seq) <= (l.leased_due, l.leased_seq) AND q.leased AND q.leased_until > v_now)
          END AS room
        FROM posthorn.lane l
        WHERE a.status = 'active' AND e.endpoint_id = ANY (v_lanes)
          AND l.username = f.username AND l.endpoint_id = e.endpoint_id OFFSET 0
      ) r ON true
      WHERE e.status <> 'deleted'
    ), fan_out AS (
      SELECT kind, count(*) FILTER (WHERE status = 'enabled') AS enabled,
             json_agg(endpoint_id) FILTER (WHERE status <> 'enabled') AS skipped
      FROM kind GROUP BY kind
    ), stored AS (
      INSERT INTO posthorn.event (seq, username, event_id, event, timestamp, created_at, body, fingerprint, deliveries,
                                  skipped, only_endpoint_id)
      SELECT f.seq, f.username, f.event_id, f.event, f.timestamp, v_now, f.body, f.fingerprint, coalesce(o.enabled, 0),
             o.skipped::text, f.only_endpoint_id
      FROM fresh f LEFT JOIN fan_out o ON o.kind = f.kind
    ), line AS (
      SELECT f.ord, f.seq, f.counter, f.username, f.event_id, f.event, f.only_endpoint_id IS NOT NULL AS alone,
             k.endpoint_id, k.rate_limit_per_second, k.room, k.probe_at,
             row_number() OVER (PARTITION BY k.endpoint_id ORDER BY f.ord) <= k.free AS fits
      FROM fresh f JOIN kind k ON k.kind = f.kind AND k.status = 'enabled'
    ), numbered AS (
      SELECT line.*, row_number() OVER (ORDER BY fits DESC, ord, endpoint_id) AS n FROM line
    ), placed AS MATERIALIZED (
      SELECT numbered.*,
             v_head || counter || lpad(to_hex(n & 65535), 4, '0') || left(v_random, 8) AS delivery_id,
             CASE WHEN fits AND n <= p_limit THEN v_random || '-' || n END AS token
      FROM numbered
    ), queued AS (
      INSERT INTO posthorn.queue (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, attempts,
                                  failures, manual, pinned, apart, created_at, due_at, leased, leased_at, leased_until,
                                  token, holder)
      SELECT username, delivery_id, endpoint_id, event_id, event, v_now, seq, 0, 0, alone, alone, false, v_now, v_now,
             token IS NOT NULL, CASE WHEN token IS NOT NULL THEN v_now END, CASE WHEN token IS NOT NULL THEN v_until END,
             token, CASE WHEN token IS NOT NULL THEN p_node END
      FROM placed
    ), called AS (
      INSERT INTO posthorn.lane_call (username, endpoint_id, at)
      SELECT DISTINCT username, endpoint_id, v_now FROM placed
      WHERE token IS NULL AND room IS NULL
    ), armed AS (
      -- Lanes that are held need no call. A full one isn't looked at before a lease of it ends: see claim.
      UPDATE posthorn.lane l
      SET next_at = least(l.next_at, CASE WHEN p.leased < p.placed AND p.probe_at IS NOT NULL AND NOT p.is_asked
                                          THEN least(greatest(v_now, p.probe_at), CASE WHEN p.leased > 0 THEN v_until END)
                                          WHEN p.leased < p.placed AND (p_limit = 0 OR p.leased < p.room)
                                          THEN v_now
                                          WHEN p.leased > 0 THEN v_until END),
          leased_due = CASE WHEN p.leased > 0 THEN greatest(l.leased_due, v_now) ELSE l.leased_due END,
          leased_seq = CASE WHEN p.leased = 0 OR v_now < l.leased_due THEN l.leased_seq WHEN v_now > l.leased_due THEN p.seq
                            ELSE greatest(l.leased_seq, p.seq) END,
          floor_due = least(l.floor_due, v_now), floor_seq = CASE WHEN l.floor_due < v_now THEN l.floor_seq ELSE 0 END,
          keeper = CASE WHEN p.rate_limit_per_second IS NULL THEN NULL WHEN p.leased > 0 THEN p_node ELSE l.keeper END,
          kept_until = CASE WHEN p.rate_limit_per_second IS NULL THEN NULL WHEN p.leased > 0 THEN v_now + 10000
                            ELSE l.kept_until END
      FROM (SELECT username, endpoint_id, rate_limit_per_second, room, probe_at, count(*) AS placed,
                   count(token) AS leased, max(seq) FILTER (WHERE token IS NOT NULL) AS seq,
                   bool_or(alone AND token IS NULL) AS is_asked
            FROM placed WHERE room IS NOT NULL
            GROUP BY username, endpoint_id, rate_limit_per_second, room, probe_at) p
      WHERE l.username = p.username AND l.endpoint_id = p.endpoint_id
        AND (p.leased > 0 OR p.probe_at IS NOT NULL OR (p_limit = 0 OR p.room > 0) AND (l.next_at IS NULL OR l.next_at > v_now)
          OR l.floor_due >= v_now)
    )
    SELECT
      (SELECT json_agg(json_build_array(ord - 1, delivery_id, endpoint_id, token) ORDER BY ord, endpoint_id) FROM placed),
      (SELECT json_agg(posthorn.leased_endpoint(e)) FROM posthorn.endpoint e
       JOIN (SELECT DISTINCT username, endpoint_id FROM placed WHERE token IS NOT NULL) p
         ON p.username = e.username AND p.endpoint_id = e.endpoint_id)
    INTO v_made, v_endpoints;
  END IF;

  -- What wasn't stored, and what stands in its place. A statement of its own sees what others committed meanwhile.
  IF coalesce(cardinality(v_ords), 0) < cardinality(p_usernames) THEN
    SELECT coalesce(json_agg(json_build_array(i.ord - 1, v.event, v.timestamp, v.fingerprint, v.deliveries,
                                              CASE WHEN v.fingerprint IS NULL THEN v.body END)), '[]') INTO v_taken
    FROM unnest(p_usernames, p_event_ids) WITH ORDINALITY AS i(username, event_id, ord)
    JOIN posthorn.event_key k ON k.username = i.username AND k.event_id = i.event_id
    JOIN posthorn.event v ON v.username = k.username AND v.created_at = k.created_at AND v.seq = k.seq
    WHERE v_ords IS NULL OR i.ord <> ALL (v_ords);
  END IF;
  RETURN json_build_object('stored', coalesce(v_stored, '[]'), 'made', coalesce(v_made, '[]'),
                           'endpoints', coalesce(v_endpoints, '[]'), 'until', v_until, 'taken', v_taken,
                           'next', posthorn.next_due());
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
-- p_freed_usernames, p_freed_endpoints: lanes in which the caller has just made room; what waits there is due as well.
-- Answers { leases: [[…]], events: [[…]], endpoints: […], until, next }; see leases.ts, which reads it.
CREATE FUNCTION posthorn.claim(
  p_node bigint, p_limit integer, p_lane_limit integer, p_lease_ms bigint,
  p_freed_usernames text[] DEFAULT NULL, p_freed_endpoints text[] DEFAULT NULL
) RETURNS json
  LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  v_now bigint := posthorn.now_ms();
  v_until bigint := v_now + p_lease_ms;
  v_random text := posthorn.id_random();
  -- The lanes that are served, and of each: when it was to be looked at, how much room it has (null: its endpoint
  -- isn't enabled), when the first of its leases ends, whether it has a rate.
  v_usernames text[];
  v_endpoints text[];
  v_nexts bigint[];
  v_free integer[];
  v_ends bigint[];
  v_rated boolean[];
  v_is_any_off boolean;
  -- When the next probe may go, of lanes whose endpoint is probed; how much a person asked for they have room for.
  v_probes bigint[];
  v_is_any_probed boolean;
  v_asked_free integer[];
  v_asked_counts integer[];
  v_asked_dues bigint[];
  v_asked_seqs bigint[];
  v_asked_leases json;
  v_asked_events json;
  -- What each round leased of each lane: how many, and up to which place.
  v_counts integer[];
  v_dues bigint[];
  v_seqs bigint[];
  v_more_counts integer[];
  v_more_dues bigint[];
  v_more_seqs bigint[];
  v_leases json;
  v_more_leases json;
  v_events json;
  v_more_events json;
  v_asked integer := 0;
  v_leased integer := 0;
  v_share integer;
  v_endpoint_rows json;
  v_lane record;
  -- What is due and was passed over, as nothing else was leased, is in another's hands for a moment: it is looked at again
  -- soon, but not in circles.
  c_soon_ms CONSTANT bigint := 50;
  v_next bigint;
BEGIN
  IF p_limit > 0 THEN
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
    UPDATE posthorn.lane l
    SET next_at = least(l.next_at, t.at), floor_due = least(l.floor_due, t.at),
        floor_seq = CASE WHEN l.floor_due < t.at THEN l.floor_seq ELSE 0 END
    FROM (SELECT username, endpoint_id, min(at) AS at FROM taken GROUP BY username, endpoint_id) t
    WHERE l.username = t.username AND l.endpoint_id = t.endpoint_id
      AND (l.next_at IS NULL OR l.next_at > t.at OR l.floor_due >= t.at);

    SELECT array_agg(username), array_agg(endpoint_id), array_agg(next_at) INTO v_usernames, v_endpoints, v_nexts FROM (
      SELECT username, endpoint_id, next_at FROM posthorn.lane
      WHERE next_at IS NOT NULL AND next_at <= v_now AND NOT parked
        AND (keeper IS NULL OR keeper = p_node OR kept_until <= v_now)
      ORDER BY next_at LIMIT p_limit
      FOR NO KEY UPDATE SKIP LOCKED
    ) due;
  END IF;

  IF p_freed_usernames IS NOT NULL THEN
    -- Served with the rest where something waits. A lane that another has in hand is called for in any case: it may be
    -- about to commit what waits, in the belief that the lane is full.
    WITH freed AS MATERIALIZED (
      SELECT f.username, f.endpoint_id, l.next_at, l.may_lease, l.may_lease IS NOT NULL AS is_held,
        l.may_lease IS NOT NULL AND EXISTS (
          SELECT 1 FROM posthorn.queue q WHERE q.username = f.username AND q.endpoint_id = f.endpoint_id
            AND (q.due_at, q.event_seq) >= (l.floor_due, l.floor_seq) AND q.due_at <= v_now
            AND (NOT q.leased OR q.leased_until <= v_now)) AS waits
      FROM unnest(p_freed_usernames, p_freed_endpoints) AS f(username, endpoint_id)
      LEFT JOIN LATERAL (
        SELECT next_at, floor_due, floor_seq,
               NOT parked AND (keeper IS NULL OR keeper = p_node OR kept_until <= v_now) AS may_lease
        FROM posthorn.lane WHERE username = f.username AND endpoint_id = f.endpoint_id
        FOR NO KEY UPDATE SKIP LOCKED
      ) l ON true
      WHERE v_endpoints IS NULL OR f.endpoint_id <> ALL (v_endpoints)
    ), judged AS MATERIALIZED (
      SELECT f.*, f.waits AND f.may_lease AND row_number() OVER (PARTITION BY f.waits AND f.may_lease)
                    <= p_limit - coalesce(cardinality(v_usernames), 0) AS is_served
      FROM freed f
    ), called AS (
      INSERT INTO posthorn.lane_call (username, endpoint_id, at)
      SELECT username, endpoint_id, v_now FROM judged WHERE NOT is_held OR waits AND NOT is_served
    )
    SELECT v_usernames || array_agg(username), v_endpoints || array_agg(endpoint_id), v_nexts || array_agg(next_at)
    INTO v_usernames, v_endpoints, v_nexts FROM judged WHERE is_served;
  END IF;

  IF coalesce(cardinality(v_usernames), 0) = 0 THEN
    v_next := posthorn.next_due();
    RETURN json_build_object('leases', '[]'::json, 'events', '[]'::json, 'endpoints', '[]'::json, 'until', v_until,
                             'next', CASE WHEN p_limit > 0 AND v_next <= v_now THEN v_now + c_soon_ms ELSE v_next END);
  END IF;

  SELECT array_agg(CASE WHEN e.status <> 'enabled' THEN NULL
                        WHEN f.probe_at IS NOT NULL THEN CASE WHEN f.probe_at <= v_now AND k.leased = 0 THEN 1 ELSE 0 END
                        ELSE greatest(0, posthorn.lane_capacity(p_lane_limit, e.rate_limit_per_second) - k.leased) END
                   ORDER BY l.ord),
         array_agg(k.lease_end ORDER BY l.ord), array_agg(e.rate_limit_per_second IS NOT NULL ORDER BY l.ord),
         bool_or(e.status IS DISTINCT FROM 'enabled'),
         array_agg(f.probe_at ORDER BY l.ord), bool_or(f.probe_at IS NOT NULL AND e.status = 'enabled'),
         array_agg(CASE WHEN f.probe_at IS NOT NULL AND e.status = 'enabled'
                        THEN greatest(0, posthorn.lane_capacity(p_lane_limit, e.rate_limit_per_second) - k.leased)
                        ELSE 0 END ORDER BY l.ord)
  INTO v_free, v_ends, v_rated, v_is_any_off, v_probes, v_is_any_probed, v_asked_free
  FROM unnest(v_usernames, v_endpoints) WITH ORDINALITY AS l(username, endpoint_id, ord)
  LEFT JOIN LATERAL (SELECT status, rate_limit_per_second FROM posthorn.endpoint
                     WHERE username = l.username AND endpoint_id = l.endpoint_id OFFSET 0) e ON true
  LEFT JOIN LATERAL (SELECT probe_at FROM posthorn.failing_endpoint
                     WHERE username = l.username AND endpoint_id = l.endpoint_id OFFSET 0) f ON true
  CROSS JOIN LATERAL (SELECT floor_due, floor_seq, leased_due, leased_seq FROM posthorn.lane
                      WHERE username = l.username AND endpoint_id = l.endpoint_id OFFSET 0) a
  CROSS JOIN LATERAL (
    SELECT count(*)::integer AS leased, min(q.leased_until) AS lease_end FROM posthorn.queue q
    WHERE q.username = l.username AND q.endpoint_id = l.endpoint_id
      AND (q.due_at, q.event_seq) >= (a.floor_due, a.floor_seq) AND (q.due_at, q.event_seq) <= (a.leased_due, a.leased_seq)
      AND q.leased AND q.leased_until > v_now OFFSET 0
  ) k;

  IF v_is_any_off THEN
    FOR v_lane IN
      SELECT l.username, l.endpoint_id, e.status FROM unnest(v_usernames, v_endpoints, v_free) AS l(username, endpoint_id, free)
      LEFT JOIN posthorn.endpoint e ON e.username = l.username AND e.endpoint_id = l.endpoint_id
      WHERE l.free IS NULL
    LOOP
      PERFORM posthorn.cancel_waiting(v_lane.username, v_lane.endpoint_id, posthorn.cancel_reason(v_lane.status), 500);
    END LOOP;
  END IF;

  IF v_is_any_probed THEN
    -- What a person asked for goes first, and is a probe as good as another.
    SELECT * INTO v_asked_leases, v_asked_events, v_asked_counts, v_asked_dues, v_asked_seqs FROM posthorn.lease_asked(
      v_usernames, v_endpoints, v_asked_free, p_limit, v_now, v_until, p_node, v_random || 'c');
    SELECT coalesce(sum(n), 0) INTO v_asked FROM unnest(v_asked_counts) n;
    v_free := ARRAY(SELECT CASE WHEN t.n > 0 THEN 0 ELSE t.free END
                    FROM unnest(v_free, v_asked_counts) WITH ORDINALITY AS t(free, n, ord) ORDER BY t.ord);
  END IF;

  v_share := greatest(1, p_limit / cardinality(v_usernames));
  SELECT * INTO v_leases, v_events, v_counts, v_dues, v_seqs FROM posthorn.lease_due(
    v_usernames, v_endpoints, v_free, v_share, p_limit - v_asked, v_now, v_until, p_node, v_random || 'a');
  SELECT coalesce(sum(n), 0) + v_asked INTO v_leased FROM unnest(v_counts) n;
  -- Only a lane that took its whole share can have more, and room for it.
  IF v_leased < p_limit AND EXISTS (SELECT 1 FROM unnest(v_counts, v_free) AS t(n, free) WHERE t.n = v_share AND t.free > v_share)
  THEN
    SELECT * INTO v_more_leases, v_more_events, v_more_counts, v_more_dues, v_more_seqs FROM posthorn.lease_due(
      v_usernames, v_endpoints, ARRAY(SELECT t.free - t.n FROM unnest(v_free, v_counts) WITH ORDINALITY AS t(free, n, ord)
                                      ORDER BY t.ord),
      p_limit, p_limit - v_leased, v_now, v_until, p_node, v_random || 'b');
  END IF;

  -- When to look again. A full lane is looked at after a second: a settlement that freed a slot at the same moment may
  -- have seen nothing waiting.
  UPDATE posthorn.lane l
  SET next_at = n.at, leased_due = greatest(l.leased_due, n.due),
      leased_seq = CASE WHEN n.due > l.leased_due THEN n.seq WHEN n.due = l.leased_due THEN greatest(l.leased_seq, n.seq)
                        ELSE l.leased_seq END,
      floor_due = coalesce(n.first_due, l.floor_due), floor_seq = coalesce(n.first_seq, l.floor_seq),
      keeper = CASE WHEN n.rated THEN p_node END, kept_until = CASE WHEN n.rated THEN v_now + 10000 END
  FROM (
    SELECT k.username, k.endpoint_id, k.rated, k.due, k.seq, k.first_due, k.first_seq,
      least(CASE WHEN k.taken > 0 THEN least(k.lease_end, v_until) ELSE k.lease_end END, CASE
        WHEN k.probe_at > v_now AND k.waiting IS NOT NULL
          THEN CASE WHEN k.is_left_asked THEN v_now + 1000 ELSE greatest(k.waiting, k.probe_at) END
        WHEN k.waiting > v_now THEN k.waiting
        WHEN k.waiting IS NULL THEN NULL
        WHEN k.taken < k.free IS NOT FALSE THEN v_now
        WHEN k.next_at > v_now THEN least(k.next_at, v_now + 1000)
        ELSE v_now + 1000 END) AS at
    FROM (
      SELECT d.username, d.endpoint_id, d.next_at, d.free, d.lease_end, d.rated,
        coalesce(d.n, 0) + coalesce(d.n2, 0) + coalesce(d.n3, 0) AS taken, greatest(d.due, d.due2, d.due3, 0) AS due,
        greatest(d.seq, d.seq2, d.seq3, 0) AS seq, first.due_at AS first_due, first.event_seq AS first_seq, d.probe_at,
        d.n3 > 0 AND EXISTS (
          SELECT 1 FROM posthorn.queue q WHERE q.username = d.username AND q.endpoint_id = d.endpoint_id AND q.manual
            AND q.due_at <= v_now AND (NOT q.leased OR q.leased_until <= v_now)) AS is_left_asked,
        (SELECT q.due_at FROM posthorn.queue q WHERE q.username = d.username AND q.endpoint_id = d.endpoint_id
           AND (q.due_at, q.event_seq) >= (first.due_at, first.event_seq)
           AND (NOT q.leased OR q.leased_until <= v_now) ORDER BY q.due_at, q.event_seq LIMIT 1) AS waiting
      FROM unnest(v_usernames, v_endpoints, v_nexts, v_free, v_ends, v_rated, v_counts, v_dues, v_seqs, v_more_counts,
                  v_more_dues, v_more_seqs, v_probes, v_asked_counts, v_asked_dues, v_asked_seqs)
           AS d(username, endpoint_id, next_at, free, lease_end, rated, n, due, seq, n2, due2, seq2, probe_at, n3, due3, seq3)
      CROSS JOIN LATERAL (SELECT floor_due, floor_seq FROM posthorn.lane
                          WHERE username = d.username AND endpoint_id = d.endpoint_id OFFSET 0) a
      LEFT JOIN LATERAL (
        SELECT q.due_at, q.event_seq FROM posthorn.queue q WHERE q.username = d.username AND q.endpoint_id = d.endpoint_id
          AND (q.due_at, q.event_seq) >= (a.floor_due, a.floor_seq) ORDER BY q.due_at, q.event_seq LIMIT 1
      ) first ON true
      OFFSET 0
    ) k
    OFFSET 0
  ) n
  WHERE l.username = n.username AND l.endpoint_id = n.endpoint_id
    AND (l.next_at IS DISTINCT FROM n.at OR n.rated OR l.keeper IS NOT NULL
      OR (l.leased_due, l.leased_seq) < (n.due, n.seq) OR (l.floor_due, l.floor_seq) < (n.first_due, n.first_seq));

  SELECT coalesce(json_agg(posthorn.leased_endpoint(e)), '[]') INTO v_endpoint_rows
  FROM unnest(v_usernames, v_endpoints, v_counts, v_more_counts, v_asked_counts) AS l(username, endpoint_id, n, n2, n3)
  JOIN posthorn.endpoint e ON e.username = l.username AND e.endpoint_id = l.endpoint_id
  WHERE l.n > 0 OR l.n2 > 0 OR l.n3 > 0;

  v_next := posthorn.next_due();
  RETURN json_build_object(
    'leases', v_leases, 'more_leases', v_more_leases, 'events', v_events, 'more_events', v_more_events,
    'asked_leases', v_asked_leases, 'asked_events', v_asked_events, 'endpoints', v_endpoint_rows, 'until', v_until,
    'next', CASE WHEN p_limit > 0 AND v_leases IS NULL AND v_asked = 0 AND v_next <= v_now THEN v_now + c_soon_ms ELSE v_next END);
END $$;

-- Leases from lanes that the caller has locked what is due there, in the lanes' order: p_share of a lane at most, and
-- as much as it has room for. Cancels what its endpoint no longer takes.
-- Answers the leases, their events (each body once, however many endpoints it goes to), and for each lane how many it
-- leased and a place in the lane's order beyond which it leased nothing.
CREATE FUNCTION posthorn.lease_due(
  p_usernames text[], p_endpoints text[], p_free integer[], p_share integer, p_limit integer, p_now bigint, p_until bigint,
  p_node bigint, p_token text, OUT leases json, OUT events json, OUT counts integer[], OUT dues bigint[], OUT seqs bigint[]
) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  WITH picked AS MATERIALIZED (
    SELECT l.ord, p.* FROM unnest(p_usernames, p_endpoints, p_free) WITH ORDINALITY AS l(username, endpoint_id, free, ord)
    CROSS JOIN LATERAL (SELECT floor_due, floor_seq FROM posthorn.lane
                        WHERE username = l.username AND endpoint_id = l.endpoint_id OFFSET 0) a
    CROSS JOIN LATERAL (
      SELECT q.ctid AS place, q.username, q.delivery_id, q.endpoint_id, q.event_id, q.event, q.event_at, q.event_seq,
             q.attempts, q.failures, q.manual, q.pinned, q.apart, q.created_at, q.due_at
      FROM posthorn.queue q
      WHERE q.username = l.username AND q.endpoint_id = l.endpoint_id
        AND (q.due_at, q.event_seq) >= (a.floor_due, a.floor_seq) AND q.due_at <= p_now
        AND (NOT q.leased OR q.leased_until <= p_now)
      ORDER BY q.due_at, q.event_seq LIMIT least(l.free, p_share) FOR UPDATE SKIP LOCKED
    ) p
    WHERE l.free > 0
    ORDER BY l.ord, p.due_at, p.event_seq LIMIT p_limit
  ), judged AS MATERIALIZED (
    SELECT p.*, p.manual OR p.pinned OR EXISTS (
        SELECT 1 FROM posthorn.subscription s
        WHERE s.username = p.username AND s.event = p.event AND s.endpoint_id = p.endpoint_id) AS wanted,
      row_number() OVER (ORDER BY p.ord, p.due_at, p.event_seq) AS n
    FROM picked p
  ), unwanted AS (
    DELETE FROM posthorn.queue q USING judged j WHERE NOT j.wanted AND q.ctid = j.place
  ), cancelled AS (
    INSERT INTO posthorn.delivery (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, status,
                                   status_reason, attempts, created_at, completed_at, apart)
    SELECT username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, 'cancelled',
           'event type no longer subscribed', attempts, created_at, p_now, apart
    FROM judged WHERE NOT wanted
  ), leased AS (
    -- By its place: who has locked a row knows where it is.
    UPDATE posthorn.queue q
    SET leased = true, leased_at = p_now, leased_until = p_until, token = p_token || j.n, holder = p_node
    FROM judged j WHERE j.wanted AND q.ctid = j.place
  )
  SELECT
    (SELECT json_agg(json_build_array(delivery_id, username, p_token || n, attempts, failures, manual, event_id, endpoint_id)
                     ORDER BY n) FROM judged WHERE wanted),
    (SELECT json_agg(json_build_array(j.username, j.event_id, j.event, v.body))
     FROM (SELECT DISTINCT username, event_id, event, event_at, event_seq FROM judged WHERE wanted) j
     CROSS JOIN LATERAL (SELECT body FROM posthorn.event WHERE username = j.username AND created_at = j.event_at
                           AND seq = j.event_seq OFFSET 0) v),
    array_agg(coalesce(g.n, 0) ORDER BY o.ord), array_agg(g.due ORDER BY o.ord), array_agg(g.seq ORDER BY o.ord)
  INTO leases, events, counts, dues, seqs
  FROM generate_series(1, cardinality(p_usernames)) AS o(ord)
  LEFT JOIN (SELECT ord, count(*)::integer AS n, max(due_at) AS due, max(event_seq) AS seq FROM judged WHERE wanted
             GROUP BY ord) g ON g.ord = o.ord;
END $$;

-- ------------------------------------------------------------------------------------------------ settle, release

-- Writes attempts and next states of the leases whose tokens hold, then claims. A delivery occurs once in a batch.
--
-- p_statuses: delivered, dead or pending; p_disables: reasons for which endpoints are disabled, null for most
-- p_judges: whether any is pending or disables
-- p_failed: whether they count against their endpoints; p_probe_after to p_operations: see CircuitPolicy in store.ts,
-- without a p_probe_after nothing is counted or told
-- Answers the claim's answer with results: [[index, status]] of those that were settled, and the turns of endpoints.
CREATE FUNCTION posthorn.settle(
  p_usernames text[], p_delivery_ids text[], p_tokens text[], p_statuses text[], p_due_ats bigint[], p_reasons text[],
  p_disables text[], p_numbers integer[], p_started_ats bigint[], p_durations double precision[], p_outcomes text[],
  p_http_statuses integer[], p_errors text[], p_urls text[], p_request_headers text[], p_response_headers text[],
  p_response_bodies bytea[], p_truncated boolean[], p_manuals boolean[], p_latencies integer[], p_failed boolean[],
  p_judges boolean, p_probe_after integer, p_pauses bigint[], p_disable_after bigint, p_disable_reason text,
  p_operations text, p_node bigint, p_limit integer, p_lane_limit integer, p_lease_ms bigint
) RETURNS json LANGUAGE plpgsql VOLATILE SET jit = off SET enable_seqscan = off SET enable_hashjoin = off
  SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  v_now bigint := posthorn.now_ms();
  v_statuses text[] := p_statuses;
  v_reasons text[] := p_reasons;
  v_results json;
  v_settled bigint[];
  v_freed_usernames text[];
  v_freed_endpoints text[];
  v_endpoints text[];
  v_created_ats bigint[];
  v_turns json := '[]';
  v_ended record;
  v_claimed json;
BEGIN
  IF p_judges THEN
    -- What would be attempted again is cancelled where its endpoint no longer wants it.
    WITH held AS MATERIALIZED (
      SELECT i.ord, i.status, i.disable, q.username, q.endpoint_id, q.event, q.pinned
      FROM unnest(p_usernames, p_delivery_ids, p_tokens, p_statuses, p_disables)
           WITH ORDINALITY AS i(username, delivery_id, token, status, disable, ord)
      JOIN posthorn.queue q ON q.username = i.username AND q.delivery_id = i.delivery_id AND q.leased AND q.token = i.token
      WHERE i.status = 'pending' OR i.disable IS NOT NULL
      FOR UPDATE OF q
    ), unwanted AS (
      SELECT h.ord, CASE WHEN e.status = 'enabled' THEN 'event type no longer subscribed'
                         ELSE posthorn.cancel_reason(e.status) END AS reason
      FROM held h
      LEFT JOIN LATERAL (
        -- Disabled by this settlement or one before it counts already.
        SELECT CASE WHEN EXISTS (SELECT 1 FROM held d WHERE d.disable IS NOT NULL AND d.ord <= h.ord
                      AND d.username = h.username AND d.endpoint_id = h.endpoint_id) THEN 'disabled' ELSE o.status END AS status
        FROM posthorn.endpoint o WHERE o.username = h.username AND o.endpoint_id = h.endpoint_id OFFSET 0
      ) e ON true
      WHERE h.status = 'pending' AND (e.status = 'enabled' AND (h.pinned OR EXISTS (
        SELECT 1 FROM posthorn.subscription s
        WHERE s.username = h.username AND s.event = h.event AND s.endpoint_id = h.endpoint_id))) IS NOT TRUE
    )
    SELECT array_agg(CASE WHEN u.ord IS NULL THEN s.status ELSE 'cancelled' END ORDER BY s.ord),
           array_agg(CASE WHEN u.ord IS NULL THEN s.reason ELSE u.reason END ORDER BY s.ord)
    INTO v_statuses, v_reasons
    FROM unnest(p_statuses, p_reasons) WITH ORDINALITY AS s(status, reason, ord) LEFT JOIN unwanted u ON u.ord = s.ord;
  END IF;

  -- A row that ends is deleted without being locked or read before: the token is looked at as it goes.
  WITH input AS MATERIALIZED (
    SELECT * FROM unnest(
      p_usernames, p_delivery_ids, p_tokens, v_statuses, p_due_ats, v_reasons, p_numbers, p_started_ats, p_durations,
      p_outcomes, p_http_statuses, p_errors, p_urls, p_request_headers, p_response_headers, p_response_bodies, p_truncated,
      p_manuals, p_latencies) WITH ORDINALITY AS i(
      username, delivery_id, token, status, due_at, reason, number, started_at, duration_ms, outcome, http_status, error,
      url, request_headers, response_headers, response_body, response_truncated, manual, latency, ord)
  ), gone AS (
    DELETE FROM posthorn.queue q USING input i
    WHERE i.status <> 'pending' AND q.username = i.username AND q.delivery_id = i.delivery_id AND q.leased AND q.token = i.token
    RETURNING q.endpoint_id, q.event_id, q.event, q.event_at, q.event_seq, q.attempts, q.created_at, q.apart, i.*
  ), rescheduled AS (
    UPDATE posthorn.queue q
    SET attempts = q.attempts + 1, failures = q.failures + 1, manual = false, due_at = i.due_at, leased = false,
        leased_at = NULL, leased_until = NULL, token = NULL, holder = NULL
    FROM input i
    WHERE i.status = 'pending' AND q.username = i.username AND q.delivery_id = i.delivery_id AND q.leased AND q.token = i.token
    RETURNING q.endpoint_id, q.event_id, q.event, q.event_at, q.event_seq, q.attempts, q.created_at, q.apart, i.*
  ), settled AS MATERIALIZED (
    SELECT * FROM gone UNION ALL SELECT * FROM rescheduled
  ), finished AS (
    INSERT INTO posthorn.delivery (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, status,
                                   status_reason, attempts, created_at, completed_at, apart)
    SELECT username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, status, reason, attempts + 1,
           created_at, v_now, apart
    FROM settled WHERE status <> 'pending' ORDER BY ord
  ), logged AS (
    INSERT INTO posthorn.attempt (username, delivery_id, event_at, number, started_at, duration_ms, outcome, http_status,
                                  error, url, request_headers, response_headers, response_body, response_truncated,
                                  manual)
    SELECT username, delivery_id, event_at, number, started_at, duration_ms, outcome, http_status, error, url,
           request_headers, response_headers, response_body, response_truncated, manual
    FROM settled ORDER BY ord
  ), counted AS (
    INSERT INTO posthorn.stat AS s (username, at, endpoint_id, event, outcome, latency, node, count)
    SELECT username, at, endpoint_id, event, outcome, latency, p_node, count(*) FROM (
      SELECT username, started_at - started_at % 60000 AS at, endpoint_id, event, outcome, latency FROM settled
      UNION ALL
      SELECT username, started_at - started_at % 60000, endpoint_id, event, 'dead:' || outcome, 0
      FROM settled WHERE status = 'dead'
    ) c
    GROUP BY username, at, endpoint_id, event, outcome, latency
    ORDER BY username, at, endpoint_id, event, outcome, latency
    ON CONFLICT (username, at, endpoint_id, event, outcome, latency, node) DO UPDATE SET count = s.count + excluded.count
  ), called AS (
    INSERT INTO posthorn.lane_call (username, endpoint_id, at)
    SELECT username, endpoint_id, min(due_at) FROM settled WHERE status = 'pending' GROUP BY username, endpoint_id
  )
  SELECT
    (SELECT coalesce(json_agg(json_build_array(ord - 1, status)), '[]') FROM settled),
    (SELECT array_agg(ord ORDER BY ord) FROM settled),
    (SELECT array_agg(endpoint_id ORDER BY ord) FROM settled), (SELECT array_agg(created_at ORDER BY ord) FROM settled),
    array_agg(f.username), array_agg(f.endpoint_id)
  INTO v_results, v_settled, v_endpoints, v_created_ats, v_freed_usernames, v_freed_endpoints
  FROM (SELECT DISTINCT username, endpoint_id FROM settled) f;

  -- Last, when what was settled here no longer waits. Nothing of it is asked where all went well and nothing had failed.
  IF p_probe_after IS NOT NULL AND (p_failed && ARRAY[true] OR EXISTS (
    SELECT 1 FROM unnest(v_freed_usernames, v_freed_endpoints) AS u(username, endpoint_id)
    JOIN posthorn.failing_endpoint f ON f.username = u.username AND f.endpoint_id = u.endpoint_id AND f.failures > 0))
  THEN
    SELECT posthorn.judge_endpoints(
        array_agg(p_usernames[s.i] ORDER BY s.n), v_endpoints, array_agg(p_failed[s.i] ORDER BY s.n), v_created_ats,
        array_agg(p_started_ats[s.i] ORDER BY s.n), array_agg(p_outcomes[s.i] ORDER BY s.n),
        array_agg(p_http_statuses[s.i] ORDER BY s.n), array_agg(p_errors[s.i] ORDER BY s.n),
        p_probe_after, p_pauses, p_disable_after, p_disable_reason, p_operations)
    INTO v_turns FROM unnest(v_settled) WITH ORDINALITY AS s(i, n);
    IF EXISTS (SELECT 1 FROM json_array_elements(v_turns) t WHERE t ->> 2 = 'disabled') THEN
      -- What was to be attempted again is cancelled below.
      SELECT json_agg(json_build_array(r -> 0, CASE WHEN r ->> 1 = 'pending' AND EXISTS (
          SELECT 1 FROM json_array_elements(v_turns) t
          WHERE t ->> 2 = 'disabled' AND t ->> 1 = v_endpoints[array_position(v_settled, (r ->> 0)::bigint + 1)])
        THEN 'cancelled' ELSE r ->> 1 END)) INTO v_results
      FROM json_array_elements(v_results) r;
    END IF;
    FOR v_ended IN
      SELECT p_usernames[s.i] AS username, s.endpoint_id, p_delivery_ids[s.i] AS delivery_id, p_reasons[s.i] AS reason,
             d.event_id, d.event, d.attempts, d.created_at
      FROM unnest(v_settled, v_endpoints) WITH ORDINALITY AS s(i, endpoint_id, n)
      JOIN posthorn.delivery d ON d.username = p_usernames[s.i] AND d.delivery_id = p_delivery_ids[s.i]
      WHERE p_statuses[s.i] = 'dead' AND NOT posthorn.is_operational(d.event)
        AND EXISTS (SELECT 1 FROM posthorn.subscription w
                    WHERE w.event = 'delivery.dead' AND (w.username = p_usernames[s.i] OR w.username = p_operations))
      ORDER BY s.n
    LOOP
      PERFORM posthorn.tell(v_ended.username, p_operations, 'delivery.dead', jsonb_build_object(
        'username', v_ended.username, 'endpoint_id', v_ended.endpoint_id, 'delivery_id', v_ended.delivery_id,
        'event_id', v_ended.event_id, 'event', v_ended.event, 'attempts', v_ended.attempts, 'reason', v_ended.reason,
        'created_at', posthorn.seconds(v_ended.created_at)), NULL);
    END LOOP;
  END IF;
  IF p_judges OR v_turns::text <> '[]' THEN
    FOR v_ended IN
      SELECT g.username, g.endpoint_id, g.reason, g.oldest, g.reason IS NOT NULL AS is_asked FROM (
        SELECT p_usernames[s.i] AS username, s.endpoint_id, max(p_disables[s.i]) AS reason, min(s.created_at) AS oldest
        FROM unnest(v_settled, v_endpoints, v_created_ats) AS s(i, endpoint_id, created_at)
        WHERE p_disables[s.i] IS NOT NULL
        GROUP BY 1, 2
        UNION ALL
        SELECT t ->> 0, t ->> 1, NULL, NULL FROM json_array_elements(v_turns) t WHERE t ->> 2 = 'disabled'
      ) g
      ORDER BY g.username, g.endpoint_id
    LOOP
      IF v_ended.is_asked THEN
        CONTINUE WHEN NOT posthorn.end_endpoint(v_ended.username, v_ended.endpoint_id, v_ended.reason, v_ended.oldest,
                                                p_probe_after IS NOT NULL, p_operations);
        v_turns := (v_turns::jsonb || jsonb_build_array(jsonb_build_array(
          v_ended.username, v_ended.endpoint_id, 'disabled', v_ended.reason)))::json;
      END IF;
      IF posthorn.cancel_waiting(v_ended.username, v_ended.endpoint_id, 'endpoint disabled', 500) = 500 THEN
        INSERT INTO posthorn.lane_call (username, endpoint_id, at)
        VALUES (v_ended.username, v_ended.endpoint_id, v_now);
      END IF;
    END LOOP;
  END IF;

  v_claimed := posthorn.claim(p_node, p_limit, p_lane_limit, p_lease_ms, v_freed_usernames, v_freed_endpoints);
  RETURN json_build_object('results', v_results, 'turns', v_turns, 'claimed', v_claimed);
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
    SET leased = false, leased_at = NULL, leased_until = NULL, token = NULL, holder = NULL
    FROM held h
    WHERE h.status = 'enabled' AND q.username = h.username AND q.delivery_id = h.delivery_id
  ), gone AS (
    DELETE FROM posthorn.queue q USING held h
    WHERE h.status IS DISTINCT FROM 'enabled' AND q.username = h.username AND q.delivery_id = h.delivery_id
  ), cancelled AS (
    INSERT INTO posthorn.delivery (username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, status,
                                   status_reason, attempts, created_at, completed_at, apart)
    SELECT username, delivery_id, endpoint_id, event_id, event, event_at, event_seq, 'cancelled',
           posthorn.cancel_reason(status), attempts, created_at, posthorn.now_ms(), apart
    FROM held WHERE status IS DISTINCT FROM 'enabled'
  ), called AS (
    INSERT INTO posthorn.lane_call (username, endpoint_id, at)
    SELECT username, endpoint_id, min(due_at) FROM held WHERE status = 'enabled' GROUP BY username, endpoint_id
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
    SET leased = false, leased_at = NULL, leased_until = NULL, token = NULL, holder = NULL
    FROM (SELECT username, delivery_id FROM posthorn.queue
          -- A node that was forgotten may have leased once more before it noticed.
          WHERE leased AND (holder = ANY (v_dead) OR holder NOT IN (SELECT node_id FROM posthorn.node))
          ORDER BY username, delivery_id FOR UPDATE) h
    WHERE q.username = h.username AND q.delivery_id = h.delivery_id
    RETURNING q.username, q.endpoint_id, q.due_at
  ), called AS (
    INSERT INTO posthorn.lane_call (username, endpoint_id, at)
    SELECT username, endpoint_id, min(due_at) FROM freed GROUP BY username, endpoint_id
  )
  SELECT count(*)::integer INTO v_freed FROM freed;
  RETURN v_freed;
END $$;

-- Frees what a node leased at least p_age_ms ago and doesn't know of: it never got the answer. Answers how many.
CREATE FUNCTION posthorn.free_lost_leases(p_node bigint, p_known text[], p_age_ms bigint) RETURNS integer
  LANGUAGE sql VOLATILE AS $$
  WITH freed AS (
    UPDATE posthorn.queue q
    SET leased = false, leased_at = NULL, leased_until = NULL, token = NULL, holder = NULL
    FROM (SELECT username, delivery_id FROM posthorn.queue
          WHERE leased AND holder = p_node AND leased_at <= posthorn.now_ms() - p_age_ms AND token <> ALL (p_known)
          ORDER BY username, delivery_id FOR UPDATE SKIP LOCKED) l
    WHERE q.username = l.username AND q.delivery_id = l.delivery_id
    RETURNING q.username, q.endpoint_id, q.due_at
  ), called AS (
    INSERT INTO posthorn.lane_call (username, endpoint_id, at)
    SELECT username, endpoint_id, min(due_at) FROM freed GROUP BY username, endpoint_id
  )
  SELECT count(*)::integer FROM freed
$$;

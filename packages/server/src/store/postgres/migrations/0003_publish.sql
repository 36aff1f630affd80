-- Publishing from plain SQL, inside the caller's own transaction: posthorn.publish seals an event as publish.ts does and
-- stores it by publish_batch. See docs/publish-from-sql.md for those who call it, and
-- docs/decisions/0007-sql-publishes-jsonb-as-its-text.md for what "as publish.ts does" means for jsonb.
--
-- Who may call publish may do nothing else, and it runs with the rights of the schema's owner. So every name in it is
-- qualified or found in pg_catalog, no statement is put together from text, and no setting of the caller's changes
-- what it does: string literals with a backslash are written E'…', floats are printed under a setting of our own.

-- ------------------------------------------------------------------------------------------------ numbers

-- A number of jsonb's text as JavaScript writes its double, in the form of Number::toString (ECMA-262, 6.1.6.1.20).
-- Null when a double can't hold it exactly: when isExactNumber of json.ts refuses the same text.
CREATE FUNCTION posthorn.js_number(p_number text) RETURNS text
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
  SET extra_float_digits = 1 -- the shortest digits that lead back to the double
AS $$
DECLARE
  c_max CONSTANT numeric := 1.7976931348623157e308;
  v_sign text := CASE WHEN left(p_number, 1) = '-' THEN '-' ELSE '' END;
  v_whole text := ltrim(split_part(p_number, '.', 1), '-');
  v_fraction text := split_part(p_number, '.', 2);
  -- The value is 0.<digits> × 10^point.
  v_digits text := ltrim(v_whole || v_fraction, '0');
  v_point integer := length(v_digits) - length(v_fraction);
  v_count integer;
  v_size numeric;
  v_double float8;
  v_shortest numeric;
  v_shorter numeric;
BEGIN
  v_digits := rtrim(v_digits, '0');
  v_count := length(v_digits);
  IF v_count = 0 THEN RETURN '0'; END IF;
  -- No double needs more digits to be told from its neighbours, and what lies outside of these bounds is not cast, for
  -- the cast would fail with an error of its own.
  IF v_count > 17 OR v_point < -323 OR v_point > 309 THEN RETURN NULL; END IF;
  v_size := abs(p_number::numeric);
  IF v_size > c_max OR v_size < 4.9e-324 THEN RETURN NULL; END IF;
  -- Beyond 2^53 doubles skip integers. From 1e21 JavaScript writes them with an exponent, as the approximations that
  -- they are, and so may they be sent; but jsonb has no exponents, and a plain integer claims to be exact.
  IF v_size > 9007199254740992 AND (v_size < 1e21 OR v_fraction = '') THEN RETURN NULL; END IF;

  -- Up to 15 digits always lead to a double whose shortest digits they are, but for the smallest ones.
  IF v_count > 15 OR v_size < 2.3e-308 THEN
    v_double := v_size::float8;
    v_shortest := v_double::text::numeric;
    IF v_size < 1e21 THEN
      IF v_shortest <> v_size THEN RETURN NULL; END IF;
    ELSE
      -- Up here a number may lie half-way between two doubles. JavaScript takes such a one when it is shorter,
      -- PostgreSQL never does.
      v_shorter := trunc(v_size, v_count - 1 - v_point);
      IF v_shorter::float8 = v_double THEN RETURN NULL; END IF;
      v_shorter := v_shorter + ('1e' || v_point - v_count + 1)::numeric;
      IF v_shorter <= c_max THEN
        IF v_shorter::float8 = v_double THEN RETURN NULL; END IF;
      END IF;
      IF v_shortest <> v_size AND length(rtrim(v_shortest::text, '0')) <= v_count THEN RETURN NULL; END IF;
    END IF;
  END IF;

  RETURN v_sign || CASE
    WHEN v_point > 21 OR v_point < -5 THEN
      left(v_digits, 1) || CASE WHEN v_count > 1 THEN '.' || substr(v_digits, 2) ELSE '' END
        || CASE WHEN v_point > 0 THEN 'e+' ELSE 'e-' END || abs(v_point - 1)
    WHEN v_point >= v_count THEN rpad(v_digits, v_point, '0')
    WHEN v_point > 0 THEN left(v_digits, v_point) || '.' || substr(v_digits, v_point + 1)
    ELSE '0.' || repeat('0', -v_point) || v_digits
  END;
END $$;

-- JSON without the insides of its strings, with its numbers written by js_number; null when one of them is.
CREATE FUNCTION posthorn.js_numbers(p_skeleton text) RETURNS text
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  v_written text;
  v_exact boolean;
BEGIN
  -- Nearly always there are prices and coordinates at most, that need to lose their trailing zeros.
  IF p_skeleton !~ '[0-9.]{17}|[0-9]{16}|[.]000000' THEN
    RETURN regexp_replace(regexp_replace(p_skeleton, '[.]0+(?![0-9])', '', 'g'),
                          '([.][0-9]*[1-9])0+(?![0-9])', E'\\1', 'g');
  END IF;
  SELECT string_agg(t.written, ''), bool_and(t.written IS NOT NULL) INTO v_written, v_exact
  FROM (SELECT CASE WHEN m[1] ~ '^[0-9-]' THEN posthorn.js_number(m[1]) ELSE m[1] END AS written
        FROM regexp_matches(p_skeleton, '[0-9.-]+|[^0-9.-]+', 'g') m) t;
  RETURN CASE WHEN v_exact THEN v_written END;
END $$;

-- JSON pointer of the first number that js_number refuses, under the pointer of the whole. Walks everything: for a
-- refusal's sentence.
CREATE FUNCTION posthorn.find_inexact_number(p_value jsonb, p_pointer text) RETURNS text
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  v_found text;
  v_step text;
  v_child jsonb;
BEGIN
  CASE jsonb_typeof(p_value)
    WHEN 'number' THEN
      RETURN CASE WHEN posthorn.js_number(p_value::text) IS NULL THEN p_pointer END;
    WHEN 'object' THEN
      FOR v_step, v_child IN SELECT e.key, e.value FROM jsonb_each(p_value) e LOOP
        v_found := posthorn.find_inexact_number(
          v_child, p_pointer || '/' || replace(replace(v_step, '~', '~0'), '/', '~1'));
        IF v_found IS NOT NULL THEN RETURN v_found; END IF;
      END LOOP;
    WHEN 'array' THEN
      FOR v_step, v_child IN SELECT e.n - 1, e.value FROM jsonb_array_elements(p_value) WITH ORDINALITY e(value, n) LOOP
        v_found := posthorn.find_inexact_number(v_child, p_pointer || '/' || v_step);
        IF v_found IS NOT NULL THEN RETURN v_found; END IF;
      END LOOP;
    ELSE NULL;
  END CASE;
  RETURN NULL;
END $$;

-- ------------------------------------------------------------------------------------------------ order of keys
--
-- These read json, which keeps the text of numbers as it stands.

-- With the keys in the order of a JavaScript object's: array indices by their size, then the others as they stand.
CREATE FUNCTION posthorn.with_js_key_order(p_value json) RETURNS text
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF json_typeof(p_value) = 'object' THEN
    RETURN (
      SELECT '{' || coalesce(string_agg(
          to_json(e.key)::text || ':' || CASE WHEN json_typeof(e.value) IN ('object', 'array')
                                              THEN posthorn.with_js_key_order(e.value) ELSE e.value::text END, ','
          ORDER BY CASE WHEN e.key ~ '^(0|[1-9][0-9]{0,9})$'
                        THEN CASE WHEN e.key::bigint < 4294967295 THEN e.key::bigint END END NULLS LAST, e.n), '') || '}'
      FROM json_each(p_value) WITH ORDINALITY e(key, value, n));
  END IF;
  RETURN (
    SELECT '[' || coalesce(string_agg(
        CASE WHEN json_typeof(e.value) IN ('object', 'array')
             THEN posthorn.with_js_key_order(e.value) ELSE e.value::text END, ',' ORDER BY e.n), '') || ']'
    FROM json_array_elements(p_value) WITH ORDINALITY e(value, n));
END $$;

-- With the keys sorted by code points, as the fingerprint wants them.
CREATE FUNCTION posthorn.with_sorted_keys(p_value json) RETURNS text
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  IF json_typeof(p_value) = 'object' THEN
    RETURN (
      SELECT '{' || coalesce(string_agg(
          to_json(e.key)::text || ':' || CASE WHEN json_typeof(e.value) IN ('object', 'array')
                                              THEN posthorn.with_sorted_keys(e.value) ELSE e.value::text END, ','
          ORDER BY e.key COLLATE "C"), '') || '}'
      FROM json_each(p_value) e);
  END IF;
  -- A list without objects, the usual one, has nothing to sort.
  IF strpos(p_value::text, '{') = 0 THEN RETURN p_value::text; END IF;
  RETURN (
    SELECT '[' || string_agg(
        CASE WHEN json_typeof(e.value) IN ('object', 'array')
             THEN posthorn.with_sorted_keys(e.value) ELSE e.value::text END, ',' ORDER BY e.n) || ']'
    FROM json_array_elements(p_value) WITH ORDINALITY e(value, n));
END $$;

-- fingerprintOf of publish.ts, for data that is sealed.
CREATE FUNCTION posthorn.fingerprint(p_event text, p_sealed text) RETURNS text
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  RETURN encode(sha256(convert_to(p_event || E'\n' || posthorn.with_sorted_keys(p_sealed::json), 'UTF8')), 'hex');
END $$;

-- ------------------------------------------------------------------------------------------------ sealing

-- An event's data as it stands in the sealed body: what JSON.stringify(JSON.parse(p_data::text)) makes of it. Refuses
-- what json.ts refuses of a request's body, with its sentences.
--
-- jsonb's own text has nearly the form, strings have it fully. So they are cut out, and what is left is changed as a
-- whole: a walk of every value costs several times as much.
CREATE FUNCTION posthorn.seal_data(p_data jsonb) RETURNS text
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  v_text text := p_data::text;
  v_escaped boolean := strpos(v_text, E'\\') > 0;
  v_skeleton text;
  v_strings text[];
  v_pointer text;
BEGIN
  IF jsonb_typeof(p_data) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = 'PH001', COLUMN = 'data', MESSAGE = 'data must be an object';
  END IF;

  -- From here on each quote begins or ends a string. No string holds these two characters: they are escaped in it.
  IF v_escaped THEN
    v_text := replace(replace(v_text, E'\\\\', E'\x01'), E'\\"', E'\x02');
  END IF;
  SELECT string_agg(p.part, '"') FILTER (WHERE p.n % 2 = 1), array_agg(p.part) FILTER (WHERE p.n % 2 = 0)
  INTO v_skeleton, v_strings
  FROM unnest(string_to_array(v_text, '"')) WITH ORDINALITY p(part, n);

  -- The body around data is a level, too.
  IF length(v_skeleton) - length(translate(v_skeleton, '{[', '')) > 99
    AND jsonb_path_exists(p_data, 'strict $.**{99} ? (@.type() == "object" || @.type() == "array")')
  THEN
    RAISE EXCEPTION USING ERRCODE = 'PH002', COLUMN = 'data',
      MESSAGE = 'body is nested deeper than 100 levels: flatten it';
  END IF;
  IF strpos(v_text, '"__proto__": ') > 0
    OR strpos(v_text, '"constructor": {') > 0
      AND jsonb_path_exists(p_data, 'strict $.** ? (exists(@.constructor.prototype))')
  THEN
    RAISE EXCEPTION USING ERRCODE = 'PH003', COLUMN = 'data',
      MESSAGE = 'body must not contain the keys "__proto__" or "constructor.prototype"';
  END IF;
  IF v_skeleton ~ '[.]|[0-9]{16}' THEN
    v_skeleton := posthorn.js_numbers(v_skeleton);
    IF v_skeleton IS NULL THEN
      v_pointer := posthorn.find_inexact_number(p_data, '/data');
      RAISE EXCEPTION USING ERRCODE = 'PH004', COLUMN = 'data',
        MESSAGE = 'the number at ' || left(v_pointer, 200) || CASE WHEN length(v_pointer) > 200 THEN '…' ELSE '' END
          || ' can''t be held exactly by a double: send it as a string',
        HINT = 'jsonb holds numbers of any precision; whoever reads the event''s JSON with doubles would get another one.';
    END IF;
  END IF;

  v_skeleton := replace(replace(v_skeleton, ', ', ','), ': ', ':');
  SELECT string_agg(p.outside || coalesce('"' || p.inside || '"', ''), '') INTO v_text
  FROM unnest(string_to_array(v_skeleton, '"'), v_strings) p(outside, inside);
  IF v_escaped THEN
    v_text := replace(replace(v_text, E'\x02', E'\\"'), E'\x01', E'\\\\');
  END IF;
  IF v_text ~ '"[0-9]{1,10}":' THEN
    v_text := posthorn.with_js_key_order(v_text::json);
  END IF;
  RETURN v_text;
END $$;

-- Whether a sealed body says the same data: for events that were published without an id, which have no fingerprint.
CREATE FUNCTION posthorn.says_same(p_body text, p_data jsonb) RETURNS boolean
  LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  -- Without escaped backslashes, so that those which are left begin an escape.
  v_text text := replace(p_body, E'\\\\', '');
BEGIN
  -- jsonb can hold neither U+0000 nor half of a surrogate pair, so it can't say the same.
  IF strpos(v_text, E'\\u0000') > 0 OR strpos(v_text, E'\\ud') > 0 THEN RETURN false; END IF;
  RETURN p_body::jsonb -> 'data' = p_data;
END $$;

-- ------------------------------------------------------------------------------------------------ publish

-- Publishes an event in the caller's transaction and answers its id.
CREATE FUNCTION posthorn.publish(username text, event text, data jsonb, event_id text DEFAULT NULL) RETURNS text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp
  SET enable_seqscan = off
AS $$
DECLARE
  v_now bigint := posthorn.now_ms();
  v_timestamp bigint := v_now / 1000;
  v_event_id text := coalesce(event_id, posthorn.new_id('evt', v_now));
  v_missing text := CASE WHEN username IS NULL THEN 'username' WHEN event IS NULL THEN 'event'
                         WHEN data IS NULL THEN 'data' END;
  v_is_known boolean;
  v_is_moving boolean;
  v_max_bytes bigint;
  v_sealed text;
  v_body text;
  v_answer json;
  v_taken json;
BEGIN
  IF v_missing IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'PH001', COLUMN = v_missing, MESSAGE = v_missing || ' is required';
  ELSIF username COLLATE "C" !~ '^[A-Za-z0-9._@+-]{1,64}$' OR username IN ('.', '..') THEN
    RAISE EXCEPTION USING ERRCODE = 'PH001', COLUMN = 'username',
      MESSAGE = 'username must be 1 to 64 of letters, digits and . _ - @ +';
  ELSIF length(event) > 128 THEN
    RAISE EXCEPTION USING ERRCODE = 'PH001', COLUMN = 'event', MESSAGE = 'event must have at most 128 characters';
  ELSIF event_id COLLATE "C" !~ '^[A-Za-z0-9_:.-]{1,128}$' THEN
    RAISE EXCEPTION USING ERRCODE = 'PH001', COLUMN = 'event_id',
      MESSAGE = 'event_id must be 1 to 128 of letters, digits, "_", "-", ":" and "."';
  END IF;
  v_sealed := posthorn.seal_data(data);

  SELECT EXISTS (SELECT 1 FROM posthorn.builtin_event_type t WHERE t.name = publish.event)
      OR EXISTS (SELECT 1 FROM posthorn.event_type t WHERE t.name = publish.event),
    coalesce((SELECT m.value::bigint FROM posthorn.meta m WHERE m.name = 'max_body_bytes'), 262144),
    EXISTS (SELECT 1 FROM posthorn.meta m WHERE m.name = 'move' AND m.value::json ->> 'finishedAt' IS NULL)
  INTO v_is_known, v_max_bytes, v_is_moving;
  IF v_is_moving THEN
    RAISE EXCEPTION USING ERRCODE = 'PH009',
      MESSAGE = 'the database holds an unfinished move: publish again when it is finished',
      HINT = 'Its operator runs posthorn migrate --from … --to … again, which goes on where it stopped.';
  ELSIF NOT v_is_known THEN
    RAISE EXCEPTION USING ERRCODE = 'PH006', COLUMN = 'event',
      MESSAGE = 'event ' || to_json(event)::text || ' is not a known event type: GET /v2/events lists them';
  END IF;
  v_body := '{"event_id":"' || v_event_id || '","event":' || to_json(event)::text || ',"timestamp":' || v_timestamp
    || ',"data":' || v_sealed || '}';
  IF octet_length(v_body) > v_max_bytes THEN
    RAISE EXCEPTION USING ERRCODE = 'PH005', COLUMN = 'data',
      MESSAGE = 'the event has ' || octet_length(v_body) || ' bytes as a sealed body, the limit is ' || v_max_bytes
        || ': publish a link to large content instead of the content';
  END IF;

  -- As in publish.ts of the store: again where the event in its place is purged at the same moment.
  FOR v_round IN 1..3 LOOP
    v_answer := posthorn.publish_batch(
      ARRAY[username], ARRAY[v_event_id], ARRAY[event], ARRAY[v_timestamp], ARRAY[v_body],
      ARRAY[CASE WHEN event_id IS NOT NULL THEN posthorn.fingerprint(event, v_sealed) END], ARRAY[NULL::text], 0, 0, 0, 0);
    IF v_answer #>> '{stored,0}' IS NOT NULL THEN
      -- See notices.ts. The same notice of one transaction is sent once.
      IF v_answer #>> '{made,0}' IS NOT NULL THEN PERFORM pg_notify('posthorn', '{"kind":"due"}'); END IF;
      RETURN v_event_id;
    END IF;
    v_taken := v_answer #> '{taken,0}';
    IF v_taken IS NOT NULL THEN
      IF v_taken ->> 1 = event
        AND coalesce(v_taken ->> 3 = posthorn.fingerprint(event, v_sealed), posthorn.says_same(v_taken ->> 5, data))
      THEN
        RETURN v_event_id;
      END IF;
      RAISE EXCEPTION USING ERRCODE = 'PH008', COLUMN = 'event_id',
        MESSAGE = 'event_id "' || v_event_id || '" is taken by an event with other content; an id stands for one event';
    END IF;
    IF NOT EXISTS (SELECT 1 FROM posthorn.account a WHERE a.username = publish.username AND a.status <> 'deleted') THEN
      RAISE EXCEPTION USING ERRCODE = 'PH007', COLUMN = 'username',
        MESSAGE = 'account "' || username || '" not found';
    END IF;
  END LOOP;
  RAISE EXCEPTION USING ERRCODE = 'serialization_failure', COLUMN = 'event_id',
    MESSAGE = 'the event is being deleted and published at once: try again';
END $$;

COMMENT ON FUNCTION posthorn.publish(text, text, jsonb, text) IS
  'Publishes an event of an account in this transaction; answers its id. Refuses with SQLSTATE PH001 to PH009.';

-- ------------------------------------------------------------------------------------------------ rights

-- Functions are everybody's to call until that is taken back. It can't be taken back beforehand for one schema alone, so
-- migrate.ts does it again after later migrations.
REVOKE ALL ON SCHEMA posthorn FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA posthorn FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA posthorn FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA posthorn FROM PUBLIC;

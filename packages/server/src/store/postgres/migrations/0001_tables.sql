-- Everything lives in the schema posthorn, which the runner has made. Times are unix milliseconds unless a column says
-- otherwise, by the database's clock. Hot tables start their keys with the account, so that a distributed PostgreSQL
-- can shard by it. Ids and names compare by bytes, whatever the database's collation is.

-- The only source of time.
CREATE FUNCTION posthorn.now_ms() RETURNS bigint
  LANGUAGE sql VOLATILE PARALLEL SAFE
  AS $$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

CREATE TABLE posthorn.meta (
  name  text COLLATE "C" PRIMARY KEY,
  value text NOT NULL
);

-- One row a process that has the database open. What a node that stopped telling of itself holds is freed.
CREATE TABLE posthorn.node (
  node_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  seen_at    timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

CREATE TABLE posthorn.account (
  username    text COLLATE "C" PRIMARY KEY,
  status      text NOT NULL CHECK (status IN ('active', 'suspended', 'deleted')),
  metadata    text,
  created_at  bigint NOT NULL,
  -- The transaction that deleted it: its last rows may go when all older transactions have ended.
  deleted_xid xid8
);
CREATE INDEX account_created ON posthorn.account (created_at, username);
CREATE INDEX account_deleted ON posthorn.account (username) WHERE status = 'deleted';

CREATE TABLE posthorn.api_key (
  key_id       text COLLATE "C" PRIMARY KEY,
  hash         text COLLATE "C" NOT NULL UNIQUE,
  username     text COLLATE "C",
  name         text NOT NULL,
  scopes       text NOT NULL,
  prefix       text NOT NULL,
  created_at   bigint NOT NULL,
  expires_at   bigint,
  last_used_at bigint,
  revoked_at   bigint
) WITH (fillfactor = 80);
CREATE INDEX api_key_account ON posthorn.api_key (username, key_id);

-- Requests of a key in the present window of a rate limit, over all nodes.
CREATE TABLE posthorn.rate_window (
  name     text COLLATE "C" NOT NULL,
  began_at bigint NOT NULL,
  count    integer NOT NULL,
  PRIMARY KEY (name)
) WITH (fillfactor = 50);

-- The operator's own types, and the built-in ones that were deprecated.
CREATE TABLE posthorn.event_type (
  position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name        text COLLATE "C" NOT NULL UNIQUE,
  category    text NOT NULL,
  description text NOT NULL,
  schema      text NOT NULL,
  example     text,
  deprecated  boolean NOT NULL,
  built_in    boolean NOT NULL
);

-- The names that every binary of this schema version knows, for publishing by SQL (wire contract, section 3).
CREATE TABLE posthorn.builtin_event_type (
  name text COLLATE "C" PRIMARY KEY
);
INSERT INTO posthorn.builtin_event_type (name) VALUES
  ('generated_video_success'),
  ('generated_video_failed'),
  ('create_avatar_success'),
  ('create_avatar_failed'),
  ('generated_image_success'),
  ('generated_image_failed'),
  ('generated_motion_success'),
  ('generated_motion_failed'),
  ('generated_product_video_success'),
  ('generated_product_video_failed'),
  ('generated_avatar_video_success'),
  ('generated_avatar_video_failed'),
  ('generated_template_video_success'),
  ('generated_template_video_failed'),
  ('generated_translate_video_success'),
  ('generated_translate_video_failed'),
  ('generated_photo_avatar_success'),
  ('generated_photo_avatar_failed'),
  ('generated_product_avatar_success'),
  ('generated_product_avatar_failed'),
  ('generated_script_success'),
  ('generated_script_failed');

-- A deleted endpoint keeps its row (without its secrets) as long as its history is kept.
CREATE TABLE posthorn.endpoint (
  username                   text COLLATE "C" NOT NULL,
  endpoint_id                text COLLATE "C" NOT NULL,
  url                        text NOT NULL,
  events                     text NOT NULL,
  status                     text NOT NULL CHECK (status IN ('enabled', 'disabled', 'deleted')),
  disabled_reason            text,
  secret                     text NOT NULL,
  previous_secret            text,
  previous_secret_expires_at bigint,
  description                text,
  metadata                   text,
  headers                    text,
  rate_limit_per_second      double precision,
  timeout_ms                 integer,
  created_at                 bigint NOT NULL,
  deleted_at                 bigint,
  PRIMARY KEY (username, endpoint_id)
);

-- The fan-out's look-up. Holds the subscriptions of enabled and disabled endpoints alike: who was skipped is noted.
CREATE TABLE posthorn.subscription (
  username    text COLLATE "C" NOT NULL,
  event       text COLLATE "C" NOT NULL,
  endpoint_id text COLLATE "C" NOT NULL,
  PRIMARY KEY (username, event, endpoint_id)
);
CREATE INDEX subscription_event ON posthorn.subscription (event);

-- ------------------------------------------------------------------------------------------------ history, by day
--
-- event, delivery and attempt are partitioned by the day of their event, so that retention drops a day's three
-- partitions together. Rows that outlive their day move to the default partitions, and so does what is written for a
-- day that is gone.

CREATE SEQUENCE posthorn.event_seq CACHE 1;

CREATE TABLE posthorn.event (
  seq              bigint NOT NULL,
  username         text COLLATE "C" NOT NULL,
  event_id         text COLLATE "C" NOT NULL,
  event            text COLLATE "C" NOT NULL,
  timestamp        bigint NOT NULL, -- unix seconds, as in the body
  created_at       bigint NOT NULL,
  body             text NOT NULL,
  fingerprint      text,
  deliveries       integer NOT NULL, -- made at publish
  skipped          text,             -- JSON array of the disabled endpoints that subscribed; null without any
  only_endpoint_id text COLLATE "C"
) PARTITION BY RANGE (created_at);
CREATE INDEX event_account ON posthorn.event (username, created_at, seq);
CREATE INDEX event_type_of ON posthorn.event (username, event, created_at, seq);
CREATE TABLE posthorn.event_default PARTITION OF posthorn.event DEFAULT;

-- Which event has an id: unique over all days, which no index over partitions can be.
CREATE TABLE posthorn.event_key (
  username   text COLLATE "C" NOT NULL,
  event_id   text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  seq        bigint NOT NULL,
  PRIMARY KEY (username, event_id)
);

-- Finished deliveries. event_at is the created_at of their event. apart: as in the queue.
CREATE TABLE posthorn.delivery (
  username      text COLLATE "C" NOT NULL,
  delivery_id   text COLLATE "C" NOT NULL,
  endpoint_id   text COLLATE "C" NOT NULL,
  event_id      text COLLATE "C" NOT NULL,
  event         text COLLATE "C" NOT NULL,
  event_at      bigint NOT NULL,
  event_seq     bigint NOT NULL,
  status        text NOT NULL CHECK (status IN ('delivered', 'dead', 'cancelled')),
  status_reason text,
  attempts      integer NOT NULL,
  created_at    bigint NOT NULL,
  completed_at  bigint NOT NULL,
  apart         boolean NOT NULL DEFAULT true
) PARTITION BY RANGE (event_at);
CREATE INDEX delivery_account ON posthorn.delivery (username, delivery_id);
CREATE INDEX delivery_endpoint ON posthorn.delivery (username, endpoint_id, delivery_id);
CREATE INDEX delivery_type_of ON posthorn.delivery (username, event, delivery_id);
CREATE INDEX delivery_apart ON posthorn.delivery (username, event_id) WHERE apart;
CREATE INDEX delivery_failed ON posthorn.delivery (username, delivery_id) WHERE status <> 'delivered';
CREATE TABLE posthorn.delivery_default PARTITION OF posthorn.delivery DEFAULT;

CREATE TABLE posthorn.attempt (
  username           text COLLATE "C" NOT NULL,
  delivery_id        text COLLATE "C" NOT NULL,
  event_at           bigint NOT NULL,
  number             integer NOT NULL,
  started_at         bigint NOT NULL,
  duration_ms        double precision NOT NULL,
  outcome            text NOT NULL,
  http_status        integer,
  error              text,
  url                text NOT NULL,
  request_headers    text NOT NULL,
  response_headers   text,
  response_body      bytea, -- UTF-8; a receiver may answer with U+0000, which text can't hold
  response_truncated boolean NOT NULL,
  manual             boolean NOT NULL
) PARTITION BY RANGE (event_at);
CREATE INDEX attempt_delivery ON posthorn.attempt (username, delivery_id, number);
CREATE TABLE posthorn.attempt_default PARTITION OF posthorn.attempt DEFAULT;

-- ------------------------------------------------------------------------------------------------ the queue

-- Unfinished deliveries only. A row is written once, marked when it is leased, and deleted: a lease changes no column
-- of an index, and a page has room for its rows' second versions, so that the mark is one write and no more.
--
-- The ids of deliveries that are made with their event begin as posthorn.delivery_head says, so that they are found by
-- the key. Those that are made later (replays, moves) are apart, and an index of their own finds them.
CREATE TABLE posthorn.queue (
  username     text COLLATE "C" NOT NULL,
  delivery_id  text COLLATE "C" NOT NULL,
  endpoint_id  text COLLATE "C" NOT NULL,
  event_id     text COLLATE "C" NOT NULL,
  event        text COLLATE "C" NOT NULL,
  event_at     bigint NOT NULL,
  event_seq    bigint NOT NULL,
  attempts     integer NOT NULL,
  failures     integer NOT NULL,
  manual       boolean NOT NULL,
  pinned       boolean NOT NULL, -- for this endpoint alone, subscribed or not
  apart        boolean NOT NULL DEFAULT true,
  created_at   bigint NOT NULL,
  due_at       bigint NOT NULL,
  leased       boolean NOT NULL,
  leased_at    bigint,
  leased_until bigint,
  token        text,
  holder       bigint, -- the node that holds the lease
  PRIMARY KEY (username, delivery_id)
) WITH (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.2);
-- The order of a lane.
CREATE INDEX queue_lane ON posthorn.queue (username, endpoint_id, due_at, event_seq);
CREATE INDEX queue_apart ON posthorn.queue (username, event_id) WHERE apart;

-- When a claim should look at an endpoint's part of the queue next. Only who holds the row's lock leases from its
-- lane or changes next_at, and nobody waits for that lock: see 0002. A lane that was served and has more due goes to
-- the back (next_at = now), which makes claims fair.
CREATE TABLE posthorn.lane (
  username    text COLLATE "C" NOT NULL,
  endpoint_id text COLLATE "C" NOT NULL,
  next_at     bigint,
  parked      boolean NOT NULL DEFAULT false,
  -- The last place in the lane's order, a due_at and an event_seq, that was ever leased: no lease is beyond it, so that
  -- a lane's leases are counted without a look at all that waits.
  leased_due  bigint NOT NULL DEFAULT 0,
  leased_seq  bigint NOT NULL DEFAULT 0,
  -- A place before which the lane has nothing, so that nobody walks over what has left it since the last vacuum. Who
  -- puts something before it says so in lane_call, whose "at" is never after the place of what it speaks of.
  floor_due   bigint NOT NULL DEFAULT 0,
  floor_seq   bigint NOT NULL DEFAULT 0,
  -- The node that keeps the rate of a rate-limited endpoint, and until when no other may lease from it.
  keeper      bigint,
  kept_until  bigint,
  PRIMARY KEY (username, endpoint_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX lane_next ON posthorn.lane (next_at) WHERE next_at IS NOT NULL AND NOT parked;

-- "Look at this lane by then", said by transactions that make something due and don't hold its lane. A row of its own, so
-- that they never wait for the lane's lock, and so that it is seen exactly when what it speaks of is seen. The next claim
-- takes it.
CREATE TABLE posthorn.lane_call (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  username    text COLLATE "C" NOT NULL,
  endpoint_id text COLLATE "C" NOT NULL,
  at          bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_vacuum_insert_threshold = -1);

-- ------------------------------------------------------------------------------------------------ statistics, replays

-- Attempts counted by minute (by hour when older than a day), endpoint, type, outcome and a logarithmic class of
-- duration. A delivery's death is counted under 'dead:' and the outcome of its last attempt. Each node counts in rows
-- of its own, so that none waits for another's commit.
CREATE TABLE posthorn.stat (
  username    text COLLATE "C" NOT NULL,
  at          bigint NOT NULL,
  endpoint_id text COLLATE "C" NOT NULL,
  event       text COLLATE "C" NOT NULL,
  outcome     text COLLATE "C" NOT NULL,
  latency     integer NOT NULL,
  node        bigint NOT NULL,
  count       bigint NOT NULL,
  PRIMARY KEY (username, at, endpoint_id, event, outcome, latency, node)
) WITH (fillfactor = 60);
CREATE INDEX stat_at ON posthorn.stat (at);

CREATE TABLE posthorn.replay (
  username    text COLLATE "C" NOT NULL,
  replay_id   text COLLATE "C" NOT NULL,
  endpoint_id text COLLATE "C" NOT NULL,
  kind        text NOT NULL CHECK (kind IN ('failed', 'missing', 'all')),
  status      text NOT NULL CHECK (status IN ('running', 'done', 'cancelled')),
  since       bigint NOT NULL,
  until       bigint NOT NULL,
  matched     integer NOT NULL,
  done        integer NOT NULL,
  position    text NOT NULL, -- where the walk stands, see replays.ts
  created_at  bigint NOT NULL,
  PRIMARY KEY (username, replay_id)
);
CREATE INDEX replay_running ON posthorn.replay (replay_id) WHERE status = 'running';

-- ------------------------------------------------------------------------------------------------ partitions

-- Makes the partitions of the day that holds a time. False when they can't be made because the default partitions hold
-- rows of that day already: those stay where they are.
CREATE FUNCTION posthorn.add_partitions(p_at bigint) RETURNS boolean
  LANGUAGE plpgsql AS $$
DECLARE
  v_from bigint := p_at - p_at % 86400000;
  v_day text := to_char(to_timestamp(v_from / 1000.0) AT TIME ZONE 'UTC', 'YYYYMMDD');
  v_table text;
BEGIN
  IF to_regclass('posthorn.event_' || v_day) IS NOT NULL THEN RETURN true; END IF;
  IF EXISTS (SELECT 1 FROM posthorn.event_default WHERE created_at >= v_from AND created_at < v_from + 86400000)
    OR EXISTS (SELECT 1 FROM posthorn.delivery_default WHERE event_at >= v_from AND event_at < v_from + 86400000)
    OR EXISTS (SELECT 1 FROM posthorn.attempt_default WHERE event_at >= v_from AND event_at < v_from + 86400000)
  THEN RETURN false; END IF;
  FOREACH v_table IN ARRAY ARRAY['delivery', 'attempt', 'event'] LOOP -- as settlements lock them
    EXECUTE format('CREATE TABLE posthorn.%I PARTITION OF posthorn.%I FOR VALUES FROM (%s) TO (%s)',
      v_table || '_' || v_day, v_table, v_from, v_from + 86400000);
  END LOOP;
  RETURN true;
END $$;

-- One file, one writer. Times are unix milliseconds unless a column says otherwise. Hot tables start their keys with
-- the account, as the other engine's do.

CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE account (
  username   TEXT PRIMARY KEY,
  status     TEXT NOT NULL CHECK (status IN ('active', 'suspended', 'deleted')),
  metadata   TEXT,
  created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX account_created ON account (created_at, username);

CREATE TABLE api_key (
  key_id       TEXT PRIMARY KEY,
  hash         TEXT NOT NULL UNIQUE,
  username     TEXT,
  name         TEXT NOT NULL,
  scopes       TEXT NOT NULL,
  prefix       TEXT NOT NULL,
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER,
  last_used_at INTEGER,
  revoked_at   INTEGER
) WITHOUT ROWID;
CREATE INDEX api_key_account ON api_key (username, key_id);

CREATE TABLE event_type (
  position    INTEGER PRIMARY KEY,
  name        TEXT NOT NULL UNIQUE,
  category    TEXT NOT NULL,
  description TEXT NOT NULL,
  schema      TEXT NOT NULL,
  example     TEXT,
  deprecated  INTEGER NOT NULL,
  built_in    INTEGER NOT NULL
);

-- A deleted endpoint keeps its row (without its secrets) as long as its history is kept.
CREATE TABLE endpoint (
  username                   TEXT NOT NULL,
  endpoint_id                TEXT NOT NULL,
  url                        TEXT NOT NULL,
  events                     TEXT NOT NULL,
  status                     TEXT NOT NULL CHECK (status IN ('enabled', 'disabled', 'deleted')),
  disabled_reason            TEXT,
  secret                     TEXT NOT NULL,
  previous_secret            TEXT,
  previous_secret_expires_at INTEGER,
  description                TEXT,
  metadata                   TEXT,
  headers                    TEXT,
  rate_limit_per_second      INTEGER,
  timeout_ms                 INTEGER,
  created_at                 INTEGER NOT NULL,
  deleted_at                 INTEGER,
  PRIMARY KEY (username, endpoint_id)
) WITHOUT ROWID;

-- The fan-out's look-up. Holds the subscriptions of enabled and disabled endpoints alike: who was skipped is noted.
CREATE TABLE subscription (
  username    TEXT NOT NULL,
  event       TEXT NOT NULL,
  endpoint_id TEXT NOT NULL,
  PRIMARY KEY (username, event, endpoint_id)
) WITHOUT ROWID;
CREATE INDEX subscription_event ON subscription (event);

-- seq is the order of acceptance; retention walks it from the oldest on.
CREATE TABLE event (
  seq              INTEGER PRIMARY KEY,
  username         TEXT NOT NULL,
  event_id         TEXT NOT NULL,
  event            TEXT NOT NULL,
  timestamp        INTEGER NOT NULL, -- unix seconds, as in the body
  created_at       INTEGER NOT NULL,
  body             TEXT NOT NULL,
  fingerprint      TEXT,
  deliveries       INTEGER NOT NULL, -- made at publish
  skipped          TEXT,             -- JSON array of the disabled endpoints that subscribed; null without any
  only_endpoint_id TEXT
);
CREATE UNIQUE INDEX event_id ON event (username, event_id);
-- The list's order, with the type that it may be filtered by: a rare type is found without visiting every row.
CREATE INDEX event_account ON event (username, created_at, seq, event);

-- Unfinished deliveries only. A leased row's due_at is the end of its lease: a lease that nobody settles is due
-- again by itself, without a sweep. Queue and history name their event by its seq: it grows with time, so that what is
-- written together lies together in their indexes, whatever ids publishers choose.
CREATE TABLE queue (
  username    TEXT NOT NULL,
  delivery_id TEXT NOT NULL,
  endpoint_id TEXT NOT NULL,
  event_seq   INTEGER NOT NULL,
  event       TEXT NOT NULL,
  attempts    INTEGER NOT NULL,
  failures    INTEGER NOT NULL,
  manual      INTEGER NOT NULL,
  created_at  INTEGER NOT NULL,
  due_at      INTEGER NOT NULL,
  leased      INTEGER NOT NULL,
  leased_at   INTEGER,
  token       TEXT,
  PRIMARY KEY (username, delivery_id)
) WITHOUT ROWID;
CREATE INDEX queue_lane ON queue (username, endpoint_id, leased, due_at);
CREATE INDEX queue_event ON queue (event_seq);

-- When a claim should look at an endpoint's part of the queue next: never later than its first due time or lease
-- end, except while it is full (then its next settlement says so) or parked (suspended account). A lane that was
-- served and has more due goes to the back (next_at = now), which makes claims fair.
CREATE TABLE lane (
  username    TEXT NOT NULL,
  endpoint_id TEXT NOT NULL,
  next_at     INTEGER,
  parked      INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (username, endpoint_id)
) WITHOUT ROWID;
CREATE INDEX lane_next ON lane (next_at) WHERE next_at IS NOT NULL AND parked = 0;

-- Finished deliveries, in the order in which they finished. The lists' indexes carry what they filter by, so that a
-- rare type or state is found without visiting every row.
CREATE TABLE delivery (
  seq           INTEGER PRIMARY KEY,
  username      TEXT NOT NULL,
  delivery_id   TEXT NOT NULL,
  endpoint_id   TEXT NOT NULL,
  event_seq     INTEGER NOT NULL,
  event         TEXT NOT NULL,
  status        TEXT NOT NULL CHECK (status IN ('delivered', 'dead', 'cancelled')),
  status_reason TEXT,
  attempts      INTEGER NOT NULL,
  created_at    INTEGER NOT NULL,
  completed_at  INTEGER NOT NULL
);
CREATE INDEX delivery_account ON delivery (username, delivery_id, event, status);
CREATE INDEX delivery_endpoint ON delivery (username, endpoint_id, delivery_id, event, status);
CREATE INDEX delivery_event ON delivery (event_seq);
CREATE INDEX delivery_failed ON delivery (username, delivery_id) WHERE status <> 'delivered';

CREATE TABLE attempt (
  seq                INTEGER PRIMARY KEY,
  username           TEXT NOT NULL,
  delivery_id        TEXT NOT NULL,
  number             INTEGER NOT NULL,
  started_at         INTEGER NOT NULL,
  duration_ms        REAL NOT NULL,
  outcome            TEXT NOT NULL,
  http_status        INTEGER,
  error              TEXT,
  url                TEXT NOT NULL,
  request_headers    TEXT NOT NULL,
  response_headers   TEXT,
  response_body      TEXT,
  response_truncated INTEGER NOT NULL,
  manual             INTEGER NOT NULL
);
-- A delivery's id is its own in all accounts, and begins with its time.
CREATE INDEX attempt_delivery ON attempt (delivery_id, number);

-- Attempts counted by minute (by hour when older than a day), endpoint, type, outcome and a logarithmic class of
-- duration. A delivery's death is counted under 'dead:' and the outcome of its
-- last attempt.
CREATE TABLE stat (
  username    TEXT NOT NULL,
  at          INTEGER NOT NULL,
  endpoint_id TEXT NOT NULL,
  event       TEXT NOT NULL,
  outcome     TEXT NOT NULL,
  latency     INTEGER NOT NULL,
  count       INTEGER NOT NULL,
  PRIMARY KEY (username, at, endpoint_id, event, outcome, latency)
) WITHOUT ROWID;
CREATE INDEX stat_at ON stat (at);

CREATE TABLE replay (
  username    TEXT NOT NULL,
  replay_id   TEXT NOT NULL,
  endpoint_id TEXT NOT NULL,
  kind        TEXT NOT NULL CHECK (kind IN ('failed', 'missing', 'all')),
  status      TEXT NOT NULL CHECK (status IN ('running', 'done', 'cancelled')),
  since       INTEGER NOT NULL,
  until       INTEGER NOT NULL,
  matched     INTEGER NOT NULL,
  done        INTEGER NOT NULL,
  position    TEXT NOT NULL, -- where the walk stands, see replays.ts
  created_at  INTEGER NOT NULL,
  PRIMARY KEY (username, replay_id)
) WITHOUT ROWID;
CREATE INDEX replay_running ON replay (replay_id) WHERE status = 'running';

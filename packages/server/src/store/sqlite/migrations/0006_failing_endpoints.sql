-- Endpoints that fail: who is probed instead of served, and what was missed by those that were disabled
-- (docs/decisions/0016-failing-endpoints.md).

-- A row while an endpoint has failed since its last success, and for a while after, so that its owner isn't told of each
-- turn of one that comes and goes. A healthy endpoint has none.
CREATE TABLE failing_endpoint (
  username     TEXT NOT NULL,
  endpoint_id  TEXT NOT NULL,
  failures     INTEGER NOT NULL, -- in a row, over its deliveries; 0: it has recovered
  since        INTEGER NOT NULL, -- the first of them
  oldest       INTEGER NOT NULL, -- when the oldest delivery was made that failed since
  probes       INTEGER NOT NULL, -- how many have failed
  probe_at     INTEGER,          -- the next probe's time at the earliest; null: the lane is open
  told         INTEGER NOT NULL, -- whether endpoint.failing was sent for this time
  told_at      INTEGER,          -- when it was sent last
  last_at      INTEGER NOT NULL, -- of the last failure
  last_outcome TEXT NOT NULL,
  last_status  INTEGER,
  last_error   TEXT,
  PRIMARY KEY (username, endpoint_id)
) WITHOUT ROWID;

-- What a person asked for goes at once, however much waits for the next probe.
CREATE INDEX queue_manual ON queue (username, endpoint_id, due_at) WHERE manual = 1;

ALTER TABLE endpoint ADD COLUMN disabled_at INTEGER;
-- Since when, and until when, it may have missed events that no replay has made up for.
ALTER TABLE endpoint ADD COLUMN missed_since INTEGER;
ALTER TABLE endpoint ADD COLUMN missed_until INTEGER;
CREATE INDEX endpoint_disabled ON endpoint (disabled_at) WHERE status = 'disabled' AND disabled_reason IS NOT NULL;

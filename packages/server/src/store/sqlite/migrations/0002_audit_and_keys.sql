-- Who changed what, and the keys that secrets are encrypted with.

-- One line a change, written in the change's own transaction. What an account was stays when the account goes.
CREATE TABLE audit (
  seq            INTEGER PRIMARY KEY,
  audit_id       TEXT NOT NULL,
  at             INTEGER NOT NULL,
  actor          TEXT NOT NULL CHECK (actor IN ('key', 'command', 'service')),
  key_id         TEXT,
  key_account    TEXT,             -- whose key it was; null: of operator level, or no key at all
  via            TEXT NOT NULL,    -- the route or command
  request_id     TEXT,
  remote_address TEXT,
  action         TEXT NOT NULL,
  target_type    TEXT NOT NULL,
  target         TEXT NOT NULL,
  account        TEXT,             -- whose thing was changed; null: nobody's
  before         TEXT,             -- JSON
  after          TEXT              -- JSON
);
-- One a filter of the list, each in its order.
CREATE INDEX audit_at ON audit (at, seq);
CREATE INDEX audit_account ON audit (account, at, seq);
CREATE INDEX audit_key ON audit (key_id, at, seq);
CREATE INDEX audit_action ON audit (action, at, seq);
CREATE INDEX audit_target ON audit (target, at, seq);

CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
BEGIN
  SELECT RAISE(ABORT, 'the audit log is append-only');
END;

-- The keys that a sealed value may be sealed with (docs/decisions/0009-secrets-at-rest.md), by their ids: never the keys
-- themselves. New values are sealed with the one that meta names as encryption_key_id; the others are only opened, until
-- nothing needs them.
CREATE TABLE encryption_key (
  key_id TEXT PRIMARY KEY,
  since  INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO encryption_key (key_id, since)
SELECT value, CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM meta WHERE name = 'encryption_key_id';

-- A key is retired when nothing is sealed with it. From then on nothing may be.
CREATE TRIGGER endpoint_sealing_of_new BEFORE INSERT ON endpoint
WHEN EXISTS (SELECT 1 FROM encryption_key) AND (
  (NEW.secret LIKE 'v1.%' AND substr(NEW.secret, 4, 8) NOT IN (SELECT key_id FROM encryption_key))
  OR (NEW.headers LIKE 'v1.%' AND substr(NEW.headers, 4, 8) NOT IN (SELECT key_id FROM encryption_key)))
BEGIN
  SELECT RAISE(ABORT, 'a value was sealed with an encryption key that was retired');
END;
CREATE TRIGGER endpoint_sealing_of_changed BEFORE UPDATE OF secret, headers ON endpoint
WHEN EXISTS (SELECT 1 FROM encryption_key) AND (
  (NEW.secret LIKE 'v1.%' AND substr(NEW.secret, 4, 8) NOT IN (SELECT key_id FROM encryption_key))
  OR (NEW.headers LIKE 'v1.%' AND substr(NEW.headers, 4, 8) NOT IN (SELECT key_id FROM encryption_key)))
BEGIN
  SELECT RAISE(ABORT, 'a value was sealed with an encryption key that was retired');
END;

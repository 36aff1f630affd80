-- Sessions of the dashboard and links into the customers' portal: of both only the SHA-256 of what the browser holds.

CREATE TABLE session (
  hash       TEXT PRIMARY KEY,
  key_hash   TEXT,             -- of the key that it was opened with; null: with a portal link
  username   TEXT,             -- whose portal it is; null: what the key says holds
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX session_expiry ON session (expires_at);
CREATE INDEX session_account ON session (username) WHERE username IS NOT NULL;

-- A link opens one session; until it expires, who comes second is told that it was used.
CREATE TABLE portal_link (
  link_id    TEXT PRIMARY KEY,
  hash       TEXT NOT NULL UNIQUE,
  username   TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  used_at    INTEGER
) WITHOUT ROWID;
CREATE INDEX portal_link_expiry ON portal_link (expires_at);
CREATE INDEX portal_link_account ON portal_link (username);

-- What a person changed by a page rather than by a program: dashboard or portal.
ALTER TABLE audit ADD COLUMN through TEXT;

-- Sessions of the dashboard and links into the customers' portal: of both only the SHA-256 of what the browser holds.

CREATE TABLE posthorn.session (
  hash       text COLLATE "C" PRIMARY KEY,
  key_hash   text COLLATE "C", -- of the key that it was opened with; null: with a portal link
  username   text COLLATE "C", -- whose portal it is; null: what the key says holds
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL
);
CREATE INDEX session_expiry ON posthorn.session (expires_at);
CREATE INDEX session_account ON posthorn.session (username) WHERE username IS NOT NULL;

-- A link opens one session; until it expires, who comes second is told that it was used.
CREATE TABLE posthorn.portal_link (
  link_id    text COLLATE "C" PRIMARY KEY,
  hash       text COLLATE "C" NOT NULL UNIQUE,
  username   text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  used_at    bigint
);
CREATE INDEX portal_link_expiry ON posthorn.portal_link (expires_at);
CREATE INDEX portal_link_account ON posthorn.portal_link (username);

-- What a person changed by a page rather than by a program: dashboard or portal.
ALTER TABLE posthorn.audit ADD COLUMN through text COLLATE "C";

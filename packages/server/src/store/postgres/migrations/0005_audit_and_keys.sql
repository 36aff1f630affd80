-- Who changed what, and the keys that secrets are encrypted with.

-- One line a change, written in the change's own transaction. What an account was stays when the account goes.
CREATE TABLE posthorn.audit (
  seq            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  audit_id       text COLLATE "C" NOT NULL,
  at             bigint NOT NULL,
  actor          text COLLATE "C" NOT NULL CHECK (actor IN ('key', 'command', 'service')),
  key_id         text COLLATE "C",
  key_account    text COLLATE "C", -- whose key it was; null: of operator level, or no key at all
  via            text NOT NULL,    -- the route or command
  request_id     text COLLATE "C",
  remote_address text,
  action         text COLLATE "C" NOT NULL,
  target_type    text COLLATE "C" NOT NULL,
  target         text COLLATE "C" NOT NULL,
  account        text COLLATE "C", -- whose thing was changed; null: nobody's
  before         text,             -- JSON
  after          text              -- JSON
);
-- One a filter of the list, each in its order.
CREATE INDEX audit_at ON posthorn.audit (at, seq);
CREATE INDEX audit_account ON posthorn.audit (account, at, seq);
CREATE INDEX audit_key ON posthorn.audit (key_id, at, seq);
CREATE INDEX audit_action ON posthorn.audit (action, at, seq);
CREATE INDEX audit_target ON posthorn.audit (target, at, seq);

-- Append-only, whoever asks: rows go by posthorn.purge_audit alone.
CREATE FUNCTION posthorn.guard_audit() RETURNS trigger
  LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE'
     AND OLD.at < coalesce(nullif(current_setting('posthorn.audit_purge_before', true), '')::bigint, 0) THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'PH002';
END $$;
CREATE TRIGGER guard_audit BEFORE UPDATE OR DELETE ON posthorn.audit FOR EACH ROW
  EXECUTE FUNCTION posthorn.guard_audit();
CREATE TRIGGER guard_audit_truncate BEFORE TRUNCATE ON posthorn.audit FOR EACH STATEMENT
  EXECUTE FUNCTION posthorn.guard_audit();

-- Retention: at most p_limit lines of before p_before, which must be a day ago at least.
CREATE FUNCTION posthorn.purge_audit(p_before bigint, p_limit integer) RETURNS integer
  LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  v_deleted integer;
BEGIN
  PERFORM set_config('posthorn.audit_purge_before', least(p_before, posthorn.now_ms() - 86400000)::text, true);
  DELETE FROM posthorn.audit WHERE seq = ANY (ARRAY(
    SELECT seq FROM posthorn.audit WHERE at < least(p_before, posthorn.now_ms() - 86400000)
    ORDER BY at, seq LIMIT p_limit FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS v_deleted = ROW_COUNT;
  PERFORM set_config('posthorn.audit_purge_before', '', true);
  RETURN v_deleted;
END $$;

-- The keys that a sealed value may be sealed with (docs/decisions/0009-secrets-at-rest.md), by their ids: never the keys
-- themselves. New values are sealed with the one that meta names as encryption_key_id; the others are only opened, until
-- nothing needs them.
CREATE TABLE posthorn.encryption_key (
  key_id text COLLATE "C" PRIMARY KEY,
  since  bigint NOT NULL
);

INSERT INTO posthorn.encryption_key (key_id, since)
SELECT value, posthorn.now_ms() FROM posthorn.meta WHERE name = 'encryption_key_id';

-- What a node has told: the keys that it can open values with, and the one that it seals new ones with.
ALTER TABLE posthorn.node ADD COLUMN encryption_keys text[], ADD COLUMN sealing_key text;

-- A key is retired when nothing is sealed with it. From then on nothing may be: a node that stood still meanwhile would
-- else write what nobody can open. The lock makes the retirement wait for values that are being written.
CREATE FUNCTION posthorn.check_sealing() RETURNS trigger
  LANGUAGE plpgsql AS $$
DECLARE
  v_sealed text;
BEGIN
  FOREACH v_sealed IN ARRAY ARRAY[NEW.secret, NEW.headers] LOOP
    CONTINUE WHEN v_sealed IS NULL OR v_sealed NOT LIKE 'v1.%';
    PERFORM 1 FROM posthorn.encryption_key WHERE key_id = split_part(v_sealed, '.', 2) FOR KEY SHARE;
    IF NOT FOUND AND EXISTS (SELECT 1 FROM posthorn.encryption_key) THEN
      RAISE EXCEPTION 'a value was sealed with an encryption key that was retired' USING ERRCODE = 'PH001';
    END IF;
  END LOOP;
  RETURN NEW;
END $$;
CREATE TRIGGER check_sealing BEFORE INSERT OR UPDATE OF secret, headers ON posthorn.endpoint FOR EACH ROW
  EXECUTE FUNCTION posthorn.check_sealing();

-- A value that was only sealed anew is no change that nodes have to look at: it opens to the same.
DROP TRIGGER note_change ON posthorn.endpoint;
CREATE TRIGGER note_change AFTER UPDATE ON posthorn.endpoint FOR EACH ROW
  WHEN (OLD.* IS DISTINCT FROM NEW.* AND coalesce(current_setting('posthorn.resealing', true), '') <> 'on')
  EXECUTE FUNCTION posthorn.note_endpoint_change();

-- What nodes keep in memory and have to look at again when another node changes it: endpoints as leases carry them, and
-- the catalogue. They are told by NOTIFY at once; this is for what gets lost on the way. Every node reads it each second.

CREATE TABLE posthorn.change (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- Ids are given before the commit, so that a later one may be seen first. Which transactions had ended is known.
  xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
  endpoint_id text COLLATE "C", -- null: the catalogue
  at          bigint NOT NULL
);

-- Longer than any lease: a node that hasn't looked for so long has lost what it held.
CREATE FUNCTION posthorn.forget_changes() RETURNS void
  LANGUAGE sql VOLATILE AS $$
  DELETE FROM posthorn.change WHERE id IN (
    SELECT id FROM posthorn.change WHERE at < posthorn.now_ms() - 600000 ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED)
$$;

CREATE FUNCTION posthorn.note_endpoint_change() RETURNS trigger
  LANGUAGE plpgsql AS $$
BEGIN
  PERFORM posthorn.forget_changes();
  INSERT INTO posthorn.change (endpoint_id, at) VALUES (NEW.endpoint_id, posthorn.now_ms());
  RETURN NULL;
END $$;

CREATE FUNCTION posthorn.note_suspension() RETURNS trigger
  LANGUAGE plpgsql AS $$
BEGIN
  PERFORM posthorn.forget_changes();
  INSERT INTO posthorn.change (endpoint_id, at)
  SELECT endpoint_id, posthorn.now_ms() FROM posthorn.endpoint WHERE username = NEW.username AND status <> 'deleted';
  RETURN NULL;
END $$;

CREATE FUNCTION posthorn.note_catalogue_change() RETURNS trigger
  LANGUAGE plpgsql AS $$
BEGIN
  PERFORM posthorn.forget_changes();
  INSERT INTO posthorn.change (endpoint_id, at) VALUES (NULL, posthorn.now_ms());
  RETURN NULL;
END $$;

-- Triggers, so that no statement that changes an endpoint can forget it: a receiver's 410 disables one, too.
CREATE TRIGGER note_change AFTER UPDATE ON posthorn.endpoint FOR EACH ROW
  WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION posthorn.note_endpoint_change();
CREATE TRIGGER note_suspension AFTER UPDATE OF status ON posthorn.account FOR EACH ROW
  WHEN (NEW.status = 'suspended' AND OLD.status = 'active') EXECUTE FUNCTION posthorn.note_suspension();
CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON posthorn.event_type FOR EACH STATEMENT
  EXECUTE FUNCTION posthorn.note_catalogue_change();

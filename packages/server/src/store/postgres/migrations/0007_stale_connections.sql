-- An attempt that a dead idle connection cost is repeated at once: it is no failure of the schedule, and the next
-- attempt is as manual as it was (decision 0015). Two places of posthorn.settle change; its text stays where it is.
DO $$
DECLARE
  v_definition text := pg_get_functiondef('posthorn.settle'::regproc);
  v_changed text;
BEGIN
  v_changed := replace(v_definition, 'failures = q.failures + 1, manual = false,',
    'failures = q.failures + CASE WHEN i.outcome = ''stale_connection'' THEN 0 ELSE 1 END,
        manual = q.manual AND i.outcome = ''stale_connection'',');
  ASSERT v_changed <> v_definition, 'posthorn.settle does not count failures where it did';
  v_definition := v_changed;
  v_changed := replace(v_definition, 'q.username, q.endpoint_id, q.event, q.pinned
      FROM',
    'q.username, q.endpoint_id, q.event,
             q.pinned OR (q.manual AND p_outcomes[i.ord::integer] = ''stale_connection'') AS pinned
      FROM');
  ASSERT v_changed <> v_definition, 'posthorn.settle does not read what it judges where it did';
  EXECUTE v_changed;
END $$;

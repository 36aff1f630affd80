-- State and endpoint stand in the index of what failed, too: a list of a state in which few are, and the count of what a
-- replay of an endpoint takes, look at the index alone, not at every delivery that failed.
DROP INDEX posthorn.delivery_failed;
CREATE INDEX delivery_failed ON posthorn.delivery (username, delivery_id, status, endpoint_id) WHERE status <> 'delivered';

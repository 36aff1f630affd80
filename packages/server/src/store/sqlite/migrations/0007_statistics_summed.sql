-- Statistics of whole hours that are old, added up over an account's endpoints and types, and over all accounts (with an empty
-- username): what a plot over weeks reads. The janitor writes them, never a settlement. Hours before
-- meta's statistics_summed_until are all here; what isn't is read from stat.
CREATE TABLE stat_sum (
  username TEXT NOT NULL,
  at       INTEGER NOT NULL,
  outcome  TEXT NOT NULL,
  latency  INTEGER NOT NULL,
  count    INTEGER NOT NULL,
  PRIMARY KEY (username, at, outcome, latency)
) WITHOUT ROWID;
CREATE INDEX stat_sum_at ON stat_sum (at);

-- With what these lists are narrowed by: a state or type that is rare among what failed is found without visiting every row.
DROP INDEX delivery_failed;
CREATE INDEX delivery_failed ON delivery (username, status, delivery_id, event) WHERE status <> 'delivered';

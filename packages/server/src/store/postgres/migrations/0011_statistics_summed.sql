-- Statistics of whole hours that are old, added up over an account's endpoints and types, and over all accounts (with an empty
-- username): what a plot over weeks reads. The janitor writes them, never a settlement. Hours before
-- meta's statistics_summed_until are all here; what isn't is read from stat.
CREATE TABLE posthorn.stat_sum (
  username text COLLATE "C" NOT NULL,
  at       bigint NOT NULL,
  outcome  text COLLATE "C" NOT NULL,
  latency  integer NOT NULL,
  count    bigint NOT NULL,
  PRIMARY KEY (username, at, outcome, latency)
);
CREATE INDEX stat_sum_at ON posthorn.stat_sum (at);

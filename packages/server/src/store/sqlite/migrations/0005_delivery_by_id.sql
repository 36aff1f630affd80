-- A delivery's id is its own in all accounts and begins with its time: what finishes together lies together here, where an index
-- that led with the account wrote to another page for each account of a commit. An account's list is merged from
-- those of its endpoints (docs/decisions/0013-sqlite-hot-path.md).
CREATE UNIQUE INDEX delivery_by_id ON delivery (delivery_id);
DROP INDEX delivery_account;

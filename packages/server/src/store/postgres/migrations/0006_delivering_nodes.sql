-- Which nodes lease deliveries. A node that does so alone may hold some in reserve (docs/decisions/0014-delivery-path.md); nodes
-- of the version before don't say, and count as delivering.
ALTER TABLE posthorn.node ADD COLUMN delivers boolean NOT NULL DEFAULT true;

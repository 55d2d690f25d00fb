-- Long-term memory: documents under namespaces. A track of its own: a store needs no threads,
-- and savers need no items.
--
-- `key` is 128 bits of blake2b over (namespace, name). A namespace is the UTF-8 of its
-- elements with NUL in between, so that its order is that of the elements, and all that lies
-- below it is one range; what `text` cannot hold (NUL, lone surrogates) is kept in bytes.
-- `body` is JSON. tagged: it holds tags, and says only to Stepwell's codec what it means;
-- plain: it holds none, nor what jsonb cannot hold, so that a search may look into it.
-- `vectors` are little-endian floats of 4 bytes, `dims` of them each, scaled to length 1.

CREATE TABLE {schema}.stepwell_store_item (
  key uuid PRIMARY KEY,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  expires_at timestamptz,
  ttl_s float8,
  dims int4,
  tagged bool NOT NULL,
  plain bool NOT NULL,
  namespace bytea NOT NULL,
  name bytea NOT NULL,
  body bytea NOT NULL,
  vectors bytea
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

ALTER TABLE {schema}.stepwell_store_item ALTER vectors SET STORAGE EXTERNAL;

CREATE INDEX stepwell_store_item_place ON {schema}.stepwell_store_item (namespace, updated_at);
CREATE INDEX stepwell_store_item_end ON {schema}.stepwell_store_item (expires_at)
  WHERE expires_at IS NOT NULL;

-- Long-term memory: documents under namespaces. A track of its own: a store needs no threads,
-- and savers need no items.
--
-- `key` is 128 bits of blake2b over (namespace, name). A namespace is the UTF-8 of its
-- elements with NUL in between, so that its order is that of the elements, and all that lies
-- below it is one range. Texts may hold lone surrogates, in the form that UTF-8 forbids: blobs.
-- Times are unix microseconds. `body` is JSON; tagged: it holds tags, and says only to
-- Stepwell's codec what it means. `vectors` are little-endian floats of 4 bytes, `dims` of
-- them each, scaled to length 1. What is large stands last.

CREATE TABLE stepwell_store_meta (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE stepwell_store_item (
  key BLOB NOT NULL UNIQUE,
  namespace BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  expires_at INTEGER,
  ttl_s REAL,
  tagged INTEGER NOT NULL,
  dims INTEGER,
  name BLOB NOT NULL,
  body BLOB NOT NULL,
  vectors BLOB
) STRICT;

CREATE INDEX stepwell_store_item_place ON stepwell_store_item (namespace, updated_at);
CREATE INDEX stepwell_store_item_end ON stepwell_store_item (expires_at) WHERE expires_at IS NOT NULL;

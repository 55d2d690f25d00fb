-- The statements of the cache in an SQLite file, by name. It holds nothing that could not be
-- computed again, so it has one version of its table and no migrations.

-- name: create
CREATE TABLE IF NOT EXISTS stepwell_cache (
  ns TEXT NOT NULL,
  key TEXT NOT NULL,
  expiry REAL,
  encoding TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (ns, key)
) STRICT, WITHOUT ROWID;

-- name: delete_expired
DELETE FROM stepwell_cache WHERE expiry <= ?;

-- name: get
SELECT expiry, encoding, value FROM stepwell_cache WHERE ns = ? AND key = ?;

-- name: set
INSERT INTO stepwell_cache (ns, key, expiry, encoding, value) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (ns, key) DO UPDATE SET
  expiry = excluded.expiry, encoding = excluded.encoding, value = excluded.value;

-- name: delete
DELETE FROM stepwell_cache WHERE ns = ? AND key = ? AND expiry <= ?;

-- name: clear
DELETE FROM stepwell_cache WHERE ns = ?;

-- name: clear_all
DELETE FROM stepwell_cache;

-- name: journal_mode_wal
PRAGMA journal_mode = WAL;

-- name: synchronous_normal
PRAGMA synchronous = NORMAL;

-- name: begin_write
BEGIN IMMEDIATE;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;

-- Every statement of the store on SQLite, by name. `?` are bound in order.
--
-- The fragments store_where_* are conditions that a search adds. They let pass whatever they
-- cannot judge: what comes back is looked at once more.

-- name: store_has_schema
SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'stepwell_store_meta';

-- name: store_schema_version
SELECT CAST(value AS INTEGER) FROM stepwell_store_meta WHERE name = 'schema_version';

-- name: store_set_schema_version
INSERT INTO stepwell_store_meta (name, value) VALUES ('schema_version', CAST(? AS TEXT))
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: store_put
-- key, namespace, created_at, updated_at, expires_at, ttl_s, tagged, dims, name, body, vectors
INSERT INTO stepwell_store_item
  (key, namespace, created_at, updated_at, expires_at, ttl_s, tagged, dims, name, body, vectors)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
  updated_at = max(excluded.updated_at, updated_at), expires_at = excluded.expires_at,
  ttl_s = excluded.ttl_s, tagged = excluded.tagged, dims = excluded.dims, body = excluded.body,
  vectors = excluded.vectors;

-- name: store_delete
DELETE FROM stepwell_store_item WHERE key = ?;

-- name: store_get
-- key, the moment after which an item must expire to be seen
SELECT key, namespace, name, created_at, updated_at, ttl_s IS NOT NULL, tagged, body
FROM stepwell_store_item WHERE key = ? AND (expires_at IS NULL OR expires_at > ?);

-- name: store_touch
-- now, key
UPDATE stepwell_store_item SET expires_at = ? + CAST(ttl_s * 1000000 AS INTEGER)
WHERE key = ? AND ttl_s IS NOT NULL;

-- name: store_search
-- first namespace, namespace behind the last, the moment as in store_get
SELECT key FROM stepwell_store_item
WHERE namespace >= ? AND namespace < ? AND (expires_at IS NULL OR expires_at > ?)

-- name: store_search_order
ORDER BY updated_at DESC, key DESC LIMIT ? OFFSET ?;

-- name: store_vectors
-- As store_search.
SELECT key, dims, vectors FROM stepwell_store_item
WHERE namespace >= ? AND namespace < ? AND (expires_at IS NULL OR expires_at > ?)

-- name: store_where_text
-- path, text
AND (tagged OR json_extract(CAST(body AS TEXT), ?) = ?)

-- name: store_where_number
-- path, least, most
AND (tagged OR json_extract(CAST(body AS TEXT), ?) BETWEEN ? AND ?)

-- name: store_where_none
-- path
AND (tagged OR coalesce(json_type(CAST(body AS TEXT), ?), 'null') = 'null')

-- name: store_where_above
-- path, path, number
AND (tagged OR json_type(CAST(body AS TEXT), ?) NOT IN ('integer', 'real')
  OR json_extract(CAST(body AS TEXT), ?) >= ?)

-- name: store_where_below
-- path, path, number
AND (tagged OR json_type(CAST(body AS TEXT), ?) NOT IN ('integer', 'real')
  OR json_extract(CAST(body AS TEXT), ?) <= ?)

-- name: store_namespaces
-- last namespace seen, namespace behind the last, the moment as in store_get
SELECT DISTINCT namespace FROM stepwell_store_item
WHERE namespace >= ? AND namespace < ? AND (expires_at IS NULL OR expires_at > ?)
ORDER BY namespace;

-- name: store_sweep
-- now, how many
DELETE FROM stepwell_store_item WHERE key IN
  (SELECT key FROM stepwell_store_item WHERE expires_at < ? LIMIT ?);

-- Every statement of the store on PostgreSQL, by name; as in postgres.sql. $1... of the
-- fragments store_where_* are shifted when they are joined to a search; they let pass whatever
-- they cannot judge: what comes back is looked at once more.
--
-- A time that is null means the server's clock.

-- name: store_write
-- $1 now or null; $2 keys to delete; then one array per column of what is put. Items of one
-- batch are a microsecond apart, so that they have an order.
WITH t AS (SELECT coalesce($1::timestamptz, clock_timestamp()) AS now),
gone AS (DELETE FROM {schema}.stepwell_store_item WHERE key = ANY($2::uuid[]))
INSERT INTO {schema}.stepwell_store_item AS i
  (key, namespace, name, created_at, updated_at, expires_at, ttl_s, tagged, plain, dims, body, vectors)
SELECT p.key, p.namespace, p.name, t.now + p.place * interval '1 microsecond',
  t.now + p.place * interval '1 microsecond', t.now + p.ttl_s * interval '1 second', p.ttl_s,
  p.tagged, p.plain, p.dims, p.body, p.vectors
FROM t, unnest($3::uuid[], $4::bytea[], $5::bytea[], $6::int4[], $7::float8[], $8::bool[],
    $9::bool[], $10::int4[], $11::bytea[], $12::bytea[])
  AS p(key, namespace, name, place, ttl_s, tagged, plain, dims, body, vectors)
ON CONFLICT (key) DO UPDATE SET
  updated_at = greatest(excluded.updated_at, i.updated_at), expires_at = excluded.expires_at,
  ttl_s = excluded.ttl_s, tagged = excluded.tagged, plain = excluded.plain, dims = excluded.dims,
  body = excluded.body, vectors = excluded.vectors;

-- name: store_columns
i.key, i.namespace, i.name, i.created_at, i.updated_at, i.ttl_s IS NOT NULL, i.tagged, i.body

-- name: store_get
-- $1 keys, $2 leave out what has expired, $3 now or null
SELECT {store_item} FROM unnest($1::uuid[]) AS k(key)
JOIN {schema}.stepwell_store_item i ON i.key = k.key
WHERE NOT $2::bool OR i.expires_at IS NULL
  OR i.expires_at > coalesce($3::timestamptz, clock_timestamp());

-- name: store_touch
-- $1 keys, $2 now or null
UPDATE {schema}.stepwell_store_item
SET expires_at = coalesce($2::timestamptz, clock_timestamp()) + ttl_s * interval '1 second'
WHERE key = ANY($1::uuid[]) AND ttl_s IS NOT NULL;

-- name: store_search
SELECT {store_item}

-- name: store_search_keys
SELECT i.key

-- name: store_search_vectors
SELECT i.key, i.dims, i.vectors

-- name: store_within
-- $1 first namespace, $2 namespace behind the last, $3 and $4 as $2 and $3 of store_get
FROM {schema}.stepwell_store_item i
WHERE i.namespace >= $1::bytea AND i.namespace < $2::bytea
AND (NOT $3::bool OR i.expires_at IS NULL
  OR i.expires_at > coalesce($4::timestamptz, clock_timestamp()))

-- name: store_search_order
ORDER BY i.updated_at DESC, i.key DESC

-- name: store_search_page
-- $1 limit, $2 offset
LIMIT $1::int8 OFFSET $2::int8

-- name: store_where_equal
-- $1 key of the document, $2 JSON
AND CASE WHEN i.plain AND getdatabaseencoding() = 'UTF8' THEN convert_from(i.body, 'UTF8')::jsonb -> $1::text = $2::text::jsonb
  ELSE true END

-- name: store_where_number
-- $1 key of the document, $2 JSON. Python counts true as 1.
AND CASE WHEN i.plain AND getdatabaseencoding() = 'UTF8' THEN convert_from(i.body, 'UTF8')::jsonb -> $1::text = $2::text::jsonb
  OR jsonb_typeof(convert_from(i.body, 'UTF8')::jsonb -> $1::text) = 'boolean' ELSE true END

-- name: store_where_none
-- $1 key of the document, $2 not used
AND CASE WHEN i.plain AND getdatabaseencoding() = 'UTF8' THEN
    coalesce(convert_from(i.body, 'UTF8')::jsonb -> $1::text, $2::text::jsonb) = 'null'::jsonb
  ELSE true END

-- name: store_where_above
-- $1 key of the document, $2 JSON
AND CASE WHEN i.plain AND getdatabaseencoding() = 'UTF8' THEN convert_from(i.body, 'UTF8')::jsonb -> $1::text >= $2::text::jsonb
  OR jsonb_typeof(convert_from(i.body, 'UTF8')::jsonb -> $1::text) <> 'number' ELSE true END

-- name: store_where_below
-- $1 key of the document, $2 JSON
AND CASE WHEN i.plain AND getdatabaseencoding() = 'UTF8' THEN convert_from(i.body, 'UTF8')::jsonb -> $1::text <= $2::text::jsonb
  OR jsonb_typeof(convert_from(i.body, 'UTF8')::jsonb -> $1::text) <> 'number' ELSE true END

-- name: store_namespaces
-- $1 namespace from where on, $2 namespace behind the last, $3 and $4 as in store_get, $5 limit.
SELECT DISTINCT i.namespace FROM {schema}.stepwell_store_item i
WHERE i.namespace >= $1::bytea AND i.namespace < $2::bytea
AND (NOT $3::bool OR i.expires_at IS NULL
  OR i.expires_at > coalesce($4::timestamptz, clock_timestamp()))
ORDER BY i.namespace LIMIT $5::int8;

-- name: store_sweep
-- $1 now or null, $2 how many. Rows that somebody writes just now are left for later.
WITH over AS (
  SELECT key FROM {schema}.stepwell_store_item
  WHERE expires_at < coalesce($1::timestamptz, clock_timestamp())
  LIMIT $2::int8 FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM {schema}.stepwell_store_item i USING over WHERE i.key = over.key RETURNING 1
)
SELECT count(*) FROM gone;

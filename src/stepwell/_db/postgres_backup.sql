-- What backups read and write. Rows come behind the key of their thread, in the order of their
-- types; `..._of` reads all rows of many threads, `..._page` those of one behind a place.

-- name: backup_patience
-- Whoever reads the snapshot may be slow: it writes to another disk meanwhile, or folds a long thread.
SET LOCAL idle_in_transaction_session_timeout = '1h';

-- name: backup_count
-- $1 scope or null
SELECT count(*) FROM {schema}.stepwell_thread t WHERE $1::bytea IS NULL OR t.scope = $1;

-- name: backup_threads
-- $1 scope, $2 thread id, $3 at most so many
SELECT {thread} FROM {schema}.stepwell_thread t
WHERE (t.scope, t.thread_id) > ($1::bytea, $2::text) ORDER BY t.scope, t.thread_id LIMIT $3;

-- name: backup_threads_of_scope
SELECT {thread} FROM {schema}.stepwell_thread t
WHERE t.scope = $1::bytea AND t.thread_id > $2::text ORDER BY t.thread_id LIMIT $3;

-- name: backup_named
-- $1 thread keys
SELECT t.key, {thread} FROM {schema}.stepwell_thread t WHERE t.key = ANY($1::uuid[]);

-- name: backup_namespaces_of
SELECT n.key, n.ns, n.name, n.head FROM {schema}.stepwell_ns n
WHERE n.key = ANY($1::uuid[]) ORDER BY n.key, n.ns;

-- name: backup_namespaces_page
SELECT n.key, n.ns, n.name, n.head FROM {schema}.stepwell_ns n
WHERE n.key = $1::uuid AND n.ns > $2::int4 ORDER BY n.ns LIMIT $3;

-- name: backup_runs_of
SELECT r.key, {run} FROM {schema}.stepwell_run r
WHERE r.key = ANY($1::uuid[]) ORDER BY r.key, r.run;

-- name: backup_runs_page
SELECT r.key, {run} FROM {schema}.stepwell_run r
WHERE r.key = $1::uuid AND r.run > $2::int4 ORDER BY r.run LIMIT $3;

-- name: backup_checkpoints_of
SELECT c.key, c.ns, c.seq, c.parent, c.step, c.source, c.run, c.epoch, c.record_no, c.format, c.crc,
  c.body, c.metadata, c.meta_index::text, c.id, c.key_id, extract(epoch FROM c.created_at)::float8
FROM {schema}.stepwell_tail c WHERE c.key = ANY($1::uuid[]) ORDER BY c.key, c.ns, c.seq;

-- name: backup_checkpoints_page
SELECT c.key, c.ns, c.seq, c.parent, c.step, c.source, c.run, c.epoch, c.record_no, c.format, c.crc,
  c.body, c.metadata, c.meta_index::text, c.id, c.key_id, extract(epoch FROM c.created_at)::float8
FROM {schema}.stepwell_tail c
WHERE c.key = $1::uuid AND (c.ns, c.seq) > ($2::int4, $3::int8) ORDER BY c.ns, c.seq LIMIT $4;

-- name: backup_writes_of
SELECT p.key, p.ns, p.seq, p.task_id, p.idx, p.task_path, p.channel, p.epoch, p.record_no,
  p.format, p.crc, p.body, p.key_id
FROM {schema}.stepwell_pending p WHERE p.key = ANY($1::uuid[])
ORDER BY p.key, p.ns, p.seq, p.task_id, p.idx;

-- name: backup_writes_page
SELECT p.key, p.ns, p.seq, p.task_id, p.idx, p.task_path, p.channel, p.epoch, p.record_no,
  p.format, p.crc, p.body, p.key_id
FROM {schema}.stepwell_pending p
WHERE p.key = $1::uuid
  AND (p.ns, p.seq, p.task_id, p.idx) > ($2::int4, $3::int8, $4::bytea, $5::int4)
ORDER BY p.ns, p.seq, p.task_id, p.idx LIMIT $6;

-- name: backup_segments_of
SELECT g.key, g.ns, g.seq_from, g.seq_to, g.parent, g.format, g.crc, g.body, g.detail, g.key_id,
  g.run_from, g.run_to
FROM {schema}.stepwell_segment g WHERE g.key = ANY($1::uuid[]) ORDER BY g.key, g.ns, g.seq_from;

-- name: backup_segments_page
SELECT g.key, g.ns, g.seq_from, g.seq_to, g.parent, g.format, g.crc, g.body, g.detail, g.key_id,
  g.run_from, g.run_to
FROM {schema}.stepwell_segment g
WHERE g.key = $1::uuid AND (g.ns, g.seq_from) > ($2::int4, $3::int8)
ORDER BY g.ns, g.seq_from LIMIT $4;

-- name: backup_delete_thread
-- $1 thread keys; so are those of the other five
DELETE FROM {schema}.stepwell_thread t WHERE t.key = ANY($1::uuid[]);

-- name: backup_delete_namespaces
DELETE FROM {schema}.stepwell_ns x WHERE x.key = ANY($1::uuid[]);

-- name: backup_delete_runs
DELETE FROM {schema}.stepwell_run x WHERE x.key = ANY($1::uuid[]);

-- name: backup_delete_checkpoints
DELETE FROM {schema}.stepwell_tail x WHERE x.key = ANY($1::uuid[]);

-- name: backup_delete_writes
DELETE FROM {schema}.stepwell_pending x WHERE x.key = ANY($1::uuid[]);

-- name: backup_delete_segments
DELETE FROM {schema}.stepwell_segment x WHERE x.key = ANY($1::uuid[]);

-- name: backup_put_thread
-- Nobody owns them: owner, lock and lease stay where they were.
INSERT INTO {schema}.stepwell_thread (key, scope, thread_id, uid, epoch, record_no, claim_no,
  layout_no, status, run, runs, head, checkpoints, bytes, interrupts, state_version, ttl_s,
  created_at, updated_at, graph, fingerprint, next_nodes, error)
SELECT r.key, r.scope, r.thread_id, r.uid, r.epoch, r.record_no, r.record_no, r.layout_no,
  r.status, r.run, r.runs, r.head, r.checkpoints, r.bytes, r.interrupts, r.state_version, r.ttl_s,
  to_timestamp(r.created), to_timestamp(r.updated), r.graph, r.fingerprint, r.next_nodes, r.error
FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::uuid[], $5::int8[], $6::int8[], $7::int8[],
  $8::int2[], $9::int4[], $10::int4[], $11::int8[], $12::int8[], $13::int8[], $14::int4[],
  $15::int8[], $16::float8[], $17::float8[], $18::float8[], $19::bytea[], $20::bytea[],
  $21::bytea[], $22::bytea[])
AS r(key, scope, thread_id, uid, epoch, record_no, layout_no, status, run, runs, head, checkpoints,
  bytes, interrupts, state_version, ttl_s, created, updated, graph, fingerprint, next_nodes, error);

-- name: backup_end_thread
-- $1 thread keys, $2 layout numbers
UPDATE {schema}.stepwell_thread t SET layout_no = r.layout_no
FROM unnest($1::uuid[], $2::int8[]) AS r(key, layout_no) WHERE t.key = r.key;

-- name: backup_put_namespaces
INSERT INTO {schema}.stepwell_ns (key, ns, name, head)
SELECT r.key, r.ns, r.name, r.head
FROM unnest($1::uuid[], $2::int4[], $3::bytea[], $4::int8[]) AS r(key, ns, name, head);

-- name: backup_put_runs
INSERT INTO {schema}.stepwell_run (key, run, run_id, status, attempts, supersteps, idempotency_key,
  graph, metadata, meta_index, input, outcome, error, first_parent, started_at, finished_at)
SELECT r.key, r.run, r.run_id, r.status, r.attempts, r.supersteps, r.idempotency_key, r.graph,
  r.metadata, r.meta_index::jsonb, r.input, r.outcome, r.error, r.first_parent,
  to_timestamp(r.started), to_timestamp(r.finished)
FROM unnest($1::uuid[], $2::int4[], $3::bytea[], $4::int2[], $5::int4[], $6::int4[], $7::bytea[],
  $8::bytea[], $9::bytea[], $10::text[], $11::bytea[], $12::bytea[], $13::bytea[], $14::int8[],
  $15::float8[], $16::float8[])
AS r(key, run, run_id, status, attempts, supersteps, idempotency_key, graph, metadata, meta_index,
  input, outcome, error, first_parent, started, finished);

-- name: backup_put_checkpoints
INSERT INTO {schema}.stepwell_tail (key, ns, seq, parent, step, source, run, epoch, record_no,
  format, crc, body, metadata, meta_index, id, key_id, created_at)
SELECT r.key, r.ns, r.seq, r.parent, r.step, r.source, r.run, r.epoch, r.record_no, r.format, r.crc,
  r.body, r.metadata, r.meta_index::jsonb, r.id, r.key_id, to_timestamp(r.created)
FROM unnest($1::uuid[], $2::int4[], $3::int8[], $4::int8[], $5::int4[], $6::int2[], $7::int4[],
  $8::int8[], $9::int8[], $10::int2[], $11::int8[], $12::bytea[], $13::bytea[], $14::text[],
  $15::bytea[], $16::bytea[], $17::float8[])
AS r(key, ns, seq, parent, step, source, run, epoch, record_no, format, crc, body, metadata,
  meta_index, id, key_id, created);

-- name: backup_put_writes
INSERT INTO {schema}.stepwell_pending (key, ns, seq, task_id, idx, task_path, channel, epoch,
  record_no, format, crc, body, key_id)
SELECT r.*
FROM unnest($1::uuid[], $2::int4[], $3::int8[], $4::bytea[], $5::int4[], $6::bytea[], $7::bytea[],
  $8::int8[], $9::int8[], $10::int2[], $11::int8[], $12::bytea[], $13::bytea[])
AS r(key, ns, seq, task_id, idx, task_path, channel, epoch, record_no, format, crc, body, key_id);

-- name: backup_put_segments
INSERT INTO {schema}.stepwell_segment (key, ns, seq_from, seq_to, parent, format, crc, body, detail,
  key_id, run_from, run_to)
SELECT r.*
FROM unnest($1::uuid[], $2::int4[], $3::int8[], $4::int8[], $5::int8[], $6::int2[], $7::int8[],
  $8::bytea[], $9::bytea[], $10::bytea[], $11::int4[], $12::int4[])
AS r(key, ns, seq_from, seq_to, parent, format, crc, body, detail, key_id, run_from, run_to);

-- name: reseal_threads
-- $1 thread keys, $2 epochs, $3 layout numbers, $4 bytes, $5 errors, $6 owner
WITH fit AS (
  SELECT t.key, r.bytes, r.error FROM {schema}.stepwell_thread t
  JOIN unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[], $5::bytea[])
    AS r(key, epoch, layout_no, bytes, error)
    ON t.key = r.key AND t.epoch = r.epoch AND t.layout_no = r.layout_no
  WHERE t.owner = $6::uuid
  ORDER BY t.key FOR UPDATE OF t
)
UPDATE {schema}.stepwell_thread t
SET layout_no = t.layout_no + 1, bytes = f.bytes, error = f.error
FROM fit f WHERE t.key = f.key RETURNING t.key;

-- name: reseal_runs
UPDATE {schema}.stepwell_run x SET idempotency_key = r.idempotency_key, metadata = r.metadata,
  meta_index = r.meta_index::jsonb, input = r.input, outcome = r.outcome, error = r.error
FROM unnest($1::uuid[], $2::int4[], $3::bytea[], $4::bytea[], $5::text[], $6::bytea[],
  $7::bytea[], $8::bytea[])
AS r(key, run, idempotency_key, metadata, meta_index, input, outcome, error)
WHERE x.key = r.key AND x.run = r.run RETURNING x.key;

-- name: reseal_checkpoints
UPDATE {schema}.stepwell_tail x SET format = r.format, crc = r.crc, body = r.body,
  metadata = r.metadata, meta_index = r.meta_index::jsonb, key_id = r.key_id
FROM unnest($1::uuid[], $2::int4[], $3::int8[], $4::int2[], $5::int8[], $6::bytea[], $7::bytea[],
  $8::text[], $9::bytea[])
AS r(key, ns, seq, format, crc, body, metadata, meta_index, key_id)
WHERE x.key = r.key AND x.ns = r.ns AND x.seq = r.seq RETURNING x.key;

-- name: reseal_writes
UPDATE {schema}.stepwell_pending x SET format = r.format, crc = r.crc, body = r.body,
  key_id = r.key_id
FROM unnest($1::uuid[], $2::int4[], $3::int8[], $4::bytea[], $5::int4[], $6::int2[], $7::int8[],
  $8::bytea[], $9::bytea[])
AS r(key, ns, seq, task_id, idx, format, crc, body, key_id)
WHERE x.key = r.key AND x.ns = r.ns AND x.seq = r.seq AND x.task_id = r.task_id AND x.idx = r.idx
RETURNING x.key;

-- name: reseal_segments
UPDATE {schema}.stepwell_segment x SET format = r.format, crc = r.crc, body = r.body,
  detail = r.detail, key_id = r.key_id
FROM unnest($1::uuid[], $2::int4[], $3::int8[], $4::int2[], $5::int8[], $6::bytea[], $7::bytea[],
  $8::bytea[])
AS r(key, ns, seq_from, format, crc, body, detail, key_id)
WHERE x.key = r.key AND x.ns = r.ns AND x.seq_from = r.seq_from RETURNING x.key;

-- name: backup_note
-- The mark is a line in the ledger of migrations, of a version that none has.
SELECT m.name FROM {schema}.stepwell_migration m WHERE m.version = -1;

-- name: backup_mark
INSERT INTO {schema}.stepwell_migration AS m (version, name) VALUES (-1, $1::text)
ON CONFLICT (version) DO UPDATE SET name = excluded.name;

-- name: backup_unmark
DELETE FROM {schema}.stepwell_migration m WHERE m.version = -1;

-- name: strays
-- Rows of no thread, by kind.
SELECT 'namespaces', count(*) FROM {schema}.stepwell_ns x
WHERE NOT EXISTS (SELECT FROM {schema}.stepwell_thread t WHERE t.key = x.key)
UNION ALL
SELECT 'runs', count(*) FROM {schema}.stepwell_run x
WHERE NOT EXISTS (SELECT FROM {schema}.stepwell_thread t WHERE t.key = x.key)
UNION ALL
SELECT 'checkpoints', count(*) FROM {schema}.stepwell_tail x
WHERE NOT EXISTS (SELECT FROM {schema}.stepwell_thread t WHERE t.key = x.key)
UNION ALL
SELECT 'writes', count(*) FROM {schema}.stepwell_pending x
WHERE NOT EXISTS (SELECT FROM {schema}.stepwell_thread t WHERE t.key = x.key)
UNION ALL
SELECT 'segments', count(*) FROM {schema}.stepwell_segment x
WHERE NOT EXISTS (SELECT FROM {schema}.stepwell_thread t WHERE t.key = x.key);

-- name: stray_namespaces_delete
DELETE FROM {schema}.stepwell_ns x
WHERE NOT EXISTS (SELECT FROM {schema}.stepwell_thread t WHERE t.key = x.key);

-- name: stray_runs_delete
DELETE FROM {schema}.stepwell_run x
WHERE NOT EXISTS (SELECT FROM {schema}.stepwell_thread t WHERE t.key = x.key);

-- name: stray_checkpoints_delete
DELETE FROM {schema}.stepwell_tail x
WHERE NOT EXISTS (SELECT FROM {schema}.stepwell_thread t WHERE t.key = x.key);

-- name: stray_writes_delete
DELETE FROM {schema}.stepwell_pending x
WHERE NOT EXISTS (SELECT FROM {schema}.stepwell_thread t WHERE t.key = x.key);

-- name: stray_segments_delete
DELETE FROM {schema}.stepwell_segment x
WHERE NOT EXISTS (SELECT FROM {schema}.stepwell_thread t WHERE t.key = x.key);

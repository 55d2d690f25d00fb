-- Every statement Stepwell sends to SQLite, by name. `?` are bound in order; the code that
-- binds them stands next to its name in src/stepwell. CAST(? AS TEXT) lets a text that is no
-- valid UTF-8 come in as bytes.

-- name: begin_write
BEGIN IMMEDIATE;

-- name: begin_read
BEGIN;

-- name: commit
COMMIT;

-- name: rollback
ROLLBACK;

-- name: savepoint
SAVEPOINT slice;

-- name: release_savepoint
RELEASE slice;

-- name: rollback_to_savepoint
ROLLBACK TO slice;

-- name: database_files
PRAGMA database_list;

-- name: journal_mode
PRAGMA journal_mode;

-- name: journal_mode_wal
PRAGMA journal_mode = WAL;

-- name: synchronous_full
PRAGMA synchronous = FULL;

-- name: synchronous_normal
PRAGMA synchronous = NORMAL;

-- name: autocheckpoint
-- A larger interval only made the pauses longer; a passive one elsewhere never caught up.
PRAGMA wal_autocheckpoint = 1000;

-- name: journal_size_limit
PRAGMA journal_size_limit = 67108864;

-- name: read_only
PRAGMA query_only = ON;

-- name: has_schema
SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'stepwell_meta';

-- name: schema_version
SELECT CAST(value AS INTEGER) FROM stepwell_meta WHERE name = 'schema_version';

-- name: set_schema_version
INSERT INTO stepwell_meta (name, value) VALUES ('schema_version', CAST(? AS TEXT))
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: thread_columns
-- The beginning of every query for thread rows; Python reads the columns by position.
SELECT
  a.t, a.scope, a.thread_id, a.uid, a.epoch, a.owner, a.lock_key, a.lease_until, a.boot_id,
  a.beat, a.record_no, a.layout_no, a.request, a.wanted_at IS NOT NULL,
  a.status, a.run, a.graph, a.fingerprint, a.state_version, a.next_nodes, a.interrupts, a.error,
  a.checkpoints, a.bytes, a.ttl_s, a.created_at, a.updated_at, a.head, a.runs
FROM stepwell_thread AS a

-- name: thread_by_id
WHERE a.scope = ? AND a.thread_id = ?;

-- name: thread_by_key
WHERE a.t = ?;

-- name: thread_state
SELECT t, epoch, owner, record_no, claim_no, request, wanted_at IS NOT NULL
FROM stepwell_thread WHERE scope = ? AND thread_id = ?;

-- name: thread_insert
INSERT INTO stepwell_thread
  (scope, thread_id, uid, epoch, owner, lock_key, lease_until, boot_id, layout_no,
   created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: thread_claim
-- The caller has read the row in this transaction and decided; the epoch is compared again.
UPDATE stepwell_thread
SET epoch = epoch + 1, owner = ?, lock_key = ?, lease_until = ?, boot_id = ?,
  beat = beat + 1, claim_no = record_no, request = NULL, wanted_at = NULL
WHERE t = ? AND epoch = ?;

-- name: fence
-- Who writes a thread, and what it extends, in one comparison. owner, lock_key and
-- lease_until stay, or go with a slice that lets go.
UPDATE stepwell_thread
SET record_no = ?, owner = ?, lock_key = CASE WHEN ? THEN lock_key END, lease_until = ?,
  beat = beat + 1, updated_at = ?, head = coalesce(?, head), checkpoints = checkpoints + ?,
  bytes = bytes + ?, runs = max(runs, ?)
WHERE t = ? AND epoch = ? AND owner = ? AND record_no = ?;

-- name: fence_on
-- The same, of a slice that moves the head and keeps the claim, with nothing but that: what most
-- slices are. It binds no NULL.
UPDATE stepwell_thread
SET record_no = ?, lease_until = ?, beat = beat + 1, updated_at = ?, head = ?,
  checkpoints = checkpoints + ?, bytes = bytes + ?
WHERE t = ? AND epoch = ? AND owner = ? AND record_no = ?;

-- name: fence_describe
-- The same, with new values of the descriptive columns. The status is written apart
-- (status_change), because it stands in an index.
UPDATE stepwell_thread
SET record_no = ?, owner = ?, lock_key = CASE WHEN ? THEN lock_key END, lease_until = ?,
  beat = beat + 1, updated_at = ?, head = coalesce(?, head), checkpoints = checkpoints + ?,
  bytes = bytes + ?, runs = max(runs, ?),
  run = ?, graph = CAST(? AS TEXT), fingerprint = CAST(? AS TEXT), state_version = ?,
  next_nodes = CAST(? AS TEXT), interrupts = ?, error = CAST(? AS TEXT)
WHERE t = ? AND epoch = ? AND owner = ? AND record_no = ?;

-- name: status_change
UPDATE stepwell_thread SET status = ? WHERE t = ?;

-- name: fences
-- What the slices of a batch are compared with; nobody else writes before our COMMIT.
SELECT t, epoch, owner, record_no, request, wanted_at IS NOT NULL, status
FROM stepwell_thread WHERE t IN (SELECT value FROM json_each(?));

-- name: fences_one
-- The same of a single slice: `json_each` costs more than the look.
SELECT t, epoch, owner, record_no, request, wanted_at IS NOT NULL, status
FROM stepwell_thread WHERE t = ?;

-- name: namespace_insert
INSERT INTO stepwell_ns (t, ns, name) VALUES (?, ?, CAST(? AS TEXT));

-- name: namespace_head
UPDATE stepwell_ns SET head = ? WHERE t = ? AND ns = ?;

-- name: run_upsert
INSERT INTO stepwell_run
  (t, run, run_id, status, attempts, supersteps, idempotency_key, graph, metadata, meta_index,
   input, outcome, error, first_parent, started_at, finished_at)
VALUES (?, ?, CAST(? AS TEXT), ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, CAST(? AS TEXT),
   ?, ?, CAST(? AS TEXT), ?, ?, ?)
ON CONFLICT (t, run) DO UPDATE SET
  run_id = excluded.run_id, status = excluded.status, attempts = excluded.attempts,
  supersteps = excluded.supersteps, idempotency_key = excluded.idempotency_key,
  graph = excluded.graph, metadata = excluded.metadata, meta_index = excluded.meta_index,
  input = excluded.input, outcome = excluded.outcome, error = excluded.error,
  first_parent = excluded.first_parent, finished_at = excluded.finished_at;

-- name: checkpoint_insert
-- Columns in the order of CheckpointRow. No ON CONFLICT: a collision is a broken invariant.
INSERT INTO stepwell_tail
  (t, ns, seq, parent, step, source, run, epoch, record_no, format, crc, body, metadata,
   meta_index, checkpoint_id, key_id, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?, CAST(? AS TEXT),
   coalesce(?, ?));

-- name: checkpoint_append
-- A row that extends the one before and has no metadata, name or key of its own.
INSERT INTO stepwell_tail
  (t, ns, seq, step, source, run, epoch, record_no, format, crc, body, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: write_upsert
-- Columns in the order of WriteRow.
INSERT INTO stepwell_pending
  (t, ns, seq, task_id, idx, task_path, channel, epoch, record_no, format, crc, body, key_id)
VALUES (?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?, ?, ?, CAST(? AS TEXT))
ON CONFLICT (t, ns, seq, task_id, idx) DO UPDATE SET
  task_path = excluded.task_path, channel = excluded.channel, epoch = excluded.epoch,
  record_no = excluded.record_no, format = excluded.format, crc = excluded.crc,
  body = excluded.body, key_id = excluded.key_id;

-- name: writes_drop
DELETE FROM stepwell_pending WHERE t = ? AND ns = ? AND seq = ?;

-- name: renew
UPDATE stepwell_thread SET lease_until = ?, beat = beat + 1
WHERE scope = ? AND thread_id = ? AND epoch = ? AND owner = ?;

-- name: release
UPDATE stepwell_thread SET owner = NULL, lock_key = NULL, lease_until = NULL
WHERE scope = ? AND thread_id = ? AND epoch = ? AND owner = ?;

-- name: want
UPDATE stepwell_thread SET wanted_at = ?
WHERE scope = ? AND thread_id = ? AND wanted_at IS NULL;

-- name: ask
UPDATE stepwell_thread
SET request = CASE WHEN request IS NULL OR ? THEN ? ELSE request END,
  wanted_at = coalesce(wanted_at, ?)
WHERE scope = ? AND thread_id = ? AND epoch = ? AND owner IS NOT NULL;

-- name: record_epochs
SELECT epoch FROM stepwell_tail WHERE t = ? AND record_no = ?
UNION ALL
SELECT epoch FROM stepwell_pending WHERE t = ? AND record_no = ?;

-- name: delete_thread
DELETE FROM stepwell_thread WHERE t = ? AND epoch = ? AND owner = ?;

-- name: delete_tail
DELETE FROM stepwell_tail WHERE t = ?;

-- name: delete_pending
DELETE FROM stepwell_pending WHERE t = ?;

-- name: delete_segments
DELETE FROM stepwell_segment WHERE t = ?;

-- name: delete_runs
DELETE FROM stepwell_run WHERE t = ?;

-- name: delete_namespaces
DELETE FROM stepwell_ns WHERE t = ?;

-- name: namespaces
SELECT ns, name, head FROM stepwell_ns WHERE t = ? AND ns < ? ORDER BY ns DESC LIMIT ?;

-- name: namespace_named
SELECT ns, name, head FROM stepwell_ns WHERE t = ? AND name = CAST(? AS TEXT);

-- name: leg_start
-- The nearest row at or before a seq that names its parent: where the leg that holds it begins.
SELECT seq, parent FROM (
  SELECT * FROM (
    SELECT seq, parent FROM stepwell_tail
    WHERE t = ? AND ns = ? AND seq <= ? AND parent IS NOT NULL ORDER BY seq DESC LIMIT 1)
  UNION ALL
  SELECT * FROM (
    SELECT seq_from, parent FROM stepwell_segment
    WHERE t = ? AND ns = ? AND seq_from <= ? AND parent IS NOT NULL ORDER BY seq_from DESC LIMIT 1)
) ORDER BY seq DESC LIMIT 1;

-- name: checkpoints
-- Columns in the order of CheckpointRow.
SELECT ns, seq, parent, step, source, run, epoch, record_no, format, crc, body, metadata,
  meta_index, checkpoint_id, key_id, created_at
FROM stepwell_tail WHERE t = ? AND ns = ? AND seq BETWEEN ? AND ? ORDER BY seq;

-- name: segments
-- Columns in the order of SegmentRow. The first parameter: detail only of segments that hold
-- this seq or end behind it (0: of all).
SELECT ns, seq_from, seq_to, parent, format, crc, body,
  CASE WHEN seq_to >= ? THEN detail ELSE x'' END, key_id, run_from, run_to
FROM stepwell_segment WHERE t = ? AND ns = ? AND seq_from <= ? AND seq_to >= ?
ORDER BY seq_from;

-- name: page_places
-- Where the newest checkpoints up to a seq are: one by one, or a folded stretch of them.
SELECT low, high FROM (
  SELECT * FROM (
    SELECT seq AS low, seq AS high FROM stepwell_tail
    WHERE t = ? AND ns = ? AND seq <= ? ORDER BY seq DESC LIMIT ?)
  UNION ALL
  SELECT * FROM (
    SELECT seq_from, min(seq_to, ?) FROM stepwell_segment
    WHERE t = ? AND ns = ? AND seq_from <= ? ORDER BY seq_from DESC LIMIT ?)
) ORDER BY low DESC LIMIT ?;

-- name: branches
-- Of rows and segments behind a seq, those that name a parent in a range.
SELECT seq, 0 FROM stepwell_tail
WHERE t = ? AND ns = ? AND seq > ? AND parent IS NOT NULL AND parent BETWEEN ? AND ?
UNION ALL
SELECT seq_from, 1 FROM stepwell_segment
WHERE t = ? AND ns = ? AND seq_from > ? AND parent IS NOT NULL AND parent BETWEEN ? AND ?;

-- name: row_places
-- Columns in the order of RowPlace; no body is read.
SELECT seq, parent, length(body) + coalesce(length(metadata), 0)
FROM stepwell_tail WHERE t = ? AND ns = ? ORDER BY seq;

-- name: segment_places
-- Columns in the order of SegmentPlace.
SELECT seq_from, seq_to, parent, length(body) + length(detail)
FROM stepwell_segment WHERE t = ? AND ns = ? ORDER BY seq_from;

-- name: relayout
UPDATE stepwell_thread
SET layout_no = layout_no + 1, checkpoints = checkpoints + ?, bytes = bytes + ?
WHERE t = ? AND layout_no = ?;

-- name: rows_take
DELETE FROM stepwell_tail
WHERE t = ? AND ns = ? AND seq IN (SELECT value FROM json_each(?));

-- name: segments_take
DELETE FROM stepwell_segment
WHERE t = ? AND ns = ? AND seq_from IN (SELECT value FROM json_each(?));

-- name: segment_insert
-- Columns in the order of SegmentRow.
INSERT INTO stepwell_segment
  (t, ns, seq_from, seq_to, parent, format, crc, body, detail, key_id, run_from, run_to)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?, ?);

-- name: set_ttl
UPDATE stepwell_thread SET ttl_s = ? WHERE scope = ? AND thread_id = ?;

-- name: auto_vacuum
-- Works on a new file only: pages of deleted rows can then be given back piece by piece.
PRAGMA auto_vacuum = INCREMENTAL;

-- name: tally
SELECT graph, status, CAST(coalesce(created_at / ?, 0) AS INTEGER) AS span,
  count(*), sum(runs), sum(checkpoints), sum(bytes), sum(interrupts),
  min(created_at), max(updated_at)
FROM stepwell_thread WHERE scope = ? AND (? IS NULL OR updated_at >= ?)
GROUP BY graph, status, span;

-- name: used_pages
SELECT page_count * page_size FROM pragma_page_count, pragma_page_size;

-- name: free_pages
SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size;

-- name: incremental_vacuum
PRAGMA incremental_vacuum(1000);

-- name: writes
-- Columns in the order of WriteRow.
SELECT ns, seq, task_id, idx, task_path, channel, epoch, record_no, format, crc, body, key_id
FROM stepwell_pending WHERE t = ? AND ns = ? AND seq BETWEEN ? AND ? ORDER BY record_no, idx;

-- name: run_columns
-- The beginning of every query for runs, in the order of RunRow.
SELECT run, run_id, status, attempts, supersteps, idempotency_key, graph, metadata, meta_index,
  input, outcome, error, first_parent, started_at, finished_at
FROM stepwell_run WHERE t = ?

-- name: runs_named
-- Those listed, and those of the segments that hold a seq of a range.
AND run IN (
  SELECT value FROM json_each(?)
  UNION
  SELECT r.run FROM stepwell_segment AS g
  JOIN stepwell_run AS r ON r.t = g.t AND r.run BETWEEN g.run_from AND g.run_to
  WHERE g.t = ? AND g.ns = ? AND g.seq_from <= ? AND g.seq_to >= ?);

-- name: run_numbered
AND run = ?;

-- name: runs_page
AND run < ? ORDER BY run DESC LIMIT ?;

-- name: run_described
AND metadata IS NOT NULL ORDER BY run DESC LIMIT 1;

-- name: run_keyed
AND idempotency_key = CAST(? AS TEXT);

-- name: run_id
SELECT run_id FROM stepwell_run WHERE t = ? AND run = ?;

-- name: listed
-- The filters of a listing. A missing one is NULL and holds for every row.
WHERE a.scope = ?
  AND (? IS NULL OR a.status = ?) AND (? IS NULL OR a.graph = CAST(? AS TEXT))
  AND (? IS NULL OR a.updated_at < ?) AND (? IS NULL OR a.updated_at > ?)

-- name: listed_described
-- The metadata asked for, as a JSON object: no key of it that the thread's metadata does not have
-- with the same value. JSON's true is no 1.
AND NOT EXISTS (
  SELECT 1 FROM json_each(?) AS w WHERE NOT EXISTS (
    SELECT 1 FROM json_each((
      SELECT r.meta_index FROM stepwell_run AS r
      WHERE r.t = a.t AND r.metadata IS NOT NULL ORDER BY r.run DESC LIMIT 1)) AS m
    WHERE m.key = w.key AND m.value IS w.value
      AND (m.type IN ('true', 'false')) = (w.type IN ('true', 'false'))))

-- name: listed_open
-- Added for the statuses that stand in the index of open threads.
AND a.status = ? AND a.status IN (1, 2, 3)

-- name: listed_by_updated_desc
AND (a.updated_at, a.thread_id) < (?, ?) ORDER BY a.updated_at DESC, a.thread_id DESC LIMIT ?;

-- name: listed_by_updated_asc
AND (a.updated_at, a.thread_id) > (?, ?) ORDER BY a.updated_at, a.thread_id LIMIT ?;

-- name: listed_by_created_desc
AND (a.created_at, a.thread_id) < (?, ?) ORDER BY a.created_at DESC, a.thread_id DESC LIMIT ?;

-- name: listed_by_created_asc
AND (a.created_at, a.thread_id) > (?, ?) ORDER BY a.created_at, a.thread_id LIMIT ?;

-- name: listed_by_thread_id_desc
AND a.thread_id < ? ORDER BY a.thread_id DESC LIMIT ?;

-- name: listed_by_thread_id_asc
AND a.thread_id > ? ORDER BY a.thread_id LIMIT ?;

-- What backups read and write. The columns of rows are those of sqlite.sql; a page begins behind
-- a place, and LIMIT -1 means all.

-- name: backup_count
SELECT count(*) FROM stepwell_thread WHERE ? IS NULL OR scope = ?;

-- name: backup_threads
-- Behind thread_columns. Before every thread stands ('', '').
WHERE (a.scope, a.thread_id) > (?, ?) ORDER BY a.scope, a.thread_id LIMIT ?;

-- name: backup_threads_of_scope
WHERE a.scope = ? AND a.thread_id > ? ORDER BY a.thread_id LIMIT ?;

-- name: backup_namespaces
SELECT ns, name, head FROM stepwell_ns WHERE t = ? AND ns > ? ORDER BY ns LIMIT ?;

-- name: backup_runs
-- Behind run_columns.
AND run > ? ORDER BY run LIMIT ?;

-- name: backup_checkpoints
SELECT ns, seq, parent, step, source, run, epoch, record_no, format, crc, body, metadata,
  meta_index, checkpoint_id, key_id, created_at
FROM stepwell_tail WHERE t = ? AND (ns, seq) > (?, ?) ORDER BY ns, seq LIMIT ?;

-- name: backup_writes
SELECT ns, seq, task_id, idx, task_path, channel, epoch, record_no, format, crc, body, key_id
FROM stepwell_pending WHERE t = ? AND (ns, seq, task_id, idx) > (?, ?, ?, ?)
ORDER BY ns, seq, task_id, idx LIMIT ?;

-- name: backup_segments
SELECT ns, seq_from, seq_to, parent, format, crc, body, detail, key_id, run_from, run_to
FROM stepwell_segment WHERE t = ? AND (ns, seq_from) > (?, ?) ORDER BY ns, seq_from LIMIT ?;

-- name: backup_thread_insert
-- Nobody owns it: owner, lock and lease stay where they were.
INSERT INTO stepwell_thread
  (scope, thread_id, uid, epoch, record_no, claim_no, layout_no, status, run, runs, head,
   checkpoints, bytes, interrupts, state_version, ttl_s, created_at, updated_at, graph,
   fingerprint, next_nodes, error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT),
   CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT));

-- name: backup_thread_end
UPDATE stepwell_thread SET layout_no = ? WHERE t = ?;

-- name: backup_thread_delete
DELETE FROM stepwell_thread WHERE t = ?;

-- name: backup_namespace_insert
INSERT INTO stepwell_ns (t, ns, name, head) VALUES (?, ?, CAST(? AS TEXT), ?);

-- name: reseal_thread
UPDATE stepwell_thread SET layout_no = layout_no + 1, bytes = ?, error = CAST(? AS TEXT)
WHERE scope = ? AND thread_id = ? AND epoch = ? AND owner = ? AND layout_no = ?
RETURNING t;

-- name: reseal_runs
UPDATE stepwell_run SET idempotency_key = CAST(? AS TEXT), metadata = ?,
  meta_index = CAST(? AS TEXT), input = ?, outcome = ?, error = CAST(? AS TEXT)
WHERE t = ? AND run = ?;

-- name: reseal_checkpoints
UPDATE stepwell_tail SET format = ?, crc = ?, body = ?, metadata = ?,
  meta_index = CAST(? AS TEXT), key_id = CAST(? AS TEXT)
WHERE t = ? AND ns = ? AND seq = ?;

-- name: reseal_writes
UPDATE stepwell_pending SET format = ?, crc = ?, body = ?, key_id = CAST(? AS TEXT)
WHERE t = ? AND ns = ? AND seq = ? AND task_id = ? AND idx = ?;

-- name: reseal_segments
UPDATE stepwell_segment SET format = ?, crc = ?, body = ?, detail = ?, key_id = CAST(? AS TEXT)
WHERE t = ? AND ns = ? AND seq_from = ?;

-- name: backup_note
SELECT value FROM stepwell_meta WHERE name = 'unfinished';

-- name: backup_mark
INSERT INTO stepwell_meta (name, value) VALUES ('unfinished', ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: backup_unmark
DELETE FROM stepwell_meta WHERE name = 'unfinished';

-- name: stray_namespaces
SELECT count(*) FROM stepwell_ns WHERE t NOT IN (SELECT t FROM stepwell_thread);

-- name: stray_namespaces_delete
DELETE FROM stepwell_ns WHERE t NOT IN (SELECT t FROM stepwell_thread);

-- name: stray_runs
SELECT count(*) FROM stepwell_run WHERE t NOT IN (SELECT t FROM stepwell_thread);

-- name: stray_runs_delete
DELETE FROM stepwell_run WHERE t NOT IN (SELECT t FROM stepwell_thread);

-- name: stray_checkpoints
SELECT count(*) FROM stepwell_tail WHERE t NOT IN (SELECT t FROM stepwell_thread);

-- name: stray_checkpoints_delete
DELETE FROM stepwell_tail WHERE t NOT IN (SELECT t FROM stepwell_thread);

-- name: stray_writes
SELECT count(*) FROM stepwell_pending WHERE t NOT IN (SELECT t FROM stepwell_thread);

-- name: stray_writes_delete
DELETE FROM stepwell_pending WHERE t NOT IN (SELECT t FROM stepwell_thread);

-- name: stray_segments
SELECT count(*) FROM stepwell_segment WHERE t NOT IN (SELECT t FROM stepwell_thread);

-- name: stray_segments_delete
DELETE FROM stepwell_segment WHERE t NOT IN (SELECT t FROM stepwell_thread);

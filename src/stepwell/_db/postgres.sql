-- Every statement of the PostgreSQL driver, by name.
--
-- {schema} is the quoted schema, {ledger} the table that says which migrations were applied;
-- {thread}, {run} and {no_thread} are the fragments thread_columns, run_columns and no_thread. Lists
-- travel as arrays, one parameter per column, so one round trip serves any number of threads.
--
-- The fragments commit_* make one statement: the fence, what the batch holds, the outcome.
-- Each numbers its parameters from $1; they are shifted when it is joined. {keys} is the
-- first parameter of the fence: ({keys})[r.i] is the thread key of slice r.i.
--
-- `(x IN (SELECT ...)) IS TRUE` asks for a hashed sub-plan: a join of two lists of unknown
-- length may be planned as a nested loop, which is quadratic in the size of a batch.

-- name: schema_present
-- $1 schema name or null
SELECT n.nspname, to_regclass(format('%I.{ledger}', n.nspname)) IS NOT NULL
FROM pg_namespace n WHERE n.nspname = coalesce($1::text, current_schema());

-- name: schema_versions
SELECT version FROM {schema}.{ledger} ORDER BY version;

-- name: schema_lock
-- $1 key. Held to the end of the transaction: one process migrates, the others wait.
SELECT pg_advisory_xact_lock($1::int8);

-- name: schema_create
CREATE SCHEMA {schema};

-- name: schema_drop
DROP SCHEMA IF EXISTS {schema} CASCADE;

-- name: schema_ledger
CREATE TABLE {schema}.{ledger} (
  version int4 PRIMARY KEY,
  name text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: schema_applied
INSERT INTO {schema}.{ledger} (version, name) VALUES ($1, $2);

-- name: server_limits
SELECT current_setting('server_version_num')::int4,
  current_setting('max_locks_per_transaction')::int8
    * (current_setting('max_connections')::int8 + current_setting('max_prepared_transactions')::int8),
  pg_is_in_recovery(), pg_backend_pid();

-- name: backend
SELECT pg_backend_pid();

-- name: settings_unkept
-- $1 names, $2 values: how many of these settings are not in effect.
SELECT count(*) FROM unnest($1::text[], $2::text[]) AS s(name, value)
WHERE current_setting(s.name, true) IS DISTINCT FROM s.value;

-- name: lock
-- $1 keys. The backend's pid tells whether the session is still the same.
SELECT k, pg_try_advisory_lock(k), pg_backend_pid() FROM unnest($1::int8[]) AS k;

-- name: unlock
SELECT k, pg_advisory_unlock(k), pg_backend_pid() FROM unnest($1::int8[]) AS k;

-- name: beat
-- $1 thread keys, $2 the lock keys their rows must hold. Says to anyone who suspects: alive.
WITH held AS (
  SELECT t.key FROM unnest($1::uuid[], $2::int8[]) AS w(key, lock_key)
  JOIN {schema}.stepwell_thread t ON t.key = w.key
  WHERE t.lock_key = w.lock_key
  FOR NO KEY UPDATE OF t SKIP LOCKED
)
UPDATE {schema}.stepwell_thread t SET beat = t.beat + 1 FROM held h WHERE t.key = h.key;

-- name: disarm
-- As beat; takes the lock keys out of the rows, so that a free key is no evidence of death.
-- Returns the threads done; the others were locked just now, or hold the key no more.
WITH held AS (
  SELECT t.key FROM unnest($1::uuid[], $2::int8[]) AS w(key, lock_key)
  JOIN {schema}.stepwell_thread t ON t.key = w.key
  WHERE t.lock_key = w.lock_key
  FOR NO KEY UPDATE OF t SKIP LOCKED
)
UPDATE {schema}.stepwell_thread t SET beat = t.beat + 1, lock_key = NULL
FROM held h WHERE t.key = h.key RETURNING t.key;

-- name: armed
-- $1, $2 as beat: threads whose row still holds that lock key.
SELECT t.key FROM unnest($1::uuid[], $2::int8[]) AS w(key, lock_key)
JOIN {schema}.stepwell_thread t ON t.key = w.key WHERE t.lock_key = w.lock_key;

-- name: thread_columns
t.scope, t.thread_id, t.uid, t.epoch, t.owner, t.lock_key,
extract(epoch FROM t.lease_until - clock_timestamp())::float8,
t.beat, t.record_no, t.layout_no, t.request, t.wanted_at IS NOT NULL,
t.status, t.run, t.graph, t.fingerprint, t.state_version, t.next_nodes, t.interrupts, t.error,
t.checkpoints, t.bytes, t.ttl_s,
extract(epoch FROM t.created_at)::float8, extract(epoch FROM t.updated_at)::float8,
t.runs, t.head

-- name: no_thread
-- In the place of what `claim` says of a thread, in its rows that say something else.
NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL

-- name: present
-- $1 thread keys, $2 workers asking. The row as it stands; lock_free probes the key of a
-- foreign owner under a live lease (null: no key, no evidence). The probe locks for the
-- length of the statement and in shared mode: nothing can leak, probers do not see each other.
SELECT q.i, t.epoch, t.beat, t.owner, t.late, t.lease_left,
  CASE WHEN t.owner <> q.worker AND NOT t.late THEN pg_try_advisory_xact_lock_shared(t.lock_key) END AS lock_free,
  r.run_id
FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS q(key, worker, i)
JOIN LATERAL (
  SELECT t.*, coalesce(t.lease_until < clock_timestamp(), true) AS late,
    extract(epoch FROM t.lease_until - clock_timestamp())::float8 AS lease_left
  FROM {schema}.stepwell_thread t WHERE t.key = q.key
) t ON true
LEFT JOIN {schema}.stepwell_run r ON r.key = t.key AND r.run = t.run;

-- name: free_locks
-- $1 lock keys. The probe of `present`, for rows that were read before.
SELECT w.i, pg_try_advisory_xact_lock_shared(w.k)
FROM unnest($1::int8[]) WITH ORDINALITY AS w(k, i);

-- name: claim
-- Compare-and-set of the epoch of many threads, and what was claimed, loaded. $1 thread keys,
-- $2 scopes, $3 thread ids, $4 fresh uids, $5 fresh starts, $6 workers, $7 lock keys, $8 lease in
-- seconds, $9 epoch as read, or guessed (0: no row), $10 beat as read (only for a confirmed
-- suspicion), $11 whether to load the newest state of the root, $13 unless the thread has more
-- bytes than this: the row stays locked until all has been sent, and that is waited for only as
-- long as for a commit. Who reads much reads it afterwards.
-- A row locked just now is left out (the caller looks again), so claims cannot deadlock and
-- one stranger's lock holds up nobody; new rows go in by key, for the same reason.
--
-- What is loaded is of the statement's snapshot, the claim is of the newest row: they are of one
-- moment only if nothing came between, which the caller sees from the last three columns of
-- the thread (the epoch, record_no and layout_no of the snapshot); else he loads again.
--
-- OFFSET 0 keeps each look into a table one by key: a plan made while tables are small would
-- else read all of one, and stay. The first column says what a row is: 0 a thread that was claimed, 1 a checkpoint of its tail,
-- 2 a segment, 3 a pending write of its head, 4 a run; 5 a thread that was not claimed, as
-- `present` shows it.
WITH want AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::uuid[], $5::int8[], $6::uuid[],
    $7::int8[], $8::float8[], $9::int8[], $10::int8[], $11::bool[])
  WITH ORDINALITY AS w(key, scope, thread_id, uid, fresh_no, worker, lock_key, ttl_s, epoch, beat,
    loads, i)
), held AS MATERIALIZED (
  SELECT w.*, t.owner AS o,
    (t.epoch = w.epoch AND (t.owner IS NULL OR t.owner = w.worker
      OR t.lease_until < clock_timestamp() OR t.beat = w.beat)) IS TRUE AS free
  FROM want w JOIN {schema}.stepwell_thread t ON t.key = w.key
  WHERE w.epoch > 0
  FOR NO KEY UPDATE OF t SKIP LOCKED
), took AS (
  UPDATE {schema}.stepwell_thread t SET
    epoch = t.epoch + 1, owner = h.worker, lock_key = h.lock_key, beat = t.beat + 1,
    lease_until = clock_timestamp() + make_interval(secs => h.ttl_s),
    claim_no = t.record_no, request = NULL, wanted_at = NULL
  FROM held h WHERE t.key = h.key AND h.free
  RETURNING h.i, coalesce(h.o <> h.worker, false), h.loads AND t.record_no > 0 AND t.bytes <= $13::int8 AS loads,
    t.key, {thread}
), made AS (
  INSERT INTO {schema}.stepwell_thread AS t
    (key, scope, thread_id, uid, epoch, layout_no, owner, lock_key, lease_until)
  SELECT w.key, w.scope, w.thread_id, w.uid, w.fresh_no, w.fresh_no, w.worker, w.lock_key,
    clock_timestamp() + make_interval(secs => w.ttl_s)
  FROM want w
  WHERE w.epoch = 0
    AND NOT EXISTS (SELECT FROM {schema}.stepwell_thread t WHERE t.key = w.key)
  ORDER BY w.key
  ON CONFLICT (key) DO NOTHING
  RETURNING NULL::int8, false, false, t.key, {thread}
), tail AS MATERIALIZED (
  SELECT c.i, x.* FROM took c CROSS JOIN LATERAL (
    SELECT * FROM {schema}.stepwell_tail x WHERE x.key = c.key AND x.ns = 0 AND x.seq <= c.head
    OFFSET 0) x
  WHERE c.loads
), folded AS MATERIALIZED (
  SELECT c.i, c.head, g.* FROM took c CROSS JOIN LATERAL (
    SELECT * FROM {schema}.stepwell_segment g
    WHERE g.key = c.key AND g.ns = 0 AND g.seq_from <= c.head OFFSET 0) g
  WHERE c.loads
), numbers AS (
  SELECT c.i, c.key, c.run FROM took c WHERE c.loads
  UNION SELECT c.i, c.key, c.runs FROM took c WHERE c.loads
  UNION SELECT x.i, x.key, x.run FROM tail x
  UNION SELECT g.i, g.key, r.run FROM folded g, generate_series(g.run_from, g.run_to) AS r(run)
    WHERE g.seq_to >= g.head
)
SELECT 0 AS what, claimed.*, s.epoch, s.record_no, s.layout_no,
  (claimed.i IN (
    SELECT x.i FROM tail x WHERE x.parent IS NOT NULL
    UNION ALL SELECT g.i FROM folded g WHERE g.parent IS NOT NULL)) IS TRUE,
  n.numbers, n.names, n.heads,
  NULL::int8, NULL::int8, NULL::int8, NULL::int8, NULL::int8, NULL::int8, NULL::int8, NULL::int8,
  NULL::int8, NULL::bytea, NULL::bytea, NULL::bytea, NULL::bytea, NULL::bytea, NULL::bytea,
  NULL::bytea, NULL::text, NULL::float8, NULL::float8
FROM (SELECT * FROM took UNION ALL SELECT * FROM made) AS claimed
LEFT JOIN LATERAL (
  SELECT s.epoch, s.record_no, s.layout_no FROM {schema}.stepwell_thread s
  WHERE s.key = claimed.key AND claimed.loads OFFSET 0
) s ON true
LEFT JOIN LATERAL (
  SELECT array_agg(n.ns) AS numbers, array_agg(n.name) AS names, array_agg(n.head) AS heads
  FROM (
    SELECT n.ns, n.name, n.head FROM {schema}.stepwell_ns n
    WHERE n.key = claimed.key AND claimed.loads ORDER BY n.ns DESC LIMIT $12::int4
  ) n
) n ON true
UNION ALL
SELECT 1, x.i, {no_thread}, x.seq, x.parent, x.step, x.source, x.run, x.epoch, x.record_no, x.format,
  x.crc, x.body, x.metadata, x.id, x.key_id, NULL, NULL, NULL,
  x.meta_index::text, extract(epoch FROM x.created_at)::float8, NULL
FROM tail x
UNION ALL
SELECT 2, g.i, {no_thread}, g.seq_from, g.seq_to, g.parent, g.format, g.crc, g.run_from, g.run_to,
  NULL, NULL, g.body, CASE WHEN g.seq_to >= g.head THEN g.detail ELSE ''::bytea END, g.key_id,
  NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM folded g
UNION ALL
SELECT 3, c.i, {no_thread}, p.seq, p.idx, p.epoch, p.record_no, p.format, p.crc, NULL, NULL, NULL,
  p.task_id, p.task_path, p.channel, p.body, p.key_id, NULL, NULL, NULL, NULL, NULL
FROM took c CROSS JOIN LATERAL (
  SELECT * FROM {schema}.stepwell_pending p WHERE p.key = c.key AND p.ns = 0 AND p.seq = c.head
  OFFSET 0) p
WHERE c.loads
UNION ALL
SELECT 4, m.i, {no_thread}, r.run, r.status, r.attempts, r.supersteps, r.first_parent, NULL, NULL, NULL,
  NULL, r.run_id, r.idempotency_key, r.graph, r.metadata, r.input, r.outcome, r.error,
  r.meta_index::text, extract(epoch FROM r.started_at)::float8,
  extract(epoch FROM r.finished_at)::float8
FROM numbers m CROSS JOIN LATERAL (
  SELECT * FROM {schema}.stepwell_run r WHERE r.key = m.key AND r.run = m.run OFFSET 0) r
UNION ALL
SELECT 5, w.i, {no_thread}, t.epoch, t.beat, t.late::int4,
  CASE WHEN t.owner <> w.worker AND NOT t.late
    THEN pg_try_advisory_xact_lock_shared(t.lock_key)::int4 END,
  NULL, NULL, NULL, NULL, NULL, uuid_send(t.owner), r.run_id, NULL, NULL, NULL, NULL, NULL, NULL,
  t.lease_left, NULL
FROM want w
JOIN LATERAL (
  SELECT t.*, coalesce(t.lease_until < clock_timestamp(), true) AS late,
    extract(epoch FROM t.lease_until - clock_timestamp())::float8 AS lease_left
  FROM {schema}.stepwell_thread t WHERE t.key = w.key OFFSET 0
) t ON true
LEFT JOIN LATERAL (
  SELECT r.run_id FROM {schema}.stepwell_run r WHERE r.key = t.key AND r.run = t.run OFFSET 0
) r ON true
WHERE w.key NOT IN (SELECT took.key FROM took UNION ALL SELECT made.key FROM made);

-- name: commit_fence
-- Most columns come as the text of an array: the client encodes an array value by value, and asks
-- of each whether it is an array itself, which costs more than all the rest of a commit.
-- One row per slice. The locking clause yields the newest version of a thread row and leaves
-- out rows locked by anybody just now; what follows writes for the slices in `done` only.
-- A null status: the slice leaves the descriptive columns as they are.
WITH want AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::text::int8[], $3::text::uuid[], $4::text::int8[],
    $5::text::int8[], $6::text::bool[],
    $7::text::float8[], $8::text::int8[], $9::text::int8[], $10::text::int8[], $11::text::int4[],
    $12::text::int2[], $13::text::int4[],
    $14::text::bytea[], $15::text::bytea[], $16::text::int8[], $17::text::bytea[],
    $18::text::int4[], $19::text::bytea[])
  WITH ORDINALITY AS w(key, epoch, owner, record_no, record_no_after, let_go,
    ttl_s, checkpoints, bytes, head, runs, status, run,
    graph, fingerprint, state_version, next_nodes, interrupts, error, i)
), held AS MATERIALIZED (
  SELECT w.*, t.epoch AS e, t.owner AS o, t.record_no AS n,
    t.request AS asked, t.wanted_at IS NOT NULL AS awaited,
    (t.epoch = w.epoch AND t.owner = w.owner AND t.record_no = w.record_no) IS TRUE AS ours
  FROM want w JOIN {schema}.stepwell_thread t ON t.key = w.key
  FOR NO KEY UPDATE OF t SKIP LOCKED
), done AS (
  UPDATE {schema}.stepwell_thread t SET
    record_no = h.record_no_after, beat = t.beat + 1, updated_at = clock_timestamp(),
    owner = CASE WHEN h.let_go THEN NULL ELSE t.owner END,
    lock_key = CASE WHEN h.let_go THEN NULL ELSE t.lock_key END,
    lease_until = CASE WHEN NOT h.let_go THEN clock_timestamp() + make_interval(secs => h.ttl_s) END,
    checkpoints = t.checkpoints + h.checkpoints, bytes = t.bytes + h.bytes,
    head = coalesce(h.head, t.head), runs = greatest(t.runs, h.runs),
    status = coalesce(h.status, t.status), run = coalesce(h.run, t.run),
    graph = CASE WHEN h.status IS NULL THEN t.graph ELSE h.graph END,
    fingerprint = CASE WHEN h.status IS NULL THEN t.fingerprint ELSE h.fingerprint END,
    state_version = coalesce(h.state_version, t.state_version),
    next_nodes = coalesce(h.next_nodes, t.next_nodes),
    interrupts = coalesce(h.interrupts, t.interrupts),
    error = CASE WHEN h.status IS NULL THEN t.error ELSE h.error END
  FROM held h WHERE t.key = h.key AND h.ours
  RETURNING h.i, t.request, t.wanted_at IS NOT NULL AS wanted
)

-- name: commit_tail
-- No ON CONFLICT: a second row in the same place is a broken invariant and must be heard.
, tail AS (
  INSERT INTO {schema}.stepwell_tail (key, ns, seq, parent, step, source, run, epoch, record_no,
    format, crc, body, metadata, meta_index, id, key_id, created_at)
  SELECT ({keys})[r.i], r.ns, r.seq, r.parent, r.step, r.source, r.run, r.epoch, r.record_no,
    r.format, r.crc, r.body, r.metadata, r.meta_index::jsonb, r.id, r.key_id,
    coalesce(to_timestamp(r.created), clock_timestamp())
  FROM unnest($1::text::int8[], $2::text::int4[], $3::text::int8[], $4::text::int8[],
    $5::text::int4[], $6::text::int2[], $7::text::int4[],
    $8::text::int8[], $9::text::int8[], $10::text::int2[], $11::text::int8[], $12::bytea[],
    $13::text::bytea[], $14::text::text[],
    $15::text::bytea[], $16::text::bytea[], $17::text::float8[])
  AS r(i, ns, seq, parent, step, source, run, epoch, record_no, format, crc, body, metadata,
    meta_index, id, key_id, created)
  WHERE (r.i IN (SELECT d.i FROM done d)) IS TRUE
)

-- name: commit_dropped
, dropped AS (
  DELETE FROM {schema}.stepwell_pending p
  USING unnest($1::text::int8[], $2::text::int4[], $3::text::int8[]) AS r(i, ns, seq)
  WHERE p.key = ({keys})[r.i] AND p.ns = r.ns AND p.seq = r.seq
    AND (r.i IN (SELECT d.i FROM done d)) IS TRUE
  RETURNING 1
)

-- name: commit_pending
, pending AS (
  INSERT INTO {schema}.stepwell_pending AS p (key, ns, seq, task_id, idx, task_path, channel,
    epoch, record_no, format, crc, body, key_id)
  SELECT ({keys})[r.i], r.ns, r.seq, r.task_id, r.idx, r.task_path, r.channel,
    r.epoch, r.record_no, r.format, r.crc, r.body, r.key_id
  FROM unnest($1::text::int8[], $2::text::int4[], $3::text::int8[], $4::bytea[], $5::text::int4[],
    $6::text::bytea[],
    $7::text::bytea[], $8::text::int8[], $9::text::int8[], $10::text::int2[], $11::text::int8[],
    $12::bytea[], $13::text::bytea[])
  AS r(i, ns, seq, task_id, idx, task_path, channel, epoch, record_no, format, crc, body, key_id)
  WHERE (r.i IN (SELECT d.i FROM done d)) IS TRUE
  ON CONFLICT (key, ns, seq, task_id, idx) DO UPDATE SET
    task_path = excluded.task_path, channel = excluded.channel, epoch = excluded.epoch,
    record_no = excluded.record_no, format = excluded.format, crc = excluded.crc,
    body = excluded.body, key_id = excluded.key_id
)

-- name: commit_runs
, runs AS (
  INSERT INTO {schema}.stepwell_run AS u (key, run, run_id, status, attempts, supersteps,
    idempotency_key, graph, metadata, meta_index, input, outcome, error, first_parent, finished_at)
  SELECT ({keys})[r.i], r.run, r.run_id, r.status, r.attempts, r.supersteps,
    r.idempotency_key, r.graph, r.metadata, r.meta_index::jsonb, r.input, r.outcome, r.error,
    r.first_parent, CASE WHEN r.status <> 1 THEN clock_timestamp() END
  FROM unnest($1::text::int8[], $2::text::int4[], $3::text::bytea[], $4::text::int2[],
    $5::text::int4[], $6::text::int4[], $7::text::bytea[],
    $8::text::bytea[], $9::text::bytea[], $10::text::text[], $11::text::bytea[],
    $12::text::bytea[], $13::text::bytea[], $14::text::int8[])
  AS r(i, run, run_id, status, attempts, supersteps, idempotency_key, graph, metadata, meta_index,
    input, outcome, error, first_parent)
  WHERE (r.i IN (SELECT d.i FROM done d)) IS TRUE
  ON CONFLICT (key, run) DO UPDATE SET
    run_id = excluded.run_id, status = excluded.status, attempts = excluded.attempts,
    supersteps = excluded.supersteps, idempotency_key = excluded.idempotency_key,
    graph = excluded.graph, metadata = excluded.metadata, meta_index = excluded.meta_index,
    input = excluded.input, outcome = excluded.outcome, error = excluded.error,
    first_parent = excluded.first_parent, finished_at = excluded.finished_at
)

-- name: commit_spaces
, spaces AS (
  INSERT INTO {schema}.stepwell_ns AS n (key, ns, name, head)
  SELECT ({keys})[r.i], r.ns, r.name, r.head
  FROM unnest($1::text::int8[], $2::text::int4[], $3::text::bytea[], $4::text::int8[]) AS r(i, ns,
    name, head)
  WHERE (r.i IN (SELECT d.i FROM done d)) IS TRUE
)

-- name: commit_heads
, heads AS (
  UPDATE {schema}.stepwell_ns n SET head = r.head
  FROM unnest($1::text::int8[], $2::text::int4[], $3::text::int8[]) AS r(i, ns, head)
  WHERE n.key = ({keys})[r.i] AND n.ns = r.ns AND (r.i IN (SELECT d.i FROM done d)) IS TRUE
)

-- name: commit_outcome
-- 0 written, 1 refused by the fence, 2 locked by somebody just now, 3 no such thread.
SELECT d.i, 0 AS outcome, NULL::int8, NULL::uuid, NULL::int8, d.request, d.wanted FROM done d
UNION ALL
SELECT h.i, 1, h.e, h.o, h.n, h.asked, h.awaited FROM held h WHERE NOT h.ours
UNION ALL
SELECT w.i, CASE WHEN EXISTS (SELECT FROM {schema}.stepwell_thread t WHERE t.key = w.key)
  THEN 2 ELSE 3 END, NULL, NULL, NULL, NULL, NULL
FROM want w WHERE (w.i IN (SELECT h.i FROM held h)) IS NOT TRUE

-- name: commit_one
-- The same of one slice that brings one checkpoint, the next of the root, and nothing else: what
-- one client at a time sends. It costs the server two thirds of what the statement for many does.
WITH held AS MATERIALIZED (
  SELECT t.key, t.epoch AS e, t.owner AS o, t.record_no AS n,
    t.request AS asked, t.wanted_at IS NOT NULL AS awaited,
    (t.epoch = $2 AND t.owner = $3 AND t.record_no = $4) IS TRUE AS ours
  FROM {schema}.stepwell_thread t WHERE t.key = $1
  FOR NO KEY UPDATE OF t SKIP LOCKED
), done AS (
  UPDATE {schema}.stepwell_thread t SET
    record_no = $5, beat = t.beat + 1, updated_at = clock_timestamp(),
    lease_until = clock_timestamp() + make_interval(secs => $6::float8),
    checkpoints = t.checkpoints + 1, bytes = t.bytes + $7, head = $8
  FROM held h WHERE t.key = h.key AND h.ours
  RETURNING t.request, t.wanted_at IS NOT NULL AS wanted
), tail AS (
  INSERT INTO {schema}.stepwell_tail (key, ns, seq, step, source, run, epoch, record_no, format,
    crc, body, created_at)
  SELECT $1, 0, $8, $9, $10, $11, $2, $5, $12, $13, $14, clock_timestamp() FROM done
)
SELECT 1::int8, 0, NULL::int8, NULL::uuid, NULL::int8, d.request, d.wanted FROM done d
UNION ALL
SELECT 1, 1, h.e, h.o, h.n, h.asked, h.awaited FROM held h WHERE NOT h.ours
UNION ALL
SELECT 1, CASE WHEN EXISTS (SELECT FROM {schema}.stepwell_thread t WHERE t.key = $1)
  THEN 2 ELSE 3 END, NULL, NULL, NULL, NULL, NULL
WHERE NOT EXISTS (SELECT FROM held h);

-- name: renew
-- $1 thread keys, $2 epochs, $3 worker, $4 lease in seconds. Every row that exists is told
-- of: renewed, or whether it is still the worker's (then it was locked just now).
WITH want AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::int8[]) WITH ORDINALITY AS w(key, epoch, i)
), held AS MATERIALIZED (
  SELECT w.i, t.key FROM want w JOIN {schema}.stepwell_thread t ON t.key = w.key
  WHERE t.epoch = w.epoch AND t.owner = $3
  FOR NO KEY UPDATE OF t SKIP LOCKED
), done AS (
  UPDATE {schema}.stepwell_thread t SET beat = t.beat + 1,
    lease_until = clock_timestamp() + make_interval(secs => $4::float8)
  FROM held h WHERE t.key = h.key
  RETURNING h.i, t.request, t.wanted_at IS NOT NULL AS wanted
)
SELECT d.i, true AS renewed, true AS ours, NULL::int8 AS epoch, d.request, d.wanted FROM done d
UNION ALL
SELECT w.i, false, (t.epoch = w.epoch AND t.owner = $3) IS TRUE, t.epoch, t.request, t.wanted_at IS NOT NULL
FROM want w JOIN {schema}.stepwell_thread t ON t.key = w.key
WHERE (w.i IN (SELECT d.i FROM done d)) IS NOT TRUE;

-- name: release
-- $1 thread keys, $2 epochs, $3 worker. Returns the places of claims that are still the
-- worker's because their rows were locked just now.
WITH want AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::int8[]) WITH ORDINALITY AS w(key, epoch, i)
), held AS MATERIALIZED (
  SELECT w.i, t.key FROM want w JOIN {schema}.stepwell_thread t ON t.key = w.key
  WHERE t.epoch = w.epoch AND t.owner = $3
  FOR NO KEY UPDATE OF t SKIP LOCKED
), done AS (
  UPDATE {schema}.stepwell_thread t SET
    owner = NULL, lock_key = NULL, lease_until = NULL, beat = t.beat + 1
  FROM held h WHERE t.key = h.key RETURNING h.i
)
SELECT w.i FROM want w JOIN {schema}.stepwell_thread t ON t.key = w.key
WHERE t.epoch = w.epoch AND t.owner = $3 AND (w.i IN (SELECT d.i FROM done d)) IS NOT TRUE;

-- name: ask
-- $1 thread keys, $2 epochs, $3 requests, $4 whether each replaces one that is there. Returns
-- the places of those whose thread is held under that epoch, and whether the request was put
-- there: if not, the row was locked just now.
WITH want AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::int8[], $3::text[], $4::bool[])
    WITH ORDINALITY AS w(key, epoch, request, replaces, i)
), held AS MATERIALIZED (
  SELECT w.i, w.request, w.replaces, t.key
  FROM want w JOIN {schema}.stepwell_thread t ON t.key = w.key
  WHERE t.epoch = w.epoch AND t.owner IS NOT NULL
  FOR NO KEY UPDATE OF t SKIP LOCKED
), done AS (
  UPDATE {schema}.stepwell_thread t SET
    request = CASE WHEN t.request IS NULL OR h.replaces THEN h.request ELSE t.request END,
    wanted_at = coalesce(t.wanted_at, clock_timestamp())
  FROM held h WHERE t.key = h.key RETURNING h.i
)
SELECT w.i, (w.i IN (SELECT d.i FROM done d)) IS TRUE
FROM want w JOIN {schema}.stepwell_thread t ON t.key = w.key
WHERE t.epoch = w.epoch AND t.owner IS NOT NULL;

-- name: want
-- $1 thread keys. Returns those not marked because their rows were locked just now.
WITH held AS MATERIALIZED (
  SELECT t.key FROM {schema}.stepwell_thread t
  WHERE t.key = ANY($1::uuid[]) AND t.wanted_at IS NULL
  FOR NO KEY UPDATE OF t SKIP LOCKED
), done AS (
  UPDATE {schema}.stepwell_thread t SET wanted_at = clock_timestamp()
  FROM held h WHERE t.key = h.key RETURNING t.key
)
SELECT t.key FROM {schema}.stepwell_thread t
WHERE t.key = ANY($1::uuid[]) AND t.wanted_at IS NULL
  AND (t.key IN (SELECT d.key FROM done d)) IS NOT TRUE;

-- name: landed
-- $1 thread key, $2 record_no, $3 epoch. A record without a row of its own (a status), or
-- whose row was dropped since, is known by the present epoch having passed it; of the epoch
-- just before, by the number that the present one began behind.
SELECT coalesce(
  (SELECT c.epoch = $3 FROM {schema}.stepwell_tail c WHERE c.key = $1 AND c.record_no = $2 LIMIT 1),
  (SELECT p.epoch = $3 FROM {schema}.stepwell_pending p WHERE p.key = $1 AND p.record_no = $2 LIMIT 1),
  (SELECT CASE t.epoch - $3
     WHEN 0 THEN $2 > t.claim_no AND $2 <= t.record_no
     WHEN 1 THEN $2 <= t.claim_no
   END FROM {schema}.stepwell_thread t WHERE t.key = $1),
  false);

-- name: delete
-- $1 thread key, $2 epoch, $3 owner. Deletes only if the row as locked is the row as seen:
-- a commit in between would leave rows behind that this snapshot cannot see.
-- 1 deleted, 0 not ours, null: locked or changed just now, ask again.
WITH seen AS MATERIALIZED (
  SELECT t.record_no, t.layout_no FROM {schema}.stepwell_thread t
  WHERE t.key = $1 AND t.epoch = $2 AND t.owner = $3
), held AS MATERIALIZED (
  SELECT t.record_no, t.layout_no FROM {schema}.stepwell_thread t
  WHERE t.key = $1 AND t.epoch = $2 AND t.owner = $3
  FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM {schema}.stepwell_thread t
  WHERE t.key = $1 AND EXISTS (SELECT FROM seen s JOIN held h USING (record_no, layout_no))
  RETURNING t.key
), ns AS (DELETE FROM {schema}.stepwell_ns x WHERE x.key IN (SELECT g.key FROM gone g)
), run AS (DELETE FROM {schema}.stepwell_run x WHERE x.key IN (SELECT g.key FROM gone g)
), tail AS (DELETE FROM {schema}.stepwell_tail x WHERE x.key IN (SELECT g.key FROM gone g)
), pending AS (DELETE FROM {schema}.stepwell_pending x WHERE x.key IN (SELECT g.key FROM gone g)
), segment AS (DELETE FROM {schema}.stepwell_segment x WHERE x.key IN (SELECT g.key FROM gone g)
)
SELECT CASE WHEN EXISTS (SELECT FROM gone) THEN 1 WHEN NOT EXISTS (SELECT FROM seen) THEN 0 END;

-- name: load_threads
-- $1 thread keys, $2 how many of the newest namespaces, $3 places of threads in $1 with
-- $4 the names of namespaces asked for. The row, these namespaces, and which tables are worth
-- asking.
SELECT q.i, {thread}, s.numbers, s.names, s.heads,
  EXISTS (SELECT FROM {schema}.stepwell_tail x WHERE x.key = t.key AND x.parent IS NOT NULL)
    OR EXISTS (SELECT FROM {schema}.stepwell_segment x WHERE x.key = t.key AND x.parent IS NOT NULL),
  EXISTS (SELECT FROM {schema}.stepwell_segment x WHERE x.key = t.key),
  EXISTS (SELECT FROM {schema}.stepwell_pending x WHERE x.key = t.key)
FROM unnest($1::uuid[]) WITH ORDINALITY AS q(key, i)
JOIN {schema}.stepwell_thread t ON t.key = q.key
JOIN LATERAL (
  SELECT array_agg(n.ns) AS numbers, array_agg(n.name) AS names, array_agg(n.head) AS heads
  FROM (
    (SELECT n.ns, n.name, n.head FROM {schema}.stepwell_ns n WHERE n.key = t.key
     ORDER BY n.ns DESC LIMIT $2::int4)
    UNION
    SELECT n.ns, n.name, n.head FROM unnest($3::int8[], $4::bytea[]) AS a(i, name)
    JOIN {schema}.stepwell_ns n ON n.key = t.key AND sha256(n.name) = sha256(a.name)
    WHERE a.i = q.i
  ) n
) s ON true;

-- name: namespaces
-- $1 thread key, $2 numbers below this one, $3 how many
SELECT n.ns, n.name, n.head FROM {schema}.stepwell_ns n
WHERE n.key = $1::uuid AND n.ns < $2::int8 ORDER BY n.ns DESC LIMIT $3::int8;

-- name: legs
-- $1 places, $2 thread keys, $3 namespaces, $4 seqs. The contiguous stretches that make up
-- the chain of each seq: from it down to the nearest row with a parent of its own, on from
-- that parent, and so forth; one index descent per leg, however many forks there are.
WITH RECURSIVE want AS (
  SELECT * FROM unnest($1::int8[], $2::uuid[], $3::int4[], $4::int8[]) AS w(i, key, ns, seq)
), leg AS (
  SELECT w.i, w.key, w.ns, w.seq AS hi, f.seq AS lo, f.parent
  FROM want w LEFT JOIN LATERAL (
    SELECT x.seq, x.parent FROM (
      (SELECT c.seq, c.parent FROM {schema}.stepwell_tail c
       WHERE c.key = w.key AND c.ns = w.ns AND c.parent IS NOT NULL AND c.seq <= w.seq
       ORDER BY c.seq DESC LIMIT 1)
      UNION ALL
      (SELECT g.seq_from, g.parent FROM {schema}.stepwell_segment g
       WHERE g.key = w.key AND g.ns = w.ns AND g.parent IS NOT NULL AND g.seq_from <= w.seq
       ORDER BY g.seq_from DESC LIMIT 1)
    ) x ORDER BY x.seq DESC LIMIT 1
  ) f ON true
  UNION ALL
  SELECT l.i, l.key, l.ns, l.parent, f.seq, f.parent
  FROM leg l LEFT JOIN LATERAL (
    SELECT x.seq, x.parent FROM (
      (SELECT c.seq, c.parent FROM {schema}.stepwell_tail c
       WHERE c.key = l.key AND c.ns = l.ns AND c.parent IS NOT NULL AND c.seq <= l.parent
       ORDER BY c.seq DESC LIMIT 1)
      UNION ALL
      (SELECT g.seq_from, g.parent FROM {schema}.stepwell_segment g
       WHERE g.key = l.key AND g.ns = l.ns AND g.parent IS NOT NULL AND g.seq_from <= l.parent
       ORDER BY g.seq_from DESC LIMIT 1)
    ) x ORDER BY x.seq DESC LIMIT 1
  ) f ON true
  WHERE l.parent > 0
)
SELECT leg.i, coalesce(leg.lo, 1), leg.hi FROM leg ORDER BY leg.i, leg.hi;

-- name: rows
-- $1 places, $2 thread keys, $3 namespaces, $4 and $5 first and last seq.
SELECT w.i, c.ns, c.seq, c.parent, c.step, c.source, c.run, c.epoch, c.record_no, c.format, c.crc,
  c.body, c.metadata, c.meta_index::text, c.id, c.key_id, extract(epoch FROM c.created_at)::float8
FROM unnest($1::int8[], $2::uuid[], $3::int4[], $4::int8[], $5::int8[]) AS w(i, key, ns, lo, hi)
JOIN {schema}.stepwell_tail c ON c.key = w.key AND c.ns = w.ns AND c.seq BETWEEN w.lo AND w.hi
ORDER BY w.i, c.seq;

-- name: segments
-- As rows: every segment that a stretch touches, once. $6: detail is wanted of those that hold
-- this seq or end behind it.
SELECT DISTINCT ON (w.i, g.seq_from) w.i, g.ns, g.seq_from, g.seq_to, g.parent, g.format, g.crc,
  g.body, CASE WHEN g.seq_to >= w.whole THEN g.detail ELSE ''::bytea END, g.key_id,
  g.run_from, g.run_to
FROM unnest($1::int8[], $2::uuid[], $3::int4[], $4::int8[], $5::int8[], $6::int8[])
  AS w(i, key, ns, lo, hi, whole)
JOIN {schema}.stepwell_segment g
  ON g.key = w.key AND g.ns = w.ns AND g.seq_from <= w.hi AND g.seq_to >= w.lo
ORDER BY w.i, g.seq_from, w.hi DESC;

-- name: page_places
-- $1 thread key, $2 namespace, $3 the last seq, $4 how many. Where the newest checkpoints up to it
-- are: one by one, or a folded stretch of them.
SELECT x.low, x.high FROM (
  (SELECT c.seq AS low, c.seq AS high FROM {schema}.stepwell_tail c
   WHERE c.key = $1::uuid AND c.ns = $2::int4 AND c.seq <= $3::int8
   ORDER BY c.seq DESC LIMIT $4::int8)
  UNION ALL
  (SELECT g.seq_from, least(g.seq_to, $3) FROM {schema}.stepwell_segment g
   WHERE g.key = $1 AND g.ns = $2 AND g.seq_from <= $3 ORDER BY g.seq_from DESC LIMIT $4)
) x ORDER BY x.low DESC LIMIT $4;

-- name: branches
-- $1 thread key, $2 namespace, $3 and $4 first and last seq of a page: of rows and segments behind
-- it, those that name a parent in it.
SELECT c.seq, false FROM {schema}.stepwell_tail c
WHERE c.key = $1::uuid AND c.ns = $2::int4 AND c.seq > $4::int8 AND c.parent BETWEEN $3::int8 AND $4
UNION ALL
SELECT g.seq_from, true FROM {schema}.stepwell_segment g
WHERE g.key = $1 AND g.ns = $2 AND g.seq_from > $4 AND g.parent BETWEEN $3 AND $4;

-- name: row_places
-- $1 thread key, $2 namespace. In the order of RowPlace; no body is read.
SELECT c.seq, c.parent, octet_length(c.body) + coalesce(octet_length(c.metadata), 0)
FROM {schema}.stepwell_tail c WHERE c.key = $1 AND c.ns = $2 ORDER BY c.seq;

-- name: segment_places
-- As row_places, in the order of SegmentPlace.
SELECT g.seq_from, g.seq_to, g.parent, octet_length(g.body) + octet_length(g.detail)
FROM {schema}.stepwell_segment g WHERE g.key = $1 AND g.ns = $2 ORDER BY g.seq_from;

-- name: relayout
-- $1 thread key, $2 layout_no as read, $3 namespace, $4 epoch and $5 owner of a claim (null:
-- whoever owns it), $6 rows and $7 segments and $8 pending writes that go, by seq; $9 and $10
-- for the counters; from $11 the columns of rows, from $26 those of segments.
-- What comes waits for what goes, because the count is asked for first. Were anything not
-- there, the division by zero would undo everything.
WITH moved AS (
  UPDATE {schema}.stepwell_thread t SET layout_no = t.layout_no + 1,
    checkpoints = t.checkpoints + $9::int8, bytes = t.bytes + $10::int8
  WHERE t.key = $1::uuid AND t.layout_no = $2::int8
    AND ($4::int8 IS NULL OR (t.epoch = $4::int8 AND t.owner = $5::uuid))
  RETURNING t.key
), rows_gone AS (
  DELETE FROM {schema}.stepwell_tail c
  WHERE c.key = $1 AND c.ns = $3::int4 AND c.seq = ANY($6::int8[]) AND EXISTS (SELECT FROM moved)
  RETURNING 1
), segments_gone AS (
  DELETE FROM {schema}.stepwell_segment g
  WHERE g.key = $1 AND g.ns = $3 AND g.seq_from = ANY($7::int8[]) AND EXISTS (SELECT FROM moved)
  RETURNING 1
), writes_gone AS (
  DELETE FROM {schema}.stepwell_pending p
  WHERE p.key = $1 AND p.ns = $3 AND p.seq = ANY($8::int8[]) AND EXISTS (SELECT FROM moved)
  RETURNING 1
), ready AS MATERIALIZED (
  SELECT (SELECT count(*) FROM rows_gone) = cardinality($6)
    AND (SELECT count(*) FROM segments_gone) = cardinality($7) AS whole
  WHERE EXISTS (SELECT FROM moved)
), rows_made AS (
  INSERT INTO {schema}.stepwell_tail (key, ns, seq, parent, step, source, run, epoch, record_no,
    format, crc, body, metadata, meta_index, id, key_id, created_at)
  SELECT $1, $3, r.seq, r.parent, r.step, r.source, r.run, r.epoch, r.record_no, r.format, r.crc,
    r.body, r.metadata, r.meta_index::jsonb, r.id, r.key_id,
    coalesce(to_timestamp(r.created), clock_timestamp())
  FROM unnest($11::int8[], $12::int8[], $13::int4[], $14::int2[], $15::int4[], $16::int8[],
    $17::int8[], $18::int2[], $19::int8[], $20::bytea[], $21::bytea[], $22::text[], $23::bytea[],
    $24::bytea[], $25::float8[])
  AS r(seq, parent, step, source, run, epoch, record_no, format, crc, body, metadata, meta_index,
    id, key_id, created)
  WHERE (SELECT whole FROM ready)
), segments_made AS (
  INSERT INTO {schema}.stepwell_segment
    (key, ns, seq_from, seq_to, parent, format, crc, body, detail, key_id, run_from, run_to)
  SELECT $1, $3, r.*
  FROM unnest($26::int8[], $27::int8[], $28::int8[], $29::int2[], $30::int8[], $31::bytea[],
    $32::bytea[], $33::bytea[], $34::int4[], $35::int4[])
  AS r(seq_from, seq_to, parent, format, crc, body, detail, key_id, run_from, run_to)
  WHERE (SELECT whole FROM ready)
)
SELECT EXISTS (SELECT FROM moved),
  1 / CASE WHEN NOT coalesce((SELECT whole FROM ready), true) THEN 0 ELSE 1 END;

-- name: vacuum_due
-- $1 schema, $2 and $3 rows of the tail, and segments, that were deleted. Statements to be run: for
-- tables of this role with enough to be cleared away, a fiftieth of their rows.
SELECT replace(c.relname, 'stepwell', 'vacuum') FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r' AND pg_has_role(c.relowner, 'USAGE')
  AND ((c.relname = 'stepwell_tail' AND $2::int8 > greatest(c.reltuples, 0) / 50)
    OR (c.relname = 'stepwell_segment' AND $3::int8 > greatest(c.reltuples, 0) / 50))
ORDER BY 1;

-- name: vacuum_tail
-- Files are not cut off at their end: that would need a lock which excludes everybody.
VACUUM (SKIP_LOCKED, TRUNCATE FALSE) {schema}.stepwell_tail;

-- name: vacuum_segment
VACUUM (SKIP_LOCKED, TRUNCATE FALSE) {schema}.stepwell_segment;

-- name: set_ttl
-- $1 thread key, $2 seconds or null
UPDATE {schema}.stepwell_thread t SET ttl_s = $2::float8 WHERE t.key = $1::uuid RETURNING 1;

-- name: writes
-- As rows: pending writes filed under the seqs of a stretch.
SELECT w.i, p.ns, p.seq, p.task_id, p.idx, p.task_path, p.channel, p.epoch, p.record_no,
  p.format, p.crc, p.body, p.key_id
FROM unnest($1::int8[], $2::uuid[], $3::int4[], $4::int8[], $5::int8[]) AS w(i, key, ns, lo, hi)
JOIN {schema}.stepwell_pending p ON p.key = w.key AND p.ns = w.ns AND p.seq BETWEEN w.lo AND w.hi
ORDER BY w.i, p.record_no, p.idx;

-- name: run_columns
r.run, r.run_id, r.status, r.attempts, r.supersteps, r.idempotency_key, r.graph, r.metadata,
r.meta_index::text, r.input, r.outcome, r.error, r.first_parent,
extract(epoch FROM r.started_at)::float8, extract(epoch FROM r.finished_at)::float8

-- name: runs_named
-- $1 places, $2 thread keys, $3 run numbers.
SELECT w.i, {run}
FROM unnest($1::int8[], $2::uuid[], $3::int4[]) AS w(i, key, run)
JOIN {schema}.stepwell_run r ON r.key = w.key AND r.run = w.run;

-- name: runs
-- $1 thread key, $2 only below this number, $3 at most so many.
SELECT {run} FROM {schema}.stepwell_run r WHERE r.key = $1 AND r.run < $2 ORDER BY r.run DESC LIMIT $3;

-- name: runs_numbered
-- $1 thread keys, $2 numbers.
SELECT w.i, {run} FROM unnest($1::uuid[], $2::int4[]) WITH ORDINALITY AS w(key, run, i)
JOIN {schema}.stepwell_run r ON r.key = w.key AND r.run = w.run;

-- name: described
-- $1 thread keys: the newest run of each that has metadata.
SELECT w.i, r.* FROM unnest($1::uuid[]) WITH ORDINALITY AS w(key, i)
JOIN LATERAL (
  SELECT {run} FROM {schema}.stepwell_run r
  WHERE r.key = w.key AND r.metadata IS NOT NULL ORDER BY r.run DESC LIMIT 1
) r ON true;

-- name: run_keyed
-- $1 thread key, $2 idempotency key: the columns of the index, and the key itself.
SELECT {run} FROM {schema}.stepwell_run r
WHERE r.key = $1 AND sha256(r.idempotency_key) = sha256($2::bytea) AND r.idempotency_key = $2::bytea;

-- name: threads
-- $1 scope, $2 status, $3 graph, $4 updated before, $5 updated after, $6 and $7 the place of
-- the last item seen (the ends of the order when there is none), $8 at most so many. A
-- fragment threads_running or threads_interrupted may follow, and one of threads_by_*.
SELECT {thread} FROM {schema}.stepwell_thread t
WHERE t.scope = $1 AND ($2::int2 IS NULL OR t.status = $2) AND ($3::bytea IS NULL OR t.graph = $3)
  AND ($4::float8 IS NULL OR t.updated_at < to_timestamp($4::float8))
  AND ($5::float8 IS NULL OR t.updated_at > to_timestamp($5::float8))
-- name: tally
-- $1 scope, $2 written then or later (null: ever), $3 seconds of a span (null: all in one).
SELECT t.graph, t.status,
  coalesce(floor(extract(epoch FROM t.created_at)::float8 / $3::float8), 0)::int8,
  count(*), sum(t.runs)::int8, sum(t.checkpoints)::int8, sum(t.bytes)::int8,
  sum(t.interrupts)::int8, min(extract(epoch FROM t.created_at))::float8,
  max(extract(epoch FROM t.updated_at))::float8
FROM {schema}.stepwell_thread t
WHERE t.scope = $1 AND ($2::float8 IS NULL OR t.updated_at >= to_timestamp($2::float8))
GROUP BY 1, 2, 3;

-- name: space
-- $1 schema: bytes of all tables of Stepwell in it, with indexes and what is stored apart.
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname LIKE 'stepwell\_%';

-- name: threads_described
-- $9 a JSON object: what the thread's metadata must have.
AND (SELECT r.meta_index FROM {schema}.stepwell_run r
     WHERE r.key = t.key AND r.metadata IS NOT NULL ORDER BY r.run DESC LIMIT 1) @> $9::jsonb

-- name: threads_running
-- A constant, because that is what a partial index is found by; $2 is null then.
AND t.status = 1

-- name: threads_interrupted
AND t.status = 2

-- name: threads_by_updated_descending
AND (t.updated_at, t.thread_id) < (to_timestamp($6::float8), $7::text)
ORDER BY t.updated_at DESC, t.thread_id DESC LIMIT $8

-- name: threads_by_updated_ascending
AND (t.updated_at, t.thread_id) > (to_timestamp($6::float8), $7::text)
ORDER BY t.updated_at, t.thread_id LIMIT $8

-- name: threads_by_created_descending
AND (t.created_at, t.thread_id) < (to_timestamp($6::float8), $7::text)
ORDER BY t.created_at DESC, t.thread_id DESC LIMIT $8

-- name: threads_by_created_ascending
AND (t.created_at, t.thread_id) > (to_timestamp($6::float8), $7::text)
ORDER BY t.created_at, t.thread_id LIMIT $8

-- name: threads_by_thread_id_descending
AND t.thread_id < $7::text AND $6::float8 IS NOT NULL ORDER BY t.thread_id DESC LIMIT $8

-- name: threads_by_thread_id_ascending
AND t.thread_id > $7::text AND $6::float8 IS NOT NULL ORDER BY t.thread_id LIMIT $8

-- The journal of threads.
--
-- Every table is keyed first by `t`, the small integer that stands for one incarnation of
-- (scope, thread_id) in this file; it is never used twice. Texts may hold whatever a Python str
-- can: NUL, and lone surrogates in the three-byte form that UTF-8 forbids. Bodies are opaque;
-- large columns stand last, so that reading the others does not follow their overflow pages.
--
-- Tables that are appended to are rowid tables with a unique index: clustered by thread, each
-- commit would dirty one page per thread instead of one page per dozen rows.

CREATE TABLE stepwell_meta (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- lease_until counts seconds since the boot that boot_id names; created_at, updated_at and
-- wanted_at are unix seconds. claim_no: the record_no at which the present epoch began.
-- head: newest seq of the root namespace.
CREATE TABLE stepwell_thread (
  t INTEGER PRIMARY KEY AUTOINCREMENT,
  scope TEXT NOT NULL,
  thread_id TEXT NOT NULL,
  uid BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  owner BLOB,
  lock_key INTEGER,
  lease_until REAL,
  boot_id INTEGER,
  beat INTEGER NOT NULL DEFAULT 0,
  record_no INTEGER NOT NULL DEFAULT 0,
  claim_no INTEGER NOT NULL DEFAULT 0,
  layout_no INTEGER NOT NULL,
  request TEXT,
  wanted_at REAL,
  status INTEGER NOT NULL DEFAULT 0,
  run INTEGER NOT NULL DEFAULT 0,
  runs INTEGER NOT NULL DEFAULT 0,
  head INTEGER NOT NULL DEFAULT 0,
  checkpoints INTEGER NOT NULL DEFAULT 0,
  bytes INTEGER NOT NULL DEFAULT 0,
  interrupts INTEGER NOT NULL DEFAULT 0,
  state_version INTEGER NOT NULL DEFAULT 0,
  ttl_s REAL,
  created_at REAL NOT NULL,
  updated_at REAL NOT NULL,
  graph TEXT,
  fingerprint TEXT,
  next_nodes TEXT NOT NULL DEFAULT '[]',
  error TEXT,
  UNIQUE (scope, thread_id)
) STRICT;

-- No index holds a column that every commit changes. Listing by update time therefore sorts.
CREATE INDEX stepwell_thread_age ON stepwell_thread (scope, created_at, thread_id);
CREATE INDEX stepwell_thread_open ON stepwell_thread (scope, status) WHERE status IN (1, 2, 3);

-- Namespaces other than the root, which is number 0 and has its head in the thread row.
CREATE TABLE stepwell_ns (
  t INTEGER NOT NULL,
  ns INTEGER NOT NULL,
  head INTEGER NOT NULL DEFAULT 0,
  name TEXT NOT NULL,
  PRIMARY KEY (t, ns)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX stepwell_ns_name ON stepwell_ns (t, name);

CREATE TABLE stepwell_run (
  t INTEGER NOT NULL,
  run INTEGER NOT NULL,
  run_id TEXT NOT NULL,
  status INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  supersteps INTEGER NOT NULL,
  idempotency_key TEXT,
  first_parent INTEGER,
  started_at REAL NOT NULL,
  finished_at REAL,
  graph TEXT,
  error TEXT,
  meta_index TEXT,
  metadata BLOB,
  input BLOB,
  outcome BLOB,
  UNIQUE (t, run)
) STRICT;

CREATE UNIQUE INDEX stepwell_run_once ON stepwell_run (t, idempotency_key)
  WHERE idempotency_key IS NOT NULL;

-- The metadata of a thread is that of its newest run that has any.
CREATE INDEX stepwell_run_described ON stepwell_run (t, run) WHERE metadata IS NOT NULL;

-- Checkpoints that are not folded yet. parent: NULL = the row before, 0 = nothing.
-- checkpoint_id: only of another scheme (imports); ours follow from record_no and seq.
CREATE TABLE stepwell_tail (
  t INTEGER NOT NULL,
  ns INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  parent INTEGER,
  step INTEGER NOT NULL,
  source INTEGER NOT NULL,
  run INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  record_no INTEGER NOT NULL,
  format INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  created_at REAL NOT NULL,
  checkpoint_id BLOB,
  key_id TEXT,
  meta_index TEXT,
  metadata BLOB,
  body BLOB NOT NULL,
  UNIQUE (t, ns, seq)
) STRICT;

-- Where a chain jumps: one descent finds the next leg of a fork.
CREATE INDEX stepwell_tail_leg ON stepwell_tail (t, ns, seq) WHERE parent IS NOT NULL;

-- What tasks of an unfinished superstep left behind, filed under the checkpoint before it.
CREATE TABLE stepwell_pending (
  t INTEGER NOT NULL,
  ns INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  task_id BLOB NOT NULL,
  idx INTEGER NOT NULL,
  task_path TEXT NOT NULL,
  channel TEXT,
  epoch INTEGER NOT NULL,
  record_no INTEGER NOT NULL,
  format INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  key_id TEXT,
  body BLOB NOT NULL,
  UNIQUE (t, ns, seq, task_id, idx)
) STRICT;

-- Folded stretches of one namespace. body: all that the newest state needs; detail: the rest,
-- last, because most reads leave it out. run_from, run_to: smallest and largest run in it.
CREATE TABLE stepwell_segment (
  t INTEGER NOT NULL,
  ns INTEGER NOT NULL,
  seq_from INTEGER NOT NULL,
  seq_to INTEGER NOT NULL,
  parent INTEGER,
  format INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  key_id TEXT,
  run_from INTEGER NOT NULL DEFAULT 0,
  run_to INTEGER NOT NULL DEFAULT 0,
  body BLOB NOT NULL,
  detail BLOB NOT NULL,
  UNIQUE (t, ns, seq_from)
) STRICT;

CREATE INDEX stepwell_segment_leg ON stepwell_segment (t, ns, seq_from) WHERE parent IS NOT NULL;

-- For people with an SQL prompt: the tables above with names instead of numbers.

CREATE VIEW stepwell_threads AS
SELECT
  a.scope,
  a.thread_id,
  CASE a.status
    WHEN 0 THEN 'idle' WHEN 1 THEN 'running' WHEN 2 THEN 'interrupted'
    WHEN 3 THEN 'failed' WHEN 4 THEN 'done'
  END AS status,
  a.graph,
  r.run_id,
  a.next_nodes,
  a.interrupts,
  a.error,
  a.head,
  a.checkpoints,
  a.bytes,
  a.state_version,
  a.fingerprint,
  lower(hex(a.owner)) AS owner,
  a.epoch,
  a.record_no,
  a.ttl_s,
  strftime('%Y-%m-%dT%H:%M:%fZ', a.created_at, 'unixepoch') AS created_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', a.updated_at, 'unixepoch') AS updated_at,
  a.t
FROM stepwell_thread AS a
LEFT JOIN stepwell_run AS r ON r.t = a.t AND r.run = a.run;

CREATE VIEW stepwell_checkpoints AS
SELECT
  a.scope,
  a.thread_id,
  coalesce(n.name, '') AS ns,
  c.seq,
  coalesce(c.parent, c.seq - 1) AS parent_seq,
  c.step,
  CASE c.source
    WHEN 0 THEN 'input' WHEN 1 THEN 'loop' WHEN 2 THEN 'update' WHEN 3 THEN 'fork'
  END AS source,
  r.run_id,
  strftime('%Y-%m-%dT%H:%M:%fZ', c.created_at, 'unixepoch') AS created_at,
  coalesce(c.meta_index, r.meta_index) AS metadata,
  c.epoch,
  c.record_no,
  lower(hex(c.checkpoint_id)) AS foreign_id,
  length(c.body) AS bytes,
  c.body,
  a.t
FROM stepwell_tail AS c
JOIN stepwell_thread AS a ON a.t = c.t
LEFT JOIN stepwell_ns AS n ON n.t = c.t AND n.ns = c.ns
LEFT JOIN stepwell_run AS r ON r.t = c.t AND r.run = c.run;

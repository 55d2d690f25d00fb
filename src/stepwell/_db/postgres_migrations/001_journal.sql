-- The journal of threads.
--
-- {schema} stands for the quoted name of the schema that holds everything.
--
-- Every table is keyed by `key`, 128 bits of blake2b over (scope, thread_id), and every
-- primary and unique index begins with it; no sequence, no foreign key across tables: the
-- layout can be distributed over nodes by that one column as it is.
--
-- A text of the user's may hold what the type `text` cannot (NUL, lone surrogates). Such
-- columns are bytea with the exact UTF-8 of the text; stepwell_text() gives a readable form,
-- and the two views at the end use it. thread_id is checked before it gets here.
--
-- Bodies are compressed before they come, if at all: STORAGE EXTERNAL keeps the server from
-- trying again.

-- claim_no: the record_no at which the present epoch began. head: newest seq of the root.
CREATE TABLE {schema}.stepwell_thread (
  key uuid PRIMARY KEY,
  uid uuid NOT NULL,
  owner uuid,
  epoch int8 NOT NULL,
  beat int8 NOT NULL DEFAULT 0,
  record_no int8 NOT NULL DEFAULT 0,
  claim_no int8 NOT NULL DEFAULT 0,
  layout_no int8 NOT NULL,
  lock_key int8,
  lease_until timestamptz,
  wanted_at timestamptz,
  head int8 NOT NULL DEFAULT 0,
  checkpoints int8 NOT NULL DEFAULT 0,
  bytes int8 NOT NULL DEFAULT 0,
  state_version int8 NOT NULL DEFAULT 0,
  ttl_s float8,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  run int4 NOT NULL DEFAULT 0,
  runs int4 NOT NULL DEFAULT 0,
  interrupts int4 NOT NULL DEFAULT 0,
  status int2 NOT NULL DEFAULT 0,
  thread_id text COLLATE "C" NOT NULL,
  scope bytea NOT NULL,
  graph bytea,
  fingerprint bytea,
  next_nodes bytea NOT NULL DEFAULT '[]',
  error bytea,
  request text
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- No index holds a column that commits change (beat, record_no, lease_until, updated_at, ...):
-- their updates stay heap-only.
CREATE INDEX stepwell_thread_name ON {schema}.stepwell_thread (scope, thread_id);
CREATE INDEX stepwell_thread_age ON {schema}.stepwell_thread (scope, created_at, thread_id);
CREATE INDEX stepwell_thread_open ON {schema}.stepwell_thread (status, key) WHERE status IN (1, 2);

-- Namespaces other than the root, whose number is 0 and whose head is in the thread row.
CREATE TABLE {schema}.stepwell_ns (
  key uuid NOT NULL,
  head int8 NOT NULL DEFAULT 0,
  ns int4 NOT NULL,
  name bytea NOT NULL,
  PRIMARY KEY (key, ns)
) WITH (fillfactor = 50);

CREATE UNIQUE INDEX stepwell_ns_name ON {schema}.stepwell_ns (key, sha256(name));

CREATE TABLE {schema}.stepwell_run (
  key uuid NOT NULL,
  first_parent int8,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  run int4 NOT NULL,
  attempts int4 NOT NULL,
  supersteps int4 NOT NULL,
  status int2 NOT NULL,
  run_id bytea NOT NULL,
  idempotency_key bytea,
  graph bytea,
  error bytea,
  meta_index jsonb,
  metadata bytea,
  input bytea,
  outcome bytea,
  PRIMARY KEY (key, run)
) WITH (fillfactor = 70);

-- By digest: a key may be longer than what an index takes.
CREATE UNIQUE INDEX stepwell_run_once ON {schema}.stepwell_run (key, sha256(idempotency_key))
  WHERE idempotency_key IS NOT NULL;

-- The metadata of a thread is that of its newest run that has any.
CREATE INDEX stepwell_run_described ON {schema}.stepwell_run (key, run) WHERE metadata IS NOT NULL;

-- Checkpoints that are not folded yet. parent: NULL = the row before, 0 = nothing.
-- id: only ids of another scheme (imports); ours follow from record_no and seq.
CREATE TABLE {schema}.stepwell_tail (
  key uuid NOT NULL,
  seq int8 NOT NULL,
  record_no int8 NOT NULL,
  epoch int8 NOT NULL,
  crc int8 NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  parent int8,
  ns int4 NOT NULL,
  step int4 NOT NULL,
  run int4 NOT NULL,
  source int2 NOT NULL,
  format int2 NOT NULL,
  id bytea,
  key_id bytea,
  meta_index jsonb,
  metadata bytea,
  body bytea NOT NULL,
  PRIMARY KEY (key, ns, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);

-- Where a chain jumps: one descent finds the next leg of a fork.
CREATE INDEX stepwell_tail_leg ON {schema}.stepwell_tail (key, ns, seq) WHERE parent IS NOT NULL;

-- What tasks of an unfinished superstep left behind, filed under the checkpoint before it.
CREATE TABLE {schema}.stepwell_pending (
  key uuid NOT NULL,
  seq int8 NOT NULL,
  record_no int8 NOT NULL,
  epoch int8 NOT NULL,
  crc int8 NOT NULL,
  ns int4 NOT NULL,
  idx int4 NOT NULL,
  format int2 NOT NULL,
  task_id bytea NOT NULL,
  key_id bytea,
  task_path bytea NOT NULL,
  channel bytea,
  body bytea NOT NULL,
  PRIMARY KEY (key, ns, seq, task_id, idx)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);

-- Folded stretches of one namespace. body: all that the newest state needs; detail: the rest.
-- run_from, run_to: smallest and largest run in it.
CREATE TABLE {schema}.stepwell_segment (
  key uuid NOT NULL,
  seq_from int8 NOT NULL,
  seq_to int8 NOT NULL,
  crc int8 NOT NULL,
  parent int8,
  ns int4 NOT NULL,
  run_from int4 NOT NULL DEFAULT 0,
  run_to int4 NOT NULL DEFAULT 0,
  format int2 NOT NULL,
  key_id bytea,
  body bytea NOT NULL,
  detail bytea NOT NULL,
  PRIMARY KEY (key, ns, seq_from)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 100,
  toast.autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_threshold = 500);

CREATE INDEX stepwell_segment_leg ON {schema}.stepwell_segment (key, ns, seq_from)
  WHERE parent IS NOT NULL;

ALTER TABLE {schema}.stepwell_run ALTER input SET STORAGE EXTERNAL, ALTER outcome SET STORAGE EXTERNAL;
ALTER TABLE {schema}.stepwell_tail ALTER body SET STORAGE EXTERNAL;
ALTER TABLE {schema}.stepwell_pending ALTER body SET STORAGE EXTERNAL;
ALTER TABLE {schema}.stepwell_segment ALTER body SET STORAGE EXTERNAL, ALTER detail SET STORAGE EXTERNAL;

-- The readable form of an exact text: itself where the server can hold it, else escaped.
CREATE FUNCTION {schema}.stepwell_text(exact bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $body$
BEGIN
  RETURN convert_from(exact, 'UTF8');
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
  RETURN encode(exact, 'escape');
END
$body$;

CREATE VIEW {schema}.stepwell_threads AS
SELECT
  {schema}.stepwell_text(t.scope) AS scope,
  t.thread_id,
  (ARRAY['idle', 'running', 'interrupted', 'failed', 'done'])[t.status + 1] AS status,
  {schema}.stepwell_text(t.graph) AS graph,
  {schema}.stepwell_text(t.next_nodes) AS next_nodes,
  t.interrupts,
  {schema}.stepwell_text(t.error) AS error,
  t.head,
  t.checkpoints,
  t.bytes,
  t.run,
  t.state_version,
  {schema}.stepwell_text(t.fingerprint) AS fingerprint,
  t.owner,
  t.lease_until,
  t.epoch,
  t.record_no,
  t.ttl_s,
  t.created_at,
  t.updated_at,
  t.key
FROM {schema}.stepwell_thread t;

CREATE VIEW {schema}.stepwell_checkpoints AS
SELECT
  {schema}.stepwell_text(t.scope) AS scope,
  t.thread_id,
  coalesce({schema}.stepwell_text(n.name), '') AS ns,
  c.seq,
  coalesce(c.parent, c.seq - 1) AS parent_seq,
  c.step,
  (ARRAY['input', 'loop', 'update', 'fork'])[c.source + 1] AS source,
  {schema}.stepwell_text(r.run_id) AS run_id,
  c.created_at,
  coalesce(c.meta_index, r.meta_index) AS metadata,
  c.epoch,
  c.record_no,
  octet_length(c.body) AS bytes,
  c.body,
  c.key
FROM {schema}.stepwell_tail c
JOIN {schema}.stepwell_thread t ON t.key = c.key
LEFT JOIN {schema}.stepwell_ns n ON n.key = c.key AND n.ns = c.ns
LEFT JOIN {schema}.stepwell_run r ON r.key = c.key AND r.run = c.run;

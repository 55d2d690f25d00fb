CREATE SCHEMA "golden";

CREATE TABLE "golden".stepwell_migration (
  version int4 PRIMARY KEY,
  name text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The journal of threads.
--
-- "golden" stands for the quoted name of the schema that holds everything.
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
CREATE TABLE "golden".stepwell_thread (
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
CREATE INDEX stepwell_thread_name ON "golden".stepwell_thread (scope, thread_id);
CREATE INDEX stepwell_thread_age ON "golden".stepwell_thread (scope, created_at, thread_id);
CREATE INDEX stepwell_thread_open ON "golden".stepwell_thread (status, key) WHERE status IN (1, 2);

-- Namespaces other than the root, whose number is 0 and whose head is in the thread row.
CREATE TABLE "golden".stepwell_ns (
  key uuid NOT NULL,
  head int8 NOT NULL DEFAULT 0,
  ns int4 NOT NULL,
  name bytea NOT NULL,
  PRIMARY KEY (key, ns)
) WITH (fillfactor = 50);

CREATE UNIQUE INDEX stepwell_ns_name ON "golden".stepwell_ns (key, sha256(name));

CREATE TABLE "golden".stepwell_run (
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
CREATE UNIQUE INDEX stepwell_run_once ON "golden".stepwell_run (key, sha256(idempotency_key))
  WHERE idempotency_key IS NOT NULL;

-- Checkpoints that are not folded yet. parent: NULL = the row before, 0 = nothing.
-- id: only ids of another scheme (imports); ours follow from record_no and seq.
CREATE TABLE "golden".stepwell_tail (
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
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);

-- Where a chain jumps: one descent finds the next leg of a fork.
CREATE INDEX stepwell_tail_leg ON "golden".stepwell_tail (key, ns, seq) WHERE parent IS NOT NULL;

-- What tasks of an unfinished superstep left behind, filed under the checkpoint before it.
CREATE TABLE "golden".stepwell_pending (
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
CREATE TABLE "golden".stepwell_segment (
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
);

CREATE INDEX stepwell_segment_leg ON "golden".stepwell_segment (key, ns, seq_from)
  WHERE parent IS NOT NULL;

ALTER TABLE "golden".stepwell_run ALTER input SET STORAGE EXTERNAL, ALTER outcome SET STORAGE EXTERNAL;
ALTER TABLE "golden".stepwell_tail ALTER body SET STORAGE EXTERNAL;
ALTER TABLE "golden".stepwell_pending ALTER body SET STORAGE EXTERNAL;
ALTER TABLE "golden".stepwell_segment ALTER body SET STORAGE EXTERNAL, ALTER detail SET STORAGE EXTERNAL;

-- The readable form of an exact text: itself where the server can hold it, else escaped.
CREATE FUNCTION "golden".stepwell_text(exact bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $body$
BEGIN
  RETURN convert_from(exact, 'UTF8');
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
  RETURN encode(exact, 'escape');
END
$body$;

CREATE VIEW "golden".stepwell_threads AS
SELECT
  "golden".stepwell_text(t.scope) AS scope,
  t.thread_id,
  (ARRAY['idle', 'running', 'interrupted', 'failed', 'done'])[t.status + 1] AS status,
  "golden".stepwell_text(t.graph) AS graph,
  "golden".stepwell_text(t.next_nodes) AS next_nodes,
  t.interrupts,
  "golden".stepwell_text(t.error) AS error,
  t.head,
  t.checkpoints,
  t.bytes,
  t.run,
  t.state_version,
  "golden".stepwell_text(t.fingerprint) AS fingerprint,
  t.owner,
  t.lease_until,
  t.epoch,
  t.record_no,
  t.ttl_s,
  t.created_at,
  t.updated_at,
  t.key
FROM "golden".stepwell_thread t;

CREATE VIEW "golden".stepwell_checkpoints AS
SELECT
  "golden".stepwell_text(t.scope) AS scope,
  t.thread_id,
  coalesce("golden".stepwell_text(n.name), '') AS ns,
  c.seq,
  coalesce(c.parent, c.seq - 1) AS parent_seq,
  c.step,
  (ARRAY['input', 'loop', 'update', 'fork'])[c.source + 1] AS source,
  "golden".stepwell_text(r.run_id) AS run_id,
  c.created_at,
  coalesce(c.meta_index, r.meta_index) AS metadata,
  c.epoch,
  c.record_no,
  octet_length(c.body) AS bytes,
  c.body,
  c.key
FROM "golden".stepwell_tail c
JOIN "golden".stepwell_thread t ON t.key = c.key
LEFT JOIN "golden".stepwell_ns n ON n.key = c.key AND n.ns = c.ns
LEFT JOIN "golden".stepwell_run r ON r.key = c.key AND r.run = c.run;

CREATE TABLE "golden".stepwell_store_migration (
  version int4 PRIMARY KEY,
  name text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Long-term memory: documents under namespaces. A track of its own: a store needs no threads,
-- and savers need no items.
--
-- `key` is 128 bits of blake2b over (namespace, name). A namespace is the UTF-8 of its
-- elements with NUL in between, so that its order is that of the elements, and all that lies
-- below it is one range; what `text` cannot hold (NUL, lone surrogates) is kept in bytes.
-- `body` is JSON. tagged: it holds tags, and says only to Stepwell's codec what it means;
-- plain: it holds none, nor what jsonb cannot hold, so that a search may look into it.
-- `vectors` are little-endian floats of 4 bytes, `dims` of them each, scaled to length 1.

CREATE TABLE "golden".stepwell_store_item (
  key uuid PRIMARY KEY,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  expires_at timestamptz,
  ttl_s float8,
  dims int4,
  tagged bool NOT NULL,
  plain bool NOT NULL,
  namespace bytea NOT NULL,
  name bytea NOT NULL,
  body bytea NOT NULL,
  vectors bytea
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

ALTER TABLE "golden".stepwell_store_item ALTER vectors SET STORAGE EXTERNAL;

CREATE INDEX stepwell_store_item_place ON "golden".stepwell_store_item (namespace, updated_at);
CREATE INDEX stepwell_store_item_end ON "golden".stepwell_store_item (expires_at)
  WHERE expires_at IS NOT NULL;

INSERT INTO "golden"."stepwell_migration" ("version", "name", "applied_at") VALUES ('1'::integer, 'journal'::text, '2026-11-30 05:50:55.888035+00'::timestamp with time zone);
INSERT INTO "golden"."stepwell_ns" ("key", "head", "ns", "name") VALUES ('9cc40ba5-0ec0-898b-ed43-7e569f45a54b'::uuid, '3'::bigint, '1'::integer, E'\\x696e6e65723a37633638663238392d366138342d333165612d343061652d306663326536393930373262'::bytea);
INSERT INTO "golden"."stepwell_pending" ("key", "seq", "record_no", "epoch", "crc", "ns", "idx", "format", "task_id", "key_id", "task_path", "channel", "body") VALUES ('3d2b1190-3f9b-e10e-1c61-372435dc4972'::uuid, '3'::bigint, '4'::bigint, '2356429073705919'::bigint, '1700940788'::bigint, '0'::integer, '-1'::integer, '1'::smallint, E'\\xbe59ae8a61d035f913257b8d03848ff7'::bytea, NULL::bytea, E'\\x5f5f70726567656c5f70756c6c2c62726f6b656e'::bytea, E'\\x5f5f6572726f725f5f'::bytea, E'\\x7b2276223a2256616c75654572726f722827706c616e7465642729227d'::bytea);
INSERT INTO "golden"."stepwell_pending" ("key", "seq", "record_no", "epoch", "crc", "ns", "idx", "format", "task_id", "key_id", "task_path", "channel", "body") VALUES ('66f0cd1b-e683-50e3-abc7-25c876fcdaa2'::uuid, '3'::bigint, '4'::bigint, '1456635657965585'::bigint, '740377527'::bigint, '0'::integer, '0'::integer, '1'::smallint, E'\\x63a2eaf25b99e10ca37e6521596af22c'::bytea, NULL::bytea, E'\\x5f5f70726567656c5f707573682c302c46616c7365'::bytea, NULL::bytea, E'\\x7b2277223a5b5b226c6f67222c5b22706172742030225d5d2c5b226272616e63683a746f3a7365636f6e64222c6e756c6c5d5d7d'::bytea);
INSERT INTO "golden"."stepwell_pending" ("key", "seq", "record_no", "epoch", "crc", "ns", "idx", "format", "task_id", "key_id", "task_path", "channel", "body") VALUES ('9cc40ba5-0ec0-898b-ed43-7e569f45a54b'::uuid, '3'::bigint, '7'::bigint, '2816203915931973'::bigint, '726136768'::bigint, '1'::integer, '-3'::integer, '1'::smallint, E'\\x3bfc6ab5eda80136c98921a2a1311a39'::bytea, NULL::bytea, E'\\x5f5f70726567656c5f70756c6c2c61736b'::bytea, E'\\x5f5f696e746572727570745f5f'::bytea, E'\\x7b2276223a5b5b7b227175657374696f6e223a22676f206f6e3f222c226e223a327d2c226633386664616464643037343435303934636261643066326436343839636637222c6e756c6c5d5d7d'::bytea);
INSERT INTO "golden"."stepwell_pending" ("key", "seq", "record_no", "epoch", "crc", "ns", "idx", "format", "task_id", "key_id", "task_path", "channel", "body") VALUES ('9cc40ba5-0ec0-898b-ed43-7e569f45a54b'::uuid, '3'::bigint, '8'::bigint, '2816203915931973'::bigint, '726136768'::bigint, '0'::integer, '-3'::integer, '1'::smallint, E'\\x7c68f2896a8431ea40ae0fc2e699072b'::bytea, NULL::bytea, E'\\x5f5f70726567656c5f70756c6c2c696e6e6572'::bytea, E'\\x5f5f696e746572727570745f5f'::bytea, E'\\x7b2276223a5b5b7b227175657374696f6e223a22676f206f6e3f222c226e223a327d2c226633386664616464643037343435303934636261643066326436343839636637222c6e756c6c5d5d7d'::bytea);
INSERT INTO "golden"."stepwell_pending" ("key", "seq", "record_no", "epoch", "crc", "ns", "idx", "format", "task_id", "key_id", "task_path", "channel", "body") VALUES ('f90a4927-dbfb-1dcf-71ff-e1cce8ab3d4f'::uuid, '3'::bigint, '4'::bigint, '1621912322521738'::bigint, '766457822'::bigint, '0'::integer, '-3'::integer, '1'::smallint, E'\\xc288918fb50c54ebcbb0291137a1bc0d'::bytea, NULL::bytea, E'\\x5f5f70726567656c5f70756c6c2c61736b'::bytea, E'\\x5f5f696e746572727570745f5f'::bytea, E'\\x7b2276223a5b5b7b227175657374696f6e223a22676f206f6e3f222c226e223a317d2c223436316465396130333263633939633961653739316234343636633831393364222c6e756c6c5d5d7d'::bytea);
INSERT INTO "golden"."stepwell_run" ("key", "first_parent", "started_at", "finished_at", "run", "attempts", "supersteps", "status", "run_id", "idempotency_key", "graph", "error", "meta_index", "metadata", "input", "outcome") VALUES ('2662ad42-a4f7-387c-a339-913be68248ed'::uuid, '0'::bigint, '2026-11-30 05:50:56.119414+00'::timestamp with time zone, '2026-11-30 05:50:56.150766+00'::timestamp with time zone, '1'::integer, '1'::integer, '4'::integer, '4'::smallint, E'\\x64356166386634392d363339642d346433352d393738652d333431613533363939626366'::bytea, NULL::bytea, E'\\x4c616e674772617068'::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, NULL::bytea, NULL::bytea);
INSERT INTO "golden"."stepwell_run" ("key", "first_parent", "started_at", "finished_at", "run", "attempts", "supersteps", "status", "run_id", "idempotency_key", "graph", "error", "meta_index", "metadata", "input", "outcome") VALUES ('2662ad42-a4f7-387c-a339-913be68248ed'::uuid, '5'::bigint, '2026-11-30 05:50:56.21254+00'::timestamp with time zone, '2026-11-30 05:50:56.229205+00'::timestamp with time zone, '2'::integer, '1'::integer, '4'::integer, '4'::smallint, E'\\x33306265353361322d646538662d343162652d623564372d633434316234656235653531'::bytea, NULL::bytea, E'\\x4c616e674772617068'::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, NULL::bytea, NULL::bytea);
INSERT INTO "golden"."stepwell_run" ("key", "first_parent", "started_at", "finished_at", "run", "attempts", "supersteps", "status", "run_id", "idempotency_key", "graph", "error", "meta_index", "metadata", "input", "outcome") VALUES ('3465438b-e6ea-1b9c-3699-c8679afbde0a'::uuid, '0'::bigint, '2026-11-30 05:50:56.444604+00'::timestamp with time zone, '2026-11-30 05:50:56.462609+00'::timestamp with time zone, '1'::integer, '1'::integer, '4'::integer, '4'::smallint, E'\\x38373063393830622d396433372d346436382d616665382d663233363532613932313332'::bytea, NULL::bytea, E'\\x4c616e674772617068'::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, NULL::bytea, NULL::bytea);
INSERT INTO "golden"."stepwell_run" ("key", "first_parent", "started_at", "finished_at", "run", "attempts", "supersteps", "status", "run_id", "idempotency_key", "graph", "error", "meta_index", "metadata", "input", "outcome") VALUES ('3d2b1190-3f9b-e10e-1c61-372435dc4972'::uuid, '0'::bigint, '2026-11-30 05:50:56.536395+00'::timestamp with time zone, '2026-11-30 05:50:56.549479+00'::timestamp with time zone, '1'::integer, '1'::integer, '2'::integer, '3'::smallint, E'\\x37653238613633642d336134352d343937332d626235372d663634623663303837653061'::bytea, NULL::bytea, E'\\x4c616e674772617068'::bytea, E'\\x56616c75654572726f722827706c616e7465642729'::bytea, NULL::jsonb, NULL::bytea, NULL::bytea, NULL::bytea);
INSERT INTO "golden"."stepwell_run" ("key", "first_parent", "started_at", "finished_at", "run", "attempts", "supersteps", "status", "run_id", "idempotency_key", "graph", "error", "meta_index", "metadata", "input", "outcome") VALUES ('60498d8c-e703-c3d1-e2f5-c256219b2651'::uuid, '0'::bigint, '2026-11-30 05:50:56.262221+00'::timestamp with time zone, '2026-11-30 05:50:56.262221+00'::timestamp with time zone, '1'::integer, '1'::integer, '4'::integer, '4'::smallint, E'\\x39653438363533372d346163632d343862372d393266622d646130363837356566386263'::bytea, NULL::bytea, E'\\x4c616e674772617068'::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, NULL::bytea, NULL::bytea);
INSERT INTO "golden"."stepwell_run" ("key", "first_parent", "started_at", "finished_at", "run", "attempts", "supersteps", "status", "run_id", "idempotency_key", "graph", "error", "meta_index", "metadata", "input", "outcome") VALUES ('66f0cd1b-e683-50e3-abc7-25c876fcdaa2'::uuid, '0'::bigint, '2026-11-30 05:50:59.161588+00'::timestamp with time zone, NULL::timestamp with time zone, '1'::integer, '1'::integer, '0'::integer, '1'::smallint, E'\\x65393463373838632d346230302d343464332d623364652d316138316364656530626335'::bytea, NULL::bytea, E'\\x4c616e674772617068'::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, NULL::bytea, NULL::bytea);
INSERT INTO "golden"."stepwell_run" ("key", "first_parent", "started_at", "finished_at", "run", "attempts", "supersteps", "status", "run_id", "idempotency_key", "graph", "error", "meta_index", "metadata", "input", "outcome") VALUES ('9cc40ba5-0ec0-898b-ed43-7e569f45a54b'::uuid, '0'::bigint, '2026-11-30 05:50:56.352249+00'::timestamp with time zone, '2026-11-30 05:50:56.422056+00'::timestamp with time zone, '1'::integer, '1'::integer, '2'::integer, '2'::smallint, E'\\x38333931353639312d656264622d346335662d393736342d373633373533376466306235'::bytea, NULL::bytea, E'\\x4c616e674772617068'::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, NULL::bytea, NULL::bytea);
INSERT INTO "golden"."stepwell_run" ("key", "first_parent", "started_at", "finished_at", "run", "attempts", "supersteps", "status", "run_id", "idempotency_key", "graph", "error", "meta_index", "metadata", "input", "outcome") VALUES ('f90a4927-dbfb-1dcf-71ff-e1cce8ab3d4f'::uuid, '0'::bigint, '2026-11-30 05:50:56.304399+00'::timestamp with time zone, '2026-11-30 05:50:56.319317+00'::timestamp with time zone, '1'::integer, '1'::integer, '2'::integer, '2'::smallint, E'\\x34323362663637322d316466622d343230662d396630372d636361623732383135646565'::bytea, NULL::bytea, E'\\x4c616e674772617068'::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, NULL::bytea, NULL::bytea);
INSERT INTO "golden"."stepwell_store_item" ("key", "created_at", "updated_at", "expires_at", "ttl_s", "dims", "tagged", "plain", "namespace", "name", "body", "vectors") VALUES ('25f821bc-21f9-4de1-487f-e27b5f660ffd'::uuid, '2026-11-30 05:50:56.611583+00'::timestamp with time zone, '2026-11-30 05:50:56.611583+00'::timestamp with time zone, NULL::timestamp with time zone, NULL::double precision, NULL::integer, 'false'::boolean, 'true'::boolean, E'\\x676f6c64656e0061'::bytea, E'\\x6b6579'::bytea, E'\\x7b2276616c7565223a312c2274657874223a226772c3b6c39f6572227d'::bytea, NULL::bytea);
INSERT INTO "golden"."stepwell_store_item" ("key", "created_at", "updated_at", "expires_at", "ttl_s", "dims", "tagged", "plain", "namespace", "name", "body", "vectors") VALUES ('7d463e14-77a6-7600-4fe8-aa8dfd92d9b0'::uuid, '2026-11-30 05:50:56.616053+00'::timestamp with time zone, '2026-11-30 05:50:56.616053+00'::timestamp with time zone, NULL::timestamp with time zone, NULL::double precision, NULL::integer, 'false'::boolean, 'true'::boolean, E'\\x676f6c64656e0062'::bytea, E'\\x6f74686572'::bytea, E'\\x7b2276616c7565223a5b312c325d7d'::bytea, NULL::bytea);
INSERT INTO "golden"."stepwell_store_migration" ("version", "name", "applied_at") VALUES ('1'::integer, 'store'::text, '2026-11-30 05:50:56.590977+00'::timestamp with time zone);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('2662ad42-a4f7-387c-a339-913be68248ed'::uuid, '1'::bigint, '1'::bigint, '816586777007393'::bigint, '1740294227'::bigint, '2026-11-30 05:50:56.11965+00'::timestamp with time zone, NULL::bigint, '0'::integer, '-1'::integer, '1'::integer, '0'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f696e7075745f5f222c2d332c5b5d2c5b5b225f5f73746172745f5f225d5d5d5d2c2263223a7b225f5f73746172745f5f223a5b2273222c7b226c6f67223a5b22696e225d7d5d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('2662ad42-a4f7-387c-a339-913be68248ed'::uuid, '10'::bigint, '10'::bigint, '816586777007394'::bigint, '3084817464'::bigint, '2026-11-30 05:50:56.22924+00'::timestamp with time zone, NULL::bigint, '0'::integer, '8'::integer, '2'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b227365636f6e64222c2d312c6e756c6c2c5b5b226e225d2c5b226c6f67225d2c5b227461626c65225d2c5b226d65737361676573225d5d5d5d2c2263223a7b226e223a5b2273222c345d2c226c6f67223a5b2261222c5b226164642034225d5d2c227461626c65223a5b2273222c7b226b31223a312c226b32223a322c226b33223a332c226b34223a347d5d2c226d65737361676573223a5b2261222c5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2034222c226964223a226d34227d5d5d2c226272616e63683a746f3a7365636f6e64223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('2662ad42-a4f7-387c-a339-913be68248ed'::uuid, '2'::bigint, '2'::bigint, '816586777007393'::bigint, '3011825385'::bigint, '2026-11-30 05:50:56.137101+00'::timestamp with time zone, NULL::bigint, '0'::integer, '0'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f73746172745f5f222c2d312c5b225f5f73746172745f5f225d2c5b5b226c6f67225d2c5b226272616e63683a746f3a6669727374225d5d5d5d2c2263223a7b226c6f67223a5b2261222c5b22696e225d5d2c226272616e63683a746f3a6669727374223a5b2273222c6e756c6c5d2c225f5f73746172745f5f223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('2662ad42-a4f7-387c-a339-913be68248ed'::uuid, '3'::bigint, '3'::bigint, '816586777007393'::bigint, '1326889430'::bigint, '2026-11-30 05:50:56.142812+00'::timestamp with time zone, NULL::bigint, '0'::integer, '1'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b226669727374222c2d312c6e756c6c2c5b5b226e225d2c5b226c6f67225d2c5b227461626c65225d2c5b226d65737361676573225d2c5b226272616e63683a746f3a66696c6c225d5d5d5d2c2263223a7b226e223a5b2273222c315d2c226c6f67223a5b2261222c5b226164642031225d5d2c227461626c65223a5b2273222c7b226b31223a317d5d2c226d65737361676573223a5b2261222c5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2031222c226964223a226d31227d5d5d2c226272616e63683a746f3a66696c6c223a5b2273222c6e756c6c5d2c226272616e63683a746f3a6669727374223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('2662ad42-a4f7-387c-a339-913be68248ed'::uuid, '4'::bigint, '4'::bigint, '816586777007393'::bigint, '1706504293'::bigint, '2026-11-30 05:50:56.146317+00'::timestamp with time zone, NULL::bigint, '0'::integer, '2'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b2266696c6c222c2d312c6e756c6c2c5b5b226b696e6473225d2c5b22636f6c6f7572225d2c5b22706f696e74225d2c5b226f72646572225d2c5b226c6f67225d2c5b226272616e63683a746f3a7365636f6e64225d5d5d5d2c2263223a7b226b696e6473223a5b2253222c7b226e6f6e65223a6e756c6c2c22666c616773223a5b747275652c66616c73655d2c22626967223a7b2224696e74223a22313030303030303030303030303030303030303030227d2c22666c6f617473223a5b302e312c2d302e302c7b2224666c6f6174223a2231652b333030227d5d2c22696e66696e697465223a7b2224666c6f6174223a22696e66227d2c226279746573223a7b22246279746573223a224150383d227d2c227475706c65223a7b22247475706c65223a5b312c7b22247475706c65223a5b325d7d5d7d2c22736574223a7b2224736574223a5b315d7d2c2266726f7a656e223a7b222466726f7a656e736574223a5b2261225d7d2c22636f6d706c6578223a7b2224636f6d706c6578223a5b312e302c322e305d7d2c22646563696d616c223a7b2224646563696d616c223a22312e3130227d2c2264617465223a7b222464617465223a22323032362d30312d3032227d2c2274696d65223a7b222474696d65223a2230333a30343a30352e303030303036227d2c227370616e223a7b222474696d6564656c7461223a5b312c322c305d7d2c226d6f6d656e74223a7b22246461746574696d65223a22323032362d30312d30325430333a30343a30352e3030303030362b30303a3030227d2c2275756964223a7b222475756964223a2231323334353637382d313233342d353637382d313233342d353637383132333435363738227d2c2270617468223a7b22247075726570617468223a5b22706f736978222c22612f62225d7d2c226b657973223a7b222464696374223a5b312c22696e74222c7b22247475706c65223a5b312c325d7d2c227475706c65222c6e756c6c2c226e6f6e65225d7d2c226e756c223a22615c753030303062222c226c6f6e65223a7b2224737472223a2237614341227d2c22776f726473223a226772c3b6c39f657220e6bca2e5ad9720f09f9982222c22746167223a7b222464696374223a5b2224222c226e6f20746167225d7d2c2272616e6765223a5b5b5d2c7b7d2c22225d7d5d2c22636f6c6f7572223a5b2253222c7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a436f6c6f7572223a22524544227d5d2c22706f696e74223a5b2253222c7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a506f696e74223a7b2278223a312c2279223a322e357d7d5d2c226f72646572223a5b2253222c7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a4f72646572223a7b226e616d65223a226669727374222c226c696e6573223a5b7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a506f696e74223a7b2278223a332c2279223a342e357d7d5d7d7d5d2c226c6f67223a5b2261222c5b2266696c6c225d5d2c226272616e63683a746f3a7365636f6e64223a5b2273222c6e756c6c5d2c226272616e63683a746f3a66696c6c223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('2662ad42-a4f7-387c-a339-913be68248ed'::uuid, '5'::bigint, '5'::bigint, '816586777007393'::bigint, '257619238'::bigint, '2026-11-30 05:50:56.15088+00'::timestamp with time zone, NULL::bigint, '0'::integer, '3'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b227365636f6e64222c2d312c6e756c6c2c5b5b226e225d2c5b226c6f67225d2c5b227461626c65225d2c5b226d65737361676573225d5d5d5d2c2263223a7b226e223a5b2273222c325d2c226c6f67223a5b2261222c5b226164642032225d5d2c227461626c65223a5b2273222c7b226b31223a312c226b32223a327d5d2c226d65737361676573223a5b2261222c5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2032222c226964223a226d32227d5d5d2c226272616e63683a746f3a7365636f6e64223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('2662ad42-a4f7-387c-a339-913be68248ed'::uuid, '6'::bigint, '6'::bigint, '816586777007394'::bigint, '1740294227'::bigint, '2026-11-30 05:50:56.212577+00'::timestamp with time zone, NULL::bigint, '0'::integer, '4'::integer, '2'::integer, '0'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f696e7075745f5f222c2d332c5b5d2c5b5b225f5f73746172745f5f225d5d5d5d2c2263223a7b225f5f73746172745f5f223a5b2273222c7b226c6f67223a5b22696e225d7d5d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('2662ad42-a4f7-387c-a339-913be68248ed'::uuid, '7'::bigint, '7'::bigint, '816586777007394'::bigint, '3011825385'::bigint, '2026-11-30 05:50:56.214367+00'::timestamp with time zone, NULL::bigint, '0'::integer, '5'::integer, '2'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f73746172745f5f222c2d312c5b225f5f73746172745f5f225d2c5b5b226c6f67225d2c5b226272616e63683a746f3a6669727374225d5d5d5d2c2263223a7b226c6f67223a5b2261222c5b22696e225d5d2c226272616e63683a746f3a6669727374223a5b2273222c6e756c6c5d2c225f5f73746172745f5f223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('2662ad42-a4f7-387c-a339-913be68248ed'::uuid, '8'::bigint, '8'::bigint, '816586777007394'::bigint, '2985827107'::bigint, '2026-11-30 05:50:56.223461+00'::timestamp with time zone, NULL::bigint, '0'::integer, '6'::integer, '2'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b226669727374222c2d312c6e756c6c2c5b5b226e225d2c5b226c6f67225d2c5b227461626c65225d2c5b226d65737361676573225d2c5b226272616e63683a746f3a66696c6c225d5d5d5d2c2263223a7b226e223a5b2273222c335d2c226c6f67223a5b2261222c5b226164642033225d5d2c227461626c65223a5b2273222c7b226b31223a312c226b32223a322c226b33223a337d5d2c226d65737361676573223a5b2261222c5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2033222c226964223a226d33227d5d5d2c226272616e63683a746f3a66696c6c223a5b2273222c6e756c6c5d2c226272616e63683a746f3a6669727374223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('2662ad42-a4f7-387c-a339-913be68248ed'::uuid, '9'::bigint, '9'::bigint, '816586777007394'::bigint, '338951310'::bigint, '2026-11-30 05:50:56.224687+00'::timestamp with time zone, NULL::bigint, '0'::integer, '7'::integer, '2'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b2266696c6c222c2d312c6e756c6c2c5b5b226b696e6473225d2c5b22636f6c6f7572225d2c5b22706f696e74225d2c5b226f72646572225d2c5b226c6f67225d2c5b226272616e63683a746f3a7365636f6e64225d5d5d5d2c2263223a7b226b696e6473223a5b2250222c3734382c302c22222c313639333638343130305d2c22636f6c6f7572223a5b2253222c7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a436f6c6f7572223a22524544227d5d2c22706f696e74223a5b2253222c7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a506f696e74223a7b2278223a312c2279223a322e357d7d5d2c226f72646572223a5b2253222c7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a4f72646572223a7b226e616d65223a226669727374222c226c696e6573223a5b7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a506f696e74223a7b2278223a332c2279223a342e357d7d5d7d7d5d2c226c6f67223a5b2261222c5b2266696c6c225d5d2c226272616e63683a746f3a7365636f6e64223a5b2273222c6e756c6c5d2c226272616e63683a746f3a66696c6c223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('3465438b-e6ea-1b9c-3699-c8679afbde0a'::uuid, '1'::bigint, '1'::bigint, '1364477308208870'::bigint, '1740294227'::bigint, '2026-11-30 05:50:56.444663+00'::timestamp with time zone, NULL::bigint, '0'::integer, '-1'::integer, '1'::integer, '0'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f696e7075745f5f222c2d332c5b5d2c5b5b225f5f73746172745f5f225d5d5d5d2c2263223a7b225f5f73746172745f5f223a5b2273222c7b226c6f67223a5b22696e225d7d5d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('3465438b-e6ea-1b9c-3699-c8679afbde0a'::uuid, '2'::bigint, '2'::bigint, '1364477308208870'::bigint, '3011825385'::bigint, '2026-11-30 05:50:56.450302+00'::timestamp with time zone, NULL::bigint, '0'::integer, '0'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f73746172745f5f222c2d312c5b225f5f73746172745f5f225d2c5b5b226c6f67225d2c5b226272616e63683a746f3a6669727374225d5d5d5d2c2263223a7b226c6f67223a5b2261222c5b22696e225d5d2c226272616e63683a746f3a6669727374223a5b2273222c6e756c6c5d2c225f5f73746172745f5f223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('3465438b-e6ea-1b9c-3699-c8679afbde0a'::uuid, '3'::bigint, '3'::bigint, '1364477308208870'::bigint, '1326889430'::bigint, '2026-11-30 05:50:56.453882+00'::timestamp with time zone, NULL::bigint, '0'::integer, '1'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b226669727374222c2d312c6e756c6c2c5b5b226e225d2c5b226c6f67225d2c5b227461626c65225d2c5b226d65737361676573225d2c5b226272616e63683a746f3a66696c6c225d5d5d5d2c2263223a7b226e223a5b2273222c315d2c226c6f67223a5b2261222c5b226164642031225d5d2c227461626c65223a5b2273222c7b226b31223a317d5d2c226d65737361676573223a5b2261222c5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2031222c226964223a226d31227d5d5d2c226272616e63683a746f3a66696c6c223a5b2273222c6e756c6c5d2c226272616e63683a746f3a6669727374223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('3465438b-e6ea-1b9c-3699-c8679afbde0a'::uuid, '4'::bigint, '4'::bigint, '1364477308208870'::bigint, '1706504293'::bigint, '2026-11-30 05:50:56.461185+00'::timestamp with time zone, NULL::bigint, '0'::integer, '2'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b2266696c6c222c2d312c6e756c6c2c5b5b226b696e6473225d2c5b22636f6c6f7572225d2c5b22706f696e74225d2c5b226f72646572225d2c5b226c6f67225d2c5b226272616e63683a746f3a7365636f6e64225d5d5d5d2c2263223a7b226b696e6473223a5b2253222c7b226e6f6e65223a6e756c6c2c22666c616773223a5b747275652c66616c73655d2c22626967223a7b2224696e74223a22313030303030303030303030303030303030303030227d2c22666c6f617473223a5b302e312c2d302e302c7b2224666c6f6174223a2231652b333030227d5d2c22696e66696e697465223a7b2224666c6f6174223a22696e66227d2c226279746573223a7b22246279746573223a224150383d227d2c227475706c65223a7b22247475706c65223a5b312c7b22247475706c65223a5b325d7d5d7d2c22736574223a7b2224736574223a5b315d7d2c2266726f7a656e223a7b222466726f7a656e736574223a5b2261225d7d2c22636f6d706c6578223a7b2224636f6d706c6578223a5b312e302c322e305d7d2c22646563696d616c223a7b2224646563696d616c223a22312e3130227d2c2264617465223a7b222464617465223a22323032362d30312d3032227d2c2274696d65223a7b222474696d65223a2230333a30343a30352e303030303036227d2c227370616e223a7b222474696d6564656c7461223a5b312c322c305d7d2c226d6f6d656e74223a7b22246461746574696d65223a22323032362d30312d30325430333a30343a30352e3030303030362b30303a3030227d2c2275756964223a7b222475756964223a2231323334353637382d313233342d353637382d313233342d353637383132333435363738227d2c2270617468223a7b22247075726570617468223a5b22706f736978222c22612f62225d7d2c226b657973223a7b222464696374223a5b312c22696e74222c7b22247475706c65223a5b312c325d7d2c227475706c65222c6e756c6c2c226e6f6e65225d7d2c226e756c223a22615c753030303062222c226c6f6e65223a7b2224737472223a2237614341227d2c22776f726473223a226772c3b6c39f657220e6bca2e5ad9720f09f9982222c22746167223a7b222464696374223a5b2224222c226e6f20746167225d7d2c2272616e6765223a5b5b5d2c7b7d2c22225d7d5d2c22636f6c6f7572223a5b2253222c7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a436f6c6f7572223a22524544227d5d2c22706f696e74223a5b2253222c7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a506f696e74223a7b2278223a312c2279223a322e357d7d5d2c226f72646572223a5b2253222c7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a4f72646572223a7b226e616d65223a226669727374222c226c696e6573223a5b7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a506f696e74223a7b2278223a332c2279223a342e357d7d5d7d7d5d2c226c6f67223a5b2261222c5b2266696c6c225d5d2c226272616e63683a746f3a7365636f6e64223a5b2273222c6e756c6c5d2c226272616e63683a746f3a66696c6c223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('3465438b-e6ea-1b9c-3699-c8679afbde0a'::uuid, '5'::bigint, '5'::bigint, '1364477308208870'::bigint, '257619238'::bigint, '2026-11-30 05:50:56.46264+00'::timestamp with time zone, NULL::bigint, '0'::integer, '3'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b227365636f6e64222c2d312c6e756c6c2c5b5b226e225d2c5b226c6f67225d2c5b227461626c65225d2c5b226d65737361676573225d5d5d5d2c2263223a7b226e223a5b2273222c325d2c226c6f67223a5b2261222c5b226164642032225d5d2c227461626c65223a5b2273222c7b226b31223a312c226b32223a327d5d2c226d65737361676573223a5b2261222c5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2032222c226964223a226d32227d5d5d2c226272616e63683a746f3a7365636f6e64223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('3465438b-e6ea-1b9c-3699-c8679afbde0a'::uuid, '6'::bigint, '6'::bigint, '1364477308208871'::bigint, '2881601856'::bigint, '2026-11-30 05:50:56.507975+00'::timestamp with time zone, '3'::bigint, '0'::integer, '2'::integer, '0'::integer, '2'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b226669727374222c2d322c5b5d2c5b5b226c6f67225d2c5b226272616e63683a746f3a66696c6c225d5d5d5d2c2263223a7b226c6f67223a5b2261222c5b22656469746564225d5d2c226272616e63683a746f3a66696c6c223a5b2273222c6e756c6c5d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('3d2b1190-3f9b-e10e-1c61-372435dc4972'::uuid, '1'::bigint, '1'::bigint, '2356429073705919'::bigint, '1740294227'::bigint, '2026-11-30 05:50:56.53643+00'::timestamp with time zone, NULL::bigint, '0'::integer, '-1'::integer, '1'::integer, '0'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f696e7075745f5f222c2d332c5b5d2c5b5b225f5f73746172745f5f225d5d5d5d2c2263223a7b225f5f73746172745f5f223a5b2273222c7b226c6f67223a5b22696e225d7d5d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('3d2b1190-3f9b-e10e-1c61-372435dc4972'::uuid, '2'::bigint, '2'::bigint, '2356429073705919'::bigint, '3011825385'::bigint, '2026-11-30 05:50:56.540527+00'::timestamp with time zone, NULL::bigint, '0'::integer, '0'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f73746172745f5f222c2d312c5b225f5f73746172745f5f225d2c5b5b226c6f67225d2c5b226272616e63683a746f3a6669727374225d5d5d5d2c2263223a7b226c6f67223a5b2261222c5b22696e225d5d2c226272616e63683a746f3a6669727374223a5b2273222c6e756c6c5d2c225f5f73746172745f5f223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('3d2b1190-3f9b-e10e-1c61-372435dc4972'::uuid, '3'::bigint, '3'::bigint, '2356429073705919'::bigint, '771442563'::bigint, '2026-11-30 05:50:56.548316+00'::timestamp with time zone, NULL::bigint, '0'::integer, '1'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b226669727374222c2d312c6e756c6c2c5b5b226e225d2c5b226c6f67225d2c5b227461626c65225d2c5b226d65737361676573225d2c5b226272616e63683a746f3a62726f6b656e225d5d5d5d2c2263223a7b226e223a5b2273222c315d2c226c6f67223a5b2261222c5b226164642031225d5d2c227461626c65223a5b2273222c7b226b31223a317d5d2c226d65737361676573223a5b2261222c5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2031222c226964223a226d31227d5d5d2c226272616e63683a746f3a62726f6b656e223a5b2273222c6e756c6c5d2c226272616e63683a746f3a6669727374223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('60498d8c-e703-c3d1-e2f5-c256219b2651'::uuid, '1'::bigint, '5'::bigint, '4360210175501006'::bigint, '2476781716'::bigint, '2026-11-30 05:50:56.26226+00'::timestamp with time zone, NULL::bigint, '0'::integer, '3'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b227365636f6e64222c2d312c6e756c6c2c5b5d5d5d2c2263223a7b225f5f73746172745f5f223a5b2278225d2c226c6f67223a5b2261222c5b22696e222c226164642031222c2266696c6c222c226164642032225d5d2c226272616e63683a746f3a6669727374223a5b2278225d2c226e223a5b2273222c325d2c227461626c65223a5b2273222c7b226b31223a312c226b32223a327d5d2c226d65737361676573223a5b2261222c5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2031222c226964223a226d31227d2c7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2032222c226964223a226d32227d5d5d2c226272616e63683a746f3a66696c6c223a5b2278225d2c226b696e6473223a5b2253222c7b226e6f6e65223a6e756c6c2c22666c616773223a5b747275652c66616c73655d2c22626967223a7b2224696e74223a22313030303030303030303030303030303030303030227d2c22666c6f617473223a5b302e312c2d302e302c7b2224666c6f6174223a2231652b333030227d5d2c22696e66696e697465223a7b2224666c6f6174223a22696e66227d2c226279746573223a7b22246279746573223a224150383d227d2c227475706c65223a7b22247475706c65223a5b312c7b22247475706c65223a5b325d7d5d7d2c22736574223a7b2224736574223a5b315d7d2c2266726f7a656e223a7b222466726f7a656e736574223a5b2261225d7d2c22636f6d706c6578223a7b2224636f6d706c6578223a5b312e302c322e305d7d2c22646563696d616c223a7b2224646563696d616c223a22312e3130227d2c2264617465223a7b222464617465223a22323032362d30312d3032227d2c2274696d65223a7b222474696d65223a2230333a30343a30352e303030303036227d2c227370616e223a7b222474696d6564656c7461223a5b312c322c305d7d2c226d6f6d656e74223a7b22246461746574696d65223a22323032362d30312d30325430333a30343a30352e3030303030362b30303a3030227d2c2275756964223a7b222475756964223a2231323334353637382d313233342d353637382d313233342d353637383132333435363738227d2c2270617468223a7b22247075726570617468223a5b22706f736978222c22612f62225d7d2c226b657973223a7b222464696374223a5b312c22696e74222c7b22247475706c65223a5b312c325d7d2c227475706c65222c6e756c6c2c226e6f6e65225d7d2c226e756c223a22615c753030303062222c226c6f6e65223a7b2224737472223a2237614341227d2c22776f726473223a226772c3b6c39f657220e6bca2e5ad9720f09f9982222c22746167223a7b222464696374223a5b2224222c226e6f20746167225d7d2c2272616e6765223a5b5b5d2c7b7d2c22225d7d5d2c22636f6c6f7572223a5b2253222c7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a436f6c6f7572223a22524544227d5d2c22706f696e74223a5b2253222c7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a506f696e74223a7b2278223a312c2279223a322e357d7d5d2c226f72646572223a5b2253222c7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a4f72646572223a7b226e616d65223a226669727374222c226c696e6573223a5b7b22243a74657374732e676f6c64656e2e5f70726f6772616d3a506f696e74223a7b2278223a332c2279223a342e357d7d5d7d7d5d2c226272616e63683a746f3a7365636f6e64223a5b2278225d7d2c2269223a302c227a223a5b352c7b225f5f73746172745f5f223a322c226c6f67223a352c226272616e63683a746f3a6669727374223a332c226e223a352c227461626c65223a352c226d65737361676573223a352c226272616e63683a746f3a66696c6c223a342c226b696e6473223a342c22636f6c6f7572223a342c22706f696e74223a342c226f72646572223a342c226272616e63683a746f3a7365636f6e64223a357d2c7b225f5f73746172745f5f223a7b225f5f73746172745f5f223a317d2c226669727374223a7b226272616e63683a746f3a6669727374223a327d2c2266696c6c223a7b226272616e63683a746f3a66696c6c223a337d2c227365636f6e64223a7b226272616e63683a746f3a7365636f6e64223a347d7d5d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('66f0cd1b-e683-50e3-abc7-25c876fcdaa2'::uuid, '1'::bigint, '1'::bigint, '1456635657965585'::bigint, '1740294227'::bigint, '2026-11-30 05:50:59.161728+00'::timestamp with time zone, NULL::bigint, '0'::integer, '-1'::integer, '1'::integer, '0'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f696e7075745f5f222c2d332c5b5d2c5b5b225f5f73746172745f5f225d5d5d5d2c2263223a7b225f5f73746172745f5f223a5b2273222c7b226c6f67223a5b22696e225d7d5d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('66f0cd1b-e683-50e3-abc7-25c876fcdaa2'::uuid, '2'::bigint, '2'::bigint, '1456635657965585'::bigint, '3011825385'::bigint, '2026-11-30 05:50:59.174999+00'::timestamp with time zone, NULL::bigint, '0'::integer, '0'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f73746172745f5f222c2d312c5b225f5f73746172745f5f225d2c5b5b226c6f67225d2c5b226272616e63683a746f3a6669727374225d5d5d5d2c2263223a7b226c6f67223a5b2261222c5b22696e225d5d2c226272616e63683a746f3a6669727374223a5b2273222c6e756c6c5d2c225f5f73746172745f5f223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('66f0cd1b-e683-50e3-abc7-25c876fcdaa2'::uuid, '3'::bigint, '3'::bigint, '1456635657965585'::bigint, '391360345'::bigint, '2026-11-30 05:50:59.176635+00'::timestamp with time zone, NULL::bigint, '0'::integer, '1'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b226669727374222c2d312c6e756c6c2c5b5b226e225d2c5b226c6f67225d2c5b227461626c65225d2c5b226d65737361676573225d2c5b225f5f70726567656c5f7461736b73222c7b22243a7374657077656c6c3a53656e64223a7b22617267223a7b2269223a307d2c226e6f6465223a2270617274222c2274696d656f7574223a6e756c6c7d7d2c315d2c5b225f5f70726567656c5f7461736b73222c7b22243a7374657077656c6c3a53656e64223a7b22617267223a7b2269223a317d2c226e6f6465223a2270617274222c2274696d656f7574223a6e756c6c7d7d2c315d5d5d5d2c2263223a7b226e223a5b2273222c315d2c226c6f67223a5b2261222c5b226164642031225d5d2c227461626c65223a5b2273222c7b226b31223a317d5d2c226d65737361676573223a5b2261222c5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2031222c226964223a226d31227d5d5d2c225f5f70726567656c5f7461736b73223a5b2257222c5b5b302c345d2c5b302c355d5d5d2c226272616e63683a746f3a6669727374223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('9cc40ba5-0ec0-898b-ed43-7e569f45a54b'::uuid, '1'::bigint, '1'::bigint, '2816203915931973'::bigint, '1740294227'::bigint, '2026-11-30 05:50:56.355604+00'::timestamp with time zone, NULL::bigint, '0'::integer, '-1'::integer, '1'::integer, '0'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f696e7075745f5f222c2d332c5b5d2c5b5b225f5f73746172745f5f225d5d5d5d2c2263223a7b225f5f73746172745f5f223a5b2273222c7b226c6f67223a5b22696e225d7d5d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('9cc40ba5-0ec0-898b-ed43-7e569f45a54b'::uuid, '1'::bigint, '4'::bigint, '2816203915931973'::bigint, '1517004234'::bigint, '2026-11-30 05:50:56.382667+00'::timestamp with time zone, NULL::bigint, '1'::integer, '-1'::integer, '1'::integer, '0'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f696e7075745f5f222c2d332c5b5d2c5b5b225f5f73746172745f5f225d5d5d5d2c2263223a7b225f5f73746172745f5f223a5b2273222c7b226e223a312c226c6f67223a5b22696e222c226164642031225d2c226d65737361676573223a5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2031222c226964223a226d31227d5d2c227461626c65223a7b226b31223a317d7d5d7d2c2270223a7b22223a2230303030303030302d303030302d383030332d383030302d303030333734363330343231227d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('9cc40ba5-0ec0-898b-ed43-7e569f45a54b'::uuid, '2'::bigint, '2'::bigint, '2816203915931973'::bigint, '3011825385'::bigint, '2026-11-30 05:50:56.361479+00'::timestamp with time zone, NULL::bigint, '0'::integer, '0'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f73746172745f5f222c2d312c5b225f5f73746172745f5f225d2c5b5b226c6f67225d2c5b226272616e63683a746f3a6669727374225d5d5d5d2c2263223a7b226c6f67223a5b2261222c5b22696e225d5d2c226272616e63683a746f3a6669727374223a5b2273222c6e756c6c5d2c225f5f73746172745f5f223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('9cc40ba5-0ec0-898b-ed43-7e569f45a54b'::uuid, '2'::bigint, '5'::bigint, '2816203915931973'::bigint, '3389917082'::bigint, '2026-11-30 05:50:56.382684+00'::timestamp with time zone, NULL::bigint, '1'::integer, '0'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f73746172745f5f222c2d312c5b225f5f73746172745f5f225d2c5b5b226e225d2c5b226c6f67225d2c5b226d65737361676573225d2c5b227461626c65225d2c5b226272616e63683a746f3a64656570225d5d5d5d2c2263223a7b226e223a5b2273222c315d2c226c6f67223a5b2261222c5b22696e222c226164642031225d5d2c226d65737361676573223a5b2261222c5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2031222c226964223a226d31227d5d5d2c227461626c65223a5b2273222c7b226b31223a317d5d2c226272616e63683a746f3a64656570223a5b2273222c6e756c6c5d2c225f5f73746172745f5f223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('9cc40ba5-0ec0-898b-ed43-7e569f45a54b'::uuid, '3'::bigint, '6'::bigint, '2816203915931973'::bigint, '205585911'::bigint, '2026-11-30 05:50:56.411461+00'::timestamp with time zone, NULL::bigint, '1'::integer, '1'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b2264656570222c2d312c6e756c6c2c5b5b226e225d2c5b226c6f67225d2c5b227461626c65225d2c5b226d65737361676573225d2c5b226272616e63683a746f3a61736b225d5d5d5d2c2263223a7b226e223a5b2273222c325d2c226c6f67223a5b2261222c5b226164642032225d5d2c227461626c65223a5b2273222c7b226b31223a312c226b32223a327d5d2c226d65737361676573223a5b2261222c5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2032222c226964223a226d32227d5d5d2c226272616e63683a746f3a61736b223a5b2273222c6e756c6c5d2c226272616e63683a746f3a64656570223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('9cc40ba5-0ec0-898b-ed43-7e569f45a54b'::uuid, '3'::bigint, '3'::bigint, '2816203915931973'::bigint, '1270856541'::bigint, '2026-11-30 05:50:56.368622+00'::timestamp with time zone, NULL::bigint, '0'::integer, '1'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b226669727374222c2d312c6e756c6c2c5b5b226e225d2c5b226c6f67225d2c5b227461626c65225d2c5b226d65737361676573225d2c5b226272616e63683a746f3a696e6e6572225d5d5d5d2c2263223a7b226e223a5b2273222c315d2c226c6f67223a5b2261222c5b226164642031225d5d2c227461626c65223a5b2273222c7b226b31223a317d5d2c226d65737361676573223a5b2261222c5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2031222c226964223a226d31227d5d5d2c226272616e63683a746f3a696e6e6572223a5b2273222c6e756c6c5d2c226272616e63683a746f3a6669727374223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('f90a4927-dbfb-1dcf-71ff-e1cce8ab3d4f'::uuid, '1'::bigint, '1'::bigint, '1621912322521738'::bigint, '1740294227'::bigint, '2026-11-30 05:50:56.304436+00'::timestamp with time zone, NULL::bigint, '0'::integer, '-1'::integer, '1'::integer, '0'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f696e7075745f5f222c2d332c5b5d2c5b5b225f5f73746172745f5f225d5d5d5d2c2263223a7b225f5f73746172745f5f223a5b2273222c7b226c6f67223a5b22696e225d7d5d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('f90a4927-dbfb-1dcf-71ff-e1cce8ab3d4f'::uuid, '2'::bigint, '2'::bigint, '1621912322521738'::bigint, '3011825385'::bigint, '2026-11-30 05:50:56.305666+00'::timestamp with time zone, NULL::bigint, '0'::integer, '0'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b225f5f73746172745f5f222c2d312c5b225f5f73746172745f5f225d2c5b5b226c6f67225d2c5b226272616e63683a746f3a6669727374225d5d5d5d2c2263223a7b226c6f67223a5b2261222c5b22696e225d5d2c226272616e63683a746f3a6669727374223a5b2273222c6e756c6c5d2c225f5f73746172745f5f223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_tail" ("key", "seq", "record_no", "epoch", "crc", "created_at", "parent", "ns", "step", "run", "source", "format", "id", "key_id", "meta_index", "metadata", "body") VALUES ('f90a4927-dbfb-1dcf-71ff-e1cce8ab3d4f'::uuid, '3'::bigint, '3'::bigint, '1621912322521738'::bigint, '688122734'::bigint, '2026-11-30 05:50:56.30701+00'::timestamp with time zone, NULL::bigint, '0'::integer, '1'::integer, '1'::integer, '1'::smallint, '1'::smallint, NULL::bytea, NULL::bytea, NULL::jsonb, NULL::bytea, E'\\x7b2274223a5b5b226669727374222c2d312c6e756c6c2c5b5b226e225d2c5b226c6f67225d2c5b227461626c65225d2c5b226d65737361676573225d2c5b226272616e63683a746f3a61736b225d5d5d5d2c2263223a7b226e223a5b2273222c315d2c226c6f67223a5b2261222c5b226164642031225d5d2c227461626c65223a5b2273222c7b226b31223a317d5d2c226d65737361676573223a5b2261222c5b7b22726f6c65223a2275736572222c22636f6e74656e74223a2268656c6c6f2031222c226964223a226d31227d5d5d2c226272616e63683a746f3a61736b223a5b2273222c6e756c6c5d2c226272616e63683a746f3a6669727374223a5b2278225d7d7d'::bytea);
INSERT INTO "golden"."stepwell_thread" ("key", "uid", "owner", "epoch", "beat", "record_no", "claim_no", "layout_no", "lock_key", "lease_until", "wanted_at", "head", "checkpoints", "bytes", "state_version", "ttl_s", "created_at", "updated_at", "run", "runs", "interrupts", "status", "thread_id", "scope", "graph", "fingerprint", "next_nodes", "error", "request") VALUES ('2662ad42-a4f7-387c-a339-913be68248ed'::uuid, 'f47ef8bb-8ca5-a9c6-8567-04ab2b47d0fc'::uuid, NULL::uuid, '816586777007394'::bigint, '11'::bigint, '10'::bigint, '5'::bigint, '816586777007393'::bigint, NULL::bigint, NULL::timestamp with time zone, NULL::timestamp with time zone, '10'::bigint, '10'::bigint, '3087'::bigint, '0'::bigint, NULL::double precision, '2026-11-30 05:50:56.067144+00'::timestamp with time zone, '2026-11-30 05:50:56.229153+00'::timestamp with time zone, '2'::integer, '2'::integer, '0'::integer, '4'::smallint, 'done'::text, E'\\x'::bytea, E'\\x4c616e674772617068'::bytea, E'\\x3563653335656237623963653538316465616231343133613432373038386666'::bytea, E'\\x5b5d'::bytea, NULL::bytea, NULL::text);
INSERT INTO "golden"."stepwell_thread" ("key", "uid", "owner", "epoch", "beat", "record_no", "claim_no", "layout_no", "lock_key", "lease_until", "wanted_at", "head", "checkpoints", "bytes", "state_version", "ttl_s", "created_at", "updated_at", "run", "runs", "interrupts", "status", "thread_id", "scope", "graph", "fingerprint", "next_nodes", "error", "request") VALUES ('3465438b-e6ea-1b9c-3699-c8679afbde0a'::uuid, '05478958-72aa-3287-b304-aed3cd9bf521'::uuid, NULL::uuid, '1364477308208871'::bigint, '7'::bigint, '6'::bigint, '5'::bigint, '1364477308208870'::bigint, NULL::bigint, NULL::timestamp with time zone, NULL::timestamp with time zone, '6'::bigint, '6'::bigint, '2003'::bigint, '0'::bigint, NULL::double precision, '2026-11-30 05:50:56.437944+00'::timestamp with time zone, '2026-11-30 05:50:56.507837+00'::timestamp with time zone, '0'::integer, '1'::integer, '0'::integer, '0'::smallint, 'forked'::text, E'\\x'::bytea, E'\\x4c616e674772617068'::bytea, E'\\x3563653335656237623963653538316465616231343133613432373038386666'::bytea, E'\\x5b2266696c6c225d'::bytea, NULL::bytea, NULL::text);
INSERT INTO "golden"."stepwell_thread" ("key", "uid", "owner", "epoch", "beat", "record_no", "claim_no", "layout_no", "lock_key", "lease_until", "wanted_at", "head", "checkpoints", "bytes", "state_version", "ttl_s", "created_at", "updated_at", "run", "runs", "interrupts", "status", "thread_id", "scope", "graph", "fingerprint", "next_nodes", "error", "request") VALUES ('3d2b1190-3f9b-e10e-1c61-372435dc4972'::uuid, '563f6d38-b5f1-055d-26bd-8b60ba34b9e8'::uuid, NULL::uuid, '2356429073705919'::bigint, '4'::bigint, '5'::bigint, '0'::bigint, '2356429073705919'::bigint, NULL::bigint, NULL::timestamp with time zone, NULL::timestamp with time zone, '3'::bigint, '3'::bigint, '489'::bigint, '0'::bigint, NULL::double precision, '2026-11-30 05:50:56.531014+00'::timestamp with time zone, '2026-11-30 05:50:56.549425+00'::timestamp with time zone, '1'::integer, '1'::integer, '0'::integer, '3'::smallint, 'failed'::text, E'\\x'::bytea, E'\\x4c616e674772617068'::bytea, E'\\x3536626136396566613731396433633662383566333662373064346331333730'::bytea, E'\\x5b2262726f6b656e225d'::bytea, E'\\x56616c75654572726f722827706c616e7465642729'::bytea, NULL::text);
INSERT INTO "golden"."stepwell_thread" ("key", "uid", "owner", "epoch", "beat", "record_no", "claim_no", "layout_no", "lock_key", "lease_until", "wanted_at", "head", "checkpoints", "bytes", "state_version", "ttl_s", "created_at", "updated_at", "run", "runs", "interrupts", "status", "thread_id", "scope", "graph", "fingerprint", "next_nodes", "error", "request") VALUES ('60498d8c-e703-c3d1-e2f5-c256219b2651'::uuid, 'e780aed3-d72c-b730-21af-3452836af3b3'::uuid, NULL::uuid, '4360210175501006'::bigint, '1'::bigint, '5'::bigint, '0'::bigint, '4360210175501006'::bigint, NULL::bigint, NULL::timestamp with time zone, NULL::timestamp with time zone, '1'::bigint, '1'::bigint, '1616'::bigint, '0'::bigint, NULL::double precision, '2026-11-30 05:50:56.25246+00'::timestamp with time zone, '2026-11-30 05:50:56.262159+00'::timestamp with time zone, '1'::integer, '1'::integer, '0'::integer, '4'::smallint, 'exit'::text, E'\\x'::bytea, E'\\x4c616e674772617068'::bytea, E'\\x3563653335656237623963653538316465616231343133613432373038386666'::bytea, E'\\x5b5d'::bytea, NULL::bytea, NULL::text);
INSERT INTO "golden"."stepwell_thread" ("key", "uid", "owner", "epoch", "beat", "record_no", "claim_no", "layout_no", "lock_key", "lease_until", "wanted_at", "head", "checkpoints", "bytes", "state_version", "ttl_s", "created_at", "updated_at", "run", "runs", "interrupts", "status", "thread_id", "scope", "graph", "fingerprint", "next_nodes", "error", "request") VALUES ('66f0cd1b-e683-50e3-abc7-25c876fcdaa2'::uuid, '9c9e5504-e921-d158-557c-f5671a66e471'::uuid, 'b45db444-a46c-d0d7-e42c-7faa3f9b9654'::uuid, '1456635657965585'::bigint, '4'::bigint, '4'::bigint, '0'::bigint, '1456635657965585'::bigint, '976822740301359581'::bigint, '2026-11-30 05:51:09.200005+00'::timestamp with time zone, NULL::timestamp with time zone, '3'::bigint, '3'::bigint, '647'::bigint, '0'::bigint, NULL::double precision, '2026-11-30 05:50:59.093941+00'::timestamp with time zone, '2026-11-30 05:50:59.200006+00'::timestamp with time zone, '1'::integer, '1'::integer, '0'::integer, '1'::smallint, 'orphan'::text, E'\\x'::bytea, E'\\x4c616e674772617068'::bytea, E'\\x6236316135356236666162613263386434616536336561313831373434663963'::bytea, E'\\x5b5d'::bytea, NULL::bytea, NULL::text);
INSERT INTO "golden"."stepwell_thread" ("key", "uid", "owner", "epoch", "beat", "record_no", "claim_no", "layout_no", "lock_key", "lease_until", "wanted_at", "head", "checkpoints", "bytes", "state_version", "ttl_s", "created_at", "updated_at", "run", "runs", "interrupts", "status", "thread_id", "scope", "graph", "fingerprint", "next_nodes", "error", "request") VALUES ('9cc40ba5-0ec0-898b-ed43-7e569f45a54b'::uuid, 'e2e576e4-cb7f-de33-5cca-f1cd2cefae8d'::uuid, NULL::uuid, '2816203915931973'::bigint, '6'::bigint, '9'::bigint, '0'::bigint, '2816203915931973'::bigint, NULL::bigint, NULL::timestamp with time zone, NULL::timestamp with time zone, '3'::bigint, '6'::bigint, '1248'::bigint, '0'::bigint, NULL::double precision, '2026-11-30 05:50:56.34544+00'::timestamp with time zone, '2026-11-30 05:50:56.421906+00'::timestamp with time zone, '1'::integer, '1'::integer, '1'::integer, '2'::smallint, 'nested'::text, E'\\x'::bytea, E'\\x4c616e674772617068'::bytea, E'\\x3534373864623061636635643839393066616532333337336261363432653763'::bytea, E'\\x5b22696e6e6572225d'::bytea, NULL::bytea, NULL::text);
INSERT INTO "golden"."stepwell_thread" ("key", "uid", "owner", "epoch", "beat", "record_no", "claim_no", "layout_no", "lock_key", "lease_until", "wanted_at", "head", "checkpoints", "bytes", "state_version", "ttl_s", "created_at", "updated_at", "run", "runs", "interrupts", "status", "thread_id", "scope", "graph", "fingerprint", "next_nodes", "error", "request") VALUES ('f90a4927-dbfb-1dcf-71ff-e1cce8ab3d4f'::uuid, 'e85c6413-c08a-51bf-5a25-353c97796a87'::uuid, NULL::uuid, '1621912322521738'::bigint, '4'::bigint, '5'::bigint, '0'::bigint, '1621912322521738'::bigint, NULL::bigint, NULL::timestamp with time zone, NULL::timestamp with time zone, '3'::bigint, '3'::bigint, '483'::bigint, '0'::bigint, NULL::double precision, '2026-11-30 05:50:56.28899+00'::timestamp with time zone, '2026-11-30 05:50:56.319227+00'::timestamp with time zone, '1'::integer, '1'::integer, '1'::integer, '2'::smallint, 'asked'::text, E'\\x'::bytea, E'\\x4c616e674772617068'::bytea, E'\\x6432646264336134343330333165353664333635343731653462666162626433'::bytea, E'\\x5b2261736b225d'::bytea, NULL::bytea, NULL::text);

"""What commits of the PostgreSQL driver do when others are at the same rows, or the line breaks."""
# ruff: noqa: F401, F811  # fixtures are imported by name

import asyncio
import json
from contextlib import asynccontextmanager

import asyncpg
import pytest

from stepwell.checkpoint.driver import (
    Ask,
    Busy,
    Claim,
    Committed,
    Held,
    LoadRequest,
    Parked,
    Renewed,
    Stale,
)
from stepwell.checkpoint.postgres import _commit as _postgres_commit
from stepwell.checkpoint.postgres._commit import CommitStatements
from stepwell.errors import SequenceConflictError, StorageError, StorageUnavailableError
from stepwell.testing._rows import (
    Writer,
    bodies,
    change,
    checkpoint,
    claim_request,
    contest,
    loaded,
    pending,
    run_row,
    take,
    thread_key,
    worker,
)
from tests._postgres import (
    execute,
    fresh_role,
    kill_backend,
    opened,
    pg_dsn,
    pg_schema,
    server_dsn,
    sessions,
)

pytestmark = pytest.mark.postgres

ALICE, BOB = worker("alice"), worker("bob")


@asynccontextmanager
async def stranger(schema, thread_id, lock="FOR UPDATE"):
    """A transaction of somebody else's that has locked a thread row and stays open."""
    connection = await asyncpg.connect(server_dsn())
    try:
        async with connection.transaction():
            found = await connection.fetch(
                f'SELECT FROM "{schema}".stepwell_thread WHERE thread_id = $1 {lock}', thread_id
            )
            assert len(found) == 1
            yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("lock", ["FOR UPDATE", "FOR SHARE"])
async def test_a_row_that_a_stranger_holds_parks_its_slice_only(pg_schema, lock):
    """The others of the batch are written at once; the parked one goes in later."""
    async with opened(pg_schema) as driver:
        writers = [await take(driver, thread_key(f"t{n}"), ALICE) for n in range(3)]
        batch = [writer.slice(checkpoint()) for writer in writers]
        async with stranger(pg_schema, "t1", lock):
            assert await driver.commit(batch) == [Committed(1), Parked(), Committed(1)]
            assert await driver.commit([batch[1]]) == [Parked()]
            assert bodies((await loaded(driver, thread_key("t1"))).rows) == []
        assert await driver.commit([batch[1]]) == [Committed(1)]


async def test_every_verb_answers_while_a_stranger_holds_the_row(pg_schema):
    """No verb waits for a row for long: each says what it can say without it."""
    async with opened(pg_schema) as one, opened(pg_schema) as two:
        alice = await take(one, thread_key("held"), ALICE)
        free = await take(one, thread_key("free"), ALICE)
        await free.append(checkpoint(), let_go=True)
        await one.unlock([free.held])
        async with stranger(pg_schema, "held") as other:
            await other.execute(
                f"SELECT FROM \"{pg_schema}\".stepwell_thread WHERE thread_id = 'free' FOR UPDATE"
            )
            async with asyncio.timeout(60):
                assert isinstance(await contest(two, thread_key("held"), BOB), Busy)
                got = await contest(two, thread_key("free"), BOB)
                assert isinstance(got, Busy)
                assert (got.owner, got.lock_free) == (b"", None)
                assert await one.renew(ALICE, [alice.held], 30.0) == [Renewed(extended=False)]
                await two.want([alice.key])
                asked = Ask(alice.key, alice.epoch, "interrupt:x")
                with pytest.raises(StorageUnavailableError, match="stayed locked"):
                    await two.ask([asked, asked._replace(key=thread_key("other"))])
                assert (await loaded(two, alice.key)).thread is not None
                with pytest.raises(StorageUnavailableError, match="stayed locked") as caught:
                    await one.delete(alice.held, ALICE)
                assert caught.value.context["outcome"] == "none"
                with pytest.raises(StorageUnavailableError, match="stayed locked"):
                    await one.release(ALICE, [alice.held])
        # The lock is back all the same, and so is the row once it can be had.
        busy = await contest(two, thread_key("held"), BOB)
        assert isinstance(busy, Busy)
        assert busy.lock_free is True
        await one.release(ALICE, [alice.held])
        for name in ("held", "free"):
            assert isinstance(await contest(two, thread_key(name), BOB), Claim)


async def test_one_locked_row_holds_up_no_other_claim(pg_schema):
    async with opened(pg_schema) as driver:
        names = ["a", "b", "c", "d"]
        for name in names[:3]:
            await (await take(driver, thread_key(name), ALICE)).release()
        async with stranger(pg_schema, "b"):
            got = await driver.claim([claim_request(thread_key(name), BOB) for name in names])
        assert [type(outcome) for outcome in got] == [Claim, Busy, Claim, Claim]


async def count(schema, table):
    rows = await execute(f'SELECT count(*) FROM "{schema}".stepwell_{table} WHERE $1', True)
    return rows[0][0]


@asynccontextmanager
async def held_up(schema):
    """A function of the server, "hold_up", that waits for the end of this block. Yields what
    waits until somebody is in it."""
    await execute(
        f"""CREATE TABLE "{schema}".gate (); CREATE FUNCTION "{schema}".hold_up() RETURNS void
        LANGUAGE plpgsql AS $$ BEGIN
          WHILE NOT EXISTS (SELECT FROM "{schema}".gate) LOOP PERFORM pg_sleep(0.005); END LOOP;
        END $$"""
    )

    async def waiting():
        async with asyncio.timeout(60):
            while not await execute(  # noqa: ASYNC110  # the server tells nobody
                "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE $1",
                f'%"{schema}".hold_up()%',
            ):
                await asyncio.sleep(0.01)

    try:
        yield waiting
    finally:
        await execute(f'INSERT INTO "{schema}".gate DEFAULT VALUES')


def slow(statements, schema):
    """Commit statements that are held up between their snapshot and the row locks."""
    head = statements._sql["commit_fence"]
    assert "ORDINALITY AS w(key, epoch, owner, record_no" in head
    # It is waited for once, with the snapshot made and no row locked yet.
    nap = f'WITH nap AS MATERIALIZED (SELECT "{schema}".hold_up()), want AS'
    fence = head.replace("WITH want AS", nap, 1)
    fence = fence.replace("SELECT * FROM unnest(", "SELECT w.* FROM nap, unnest(", 1)
    alone = statements._sql["commit_one"]
    assert f'FROM "{schema}".stepwell_thread t WHERE t.key = $1\n  FOR NO KEY UPDATE' in alone
    nap = f'WITH nap AS MATERIALIZED (SELECT "{schema}".hold_up()), held AS'
    alone = alone.replace("WITH held AS", nap, 1)
    alone = alone.replace(
        f'FROM "{schema}".stepwell_thread t', f'FROM nap, "{schema}".stepwell_thread t', 1
    )
    return CommitStatements({**statements._sql, "commit_fence": fence, "commit_one": alone})


async def test_a_lone_checkpoint_leaves_what_the_statement_for_many_leaves(pg_schema, monkeypatch):
    """It has a statement of its own, which no other slice gets."""
    columns = """t.record_no, t.beat, t.head, t.checkpoints, t.bytes, t.runs, t.status, t.owner,
      t.lease_until > clock_timestamp(), t.epoch = c.epoch, c.record_no, c.ns, c.seq, c.parent,
      c.step, c.source, c.run, c.format, c.crc, c.body, c.metadata, c.meta_index, c.id, c.key_id"""
    found = []
    async with opened(pg_schema) as driver:
        sql = driver._db.sql["commit_one"]
        for name in ("one", "many"):
            writer = await take(driver, thread_key(name), ALICE)
            lone = writer.slice(checkpoint(b"1"))
            texts = [
                driver._statements.build([piece])[0]
                for piece in (
                    lone,
                    writer.slice(checkpoint(b"1"), let_go=True),
                    writer.slice(checkpoint(b"1"), change=change(1)),
                    writer.slice(checkpoint(b"1"), pending("t")),
                    writer.slice(checkpoint(b"1"), drop=[(0, 0)]),
                    writer.slice(checkpoint(b"1"), runs=[run_row(1)]),
                    writer.slice(checkpoint(b"1", parent=0)),
                    writer.slice(checkpoint(b"1", metadata=b"{}")),
                )
            ]
            assert [text == sql for text in texts] == [name == "one"] + [False] * 7
            assert await writer.send(lone) == Committed(1)
            found += await execute(
                f"""SELECT {columns} FROM "{pg_schema}".stepwell_thread t
                  JOIN "{pg_schema}".stepwell_tail c ON c.key = t.key WHERE thread_id = $1""",
                name,
            )
            monkeypatch.setattr(_postgres_commit, "_alone", lambda _: None)
    one, many = map(tuple, found)
    assert one == many


async def test_a_claim_between_snapshot_and_lock_is_seen(pg_schema):
    """The fence reads the newest version of the row, not the snapshot's: stale, no row."""
    async with opened(pg_schema) as one, opened(pg_schema) as two:
        alice = await take(one, thread_key(), ALICE, lease_ttl_s=0.05)
        await asyncio.sleep(0.1)
        one._statements = slow(one._statements, pg_schema)
        async with held_up(pg_schema) as waiting:
            late = asyncio.create_task(alice.send(alice.slice(checkpoint(b"late"))))
            await waiting()
            bob = await take(two, thread_key(), BOB)
        outcome = await late
        assert isinstance(outcome, Stale)
        assert (outcome.epoch, outcome.owner) == (bob.epoch, BOB)
        assert bodies((await loaded(one, thread_key())).rows) == []


async def test_a_heartbeat_between_snapshot_and_lock_is_no_harm(pg_schema):
    async with opened(pg_schema) as one, opened(pg_schema) as two:
        alice = await take(one, thread_key(), ALICE)
        one._statements = slow(one._statements, pg_schema)
        async with held_up(pg_schema) as waiting:
            call = asyncio.create_task(alice.send(alice.slice(checkpoint(b"1"))))
            await waiting()
            assert await two.renew(ALICE, [alice.held], 30.0) == [Renewed()]
        assert await call == Committed(1)


async def test_a_delete_between_snapshot_and_lock_parks_then_is_stale(pg_schema):
    async with opened(pg_schema) as one, opened(pg_schema) as two:
        alice = await take(one, thread_key(), ALICE)
        normal = one._statements
        one._statements = slow(normal, pg_schema)
        piece = alice.slice(checkpoint(b"1"))
        async with held_up(pg_schema) as waiting:
            call = asyncio.create_task(one.commit([piece]))
            await waiting()
            assert await two.delete(alice.held, ALICE)
        assert await call == [Parked()]
        one._statements = normal
        assert await one.commit([piece]) == [Stale(None)]
        assert await count(pg_schema, "tail") == 0


async def test_a_delete_waits_out_a_commit_of_its_own_thread(pg_schema):
    """A commit that lands between the snapshot and the lock of a delete leaves no orphans."""
    async with opened(pg_schema) as one, opened(pg_schema) as two:
        alice = await take(one, thread_key(), ALICE)
        await alice.append(checkpoint(b"1"))
        piece = alice.slice(checkpoint(b"2"))
        sql = one._db._opened.sql
        sleepy = (
            sql["delete"]
            .replace(
                "WITH seen AS MATERIALIZED (",
                f'WITH seen AS MATERIALIZED (SELECT s.* FROM (SELECT "{pg_schema}".hold_up()) z, '
                "LATERAL (",
                1,
            )
            .replace("), held AS", ") s), held AS", 1)
            .replace(
                "FOR UPDATE SKIP LOCKED", "AND EXISTS (SELECT FROM seen) FOR UPDATE SKIP LOCKED", 1
            )
        )
        two._db._opened.sql = {**sql, "delete": sleepy}
        async with held_up(pg_schema) as waiting:
            deleting = asyncio.create_task(two.delete(alice.held, ALICE))
            await waiting()
            assert await one.commit([piece]) == [Committed(2)]
        assert await deleting is True
        assert await count(pg_schema, "tail") == 0


async def test_a_reply_that_never_comes_leaves_the_outcome_unknown(pg_schema):
    """The backend dies in the middle of a commit: unknown; the retry on a new line settles it."""
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        lane = driver._db._opened.lane
        normal = driver._statements
        driver._statements = slow(normal, pg_schema)
        piece = alice.slice(checkpoint(b"1"))
        async with held_up(pg_schema) as waiting:
            call = asyncio.create_task(alice.send(piece))
            await waiting()
            await kill_backend(lane._link.get_server_pid())
        with pytest.raises(StorageUnavailableError) as caught:
            await call
        assert caught.value.context["outcome"] == "unknown"
        driver._statements = normal
        assert await alice.send(piece) == Committed(1)
        assert await driver.landed(alice.key, 1, alice.epoch)


async def test_a_line_found_dead_is_replaced_before_it_is_used(pg_schema):
    """A backend that was ended while nothing was under way costs no error at all."""
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        await kill_backend(driver._db._opened.lane._link.get_server_pid())
        await asyncio.sleep(0.05)
        await alice.append(checkpoint(b"1"))


async def test_a_server_that_refuses_a_new_line_leaves_the_outcome_none(pg_schema):
    """Nothing was sent: the role may not log in any more when the lane has to reconnect."""
    async with opened(pg_schema) as owner, fresh_role() as (name, dsn):
        assert owner.name == "postgres"
        await execute(
            f'GRANT USAGE ON SCHEMA "{pg_schema}" TO "{name}"; GRANT SELECT, INSERT, UPDATE, '
            f'DELETE ON ALL TABLES IN SCHEMA "{pg_schema}" TO "{name}"'
        )
        async with opened(pg_schema, dsn) as driver:
            alice = await take(driver, thread_key(), ALICE)
            await execute(f'ALTER ROLE "{name}" CONNECTION LIMIT 0')
            await kill_backend(driver._db._opened.lane._link.get_server_pid())
            await asyncio.sleep(0.05)
            with pytest.raises(StorageUnavailableError, match="max_connections") as caught:
                await alice.send(alice.slice(checkpoint()))
            assert caught.value.context["outcome"] == "none"
            await execute(f'ALTER ROLE "{name}" CONNECTION LIMIT -1')
            await alice.append(checkpoint())


async def test_a_server_that_became_read_only_is_left(pg_schema):
    """After a failover the old primary refuses writes: nothing was written, and the next
    attempt asks the address anew instead of staying with the connection it has."""
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        lane = driver._db._opened.lane
        await lane._link.execute("SET default_transaction_read_only = on")
        with pytest.raises(StorageUnavailableError) as caught:
            await driver.commit([alice.slice(checkpoint())])
        assert caught.value.context["sqlstate"] == "25006"
        assert caught.value.context["outcome"] == "none"
        await alice.append(checkpoint())


async def test_a_permanent_error_fails_the_batch_and_keeps_the_line(pg_schema):
    """One bad row: the whole statement is refused, nothing is written, the session goes on."""
    async with opened(pg_schema) as driver:
        writers = [await take(driver, thread_key(f"t{n}"), ALICE) for n in range(3)]
        await writers[1].append(checkpoint(b"1"))
        pid = driver._db._opened.lane._link.get_server_pid()
        twice = writers[1].slice(checkpoint(b"again", seq=1))
        huge = writers[1].slice(checkpoint(step=2**31))
        index = writers[1].slice(checkpoint(meta_index="{no json"))
        good = [writers[0].slice(checkpoint()), writers[2].slice(checkpoint())]
        for bad, kind in (
            (twice, SequenceConflictError),
            (huge, StorageError),
            (index, StorageError),
        ):
            with pytest.raises(StorageError) as caught:
                await driver.commit([good[0], bad, good[1]])
            assert type(caught.value) is kind
            assert caught.value.context["outcome"] == "none"
        assert driver._db._opened.lane._link.get_server_pid() == pid
        for writer in writers:
            await writer.append(checkpoint(b"good"))


async def test_two_slices_of_one_thread_go_in_order(pg_schema):
    """The journal sends one slice a thread; a caller that sends two gets both, in order."""
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        other = await take(driver, thread_key("other"), ALICE)
        first = alice.slice(checkpoint(b"1"))
        alice.advance(first)
        second = alice.slice(checkpoint(b"2"))
        answers = await driver.commit([first, other.slice(checkpoint()), second])
        assert answers == [Committed(1), Committed(1), Committed(2)]
        assert bodies((await loaded(driver, thread_key())).rows) == [b"1", b"2"]


async def test_one_slice_may_write_and_drop_pending_rows(pg_schema):
    """Rows of seq n go, rows of seq n+1 come, a slot that is there already is replaced; all
    in one statement, over stored rows and rows of the slice itself."""
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"1"), pending("a"), pending("b"))
        await alice.append(
            pending("b", b"newer"),
            pending("c"),
            checkpoint(b"2"),
            pending("a", b"of 2"),
            pending("a", b"of 2, newer"),
            drop=[(0, 1)],
        )
        assert list((await loaded(driver, thread_key(), seq=1)).writes) == []
        assert bodies((await loaded(driver, thread_key())).writes) == [b"of 2, newer"]
        await alice.append(checkpoint(b"3"), pending("a", b"of 3"), drop=[(0, 2), (0, 1)])
        assert bodies((await loaded(driver, thread_key())).writes) == [b"of 3"]


async def test_a_run_named_twice_in_a_slice_is_written_once(pg_schema):
    """Start and end of a run may be coalesced: the newer row stands."""
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(run=1), runs=[run_row(1), run_row(1, status=4, supersteps=3)])
        [run] = await driver.runs(thread_key())
        assert (run.status, run.supersteps) == (4, 3)
        assert run.finished_at is not None


async def test_a_commit_sends_its_columns_as_texts(pg_schema):
    """Of a list the client asks of every value whether it is a list too: only keys and bodies come
    as one. A commit that brings nothing but checkpoints carries no other part."""
    async with opened(pg_schema) as driver:
        writers = [await take(driver, thread_key(f"t{n}"), ALICE) for n in range(3)]
        batch = [writer.slice(checkpoint(b"{}"), checkpoint(b"{}")) for writer in writers]
        text, arguments = driver._statements.build(batch)
        assert [type(a) for a in arguments if type(a) is not str] == [tuple, tuple]
        assert len(arguments) == 19 + 17
        for part in ("stepwell_pending", "stepwell_run ", "stepwell_ns "):
            assert part not in text
        assert [type(outcome) for outcome in await driver.commit(batch)] == [Committed] * 3


@pytest.mark.parametrize(
    "document", ['{"a":"plain"}', '{"q":"\\"","b":"\\\\","n":"{a,b}","u":"\u00e9"}', None]
)
async def test_what_is_sent_as_text_arrives_exactly(pg_schema, document):
    """Quotes, backslashes and braces in metadata; bytes of every value in names."""
    raw = bytes(range(256))
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        row = checkpoint(raw, metadata=raw, meta_index=document, checkpoint_id=raw[:16])
        await driver.commit([alice.slice(row, change=change(error='a "b" \\ {c},NULL'))])
        [found] = (await loaded(driver, thread_key())).rows
        thread = (await loaded(driver, thread_key())).thread
        assert (found.body, found.metadata, found.checkpoint_id) == (raw, raw, raw[:16])
        assert thread.error == 'a "b" \\ {c},NULL'
        [[index]] = await execute(
            f'SELECT meta_index::text FROM "{pg_schema}".stepwell_tail WHERE $1', True
        )
        assert (None if index is None else json.loads(index)) == (
            None if document is None else json.loads(document)
        )


class Counted:
    """Counts the statements that the connections of a driver send."""

    def __init__(self):
        self.seen = []

    def __call__(self, record):
        self.seen.append(record.query)


async def test_round_trips_do_not_grow_with_the_batch(pg_schema):
    """One statement per commit of any size; a fixed number for claims, loads, heartbeats."""
    async with opened(pg_schema, pool_size_max=3) as driver:
        await driver.load([LoadRequest(thread_key())])
        counted = Counted()
        await driver.claim([claim_request(thread_key("warm"), ALICE)])
        base = driver._db._opened
        async with base.source._pool.acquire() as reader:
            links = [base.lane._link, base.control._link, reader._con]
        for link in links:
            link.add_query_logger(counted)

        async def statements(work):
            counted.seen.clear()
            result = await work
            await asyncio.sleep(0)
            return len(counted.seen), result

        counts = {}
        for size in (2, 1, 40):  # the first round prepares the statements
            requests = [claim_request(thread_key(f"{size}-{n}"), ALICE) for n in range(size)]
            claiming, claims = await statements(driver.claim(requests))
            writers = [Writer(driver, claim, ALICE) for claim in claims]
            pieces = [
                w.slice(checkpoint(), pending(), runs=[run_row()], change=change()) for w in writers
            ]
            committing, _ = await statements(driver.commit(pieces))
            loading, _ = await statements(driver.load([LoadRequest(w.key) for w in writers]))
            renewing, _ = await statements(driver.renew(ALICE, [w.held for w in writers], 30.0))
            releasing, _ = await statements(driver.release(ALICE, [w.held for w in writers]))
            counts[size] = (claiming, committing, loading, renewing, releasing)
        assert counts[1] == counts[40]
        # lock, claim | commit | begin, threads, rows, writes, runs, commit | ...
        assert counts[1] == (2, 1, 6, 1, 2)


async def table_scans(schema):
    """How often each table was read as a whole (making an index counts)."""
    async with asyncio.timeout(60):
        while await sessions(schema):  # noqa: ASYNC110  # they tell their figures when they end
            await asyncio.sleep(0.01)
    rows = await execute(
        "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE schemaname = $1 "
        "AND relname <> 'stepwell_migration'",
        schema,
    )
    return dict(rows)


async def test_no_statement_reads_a_whole_table(pg_schema):
    """Whatever the sizes when a plan was made, rows are found through indexes."""
    named = {"server_settings": {"application_name": pg_schema}}
    async with opened(pg_schema, connect=named) as driver:
        await driver.close()
        before = await table_scans(pg_schema)
        await driver.open()
        for n in range(12):
            writer = await take(driver, thread_key(f"t{n}"), ALICE)
            await writer.append(
                checkpoint(ns=0), checkpoint(ns=1), pending(), runs=[run_row()], change=change(),
                namespaces=[(1, "s")],
            )  # fmt: skip
            await writer.append(checkpoint(), checkpoint(ns=1), drop=[(0, 1)])
            await driver.renew(ALICE, [writer.held], 30.0)
            await driver.want([writer.key])
            await driver.ask([Ask(writer.key, writer.epoch, "interrupt:x")])
            await driver.landed(writer.key, 1, writer.epoch)
            await driver.history(writer.key, "", None)
            await driver.runs(writer.key)
            await writer.release()
            again = await take(driver, thread_key(f"t{n}"), BOB)
            if n % 3 == 0:
                assert await driver.delete(Held(again.key, again.epoch), BOB)
        await driver.close()
        assert await table_scans(pg_schema) == before

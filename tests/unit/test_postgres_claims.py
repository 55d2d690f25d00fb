"""A claim of PostgreSQL is one statement, which loads too; and what it reads is what it claimed."""
# ruff: noqa: F401, F811  # fixtures are imported by name

import asyncio

import pytest

from stepwell.checkpoint.driver import Busy, Claim, Held, LoadRequest, Relayout, SegmentRow
from stepwell.checkpoint.postgres import _claim
from stepwell.checkpoint.postgres._rows import key_of
from stepwell.testing._rows import (
    bodies,
    change,
    checkpoint,
    claim_request,
    pending,
    run_row,
    take,
    thread_key,
    worker,
)
from tests._postgres import execute, opened, pg_dsn, pg_schema
from tests.unit.test_postgres_commits import held_up

pytestmark = pytest.mark.postgres

ALICE, BOB = worker("alice"), worker("bob")


@pytest.fixture
def asked(monkeypatch):
    """What is asked of the server, by name, but for locks: their session may be repaired."""
    found = []

    def watch(driver):
        database = driver._db
        fetch, snapshot = database.fetch, database.snapshot

        async def noted(name, *args, **more):
            found.append(name)
            return await fetch(name, *args, **more)

        def loads(**more):
            found.append("load")
            return snapshot(**more)

        monkeypatch.setattr(database, "fetch", noted)
        monkeypatch.setattr(database, "snapshot", loads)

    def taken():
        names = list(found)
        found.clear()
        return names

    taken.watch = watch
    return taken


async def let_go(writer):
    """A run's last record, and the lock that it held."""
    await writer.append(checkpoint(b"last"), let_go=True)
    await writer.driver.unlock([writer.held])


async def test_a_claim_is_one_statement(pg_schema, asked):
    """Of a thread that is new, or that this driver has let go, by whatever means. One that is
    met for the first time is guessed to be new: the refusal says how it stands."""
    async with opened(pg_schema) as driver, opened(pg_schema) as other:
        for each in (driver, other):
            asked.watch(each)
        alice = await take(driver, thread_key(), ALICE)
        assert asked() == ["claim"]
        await let_go(alice)
        asked()
        again = await take(driver, thread_key(), ALICE)
        assert asked() == ["claim"]
        assert bodies(again.claim.loaded.rows) == [b"last"]
        await again.release()
        asked()
        bob = await take(other, thread_key(), BOB)
        assert asked() == ["claim", "claim"]
        assert bodies(bob.claim.loaded.rows) == [b"last"]
        assert isinstance((await driver.claim([claim_request(thread_key(), ALICE)]))[0], Busy)
        assert asked() == ["claim"]
        for _ in range(3):  # who waits only looks
            found = await driver.claim([claim_request(thread_key(), ALICE)])
            assert isinstance(found[0], Busy)
            assert asked() == ["present"]
        await bob.release()
        asked()
        await let_go(await take(driver, thread_key(), ALICE))
        assert asked() == ["present", "claim"]
        await take(driver, thread_key(), ALICE)
        assert asked() == ["claim"]


async def test_a_thread_that_was_deleted_and_made_again_is_met_as_it_is(pg_schema, asked):
    async with opened(pg_schema) as driver, opened(pg_schema) as other:
        alice = await take(driver, thread_key(), ALICE)
        await let_go(alice)
        bob = await take(other, thread_key(), BOB)
        assert await other.delete(Held(bob.key, bob.epoch, bob.claim.lock_key), BOB)
        asked.watch(driver)
        new = await take(driver, thread_key(), ALICE)
        assert asked() == ["claim", "claim"]
        assert (new.claim.record_no, list(new.claim.loaded.rows)) == (0, [])
        assert new.claim.loaded.thread.uid != alice.claim.loaded.thread.uid


async def make(writer):
    """A thread with everything that a claim brings."""
    await writer.append(
        checkpoint(b"1", metadata=b'{"a":1}', meta_index='{"a":1}'),
        checkpoint(b"n", ns=1), pending("t", channel="c \u00fc"),
        runs=[run_row(1, metadata=b'{"x":1}', meta_index='{"x":1}', idempotency_key="k")],
        change=change(run=1), namespaces=[(1, "inside:1")],
    )  # fmt: skip
    for i in range(2, 6):
        await writer.append(checkpoint(b"%d" % i, run=i), runs=[run_row(i)], change=change(run=i))
    await writer.append(pending("open", seq=5), pending("open", seq=5, idx=-3))


def without_times(loaded):
    """What is read, but for what each claim and each moment changes."""
    row = loaded.thread
    moving = {"epoch": 0, "owner": None, "lock_key": None, "lease_left_s": None, "beat": 0}
    return (
        row._replace(**moving),
        loaded.ns, list(loaded.rows), list(loaded.segments), list(loaded.writes),
        dict(loaded.runs),
    )  # fmt: skip


def segment(low, high, parent=None):
    body = f"{low}-{high}".encode()
    return SegmentRow(0, low, high, parent, 1, 7, body, b"detail of " + body, None, low, high)


async def folded(driver, segments):
    for row in segments:
        layout = (await driver.layout(thread_key(), "")).thread.layout_no
        change = Relayout(
            thread_key(), 0, layout, tuple(range(row.seq_from, row.seq_to + 1)), (), (), (row,)
        )
        assert await driver.write_segments(change)


@pytest.mark.parametrize("segments", [(), ((1, 3),), ((1, 2), (3, 5))])
@pytest.mark.parametrize("fork", [False, True])
async def test_a_claim_brings_what_a_load_brings(pg_schema, asked, segments, fork):
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        await make(alice)
        await folded(driver, [segment(*span) for span in segments])
        if fork:
            await alice.append(checkpoint(b"fork", parent=2))
        await alice.release()
        asked.watch(driver)
        bob = await take(driver, thread_key(), BOB)
        assert asked() == ["claim", *(["load"] if fork else [])]
        [read] = await driver.load([LoadRequest(thread_key(), current=True)])
        assert without_times(bob.claim.loaded) == without_times(read)
        assert read.runs


async def test_what_pruning_leaves_comes_with_the_claim(pg_schema, asked):
    """It says what it extends, as forks do; and it is one line nevertheless."""
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        await make(alice)
        await alice.release()
        tail = f'"{pg_schema}".stepwell_tail'
        await execute(f"DELETE FROM {tail} WHERE $1 AND ns = 0 AND seq IN (1, 2, 4)", True)
        await execute(f"UPDATE {tail} SET parent = 0 WHERE $1 AND ns = 0 AND seq = 3", True)
        await execute(f"UPDATE {tail} SET parent = 3 WHERE $1 AND ns = 0 AND seq = 5", True)
        asked.watch(driver)
        bob = await take(driver, thread_key(), BOB)
        assert asked() == ["claim"]
        [read] = await driver.load([LoadRequest(thread_key(), current=True)])
        assert without_times(bob.claim.loaded) == without_times(read)
        assert bodies(read.rows) == [b"3", b"5"]


async def test_what_is_large_is_read_behind_the_claim(pg_schema, asked, monkeypatch):
    """Else its row would stay locked while it is sent, and a claim that is waited for no longer
    than a commit would never pass; the more threads a batch asks for, the less it reads of each."""
    keys = [thread_key(name) for name in ("one", "two")]
    async with opened(pg_schema) as driver:
        for key in keys:
            alice = await take(driver, key, ALICE)
            await alice.append(checkpoint(b"x" * 1000))
            await let_go(alice)
        monkeypatch.setattr(_claim, "LOAD_BYTES_MAX", 1500)
        asked.watch(driver)
        bob = await take(driver, keys[0], BOB)
        assert asked() == ["claim"]
        await bob.release()
        asked()
        found = await driver.claim([claim_request(key, ALICE) for key in keys])
        assert asked() == ["claim", "load"]
        for claim in found:
            assert bodies(claim.loaded.rows) == [b"x" * 1000, b"last"]


async def test_what_is_asked_for_by_name_is_loaded_apart(pg_schema, asked):
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        await make(alice)
        asked.watch(driver)
        for more, seen in (({"load_ns": "inside:1"}, [b"n"]), ({"load_seq": 2}, [b"1", b"2"])):
            await alice.release()
            asked()
            alice = await take(driver, thread_key(), ALICE, **more)
            assert asked() == ["claim", "load"]
            assert bodies(alice.claim.loaded.rows) == seen


async def test_a_thread_with_holes_has_no_newest_state(pg_schema):
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        await make(alice)
        await alice.release()
        await execute(f'DELETE FROM "{pg_schema}".stepwell_tail WHERE $1 AND seq = 5', True)
        bob = await take(driver, thread_key(), BOB)
        [read] = await driver.load([LoadRequest(thread_key(), current=True)])
        assert without_times(bob.claim.loaded) == without_times(read)
        assert list(read.rows) == []


@pytest.mark.parametrize("between", ["record", "fold"])
async def test_what_comes_between_snapshot_and_claim_is_loaded(pg_schema, asked, between):
    """The claim is of the newest row, what is read beside it of the snapshot: a record, or
    another layout, that came between is seen, and the thread is loaded again."""
    async with opened(pg_schema) as one, opened(pg_schema) as two:
        alice = await take(one, thread_key(), ALICE)
        for i in range(1, 6):
            await alice.append(checkpoint(b"%d" % i, run=i))
        if between == "fold":
            await alice.release()
        else:
            alice.lease_ttl_s = 0.05
            await alice.append(checkpoint(b"6"))
            await asyncio.sleep(0.1)  # her lease is over, and she does not know
        two._claims.freed(thread_key(), alice.epoch)
        database = two._db._opened
        text = database.sql["claim"]
        assert "WITH want AS MATERIALIZED (\n  SELECT * FROM unnest(" in text
        text = text.replace(
            "WITH want AS MATERIALIZED (\n  SELECT * FROM unnest(",
            f'WITH nap AS MATERIALIZED (SELECT "{pg_schema}".hold_up()), '
            "want AS MATERIALIZED (\n  SELECT w.* FROM nap, unnest(",
            1,
        )
        # The server shows only the beginning of what it executes, which is how it is waited for.
        database.sql = {**database.sql, "claim": f'/* "{pg_schema}".hold_up() */ {text}'}
        asked.watch(two)
        async with held_up(pg_schema) as waiting:
            claiming = asyncio.create_task(take(two, thread_key(), BOB))
            await waiting()
            if between == "fold":
                await folded(one, [segment(1, 3)])
            else:
                await alice.append(checkpoint(b"7"), let_go=True)
        bob = await claiming
        assert asked() == ["claim", "load"]
        loaded = bob.claim.loaded
        assert loaded.thread.record_no == bob.claim.record_no == (7 if between == "record" else 5)
        if between == "record":
            assert bodies(loaded.rows)[-1] == b"7"
        else:
            assert ([s.seq_to for s in loaded.segments], len(loaded.rows)) == ([3], 2)


async def test_a_batch_of_claims_is_one_statement_whatever_becomes_of_each(pg_schema, asked):
    async with opened(pg_schema) as driver, opened(pg_schema) as other:
        mine = await take(driver, thread_key("mine"), ALICE)
        await let_go(mine)
        held = await take(other, thread_key("held"), BOB)
        foreign = await take(other, thread_key("foreign"), BOB)
        await let_go(foreign)
        asked.watch(driver)
        names = ["mine", "held", "foreign", "new", "new"]
        found = await driver.claim([claim_request(thread_key(name), ALICE) for name in names])
        assert [type(outcome) for outcome in found] == [Claim, Busy, Claim, Claim, Claim]
        assert found[1].owner == BOB
        assert bodies(found[2].loaded.rows) == [b"last"]
        assert found[4].epoch > found[3].epoch
        assert asked().count("claim") == 3  # guessed; as they were; the thread named twice
        rows = await execute(
            f'SELECT lock_key FROM "{pg_schema}".stepwell_thread WHERE key = $1',
            key_of(thread_key("new")),
        )
        assert [row[0] for row in rows] == [found[4].lock_key]
        assert held.epoch == found[1].epoch

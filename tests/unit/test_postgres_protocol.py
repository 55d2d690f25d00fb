"""What the ownership protocol promises, on the real statements of a real server.

Where each case of the protocol is shown (docs/architecture.md, "Who owns a thread"):

1 a model of the protocol: tests/simulation/test_model.py; every interleaving of two sessions:
  tests/simulation/test_interleavings.py
2 claim races, one winner: here; of twenty at once: the contract
3 a claim, or a heartbeat, between the snapshot and the row lock of a commit:
  test_postgres_commits.py (pg_sleep inside the statement)
4 a first attempt that arrives late: here, over a proxy that holds it back; in the contract
5 a batch of a stale, a locked and a good slice: here
6 one slice that cannot be written among 200 threads: here
7 the lock session killed every 20-80 ms, with waiters: tests/torture/test_backend_kill.py, and
  test_postgres_locks.py for the driver alone
8 kill -9: tests/crash/test_takeover.py, tests/torture/test_zombie.py
9 frozen past the lease: tests/torture/test_zombie.py
10 cancelled at each await: test_postgres_sessions.py, tests/simulation/test_cancel_everywhere.py;
  here: runs cancelled at any moment leave an empty lock table
11 7,000 running threads: here
12 the side file opened and closed elsewhere, a fork while holding: test_sqlite_locks.py
13 a run that calls its own thread, circles of waiting runs, in one process and in two:
  test_journal_claims.py, test_journal_waiting.py
14 two processes on one thread: test_journal_waiting.py, tests/crash/test_races.py
15 two owners with one epoch, after a failover that lost the last claim: here
16 the wall clock is an hour off, on SQLite: tests/torture/test_zombie.py
17 hostile defaults of a role: test_postgres_sessions.py; through PgBouncer:
  test_postgres_pooler.py
18 a stranger holds a row: test_postgres_commits.py; here: other runs pass by
19 reads during compaction and prune: tests/torture/test_upkeep.py
20 the database fails at record k: tests/engine/test_failing_at_record.py
"""
# ruff: noqa: F401, F811  # fixtures are imported by name

import asyncio
import contextlib
import random
import secrets
from collections import Counter

import asyncpg
import pytest

from stepwell import open_saver
from stepwell._db._postgres_locks import KEYS_MAX
from stepwell.checkpoint.driver import (
    Busy,
    Claim,
    Committed,
    Failed,
    Lost,
    Parked,
    Renewed,
    Stale,
)
from stepwell.checkpoint.postgres._claim import held_by
from stepwell.checkpoint.postgres._driver import PostgresDriver
from stepwell.errors import StorageUnavailableError
from stepwell.testing._contract_base import settle
from stepwell.testing._rows import (
    Writer,
    bodies,
    checkpoint,
    claim_request,
    contest,
    loaded,
    take,
    thread_key,
    thread_row,
    worker,
)
from tests._own_server import answers, own_server
from tests._postgres import execute, opened, pg_dsn, pg_schema, sessions
from tests._proxy import CLAIM, Loss, proxy
from tests.torture._ten_nodes import TenNodes
from tests.unit.test_postgres_commits import stranger

pytestmark = pytest.mark.postgres

ALICE, BOB = worker("alice"), worker("bob")
ROUNDS = 100
RUNNING = 7000


@pytest.mark.parametrize("kind", ["free", "expired"])
async def test_of_six_sessions_that_claim_at_once_one_wins(pg_schema, kind):
    """2: round after round on one thread, that its owner let go, or whose owner has run out."""
    async with contextlib.AsyncExitStack() as stack:
        drivers = [await stack.enter_async_context(opened(pg_schema)) for _ in range(6)]
        names = [worker(f"w{n}") for n in range(6)]
        claim = (await take(drivers[0], thread_key(), names[0])).claim
        winners = Counter()
        last = 0
        for _ in range(ROUNDS):
            if kind == "free":
                await drivers[last].release(names[last], held_by([claim]))
            else:
                await execute(
                    f'UPDATE "{pg_schema}".stepwell_thread SET lease_until = clock_timestamp()'
                )
                await drivers[last].unlock(held_by([claim]))
            got = await asyncio.gather(*map(contest, drivers, [thread_key()] * 6, names))
            won = [n for n, outcome in enumerate(got) if isinstance(outcome, Claim)]
            assert len(won) == 1, got
            winner, before, claim = won[0], claim, got[won[0]]
            assert claim.epoch == before.epoch + 1
            assert claim.taken_over == (kind == "expired" and winner != last)
            last = winner
            winners[last] += 1
        assert len(winners) > 1


@pytest.mark.parametrize(
    "meanwhile", ["retried", "newer record", "pruned", "claimed anew", "deleted and re-created"]
)
async def test_a_first_attempt_that_comes_late_changes_nothing(pg_dsn, pg_schema, meanwhile):
    """4: its reply never came, so it was tried again, and more; then the server gets it after
    all, byte for byte. The rows stay what they were."""
    async with (
        opened(pg_schema) as other,
        proxy(pg_dsn) as wire,
        opened(pg_schema, wire.url) as driver,
    ):
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"1"))
        piece = alice.slice(checkpoint(b"2"))
        wire.choose = lambda _: Loss.LATE
        with pytest.raises(StorageUnavailableError) as caught:
            await driver.commit([piece])
        assert caught.value.context["outcome"] == "unknown"
        wire.choose = lambda _: None
        expected = [b"1", b"2"]
        if meanwhile == "claimed anew":
            alice = await take(driver, thread_key(), ALICE)
            expected = [b"1"]
        else:
            assert await driver.commit([piece]) == [Committed(2)]
            alice.advance(piece)
        if meanwhile == "newer record":
            await alice.append(checkpoint(b"3"))
            expected.append(b"3")
        elif meanwhile == "pruned":
            await execute(f'DELETE FROM "{pg_schema}".stepwell_tail WHERE seq < $1', 3)
            await execute(f'UPDATE "{pg_schema}".stepwell_thread SET layout_no = layout_no + 1')
            expected = []
        elif meanwhile == "deleted and re-created":
            assert await driver.delete(alice.held, ALICE)
            alice = await take(driver, thread_key(), ALICE)
            expected = []
        before = await thread_row(other, thread_key())
        [deliver] = wire.late
        await deliver()
        wire.late.clear()
        after = await thread_row(other, thread_key())
        assert bodies((await loaded(other, thread_key())).rows) == expected
        assert (after.epoch, after.record_no, after.beat) == (
            before.epoch, before.record_no, before.beat,
        )  # fmt: skip
        await alice.append(checkpoint(b"last"))


async def test_a_late_first_attempt_may_be_the_one_that_counts(pg_dsn, pg_schema):
    """4: nobody tried again; it arrives, and the retry finds that it has landed."""
    async with proxy(pg_dsn) as wire, opened(pg_schema, wire.url) as driver:
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"1"))
        piece = alice.slice(checkpoint(b"2"))
        wire.choose = lambda _: Loss.LATE
        with pytest.raises(StorageUnavailableError):
            await driver.commit([piece])
        wire.choose = lambda _: None
        [deliver] = wire.late
        await deliver()
        wire.late.clear()
        assert await driver.commit([piece]) == [Committed(2, landed=True)]
        assert await driver.landed(thread_key(), 2, alice.epoch)
        assert bodies((await loaded(driver, thread_key())).rows) == [b"1", b"2"]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("meanwhile", ["held", "let go", "taken by another"])
async def test_a_claim_that_comes_late_takes_nothing(pg_dsn, pg_schema, known, meanwhile):
    """4: its reply never came, so it was made again. What the server then gets names an epoch that
    is over, and fences neither the claim of its own worker, nor takes what that has let go."""
    async with (
        opened(pg_schema) as other,
        proxy(pg_dsn) as wire,
        opened(pg_schema, wire.url) as driver,
    ):
        if known:
            await driver.release(ALICE, [(await take(driver, thread_key(), ALICE)).held])
        wire.word, seen = CLAIM, wire.commits
        wire.choose = lambda number: Loss.LATE if number == seen + 1 else None
        alice = await take(driver, thread_key(), ALICE)
        [deliver] = wire.late
        await alice.append(checkpoint(b"1"))
        if meanwhile != "held":
            await driver.release(ALICE, [alice.held])
        if meanwhile == "taken by another":
            alice = await take(other, thread_key(), BOB)
        before = await thread_row(other, thread_key())
        await deliver()
        wire.late.clear()
        after = await thread_row(other, thread_key())
        assert (after.epoch, after.owner, after.beat, after.lock_key) == (
            before.epoch, before.owner, before.beat, before.lock_key,
        )  # fmt: skip
        if meanwhile != "let go":
            await alice.append(checkpoint(b"2"))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
async def test_a_batch_answers_for_each_thread(pg_dsn, pg_schema, order):
    """5: a stale, a locked and a good slice in one statement, in any order."""
    async with opened(pg_schema) as driver:
        stale = await take(driver, thread_key("stale"), ALICE, lease_ttl_s=0.001)
        writers = [stale, *[await take(driver, thread_key(n), ALICE) for n in ("locked", "good")]]
        await asyncio.sleep(0.01)
        bob = await take(driver, thread_key("stale"), BOB)
        batch = [writers[n].slice(checkpoint()) for n in order]
        async with stranger(pg_schema, "locked"):
            told = dict(zip(order, await driver.commit(batch), strict=True))
        assert isinstance(told[0], Stale)
        assert (told[0].epoch, told[0].owner) == (bob.epoch, BOB)
        assert (told[1], told[2]) == (Parked(), Committed(1))
        found = [len((await loaded(driver, writer.key)).rows) for writer in writers]
        assert found == [0, 0, 1]


async def test_one_slice_that_cannot_be_written_fails_alone(pg_schema):
    """6: among 200 threads, one whose row is there already; halving finds it."""
    async with opened(pg_schema) as driver:
        requests = [claim_request(thread_key(f"t{n}"), ALICE) for n in range(200)]
        writers = [Writer(driver, claim, ALICE) for claim in await driver.claim(requests)]
        bad = writers[117]
        await bad.append(checkpoint(b"1"))
        batch = [writer.slice(checkpoint()) for writer in writers]
        batch[117] = bad.slice(checkpoint(b"again", seq=1))
        told = await settle(driver, batch)
        assert [n for n, answer in enumerate(told) if answer != Committed(1)] == [117]
        assert isinstance(told[117], Failed)
        [[rows]] = await execute(f'SELECT count(*) FROM "{pg_schema}".stepwell_tail WHERE $1', True)
        assert rows == 200
        await bad.append(checkpoint(b"2"))


async def test_runs_cancelled_at_any_moment_leave_an_empty_lock_table(pg_dsn, pg_schema, seed):
    """10: while they wait for their thread, claim it, commit, or let it go; whoever comes next
    finds each thread free, and the history in one piece."""
    dice = random.Random(seed)
    tag = f"sw{secrets.token_hex(4)}"
    url = f"{pg_dsn}{'&' if '?' in pg_dsn else '?'}application_name={tag}"
    async with open_saver(url, schema=pg_schema, lease_ttl_s=300) as saver:
        graph = TenNodes(seed, pause_s=0.003).build(saver)
        configs = [{"configurable": {"thread_id": f"t{n}"}} for n in range(4)]

        async def cancelled(n):
            run = asyncio.create_task(graph.ainvoke({"trail": []}, configs[n % 4]))
            await asyncio.wait([run], timeout=dice.uniform(0, 0.2))
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

        for _ in range(6):
            await asyncio.gather(*(cancelled(n) for n in range(12)))
        for config in configs:
            async with asyncio.timeout(40):  # far less than a lease
                await graph.ainvoke({"trail": []}, config)
            steps = [state.metadata["step"] async for state in graph.aget_state_history(config)]
            assert steps == list(range(steps[0], -2, -1))
        assert sum(locks for _, _, locks in await sessions(tag)) == 0
        rows = await execute(
            f'SELECT count(*) FROM "{pg_schema}".stepwell_thread WHERE owner IS NOT NULL AND $1',
            True,
        )
        assert rows[0][0] == 0


async def test_seven_thousand_running_threads_leave_room_in_the_lock_table(pg_dsn, pg_schema):
    """11: keys of their own up to the limit, one shared key for the rest; others still get locks,
    every claim lives on, and the death of the process shows for all of them."""
    async with opened(pg_schema) as other:
        driver = PostgresDriver(pg_dsn, schema=pg_schema)
        await driver.open()
        claims = []
        for start in range(0, RUNNING, 1000):
            keys = [thread_key(f"t{n}") for n in range(start, start + 1000)]
            claims += await driver.claim([claim_request(key, ALICE) for key in keys])
        assert all(isinstance(claim, Claim) for claim in claims)
        pid = driver._db._opened.control._link.get_server_pid()
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = $1"
        [[held]] = await execute(locks, pid)
        assert held == driver._db.locks.held <= KEYS_MAX + 1
        connection = await asyncpg.connect(pg_dsn)
        try:
            await connection.fetch("SELECT pg_advisory_lock(n) FROM generate_series(1, 1000) n")
        finally:
            await connection.close()
        writer = Writer(driver, claims[-1], ALICE)
        await writer.append(checkpoint())
        assert set(await driver.renew(ALICE, held_by(claims), 30.0)) == {Renewed()}
        await driver.close()
        for claim in (claims[0], claims[KEYS_MAX], claims[-1]):
            busy = await contest(other, claim.key, BOB)
            assert isinstance(busy, Busy)
            assert busy.lock_free is True


@pytest.mark.slow
async def test_of_two_owners_with_one_epoch_one_is_refused():
    """15: a failover that lost the last claim. The server is put back to before it; another worker
    claims, and is given the very same epoch. The first one's commits, heartbeats and releases are
    refused, and its lost record is told as lost."""
    async with own_server() as server:
        async with opened("public", server.dsn) as driver:
            old = await take(driver, thread_key(), worker("before"))
            await old.append(checkpoint(b"1"), let_go=True)
            await driver.unlock([old.held])
        await asyncio.to_thread(server.stop, "fast")
        copy = await asyncio.to_thread(server.save)
        await asyncio.to_thread(server.start)
        await answers(server.dsn)
        async with opened("public", server.dsn) as one, opened("public", server.dsn) as two:
            alice = await take(one, thread_key(), ALICE)
            lost = await alice.append(checkpoint(b"lost"))
            await asyncio.to_thread(server.stop, "immediate")
            await asyncio.to_thread(server.put_back, copy)
            await asyncio.to_thread(server.start)
            await answers(server.dsn)
            bob = await take(two, thread_key(), BOB)
            assert bob.epoch == alice.epoch
            assert bodies(bob.claim.loaded.rows) == [b"1"]
            [answer] = await again(lambda: one.commit([alice.slice(checkpoint(b"late"))]))
            assert (answer.epoch, answer.owner, type(answer)) == (bob.epoch, BOB, Stale)
            [answer] = await one.commit([lost])
            assert isinstance(answer, Stale)
            assert await one.renew(ALICE, [alice.held], 30.0) == [Lost(bob.epoch)]
            await one.release(ALICE, [alice.held])
            assert not await one.delete(alice.held, ALICE)
            await bob.append(checkpoint(b"2"))
            assert bodies((await loaded(one, thread_key())).rows) == [b"1", b"2"]


async def again(call):
    """The first try after a restart may find its connection gone."""
    try:
        return await call()
    except StorageUnavailableError:
        return await call()


@pytest.mark.parametrize("lock", ["FOR UPDATE", "FOR SHARE"])
async def test_a_strangers_lock_holds_up_no_other_run(pg_dsn, pg_schema, lock):
    """18: whole runs of other threads pass by, while one waits for its row, and then goes on."""
    async with open_saver(pg_dsn, schema=pg_schema) as saver:
        walk = TenNodes(0, pause_s=0.0)
        graph = walk.build(saver)
        configs = [{"configurable": {"thread_id": f"t{n}"}} for n in range(8)]
        for config in configs:
            await graph.ainvoke({"trail": [], "steps": 0}, config)
        async with stranger(pg_schema, "t0", lock):
            held = asyncio.create_task(graph.ainvoke({"trail": [], "steps": 0}, configs[0]))
            for config in configs[1:]:
                await graph.ainvoke({"trail": [], "steps": 0}, config)
            assert not held.done()
        assert (await held)["steps"] == 20

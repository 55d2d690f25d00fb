"""SQLite: batches with bad slices, hostile texts, cancellation, and what a verb costs."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3

import pytest

from stepwell._db._sqlite_connection import BaseLane
from stepwell._db._sqlite_host import LeaseTime
from stepwell.checkpoint.driver import (
    Ask,
    Busy,
    Claim,
    Committed,
    Failed,
    LoadRequest,
    RunStatus,
    Stale,
    ThreadQuery,
    ThreadStatus,
)
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.errors import SequenceConflictError, StorageError
from stepwell.testing._rows import (
    bodies,
    change,
    checkpoint,
    claim_request,
    comparable,
    contest,
    loaded,
    pending,
    run_row,
    take,
    thread_key,
    thread_row,
    worker,
)

ALICE, BOB = worker("alice"), worker("bob")
HOSTILE = ("lone \udc80 surrogate", "NUL \x00 inside", "\ud800", "\x00")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "threads.db")


@pytest.fixture
async def driver(path):
    driver = SqliteDriver(path)
    await driver.open()
    await driver.migrate("auto")
    yield driver
    await driver.close()


def in_transaction(driver):
    return driver._database._writer._native.in_transaction


POISON = {
    "seq twice": lambda alice: alice.slice(checkpoint(b"2", seq=1)),
    "integer too large": lambda alice: alice.slice(checkpoint(b"2", step=1 << 70)),
    "a type SQLite does not know": lambda alice: alice.slice(
        checkpoint(b"2", checkpoint_id=object())
    ),
    "wrong type for the column": lambda alice: alice.slice(checkpoint(b"2")._replace(body="text")),
    "no body": lambda alice: alice.slice(checkpoint())._replace(
        checkpoints=[checkpoint(seq=2)._replace(body=b"", crc=None)]
    ),
    "key of a run twice": lambda alice: alice.slice(
        runs=[run_row(2, idempotency_key="k"), run_row(3, idempotency_key="k")]
    ),
    "namespace twice": lambda alice: alice.slice(namespaces=[(1, "a"), (1, "b")]),
}


@pytest.mark.parametrize("kind", POISON)
async def test_a_bad_slice_fails_alone(driver, kind):
    """First, in the middle and last: the others are written, and no transaction is left."""
    for place in range(3):
        writers = [await take(driver, thread_key(f"{place}-{n}"), ALICE) for n in range(3)]
        for writer in writers:
            await writer.append(checkpoint(b"1"))
        batch = [writer.slice(checkpoint(b"2"), pending("t")) for writer in writers]
        batch[place] = POISON[kind](writers[place])
        outcomes = await driver.commit(batch)
        assert [type(outcome) for n, outcome in enumerate(outcomes) if n != place] == [
            Committed
        ] * 2
        failed = outcomes[place]
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, StorageError)
        assert failed.error.context["thread_id"] == f"{place}-{place}"
        assert not in_transaction(driver)
        chains = [bodies((await loaded(driver, writer.key)).rows) for writer in writers]
        assert chains == [[b"1"] if n == place else [b"1", b"2"] for n in range(3)]
        row = await thread_row(driver, writers[place].key)
        assert (row.record_no, row.checkpoints) == (1, 1)
        await writers[place].append(checkpoint(b"2"))


async def test_a_taken_place_is_a_sequence_conflict(driver):
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(checkpoint(b"1"))
    outcome = await alice.send(alice.slice(checkpoint(b"2", seq=1)))
    assert isinstance(outcome.error, SequenceConflictError)


async def test_texts_survive_whatever_they_hold(driver):
    """NUL and lone surrogates, in every text a user can influence, beside a good slice."""
    other = await take(driver, thread_key("other"), ALICE)
    for number, text in enumerate(HOSTILE):
        alice = await take(driver, thread_key(f"t{number}"), ALICE)
        run = run_row(
            1, run_id=text, idempotency_key=text, graph=text, error=text, meta_index=text
        )  # fmt: skip
        described = change(
            ThreadStatus.FAILED, run=1, graph=text, fingerprint=text, next_nodes=text, error=text
        )
        piece = alice.slice(
            checkpoint(b"1", run=1, meta_index=text, key_id=text),
            checkpoint(b"s", ns=1),
            pending("p", task_path=text, channel=text, key_id=text),
            runs=[run], change=described, namespaces=[(1, text)],
        )  # fmt: skip
        outcomes = await driver.commit([piece, other.slice(checkpoint(b"%d" % number))])
        assert outcomes == [Committed(3), Committed(number + 1)]
        other.record_no, other.heads = number + 1, {0: number + 1}
        chain = await loaded(driver, alice.key)
        assert [tuple(row)[:-1] for row in chain.rows] == [tuple(piece.checkpoints[0])[:-1]]
        assert [comparable(row) for row in chain.writes] == [
            comparable(row) for row in piece.writes
        ]
        assert tuple(chain.runs[1])[:-2] == tuple(run)[:-2]
        for name in ("graph", "fingerprint", "next_nodes", "error"):
            assert getattr(chain.thread, name) == text
        assert chain.thread.namespaces[1] == (text, 1)
        assert bodies((await loaded(driver, alice.key, ns_name=text)).rows) == [b"s"]
        [listed] = await driver.threads(ThreadQuery(graph=text))
        assert (listed.key, listed.graph) == (alice.key, text)


async def test_a_thread_twice_in_a_batch_is_written_in_order(driver):
    alice = await take(driver, thread_key(), ALICE)
    first = alice.slice(checkpoint(b"1"))
    alice.advance(first)
    second = alice.slice(checkpoint(b"2"), change=change(ThreadStatus.DONE))
    assert await driver.commit([first, second]) == [Committed(1), Committed(2)]
    assert await driver.commit([first, second]) == [Committed(2, True), Committed(2, True)]


async def test_a_new_incarnation_is_not_mistaken_for_the_old_one(path, driver):
    """The driver remembers a thread's number; another process deletes and creates it anew."""
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(checkpoint(b"old"))
    other = SqliteDriver(path)
    await other.open()
    assert await other.delete(alice.held, ALICE)
    assert await alice.send(alice.slice(checkpoint(b"late"))) == Stale(None)
    bob = await take(other, thread_key(), BOB)
    assert await alice.send(alice.slice(checkpoint(b"late"))) == Stale(bob.epoch, BOB, 0)
    await other.close()


async def test_numbers_of_threads_are_never_used_again(driver):
    """A stale number can then only mean "gone", never another thread."""
    alice = await take(driver, thread_key("a"), ALICE)
    number = driver._numbers[alice.key]
    assert await driver.delete(alice.held, ALICE)
    await take(driver, thread_key("b"), ALICE)
    assert driver._numbers[thread_key("b")] > number


# --- one hop per verb -------------------------------------------------------------------------


@pytest.fixture
def hops(monkeypatch):
    """Every trip to a connection's thread."""
    made = []
    run = BaseLane.run

    def counted(lane, *arguments):
        made.append(lane)
        return run(lane, *arguments)

    monkeypatch.setattr(BaseLane, "run", counted)
    return made


async def test_every_verb_is_one_hop_whatever_its_size(driver, hops):
    keys = [thread_key(f"t{n}") for n in range(40)]
    claims = await driver.claim([claim_request(key, ALICE) for key in keys])
    assert len(hops) == 1
    assert all(isinstance(claim, Claim) for claim in claims)
    hops.clear()
    writers = [await take(driver, key, ALICE) for key in keys]
    hops.clear()
    await driver.commit([w.slice(checkpoint(), pending(), runs=[run_row(1)]) for w in writers])
    assert len(hops) == 1
    held = [writer.held for writer in writers]
    for verb in (
        lambda: driver.load([LoadRequest(key) for key in keys]),
        lambda: driver.history(keys[0], "", None),
        lambda: driver.threads(ThreadQuery()),
        lambda: driver.runs(keys[0]),
        lambda: driver.landed(keys[0], 1, writers[0].epoch),
        lambda: driver.renew(ALICE, held, 30.0),
        lambda: driver.want(keys),
        lambda: driver.ask([Ask(key, writers[0].epoch, "interrupt:x") for key in keys]),
        lambda: driver.delete(held[0], ALICE),
        lambda: driver.release(ALICE, held),
    ):
        hops.clear()
        await verb()
        assert len(hops) == 1
    hops.clear()
    await driver.unlock(held)
    assert (await driver.claim([]), await driver.commit([]), await driver.load([])) == ([], [], [])
    assert len(hops) <= 1


async def test_a_batch_needs_as_many_statements_as_one_slice(driver):
    """Counted where SQLite is asked, executemany once: 2 slices or 60, the same number."""
    counts = []
    for size in (2, 60):
        writers = [await take(driver, thread_key(f"{size}-{n}"), ALICE) for n in range(size)]
        batch = [
            w.slice(checkpoint(), pending(), runs=[run_row(1)], change=change()) for w in writers
        ]
        calls = itertools.count()

        class Counting(sqlite3.Cursor):
            def execute(self, *arguments, calls=calls):
                next(calls)
                return super().execute(*arguments)

            def executemany(self, *arguments, calls=calls):
                next(calls)
                return super().executemany(*arguments)

        native = driver._database._writer._native
        native.cursor = lambda native=native, kind=Counting: sqlite3.Connection.cursor(native, kind)
        await driver.commit(batch)
        del native.cursor
        counts.append(next(calls))
    assert counts[0] == counts[1]


async def test_a_plain_slice_is_five_statements_that_bind_nothing_to_adapt(driver):
    """Of a None, a bool or bytes `sqlite3` asks whether it wants to be adapted, which costs more
    than inserting the row."""
    alice = await take(driver, thread_key(), ALICE)
    seen, bound = [], []

    class Watching(sqlite3.Cursor):
        def execute(self, sql, parameters=()):
            seen.append(sql)
            bound.extend(parameters)
            return super().execute(sql, parameters)

        def executemany(self, sql, rows):
            seen.append(sql)
            bound.extend(value for row in rows for value in row)
            return super().executemany(sql, rows)

    native = driver._database._writer._native
    native.cursor = lambda: sqlite3.Connection.cursor(native, Watching)
    outcomes = await driver.commit([alice.slice(checkpoint(b"{}", source=1))])
    del native.cursor
    assert [type(outcome) for outcome in outcomes] == [Committed]
    # BEGIN, the fences, the thread row, the checkpoint, COMMIT
    assert len(seen) == 5
    assert {type(value) for value in bound} <= {int, float, str, bytearray}


# --- cancellation -----------------------------------------------------------------------------


@pytest.fixture
async def patient(path):
    """A driver that would wait longer than any test."""
    driver = SqliteDriver(path, busy_timeout_s=100_000.0)
    await driver.open()
    await driver.migrate("auto")
    yield driver
    await driver.close()


@pytest.fixture
def busy_file(path, patient):
    """Another connection inside a write transaction."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


async def cancelled(call, after_s):
    task = asyncio.ensure_future(call)
    await asyncio.sleep(after_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_commit_stops_waiting_and_leaves_no_transaction(patient, busy_file):
    busy_file.execute("ROLLBACK")
    alice = await take(patient, thread_key(), ALICE)
    busy_file.execute("BEGIN IMMEDIATE")
    piece = alice.slice(checkpoint(b"1"))
    await cancelled(alice.send(piece), 0.1)
    assert not in_transaction(patient)
    busy_file.execute("ROLLBACK")
    assert await alice.send(piece) == Committed(1)


async def test_a_cancelled_claim_is_as_if_it_had_not_been(patient, busy_file):
    await cancelled(contest(patient, thread_key(), ALICE), 0.1)
    busy_file.execute("ROLLBACK")
    assert patient._locks.held == 0
    assert (await loaded(patient, thread_key())).thread is None


async def test_a_claim_cancelled_behind_its_commit_is_given_back(driver, monkeypatch):
    """Cancelled at the worst moment: the row is free and the lock is gone."""
    committed = asyncio.Event()
    loop = asyncio.get_running_loop()
    write = driver._database._transactions.write

    def slow(*arguments, **options):
        result = write(*arguments, **options)
        loop.call_soon_threadsafe(committed.set)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), loop).result()
        return result

    monkeypatch.setattr(driver._database._transactions, "write", slow)
    task = asyncio.ensure_future(contest(driver, thread_key(), ALICE))
    await committed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    monkeypatch.undo()
    row = await thread_row(driver, thread_key())
    assert (row.owner, row.lock_key, driver._locks.held) == (None, None, 0)
    assert isinstance(await contest(driver, thread_key(), BOB), Claim)


async def test_cancelling_at_every_moment_loses_nothing(driver):
    """Slices sent by tasks that are cancelled after 0, 1, 2, ... steps: each is written or not,
    its retry finds out which, and the chain has every body once."""
    alice = await take(driver, thread_key(), ALICE)
    for steps in range(25):
        piece = alice.slice(checkpoint(b"%d" % steps))
        task = asyncio.ensure_future(alice.send(piece))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert not in_transaction(driver)
        assert isinstance(await alice.send(piece), Committed)
        alice.advance(piece)
    chain = await loaded(driver, thread_key())
    assert bodies(chain.rows) == [b"%d" % number for number in range(25)]


# --- leases -----------------------------------------------------------------------------------


class Leases:
    """A lease clock that tests set."""

    def __init__(self):
        self.boot_id, self.seconds = 1, 1000.0

    def now(self):
        return LeaseTime(self.boot_id, self.seconds)


class Wall:
    """A wall clock that tests set."""

    def __init__(self):
        self.seconds = 1e9

    def wall(self):
        return self.seconds

    def monotonic(self):
        return self.seconds


@pytest.fixture
async def timed(path):
    driver = SqliteDriver(path, leases=Leases(), clock=Wall())
    await driver.open()
    await driver.migrate("auto")
    yield driver
    await driver.close()


async def test_a_step_of_the_wall_clock_ends_no_lease(timed):
    await take(timed, thread_key(), ALICE)
    for wall in (1e9 + 86_400, 1e9 - 86_400, 0.0):
        timed._clock.seconds = wall
        busy = await contest(timed, thread_key(), BOB)
        assert isinstance(busy, Busy)
        assert busy.lease_left_s == pytest.approx(30.0)


async def test_a_lease_ends_by_the_lease_clock(timed):
    await take(timed, thread_key(), ALICE)
    timed._leases.seconds += 29.9
    assert isinstance(await contest(timed, thread_key(), BOB), Busy)
    timed._leases.seconds += 0.2
    assert (await take(timed, thread_key(), BOB)).claim.taken_over


async def test_a_reboot_ends_every_lease(timed):
    """The clock starts again below the old moment; the boot id tells the two apart."""
    await take(timed, thread_key(), ALICE)
    timed._leases.boot_id, timed._leases.seconds = 2, 5.0
    assert (await thread_row(timed, thread_key())).lease_left_s < 0
    assert (await take(timed, thread_key(), BOB)).claim.taken_over


async def test_a_written_run_keeps_its_start(timed):
    alice = await take(timed, thread_key(), ALICE)
    await alice.append(runs=[run_row(1)])
    timed._clock.seconds += 5
    await alice.append(runs=[run_row(1, status=RunStatus.INTERRUPTED)])
    [run] = await timed.runs(thread_key())
    assert (run.started_at, run.finished_at) == (1e9, 1e9 + 5)
    await alice.append(runs=[run_row(1)])
    [run] = await timed.runs(thread_key())
    assert (run.started_at, run.finished_at) == (1e9, None)

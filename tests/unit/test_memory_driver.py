"""What the memory driver promises beyond the contract."""

import asyncio
import gc
import random
import tracemalloc
from typing import TypedDict

import pytest

from stepwell.checkpoint.driver import (
    Ask,
    Busy,
    Capability,
    Claim,
    Committed,
    Driver,
    Failed,
    RunStatus,
    Stale,
    ThreadQuery,
    ThreadStatus,
)
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.checkpoint.memory import _listing as _memory_listing
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.checkpoint.memory._rows import Thread
from stepwell.errors import SequenceConflictError
from stepwell.graph import START, StateGraph
from stepwell.testing._rows import (
    bodies,
    change,
    checkpoint,
    claim_request,
    contest,
    loaded,
    pending,
    run_row,
    seqs,
    take,
    thread_key,
    thread_row,
    worker,
)

ALICE, BOB = worker("alice"), worker("bob")


class ManualClock:
    def __init__(self):
        self.seconds = 50.0
        self.unix = 1_700_000_000.0

    def wall(self):
        return self.unix

    def monotonic(self):
        return self.seconds


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def driver(clock):
    return MemoryDriver(clock)


async def failed(writer, *rows, **options):
    """Send a slice that must fail, and show that nothing of it was written."""
    before = await thread_row(writer.driver, writer.key)
    outcome = await writer.send(writer.slice(*rows, **options))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, SequenceConflictError)
    assert outcome.error.context["thread_id"] == writer.key.thread_id
    assert await thread_row(writer.driver, writer.key) == before
    return str(outcome.error)


def test_it_is_a_driver():
    assert isinstance(MemoryDriver(), Driver)
    assert MemoryDriver().capabilities == {Capability.ONLINE_BACKUP}


def run_to_end(call):
    """Run a coroutine without an event loop: it may not suspend."""
    with pytest.raises(StopIteration) as stop:
        call.send(None)
    return stop.value.value


def test_no_verb_suspends(driver):
    """Each verb is one step of the loop: nothing comes between a fence and its write."""
    [claim] = run_to_end(driver.claim([claim_request(thread_key(), ALICE)]))
    assert isinstance(claim, Claim)
    [piece] = [run_to_end(take(driver, thread_key(), ALICE)).slice(checkpoint(), pending())]
    assert run_to_end(driver.commit([piece])) == [Committed(2)]
    assert len(run_to_end(loaded(driver, thread_key())).rows) == 1
    assert len(run_to_end(driver.history(thread_key(), "", None)).rows) == 1
    assert len(run_to_end(driver.threads(ThreadQuery()))) == 1
    assert run_to_end(driver.runs(thread_key())) == []
    assert run_to_end(driver.landed(thread_key(), 1, piece.epoch))
    for call in (driver.open(), driver.migrate("auto"), driver.want([thread_key()])):
        assert run_to_end(call) is None
    held = run_to_end(take(driver, thread_key(), ALICE)).held
    assert len(run_to_end(driver.renew(ALICE, [held], 1.0))) == 1
    assert run_to_end(driver.ask([Ask(thread_key(), held.epoch, "interrupt:x")])) == [True]
    assert run_to_end(driver.unlock([held])) is None
    assert run_to_end(driver.delete(held, ALICE))
    assert run_to_end(driver.release(ALICE, [held])) is None
    assert run_to_end(driver.close()) is None


async def test_an_idle_thread_is_small():
    """10,000 idle threads with a small checkpoint and a run cost less than 3 KB each; here
    the bytes of 500 are counted, everything that their rows refer to included."""
    driver = MemoryDriver()
    count = 500

    async def fill(prefix):
        for n in range(count):
            writer = await take(driver, thread_key(f"{prefix}-{n:036d}"), bytes(ALICE))
            run = run_row(
                1, status=RunStatus.DONE, run_id=f"{n:036d}", input=bytes([n % 256]) * 60,
                outcome=bytes([n % 255]) * 60,
            )  # fmt: skip
            await writer.append(
                checkpoint(bytes([n % 256]) * 250, run=1),
                runs=[run],
                change=change(ThreadStatus.DONE, run=1),
                let_go=True,
            )

    await fill("warm")
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await fill("counted")
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / count < 3000


async def test_rows_are_kept_as_they_came(driver):
    """A body is referred to, never copied."""
    alice = await take(driver, thread_key(), ALICE)
    body = b"x" * 1000
    await alice.append(checkpoint(body))
    assert (await loaded(driver, thread_key())).rows[0].body is body


async def test_time_comes_from_the_clock(driver, clock):
    """Leases run on the monotonic clock; rows show the wall clock, which may step back."""
    alice = await take(driver, thread_key(), ALICE, lease_ttl_s=10.0)
    alice.lease_ttl_s = 10.0
    clock.unix -= 3600
    await alice.append(checkpoint(), runs=[run_row(1)])
    chain = await loaded(driver, thread_key())
    assert chain.rows[0].created_at == clock.unix
    assert chain.runs[1].started_at == clock.unix
    assert chain.thread.updated_at == clock.unix
    assert chain.thread.created_at == clock.unix + 3600
    clock.seconds += 10.0
    busy = await contest(driver, thread_key(), BOB)
    assert isinstance(busy, Busy)
    assert busy.lease_left_s == 0.0
    assert busy.lock_free is None
    clock.seconds += 0.001
    assert (await take(driver, thread_key(), BOB)).claim.taken_over


async def test_a_time_of_another_database_is_kept(driver, clock):
    """A row that brings its time was made elsewhere (a copy, an import)."""
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(checkpoint(created_at=5.0), checkpoint())
    rows = (await loaded(driver, thread_key())).rows
    assert [row.created_at for row in rows] == [5.0, clock.unix]


async def test_a_run_that_goes_on_is_not_finished(driver, clock):
    """A run keeps the time of its start; its end is that of the last change, if it ended."""
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(runs=[run_row(1, status=RunStatus.INTERRUPTED)])
    start = clock.unix
    [run] = await driver.runs(thread_key())
    assert (run.started_at, run.finished_at) == (start, start)
    clock.unix += 5
    await alice.append(runs=[run_row(1, status=RunStatus.RUNNING, started_at=1.0)])
    [run] = await driver.runs(thread_key())
    assert (run.started_at, run.finished_at) == (start, None)
    clock.unix += 5
    await alice.append(runs=[run_row(1, status=RunStatus.DONE)])
    [run] = await driver.runs(thread_key())
    assert (run.started_at, run.finished_at) == (start, start + 10)


@pytest.mark.parametrize("seq", [1, 3, 0])
async def test_seqs_have_no_gap(driver, seq):
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(checkpoint())
    message = await failed(alice, checkpoint(seq=seq))
    assert "the next seq is 2" in message
    assert "the next seq is 3" in await failed(alice, checkpoint(), checkpoint(seq=4))


@pytest.mark.parametrize("parent", [2, 3, -1])
async def test_a_parent_comes_before_its_row(driver, parent):
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(checkpoint())
    assert f"parent {parent}" in await failed(alice, checkpoint(parent=parent))


async def test_namespaces_are_named_once_and_first(driver):
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(namespaces=[(1, "a"), (2, "b")])
    for wrong in ([(1, "c")], [(3, "a")], [(0, "c")], [(3, "")], [(3, "c"), (3, "d")],
                  [(3, "c"), (4, "c")]):  # fmt: skip
        assert "exists already" in await failed(alice, namespaces=wrong)
    assert "no namespace 7" in await failed(alice, checkpoint(ns=7))
    assert "no namespace 7" in await failed(alice, pending(ns=7))
    await alice.append(checkpoint(ns=2), checkpoint(ns=7), namespaces=[(7, "seven")])
    await alice.append(checkpoint(ns=7))
    assert seqs((await loaded(driver, thread_key(), ns_name="seven")).rows) == [1, 2]


async def test_a_head_is_a_checkpoint(driver):
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(checkpoint(), checkpoint())
    piece = alice.slice()._replace(heads={0: 3})
    outcome = await alice.send(piece)
    assert isinstance(outcome, Failed)
    assert "cannot be 3" in str(outcome.error)
    assert isinstance(await alice.send(piece._replace(heads={0: 1})), Committed)
    assert seqs((await loaded(driver, thread_key())).rows) == [1]


async def test_runs_are_numbered_without_gap(driver):
    alice = await take(driver, thread_key(), ALICE)
    assert "the next is 1" in await failed(alice, runs=[run_row(2)])
    assert "the next is 1" in await failed(alice, runs=[run_row(0)])
    await alice.append(runs=[run_row(1), run_row(2)])
    assert "the next is 3" in await failed(alice, checkpoint(), runs=[run_row(1), run_row(4)])


async def test_idempotency_keys_within_one_slice(driver):
    """The same key twice in a slice fails; a run may be written again with its own key, and
    a key that a run gave up is free."""
    alice = await take(driver, thread_key(), ALICE)
    twice = [run_row(1, idempotency_key="k"), run_row(2, idempotency_key="k")]
    assert "idempotency key 'k'" in await failed(alice, runs=twice)
    await alice.append(runs=twice[:1])
    await alice.append(runs=[run_row(1, idempotency_key="k", status=RunStatus.DONE)])
    assert "idempotency key 'k'" in await failed(alice, runs=[run_row(2, idempotency_key="k")])
    await alice.append(runs=[run_row(1, idempotency_key="other")])
    await alice.append(runs=[run_row(2, idempotency_key="k")])
    assert [run.idempotency_key for run in await driver.runs(thread_key())] == ["k", "other"]


async def test_a_late_duplicate_tells_no_more_than_it_sent(driver):
    """A retry that meets newer records says that its own are there, and no number beyond."""
    alice = await take(driver, thread_key(), ALICE)
    first = await alice.append(checkpoint())
    await alice.append(checkpoint(), checkpoint())
    assert await alice.send(first) == Committed(1, landed=True)


async def test_a_free_row_is_no_proof_of_landing(driver):
    """Only a slice that lets go may find the row free; any other is stale then."""
    alice = await take(driver, thread_key(), ALICE)
    piece = alice.slice(checkpoint())
    await alice.append(checkpoint(), let_go=True)
    outcome = await alice.send(piece)
    assert isinstance(outcome, Stale)
    assert (outcome.epoch, outcome.owner, outcome.record_no) == (alice.epoch, None, 1)


async def test_landed_finds_statuses_of_the_last_two_epochs(driver):
    """A record without a row is found until a second epoch has begun; then it cannot be."""
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(change=change())
    await alice.append(pending(seq=0))
    assert await driver.landed(thread_key(), 1, alice.epoch)
    await take(driver, thread_key(), ALICE)
    assert await driver.landed(thread_key(), 1, alice.epoch)
    await take(driver, thread_key(), ALICE)
    assert not await driver.landed(thread_key(), 1, alice.epoch)
    assert await driver.landed(thread_key(), 2, alice.epoch)


async def test_writes_before_the_first_checkpoint(driver):
    """Filed under 0, "nothing": they load with the empty chain."""
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(pending(seq=0))
    answer = await loaded(driver, thread_key())
    assert (list(answer.rows), len(answer.writes)) == ([], 1)
    assert len((await driver.history(thread_key(), "", None)).writes) == 1


async def test_a_suspicion_is_of_this_epoch_and_beat(driver):
    """Without locks, too, a confirmed suspicion passes only what it has seen."""
    await take(driver, thread_key(), ALICE)
    busy = await contest(driver, thread_key(), BOB)
    for confirmed in ((busy.epoch + 1, busy.beat), (busy.epoch, busy.beat - 1)):
        assert isinstance(await contest(driver, thread_key(), BOB, confirmed=confirmed), Busy)
    bob = await take(driver, thread_key(), BOB, confirmed=(busy.epoch, busy.beat))
    assert bob.claim.taken_over


async def test_equal_times_are_ordered_by_id(driver):
    """On a clock that stands still, pages go on by thread id, both ways."""
    for n in (3, 1, 4, 0, 2):
        await take(driver, thread_key(f"t{n}"), ALICE)
    query = ThreadQuery(limit=2)
    seen = []
    while page := await driver.threads(query):
        seen += [row.key.thread_id for row in page]
        query = query._replace(after=(page[-1].updated_at, page[-1].key.thread_id))
    assert seen == ["t4", "t3", "t2", "t1", "t0"]


async def test_forks_are_followed_by_legs(driver):
    """Every chain of a tree of random forks is that which the parents give, row by row."""
    alice = await take(driver, thread_key(), ALICE)
    parents = {}
    number = 12345
    for seq in range(1, 120):
        number = number * 1103515245 + 12345 & 0x7FFFFFFF
        parent = number % seq if number % 5 == 0 else None
        parents[seq] = seq - 1 if parent is None else parent
        await alice.append(checkpoint(b"%d" % seq, parent=parent))
    for seq in range(1, 120):
        chain = []
        at = seq
        while at:
            chain.append(b"%d" % at)
            at = parents[at]
        assert bodies((await loaded(driver, thread_key(), seq=seq)).rows) == chain[::-1]


async def test_forgetting_keeps_the_threads(driver):
    """After a fork the child goes on with its own copy; there is nothing to give up."""
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(checkpoint(b"1"))
    driver.forget()
    await driver.open()
    assert bodies((await loaded(driver, thread_key())).rows) == [b"1"]


async def test_other_loops_see_the_same_threads():
    """The driver is bound to no loop: the threads of one that was closed can be read on."""
    driver = MemoryDriver()

    def write():
        async def main():
            await (await take(driver, thread_key(), ALICE)).append(checkpoint(b"1"), let_go=True)

        asyncio.run(main())

    await asyncio.to_thread(write)
    assert bodies((await loaded(driver, thread_key())).rows) == [b"1"]


async def test_an_idle_thread_takes_little_more_memory_than_its_rows():
    """Rows come from encoders whose results may hold their whole buffer, 4 KiB for a few bytes."""

    class State(TypedDict):
        n: int

    builder = StateGraph(State)
    builder.add_node("once", lambda state: {"n": state["n"] + 1})
    builder.add_edge(START, "once")
    threads = 200
    async with InMemorySaver() as saver:
        graph = builder.compile(checkpointer=saver)

        async def run(name: str) -> None:
            config = {"configurable": {"thread_id": name}, "metadata": {"user": name}}
            await graph.ainvoke({"n": 0}, config)

        await run("the first, for what is made once")
        tracemalloc.start()
        try:
            for number in range(threads):
                await run(str(number))
            gc.collect()
            each = tracemalloc.get_traced_memory()[0] / threads
        finally:
            tracemalloc.stop()
    assert each < 4096, f"{each:.0f} bytes"


async def through(driver, query):
    """Ids of all threads, page by page."""
    seen = []
    while page := await driver.threads(query):
        seen += [row.key.thread_id for row in page]
        value = {"updated": page[-1].updated_at, "created": page[-1].created_at}
        query = query._replace(after=(value.get(query.order, 0), page[-1].key.thread_id))
    return seen


@pytest.mark.parametrize("order", ["updated", "created", "thread_id"])
@pytest.mark.parametrize("descending", [True, False])
async def test_going_through_all_threads_does_not_look_at_all_for_every_page(
    driver, clock, monkeypatch, order, descending
):
    for n in range(200):
        await take(driver, thread_key(f"t{n:03}"), ALICE)
        clock.unix += 1.0
    looked = []
    real = _memory_listing.place_of
    monkeypatch.setattr(_memory_listing, "place_of", lambda *a: looked.append(1) or real(*a))
    query = ThreadQuery(order=order, descending=descending, limit=10)
    everything = sorted((f"t{n:03}" for n in range(200)), reverse=descending)
    for _ in range(2):
        assert await through(driver, query) == everything
    assert len(looked) <= 5 * 200  # there were 40 pages


async def test_pages_are_right_whatever_changes_between_them(driver, clock, seed):
    """Threads come, go and are written; each page is that of a driver that keeps no order."""
    dice, writers = random.Random(seed), {}
    for _ in range(600):
        clock.unix += dice.choice([0.0, 1.0])
        act, name = dice.random(), f"t{dice.randrange(30)}"
        if act < 0.15 and name not in writers:
            writers[name] = await take(driver, thread_key(name), ALICE)
        elif act < 0.25 and name in writers:
            await writers[name].append(checkpoint())
        elif act < 0.3 and name in writers:
            assert await driver.delete(writers.pop(name).held, ALICE)
        threads = list(driver._threads.values())
        order = dice.choice(["updated", "created", "thread_id"])
        somebody = dice.choice(threads) if threads and act < 0.8 else None
        query = ThreadQuery(
            order=order, descending=dice.random() < 0.5, limit=dice.randrange(1, 8),
            after=None if somebody is None else _memory_listing.place_of(somebody, order),
        )  # fmt: skip
        wanted = [t.key for t in _memory_listing._picked(query, threads)]
        for _ in range(3):
            assert [row.key for row in await driver.threads(query)] == wanted


async def test_a_thread_that_is_gone_is_held_by_nobody(driver):
    writer = await take(driver, thread_key("gone"), ALICE)
    for _ in range(3):
        await driver.threads(ThreadQuery())
    await driver.delete(writer.held, ALICE)
    gc.collect()
    held = [o for o in gc.get_objects() if isinstance(o, Thread) and o.key == writer.key]
    assert held == []

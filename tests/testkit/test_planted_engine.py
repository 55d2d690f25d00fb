"""Planted bugs of the engine itself: a real workload on a broken engine, and what is told of it.

Each guard is taken away in turn. What has to notice it is the checker, a kill's report, or a
client that gets an error in calm weather. Without the bug, the same workload tells nothing.
"""

from __future__ import annotations

import asyncio
import logging
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, TypedDict

import pytest

from stepwell._engine import states
from stepwell._engine.pending import Pending
from stepwell._engine.recorder import Recorder
from stepwell._journal.batcher import Lane
from stepwell._journal.lineup import Lineups, Turn
from stepwell._journal.load import Folded
from stepwell._journal.record import BodyEncoder
from stepwell._portal import home
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import Committed
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.graph import START, StateGraph
from stepwell.testing import EffectLog, History, VirtualClock, acheck_history, crash_everywhere
from tests.testkit._flows import Client, build, config

# A broken engine leaves tasks unfinished.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# -- workloads: each returns what was noticed


def on_virtual_time(work):
    """Run it on a clock of its own; an error in calm weather counts as noticed."""

    def run():
        clock = VirtualClock(seed=5)

        async def main():
            try:
                async with asyncio.timeout(100_000):
                    return await work(clock)
            except Exception as error:
                return [f"error: {error!r}"]

        before = set(home._open_homes)
        try:
            return clock.run(main())
        finally:  # whoever noticed did not close anything any more
            for left in set(home._open_homes) - before:
                left._warns = False

    run.__name__ = work.__name__
    return run


async def told(history, saver, graph, effects=()):
    found = await acheck_history(history, saver, graph=graph, effects=effects)
    return [f"{v.invariant}: {v.message}" for v in found]


@on_virtual_time
async def clients(clock):
    """Three clients on two threads of one process."""
    return await _clients(clock, [clock.saver()])


@on_virtual_time
async def clients_of_two_processes(clock):
    first = clock.saver(lease_ttl_s=10)
    return await _clients(clock, [first, clock.saver(database=first, lease_ttl_s=10)])


async def _clients(clock, savers):
    history, effects = History(None, clock=clock), EffectLog(None, clock=clock)
    graphs = [build(saver, effects) for saver in savers]
    found = []
    for seed in range(4):
        workers = [Client(graphs[n % len(graphs)], history, seed * 10 + n) for n in range(3)]
        ends = await asyncio.gather(
            *(worker.work(threads=2, operations=5) for worker in workers), return_exceptions=True
        )
        found += [f"error: {end!r}" for end in ends if end is not None]
    found += await told(history, savers[0], graphs[0], effects.effects())
    for saver in savers:
        await saver.aclose()
    return found


class Freezer:
    """A driver whose process stops in the middle of a commit, past its lease, and wakes up."""

    def __init__(self, driver):
        self.driver, self.name, self.capabilities = driver, driver.name, driver.capabilities
        self.asleep, self.woken = asyncio.Event(), asyncio.Event()

    def __getattr__(self, verb):
        if verb in ("commit_now", "claim_now"):
            raise AttributeError(verb)
        return getattr(self.driver, verb)

    async def commit(self, batch):
        if any(piece.writes for piece in batch):
            self.asleep.set()
        await self._frozen()
        return await self.driver.commit(batch)

    async def renew(self, *args):
        await self._frozen()
        return await self.driver.renew(*args)

    async def _frozen(self):
        if self.asleep.is_set():
            await self.woken.wait()


@on_virtual_time
async def zombies(clock):
    """A worker freezes with a commit under way; another takes over; the first wakes up."""
    driver = MemoryDriver(clock)
    frozen = Freezer(driver)
    first = Saver(frozen, clock=clock, ids=clock.ids, lease_ttl_s=10)
    second = Saver(driver, clock=clock, ids=clock.ids, lease_ttl_s=10)
    history, effects = History(None, clock=clock), EffectLog(None, clock=clock)
    graph = build(first, effects, durability="sync")
    zombie = asyncio.ensure_future(history.arun(graph, {"limit": 1}, config("t")))
    await frozen.asleep.wait()
    await history.arun(build(second, effects, durability="sync"), None, config("t"))
    frozen.woken.set()
    await asyncio.gather(zombie, return_exceptions=True)  # fenced: that is no surprise
    found = await told(history, second, build(second, effects), effects.effects())
    await first.aclose()
    await second.aclose()
    return found


@on_virtual_time
async def cancelled(clock):
    """A client goes away in the middle of commits that carry others' supersteps too."""

    class Slow(Freezer):
        async def commit(self, batch):
            await asyncio.sleep(0.1)
            return await self.driver.commit(batch)

    saver = Saver(Slow(MemoryDriver(clock)), clock=clock, ids=clock.ids)
    history, effects = History(None, clock=clock), EffectLog(None, clock=clock)
    graph = build(saver, effects, durability="sync")
    found = []
    for n in range(8):
        gone = asyncio.ensure_future(history.arun(graph, {"limit": 1}, config(f"gone{n}")))
        stays = asyncio.ensure_future(history.arun(graph, {"limit": 1}, config(f"stays{n}")))
        await asyncio.sleep(0.05 + 0.1 * n)
        gone.cancel()
        ends = await asyncio.gather(gone, stays, return_exceptions=True)
        found += [f"error: {ends[1]!r}"] * isinstance(ends[1], BaseException)
        await history.arun(graph, None, config(f"gone{n}"))
    found += await told(history, saver, graph, effects.effects())
    await saver.aclose()
    return found


def kills():
    """Kills at every await of a fast task beside a slow one."""

    class State(TypedDict, total=False):
        done: Annotated[list[str], operator.add]

    async def fast(state: State):
        return {"done": ["fast"]}

    async def slow(state: State):
        for _ in range(5):
            await asyncio.sleep(1)
        return {"done": ["slow"]}

    graph = StateGraph(State)
    for node in (fast, slow):
        graph.add_node(node.__name__, node)
        graph.add_edge(START, node.__name__)

    async def main():
        async with VirtualClock().saver() as saver:
            return await crash_everywhere(
                graph.compile(saver, durability="sync"), {"done": []}, config("t")
            )

    reports = asyncio.run(main())
    found = [f"{report.problems} {report.violations}" for report in reports if not report.ok]
    # Long after the fast task has ended, only the slow one is in flight.
    late = [report for report in reports if "slow" in report.where][3:]
    return found + [f"rework: {r.rework}" for r in late if set(r.rework) != {"slow"}]


WORKLOADS = (clients, clients_of_two_processes, zombies, cancelled, kills)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.__name__)
def test_a_sound_engine_raises_no_alarm(workload):
    assert workload() == []


# -- bugs

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTED: dict[str, tuple[Callable[[], list[str]], str, Plant]] = {}
"""Name -> (workload, a word of what is told, what breaks the engine)."""


def planted(workload, word=""):
    def note(plant: Plant) -> Plant:
        PLANTED[plant.__name__] = (workload, word, plant)
        return plant

    return note


def wrap(patch, owner, name, around):
    real = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **more: around(real, *args, **more))


@planted(zombies, "I3")
def no_epoch_check(patch):
    """The driver writes whatever comes, whoever sends it."""

    def commit(real, self, piece, *times):
        thread = self._threads[piece.key]
        found = {name: getattr(thread, name) for name in ("epoch", "owner", "record_no")}
        return real(self, piece._replace(**found), *times)

    wrap(patch, MemoryDriver, "_commit", commit)


@planted(clients_of_two_processes)
def a_busy_thread_counts_as_free(patch):
    def claim(real, self, request, now):
        if request.key in self._threads:
            self._threads[request.key].owner = None
        return real(self, request, now)

    wrap(patch, MemoryDriver, "_claim", claim)


@planted(clients)
def no_line_within_a_process(patch):
    patch.setattr(Lineups, "try_take", lambda _self, key: Turn(key))
    patch.setattr(Lineups, "pass_on", lambda _self, turn: setattr(turn, "passed_on", True))


@planted(zombies, "I")
def acknowledged_before_it_is_written(patch):
    """The commit comes a second after its acknowledgement."""

    async def commit(self, batch):
        asyncio.get_running_loop().call_later(1, self.driver.commit_now, batch)
        return [Committed(piece.record_no_after) for piece in batch]

    patch.setattr(Freezer, "commit", commit)
    patch.setattr(Freezer, "asleep", _Set(), raising=False)


class _Set:
    """Stands in for the event that tells of a frozen commit, where none ever freezes."""

    def __set__(self, owner, value):
        pass

    def __get__(self, owner, kind=None):
        event = asyncio.Event()
        event.set()
        return event


@planted(clients)
def every_seventh_commit_is_acknowledged_and_lost(patch):
    made = []

    def commit(real, self, piece, *times):
        made.append(piece)
        if len(made) % 7:
            return real(self, piece, *times)
        return Committed(piece.record_no_after)

    wrap(patch, MemoryDriver, "_commit", commit)


@planted(clients)
def a_slice_is_written_in_part(patch):
    """Its numbers and its head, but not its last row."""
    made = []

    def commit(real, self, piece, now, wall):
        outcome = real(self, piece, now, wall)
        if isinstance(outcome, Committed) and piece.checkpoints and piece.checkpoints[-1].ns == 0:
            made.append(piece)
            if len(made) % 9 == 0:
                self._threads[piece.key].root.rows.pop()
        return outcome

    wrap(patch, MemoryDriver, "_commit", commit)


@planted(cancelled)
def a_commit_is_not_shielded_from_its_caller(patch):
    """Whoever is cancelled takes the commit that it waits for along."""
    lanes = []
    wrap(
        patch,
        Lane,
        "__init__",
        lambda real, self, *args: (real(self, *args), lanes.append(self))[0],
    )

    async def durable(self):
        try:
            if self._last is not None:
                await asyncio.shield(self._last)
        except asyncio.CancelledError:
            for lane in lanes:
                for task in lane._tasks:
                    task.cancel()
            raise

    patch.setattr(Recorder, "durable", durable)
    patch.setattr(Recorder, "pace", durable)


@planted(kills, "rework")
def pending_writes_are_not_recorded(patch):
    patch.setattr(Recorder, "finished", lambda *_: None)


@planted(kills, "I5")
def a_takeover_forgets_pending_writes(patch):
    patch.setattr(Pending, "from_rows", classmethod(lambda cls, *_: cls()))


@planted(clients, "I4")
def the_record_of_a_barrier_lacks_a_task(patch):
    """Of three parallel tasks, two reach the record."""

    def op(real, self, *args):
        made = real(self, *args)
        return ["w", made[1][:-1]] if made[0] == "w" else made

    wrap(patch, BodyEncoder, "_op", op)


@planted(clients, "I4")
def loading_forgets_what_was_appended(patch):
    def extend(real, self, channel, items):
        real(self, channel, items[:1])

    wrap(patch, Folded, "_extend", extend)


@planted(clients, "I7")
def unfinished_tasks_are_shown_as_finished(patch):
    wrap(
        patch, states, "snapshot", lambda real, *args, **more: real(*args, **more)._replace(next=())
    )


@planted(clients, "I9")
def reads_lag_behind(patch):
    async def load(self, requests):
        answers = [
            self._load(thread, r.ns_name, None if r.seq is not None else r.seq, 0.0)
            for r in requests
            if (thread := self._threads.get(r.key))
        ]
        if len(answers) < len(requests):
            return await real(self, requests)
        return [
            replace(a, rows=a.rows[:-1], writes=()) if r.seq is None and not r.current else a
            for a, r in zip(answers, requests, strict=True)
        ]

    real = MemoryDriver.load
    patch.setattr(MemoryDriver, "load", load)


@planted(clients, "I")
def a_run_goes_on_from_the_step_before_the_last(patch):
    def claim(real, self, request, now):
        answer = real(self, request, now)
        loaded = getattr(answer, "loaded", None)
        if loaded is None or len(loaded.rows) < 2 or request.load_seq is not None:
            return answer
        return replace(answer, loaded=replace(loaded, rows=loaded.rows[:-1], writes=()))

    wrap(patch, MemoryDriver, "_claim", claim)


@planted(zombies, "I5")
def a_result_is_taken_from_an_older_epoch(patch):
    """The fence looks at the owner's name only after it was forgotten: late slices are landed."""

    def commit(real, self, piece, *times):
        thread = self._threads[piece.key]
        if thread.epoch != piece.epoch:
            thread.owner = None
            for row in piece.writes:
                filed = thread.writes or {}
                filed.setdefault((row.ns, row.seq), {})[row.task_id, row.idx] = row
                thread.writes = filed
            return Committed(piece.record_no_after)
        return real(self, piece, *times)

    wrap(patch, MemoryDriver, "_commit", commit)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_of_the_engine_is_noticed(name, monkeypatch):
    workload, word, plant = PLANTED[name]
    with monkeypatch.context() as patch:
        plant(patch)
        found = workload()
    print(f"{name}: {found[:3]}")
    assert found
    assert word in " ".join(found)


def test_the_score_of_planted_engine_bugs():
    print(f"planted bugs of the engine: {len(PLANTED)}, each with a test of its own above")
    assert len(PLANTED) >= 15

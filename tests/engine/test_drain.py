"""Shutting down in good order: runs stop at their barrier, and their threads are free at once."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell.checkpoint.base import DrainReport
from stepwell.errors import GraphDrained, ThreadBusyError, UsageError
from stepwell.graph import START, StateGraph
from stepwell.runtime import Runtime


class State(TypedDict, total=False):
    ask: str
    log: Annotated[list[str], operator.add]


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


class Slow:
    """wait -> after; `wait` ends when it is let go, and does `act` before."""

    def __init__(self, saver: Any) -> None:
        self.begun: set[str] = set()
        self.go = asyncio.Event()
        self.act: Any = None
        self.told: list[bool] = []

        async def wait(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
            self.begun.add(state["ask"])
            await self.go.wait()
            self.told.append(runtime.drain_requested)
            if self.act is not None:
                await self.act()
            return {"log": ["wait"]}

        async def after(state: State) -> dict[str, Any]:
            return {"log": ["after"]}

        builder = StateGraph(State).add_sequence([("wait", wait), ("after", after)])
        self.graph = builder.add_edge(START, "wait").compile(saver, name="slow")

    async def start(self, *names: str, **options: Any) -> list[asyncio.Task[Any]]:
        calls = [
            asyncio.create_task(self.graph.ainvoke({"ask": n}, thread(n), **options)) for n in names
        ]
        async with asyncio.timeout(30):
            while not self.begun.issuperset(names):  # noqa: ASYNC110  # many begin
                await asyncio.sleep(0.005)
        return calls


async def test_runs_stop_at_their_barrier(saver):
    """Callers get GraphDrained; what was finished is kept; the threads are free, and go on."""
    slow = Slow(saver)
    calls = await slow.start("a", "b")
    asyncio.get_running_loop().call_later(0.05, slow.go.set)
    report = await saver.adrain()
    assert (sorted(report.drained), report.running) == (["a", "b"], ())
    for call in calls:
        with pytest.raises(GraphDrained):
            await call
    assert slow.told == [True, True]
    for name in "ab":
        state = await slow.graph.aget_state(thread(name))
        assert (state.values["log"], state.next) == (["wait"], ("after",))
        info = await saver.aget_thread(name)
        assert (info.status, info.owner) == ("idle", None)


async def test_who_does_not_come_to_a_barrier_is_reported(saver):
    """Nothing is cancelled: the run stops when it gets there."""
    slow = Slow(saver)
    [call] = await slow.start("a")
    assert await saver.adrain(0.05) == DrainReport(running=("a",))
    assert not call.done()
    slow.go.set()
    with pytest.raises(GraphDrained):
        await call
    assert await saver.adrain() == DrainReport()


async def test_nothing_new_begins(saver):
    """Calls are refused at once, those that wait in line too; until the saver is opened anew."""
    slow = Slow(saver)
    [call] = await slow.start("a")
    waiting = asyncio.create_task(slow.graph.ainvoke({"ask": "later"}, thread("a")))
    await asyncio.sleep(0.02)
    draining = asyncio.create_task(saver.adrain())
    with pytest.raises(ThreadBusyError) as caught:
        await waiting
    assert caught.value.context["code"] == "draining"
    assert caught.value.retryable
    for doing in (
        slow.graph.ainvoke({"ask": "new"}, thread("new")),
        slow.graph.aupdate_state(thread("a"), {"log": ["by hand"]}),
    ):
        with pytest.raises(ThreadBusyError, match="drains"):
            await doing
    assert (await slow.graph.aget_state(thread("a"))).next == ("wait",)
    slow.go.set()
    assert (await draining).drained == ("a",)
    with pytest.raises(GraphDrained):
        await call
    with pytest.raises(ThreadBusyError):
        await slow.graph.ainvoke(None, thread("a"))


async def test_an_opened_saver_begins_again(tmp_path):
    saver = open_saver(f"sqlite:///{tmp_path}/again.db")
    slow = Slow(saver)
    slow.go.set()
    async with saver:
        await slow.graph.ainvoke({"ask": "a"}, thread("a"))
        await saver.adrain()
        with pytest.raises(ThreadBusyError):
            await slow.graph.ainvoke({"ask": "b"}, thread("b"))
    async with saver:
        await slow.graph.ainvoke({"ask": "b"}, thread("b"))


async def test_what_a_running_node_needs_goes_on(saver):
    """A node that runs another thread, or updates one, gets to its barrier."""
    slow, other = Slow(saver), Slow(saver)
    other.go.set()

    async def act() -> None:
        await other.graph.aupdate_state(thread("c"), {"log": ["from within"]}, as_node="after")

    slow.act = act
    [call] = await slow.start("a")
    asyncio.get_running_loop().call_later(0.02, slow.go.set)
    assert (await saver.adrain()).drained == ("a",)
    with pytest.raises(GraphDrained):
        await call
    assert (await slow.graph.aget_state(thread("c"))).values["log"] == ["from within"]


async def test_other_processes_have_the_threads_at_once(tmp_path):
    """Long before a lease is over; and whoever waits here for another process is sent away."""
    url = f"sqlite:///{tmp_path}/two.db"
    lease: Any = {"lease_ttl_s": 3600.0}
    async with open_saver(url, **lease) as here, open_saver(url, **lease) as there:
        slow, other = Slow(here), Slow(there)
        [call] = await slow.start("a")
        waiting = asyncio.create_task(other.graph.ainvoke(None, thread("a")))
        await asyncio.sleep(0.1)
        slow.go.set()
        other.go.set()
        await here.adrain()
        with pytest.raises(GraphDrained):
            await call
        assert (await waiting)["log"] == ["wait", "after"]


async def test_a_wait_for_another_process_ends(tmp_path):
    url = f"sqlite:///{tmp_path}/two.db"
    async with open_saver(url) as here, open_saver(url) as there:
        slow, other = Slow(here), Slow(there)
        [call] = await slow.start("a")
        waiting = asyncio.create_task(other.graph.ainvoke(None, thread("a")))
        await asyncio.sleep(0.1)
        assert await there.adrain() == DrainReport()
        with pytest.raises(ThreadBusyError, match="drains"):
            await waiting
        slow.go.set()
        assert (await call)["log"] == ["wait", "after"]


async def test_a_key_goes_on_with_what_was_drained(saver):
    slow = Slow(saver)
    [call] = await slow.start("a", idempotency_key="k")
    asyncio.get_running_loop().call_later(0.02, slow.go.set)
    await saver.adrain()
    with pytest.raises(GraphDrained):
        await call
    [run] = [r async for r in saver.alist_runs("a")]
    assert (run.status, run.attempts) == ("cancelled", 1)


async def test_a_run_that_was_taken_over_stays_an_orphan(saver):
    """It was nobody's call: the next process sweeps it, and no attempt is counted."""
    from tests.engine.test_recovery import Walk

    walk = Walk(saver, more=True)
    await walk.orphan("a")
    walk.acts["a"] = "wait"
    async with walk.graph.sweeper(interval_s=0.05):
        await walk.begun.wait()
        asyncio.get_running_loop().call_later(0.02, walk.go.set)
        assert (await saver.adrain()).drained == ("a",)
    [orphan] = [info async for info in saver.aorphans()]
    [run] = [r async for r in saver.alist_runs("a")]
    assert (orphan.thread_id, run.status, run.attempts) == ("a", "running", 1)


async def test_who_drains_recovers_nothing_and_says_so(saver):
    """A report of nothing would read as if there were no orphans."""
    from tests.engine.test_recovery import Walk

    walk = Walk(saver)
    await walk.orphan("a")
    await saver.adrain()
    with pytest.raises(ThreadBusyError, match="drains") as caught:
        await walk.graph.arecover()
    assert caught.value.context["code"] == "draining"
    assert [info.thread_id async for info in saver.aorphans()] == ["a"]


async def test_a_saver_that_is_not_open_has_nothing_to_drain(tmp_path):
    saver = open_saver(f"sqlite:///{tmp_path}/none.db")
    assert await saver.adrain() == DrainReport()
    with pytest.raises(UsageError):
        await saver.adrain(-1)


def test_the_sync_twin(tmp_path):
    with open_saver(f"sqlite:///{tmp_path}/sync.db") as saver:
        graph = Slow(saver).graph
        graph.update_state(thread("a"), {"log": ["x"]}, as_node="after")
        assert saver.drain() == DrainReport()
        with pytest.raises(ThreadBusyError):
            graph.update_state(thread("a"), {"log": ["x"]}, as_node="after")

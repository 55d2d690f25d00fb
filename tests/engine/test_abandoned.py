"""Calls that nobody waits for any more leave a thread that can be resumed, and nothing else."""

from __future__ import annotations

import asyncio
import gc
import operator
from typing import Annotated, Any, TypedDict

import asyncpg
import pytest

from stepwell.checkpoint.base import Saver
from stepwell.graph import START, StateGraph
from tests._postgres import server_dsn

STEPS = 4
WHOLE = [f"n{n}" for n in range(STEPS)]


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


def build(saver: Saver, **options: Any) -> Any:
    def node(name: str) -> Any:
        async def run(state: State) -> dict[str, Any]:
            await asyncio.sleep(0)
            return {"log": [name]}

        return run

    builder = StateGraph(State).add_sequence([(name, node(name)) for name in WHOLE])
    return builder.add_edge(START, "n0").compile(saver, name="abandoned", **options)


async def locks_held(saver: Saver) -> int:
    """Advisory locks of this process on the saver's database."""
    driver: Any = (await saver.journal()).driver
    if driver.name == "sqlite":
        return len(driver._locks._held)
    if driver.name == "postgres":
        link = await asyncpg.connect(server_dsn())
        try:
            return await link.fetchval(
                "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
                "WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()"
            )
        finally:
            await link.close()
    return 0


class Traces:
    """What there was before, to be held against what is there after."""

    def __init__(self, saver: Saver) -> None:
        self.saver = saver

    async def take(self) -> Traces:
        await (await self.saver.journal()).settled(self.saver.key("any"))
        self.tasks = {task for task in asyncio.all_tasks() if not task.done()}
        self.locks = await locks_held(self.saver)
        return self

    async def gone(self) -> None:
        """Wait until there is no task, lock or owner more than before."""
        async with asyncio.timeout(30):
            while True:
                more = {t for t in asyncio.all_tasks() if not t.done()} - self.tasks
                more.discard(asyncio.current_task())
                more = {t for t in more if "Heartbeat" not in repr(t)}
                held = await locks_held(self.saver) - self.locks
                owners = [i.thread_id async for i in self.saver.alist_threads() if i.owner]
                if not more and held <= 0 and not owners:
                    return
                gc.collect()
                await asyncio.sleep(0.02)


async def finish(graph: Any, name: str) -> None:
    """Whatever was left of a run can be resumed at once, and comes to the same end."""
    state = await graph.aget_state(thread(name))
    given = None if state.metadata is not None else {"log": ["in"]}
    if state.metadata is None or state.next:
        await graph.ainvoke(given, thread(name), on_conflict="reject")
    state = await graph.aget_state(thread(name))
    assert (state.values["log"], state.next) == (["in", *WHOLE], ())


@pytest.mark.parametrize("how", ["aclose", "break", "collected"])
@pytest.mark.parametrize("after", [1, 3])
async def test_a_stream_that_is_left(saver, how, after):
    """Closed, left in the middle, or dropped: the run is cancelled, its thread is free."""
    graph = build(saver, durability="sync")
    await graph.ainvoke({"log": ["in"]}, thread("warm"))
    before = await Traces(saver).take()

    async def leave() -> None:
        stream = graph.astream({"log": ["in"]}, thread("t"), stream_mode="values")
        seen = 0
        async for _ in stream:
            seen += 1
            if seen == after:
                break
        if how == "aclose":
            await stream.aclose()
        if how == "break":
            return  # the loop's hook for async generators closes it when it is collected
        del stream

    await leave()
    await before.gone()
    await finish(graph, "t")


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_call_that_is_cancelled_anywhere(saver, durability):
    """After any number of steps of the loop: resumable at once, nothing left behind."""
    graph = build(saver, durability=durability)
    await graph.ainvoke({"log": ["in"]}, thread("warm"))
    before = await Traces(saver).take()
    memory = (await saver.journal()).driver.name == "memory"
    cancelled = 0
    for ticks in range(0, 60, 2 if memory else 7):
        call = asyncio.create_task(graph.ainvoke({"log": ["in"]}, thread(f"t{ticks}")))
        for _ in range(ticks):
            await asyncio.sleep(0)
        call.cancel()
        try:
            await call
        except asyncio.CancelledError:
            cancelled += 1
        await before.gone()
        await finish(graph, f"t{ticks}")
    assert cancelled


async def test_a_wait_that_is_cancelled_takes_nothing_along(saver):
    """Somebody who waits in line, and gives up, is not handed the thread later."""
    graph = build(saver)
    await graph.ainvoke({"log": ["in"]}, thread("warm"))
    before = await Traces(saver).take()
    journal = await saver.journal()
    handle = await journal.acquire(saver.key("t"))
    waiting = [
        asyncio.create_task(graph.ainvoke({"log": ["in"]}, thread("t"), idempotency_key=str(n)))
        for n in range(5)
    ]
    await asyncio.sleep(0.05)
    for call in waiting[:4]:
        call.cancel()
    await handle.release()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(r, asyncio.CancelledError) for r in results] == [True] * 4 + [False]
    await before.gone()
    await finish(graph, "t")

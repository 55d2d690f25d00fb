"""A run whose thread was taken from it: it stops at once, and writes nothing more."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from pathlib import Path
from typing import Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell.errors import StaleWriterError
from stepwell.graph import START, StateGraph

CONFIG = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    """One number."""

    n: int


def steal(path: Path) -> None:
    """Take the thread over behind everybody's back, as a successor would."""
    with sqlite3.connect(path) as database:
        database.execute("UPDATE stepwell_thread SET epoch = epoch + 1, owner = randomblob(16)")
    database.close()


async def test_a_zombie_is_refused_and_told(tmp_path: Path) -> None:
    """The commit of a run that lost its thread is refused; nothing of it is in the database."""
    path = tmp_path / "z.db"

    async def zombie(state: State) -> dict[str, Any]:
        await asyncio.to_thread(steal, path)
        return {"n": 13}

    async def after(state: State) -> dict[str, Any]:
        return {"n": 14}

    graph = StateGraph(State)
    graph.add_sequence([("zombie", zombie), ("after", after)])
    graph.add_edge(START, "zombie")
    async with open_saver(f"sqlite:///{path}") as saver:
        compiled = graph.compile(saver, durability="sync")
        with pytest.raises(StaleWriterError):
            await compiled.ainvoke({"n": 1}, CONFIG)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
        state = await compiled.aget_state(CONFIG)
    assert (state.values, state.next) == ({"n": 1}, ("zombie",))


async def test_running_tasks_are_cancelled_when_the_thread_is_lost(tmp_path: Path) -> None:
    """A task that still runs when the loss is noticed is cancelled at once, not at the barrier."""
    path = tmp_path / "z.db"
    ended: list[str] = []

    async def slow(state: State) -> dict[str, Any]:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("slow")
        return {}

    async def thief(state: State) -> dict[str, Any]:
        await asyncio.to_thread(steal, path)
        return {"n": 2}

    graph = StateGraph(State)
    for name, node in (("slow", slow), ("thief", thief)):
        graph.add_node(name, node)
        graph.add_edge(START, name)
    async with open_saver(f"sqlite:///{path}") as saver:
        compiled = graph.compile(saver)
        with pytest.raises(StaleWriterError):
            await asyncio.wait_for(compiled.ainvoke({"n": 1}, CONFIG), 60)
        assert ended == ["slow"]


async def test_one_lost_thread_does_not_harm_the_others(tmp_path: Path) -> None:
    """Runs on other threads, committed in the same batches, go on."""
    path = tmp_path / "z.db"

    async def count(state: State) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"n": state["n"] + 1}

    async def maybe_steal(state: State) -> dict[str, Any]:
        if state["n"] == 101:  # the one thread that starts at 100
            with sqlite3.connect(path) as database:
                database.execute(
                    "UPDATE stepwell_thread SET epoch = epoch + 1 WHERE thread_id = 'victim'"
                )
            database.close()
        return {"n": state["n"] + 1}

    graph = StateGraph(State)
    graph.add_sequence([("a", count), ("b", maybe_steal), ("c", count)])
    graph.add_edge(START, "a")
    async with open_saver(f"sqlite:///{path}") as saver:
        compiled = graph.compile(saver, durability="sync")

        async def run(name: str, n: int) -> Any:
            return await compiled.ainvoke({"n": n}, {"configurable": {"thread_id": name}})

        results = await asyncio.gather(
            run("victim", 100), *(run(f"t{i}", 0) for i in range(10)), return_exceptions=True
        )
    assert isinstance(results[0], StaleWriterError)
    assert results[1:] == [{"n": 3}] * 10


@pytest.mark.parametrize("slots", [None, 2])
async def test_a_lost_run_leaves_no_error_that_nobody_hears(
    tmp_path: Path, slots: int | None
) -> None:
    """Tasks that end while their siblings run leave records that nobody waits for; when these
    are refused, the run's own error is all there is: the loop has none to complain of."""
    path = tmp_path / "z.db"
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))

    async def thief(state: State) -> dict[str, Any]:
        await asyncio.to_thread(steal, path)
        return {}

    async def quick(state: State) -> dict[str, Any]:
        return {}

    async def slow(state: State) -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    graph = StateGraph(State)
    for node in (thief, quick, slow):
        graph.add_node(node)
        graph.add_edge(START, node.__name__)
    async with open_saver(f"sqlite:///{path}") as saver:
        compiled = graph.compile(saver, durability="sync")
        with pytest.raises(StaleWriterError):
            await compiled.ainvoke({"n": 1}, {**CONFIG, "max_concurrency": slots})
    gc.collect()
    assert complaints == []

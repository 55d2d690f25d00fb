"""The database fails for good in the midst of a run whose supersteps run ahead of it."""

from __future__ import annotations

import asyncio
import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.sqlite._driver import SqliteDriver
from stepwell.errors import EmptyInputError, StorageError
from stepwell.graph import START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from stepwell.testing import FaultPlan, FaultyDriver

STEPS = 12
CONFIG = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    """Where the run has been."""

    log: Annotated[list[int], operator.add]


def build(saver: Saver, ran: list[int]) -> CompiledStateGraph:
    def node(n: int) -> Any:
        async def step(state: State) -> State:
            ran.append(n)
            # Commits of SQLite run beside: some supersteps share one, some do not.
            await asyncio.sleep(0.002 * (n % 3))
            return {"log": [n]}

        return step

    graph = StateGraph(State)
    graph.add_sequence([(f"n{n}", node(n)) for n in range(STEPS)])
    graph.add_edge(START, "n0")
    return graph.compile(saver, durability="async")


def broken() -> StorageError:
    return StorageError("The disk is gone.", outcome="none")


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
async def test_the_error_names_what_is_durable_and_nothing_behind_it_is_there(
    tmp_path: Path, k: int
) -> None:
    """The k-th commit fails, and all that follow. The error says up to where the thread is
    durable; that is what is stored, exactly; parts of mode `checkpoints` were sent for nothing
    else; and the run goes on from there."""
    path = f"{tmp_path}/t.db"
    plan = FaultPlan().fail("commit", at=k, times=10**6, error=broken)
    shown: list[int] = []
    ran: list[int] = []
    async with Saver(FaultyDriver(SqliteDriver(path), plan)) as saver:
        graph = build(saver, ran)
        with pytest.raises(StorageError, match="disk is gone") as caught:
            async for _, part in graph.astream(
                {"log": []}, CONFIG, stream_mode=["checkpoints", "values"]
            ):
                if "metadata" in part:
                    shown.append(part["metadata"]["step"])
    assert plan.fired
    context = caught.value.context
    assert context["outcome"] == "none"
    async with open_saver(f"sqlite:///{path}") as calm:
        graph = build(calm, ran)
        history = [s async for s in graph.aget_state_history(CONFIG)][::-1]
        steps = [s.metadata["step"] for s in history]
        assert steps == list(range(-1, len(history) - 1))
        assert context.get("durable_seq", 0) == len(history)
        assert context["dropped_records"] > 0
        assert shown == steps[: len(shown)]
        assert history == [] or history[-1].values == {"log": list(range(len(history) - 2))}
        if history:
            result = await graph.ainvoke(None, CONFIG)
        else:
            with pytest.raises(EmptyInputError):
                await graph.ainvoke(None, CONFIG)
            result = await graph.ainvoke({"log": []}, CONFIG)
        assert result == {"log": list(range(STEPS))}

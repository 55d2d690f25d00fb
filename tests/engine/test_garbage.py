"""What a run leaves behind is freed when it ends, not when the garbage collector comes by."""

from __future__ import annotations

import asyncio
import gc
import operator
from typing import Annotated, TypedDict

import pytest

from stepwell import open_saver
from stepwell.graph import END, START, StateGraph
from stepwell.types import Send

RUNS = 5


class State(TypedDict):
    n: Annotated[int, operator.add]


def one_more(state: State) -> State:
    return {"n": 1}


def chain() -> StateGraph:
    builder = StateGraph(State)
    builder.add_sequence([("first", one_more), ("second", one_more)])
    builder.add_edge(START, "first")
    return builder


def fan_out() -> StateGraph:
    async def branch(state: State) -> State:
        await asyncio.sleep(0)
        return {"n": 1}

    builder = StateGraph(State)
    builder.add_node("branch", branch)
    builder.add_conditional_edges(START, lambda _: [Send("branch", {"n": 0})] * 3, ["branch"])
    builder.add_edge("branch", END)
    return builder


async def left_behind(run) -> int:
    """Objects in circles after some runs, once what is made at the first ones is there."""
    for number in range(3):
        await run(f"warm {number}")
    await asyncio.sleep(0)
    gc.collect()
    gc.disable()
    try:
        for number in range(RUNS):
            await run(str(number))
        await asyncio.sleep(0)
        return gc.collect()
    finally:
        gc.enable()


@pytest.mark.parametrize("url", ["memory://", "sqlite://"])
@pytest.mark.parametrize("shape", [chain, fan_out])
async def test_a_run_leaves_no_circles(url, shape):
    async with open_saver(url) as saver:
        graph = shape().compile(checkpointer=saver)

        async def run(name: str) -> None:
            await graph.ainvoke({"n": 0}, {"configurable": {"thread_id": name}})

        assert await left_behind(run) < RUNS


async def test_a_circle_is_seen():
    async def run(name: str) -> None:
        circle: list[object] = [name]
        circle.append(circle)

    assert await left_behind(run) == RUNS

"""What a superstep costs without a database, counted in Python calls: a count has no noise."""

from __future__ import annotations

import gc
import operator
import sys
from typing import Annotated, Any, TypedDict

from stepwell.graph import END, START, StateGraph
from stepwell.types import Send

CALLS_PER_STEP_MAX = 14
"""Python functions that are called for one superstep of one async node, its own included."""
CALLS_PER_BRANCH_MAX = 20


class Number(TypedDict):
    """One number."""

    n: int


class Found(TypedDict):
    """What the branches bring back."""

    found: Annotated[list[int], operator.add]


async def step(state: Any) -> dict[str, Any]:
    return {"n": state["n"] + 1}


async def calls_of(graph: Any, given: dict[str, Any]) -> int:
    """How many Python functions are called (or resumed) in one run of a graph."""
    count = 0

    def note(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    gc.disable()  # others may have functions called at each collection
    sys.setprofile(note)
    try:
        await graph.ainvoke(given, {"recursion_limit": 10_000})
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


async def calls_of_chain(length: int, *, keys: int = 0) -> int:
    state = TypedDict("state", {"n": int, **{f"k{i}": str for i in range(keys)}})  # type: ignore[misc]
    builder = StateGraph(state)
    builder.add_sequence([(f"n{i}", step) for i in range(length)]).add_edge(START, "n0")
    return await calls_of(builder.compile(), {"n": 0} | {f"k{i}": "text" for i in range(keys)})


async def calls_of_loop(steps: int) -> int:
    builder = StateGraph(Number).add_node("step", step).add_edge(START, "step")
    builder.add_conditional_edges("step", lambda state: "step" if state["n"] < steps else END)
    return await calls_of(builder.compile(), {"n": 0})


async def calls_of_branches(branches: int) -> int:
    async def work(number: int) -> dict[str, Any]:
        return {"found": [number]}

    builder = StateGraph(Found).add_node("work", work)
    builder.add_conditional_edges(START, lambda _: [Send("work", i) for i in range(branches)])
    return await calls_of(builder.compile(), {"found": []})


async def test_a_superstep_takes_few_calls() -> None:
    """One more node in a chain costs a bounded number of calls."""
    assert await calls_of_chain(30) - await calls_of_chain(10) <= 20 * CALLS_PER_STEP_MAX


async def test_keys_that_no_node_touches_cost_nothing() -> None:
    """A wide state is taken in once; after that, a superstep costs what it writes."""
    narrow = await calls_of_chain(30) - await calls_of_chain(10)
    assert await calls_of_chain(30, keys=40) - await calls_of_chain(10, keys=40) == narrow


async def test_a_loop_does_not_grow_dearer() -> None:
    """The cost of a superstep does not depend on how many came before."""
    first, all_of_them = await calls_of_loop(400), await calls_of_loop(800)
    assert all_of_them <= 2 * first
    assert all_of_them <= 800 * (CALLS_PER_STEP_MAX + 8)


async def test_branches_cost_the_same_each() -> None:
    """A fan-out costs so much for each branch, however many there are."""
    few, many = await calls_of_branches(100), await calls_of_branches(400)
    assert many <= 4 * few
    assert many - few <= 300 * CALLS_PER_BRANCH_MAX

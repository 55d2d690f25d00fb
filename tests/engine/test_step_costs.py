"""What a superstep costs without a database, counted in Python calls: a count has no noise."""

from __future__ import annotations

import gc
import operator
import sys
from functools import partial
from itertools import count
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell.graph import END, START, StateGraph
from stepwell.types import Send

CALLS_PER_STEP_MAX = 14
"""Python functions that are called for one superstep of one async node, its own included."""
CALLS_PER_BRANCH_MAX = 20
CALLS_PER_DURABLE_STEP_MAX = {"sync": 47, "async": 54}
"""The same with the memory saver: with "sync" its record is durable when it is over."""
CALLS_PER_DURABLE_RUN_MAX = {"sync": 390, "async": 435}
"""The same for a whole run of one node on a new thread."""
CALLS_PER_TURN_MAX = 600
"""Of a run of one node on a thread that this process has let go."""

_numbers = count()


class Number(TypedDict):
    """One number."""

    n: int


class Found(TypedDict):
    """What the branches bring back."""

    found: Annotated[list[int], operator.add]


async def step(state: Any) -> dict[str, Any]:
    return {"n": state["n"] + 1}


async def calls_of(
    graph: Any, given: dict[str, Any], config: dict[str, Any] | None = None, **options: Any
) -> int:
    """How many Python functions are called (or resumed) in one run of a graph."""
    calls = 0

    def note(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    gc.disable()  # others may have functions called at each collection
    sys.setprofile(note)
    try:
        await graph.ainvoke(given, {"recursion_limit": 10_000} | (config or {}), **options)
    finally:
        sys.setprofile(before)
        gc.enable()
    return calls


async def calls_of_chain(
    length: int, *, keys: int = 0, saver: Any = None, durability: Any = None
) -> int:
    state = TypedDict("state", {"n": int, **{f"k{i}": str for i in range(keys)}})  # type: ignore[misc]
    builder = StateGraph(state)
    builder.add_sequence([(f"n{i}", step) for i in range(length)]).add_edge(START, "n0")
    given = {"n": 0} | {f"k{i}": "text" for i in range(keys)}
    config = None if saver is None else {"configurable": {"thread_id": f"{next(_numbers)}"}}
    graph = builder.compile(checkpointer=saver)
    return await calls_of(graph, given, config, durability=durability)


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


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_a_durable_superstep_takes_few_calls(durability: str) -> None:
    """From the end of a task to its checkpoint the way is short, with many keys too."""
    async with open_saver("memory://", lease_ttl_s=3600.0) as saver:
        await calls_of_chain(30, saver=saver)  # the names of all nodes are spelled once
        for keys in (0, 40):
            chain = partial(calls_of_chain, keys=keys, saver=saver, durability=durability)
            short = await chain(10)
            more = await chain(30) - short
            assert more <= 20 * CALLS_PER_DURABLE_STEP_MAX[durability]


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_a_durable_run_takes_few_calls(durability: str) -> None:
    """What a run has to do besides its supersteps: its claim, its beginning, its end."""
    async with open_saver("memory://", lease_ttl_s=3600.0) as saver:
        for _ in range(2):  # the first one imports, and starts what a journal needs
            calls = await calls_of_chain(1, saver=saver, durability=durability)
        assert calls <= CALLS_PER_DURABLE_RUN_MAX[durability]


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


class Talk(TypedDict):
    """Messages."""

    messages: Annotated[list[dict[str, Any]], operator.add]


async def test_a_turn_of_a_conversation_costs_the_same_however_long_it_is() -> None:
    """The process that let the thread go folds nothing when it claims it again, and messages
    are compared with what was recorded without a loop, once: at the end of the run."""

    async def answer(state: Talk) -> dict[str, Any]:
        return {"messages": [{"role": "ai", "content": "text", "id": len(state["messages"])}]}

    graph = StateGraph(Talk).add_node("answer", answer).add_edge(START, "answer")
    async with open_saver("memory://") as saver:
        compiled = graph.compile(checkpointer=saver)
        config = {"configurable": {"thread_id": "t"}}
        calls = [
            await calls_of(
                compiled, {"messages": [{"role": "user", "content": "text", "id": -n}]}, config
            )
            for n in range(60)
        ]
    assert calls[20] == calls[30]
    assert calls[59] <= calls[30] + 10  # it asks to be folded, which is not done in memory
    assert calls[20] <= CALLS_PER_TURN_MAX, calls[20]

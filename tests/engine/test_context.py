"""Context variables: nodes see their caller's, and keep their own to themselves."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import operator
import weakref
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell.errors import GraphDefinitionError
from stepwell.graph import START, StateGraph
from stepwell.runtime import Runtime

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


class State(TypedDict, total=False):
    """A log."""

    log: Annotated[list[str], operator.add]


async def say(state: State) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"log": [who.get()]}


async def change(state: State) -> dict[str, Any]:
    before = who.get()
    who.set("the node's")
    await asyncio.sleep(0)
    return {"log": [f"{before} -> {who.get()}"]}


def say_in_a_thread(state: State) -> dict[str, Any]:
    return {"log": [who.get()]}


@pytest.mark.parametrize("siblings", [0, 1])
@pytest.mark.parametrize("url", [None, "memory://"])
async def test_nodes_keep_their_context_to_themselves(siblings: int, url: str | None) -> None:
    """A node sees the caller's variables; what it sets reaches nobody, alone or in a fan-out."""
    builder = StateGraph(State)
    builder.add_node("change", change).add_edge(START, "change")
    builder.add_node("say", say).add_edge("change", "say")
    builder.add_node("thread", say_in_a_thread).add_edge("say", "thread")
    for number in range(siblings):
        builder.add_node(f"x{number}", lambda state: None).add_edge(START, f"x{number}")
    who.set("the caller's")
    config = {"configurable": {"thread_id": "t"}}
    if url is None:
        result = await builder.compile().ainvoke({}, config)
    else:
        async with open_saver(url) as saver:
            result = await builder.compile(saver).ainvoke({}, config)
    assert result["log"] == [
        "the caller's -> the node's",
        "the caller's",
        "the caller's",
    ]
    assert who.get() == "the caller's"


async def test_a_node_alone_is_cancelled_timed_out_and_closed_as_in_a_task() -> None:
    """Cancellation, timeouts and exceptions pass through a node that is awaited in place."""
    seen: list[str] = []
    entered = asyncio.Event()

    async def stubborn(state: State) -> dict[str, Any]:
        entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")
        return {}

    async def careful(state: State) -> dict[str, Any]:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            seen.append("timeout")
        return {"log": ["went on"]}

    graph = StateGraph(State).add_sequence([("careful", careful), ("stubborn", stubborn)])
    run = asyncio.create_task(graph.add_edge(START, "careful").compile().ainvoke({}))
    await entered.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert seen == ["timeout", "cancelled", "cleaned up"]


def test_generator_functions_are_no_nodes() -> None:
    """A generator function is refused when it is added, not when it is run."""

    def spread(state: State) -> Any:
        yield {"log": ["one"]}

    async def spread_async(state: State) -> Any:
        yield {"log": ["one"]}

    for node in (spread, spread_async):
        with pytest.raises(GraphDefinitionError, match="generator"):
            StateGraph(State).add_node("spread", node)


async def test_runs_without_a_thread_do_not_share_idempotency_keys():
    """The key names one task; without a thread, nothing but the run tells two tasks apart."""
    keys: list[str] = []

    async def node(state: State, runtime: Runtime[None]) -> None:
        keys.append(runtime.idempotency_key)

    graph = StateGraph(State).add_node("n", node).add_edge(START, "n").compile()
    await graph.ainvoke({"log": []})
    await graph.ainvoke({"log": []})
    assert len(set(keys)) == 2


async def test_a_run_that_is_over_is_gone_at_once() -> None:
    """What a run holds is free when it ends: it leaves no circle to the garbage collector."""

    class Held:
        """Something large."""

    builder = StateGraph(State).add_node("say", say).add_edge(START, "say")
    graph = builder.add_node("change", change).add_edge("say", "change").compile()
    gc.collect()
    gc.disable()
    try:
        held = Held()
        gone = weakref.ref(held)
        await graph.ainvoke({}, context=held)
        del held
        assert gone() is None
    finally:
        gc.enable()

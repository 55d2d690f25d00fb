"""Error handlers on every driver: what is durable before they start, what runs again."""

from __future__ import annotations

import asyncio
import operator
import random
from typing import Annotated, Any, TypedDict

import pytest

from stepwell._codec import register
from stepwell.checkpoint.base import Saver
from stepwell.errors import NodeError, NodeTimeoutError
from stepwell.graph import START, StateGraph
from stepwell.types import Command, RetryPolicy

CONFIG: Any = {"configurable": {"thread_id": "t"}}
MODES = ["sync", "async", "exit"]


class State(TypedDict, total=False):
    """A log."""

    log: Annotated[list[Any], operator.add]


class Unstorable(Exception):
    """An exception whose class no registry knows."""


@register
class Storable(Exception):
    """An exception whose class may be stored."""


def guarded(node: Any, handler: Any) -> StateGraph:
    """START -> f, with a handler."""
    graph = StateGraph(State).add_node("f", node, error_handler=handler)
    return graph.add_edge(START, "f")


async def test_the_failure_is_durable_before_the_handler_starts(saver: Saver) -> None:
    """In sync and async, a handler that looks finds its node's failure in the database, and
    the mark by which a crash leads back to the handler."""
    seen: list[Any] = []

    async def fail(state: State) -> None:
        raise ValueError("no")

    async def look(state: State, error: NodeError) -> None:
        found = await saver.aget_tuple(CONFIG)
        assert found is not None
        seen.append({channel: repr(value) for _, channel, value in found.pending_writes or ()})

    graph = guarded(fail, look).compile(saver)
    for durability in ("sync", "async"):
        await graph.ainvoke({}, CONFIG, durability=durability)
    marks = {"__error__": repr("ValueError('no')"), "__error_source_node__": "ValueError('no')"}
    assert seen == [marks] * 2


@pytest.mark.parametrize("durability", MODES)
@pytest.mark.parametrize("error", [ValueError("no"), Unstorable("no"), Storable("no")], ids=repr)
async def test_after_a_failed_handler_it_runs_again_and_not_the_node(
    saver: Saver, durability: Any, error: Exception
) -> None:
    """The handler is told of the same error, the node is left alone."""
    runs: list[Any] = []

    async def fail(state: State) -> None:
        runs.append("f")
        raise error

    async def handle(state: State, error: NodeError) -> dict[str, Any]:
        runs.append((error.node, isinstance(error.error, Exception), repr(error.error)))
        if len(runs) < 4:
            raise RuntimeError("handler")
        return {"log": [type(error.error).__name__]}

    graph = guarded(fail, handle).compile(saver, durability=durability)
    for given in ({}, None):
        with pytest.raises(RuntimeError, match="handler"):
            await graph.ainvoke(given, CONFIG)
        info = await saver.aget_thread("t")
        assert info is not None
        assert (info.status, info.next) == ("failed", ("f",))
    result = await graph.ainvoke(None, CONFIG)
    assert runs == ["f", *[("f", True, repr(error))] * 3]
    kept = type(error).__name__ if type(error) is not Unstorable else "RecordedError"
    assert result == {"log": [kept]}


@pytest.mark.parametrize("durability", MODES)
async def test_a_run_cancelled_in_a_handler_goes_on_in_the_handler(
    saver: Saver, durability: Any
) -> None:
    """As after a crash: the node has failed for good, its handler has not finished."""
    runs: list[str] = []
    started = asyncio.Event()

    async def fail(state: State) -> None:
        runs.append("f")
        raise ValueError("no")

    async def handle(state: State, error: NodeError) -> dict[str, Any]:
        runs.append("handler")
        started.set()
        await asyncio.sleep(30 if len(runs) < 3 else 0)
        return {"log": [repr(error.error)]}

    graph = guarded(fail, handle).compile(saver, durability=durability)
    run = asyncio.create_task(graph.ainvoke({}, CONFIG))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (await graph.aget_state(CONFIG)).next == ("f",)
    assert await graph.ainvoke(None, CONFIG) == {"log": ["ValueError('no')"]}
    assert runs == ["f", "handler", "handler"]


@pytest.mark.parametrize("durability", MODES)
async def test_what_a_finished_handler_wrote_is_kept_when_a_sibling_fails(
    saver: Saver, durability: Any
) -> None:
    """Live state shows it, and neither the node nor its handler runs again."""
    runs: list[str] = []
    handled = asyncio.Event()

    async def fail(state: State) -> None:
        runs.append("f")
        raise ValueError("no")

    async def handle(state: State, error: NodeError) -> Command[Any]:
        runs.append("handler")
        handled.set()
        return Command(update={"log": ["handled"]}, goto="z")

    async def other(state: State) -> dict[str, Any]:
        await handled.wait()
        await asyncio.sleep(0.1)  # the handler has nothing left to do but to return
        runs.append("other")
        if runs.count("other") < 2:
            raise KeyError("other")
        return {"log": ["other"]}

    async def z(state: State) -> dict[str, Any]:
        return {"log": ["z"]}

    graph = guarded(fail, handle).add_node("other", other).add_node("z", z)
    compiled = graph.add_edge(START, "other").compile(saver, durability=durability)
    with pytest.raises(KeyError):
        await compiled.ainvoke({}, CONFIG)
    state = await compiled.aget_state(CONFIG)
    assert (state.values, state.next) == ({"log": ["handled"]}, ("other",))
    assert await compiled.ainvoke(None, CONFIG) == {"log": ["handled", "other", "z"]}
    assert runs == ["f", "handler", "other", "other"]
    told = [s async for s in compiled.aget_state_history(CONFIG) if "f" in s.next]
    if durability != "exit":
        assert [(t.name, t.error, t.result) for t in told[0].tasks if t.name == "f"] == [
            ("f", "ValueError('no')", None)
        ]


async def test_new_input_keeps_what_a_finished_handler_wrote(saver: Saver) -> None:
    """New input closes the superstep: what had finished in it counts, handlers too."""
    runs: list[str] = []
    handled = asyncio.Event()

    async def fail(state: State) -> None:
        raise ValueError("no")

    async def handle(state: State, error: NodeError) -> dict[str, Any]:
        handled.set()
        return {"log": ["handled"]}

    async def other(state: State) -> None:
        await handled.wait()
        await asyncio.sleep(0.1)  # the handler has nothing left to do but to return
        runs.append("other")
        if len(runs) < 2:
            raise KeyError("other")

    graph = guarded(fail, handle).add_node("other", other).add_edge(START, "other").compile(saver)
    with pytest.raises(KeyError):
        await graph.ainvoke({"log": ["one"]}, CONFIG)
    result = await graph.ainvoke({"log": ["two"]}, CONFIG)
    assert result == {"log": ["one", "handled", "two", "handled"]}


@pytest.mark.parametrize("seed", range(5))
async def test_many_failures_at_once_are_all_handled(saver: Saver, seed: int) -> None:
    """Twenty nodes fail, their handlers take their time in any order, some need a second run:
    every handler is asked, none twice once it has finished, and no node runs again."""
    chance = random.Random(seed)
    waits = [chance.random() * 0.01 for _ in range(20)]
    fails = {i for i in range(20) if chance.random() < 0.3}
    runs: list[Any] = []

    def failing(i: int) -> Any:
        async def fail(state: State) -> None:
            await asyncio.sleep(waits[-i])
            runs.append(("f", i))
            raise ValueError(i)

        return fail

    def handling(i: int) -> Any:
        async def handle(state: State, error: NodeError) -> dict[str, Any]:
            await asyncio.sleep(waits[i])
            runs.append(("h", i))
            if i in fails and runs.count(("h", i)) < 2:
                raise RuntimeError(i)
            return {"log": [i]}

        return handle

    graph = StateGraph(State)
    for i in range(20):
        graph.add_node(f"n{i:02}", failing(i), error_handler=handling(i)).add_edge(
            START, f"n{i:02}"
        )
    compiled = graph.compile(saver)
    given: Any = {}
    for _ in range(len(fails) + 1):
        try:
            result = await compiled.ainvoke(given, CONFIG)
            break
        except RuntimeError:
            given = None
    assert result == {"log": list(range(20))}
    for i in range(20):
        assert runs.count(("h", i)) >= 1 + (i in fails)


async def test_a_timeout_is_told_to_its_handler_also_after_a_reload(saver: Saver) -> None:
    """Stepwell's own errors can be stored: the handler can still ask what kind it was."""
    seen: list[Any] = []

    async def slow(state: State) -> None:
        await asyncio.sleep(30)

    async def handle(state: State, error: NodeError) -> None:
        assert isinstance(error.error, NodeTimeoutError)
        seen.append((error.error.kind, error.error.timeout, error.error.node))
        if len(seen) < 2:
            raise RuntimeError("again")

    graph = StateGraph(State).add_node("f", slow, timeout=0.02, error_handler=handle)
    compiled = graph.add_edge(START, "f").compile(saver)
    with pytest.raises(RuntimeError):
        await compiled.ainvoke({}, CONFIG)
    await compiled.ainvoke(None, CONFIG)
    assert seen == [("run", 0.02, "f")] * 2


async def test_a_handler_that_is_gone_from_the_graph_lets_the_node_run_again(
    saver: Saver,
) -> None:
    """The graph of today decides: without a handler the node is tried again."""
    runs: list[str] = []

    async def fail(state: State) -> dict[str, Any]:
        runs.append("f")
        if len(runs) < 2:
            raise ValueError("no")
        return {"log": ["f"]}

    async def handle(state: State) -> None:
        raise RuntimeError("handler")

    with pytest.raises(RuntimeError):
        await guarded(fail, handle).compile(saver).ainvoke({}, CONFIG)
    plain = StateGraph(State).add_node("f", fail).add_edge(START, "f")
    again = await plain.compile(saver, on_mismatch="accept").ainvoke(None, CONFIG)
    assert again == {"log": ["f"]}


async def test_max_concurrency_holds_for_handlers(saver: Saver) -> None:
    """A handler takes the slot of the node it stands in for: no deadlock, no extra task."""
    at_once = [0, 0]

    async def fail(state: State) -> None:
        raise ValueError("no")

    async def handle(state: State, error: NodeError) -> dict[str, Any]:
        at_once[0] += 1
        at_once[1] = max(at_once)
        await asyncio.sleep(0.005)
        at_once[0] -= 1
        return {"log": [error.node]}

    graph = StateGraph(State).set_node_defaults(error_handler=handle)
    for name in "abcd":
        graph.add_node(name, fail).add_edge(START, name)
    result = await graph.compile(saver).ainvoke({}, {**CONFIG, "max_concurrency": 2})
    assert (sorted(result["log"]), at_once[1]) == (["a", "b", "c", "d"], 2)


async def test_sync_nodes_and_sync_handlers(saver: Saver) -> None:
    """Both run in a worker thread; the retries of the node come first."""
    runs: list[int] = []

    def fail(state: State) -> None:
        runs.append(len(runs))
        raise ConnectionError("down")

    def handle(state: State, error: NodeError) -> dict[str, Any]:
        return {"log": [error.node, len(runs)]}

    graph = StateGraph(State).set_node_defaults(
        retry_policy=RetryPolicy(initial_interval=0.001, jitter=False), error_handler=handle
    )
    graph.add_node("f", fail).add_edge(START, "f")
    assert await graph.compile(saver).ainvoke({}, CONFIG) == {"log": ["f", 3]}

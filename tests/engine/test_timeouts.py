"""Time limits where Stepwell goes further: the timed-out node is waited for, nested graphs."""

from __future__ import annotations

import asyncio
import contextlib
import operator
from typing import Annotated, Any, TypedDict

import pytest

from stepwell._engine import timed
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.errors import NodeTimeoutError
from stepwell.graph import START, StateGraph
from stepwell.runtime import Runtime
from stepwell.types import RetryPolicy, Send, TimeoutPolicy
from tests.simulation._virtual import LoopClock, simulated


class State(TypedDict, total=False):
    """A log."""

    log: Annotated[list[Any], operator.add]


def limited(node: Any, timeout: Any, **options: Any) -> Any:
    graph = StateGraph(State).add_node("f", node, timeout=timeout, **options)
    return graph.add_edge(START, "f").compile()


@simulated
async def test_the_error_comes_after_the_node_has_cleaned_up() -> None:
    """What the node does on its cancellation is over when the caller sees the timeout."""
    seen: list[str] = []

    async def node(state: State) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.05)
            seen.append("cleaned up")

    with pytest.raises(NodeTimeoutError):
        await limited(node, 0.02).ainvoke({})
    assert seen == ["cleaned up"]


@simulated
async def test_the_next_attempt_starts_after_the_last_has_ended() -> None:
    """Two attempts of one task never run at the same time."""
    at_once = [0, 0]

    async def node(state: State) -> None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.02)
            at_once[0] -= 1

    policy = RetryPolicy(initial_interval=0.001, jitter=False)
    with pytest.raises(NodeTimeoutError):
        await limited(node, 0.01, retry_policy=policy).ainvoke({})
    assert at_once == [0, 1]


@simulated
async def test_a_node_that_does_not_end_is_left_to_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The wait is bounded: the run fails, a warning names the node."""
    monkeypatch.setattr(timed, "STOP_WAIT_S", 0.05)
    end = asyncio.Event()

    async def stubborn(state: State) -> None:
        while not end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await end.wait()
        raise RuntimeError("nobody is told")

    graph = StateGraph(State).add_node("f", stubborn, timeout=0.02).add_edge(START, "f")
    clock = LoopClock()
    async with Saver(MemoryDriver(clock), clock=clock) as saver:
        with pytest.raises(NodeTimeoutError) as caught:
            await graph.compile(saver).ainvoke({}, {"configurable": {"thread_id": "t"}})
    assert caught.value.elapsed == pytest.approx(0.02), "when the limit was passed"
    assert "Node f goes on" in caplog.text
    end.set()
    await asyncio.sleep(0.01)


@simulated
async def test_a_result_that_comes_with_the_cancellation_is_dropped() -> None:
    """A node that swallows its cancellation and returns has timed out all the same."""

    async def node(state: State) -> dict[str, Any]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        return {"log": ["late"]}

    with pytest.raises(NodeTimeoutError):
        await limited(node, 0.02).ainvoke({})


@simulated
async def test_supersteps_of_a_nested_graph_are_progress() -> None:
    """A node that waits for a graph it calls is not idle while that one gets on."""

    async def step(state: State) -> dict[str, Any]:
        await asyncio.sleep(0.04)
        return {"log": ["step"]}

    inner = StateGraph(State).add_sequence([(f"s{i}", step) for i in range(6)])
    nested = inner.add_edge(START, "s0").compile()

    async def node(state: State) -> dict[str, Any]:
        return {"log": (await nested.ainvoke({}))["log"]}

    policy = TimeoutPolicy(idle_timeout=0.1)
    assert await limited(node, policy).ainvoke({}) == {"log": ["step"] * 6}
    strict = TimeoutPolicy(idle_timeout=0.1, refresh_on="heartbeat")
    with pytest.raises(NodeTimeoutError):
        await limited(node, strict).ainvoke({})


@simulated
async def test_signs_of_life_from_inside_a_nested_graph() -> None:
    """Heartbeats and stream writes of a nested node keep the node around it alive."""

    def beating(how: str) -> Any:
        async def beat(state: State, runtime: Runtime[Any]) -> dict[str, Any]:
            for _ in range(8):
                await asyncio.sleep(0.03)
                if how == "heartbeat":
                    runtime.heartbeat()
                else:
                    runtime.stream_writer("alive")
            return {"log": [how]}

        nested = StateGraph(State).add_node("beat", beat).add_edge(START, "beat").compile()

        async def node(state: State) -> dict[str, Any]:
            return {"log": (await nested.ainvoke({}))["log"]}

        return node

    loose = TimeoutPolicy(idle_timeout=0.1)
    strict = TimeoutPolicy(idle_timeout=0.1, refresh_on="heartbeat")
    for policy in (loose, strict):
        result = await limited(beating("heartbeat"), policy).ainvoke({})
        assert result == {"log": ["heartbeat"]}
    assert await limited(beating("write"), loose).ainvoke({}) == {"log": ["write"]}
    with pytest.raises(NodeTimeoutError):
        await limited(beating("write"), strict).ainvoke({})


@simulated
async def test_a_nested_run_of_a_timed_out_node_can_be_resumed() -> None:
    """Cancelling the node cancels the graph it runs; that one's thread says so."""

    async def slow(state: State) -> None:
        await asyncio.sleep(30)

    saver = InMemorySaver()
    config: Any = {"configurable": {"thread_id": "inner"}}
    nested = StateGraph(State).add_node("slow", slow).add_edge(START, "slow").compile(saver)

    async def node(state: State) -> None:
        await nested.ainvoke({"log": ["in"]}, config)

    with pytest.raises(NodeTimeoutError):
        await limited(node, 0.05).ainvoke({})
    info = await saver.aget_thread("inner")
    assert info is not None
    assert (info.status, info.owner, info.next) == ("idle", None, ("slow",))


@simulated
async def test_a_send_with_a_timeout_to_a_sync_node_is_refused() -> None:
    """Nothing could stop it: the error says so, when the packet arrives."""

    def sync(state: Any) -> None:
        raise AssertionError("it must not run")

    graph = StateGraph(State).add_node("f", sync)
    graph.add_conditional_edges(START, lambda state: Send("f", {}, timeout=1), ["f"])
    with pytest.raises(ValueError, match="only supported for async nodes"):
        await graph.compile().ainvoke({})


@simulated
async def test_a_timeout_of_a_step_leaves_no_task_behind() -> None:
    """The superstep's tasks have ended when the caller sees the TimeoutError."""
    seen: list[str] = []

    async def node(state: State) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.02)
            seen.append("cleaned up")

    graph = StateGraph(State)
    for name in "ab":
        graph.add_node(name, node).add_edge(START, name)
    compiled = graph.compile()
    compiled.step_timeout = 0.02
    with pytest.raises(TimeoutError, match="step_timeout"):
        await compiled.ainvoke({})
    assert seen == ["cleaned up"] * 2

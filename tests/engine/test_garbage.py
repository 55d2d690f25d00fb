"""What a run leaves behind is freed when it ends, not when the garbage collector comes by."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import operator
import sys
from typing import Annotated, TypedDict

import pytest

from stepwell import open_saver
from stepwell.errors import GraphRecursionError
from stepwell.func import entrypoint, task
from stepwell.graph import END, START, StateGraph
from stepwell.types import Command, RetryPolicy, Send, interrupt

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


async def asks(state: State) -> State:
    return {"n": interrupt("how many?")}


async def fails(state: State) -> State:
    raise ValueError("planted")


def fails_in_a_thread(state: State) -> State:
    raise ValueError("planted")


async def waits(state: State) -> State:
    await asyncio.Event().wait()
    return {"n": 1}


async def is_fine(state: State) -> State:
    return {"n": 1}


def of(*nodes, **options) -> StateGraph:
    """A graph whose nodes run beside each other."""
    builder = StateGraph(State)
    for number, node in enumerate(nodes):
        builder.add_node(str(number), node, **options)
        builder.add_edge(START, str(number))
    return builder


async def invoked(graph, config) -> None:
    await graph.ainvoke({"n": 0}, config)


async def answered(graph, config, **options) -> None:
    await graph.ainvoke({"n": 0}, config, **options)
    await graph.ainvoke(Command(resume=1), config, **options)


async def answered_at_exit(graph, config) -> None:
    await answered(graph, config, durability="exit")


async def failed(graph, config) -> None:
    with contextlib.suppress(ValueError):
        await graph.ainvoke({"n": 0}, config)


async def failed_in_a_stream(graph, config) -> None:
    with contextlib.suppress(ValueError):
        async for _ in graph.astream({"n": 0}, config, stream_mode="values"):
            pass


async def out_of_steps(graph, config) -> None:
    with contextlib.suppress(GraphRecursionError):
        await graph.ainvoke({"n": 0}, {**config, "recursion_limit": 1})


async def cancelled(graph, config) -> None:
    run = asyncio.create_task(graph.ainvoke({"n": 0}, config))
    for _ in range(20):
        await asyncio.sleep(0)
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run


async def left_early(graph, config) -> None:
    stream = graph.astream({"n": 0}, config, stream_mode=["values", "tasks"])
    async for _ in stream:
        break
    await stream.aclose()


def once_more() -> StateGraph:
    tries = itertools.count()

    async def at_the_second_try(state: State) -> State:
        if next(tries) % 2 == 0:
            raise ConnectionError
        return {"n": 1}

    policy = RetryPolicy(initial_interval=0, jitter=False)
    return of(at_the_second_try, retry_policy=policy)


def compiled(builder: StateGraph, **options):
    return lambda saver: builder.compile(checkpointer=saver, **options)


def calling(function):
    called = task(function)

    def make(saver):
        @entrypoint(checkpointer=saver)
        async def calls(given: State) -> int:
            return (await called(given))["n"]

        return calls

    return make


PLAIN = {
    "a chain": (compiled(chain()), invoked),
    "a fan-out": (compiled(fan_out()), invoked),
    "a nested graph": (compiled(of(chain().compile())), invoked),
    "a task call": (calling(is_fine), invoked),
    "a failure": (compiled(of(fails)), failed),
    "a failure in a thread": (compiled(of(fails_in_a_thread)), failed),
    "a failure beside others": (compiled(of(fails, is_fine, waits)), failed),
    "a failure inside": (compiled(of(of(fails).compile())), failed),
    "a failed call": (calling(fails), failed),
    "a failed stream": (compiled(of(fails)), failed_in_a_stream),
    "a failure that is handled": (compiled(of(fails, error_handler=is_fine)), invoked),
    "a second try": (compiled(once_more()), invoked),
    "too many steps": (compiled(chain()), out_of_steps),
    "a cancellation": (compiled(of(waits)), cancelled),
    "a cancellation of branches": (compiled(of(waits, waits)), cancelled),
    "a cancellation inside": (compiled(of(of(waits).compile())), cancelled),
    "a cancelled call": (calling(waits), cancelled),
    "a stream left early": (compiled(of(waits)), left_early),
    "a stream of threads left early": (compiled(chain()), left_early),
}
DURABLE = {
    "a question": (compiled(of(asks)), answered),
    "a question beside others": (compiled(of(asks, is_fine)), answered),
    "a question inside": (compiled(of(of(asks).compile())), answered),
    "a question inside, at exit": (compiled(of(of(asks).compile())), answered_at_exit),
    "a question of a call": (calling(asks), answered),
    "a breakpoint": (compiled(chain(), interrupt_before=["second"]), invoked),
}


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
        for _ in range(5):
            await asyncio.sleep(0)
        return gc.collect()
    finally:
        gc.enable()


def expect(what: str) -> None:
    """Since Python 3.12 a traceback keeps the frames that called the coroutine it was raised in,
    the run's own among them: a handler is given the error, and the error has such a traceback."""
    if what == "a failure that is handled" and sys.version_info >= (3, 12):
        pytest.xfail("the frames of a handled failure wait for the collector since Python 3.12")


@pytest.mark.parametrize("what", PLAIN)
async def test_a_run_leaves_no_circles(what):
    expect(what)
    make, use = PLAIN[what]
    graph = make(None)
    assert await left_behind(lambda _: use(graph, {})) < RUNS


@pytest.mark.parametrize("url", ["memory://", "sqlite://"])
@pytest.mark.parametrize("what", PLAIN | DURABLE)
async def test_a_run_on_a_thread_leaves_no_circles(url, what):
    expect(what)
    make, use = (PLAIN | DURABLE)[what]
    async with open_saver(url) as saver:
        graph = make(saver)

        async def run(name: str) -> None:
            await use(graph, {"configurable": {"thread_id": name}})

        assert await left_behind(run) < RUNS


async def test_a_circle_is_seen():
    async def run(name: str) -> None:
        circle: list[object] = [name]
        circle.append(circle)

    assert await left_behind(run) == RUNS

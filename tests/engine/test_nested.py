"""Graphs inside graphs: what goes on, what is not run again, on every driver."""

from __future__ import annotations

import asyncio
import operator
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from anyio import to_thread

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.config import RunnableConfig
from stepwell.errors import (
    GraphDrained,
    GraphInterrupt,
    StaleWriterError,
    ThreadBusyError,
    UsageError,
)
from stepwell.func import task
from stepwell.graph import END, START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from stepwell.runtime import Runtime
from stepwell.types import Command, RetryPolicy, Send, interrupt

CONFIG: Any = {"configurable": {"thread_id": "t"}}
DURABILITIES = ("sync", "async", "exit")


class State(TypedDict, total=False):
    """Names of nodes in the order in which they wrote."""

    log: Annotated[list[Any], operator.add]


class Inner(TypedDict, total=False):
    """A state that the outer graphs know nothing of, and what they are told."""

    own: Annotated[list[Any], operator.add]
    log: Annotated[list[Any], operator.add]


class Told(TypedDict):
    """What a graph inside returns."""

    log: Annotated[list[Any], operator.add]


class Nothing(TypedDict, total=False):
    """Nothing is passed in, so that what was there is not returned once more."""

    nothing: int


def chain(*nodes: tuple[str, Any], inside: bool = False, **options: Any) -> CompiledStateGraph:
    """START -> nodes in a row -> END; `inside`: takes nothing from the graph around it."""
    graph = (
        StateGraph(Inner, input_schema=Nothing, output_schema=Told) if inside else StateGraph(State)
    )
    graph.add_sequence(list(nodes))
    return graph.add_edge(START, nodes[0][0]).compile(**options)


def fan(*nodes: tuple[str, Any], **options: Any) -> CompiledStateGraph:
    """All nodes at once, inside another graph."""
    graph = StateGraph(Inner, input_schema=Nothing, output_schema=Told)
    for name, node in nodes:
        graph.add_node(name, node)
        graph.add_edge(START, name)
    return graph.compile(**options)


class Ran:
    """Nodes that leave a line each time they are run."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()
        self.fails: set[str] = set()
        self.hangs: set[str] = set()
        self.hung = asyncio.Event()

    def __call__(self, name: str) -> tuple[str, Any]:
        async def node(state: Any) -> dict[str, Any]:
            self.times[name] += 1
            if name in self.hangs:
                self.hung.set()
                await asyncio.sleep(60)
            if name in self.fails:
                raise ValueError(name)
            return {"log": [name]}

        return name, node

    def asks(self, name: str, *questions: str) -> tuple[str, Any]:
        async def node(state: Any) -> dict[str, Any]:
            self.times[name] += 1
            return {"log": [[name, *(interrupt(q) for q in questions)]]}

        return name, node


@pytest.fixture
def ran() -> Ran:
    return Ran()


@pytest.fixture(params=DURABILITIES)
def durability(request: pytest.FixtureRequest) -> Any:
    return request.param


def two_levels(saver: Saver, ran: Ran, durability: Any, *middle: tuple[str, Any]) -> Any:
    """first -> outer(a -> inner(x -> middle -> y) -> b) -> last."""
    inner = chain(ran("x"), *middle, ran("y"), inside=True)
    outer = chain(ran("a"), ("inner", inner), ran("b"), inside=True)
    return chain(
        ran("first"), ("outer", outer), ran("last"), checkpointer=saver, durability=durability
    )


async def test_a_failing_node_at_depth_is_the_only_one_run_again(
    saver: Saver, ran: Ran, durability: Any
) -> None:
    """Resumed with None, a run goes on at the node that failed, two levels down."""
    graph = two_levels(saver, ran, durability, ran("fails"))
    ran.fails = {"fails"}
    for _ in range(2):
        with pytest.raises(ValueError, match="fails"):
            await graph.ainvoke({"log": ["in"]} if not ran.times else None, CONFIG)
        info = await saver.aget_thread("t")
        assert info is not None
        assert (info.status, info.owner) == ("failed", None)
    ran.fails = set()
    result = await graph.ainvoke(None, CONFIG)
    assert result["log"] == ["in", "first", "a", "x", "fails", "y", "b", "last"]
    assert ran.times == {**dict.fromkeys(("first", "a", "x", "y", "b", "last"), 1), "fails": 3}


async def test_a_finished_sibling_at_depth_is_not_run_again(
    saver: Saver, ran: Ran, durability: Any
) -> None:
    """Of two nodes of one nested superstep one failed: the other keeps what it did."""
    inner = fan(ran("good"), ran("bad"))
    graph = chain(ran("first"), ("sub", inner), checkpointer=saver, durability=durability)
    ran.fails = {"bad"}
    with pytest.raises(ValueError, match="bad"):
        await graph.ainvoke({"log": []}, CONFIG)
    finished = ran.times["good"]
    ran.fails = set()
    assert sorted((await graph.ainvoke(None, CONFIG))["log"]) == ["bad", "first", "good"]
    assert (finished, ran.times["good"], ran.times["first"]) == (1, 1, 1)


async def test_cancelled_at_depth_goes_on(saver: Saver, ran: Ran, durability: Any) -> None:
    """An ainvoke cancelled in a nested superstep leaves a thread that None resumes there."""
    graph = two_levels(saver, ran, durability, ran("slow"))
    ran.hangs = {"slow"}
    running = asyncio.create_task(graph.ainvoke({"log": []}, CONFIG))
    await asyncio.wait_for(ran.hung.wait(), 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    ran.hangs = set()
    result = await asyncio.wait_for(graph.ainvoke(None, CONFIG), 60)
    assert result["log"] == ["first", "a", "x", "slow", "y", "b", "last"]
    assert ran.times == {**dict.fromkeys(("first", "a", "x", "y", "b", "last"), 1), "slow": 2}


async def test_an_abandoned_stream_goes_on(saver: Saver, ran: Ran, durability: Any) -> None:
    """Whoever stops to listen in the middle of a nested run leaves a thread to be resumed."""
    graph = two_levels(saver, ran, durability, ran("m"))
    stream: AsyncIterator[Any] = graph.astream(
        {"log": []}, CONFIG, stream_mode="updates", subgraphs=True
    )
    async with aclosing(stream) as chunks:  # type: ignore[type-var]
        async for _, chunk in chunks:
            if "x" in chunk:
                break
    result = await asyncio.wait_for(graph.ainvoke(None, CONFIG), 60)
    assert result["log"] == ["first", "a", "x", "m", "y", "b", "last"]
    assert {ran.times[n] for n in ("first", "a", "x")} == {1}


async def test_questions_at_two_levels_keep_their_ids(
    saver: Saver, ran: Ran, durability: Any
) -> None:
    """Questions of two graphs at different depths wait under the same ids, whoever looks, and
    are answered one at a time, each where it was asked."""
    deep = chain(ran("x"), ran.asks("deep", "d1", "d2"), inside=True)
    both = fan(("deeper", deep), ran.asks("upper", "u1"))
    graph = chain(ran("first"), ("both", both), checkpointer=saver, durability=durability)
    asked: Any = (await graph.ainvoke({"log": []}, CONFIG))["__interrupt__"]
    ids = {q.value: q.id for q in asked}
    assert set(ids) == {"d1", "u1"}
    for _ in range(2):
        shown = (await graph.aget_state(CONFIG)).interrupts
        assert {q.value: q.id for q in shown} == ids
    again: Any = (await graph.ainvoke(Command(resume={ids["d1"]: "D1"}), CONFIG))["__interrupt__"]
    assert {q.value for q in again} == {"d2", "u1"}
    ids2 = {q.value: q.id for q in again}
    assert ids2["u1"] == ids["u1"]
    again = (await graph.ainvoke(Command(resume={ids2["u1"]: "U1"}), CONFIG))["__interrupt__"]
    assert {q.value for q in again} == {"d2"}
    result = await graph.ainvoke(Command(resume="D2"), CONFIG)
    assert sorted(result["log"], key=str) == [["deep", "D1", "D2"], ["upper", "U1"], "first", "x"]
    assert ran.times["first"] == ran.times["x"] == 1


def spread(saver: Saver, sub: Any, durability: Any, count: int = 5) -> CompiledStateGraph:
    """first -> count Sends to a subgraph -> last."""

    async def first(state: State) -> dict[str, Any]:
        return {"log": ["first"]}

    async def last(state: State) -> dict[str, Any]:
        return {"log": ["last"]}

    graph = StateGraph(State).add_node("first", first).add_node("sub", sub).add_node("last", last)
    graph.add_edge(START, "first")
    graph.add_conditional_edges(
        "first", lambda s: [Send("sub", {"own": [i]}) for i in range(count)], ["sub"]
    )
    graph.add_edge("sub", "last").add_edge("last", END)
    return graph.compile(saver, durability=durability)


def numbered(ran: Ran, **options: Any) -> CompiledStateGraph:
    """work -> ask, given a number."""

    async def work(state: Inner) -> dict[str, Any]:
        ran.times[f"work {state['own'][0]}"] += 1
        return {"own": ["worked"]}

    async def ask(state: Inner) -> dict[str, Any]:
        return {"log": [[state["own"], interrupt(state["own"][-2])]]}

    graph = StateGraph(Inner, output_schema=Told)
    graph.add_sequence([("work", work), ("ask", ask)])
    return graph.add_edge(START, "work").compile(**options)


async def test_parallel_subgraphs_are_answered_one_by_one(
    saver: Saver, ran: Ran, durability: Any
) -> None:
    """Five copies of a subgraph ask at once; each answer reaches the copy that asked, and none
    of them works twice."""
    graph = spread(saver, numbered(ran), durability)
    waiting: Any = (await graph.ainvoke({"log": []}, CONFIG))["__interrupt__"]
    result: Any = None
    while waiting:
        question = waiting[-1]
        result = await graph.ainvoke(
            Command(resume={question.id: f"answer {question.value}"}), CONFIG
        )
        left = {q.id for q in waiting} - {question.id}
        waiting = result.get("__interrupt__", ())
        assert {q.id for q in waiting} == left
    assert result["log"] == [
        "first", *([[i, "worked"], f"answer {i}"] for i in range(5)), "last"
    ]  # fmt: skip
    assert set(ran.times.values()) == {1}


async def test_one_history_called_in_parallel_takes_turns(saver: Saver, durability: Any) -> None:
    """Sends to a graph with checkpointer=True run one after the other, and each goes on from
    the state that the one before left."""
    inside: list[str] = []

    async def add(state: Inner) -> dict[str, Any]:
        inside.append("in")
        await asyncio.sleep(0.005)
        inside.append("out")
        return {"log": [len(state["own"])]}

    graph = StateGraph(Inner, output_schema=Told)
    sub = graph.add_node("add", add).add_edge(START, "add").compile(checkpointer=True)
    whole = spread(saver, sub, durability, count=4)
    result = await whole.ainvoke({"log": []}, CONFIG)
    assert inside == ["in", "out"] * 4
    # Each returns the log of its whole history: 1, then 1 2, and so forth.
    assert result["log"] == ["first", *(i + 1 for n in range(1, 5) for i in range(n)), "last"]
    result = await whole.ainvoke({"log": []}, CONFIG)
    assert result["log"][-2] == 8


async def test_a_retried_subgraph_goes_on_where_it_stopped(
    saver: Saver, ran: Ran, durability: Any
) -> None:
    """The second attempt of a node that is a graph does not run what the first one finished."""
    inner = chain(ran("x"), ran("fails"), ran("y"), inside=True)

    def again(error: Exception) -> bool:
        ran.fails = set()
        return True

    graph = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=again)
    graph.add_node("sub", inner, retry_policy=policy)
    compiled = graph.add_edge(START, "sub").compile(saver, durability=durability)
    ran.fails = {"fails"}
    result = await compiled.ainvoke({"log": []}, CONFIG)
    assert result["log"] == ["x", "fails", "y"]
    assert ran.times == {"x": 1, "fails": 2, "y": 1}


async def test_what_two_attempts_finished_is_kept(saver: Saver, ran: Ran, durability: Any) -> None:
    """Both attempts at a subgraph failed: resumed with None, it runs again what failed, and
    neither a finished node nor a finished task call."""

    @task
    async def call(name: str) -> str:
        ran.times[name] += 1
        return name

    async def calls(state: Any) -> dict[str, Any]:
        ran.times["calls"] += 1
        found = await call("call")
        await asyncio.sleep(0.01)
        if ran.fails:
            raise ValueError("calls")
        return {"log": [found]}

    deep = chain(ran("x"), ("inner", fan(ran("good"), ("calls", calls))), inside=True)
    graph = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=ValueError, max_attempts=2)
    graph.add_node("sub", deep, retry_policy=policy)
    compiled = graph.add_edge(START, "sub").compile(saver, durability=durability)
    ran.fails = {"calls"}
    for given in ({"log": []}, None):
        with pytest.raises(ValueError, match="calls"):
            await compiled.ainvoke(given, CONFIG)
    ran.fails = set()
    result = await compiled.ainvoke(None, CONFIG)
    assert sorted(result["log"]) == ["call", "good", "x"]
    assert ran.times == {"x": 1, "good": 1, "call": 1, "calls": 5}


async def test_a_node_that_calls_its_own_thread_is_refused_at_once(saver: Saver) -> None:
    """A run would wait for itself: it is told so, also by a graph inside it."""

    async def call(state: Any) -> dict[str, Any]:
        with pytest.raises(ThreadBusyError) as caught:
            await asyncio.wait_for(other.ainvoke({"log": []}, CONFIG), 60)
        return {"log": [caught.value.context["code"]]}

    async def nothing(state: Any) -> dict[str, Any]:
        return {"log": ["nothing"]}

    other = chain(("nothing", nothing), checkpointer=saver)
    inner = chain(("call", call), inside=True)
    graph = chain(("call", call), ("sub", inner), checkpointer=saver)
    assert await graph.ainvoke({"log": []}, CONFIG) == {"log": ["reentrant", "reentrant"]}


async def test_another_thread_may_be_called(saver: Saver) -> None:
    """A graph called with another thread's id is a root run there, with its own history."""

    async def nothing(state: Any) -> dict[str, Any]:
        return {"log": ["nothing"]}

    other = chain(("nothing", nothing), checkpointer=saver)

    async def call(state: Any) -> dict[str, Any]:
        there: Any = {"configurable": {"thread_id": "other"}}
        return {"log": [await other.ainvoke({"log": []}, there)]}

    graph = chain(("call", call), checkpointer=saver)
    assert await graph.ainvoke({"log": []}, CONFIG) == {"log": [{"log": ["nothing"]}]}
    threads = {info.thread_id async for info in saver.alist_threads()}
    assert threads == {"t", "other"}


async def test_a_sync_node_calls_a_graph_from_its_worker_thread(
    saver: Saver, ran: Ran, durability: Any
) -> None:
    """`invoke` inside a plain function: the graph runs as part of the task, questions too."""
    threads: set[str] = set()
    inner = chain(ran("x"), ran.asks("ask", "q"), inside=True)

    def call(state: Any, config: RunnableConfig) -> dict[str, Any]:
        threads.add(threading.current_thread().name)
        return {"log": [inner.invoke({}, config)["log"]]}

    graph = chain(ran("first"), ("call", call), checkpointer=saver, durability=durability)
    asked: Any = await graph.ainvoke({"log": []}, CONFIG)
    assert [q.value for q in asked["__interrupt__"]] == ["q"]
    result = await graph.ainvoke(Command(resume="a"), CONFIG)
    assert result["log"] == ["first", ["x", ["ask", "a"]]]
    assert (ran.times["x"], ran.times["ask"]) == (1, 2)
    assert threading.main_thread().name not in threads


@pytest.mark.parametrize("streams", [False, True])
async def test_more_sync_nodes_than_worker_threads_call_graphs(saver: Saver, streams: bool) -> None:
    """Sixty plain functions wait for graphs of plain functions, two levels down: those that wait
    do not take the threads that the others need."""

    def work(state: Inner) -> dict[str, Any]:
        return {"log": state["own"]}

    def called(inner: CompiledStateGraph) -> CompiledStateGraph:
        def call(state: Inner) -> dict[str, Any]:
            given: Any = {"own": state["own"]}
            if streams:
                return list(inner.stream(given, stream_mode="values"))[-1]  # type: ignore[return-value]
            return inner.invoke(given)  # type: ignore[return-value]

        graph = StateGraph(Inner, output_schema=Told).add_node("call", call)
        return graph.add_edge(START, "call").compile()

    graph = StateGraph(Inner, output_schema=Told).add_node("work", work).add_edge(START, "work")
    before = to_thread.current_default_thread_limiter().total_tokens
    whole = spread(saver, called(called(graph.compile())), "async", count=60)
    result = await asyncio.wait_for(whole.ainvoke({"log": []}, CONFIG), 40)
    assert result["log"] == ["first", *range(60), "last"]
    assert to_thread.current_default_thread_limiter().total_tokens == before


async def test_invoke_in_an_async_node_names_ainvoke(saver: Saver, ran: Ran) -> None:
    """It would block the loop that its own run needs."""
    inner = chain(ran("x"), inside=True)

    async def call(state: Any) -> dict[str, Any]:
        return {"log": [inner.invoke({})]}

    graph = chain(("call", call), checkpointer=saver)
    with pytest.raises(UsageError, match="ainvoke"):
        await asyncio.wait_for(graph.ainvoke({"log": []}, CONFIG), 60)


async def test_one_subgraph_serves_two_parents_at_once(saver: Saver, ran: Ran) -> None:
    """Two parents and twenty threads share a compiled graph; nothing of one reaches another."""
    inner = numbered(ran)
    one, two = (spread(saver, inner, "async", count=2) for _ in range(2))
    configs: Any = [{"configurable": {"thread_id": f"t{i}"}} for i in range(20)]
    parents = [one, two] * 10

    async def both(parent: Any, config: Any) -> Any:
        asked = (await parent.ainvoke({"log": []}, config))["__interrupt__"]
        name = config["configurable"]["thread_id"]
        answers = {q.id: f"{name} {q.value}" for q in asked}
        return (await parent.ainvoke(Command(resume=answers), config))["log"]

    results = await asyncio.gather(*map(both, parents, configs))
    assert results == [
        ["first", [[0, "worked"], f"t{i} 0"], [[1, "worked"], f"t{i} 1"], "last"] for i in range(20)
    ]


async def test_one_compiled_graph_as_two_nodes(saver: Saver, ran: Ran, durability: Any) -> None:
    """At the same time or after each other, each node has its own run of it."""
    inner = chain(ran("x"), ran.asks("ask", "q"), inside=True)
    graph = StateGraph(State)
    for name in ("left", "right", "after"):
        graph.add_node(name, inner)
    graph.add_edge(START, "left").add_edge(START, "right").add_edge(["left", "right"], "after")
    compiled = graph.compile(saver, durability=durability)
    asked: Any = (await compiled.ainvoke({"log": []}, CONFIG))["__interrupt__"]
    assert len({q.id for q in asked}) == 2
    again: Any = await compiled.ainvoke(
        Command(resume={q.id: n for q, n in zip(asked, "lr", strict=True)}), CONFIG
    )
    assert len(again["__interrupt__"]) == 1
    result = await compiled.ainvoke(Command(resume="a"), CONFIG)
    assert result["log"] == ["x", ["ask", "l"], "x", ["ask", "r"], "x", ["ask", "a"]]


class Depth(TypedDict, total=False):
    """How deep, and what was seen on the way."""

    depth: int
    log: Annotated[list[Any], operator.add]


async def test_a_graph_may_call_itself(saver: Saver, durability: Any) -> None:
    """Five levels of the same graph, a question at the bottom; every level goes on where it was."""
    times: Counter[int] = Counter()

    async def before(state: Depth) -> dict[str, Any]:
        times[state["depth"]] += 1
        return {}

    async def down(state: Depth) -> dict[str, Any]:
        depth = state["depth"]
        if depth == 5:
            return {"log": [interrupt("bottom")]}
        found = await compiled.ainvoke({"depth": depth + 1, "log": []})
        return {"log": [depth, *found["log"]]}

    graph = StateGraph(Depth).add_sequence([("before", before), ("down", down)])
    compiled = graph.add_edge(START, "before").compile(saver, durability=durability)
    asked: Any = await compiled.ainvoke({"depth": 0, "log": []}, CONFIG)
    assert [q.value for q in asked["__interrupt__"]] == ["bottom"]
    result = await compiled.ainvoke(Command(resume="rock"), CONFIG)
    assert result == {"depth": 0, "log": [0, 1, 2, 3, 4, "rock"]}
    assert times == dict.fromkeys(range(6), 1)
    threads = [info.thread_id async for info in saver.alist_threads()]
    assert threads == ["t"]


language: ContextVar[str] = ContextVar("language", default="none")


async def test_context_variables_reach_nodes_inside_and_stay_there(saver: Saver, ran: Ran) -> None:
    """Nodes at depth see what the caller and the calling node have set; what they set themselves
    is seen by nobody else."""
    seen: list[str] = []

    async def look(state: Any) -> dict[str, Any]:
        seen.append(language.get())
        language.set("set inside")
        return {}

    def look_sync(state: Any) -> dict[str, Any]:
        seen.append(language.get())
        language.set("set inside")
        return {}

    inner = chain(("look", look), ("look_sync", look_sync), inside=True)

    async def call(state: Any) -> dict[str, Any]:
        language.set("of the node")
        await inner.ainvoke({})
        seen.append(language.get())
        return {}

    graph = chain(("sub", inner), ("call", call), ("look", look), checkpointer=saver)
    language.set("of the caller")
    await graph.ainvoke({"log": []}, CONFIG)
    assert seen == [
        "of the caller", "of the caller", "of the node", "of the node", "of the node",
        "of the caller",
    ]  # fmt: skip
    assert language.get() == "of the caller"


async def test_a_drained_nested_run_goes_on(saver: Saver, ran: Ran, durability: Any) -> None:
    """A run that is asked to stop stops between two supersteps two levels down, and None goes on
    there."""

    async def stop(state: Any, runtime: Runtime[Any]) -> dict[str, Any]:
        ran.times["stop"] += 1
        assert runtime.control is not None
        runtime.control.request_drain("enough")
        return {"log": ["stop"]}

    graph = two_levels(saver, ran, durability, ("stop", stop))
    with pytest.raises(GraphDrained):
        await graph.ainvoke({"log": []}, CONFIG)
    assert "y" not in ran.times
    result = await graph.ainvoke(None, CONFIG)
    assert result["log"] == ["first", "a", "x", "stop", "y", "b", "last"]
    assert set(ran.times.values()) == {1}


async def test_questions_inside_outlive_a_failure_beside_them(
    saver: Saver, ran: Ran, durability: Any
) -> None:
    """A subgraph has asked when a node beside it fails: after None it waits for its answer still,
    and has done nothing twice."""
    inner = chain(ran("x"), ran.asks("ask", "q"), inside=True)

    async def late(state: State) -> dict[str, Any]:
        await asyncio.sleep(0.05)
        if ran.fails:
            raise ValueError("late")
        return {"log": ["late"]}

    graph = StateGraph(State).add_node("sub", inner).add_node("late", late)
    compiled = (
        graph.add_edge(START, "sub").add_edge(START, "late").compile(saver, durability=durability)
    )
    ran.fails = {"late"}
    with pytest.raises(ValueError, match="late"):
        await compiled.ainvoke({"log": []}, CONFIG)
    ran.fails = set()
    asked: Any = await compiled.ainvoke(None, CONFIG)
    assert [q.value for q in asked["__interrupt__"]] == ["q"]
    result = await compiled.ainvoke(Command(resume="a"), CONFIG)
    assert sorted(result["log"], key=str) == [["ask", "a"], "late", "x"]
    assert ran.times["x"] == 1


async def test_graphs_called_side_by_side_in_one_node(
    saver: Saver, ran: Ran, durability: Any
) -> None:
    """Calls in a task group have namespaces in the order in which they began: resumed, each goes
    on where it was."""
    sub = numbered(ran)

    async def call(state: State) -> dict[str, Any]:
        async def one(i: int) -> Any:
            try:
                return (await sub.ainvoke({"own": [i], "log": []}))["log"]
            except GraphInterrupt as signal:
                return signal

        found = await asyncio.gather(*(one(i) for i in range(4)))
        signals = [s for s in found if isinstance(s, GraphInterrupt)]
        if signals:
            raise GraphInterrupt([i for s in signals for i in s.args[0]])
        return {"log": [entry for log in found for entry in log]}

    graph = chain(("call", call), checkpointer=saver, durability=durability)
    waiting: Any = (await graph.ainvoke({"log": []}, CONFIG))["__interrupt__"]
    assert sorted(q.value for q in waiting) == [0, 1, 2, 3]
    answers = {q.id: f"to {q.value}" for q in waiting}
    result = await graph.ainvoke(Command(resume=answers), CONFIG)
    assert result["log"] == [[[i, "worked"], f"to {i}"] for i in range(4)]
    assert set(ran.times.values()) == {1}


async def test_a_nested_run_whose_thread_was_taken_stops(tmp_path: Path, ran: Ran) -> None:
    """The claim that a nested run shares is lost: its caller is told, nothing more is written."""
    path = tmp_path / "z.db"

    def steal() -> None:
        with sqlite3.connect(path) as database:
            database.execute("UPDATE stepwell_thread SET epoch = epoch + 1, owner = randomblob(16)")
        database.close()

    async def zombie(state: Any) -> dict[str, Any]:
        await asyncio.to_thread(steal)
        return {"log": ["zombie"]}

    inner = chain(ran("x"), ("zombie", zombie), ran("y"), inside=True)
    async with open_saver(f"sqlite:///{path}") as saver:
        graph = StateGraph(State)
        graph.add_node("sub", inner, retry_policy=RetryPolicy(retry_on=Exception))
        compiled = graph.add_edge(START, "sub").compile(saver, durability="sync")
        with pytest.raises(StaleWriterError):
            await asyncio.wait_for(compiled.ainvoke({"log": []}, CONFIG), 60)
        inside = (await compiled.aget_state(CONFIG, subgraphs=True)).tasks[0].state
    assert inside.next == ("zombie",)  # type: ignore[union-attr]
    assert ran.times == {"x": 1}

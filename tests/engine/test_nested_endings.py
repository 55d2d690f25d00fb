"""How graphs inside graphs end: nothing runs on, nothing is answered twice, nothing is lost."""

from __future__ import annotations

import asyncio
import operator
from collections import Counter
from typing import Annotated, Any, TypedDict

import pytest

import stepwell
from stepwell.errors import InvalidUpdateError
from stepwell.graph import START, StateGraph
from stepwell.types import Command, RetryPolicy, interrupt

DURABILITIES = ("sync", "async", "exit")
CONFIG: Any = {"configurable": {"thread_id": "t"}}


class Log(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


class Value(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    value: str


@pytest.fixture(params=["memory", "sqlite"])
async def saver(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/t.db"
    async with stepwell.open_saver(url) as opened:
        yield opened


def says(name: str) -> Any:
    async def node(state: Log) -> Any:
        return {"log": [name]}

    return name, node


def asks(name: str, question: str) -> Any:
    async def node(state: Log) -> Any:
        return {"log": [f"{name}={interrupt(question)}"]}

    return name, node


def chain(*nodes: Any, schema: Any = Log, **options: Any) -> Any:
    graph = StateGraph(schema).add_sequence(nodes)
    return graph.add_edge(START, nodes[0][0]).compile(**options)


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_barrier_that_fails_leaves_its_tasks_to_run(saver: Any, durability: Any) -> None:
    """Two writers of one value: the superstep is still to run, whatever the durability."""

    async def writes(state: Value) -> Any:
        return {"value": "x", "log": ["w"]}

    graph = StateGraph(Value).add_node("p", says("p")[1])
    graph.add_node("a", writes).add_node("b", writes).add_edge(START, "p")
    graph.add_edge("p", "a").add_edge("p", "b")
    compiled = graph.compile(saver, durability=durability)
    with pytest.raises(InvalidUpdateError):
        await compiled.ainvoke({"log": ["in"]}, CONFIG)
    state = await compiled.aget_state(CONFIG)
    assert (state.values, state.next) == ({"log": ["in", "p"]}, ("a", "b"))
    with pytest.raises(InvalidUpdateError):
        await compiled.ainvoke(None, CONFIG)


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_an_answer_taken_inside_is_not_found_again(saver: Any, durability: Any) -> None:
    """The node behind the answered one fails; resumed, it asks instead of taking the answer."""
    failing = [True]

    async def second(state: Log) -> Any:
        if failing:
            failing.clear()
            raise RuntimeError("transient")
        return {"log": [f"second={interrupt('second?')}"]}

    inner = chain(asks("first", "first?"), ("second", second))
    graph = chain(("inner", inner), checkpointer=saver, durability=durability)
    await graph.ainvoke({"log": []}, CONFIG)
    with pytest.raises(RuntimeError, match="transient"):
        await graph.ainvoke(Command(resume="yes"), CONFIG)
    result = await graph.ainvoke(None, CONFIG)
    assert [i.value for i in result["__interrupt__"]] == ["second?"]
    assert (await graph.ainvoke(Command(resume="no"), CONFIG))["log"] == ["first=yes", "second=no"]


@pytest.mark.parametrize("durability", [*DURABILITIES, None])
async def test_what_a_failed_attempt_left_running_is_stopped(saver: Any, durability: Any) -> None:
    """`gather` leaves the second graph running when the first fails: the retry must not run
    beside it."""
    live, most, started = Counter[str](), Counter[str](), Counter[str]()
    failing = [True]

    def slow(name: str) -> Any:
        async def node(state: Log) -> Any:
            started[name] += 1
            live[name] += 1
            most[name] = max(most[name], live[name])
            try:
                await asyncio.sleep(0.05)
            finally:
                live[name] -= 1
            return {"log": [name]}

        return name, node

    async def flaky(state: Log) -> Any:
        if failing:
            failing.clear()
            raise ConnectionError
        return {"log": ["flaky"]}

    one, two = chain(("flaky", flaky)), chain(slow("s0"), slow("s1"))

    async def both(state: Log) -> Any:
        found = await asyncio.gather(one.ainvoke({"log": []}), two.ainvoke({"log": []}))
        return {"log": [name for each in found for name in each["log"]]}

    graph = StateGraph(Log).add_edge(START, "both")
    graph.add_node("both", both, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False))
    options = {} if durability is None else {"checkpointer": saver, "durability": durability}
    result = await graph.compile(**options).ainvoke({"log": []}, CONFIG)
    assert result["log"] == ["flaky", "s0", "s1"]
    assert max(most.values()) == 1
    assert started["s1"] == 1
    await asyncio.sleep(0.1)
    assert started["s1"] == 1


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_two_graphs_of_one_node_ask_one_after_the_other(saver: Any, durability: Any) -> None:
    """What the first has been answered is kept while the second asks."""
    one, two = chain(asks("one", "one?")), chain(asks("two", "two?"))

    async def both(state: Log) -> Any:
        first = await one.ainvoke({"log": []})
        second = await two.ainvoke({"log": []})
        return {"log": [*first["log"], *second["log"]]}

    graph = chain(("both", both), checkpointer=saver, durability=durability)
    asked = await graph.ainvoke({"log": []}, CONFIG)
    assert [i.value for i in asked["__interrupt__"]] == ["one?"]
    asked = await graph.ainvoke(Command(resume="1"), CONFIG)
    assert [i.value for i in asked["__interrupt__"]] == ["two?"]
    assert (await graph.ainvoke(Command(resume="2"), CONFIG))["log"] == ["one=1", "two=2"]


async def test_exit_keeps_nothing_of_graphs_whose_superstep_is_over(saver: Any) -> None:
    """A loop of commands to the parent neither fills the memory nor writes namespaces."""
    kept: list[int] = []

    async def hand_over(state: Log) -> Any:
        return Command(graph=Command.PARENT, goto="count" if len(state["log"]) < 15 else "end")

    async def end(state: Log) -> Any:
        return {}

    inner = chain(("hand_over", hand_over))

    async def call(state: Log) -> Any:
        from stepwell._context import current_task

        kept.append(len(current_task.get().run.family.spaces))  # type: ignore[union-attr]
        await inner.ainvoke(state)

    graph = StateGraph(Log).add_node("count", says("x")[1]).add_node("inner", call)
    graph.add_node("end", end).add_edge(START, "count").add_edge("count", "inner")
    compiled = graph.compile(saver, durability="exit")
    await compiled.ainvoke({"log": ["x"] * 5}, {**CONFIG, "recursion_limit": 30})
    assert max(kept) == 0


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_a_question_that_cannot_be_stored_is_an_error(saver: Any, durability: Any) -> None:
    """Whatever the durability: else its caller would wait for an answer that nobody can give."""

    async def node(state: Log) -> Any:
        return {"log": [interrupt(object())]}

    graph = chain(("node", node), checkpointer=saver, durability=durability)
    with pytest.raises(stepwell.errors.UnsupportedTypeError, match="node"):
        await graph.ainvoke({"log": []}, CONFIG)
    state = await graph.aget_state(CONFIG)
    assert (state.next, state.interrupts) == (("node",), ())

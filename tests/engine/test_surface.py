"""What a compiled graph offers beside what LangGraph defines: refusals, copies, batches."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
from pydantic import BaseModel

from stepwell.channels import LastValue
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.config import RunnableConfig
from stepwell.errors import UsageError
from stepwell.graph import START, StateGraph
from stepwell.pregel import NodeBuilder, Pregel
from stepwell.pregel._absent import INSTEAD
from stepwell.types import Command, interrupt


class State(TypedDict, total=False):
    """A log."""

    log: Annotated[list[Any], operator.add]


async def say(state: State) -> dict[str, Any]:
    return {"log": ["said"]}


def said(**options: Any) -> Any:
    return StateGraph(State).add_node("say", say).add_edge(START, "say").compile(**options)


@pytest.mark.parametrize("name", sorted(INSTEAD))
def test_verbs_of_langchain_are_absent_or_work(name: str) -> None:
    """Some exist; of the others the message names what there is instead."""
    graph = said()
    if hasattr(Pregel, name):
        return
    assert not hasattr(graph, name)
    with pytest.raises(AttributeError, match="Instead: "):
        getattr(graph, name)


def test_other_attributes_are_missing_without_advice() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'$"):
        said().nonsense  # noqa: B018


def test_graphs_are_not_piped() -> None:
    with pytest.raises(UsageError, match="add_sequence"):
        said() | said()
    with pytest.raises(UsageError, match="add_sequence"):
        len | said()


def test_transformers_are_refused() -> None:
    with pytest.raises(UsageError, match="v3"):
        said(transformers=[object()])


async def test_unknown_options_and_versions_are_refused() -> None:
    with pytest.raises(TypeError, match="nonsense"):
        await said().ainvoke({}, nonsense=1)
    with pytest.raises(ValueError, match="version"):
        await said().ainvoke({}, version="v3")
    with pytest.raises(ValueError, match="print_mode"):
        await said().ainvoke({}, print_mode="loud")


def test_a_copy_that_is_changed_leaves_the_graph_as_it_is() -> None:
    saver, graph = InMemorySaver(), said(name="first")
    other = graph.with_config({"tags": ["t"]})
    other.name, other.step_timeout, other.checkpointer = "second", 2.0, saver
    other.interrupt_before_nodes = ["say"]
    assert (graph.name, graph.step_timeout, graph.checkpointer) == ("first", None, None)
    assert list(graph.interrupt_before_nodes) == []
    assert other.copy({"name": "third"}).checkpointer is saver
    with pytest.raises(UsageError, match="'nodes'"):
        graph.copy({"nodes": {}})
    with pytest.raises(ValueError, match="no node"):
        other.interrupt_after_nodes = ["ghost"]


async def test_a_failure_in_a_batch_stops_the_others_before_it_is_raised() -> None:
    """Nothing runs on behind the caller's back; what was stopped can be resumed."""
    running: set[int] = set()
    hold, all_run = asyncio.Event(), asyncio.Event()

    async def node(state: State) -> dict[str, Any]:
        (number,) = state["log"]
        if number == 0:
            await all_run.wait()
            raise ZeroDivisionError
        running.add(number)
        if len(running) == 2:
            all_run.set()
        try:
            await hold.wait()
        finally:
            running.discard(number)
        return {"log": ["done"]}

    builder = StateGraph(State).add_node("n", node).add_edge(START, "n")
    graph = builder.compile(checkpointer=InMemorySaver())
    configs = [{"configurable": {"thread_id": str(i)}} for i in range(3)]
    with pytest.raises(ZeroDivisionError):
        await graph.abatch([{"log": [i]} for i in range(3)], configs)
    assert running == set()
    hold.set()
    assert (await graph.aget_state(configs[1])).next == ("n",)
    assert (await graph.ainvoke(None, configs[1]))["log"] == [1, "done"]


async def test_a_batch_keeps_to_its_limit() -> None:
    at_once, most = 0, 0

    async def node(state: State) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.001)
        at_once -= 1

    graph = StateGraph(State).add_node("n", node).add_edge(START, "n").compile()
    await graph.abatch([{"log": []}] * 7, {"max_concurrency": 3})
    assert most == 3


async def test_leaving_a_batch_early_cancels_what_still_runs() -> None:
    cancelled: list[Any] = []

    async def node(state: State) -> None:
        if state["log"] == [0]:
            return
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(state["log"])
            raise

    graph = StateGraph(State).add_node("n", node).add_edge(START, "n").compile()
    finished = graph.abatch_as_completed([{"log": [i]} for i in range(3)])
    assert (await anext(finished))[0] == 0
    await finished.aclose()
    assert sorted(cancelled) == [[1], [2]]


async def test_one_run_id_names_one_run_of_a_batch() -> None:
    seen: list[Any] = []

    async def node(state: State, config: RunnableConfig) -> None:
        seen.append(config.get("run_id"))

    graph = StateGraph(State).add_node("n", node).add_edge(START, "n").compile()
    await graph.abatch([{"log": []}] * 3, {"run_id": "r", "max_concurrency": 1})
    assert seen == ["r", None, None]


class Model(BaseModel):
    log: Annotated[list[str], operator.add] = []


async def test_version_two_does_not_change_what_other_listeners_are_given() -> None:
    """A graph inside another is streamed to both its caller and the outer one's."""
    inner_parts: list[Any] = []

    async def ask(state: Model) -> dict[str, Any]:
        return {"log": [interrupt("q")]}

    inner = StateGraph(Model).add_node("ask", ask).add_edge(START, "ask").compile()

    async def call(state: Model) -> dict[str, Any]:
        async for part in inner.astream(state, stream_mode="values", version="v2"):
            inner_parts.append(part)
        return {}

    outer = (
        StateGraph(Model).add_node("call", call).add_edge(START, "call")
        .compile(checkpointer=InMemorySaver())
    )  # fmt: skip
    config: Any = {"configurable": {"thread_id": "t"}}
    seen = [
        chunk
        async for ns, chunk in outer.astream(
            {"log": []}, config, stream_mode="values", subgraphs=True
        )
        if ns
    ]
    assert all(isinstance(chunk, dict) for chunk in seen)
    assert any("__interrupt__" in chunk for chunk in seen)
    assert {type(part["data"]) for part in inner_parts} == {Model}
    assert [i.value for i in inner_parts[-1]["interrupts"]] == ["q"]


async def test_answers_are_kept_out_when_they_do_not_fit() -> None:
    """After a refused bare answer the thread stands where it stood: the question is asked."""

    async def ask(state: State) -> dict[str, Any]:
        return {"log": [interrupt("q", response_schema=int)]}

    graph = (
        StateGraph(State).add_node("ask", ask).add_edge(START, "ask")
        .compile(checkpointer=InMemorySaver())
    )  # fmt: skip
    config: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"log": []}, config)
    with pytest.raises(ValueError, match="valid integer"):
        await graph.ainvoke(Command(resume="four"), config)
    again = await graph.ainvoke(None, config)
    assert [i.value for i in again["__interrupt__"]] == ["q"]
    assert again["__interrupt__"][0].response_schema == {"type": "integer"}
    assert (await graph.ainvoke(Command(resume="4"), config))["log"] == [4]


def test_graphs_of_channels_are_drawn_where_langgraph_cannot() -> None:
    """Both nodes that input triggers, and a node that nothing follows."""
    nodes = {
        "one": NodeBuilder().subscribe_only("a").write_to("b"),
        "two": NodeBuilder().subscribe_to("a", "b").write_to("c"),
        "three": NodeBuilder().subscribe_only("c"),
    }
    channels: Any = {name: LastValue(int) for name in "abc"}
    graph = Pregel(nodes=nodes, channels=channels, input_channels="a", output_channels="c")
    edges = {(e.source, e.target) for e in graph.get_graph().edges}
    assert edges == {
        ("__start__", "one"), ("__start__", "two"), ("one", "two"), ("two", "three"),
        ("three", "__end__"),
    }  # fmt: skip

"""Descriptions of graphs that LangGraph does not take, or takes for something else."""

import functools
import operator
from typing import Annotated, Any, TypedDict

import pytest

from stepwell.errors import GraphDefinitionError, InvalidUpdateError
from stepwell.graph import END, START, StateGraph


class State(TypedDict):
    log: Annotated[list, operator.add]


def graph_of(*nodes: Any) -> Any:
    builder = StateGraph(State)
    builder.add_sequence([(f"n{i}", node) for i, node in enumerate(nodes)])
    return builder.add_edge(START, "n0").compile()


async def step(state: State, word: str = "step") -> dict[str, Any]:
    return {"log": [word]}


class Steps:
    async def __call__(self, state: State) -> dict[str, Any]:
        return {"log": ["object"]}


async def test_what_turns_out_to_be_async_when_called_is_awaited():
    """LangGraph takes the coroutine for the update."""
    graph = graph_of(lambda state: step(state, "lambda"), functools.partial(Steps()))
    assert await graph.ainvoke({"log": []}) == {"log": ["lambda", "object"]}


async def test_a_class_without_a_signature_is_a_node():
    graph = graph_of(dict, step)
    assert await graph.ainvoke({"log": ["in"]}) == {"log": ["in", "in", "step"]}


async def test_a_tuple_of_destinations_is_a_path_map():
    builder = StateGraph(State).add_node("a", step).add_node("b", step).add_edge(START, "a")
    graph = builder.add_conditional_edges("a", lambda state: "b", ("b", END)).compile()
    edges = [tuple(e)[:2] for e in graph.get_graph().edges]
    assert ("a", "b") in edges
    assert ("a", END) in edges


async def test_a_router_object_is_not_held_to_its_annotation():
    """As in LangGraph; what it says about its destinations is for people."""

    class Router:
        def __call__(self, state: State) -> str:
            return "b"

    builder = StateGraph(State).add_node("a", step).add_node("b", step).add_edge(START, "a")
    graph = builder.add_conditional_edges("a", Router()).compile()
    assert await graph.ainvoke({"log": []}) == {"log": ["step", "step"]}


@pytest.mark.parametrize("form", ["sync", "async"])
async def test_a_graph_returned_by_a_node_is_no_update(form):
    """It has annotations, like an object of the state's type; nothing of it is state."""
    inner = graph_of(step)

    def node(state: State) -> Any:
        return inner

    async def anode(state: State) -> Any:
        return inner

    graph = graph_of(node if form == "sync" else anode)
    with pytest.raises(InvalidUpdateError, match="CompiledStateGraph"):
        await graph.ainvoke({"log": []})


def generator(state: State):
    yield {"log": []}


async def async_generator(state: State):
    yield {"log": []}


@pytest.mark.parametrize("node", [generator, async_generator, {"log": step}, 5, None])
def test_what_is_no_function_is_no_node(node):
    builder = StateGraph(State)
    with pytest.raises(GraphDefinitionError):
        builder.add_node("a", node)
    assert builder.nodes == {}


@pytest.mark.parametrize("options", [{"colour": "red"}, {"schema": State}])
def test_unknown_keywords_are_refused(options):
    (name,) = options
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        StateGraph(State, **options)
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        StateGraph(State).add_node("a", step, **options)


async def test_a_builtin_is_a_reducer_and_a_type_is_none():
    """LangGraph takes neither: `max` has no signature to look at."""

    class Highest(TypedDict):
        n: Annotated[int, max]

    class Typed(TypedDict):
        n: Annotated[int, int]

    graph = StateGraph(Highest).add_node("a", lambda state: {"n": 3}).add_edge(START, "a").compile()
    assert await graph.ainvoke({"n": 5}) == {"n": 5}
    with pytest.raises(GraphDefinitionError, match="'n' has the type int in the place"):
        StateGraph(Typed)


def test_a_join_of_nothing_is_refused():
    with pytest.raises(GraphDefinitionError, match="no start nodes"):
        StateGraph(State).add_node("a", step).add_edge([], "a")


async def test_an_empty_context_stays_what_it_is():
    def node(state: State, runtime: Any) -> dict[str, Any]:
        return {"log": [runtime.context]}

    assert await graph_of(node).ainvoke({"log": []}, context={}) == {"log": [{}]}

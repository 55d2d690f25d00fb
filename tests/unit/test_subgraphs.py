"""Which graph a node is, or calls: what is found, and what is left alone."""

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypedDict

import pytest

from stepwell.graph import START, StateGraph
from stepwell.pregel._subgraphs import subgraph_of


class State(TypedDict):
    n: int


def compiled() -> Any:
    return StateGraph(State).add_node("only", lambda s: {"n": 1}).add_edge(START, "only").compile()


GRAPH = compiled()
OTHER = compiled()
SHELF = SimpleNamespace(graph=GRAPH, deeper=SimpleNamespace(graph=GRAPH))


def test_a_graph_is_its_own_subgraph():
    assert subgraph_of(GRAPH) is GRAPH


def captured_graph() -> Callable[..., Any]:
    graph = GRAPH
    return lambda state: graph.invoke({**state})


def captured_method() -> Callable[..., Any]:
    run = GRAPH.ainvoke

    async def node(state):
        return await run(state)

    return node


async def node_with_a_global(state):
    return await GRAPH.ainvoke(state)


def node_with_an_attribute(state):
    return SHELF.deeper.graph.invoke(state)


def node_with_an_inner_function(state):
    def inner():
        return GRAPH.invoke(state)

    return inner()


def node_with_a_comprehension(state):
    return [GRAPH.invoke(state) for _ in range(2)]


class Holder:
    graph = GRAPH

    def method(self, state):
        return SHELF.graph.invoke(state)

    def through_self(self, state):
        return self.graph.invoke(state)

    def __call__(self, state):
        return GRAPH.invoke(state)


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(state):
        return function(state)

    return run


@pytest.mark.parametrize(
    "node",
    [
        captured_graph(), captured_method(), node_with_a_global, node_with_an_attribute,
        node_with_an_inner_function, node_with_a_comprehension, Holder().method,
        decorated(node_with_a_global), lambda state: GRAPH.invoke({**state}),
    ],
)  # fmt: skip
def test_a_graph_that_a_function_names_is_found(node):
    assert subgraph_of(node) is GRAPH


def node_with_a_container(state):
    return {"graph": GRAPHS["graph"].invoke(state)}


GRAPHS = {"graph": GRAPH}


def calls_another(state):
    return node_with_a_global(state)


@pytest.mark.parametrize(
    "node",
    [
        node_with_a_container, Holder(), Holder().through_self, calls_another, len,
        functools.partial(node_with_a_global), lambda state: state, object(),
    ],
)  # fmt: skip
def test_what_langgraph_does_not_find_is_not_found(node):
    """Containers, partials, callable objects, attributes of self, functions of functions."""
    assert subgraph_of(node) is None


def test_the_first_of_several_counts():
    first, second = OTHER, GRAPH

    def node(state):
        return second.invoke(first.invoke(state))

    assert subgraph_of(node) is OTHER


def test_steps_of_a_chain_are_searched():
    class Chain:
        steps = (lambda state: state, node_with_a_global)

        async def ainvoke(self, value, config=None):
            return value

    assert subgraph_of(Chain()) is GRAPH


class Touchy:
    @property
    def graph(self):
        raise RuntimeError("not now")


TOUCHY = Touchy()


def test_an_attribute_that_cannot_be_read_does_not_end_the_search():
    def node(state):
        if TOUCHY.graph is None:
            return None
        return GRAPH.invoke(state)

    assert subgraph_of(node) is GRAPH


def test_a_function_that_is_not_bound_yet_is_no_obstacle():
    def node(state):
        return later(state)

    assert subgraph_of(node) is None

    def later(state):
        return state

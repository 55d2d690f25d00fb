"""Random graphs look the same on both engines: nodes, edges, Mermaid, at every depth."""

import random
import warnings
from typing import Any

import pytest

pytest.importorskip("langgraph", reason="langgraph, the engine compared with, is not installed")

from tests.compat.engines import Api
from tests.compat.shapes import Log

pytestmark = pytest.mark.compat

SEEDS = range(60)


def quiet(_: Any) -> Any:
    return {}


def random_graph(api: Api, rng: random.Random, depth: int = 0) -> Any:
    """A graph that compiles, or None: some are refused, by both engines alike."""
    names = [chr(ord("a") + i) for i in range(rng.randint(1, 6))]
    places = [*names, api.END]
    graph = api.StateGraph(Log)
    for name in names:
        inner = random_graph(api, rng, depth + 1) if depth < 2 and rng.random() < 0.2 else None
        graph.add_node(name, inner or quiet, **random_options(rng, places))
    for _ in range(rng.randint(1, 2)):
        graph.add_edge(api.START, rng.choice(names))
    for _ in range(rng.randint(0, 6)):
        graph.add_edge(rng.choice(names), rng.choice(places))
    for _ in range(rng.randint(0, 2)):
        starts = rng.sample(names, rng.randint(1, min(3, len(names))))
        graph.add_edge(starts, rng.choice(places))
    for number in range(rng.randint(0, 3)):
        add_random_branch(graph, rng, [*names, api.START], places, number)
    stops = {
        key: rng.sample(names, 1)
        for key in ("interrupt_before", "interrupt_after")
        if rng.random() < 0.3
    }
    try:
        return graph.compile(**stops)
    except ValueError:
        return None


def random_options(rng: random.Random, places: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    some = rng.sample(places, rng.randint(0, min(3, len(places))))
    if rng.random() < 0.2:
        options["defer"] = True
    if rng.random() < 0.2:
        options["destinations"] = tuple(some)
    elif rng.random() < 0.1:
        options["destinations"] = {name: rng.choice(["label", "two words", name]) for name in some}
    if rng.random() < 0.1:
        options["metadata"] = {"k": rng.choice([1, "a b", [1, 2]])}
    if rng.random() < 0.1:
        options["error_handler"] = quiet
    return options


def add_random_branch(
    graph: Any, rng: random.Random, sources: list[str], places: list[str], number: int
) -> None:
    def route(_: Any) -> Any:
        return places[0]

    route.__name__ = f"route {number}"
    some = rng.sample(places, rng.randint(1, min(4, len(places))))
    labels = {rng.choice(["x", "y", name, 1, True]): name for name in some}
    graph.add_conditional_edges(rng.choice(sources), route, rng.choice([some, labels, None]))


def drawn(graph: Any, xray: Any) -> Any:
    """What there is to see, None where LangGraph compares a label with no label."""
    try:
        shape = graph.get_graph(xray=xray)
    except TypeError:
        return None
    try:
        text = shape.draw_mermaid()
    except ValueError:
        text = "two subgraphs have one name"
    nodes = [(key, node.name, node.metadata) for key, node in shape.nodes.items()]
    return nodes, [tuple(edge) for edge in shape.edges], text


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_graph_looks_the_same(seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = random_graph(Api("langgraph"), random.Random(seed))
    mine = random_graph(Api("stepwell"), random.Random(seed))
    assert (mine is None) == (theirs is None)
    for xray in (False, 1, True) if mine is not None else ():
        shown, wanted = drawn(mine, xray), drawn(theirs, xray)
        assert shown is not None
        if wanted is not None:
            assert shown == wanted


def test_random_graphs_are_of_every_kind() -> None:
    """Most compile, some have subgraphs, deferred nodes, labels, conditional edges."""
    texts = [
        drawn(graph, xray=True)[2]
        for seed in SEEDS
        if (graph := random_graph(Api("stepwell"), random.Random(seed))) is not None
    ]
    assert len(texts) > len(SEEDS) / 2
    for mark in ("subgraph", "defer = True", "&nbsp;", " -.-> ", "__interrupt", "error_handler"):
        assert sum(mark in text for text in texts) >= 3, mark

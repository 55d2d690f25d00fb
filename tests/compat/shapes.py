"""State schemas and small graphs that many cases share, and how cases are marked."""

import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypedDict

from tests.compat.engines import Api

ALL_MODES = ["values", "updates", "custom", "checkpoints", "tasks", "debug"]


class Log(TypedDict):
    log: Annotated[list, operator.add]


class Count(TypedDict):
    n: int


class LogCount(TypedDict):
    log: Annotated[list, operator.add]
    n: int


def both(case: Callable[..., Any]) -> Callable[..., Any]:
    """Run the case in the sync form too.

    Not for joins that stay half full: LangGraph's sync runs save the set of names that have
    arrived from another thread, while it is already growing. Nor where parallel tasks show
    their order: with threads, who is done first is chance.
    """
    case.forms = ("async", "sync")
    return case


def warns(case: Callable[..., Any]) -> Callable[..., Any]:
    """Stepwell may warn in this case; in every other case a warning of Stepwell is a failure."""
    case.warns = True
    return case


def logger(api: Api, name: str, **also: Any) -> Callable[..., Any]:
    """A node that writes its name to the log, and `also`."""

    def step(state: Any) -> dict[str, Any]:
        return {"log": [name], **also}

    return api.node(step)


def build(
    api: Api,
    schema: Any,
    nodes: Mapping[str, Any] | Sequence[str],
    edges: Sequence[tuple[Any, str]],
    /,
    branches: Sequence[tuple[Any, ...]] = (),
    deferred: Sequence[str] = (),
    **options: Any,
) -> Any:
    """A compiled graph. Nodes given by name alone write their name to the log."""
    graph = api.StateGraph(schema)
    items = nodes if isinstance(nodes, Mapping) else {n: logger(api, n) for n in nodes}
    for name, node in items.items():
        graph.add_node(
            name, node if node is not None else logger(api, name), defer=name in deferred
        )
    for start, end in edges:
        graph.add_edge(start, end)
    for branch in branches:
        graph.add_conditional_edges(*branch)
    return graph.compile(**options)


def chain(api: Api, schema: Any, nodes: Any, /, **options: Any) -> Any:
    """START -> first -> ... -> last -> END."""
    names = [api.START, *nodes, api.END]
    return build(api, schema, nodes, list(itertools.pairwise(names)), **options)


async def record(api: Api, graph: Any, config: Any) -> dict[str, Any]:
    """Everything the state API says of a thread."""
    return {"state": await api.state(graph, config), "history": await api.history(graph, config)}


def brief(snapshot: Any) -> dict[str, Any]:
    """The part of a snapshot that says where the thread stands."""
    return {
        "values": snapshot.values,
        "next": snapshot.next,
        "metadata": snapshot.metadata,
        "tasks": [(t.name, t.path, t.error, t.interrupts, t.result) for t in snapshot.tasks],
        "interrupts": snapshot.interrupts,
    }

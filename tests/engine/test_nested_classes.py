"""The whole state is the input of a graph inside: also what its own schema does not name."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest

from stepwell._codec import Codec, Registry
from stepwell.checkpoint.base import Saver
from stepwell.errors import UnsupportedTypeError
from stepwell.graph import START, StateGraph
from stepwell.types import Command, interrupt

CONFIG: Any = {"configurable": {"thread_id": "t"}}


@dataclass
class Item:
    name: str


class Outer(TypedDict, total=False):
    item: Item
    n: int


class Inner(TypedDict, total=False):
    n: int


def ask(state: Inner) -> dict[str, Any]:
    return {"n": state["n"] + interrupt("how many?")}


def chain(schema: Any, name: str, node: Any, **options: Any) -> Any:
    return StateGraph(schema).add_node(name, node).add_edge(START, name).compile(**options)


def three_levels(saver: Saver) -> Any:
    lowest = chain(Inner, "ask", ask)
    return chain(Outer, "outer", chain(Inner, "middle", lowest), checkpointer=saver)


@pytest.mark.parametrize("durability", ["sync", "exit"])
async def test_a_class_that_a_graph_inside_does_not_name_passes_it(
    saver: Saver, durability: Any
) -> None:
    """Two levels down, and when others go on with it."""
    given = {"item": Item("lamp"), "n": 1}
    stopped = await three_levels(saver).ainvoke(given, CONFIG, durability=durability)
    assert [i.value for i in stopped["__interrupt__"]] == ["how many?"]
    graph = three_levels(saver)  # as after a restart
    assert (await graph.aget_state(CONFIG, subgraphs=True)).values == given
    done = await graph.ainvoke(Command(resume=2), CONFIG, durability=durability)
    assert done == {"item": Item("lamp"), "n": 3}


def test_what_hosts_know_counts_while_they_live_and_where_nothing_else_is_meant() -> None:
    host, inner = Registry(), Registry()
    host.register(Item, type_id="thing")
    inner.inside(host)
    codec = Codec(inner)
    document = codec.encode(Item("lamp"))
    assert codec.decode(*document) == Item("lamp")

    @dataclass
    class Other:
        name: str

    taken = Registry()
    taken.register(Other, type_id="thing")
    taken.inside(host)
    with pytest.raises(UnsupportedTypeError):  # it would come back as an Other
        Codec(taken).encode(Item("lamp"))

    del host
    gc.collect()
    with pytest.raises(UnsupportedTypeError):
        codec.encode(Item("lamp"))

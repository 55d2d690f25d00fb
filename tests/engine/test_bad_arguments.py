"""What callers get wrong, and what they are told: what happened, to what, what to do."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest

from stepwell._engine.arguments import ArgumentError
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.errors import InvalidUpdateError
from stepwell.graph import END, START, StateGraph
from stepwell.types import StateUpdate

THREAD: Any = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    """One number."""

    x: int


async def keep(state: State) -> dict[str, Any]:
    return {}


def graph(**options: Any) -> Any:
    return StateGraph(State).add_node("n", keep).add_edge(START, "n").compile(**options)


@pytest.mark.parametrize(
    "update", [({"x": 1}, "n", None), ({"x": 1}, "n"), StateUpdate({"x": 1}, "n")]
)
async def test_a_plain_tuple_is_an_update(update: Any) -> None:
    """LangGraph unpacks updates, so tuples do as well as StateUpdate."""
    made = graph(checkpointer=InMemorySaver())
    await made.abulk_update_state(THREAD, [[update]])
    assert (await made.aget_state(THREAD)).values == {"x": 1}


@pytest.mark.parametrize(
    "supersteps",
    [[[{"x": 1}]], [StateUpdate({"x": 1}, "n")], "x", [{"x": 1}], [["ab"]], {"x": 1}, [5],
     [[({"x": 1},)]]],
)  # fmt: skip
async def test_supersteps_of_another_shape_are_refused(supersteps: Any) -> None:
    """Nothing is written, and the message says what shape is wanted."""
    made = graph(checkpointer=InMemorySaver())
    with pytest.raises(ArgumentError, match="a list of lists of StateUpdate"):
        await made.abulk_update_state(THREAD, supersteps)
    assert (await made.aget_state(THREAD)).created_at is None


async def test_as_node_is_one_name() -> None:
    made = graph(checkpointer=InMemorySaver())
    with pytest.raises(ArgumentError, match=r"as_node must be the name of one node.*\['n'\]"):
        await made.aupdate_state(THREAD, {"x": 1}, as_node=["n"])


async def test_an_update_as_end_takes_no_values() -> None:
    made = graph(checkpointer=InMemorySaver())
    with pytest.raises(InvalidUpdateError, match="as __end__ takes no values"):
        await made.aupdate_state(THREAD, {"x": 2}, as_node=END)

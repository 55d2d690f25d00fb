"""Channels of the user's own that derive from ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import pytest

from stepwell.channels import AnyValue, EphemeralValue, LastValue, Topic, UntrackedValue
from stepwell.channels.base import MISSING
from stepwell.graph import END, START, StateGraph


def counting(base: type[Any]) -> type[Any]:
    """A channel with something of its own to set up, and a rule of its own."""

    class Counting(base):  # type: ignore[misc]
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.count = 0

        def update(self, values: Sequence[Any]) -> bool:
            self.count += len(values)
            return bool(super().update([value * 2 for value in values]))

    return Counting


@pytest.mark.parametrize("base", [LastValue, AnyValue, EphemeralValue])
def test_a_channel_is_made_anew_by_its_own_constructor(base: type[Any]) -> None:
    fresh = counting(base)(int).from_checkpoint(MISSING)
    assert (fresh.count, fresh.is_available()) == (0, False)
    fresh.update([3])
    assert (fresh.count, fresh.get()) == (1, 6)
    again = fresh.copy()
    assert (again.count, again.get()) == (0, 6)
    again.update([4])
    assert (again.get(), fresh.get()) == (8, 6)


def test_an_ephemeral_value_stays_unguarded() -> None:
    fresh = counting(EphemeralValue)(int, False).from_checkpoint(MISSING)
    fresh.update([1, 2])
    assert fresh.get() == 4


async def test_a_router_is_shown_what_the_channel_makes_of_a_write() -> None:
    seen = []

    class State(TypedDict):
        n: Annotated[int, counting(LastValue)(int)]

    def route(state: dict[str, int]) -> str:
        seen.append(state["n"])
        return END

    graph = StateGraph(State).add_node("add", lambda state: {"n": state["n"] + 1})
    graph.add_edge(START, "add").add_conditional_edges("add", route)
    assert await graph.compile().ainvoke({"n": 1}) == {"n": 6}
    assert seen == [6]


class SteppingValue(LastValue[Any]):
    steps = True


class SteppingUntracked(UntrackedValue[Any]):
    steps = True


async def test_a_channel_that_hears_of_supersteps_keeps_what_its_update_keeps() -> None:
    class State(TypedDict, total=False):
        kept: Annotated[int, SteppingValue(int)]
        untracked: Annotated[int, SteppingUntracked(int)]
        n: int

    seen = []
    graph = StateGraph(State).add_node("idle", lambda _: {"n": 0})
    graph.add_node("look", lambda state: seen.append((state.get("kept"), state.get("untracked"))))
    graph.add_edge(START, "idle").add_edge("idle", "look")
    await graph.compile().ainvoke({"kept": 1, "untracked": 2})
    assert seen == [(1, 2)]


async def test_a_router_is_shown_what_is_left_of_values_that_live_for_one_superstep() -> None:
    shown = []

    class State(TypedDict, total=False):
        signal: Annotated[int, EphemeralValue(int)]
        agreed: Annotated[int, AnyValue(int)]
        items: Annotated[list[int], Topic(int)]
        all_items: Annotated[list[int], Topic(int, accumulate=True)]
        n: int

    def route(state: dict[str, Any]) -> str:
        shown.append(state)
        return END

    graph = StateGraph(State).add_node("add", lambda state: {"n": state["signal"], "agreed": 3})
    graph.add_edge(START, "add").add_conditional_edges("add", route)
    await graph.compile().ainvoke({"signal": 1, "agreed": 2, "items": [4], "all_items": [5]})
    assert shown == [{"n": 1, "agreed": 3, "all_items": [5]}]

"""Channels of the user's own that derive from ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import pytest

from stepwell.channels import AnyValue, EphemeralValue, LastValue
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

"""What observers are told of runs."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell.graph import START, StateGraph
from stepwell.observe import CommitFinished, Event, LoadFinished
from stepwell.types import interrupt


class State(TypedDict, total=False):
    """One secret."""

    word: str


async def test_a_run_is_told_from_start_to_end() -> None:
    """Runs, supersteps, tasks and commits are told in order; values are in no event."""
    events: list[Event] = []

    async def speak(state: State) -> dict[str, Any]:
        return {"word": state["word"] + "!"}

    async def ask(state: State) -> dict[str, Any]:
        return {"word": interrupt("hush hush")}

    async with open_saver("memory://", observe=events.append) as saver:
        builder = StateGraph(State).add_sequence([("speak", speak), ("ask", ask)])
        graph = builder.add_edge(START, "speak").compile(saver)
        await graph.ainvoke({"word": "sesame"}, {"configurable": {"thread_id": "t"}})
    told = [e for e in events if not isinstance(e, CommitFinished | LoadFinished)]
    assert [type(e).__name__ for e in told] == [
        "RunStarted", "TaskStarted", "TaskFinished", "SuperstepFinished",
        "TaskStarted", "TaskFinished", "SuperstepFinished", "TaskStarted", "TaskFinished",
        "RunFinished",
    ]  # fmt: skip
    assert {e.thread_id for e in told} == {"t"}
    assert (told[-2].outcome, told[-1].status) == ("interrupt", "interrupted")  # type: ignore[attr-defined]
    assert any(isinstance(e, CommitFinished) for e in events)
    assert "sesame" not in repr(events)
    assert "hush" not in repr(events)


async def test_a_broken_observer_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in an observer is logged once, and the run goes on."""

    def broken(event: Event) -> None:
        raise RuntimeError("observer")

    async def speak(state: State) -> dict[str, Any]:
        return {"word": "fine"}

    async with open_saver("memory://", observe=broken) as saver:
        graph = StateGraph(State).add_node("speak", speak).add_edge(START, "speak").compile(saver)
        result = await graph.ainvoke({"word": ""}, {"configurable": {"thread_id": "t"}})
    assert result == {"word": "fine"}
    assert caplog.text.count("raised on") == 1

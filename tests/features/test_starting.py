"""A1 to A3: a thread goes on, in this process, in the next one, and in several at once."""

from __future__ import annotations

import asyncio
import json
import operator
import os
import sys
from typing import Annotated, Any, TypedDict

import pytest

from stepwell.checkpoint.memory import InMemorySaver, MemorySaver
from stepwell.graph import END, START, StateGraph
from tests.arch._rules import ROOT
from tests.features import _talking
from tests.features.conftest import Place

THREAD = {"configurable": {"thread_id": "ada"}}


class State(TypedDict):
    """What was said."""

    notes: Annotated[list[str], operator.add]


@pytest.mark.parametrize("kind", [MemorySaver, InMemorySaver])
def test_a_second_run_continues_from_the_first_in_memory(kind: Any) -> None:
    builder = StateGraph(State).add_node("listen", lambda state: {"notes": ["heard"]})
    graph = builder.add_edge(START, "listen").add_edge("listen", END).compile(checkpointer=kind())
    assert graph.invoke({"notes": ["a"]}, THREAD) == {"notes": ["a", "heard"]}
    assert graph.invoke({"notes": ["b"]}, THREAD) == {"notes": ["a", "heard", "b", "heard"]}
    assert graph.get_state({"configurable": {"thread_id": "bob"}}).values == {}


async def talk(kind: str, where: str, times: int = 1, **environment: str) -> list[int]:
    """What a process of its own says that the thread has heard."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", _talking.__file__, kind, where, "ada", f"{times}",
        env={**os.environ, "PYTHONPATH": path, **environment}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await child.communicate()
    assert child.returncode == 0
    found: list[int] = json.loads(out)
    return found


@pytest.fixture
def kept(place: Place) -> Place:
    """A place that outlives a process."""
    if place.kind == "memory":
        pytest.skip("what is in memory ends with its process")
    return place


def where_of(place: Place) -> str:
    """What `from_conn_string` is given."""
    return place.url.removeprefix("sqlite:///")


async def test_another_process_continues(kept: Place) -> None:
    """Savers used directly, without a `with`."""
    first = await talk(kept.kind, where_of(kept))
    second = await talk(kept.kind, where_of(kept))
    assert len({*first, *second}) == 2
    assert second == [*first, *second[1:]]


async def test_several_servers_share_a_database(kept: Place) -> None:
    """What each of them was told is there, in one order, and nobody's is lost."""
    told = await asyncio.gather(*(talk(kept.kind, where_of(kept), 5) for _ in range(3)))
    heard = max(told, key=len)
    assert len(heard) == 15
    assert all(heard[: len(one)] == one for one in told)
    assert {heard.count(pid) for pid in heard} == {5}


async def test_the_environment_says_which_database(kept: Place) -> None:
    first = await talk(kept.kind, where_of(kept))
    assert (await talk("environment", "-", STEPWELL_DSN=kept.url))[:1] == first

"""Options of what steers, lists, prunes and recovers: each that cannot be is refused by name."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import Retention, open_saver
from stepwell.checkpoint.base import Saver
from stepwell.errors import StepwellError, UsageError
from stepwell.func import entrypoint
from stepwell.graph import START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from stepwell.testing import crash_at

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


async def keep(state: State) -> State:
    return {"log": ["kept"]}


def build(saver: Saver, **options: Any) -> CompiledStateGraph:
    return (
        StateGraph(State).add_node("keep", keep).add_edge(START, "keep").compile(saver, **options)
    )


async def listed(items: Any) -> list[Any]:
    return [item async for item in items]


async def anything(state: Any) -> bool:
    return False


CALLS: dict[str, Callable[[CompiledStateGraph, Saver], Awaitable[Any]]] = {
    "on_conflict, empty": lambda g, s: g.ainvoke({"log": []}, CONFIG, on_conflict=""),  # type: ignore[arg-type]
    "on_conflict, a list": lambda g, s: g.ainvoke({"log": []}, CONFIG, on_conflict=[]),  # type: ignore[arg-type]
    "where, asynchronous": lambda g, s: g.arollback(CONFIG, where=anything),  # type: ignore[arg-type]
    "dry_run of states": lambda g, s: g.amigrate_states(dry_run="no"),  # type: ignore[arg-type]
    "status of threads": lambda g, s: listed(s.alist_threads(status=["done"])),  # type: ignore[arg-type]
    "metadata of threads": lambda g, s: listed(s.alist_threads(metadata="x")),  # type: ignore[arg-type]
    "metadata with keys": lambda g, s: listed(s.alist_threads(metadata={5: 1})),  # type: ignore[dict-item]
    "descending of threads": lambda g, s: listed(s.alist_threads(descending="no")),  # type: ignore[arg-type]
    "limit of threads": lambda g, s: listed(s.alist_threads(limit="5")),  # type: ignore[arg-type]
    "limit of threads, 1.5": lambda g, s: listed(s.alist_threads(limit=1.5)),  # type: ignore[arg-type]
    "limit of threads, True": lambda g, s: listed(s.alist_threads(limit=True)),
    "limit of runs": lambda g, s: listed(s.alist_runs(limit=1.5)),  # type: ignore[arg-type]
    "limit of orphans": lambda g, s: listed(s.aorphans(limit="5")),  # type: ignore[arg-type]
    "policy of prune": lambda g, s: s.aprune(policy=5),  # type: ignore[arg-type]
    "dry_run of prune": lambda g, s: s.aprune(policy=Retention(keep_last=1), dry_run="no"),  # type: ignore[arg-type]
    "k of crash_at": lambda g, s: crash_at(g, {"log": []}, CONFIG, k="1"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", CALLS)
async def test_calls(name: str) -> None:
    """Neither taken for something else nor an error of Python's that names nothing."""
    async with open_saver("memory://") as saver:
        graph = build(saver)
        await graph.ainvoke({"log": ["a"]}, CONFIG)
        with pytest.raises(StepwellError, match=name.partition(" ")[0].strip(",")) as caught:
            await CALLS[name](graph, saver)
        assert caught.value.code == "usage"
        assert (await graph.aget_state(CONFIG)).values == {"log": ["a", "kept"]}


async def test_what_is_in_the_background_and_what_is_built() -> None:
    async with open_saver("memory://") as saver:
        with pytest.raises(UsageError, match="policy must be a Retention"):
            async with saver.pruning("x"):  # type: ignore[arg-type]
                pass
        with pytest.raises(StepwellError, match="strict must be True or False, not 'no'"):
            build(saver, strict="no")
        with pytest.raises(StepwellError, match="strict must be True or False, not 'no'"):
            entrypoint(checkpointer=saver, strict="no")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="statuses must be some of"):
        Retention(statuses=5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="statuses must be some of"):
        Retention(statuses=[[]])  # type: ignore[list-item]


async def test_more_arguments_for_connections_are_a_mapping() -> None:
    with pytest.raises(UsageError, match="connect must be a mapping"):
        async with open_saver("postgresql://localhost/none", connect=5):
            pass

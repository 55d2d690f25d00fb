"""Reads that may come from a replica that lags: whoever writes a thread does not trust them."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, TypedDict

import pytest_asyncio

from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import HistoryPage, Loaded, LoadRequest, ThreadKey
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.graph import START, StateGraph
from stepwell.types import RetryPolicy

CONFIG: Any = {"configurable": {"thread_id": "t"}}


class Lagging(MemoryDriver):
    """Of a thread that is only to be looked at, it has heard nothing yet."""

    async def load(self, requests: Sequence[LoadRequest]) -> list[Loaded]:
        found = await super().load(requests)
        return [
            answer if request.current else Loaded(thread=None)
            for request, answer in zip(requests, found, strict=True)
        ]

    async def history(
        self, key: ThreadKey, ns_name: str, upto: int | None, *, current: bool = False
    ) -> HistoryPage:
        if not current:
            return HistoryPage(thread=None)
        return await super().history(key, ns_name, upto)

    async def page(
        self, key: ThreadKey, ns_name: str, upto: int | None, limit: int, *, current: bool = False
    ) -> HistoryPage:
        if not current:
            return HistoryPage(thread=None)
        return await super().page(key, ns_name, upto, limit)


class State(TypedDict, total=False):
    """What was done."""

    log: Annotated[list[Any], operator.add]


class Nothing(TypedDict, total=False):
    """Nothing is passed in."""

    nothing: int


@pytest_asyncio.fixture
async def saver() -> AsyncIterator[Saver]:
    async with Saver(Lagging()) as opened:
        yield opened


async def test_a_retried_subgraph_goes_on(saver: Saver) -> None:
    """The second attempt finds what the first one has done, however far the replica is behind."""
    ran: list[str] = []

    async def first(state: Any) -> dict[str, Any]:
        ran.append("first")
        return {"log": ["first"]}

    async def second(state: Any) -> dict[str, Any]:
        ran.append("second")
        if ran.count("second") == 1:
            raise ConnectionError
        return {"log": ["second"]}

    inner = StateGraph(State, input_schema=Nothing)
    inner.add_sequence([("first", first), ("second", second)]).add_edge(START, "first")
    graph = StateGraph(State)
    policy = RetryPolicy(initial_interval=0.0, jitter=False)
    graph.add_node("sub", inner.compile(), retry_policy=policy)
    compiled = graph.add_edge(START, "sub").compile(saver)
    assert await compiled.ainvoke({"log": []}, CONFIG) == {"log": ["first", "second"]}
    assert ran == ["first", "second", "second"]


async def test_one_history_goes_on(saver: Saver) -> None:
    """A graph with checkpointer=True goes on from what the run before has left."""

    async def hear(state: State) -> dict[str, Any]:
        return {"log": ["heard"]}

    inner = StateGraph(State).add_node("hear", hear).add_edge(START, "hear")
    keeps = inner.compile(checkpointer=True)
    found: list[Any] = []

    async def call(state: State) -> None:
        found.append((await keeps.ainvoke({"log": ["in"]}))["log"])

    compiled = StateGraph(State).add_node("call", call).add_edge(START, "call").compile(saver)
    for _ in range(2):
        await compiled.ainvoke({"log": []}, CONFIG)
    assert found == [["in", "heard"], ["in", "heard", "in", "heard"]]

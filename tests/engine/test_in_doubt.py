"""While a worker cannot renew its lease, it begins nothing: somebody else may have its thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypedDict

import pytest

from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import (
    Claim,
    ClaimRequest,
    CommitOutcome,
    Held,
    Lost,
    Renewed,
    Slice,
    ThreadKey,
)
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.errors import StaleWriterError, StorageUnavailableError
from stepwell.func import entrypoint, task
from stepwell.graph import START, StateGraph
from stepwell.types import RetryPolicy

CONFIG: Any = {"configurable": {"thread_id": "t"}, "max_concurrency": 1}
LEASE_TTL_S = 0.6


class CutOff(MemoryDriver):
    """A database that the worker under test cannot reach for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False

    def _check(self) -> None:
        if self.away:
            raise StorageUnavailableError("The cable is out.", outcome="none")

    def commit_now(self, batch: Sequence[Slice]) -> list[CommitOutcome]:
        self._check()
        return super().commit_now(batch)

    async def renew(
        self, worker: bytes, held: Sequence[Held], lease_ttl_s: float
    ) -> list[Renewed | Lost]:
        self._check()
        return await super().renew(worker, held, lease_ttl_s)

    async def cut(self) -> None:
        """Be away until somebody else has the thread, and a while longer."""
        self.away = True
        request = ClaimRequest(ThreadKey("", "t"), b"o" * 16, 60.0, 1, b"u" * 16)
        for _ in range(400):
            (answer,) = await self.claim([request])
            if isinstance(answer, Claim):
                break
            await asyncio.sleep(0.05)

        async def come_back() -> None:
            await asyncio.sleep(0.3)
            self.away = False

        self.back = asyncio.create_task(come_back())


class State(TypedDict, total=False):
    x: int


Flow = Callable[[Saver, Callable[[], Awaitable[None]], list[str]], Any]


def calls(saver: Saver, cut: Callable[[], Awaitable[None]], ran: list[str]) -> Any:
    """A workflow that calls two tasks, one after the other."""

    @task
    async def first() -> None:
        ran.append("first")
        await cut()

    @task
    async def second() -> None:
        ran.append("second")

    @entrypoint(saver)
    async def work(_: int) -> None:
        await first()
        await second()

    return work


def slots(saver: Saver, cut: Callable[[], Awaitable[None]], ran: list[str]) -> Any:
    """Two nodes in one superstep, and room for one at a time."""

    async def first(state: State) -> None:
        ran.append("first")
        await cut()

    async def second(state: State) -> None:
        ran.append("second")

    graph = StateGraph(State).add_node(first).add_node(second)
    return graph.add_edge(START, "first").add_edge(START, "second").compile(saver)


def retries(saver: Saver, cut: Callable[[], Awaitable[None]], ran: list[str]) -> Any:
    """A node that is tried again."""

    async def node(state: State) -> None:
        ran.append("second" if ran else "first")
        if ran == ["first"]:
            await cut()
            raise ConnectionError

    policy = RetryPolicy(initial_interval=0.01, jitter=False)
    return (
        StateGraph(State).add_node(node, retry_policy=policy).add_edge(START, "node").compile(saver)
    )


@pytest.mark.parametrize("flow", [calls, slots, retries])
async def test_nothing_begins_while_the_claim_is_in_doubt(flow: Flow) -> None:
    """The worker is cut off for longer than its lease while something runs, and another one takes
    the thread: what would come next never begins here, and the caller is told why."""
    driver, ran = CutOff(), []
    async with Saver(driver, lease_ttl_s=LEASE_TTL_S) as saver:
        given: Any = 1 if flow is calls else {"x": 1}
        with pytest.raises(StaleWriterError):
            await asyncio.wait_for(flow(saver, driver.cut, ran).ainvoke(given, CONFIG), 30)
        assert ran == ["first"]
        await driver.back

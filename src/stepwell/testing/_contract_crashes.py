"""The driver contract: lost replies, late duplicates, two writers, and processes that die."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

import asyncio
import operator
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import Committed, Driver, Stale
from stepwell.testing._contract_base import ContractBase, DriverFactory
from stepwell.testing._crash import crash_everywhere
from stepwell.testing._faulty import FaultPlan, FaultyDriver
from stepwell.testing._rows import (
    LEASE_TTL_S,
    bodies,
    checkpoint,
    loaded,
    pending,
    seqs,
    take,
    thread_key,
    thread_row,
    worker,
)

if TYPE_CHECKING:
    from stepwell.graph.state import CompiledStateGraph

ALICE, BOB = worker("alice"), worker("bob")
_KILLS_APART = 7
"""Every so many awaits a process is killed: all stages are met, and no more than needed."""


class _State(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]


def _graph(driver: Driver) -> tuple[Saver, CompiledStateGraph]:
    """Two supersteps in a row, then two tasks at once; and the saver that has to be closed."""
    from stepwell.graph import START, StateGraph

    async def step(state: _State) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"n": state["n"] + 1, "log": [f"step {state['n']}"]}

    async def fast(_: _State) -> dict[str, Any]:
        return {"log": ["fast"]}

    async def slow(_: _State) -> dict[str, Any]:
        for _turn in range(_KILLS_APART):  # so a kill falls between the end of the two
            await asyncio.sleep(0)
        return {"log": ["slow"]}

    graph = StateGraph(_State)
    graph.add_node("step", step)
    graph.add_node("fast", fast)
    graph.add_node("slow", slow)
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda s: "step" if s["n"] < 2 else ["fast", "slow"])
    saver = Saver(driver, lease_ttl_s=LEASE_TTL_S)
    return saver, graph.compile(saver, durability="sync")


_EXPECTED = {"n": 2, "log": ["step 0", "step 1", "fast", "slow"]}


class CrashContract(ContractBase):
    """What has to hold when replies are lost, slices come late, and processes die."""

    async def test_a_lost_reply_is_looked_up(self, driver_factory: DriverFactory) -> None:
        """Each commit of a run lands and its reply is lost: nothing is written twice."""
        plan = FaultPlan()
        for call in range(1, 20, 2):
            plan.commit_then_fail("commit", at=call)
        await self._runs_through(await driver_factory(), plan)

    async def test_a_commit_that_never_left_is_sent_again(
        self, driver_factory: DriverFactory
    ) -> None:
        """Each commit of a run fails once before it reaches the database."""
        plan = FaultPlan()
        for call in range(1, 20, 2):
            plan.fail("commit", at=call)
        await self._runs_through(await driver_factory(), plan)

    async def _runs_through(self, driver: Driver, plan: FaultPlan) -> None:
        saver, graph = _graph(FaultyDriver(driver, plan))
        try:
            output = await graph.ainvoke({"n": 0}, {"configurable": {"thread_id": "run"}})
            rows = (await loaded(driver, thread_key("run"))).rows
        finally:
            await saver.aclose()
            await driver.open()  # closing the saver has closed it
        assert output == _EXPECTED
        assert len(plan.fired) >= 3
        assert seqs(rows) == [1, 2, 3, 4, 5]
        numbers = [row.record_no for row in rows]
        assert all(before < after for before, after in pairwise(numbers))

    async def test_late_duplicates_write_nothing(self, driver_factory: DriverFactory) -> None:
        """A slice that comes once more: after a newer one, after a takeover, after its thread
        was deleted and made anew."""
        driver = await driver_factory()
        key = thread_key()
        alice = await take(driver, key, ALICE, lease_ttl_s=self.short_lease_s)
        alice.lease_ttl_s = self.short_lease_s
        late = await alice.append(checkpoint(b"1"), pending("task"))
        await alice.append(checkpoint(b"2"), drop=[(0, 1)])
        outcome = await alice.send(late)
        assert isinstance(outcome, Committed)
        assert outcome.landed
        await self._holds(driver, [b"1", b"2"], record_no=3)

        await self.outlive_lease()
        bob = await take(driver, key, BOB)
        await bob.append(checkpoint(b"3"))
        assert isinstance(await alice.send(late), Stale)
        await self._holds(driver, [b"1", b"2", b"3"], record_no=4)

        assert await driver.delete(bob.held, BOB)
        await (await take(driver, key, BOB)).append(checkpoint(b"new"))
        assert isinstance(await alice.send(late), Stale)
        await self._holds(driver, [b"new"], record_no=1)

    async def _holds(self, driver: Driver, expected: list[bytes], *, record_no: int) -> None:
        found = await loaded(driver, thread_key())
        assert bodies(found.rows) == expected
        assert not found.writes
        assert (await thread_row(driver, thread_key())).record_no == record_no

    async def test_a_claim_whose_process_dies_leaves_the_thread(
        self, driver_factory: DriverFactory
    ) -> None:
        """Killed between claim and first commit: the thread is free once the lease is over, as
        it was, and what the dead one had under way writes nothing."""
        driver = await driver_factory()
        await (await take(driver, thread_key(), BOB)).append(checkpoint(b"1"), let_go=True)
        alice = await take(driver, thread_key(), ALICE, lease_ttl_s=self.short_lease_s)
        under_way = alice.slice(checkpoint(b"never"), pending("task"))
        await self.outlive_lease()
        bob = await take(driver, thread_key(), BOB)
        assert (bob.epoch, bob.record_no) == (alice.epoch + 1, 1)
        assert bodies(bob.claim.loaded.rows) == [b"1"]
        assert isinstance(await alice.send(under_way), Stale)
        await bob.append(checkpoint(b"2"))
        await self._holds(driver, [b"1", b"2"], record_no=2)

    async def test_two_writers_make_one_chain(self, driver_factory: DriverFactory) -> None:
        """Two workers take a thread from each other again and again, and each goes on writing
        after it has lost it: one chain comes of it, in the order of the epochs."""
        driver, lease_s = await driver_factory(), self.short_lease_s
        key, written = thread_key(), []
        former = await take(driver, key, ALICE, lease_ttl_s=lease_s)
        for turn in range(6):
            former.lease_ttl_s = lease_s
            piece = former.slice(checkpoint(b"%d" % turn))
            if turn % 3:  # the owner is quicker than whoever takes over
                assert isinstance(await former.send(piece), Committed)
                former.advance(piece)
                written.append(b"%d" % turn)
                piece = former.slice(checkpoint(b"lost"))
            await self.outlive_lease()
            by = BOB if turn % 2 == 0 else ALICE
            latter = await take(driver, key, by, lease_ttl_s=lease_s)
            assert latter.epoch == former.epoch + 1
            assert isinstance(await former.send(piece), Stale)
            former = latter
        rows = (await loaded(driver, key)).rows
        assert bodies(rows) == written
        assert seqs(rows) == list(range(1, len(written) + 1))
        epochs = [row.epoch for row in rows]
        assert epochs == sorted(epochs)

    async def test_a_graph_survives_kills(self, driver_factory: DriverFactory) -> None:
        """Processes that run a graph on this driver are killed at awaits of all kinds; others
        take over, and nothing that was durable is lost or done twice."""
        driver = await driver_factory()
        saver, graph = _graph(driver)
        try:
            reports = await crash_everywhere(
                graph, {"n": 0}, {"configurable": {"thread_id": "run"}}, every=_KILLS_APART
            )
        finally:
            await saver.aclose()
            await driver.open()
        assert [report.to_dict() for report in reports if not report.ok] == []
        assert len(reports) >= 5
        assert reports[0].expected == _EXPECTED

"""The driver contract: what a database counts, and what it says of itself."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

from stepwell.checkpoint.driver import Driver, Tally, TallyQuery, ThreadStatus
from stepwell.testing._contract_base import ContractBase, DriverFactory
from stepwell.testing._rows import (
    change,
    checkpoint,
    claim_request,
    run_row,
    take,
    thread_key,
    thread_row,
    worker,
)

ALICE = worker("alice")


async def made(
    driver: Driver, name: str, status: ThreadStatus, graph: str | None, length: int, scope: str = ""
) -> None:
    """A thread with `length` checkpoints of 10 bytes each, two runs and one question."""
    alice = await take(driver, thread_key(name, scope), ALICE)
    for _ in range(length):
        await alice.append(checkpoint(b"x" * 10))
    told = change(status, graph=graph, interrupts=1)
    await alice.append(runs=[run_row(1), run_row(2)], change=told, let_go=True)


async def counted(driver: Driver, query: TallyQuery) -> dict[tuple[str | None, int], Tally]:
    """The tallies of a query that asks for no spans, by graph and status."""
    found = await driver.tally(query)
    assert all(tally.span == 0 for tally in found)
    by_group = {(tally.graph, tally.status): tally for tally in found}
    assert len(by_group) == len(found)
    return by_group


class FiguresContract(ContractBase):
    """tally, vitals."""

    async def test_threads_are_counted_by_graph_and_status(
        self, driver_factory: DriverFactory
    ) -> None:
        """Each group once, with the sums of its rows; graphs are whole values, or none."""
        driver = await driver_factory()
        cases = [
            ("t1", ThreadStatus.DONE, "g", 3), ("t2", ThreadStatus.DONE, "g", 4),
            ("t3", ThreadStatus.FAILED, "g", 1), ("t4", ThreadStatus.DONE, "g%", 1),
            ("t5", ThreadStatus.DONE, "G\0'\"<", 1), ("t6", ThreadStatus.IDLE, None, 1),
        ]  # fmt: skip
        for name, status, graph, length in cases:
            await made(driver, name, status, graph, length)
        await made(driver, "t1", ThreadStatus.DONE, "g", 9, scope="another")
        await driver.claim([claim_request(thread_key("t7"), ALICE)])
        found = await counted(driver, TallyQuery())
        rows = {name: await thread_row(driver, thread_key(name)) for name, *_ in cases}
        assert {group: tally.threads for group, tally in found.items()} == {
            ("g", ThreadStatus.DONE): 2, ("g", ThreadStatus.FAILED): 1,
            ("g%", ThreadStatus.DONE): 1, ("G\0'\"<", ThreadStatus.DONE): 1,
            (None, ThreadStatus.IDLE): 2,
        }  # fmt: skip
        first, second = rows["t1"], rows["t2"]
        tally = found["g", ThreadStatus.DONE]
        assert tally == Tally(
            "g", ThreadStatus.DONE, 0, threads=2, runs=4, checkpoints=7,
            bytes=first.bytes + second.bytes, interrupts=2,
            created_first=min(first.created_at, second.created_at),
            updated_last=max(first.updated_at, second.updated_at),
        )  # fmt: skip
        assert tally.bytes >= 70
        assert all(isinstance(number, int) for number in tally[2:8])
        assert list(await counted(driver, TallyQuery("another"))) == [("g", ThreadStatus.DONE)]
        assert await driver.tally(TallyQuery("none")) == []

    async def test_threads_are_counted_by_when_they_were_made(
        self, driver_factory: DriverFactory
    ) -> None:
        """Spans are counted from 1970; those not written since are left out if that is asked."""
        driver = await driver_factory()
        for name in ("a", "b", "c"):
            await made(driver, name, ThreadStatus.DONE, "g", 1)
            await self.pass_time(0.02)
        rows = [await thread_row(driver, thread_key(name)) for name in ("a", "b", "c")]
        width = 0.001
        expected: dict[int, int] = {}
        for row in rows:
            span = int(row.created_at // width)
            expected[span] = expected.get(span, 0) + 1
        found = await driver.tally(TallyQuery(width_s=width))
        assert {tally.span: tally.threads for tally in found} == expected
        [whole] = await driver.tally(TallyQuery(width_s=1e10))
        assert (whole.span, whole.threads) == (0, 3)
        later = TallyQuery(updated_since=rows[1].updated_at)
        assert [tally.threads for tally in await driver.tally(later)] == [2]
        after = TallyQuery(updated_since=rows[2].updated_at + 0.001)
        assert await driver.tally(after) == []

    async def test_a_database_says_how_it_is(self, driver_factory: DriverFactory) -> None:
        """Its schema is the one that is needed; it grows by what is written."""
        driver = await driver_factory()
        before = await driver.vitals()
        assert before.schema_version == before.schema_needed
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"x" * 1_000_000), let_go=True)
        after = await driver.vitals()
        if before.bytes is not None:
            assert after.bytes is not None
            assert after.bytes >= before.bytes + 900_000  # pages that were free are used again
        if after.disk_free_bytes is not None:
            assert after.disk_free_bytes > 0

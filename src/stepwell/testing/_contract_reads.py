"""The driver contract: chains and histories."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

import asyncio

import pytest

from stepwell.checkpoint.driver import (
    Committed,
    Driver,
    LoadRequest,
    RunStatus,
    ThreadStatus,
)
from stepwell.testing._contract_base import ContractBase, DriverFactory
from stepwell.testing._rows import (
    bodies,
    change,
    checkpoint,
    comparable,
    head_of,
    loaded,
    pending,
    run_row,
    seqs,
    take,
    thread_key,
    thread_row,
    worker,
)

ALICE, BOB = worker("alice"), worker("bob")


async def fork_of_forks(driver: Driver) -> None:
    """Build one namespace: 1-2-3, 4-5 from 2, 6 from 4, 7 from 3, 8-9 from nothing."""
    alice = await take(driver, thread_key(), ALICE)
    parents = (None, None, None, 2, None, 4, 3, 0, None)
    for seq, parent in enumerate(parents, 1):
        await alice.append(checkpoint(b"%d" % seq, parent=parent), pending(f"t{seq}"))


class ReadContract(ContractBase):
    """Chains and histories."""

    async def test_unknown_names_load_as_nothing(self, driver_factory: DriverFactory) -> None:
        """No thread: no row. No namespace, no seq: the row, and empty chains."""
        driver = await driver_factory()
        nothing = await loaded(driver, thread_key())
        assert nothing.thread is None
        assert (list(nothing.rows), list(nothing.writes), dict(nothing.runs)) == ([], [], {})
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(), pending())
        for ns_name, seq in (("sub", None), ("sub", 1), ("", 2), ("", 0), ("", 10**6)):
            answer = await loaded(driver, thread_key(), ns_name=ns_name, seq=seq)
            assert answer.thread is not None
            assert (list(answer.rows), list(answer.writes)) == ([], [])
        assert (await loaded(driver, thread_key("thread-1", "scope"))).thread is None

    @pytest.mark.parametrize(
        ("seq", "chain"),
        [
            (1, [1]),
            (3, [1, 2, 3]),
            (4, [1, 2, 4]),
            (5, [1, 2, 4, 5]),
            (6, [1, 2, 4, 6]),
            (7, [1, 2, 3, 7]),
            (8, [8]),
            (9, [8, 9]),
            (None, [8, 9]),
        ],
    )
    async def test_a_chain_holds_the_ancestors_only(
        self, driver_factory: DriverFactory, seq: int | None, chain: list[int]
    ) -> None:
        """Over forks of forks and a new root, a load returns the ancestors, oldest first."""
        driver = await driver_factory()
        await fork_of_forks(driver)
        answer = await loaded(driver, thread_key(), seq=seq)
        assert seqs(answer.rows) == chain
        assert bodies(answer.rows) == [b"%d" % n for n in chain]
        assert [row.task_path for row in answer.writes] == [f"t{chain[-1]}"]

    async def test_namespaces_do_not_mix(self, driver_factory: DriverFactory) -> None:
        """Namespaces with related names have their own seqs, chains and writes."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        names = ["a", "ab", "a|b", "a|b:1", "a%", "a_", "A", "a|b:1|c", "\u00e9|'\""]
        await alice.append(
            checkpoint(b"root"),
            *(checkpoint(name.encode(), ns=no) for no, name in enumerate(names, 1)),
            *(pending(name, ns=no) for no, name in enumerate(names, 1)),
            namespaces=list(enumerate(names, 1)),
        )
        await alice.append(checkpoint(b"2nd", ns=3), checkpoint(b"fork", ns=3, parent=0))
        for no, name in enumerate(names, 1):
            answer = await loaded(driver, thread_key(), ns_name=name, seq=1)
            assert answer.ns == no
            assert bodies(answer.rows) == [name.encode()]
            assert [row.task_path for row in answer.writes] == [name]
            page = await driver.history(thread_key(), name, None)
            assert page.ns == no
            assert len(page.rows) == (3 if no == 3 else 1)
            assert {row.ns for row in page.rows} == {no}
        assert bodies((await loaded(driver, thread_key())).rows) == [b"root"]
        row = await thread_row(driver, thread_key())
        assert {name: head_of(row, name) for name in names} == {
            name: 3 if name == "a|b" else 1 for name in names
        }

    async def test_writes_are_those_of_the_checkpoint(self, driver_factory: DriverFactory) -> None:
        """Pending writes come with the checkpoint they are filed under, by (record_no, idx)."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(), pending("z"), pending("a", idx=-1), pending("a", idx=0))
        same = alice.slice(pending("m", idx=0), pending("m", idx=-3), checkpoint(), pending("x"))
        no = same.writes[0].record_no
        first = [row._replace(record_no=no) for row in same.writes[:2]]
        same = same._replace(writes=[*first, same.writes[2]])
        assert await alice.send(same) == Committed(same.record_no_after)
        writes = (await loaded(driver, thread_key(), seq=1)).writes
        assert [(row.task_path, row.idx) for row in writes] == [
            ("z", 0), ("a", -1), ("a", 0), ("m", -3), ("m", 0),
        ]  # fmt: skip
        assert [row.task_path for row in (await loaded(driver, thread_key())).writes] == ["x"]

    async def test_writes_may_come_before_any_checkpoint(
        self, driver_factory: DriverFactory
    ) -> None:
        """What is filed under "no checkpoint yet" is read with that place, and with no other."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(pending("early", b"first"))
        for seq in (None, 0):
            answer = await loaded(driver, thread_key(), seq=seq)
            assert (bodies(answer.rows), bodies(answer.writes)) == ([], [b"first"])
        page = await driver.history(thread_key(), "", None)
        assert bodies(page.writes) == [b"first"]
        await alice.append(checkpoint(), pending("later", b"second"))
        assert bodies((await loaded(driver, thread_key())).writes) == [b"second"]
        assert bodies((await loaded(driver, thread_key(), seq=0)).writes) == [b"first"]

    async def test_runs_come_with_their_rows(self, driver_factory: DriverFactory) -> None:
        """A load names every run of its rows, and the newest run of the thread."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(run=1), runs=[run_row(1, metadata=b"m1")])
        await alice.append(checkpoint(run=2), runs=[run_row(2)], change=change(run=2))
        await alice.append(checkpoint(run=3, parent=1), runs=[run_row(3)], change=change(run=3))
        await alice.append(runs=[run_row(4)], change=change(run=4))
        answer = await loaded(driver, thread_key())
        assert {1, 3, 4} <= set(answer.runs)
        assert comparable(answer.runs[1]) == comparable(run_row(1, metadata=b"m1"))
        assert answer.runs[4].run == 4
        page = await driver.history(thread_key(), "", None)
        assert {1, 2, 3} <= set(page.runs)

    async def test_loads_answer_in_order(self, driver_factory: DriverFactory) -> None:
        """One call loads many chains, the same thread twice too, each in its place."""
        driver = await driver_factory()
        for name in ("b", "a"):
            alice = await take(driver, thread_key(name), ALICE)
            await alice.append(checkpoint(f"{name}1".encode()), checkpoint(f"{name}2".encode()))
        answers = await driver.load(
            [
                LoadRequest(thread_key("a")),
                LoadRequest(thread_key("none")),
                LoadRequest(thread_key("b"), seq=1),
                LoadRequest(thread_key("a"), seq=1),
            ]
        )
        found = [bodies(answer.rows) for answer in answers]
        assert found == [[b"a1", b"a2"], [], [b"b1"], [b"a1"]]

    async def test_a_load_is_a_snapshot(self, driver_factory: DriverFactory) -> None:
        """What was read does not change when the thread goes on."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"1", run=1), pending("a"), runs=[run_row(1)])
        answer = await loaded(driver, thread_key())
        page = await driver.history(thread_key(), "", None)
        await alice.append(
            checkpoint(b"2"), pending("b", seq=1), drop=[(0, 1)],
            runs=[run_row(1, status=RunStatus.DONE)], change=change(ThreadStatus.DONE, run=1),
        )  # fmt: skip
        for seen in (answer, page):
            assert seen.thread is not None
            assert (seen.thread.record_no, seen.thread.status) == (2, ThreadStatus.IDLE)
            assert dict(seen.thread.namespaces) == {0: ("", 1)}
            assert bodies(seen.rows) == [b"1"]
            assert [row.task_path for row in seen.writes] == ["a"]
            assert seen.runs[1].status == RunStatus.RUNNING

    async def test_reads_under_writing_are_snapshots(self, driver_factory: DriverFactory) -> None:
        """While a thread is written, every read shows one moment: head, rows, writes agree."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        await alice.append(checkpoint(), pending("t1"))
        moments: set[int] = set()

        async def write() -> None:
            for seq in range(2, 500):
                await alice.append(checkpoint(), pending(f"t{seq}"), drop=[(0, seq - 1)])
                await asyncio.sleep(0)
                if len(moments) >= 5:
                    return

        async def read() -> None:
            while not writer.done():
                answer = await loaded(two, thread_key())
                page = await two.history(thread_key(), "", None)
                for seen in (answer, page):
                    assert seen.thread is not None
                    head = head_of(seen.thread)
                    assert seen.thread.record_no == 2 * head
                    assert seqs(seen.rows) == list(range(1, head + 1))
                    assert [row.task_path for row in seen.writes] == [f"t{head}"]
                    moments.add(head)
                await asyncio.sleep(0)

        writer = asyncio.ensure_future(write())
        try:
            await asyncio.gather(writer, read())
        finally:
            writer.cancel()
        assert len(moments) >= 5

    async def test_history_holds_every_branch(self, driver_factory: DriverFactory) -> None:
        """All rows up to a seq, over all branches, with the writes filed under them."""
        driver = await driver_factory()
        await fork_of_forks(driver)
        for upto, count in ((None, 9), (9, 9), (100, 9), (5, 5), (1, 1), (0, 0)):
            page = await driver.history(thread_key(), "", upto)
            assert page.thread is not None
            assert seqs(page.rows) == list(range(1, count + 1))
            assert sorted(row.task_path for row in page.writes) == [
                f"t{seq}" for seq in range(1, count + 1)
            ]
        parents = [row.parent for row in (await driver.history(thread_key(), "", None)).rows]
        assert parents[:1] + parents[3:] == [None, 2, None, 4, 3, 0, None]
        for key, ns_name in ((thread_key(), "sub"), (thread_key("other"), "")):
            page = await driver.history(key, ns_name, None)
            assert (page.thread is None, list(page.rows)) == (key != thread_key(), [])

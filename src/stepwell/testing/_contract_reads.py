"""The driver contract: chains, histories, listings."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest

from stepwell.checkpoint.driver import (
    ClaimRequest,
    Committed,
    Driver,
    LoadRequest,
    RunStatus,
    ThreadKey,
    ThreadQuery,
    ThreadRow,
    ThreadStatus,
)
from stepwell.testing._contract_base import ContractBase, DriverFactory
from stepwell.testing._rows import (
    bodies,
    change,
    checkpoint,
    claim_request,
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

HOSTILE_TEXTS = (
    "'", '"', "''; --", "%", "_", "\\", "a%", "a_", "ab", "a\\", "\\x00", "${x}", "$1", ":x", "?",
    "\u00e9", "e\u0301", "\U0001f600", "\u202e", " ", " a", "a ", "A", "a\n", "NULL", "0", "00",
    "x" * 512, "\U0001f600" * 128,
)  # fmt: skip
"""Names that must be told apart as they are: never patterns, never SQL, never normalised."""


async def fork_of_forks(driver: Driver) -> None:
    """Build one namespace: 1-2-3, 4-5 from 2, 6 from 4, 7 from 3, 8-9 from nothing."""
    alice = await take(driver, thread_key(), ALICE)
    parents = (None, None, None, 2, None, 4, 3, 0, None)
    for seq, parent in enumerate(parents, 1):
        await alice.append(checkpoint(b"%d" % seq, parent=parent), pending(f"t{seq}"))


def claim_by_alice(key: ThreadKey) -> ClaimRequest:
    """A claim of `key`, as part of a batch."""
    return claim_request(key, ALICE)


async def paged(driver: Driver, query: ThreadQuery) -> list[Sequence[ThreadRow]]:
    """Every page of `query`, each asked for with the cursor of the item before it."""
    pages: list[Sequence[ThreadRow]] = []
    while page := await driver.threads(query):
        pages.append(page)
        query = query._replace(after=place(page[-1], query.order))
    return pages


def place(row: ThreadRow, order: str) -> tuple[float, str]:
    """The cursor of a row: its place in the order."""
    value = {"updated": row.updated_at, "created": row.created_at, "thread_id": 0.0}[order]
    return value, row.key.thread_id


class ReadContract(ContractBase):
    """load, history, threads, runs."""

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
        same.writes = [row._replace(record_no=no) for row in same.writes[:2]] + [same.writes[2]]
        assert await alice.send(same) == Committed(same.record_no_after)
        writes = (await loaded(driver, thread_key(), seq=1)).writes
        assert [(row.task_path, row.idx) for row in writes] == [
            ("z", 0), ("a", -1), ("a", 0), ("m", -3), ("m", 0),
        ]  # fmt: skip
        assert [row.task_path for row in (await loaded(driver, thread_key())).writes] == ["x"]

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

    @pytest.mark.parametrize("descending", [True, False])
    @pytest.mark.parametrize("order", ["updated", "created", "thread_id"])
    async def test_pages_visit_every_thread_once(
        self,
        driver_factory: DriverFactory,
        order: Literal["updated", "created", "thread_id"],
        descending: bool,
    ) -> None:
        """Seven threads, two a page: each is seen once, in order, with no thread of others."""
        driver = await driver_factory()
        names = ["d", "b", "\u00e9", "a", "B", "c", "\U0001f600"]
        await driver.claim(
            [claim_by_alice(thread_key(name)) for name in names[:5]]
            + [claim_by_alice(thread_key("x", "another scope"))]
        )
        await self.pass_time(0.01)
        await driver.claim([claim_by_alice(thread_key(name)) for name in names[5:]])
        for name in ("a", "c", "d"):
            await (await take(driver, thread_key(name), ALICE)).append(checkpoint())
        pages = await paged(driver, ThreadQuery(order=order, descending=descending, limit=2))
        assert [len(page) for page in pages] == [2, 2, 2, 1]
        rows = [row for page in pages for row in page]
        assert sorted(row.key.thread_id for row in rows) == sorted(names)
        places = [place(row, order) for row in rows]
        assert places == sorted(places, reverse=descending)

    async def test_threads_are_filtered(self, driver_factory: DriverFactory) -> None:
        """Filters by status, graph and update time hold alone and together, over pages."""
        driver = await driver_factory()
        cases = [
            ("t1", ThreadStatus.DONE, "g"), ("t2", ThreadStatus.FAILED, "g"),
            ("t3", ThreadStatus.DONE, "g%"), ("t4", ThreadStatus.IDLE, None),
            ("t5", ThreadStatus.DONE, "g"), ("t6", ThreadStatus.RUNNING, "G"),
        ]  # fmt: skip
        for name, status, graph in cases:
            alice = await take(driver, thread_key(name), ALICE)
            await alice.append(checkpoint(), change=change(status, graph=graph))
            await self.pass_time(0.005)
        stamp = {
            name: (await thread_row(driver, thread_key(name))).updated_at for name, *_ in cases
        }
        middle = (stamp["t3"] + stamp["t4"]) / 2

        async def names(query: ThreadQuery) -> list[str]:
            pages = await paged(
                driver, query._replace(order="thread_id", descending=False, limit=1)
            )
            return [row.key.thread_id for page in pages for row in page]

        assert await names(ThreadQuery(status=ThreadStatus.DONE)) == ["t1", "t3", "t5"]
        assert await names(ThreadQuery(status=ThreadStatus.IDLE)) == ["t4"]
        assert await names(ThreadQuery(graph="g")) == ["t1", "t2", "t5"]
        assert await names(ThreadQuery(graph="g", status=ThreadStatus.DONE)) == ["t1", "t5"]
        assert await names(ThreadQuery(updated_before=middle)) == ["t1", "t2", "t3"]
        assert await names(ThreadQuery(updated_after=middle)) == ["t4", "t5", "t6"]
        both = ThreadQuery(updated_after=middle, status=ThreadStatus.DONE, graph="g")
        assert await names(both) == ["t5"]
        assert await names(ThreadQuery(status=ThreadStatus.INTERRUPTED)) == []

    async def test_a_listed_thread_is_the_row(self, driver_factory: DriverFactory) -> None:
        """A listing shows the same columns as a load."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(
            checkpoint(run=1), runs=[run_row(1)], let_go=True,
            change=change(ThreadStatus.FAILED, run=1, graph="g", next_nodes='["n"]', error="e"),
        )  # fmt: skip
        [row] = await driver.threads(ThreadQuery())
        assert row.namespaces[0] == ("", 1)
        whole = await thread_row(driver, thread_key())
        assert row._replace(namespaces={}) == whole._replace(namespaces={})

    async def test_scopes_are_whole_values(self, driver_factory: DriverFactory) -> None:
        """One thread_id in many scopes is many threads; no scope matches another's rows."""
        driver = await driver_factory()
        scopes = [
            "",
            "a",
            "ab",
            "a%",
            "%",
            "_",
            "a_",
            "A",
            "'",
            '"',
            "\\",
            "a' OR '1'='1",
            "\u00e9",
        ]
        for scope in scopes:
            alice = await take(driver, thread_key("t", scope), ALICE)
            await alice.append(checkpoint(scope.encode()), runs=[run_row(1, run_id=f"r{scope}")])
        for scope in scopes:
            key = thread_key("t", scope)
            assert bodies((await loaded(driver, key)).rows) == [scope.encode()]
            [row] = await driver.threads(ThreadQuery(scope=scope))
            assert row.key == key
            assert [run.run_id for run in await driver.runs(key)] == [f"r{scope}"]
        assert await driver.threads(ThreadQuery(scope="b")) == []

    async def test_scope_and_id_are_two_values(self, driver_factory: DriverFactory) -> None:
        """A scope and an id that look alike when joined name different threads."""
        driver = await driver_factory()
        pairs = [("a", "bc"), ("ab", "c"), ("", "abc"), ("a|b", "c"), ("a", "b|c"), ("a|", "b|c")]
        keys = [ThreadKey(*pair) for pair in pairs]
        for key in keys:
            alice = await take(driver, key, ALICE)
            await alice.append(checkpoint(repr(key).encode()))
        for key in keys:
            assert bodies((await loaded(driver, key)).rows) == [repr(key).encode()]

    async def test_hostile_ids_are_names(self, driver_factory: DriverFactory) -> None:
        """Quotes, wildcards, escapes, emoji, 512 bytes: every thread id is only itself."""
        driver = await driver_factory()
        for text in HOSTILE_TEXTS:
            alice = await take(driver, thread_key(text), ALICE)
            await alice.append(checkpoint(text.encode()), let_go=True)
        for text in HOSTILE_TEXTS:
            answer = await loaded(driver, thread_key(text))
            assert answer.thread is not None
            assert answer.thread.key == thread_key(text)
            assert bodies(answer.rows) == [text.encode()]
        listed = await driver.threads(ThreadQuery(order="thread_id", descending=False))
        assert [row.key.thread_id for row in listed] == sorted(HOSTILE_TEXTS)
        victim = await take(driver, thread_key("%"), BOB)
        assert await driver.delete(victim.held, BOB)
        assert len(await driver.threads(ThreadQuery())) == len(HOSTILE_TEXTS) - 1

    async def test_runs_are_paged_newest_first(self, driver_factory: DriverFactory) -> None:
        """Seven runs, three a page: 7 6 5, 4 3 2, 1; another thread's runs are not shown."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(runs=[run_row(n) for n in range(1, 8)])
        bob = await take(driver, thread_key("other"), BOB)
        await bob.append(runs=[run_row(1), run_row(2)])
        seen: list[list[int]] = []
        after: int | None = None
        while page := await driver.runs(thread_key(), after=after, limit=3):
            seen.append([run.run for run in page])
            after = page[-1].run
        assert seen == [[7, 6, 5], [4, 3, 2], [1]]
        assert await driver.runs(thread_key("none")) == []

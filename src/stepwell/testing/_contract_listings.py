"""The driver contract: listings, and names that must be told apart."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest

from stepwell.checkpoint.driver import (
    Driver,
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
    loaded,
    run_row,
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


_PAGES_MAX = 100


async def paged(driver: Driver, query: ThreadQuery) -> list[Sequence[ThreadRow]]:
    """Every page of `query`, each asked for with the cursor of the item before it."""
    pages: list[Sequence[ThreadRow]] = []
    while page := await driver.threads(query):
        pages.append(page)
        if len(pages) > _PAGES_MAX:
            raise AssertionError("the listing does not end: its cursor does not move on")
        query = query._replace(after=place(page[-1], query.order))
    return pages


def place(row: ThreadRow, order: str) -> tuple[float, str]:
    """The cursor of a row: its place in the order."""
    value = {"updated": row.updated_at, "created": row.created_at, "thread_id": 0.0}[order]
    return value, row.key.thread_id


class ListingContract(ContractBase):
    """threads, runs, scopes, hostile names."""

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            ('{"team":"docs"}', ["a", "b"]),
            ('{"team":"docs","n":1}', ["a"]),
            ('{"n":1.0}', ["a", "c"]),
            ('{"n":true}', ["d"]),
            ('{"n":"1"}', []),
            ('{"team":null}', ["e"]),
            ('{"other":null}', []),
            ('{"it\'s \\"%_$.[0]":"\u00e9"}', ["e"]),
        ],
    )
    async def test_threads_are_found_by_their_metadata(
        self, driver_factory: DriverFactory, wanted: str, expected: list[str]
    ) -> None:
        """That of the newest run that has any: all keys asked for, with equal values; pages are
        full of threads that match."""
        driver = await driver_factory()
        described: dict[str, list[str | None]] = {
            "a": ['{"team":"old"}', '{"team":"docs","n":1}', None],
            "b": ['{"team":"docs","n":2}'],
            "c": ['{"team":"docs"}', '{"n":1}'],
            "d": ['{"n":true}', None, None],
            "e": ['{"team":null,"it\'s \\"%_$.[0]":"\u00e9"}'],
            "f": [None],
            "g": [],
        }
        for name, indexes in described.items():
            alice = await take(driver, thread_key(name), ALICE)
            await alice.append(checkpoint())
            for run, index in enumerate(indexes, 1):
                metadata = None if index is None else index.encode()
                row = run_row(run, metadata=metadata, meta_index=index)
                await alice.append(runs=[row], change=change(run=run))
            await alice.append(change=change(run=0))
        query = ThreadQuery(order="thread_id", descending=False, limit=2, metadata=wanted)
        pages = await paged(driver, query)
        assert [row.key.thread_id for page in pages for row in page] == expected
        assert [len(page) for page in pages[:-1]] == [2] * (len(pages) - 1)
        found = await driver.described([thread_key(name) for name in (*described, "none")])
        assert [run and run.metadata for run in found] == [
            next((i.encode() for i in reversed(indexes) if i), None)
            for indexes in described.values()
        ] + [None]

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
        keys = [thread_key("x", "another scope"), *map(thread_key, names)]
        await driver.claim([claim_request(key, ALICE) for key in keys[:6]])
        await self.pass_time(0.01)
        await driver.claim([claim_request(key, ALICE) for key in keys[6:]])
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
            listed = await driver.threads(ThreadQuery(scope=scope))
            assert [row.key for row in listed] == [key]
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

    async def test_runs_are_found_by_their_numbers(self, driver_factory: DriverFactory) -> None:
        """Of many threads at once, in the order asked, twice if asked twice; what is not there is
        None; scopes are told apart."""
        driver = await driver_factory()
        first, second, other = thread_key("a"), thread_key("b"), thread_key("a", "scope")
        for key, count in ((first, 3), (second, 1), (other, 1)):
            alice = await take(driver, key, ALICE)
            rows = [run_row(n, run_id=f"{key} {n}") for n in range(1, count + 1)]
            await alice.append(runs=rows)
        asked = [
            (second, 1), (first, 3), (first, 1), (first, 4), (first, 0), (thread_key("none"), 1),
            (first, 3), (other, 1), (other, 2),
        ]  # fmt: skip
        found = await driver.runs_numbered(asked)
        there = [True, True, True, False, False, False, True, True, False]
        assert [run and run.run_id for run in found] == [
            f"{key} {number}" if known else None
            for (key, number), known in zip(asked, there, strict=True)
        ]
        [newest] = await driver.runs(first, limit=1)
        assert found[1] == newest
        assert await driver.runs_numbered([]) == []

    async def test_a_run_is_found_by_its_idempotency_key(
        self, driver_factory: DriverFactory
    ) -> None:
        """Keys are whole values of one thread, whatever they are made of; a run row written
        again is found as it is now."""
        driver = await driver_factory()
        keys = ["k", "K", "k%", "'", "\u00e9", "x" * 3000]
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(
            runs=[run_row(n, idempotency_key=name) for n, name in enumerate(keys, 1)]
            + [run_row(len(keys) + 1)]
        )
        bob = await take(driver, thread_key("other"), BOB)
        await bob.append(runs=[run_row(1, idempotency_key="k", run_id="of another thread")])
        for n, name in enumerate(keys, 1):
            found = await driver.keyed_run(thread_key(), name)
            assert found is not None
            assert (found.run, found.idempotency_key) == (n, name)
        assert await driver.keyed_run(thread_key(), "x" * 2999) is None
        assert await driver.keyed_run(thread_key("none"), "k") is None
        [*_, first] = await driver.runs(thread_key())
        await alice.append(
            runs=[first._replace(status=int(RunStatus.DONE), outcome=b"o", input=b"i")]
        )
        found = await driver.keyed_run(thread_key(), "k")
        assert found is not None
        assert (found.status, found.outcome, found.input) == (RunStatus.DONE, b"o", b"i")

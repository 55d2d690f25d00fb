"""The driver contract: threads with more namespaces than a read shows."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

from stepwell.checkpoint.driver import NAMESPACES_MAX, Committed, Driver, ThreadRow
from stepwell.errors import StorageError
from stepwell.testing._contract_base import ContractBase, DriverFactory
from stepwell.testing._rows import (
    Writer,
    bodies,
    checkpoint,
    loaded,
    pending,
    take,
    thread_key,
    worker,
)

ALICE, BOB = worker("alice"), worker("bob")
MANY = NAMESPACES_MAX + 36
NEWEST = range(MANY, MANY - NAMESPACES_MAX, -1)


async def with_many_namespaces(driver: Driver) -> Writer:
    """A thread with namespaces n1, n2 ..., each with a checkpoint and a pending write."""
    alice = await take(driver, thread_key(), ALICE)
    await alice.append(checkpoint(b"root"))
    for first in (1, 1 + MANY // 2):
        made = range(first, first + MANY // 2)
        await alice.append(
            *(checkpoint(b"%d" % no, ns=no) for no in made),
            *(pending(f"t{no}", ns=no) for no in made),
            namespaces=[(no, f"n{no}") for no in made],
        )
    return alice


def numbers(row: ThreadRow | None) -> list[int]:
    """The numbers of the namespaces that a thread row shows."""
    assert row is not None
    for number, (name, head) in row.namespaces.items():
        assert (name, head) == (f"n{number}" if number else "", 1)
    return sorted(row.namespaces)


class NamespaceContract(ContractBase):
    """Bounded listings, the namespace asked for, numbers, pages."""

    async def test_reads_show_the_newest_namespaces(self, driver_factory: DriverFactory) -> None:
        """Of many namespaces a load, a history and a claim show the root, the newest
        NAMESPACES_MAX and the one asked for, and say that there are more."""
        driver = await driver_factory()
        alice = await with_many_namespaces(driver)
        for name, more in (("", []), ("n2", [2]), (f"n{MANY}", []), ("none", [])):
            expected = sorted([0, *more, *NEWEST])
            answer = await loaded(driver, thread_key(), ns_name=name)
            assert answer.thread is not None
            assert answer.thread.more_namespaces
            assert numbers(answer.thread) == expected
            page = await driver.history(thread_key(), name, None)
            assert numbers(page.thread) == expected
            await alice.release()
            alice = await take(driver, thread_key(), ALICE, load_ns=name)
            assert numbers(alice.claim.loaded.thread) == expected

    async def test_few_namespaces_are_all_shown(self, driver_factory: DriverFactory) -> None:
        """As many namespaces as a read shows at most are all there is, and it says so."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        made = range(1, NAMESPACES_MAX + 1)
        await alice.append(
            checkpoint(), *(checkpoint(ns=no) for no in made),
            namespaces=[(no, f"n{no}") for no in made],
        )  # fmt: skip
        row = (await loaded(driver, thread_key())).thread
        assert row is not None
        assert not row.more_namespaces
        assert numbers(row) == [0, *made]

    async def test_an_old_namespace_is_read_whole(self, driver_factory: DriverFactory) -> None:
        """A namespace that is not among the newest has its chain, its history, its writes; a
        claim that asked for it goes on writing it."""
        driver = await driver_factory()
        await (await with_many_namespaces(driver)).release()
        bob = await take(driver, thread_key(), BOB, load_ns="n7")
        assert bodies(bob.claim.loaded.rows) == [b"7"]
        await bob.append(checkpoint(b"next", ns=7), checkpoint(b"last", ns=7, parent=1))
        answer = await loaded(driver, thread_key(), ns_name="n7")
        assert (answer.ns, bodies(answer.rows)) == (7, [b"7", b"last"])
        answer = await loaded(driver, thread_key(), ns_name="n7", seq=1)
        assert [row.task_path for row in answer.writes] == ["t7"]
        page = await driver.history(thread_key(), "n7", None)
        assert bodies(page.rows) == [b"7", b"next", b"last"]

    async def test_new_namespaces_get_free_numbers(self, driver_factory: DriverFactory) -> None:
        """The highest number is always shown: what the next owner counts up from it is free,
        and what was there stays."""
        driver = await driver_factory()
        await (await with_many_namespaces(driver)).release()
        bob = await take(driver, thread_key(), BOB)
        fresh = max(numbers(bob.claim.loaded.thread)) + 1
        await bob.append(checkpoint(b"new", ns=fresh), namespaces=[(fresh, "new")])
        for name, body in (("n1", b"1"), (f"n{MANY}", b"%d" % MANY), ("new", b"new")):
            assert bodies((await loaded(driver, thread_key(), ns_name=name)).rows) == [body]

    async def test_a_name_is_given_once(self, driver_factory: DriverFactory) -> None:
        """A second namespace of the same name is a broken invariant: nothing of it is written,
        however old the first one is."""
        driver = await driver_factory()
        await (await with_many_namespaces(driver)).release()
        bob = await take(driver, thread_key(), BOB)
        piece = bob.slice(checkpoint(b"twin", ns=MANY + 1), namespaces=[(MANY + 1, "n3")])
        try:
            outcome = await bob.send(piece)
        except StorageError:
            outcome = None
        assert not isinstance(outcome, Committed)
        assert bodies((await loaded(driver, thread_key(), ns_name="n3")).rows) == [b"3"]

    async def test_namespaces_are_paged_newest_first(self, driver_factory: DriverFactory) -> None:
        """Every namespace but the root is seen once, by pages; no other thread's."""
        driver = await driver_factory()
        await with_many_namespaces(driver)
        other = await take(driver, thread_key("other"), BOB)
        await other.append(checkpoint(ns=1), namespaces=[(1, "other")])
        seen: list[tuple[int, str, int]] = []
        after: int | None = None
        while page := await driver.namespaces(thread_key(), after=after, limit=30):
            assert len(page) <= 30
            assert after is None or page[0][0] < after
            seen += page
            after = page[-1][0]
        assert seen == [(no, f"n{no}", 1) for no in range(MANY, 0, -1)]
        assert await driver.namespaces(thread_key("none")) == []

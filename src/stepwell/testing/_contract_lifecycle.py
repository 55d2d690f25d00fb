"""The driver contract: opening, closing, capabilities."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

import asyncio

from stepwell.checkpoint.driver import (
    Busy,
    Capability,
    Committed,
    Driver,
    Stale,
    ThreadQuery,
)
from stepwell.testing._contract_base import ContractBase, DriverFactory
from stepwell.testing._rows import (
    bodies,
    checkpoint,
    contest,
    loaded,
    pending,
    take,
    thread_key,
    thread_row,
    worker,
)

ALICE, BOB, CAROL = worker("alice"), worker("bob"), worker("carol")


class LifecycleContract(ContractBase):
    """open, close, migrate, and what the driver declares."""

    async def test_the_driver_is_what_it_declares(self, driver_factory: DriverFactory) -> None:
        """It has every verb and a name, and declares the capabilities the test class does."""
        driver = await driver_factory()
        assert isinstance(driver, Driver)
        assert driver.name
        assert isinstance(driver.capabilities, frozenset)
        assert driver.capabilities == self.capabilities

    async def test_drivers_share_a_database_if_they_may(
        self, driver_factory: DriverFactory
    ) -> None:
        """The factory keeps its side: own drivers on one database, or always the same one."""
        one, two = await self.drivers(driver_factory, 2)
        assert (one is not two) == (Capability.MANY_PROCESSES in self.capabilities)
        await take(one, thread_key(), ALICE)
        assert (await loaded(two, thread_key())).thread is not None

    async def test_a_test_begins_empty(self, driver_factory: DriverFactory) -> None:
        """The factory keeps its side: no thread is there when a test begins."""
        driver = await driver_factory()
        for scope in ("", "a", "another scope"):
            assert await driver.threads(ThreadQuery(scope=scope)) == []

    async def test_closed_and_opened_again(self, driver_factory: DriverFactory) -> None:
        """A driver closes twice without error, opens again, and works as before."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"1"), let_go=True)
        await driver.close()
        await driver.close()
        await driver.open()
        await driver.open()
        await driver.migrate("auto")
        bob = await take(driver, thread_key(), BOB)
        await bob.append(checkpoint(b"2"))
        kept = [b"1", b"2"] if self.survives_close else [b"2"]
        assert bodies((await loaded(driver, thread_key())).rows) == kept

    async def test_migrated_again(self, driver_factory: DriverFactory) -> None:
        """Migrating a current schema changes nothing; checking it passes."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"1"), pending())
        await asyncio.gather(driver.migrate("auto"), driver.migrate("auto"))
        await driver.migrate("check")
        await driver.migrate("off")
        await alice.append(checkpoint(b"2"))
        assert bodies((await loaded(driver, thread_key())).rows) == [b"1", b"2"]

    async def test_forgotten_then_opened(self, driver_factory: DriverFactory) -> None:
        """After `forget` (a fork, a dead loop) the driver opens new connections."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"1"), let_go=True)
        await driver.close()
        driver.forget()
        driver.forget()
        await driver.open()
        await driver.migrate("auto")
        await (await take(driver, thread_key(), BOB)).append(checkpoint(b"2"))

    # --- only for drivers that declare MANY_PROCESSES -----------------------------------------

    async def test_many_processes_see_each_other(self, driver_factory: DriverFactory) -> None:
        """What one driver acknowledged, the other reads at once, and goes on behind it."""
        self.needs(Capability.MANY_PROCESSES)
        one, two = await self.drivers(driver_factory, 2)
        for turn in range(1, 7):
            mine, theirs = (one, two) if turn % 2 else (two, one)
            writer = await take(mine, thread_key(), worker(f"w{turn % 2}"))
            assert writer.record_no == turn - 1
            await writer.append(checkpoint(b"%d" % turn), let_go=True)
            await mine.unlock([writer.held])
            assert (await thread_row(theirs, thread_key())).record_no == turn
            assert len((await loaded(theirs, thread_key())).rows) == turn

    async def test_many_processes_outlive_one(self, driver_factory: DriverFactory) -> None:
        """The end of one driver disturbs neither the other's claims nor its commits."""
        self.needs(Capability.MANY_PROCESSES)
        one, two = await self.drivers(driver_factory, 2)
        await take(one, thread_key("a"), ALICE)
        bob = await take(two, thread_key("b"), BOB)
        await self.kill(one)
        await bob.append(checkpoint(b"1"))
        three = await driver_factory()
        assert bodies((await loaded(three, thread_key("b"))).rows) == [b"1"]
        assert isinstance(await contest(three, thread_key("b"), CAROL), Busy)

    async def test_many_processes_migrate_at_once(self, driver_factory: DriverFactory) -> None:
        """Several drivers may migrate the same database at the same time."""
        self.needs(Capability.MANY_PROCESSES)
        drivers = await self.drivers(driver_factory, 4)
        await asyncio.gather(*(driver.migrate("auto") for driver in drivers))
        await (await take(drivers[3], thread_key(), ALICE)).append(checkpoint())

    async def test_a_takeover_races_a_commit(self, driver_factory: DriverFactory) -> None:
        """When an expired owner commits while another claims, one of them comes first: the
        record is in the claim's load, or the commit is stale; never both, never neither."""
        self.needs(Capability.MANY_PROCESSES)
        one, two = await self.drivers(driver_factory, 2)
        keys = [thread_key(f"t{n}") for n in range(12)]
        writers = [await take(one, key, ALICE, lease_ttl_s=self.short_lease_s) for key in keys]
        await self.outlive_lease()
        for n, writer in enumerate(writers):
            late_call = writer.send(writer.slice(checkpoint(b"late")))
            claim_call = contest(two, writer.key, BOB)
            if n % 2:
                late, claim = await asyncio.gather(late_call, claim_call)
            else:
                claim, late = await asyncio.gather(claim_call, late_call)
            rows = bodies((await loaded(two, writer.key)).rows)
            if isinstance(late, Stale):
                assert not isinstance(claim, Busy)
                assert (rows, claim.record_no) == ([], 0)
            else:
                assert late == Committed(1)
                assert rows == [b"late"]
                if not isinstance(claim, Busy):
                    assert claim.record_no == 1
                    assert bodies(claim.loaded.rows) == [b"late"]

    # --- only for drivers that declare ADVISORY_LOCKS -----------------------------------------

    async def test_a_living_owner_holds_its_lock(self, driver_factory: DriverFactory) -> None:
        """The lock of a living owner probes as held, and no suspicion passes it."""
        self.needs(Capability.ADVISORY_LOCKS)
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        assert alice.claim.lock_key is not None
        busy = await contest(two, thread_key(), BOB)
        assert isinstance(busy, Busy)
        assert busy.lock_free is False
        again = await contest(two, thread_key(), BOB, confirmed=(busy.epoch, busy.beat))
        assert isinstance(again, Busy)
        assert again.lock_free is False
        await alice.append(checkpoint())

    async def test_a_dead_owner_frees_its_lock(self, driver_factory: DriverFactory) -> None:
        """When the owner's process ends, its lock is free at once, under a live lease."""
        self.needs(Capability.ADVISORY_LOCKS)
        self.needs(Capability.MANY_PROCESSES)
        one, two = await self.drivers(driver_factory, 2)
        keys = [thread_key(f"t{n}") for n in range(3)]
        for key in keys:
            await take(one, key, ALICE)
        await self.kill(one)
        for key in keys:
            busy = await contest(two, key, BOB)
            assert isinstance(busy, Busy)
            assert (busy.owner, busy.lock_free) == (ALICE, True)
            assert busy.lease_left_s > 0
            bob = await take(two, key, BOB, confirmed=(busy.epoch, busy.beat))
            assert bob.claim.taken_over

    async def test_an_unlocked_claim_looks_dead(self, driver_factory: DriverFactory) -> None:
        """`unlock` gives back the lock of just the claims named, and nothing else."""
        self.needs(Capability.ADVISORY_LOCKS)
        one, two = await self.drivers(driver_factory, 2)
        first = await take(one, thread_key("a"), ALICE)
        await take(one, thread_key("b"), ALICE)
        await one.unlock([first.held])
        free: list[bool | None] = []
        for name in ("a", "b"):
            busy = await contest(two, thread_key(name), BOB)
            assert isinstance(busy, Busy)
            free.append(busy.lock_free)
        assert free == [True, False]

    async def test_locks_are_probed_in_bulk(self, driver_factory: DriverFactory) -> None:
        """`free_locks` tells held keys from free ones, in the order asked, from the owner's side
        and from others'; to look does not lock."""
        self.needs(Capability.ADVISORY_LOCKS)
        one, two = await self.drivers(driver_factory, 2)
        claims = [await take(one, thread_key(name), ALICE) for name in "abc"]
        keys = [claim.claim.lock_key or 0 for claim in claims]
        held = [*keys, *reversed(keys)]
        for driver in (one, two):
            assert await driver.free_locks(held) == [False] * 6
        await one.unlock([claims[1].held])
        for driver in (one, two, one):
            assert await driver.free_locks(held) == [False, True, False] * 2
        assert await two.free_locks([]) == []

    async def test_every_claim_has_a_fresh_lock(self, driver_factory: DriverFactory) -> None:
        """A zombie that gives back its lock cannot take its successor's away."""
        self.needs(Capability.ADVISORY_LOCKS)
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE, lease_ttl_s=self.short_lease_s)
        await self.outlive_lease()
        bob = await take(two, thread_key(), BOB)
        assert bob.claim.lock_key not in (None, alice.claim.lock_key)
        await alice.release()
        await one.unlock([alice.held])
        busy = await contest(one, thread_key(), CAROL)
        assert isinstance(busy, Busy)
        assert busy.lock_free is False

    async def test_a_claim_may_do_without_a_lock(self, driver_factory: DriverFactory) -> None:
        """`lock=False`: no key in the row, no evidence either way, the lease alone serves."""
        self.needs(Capability.ADVISORY_LOCKS)
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE, lock=False)
        assert alice.claim.lock_key is None
        assert (await thread_row(one, thread_key())).lock_key is None
        busy = await contest(two, thread_key(), BOB)
        assert isinstance(busy, Busy)
        assert busy.lock_free is None

    async def test_without_a_key_nobody_is_suspected(self, driver_factory: DriverFactory) -> None:
        """A row that names no key is no evidence of death: not even a confirmed suspicion
        passes its lease, and its owner writes on."""
        self.needs(Capability.ADVISORY_LOCKS)
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE, lock=False)
        seen = await contest(two, thread_key(), BOB)
        assert isinstance(seen, Busy)
        again = await contest(two, thread_key(), BOB, confirmed=(seen.epoch, seen.beat))
        assert isinstance(again, Busy)
        await alice.append(checkpoint())

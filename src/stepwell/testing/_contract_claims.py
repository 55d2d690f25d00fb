"""The driver contract: who may write a thread."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

import asyncio

import pytest

from stepwell.checkpoint.driver import (
    Busy,
    Capability,
    Claim,
    Renewed,
    ThreadStatus,
)
from stepwell.testing._contract_base import ContractBase, DriverFactory
from stepwell.testing._rows import (
    Writer,
    bodies,
    change,
    checkpoint,
    claim_request,
    contest,
    loaded,
    pending,
    run_row,
    seqs,
    take,
    thread_key,
    thread_row,
    worker,
)

ALICE, BOB, CAROL = worker("alice"), worker("bob"), worker("carol")


ROUNDING_S = 1e-6
"""A lease is stored as the time it ends at: what is left of it is a difference of large numbers."""


class ClaimContract(ContractBase):
    """Claims, leases that run out, suspicion, races."""

    async def test_claim_creates_the_thread(self, driver_factory: DriverFactory) -> None:
        """A claim of an unknown thread makes an empty, idle one from the given randomness."""
        driver = await driver_factory()
        request = claim_request(thread_key(), ALICE)
        [claim] = await driver.claim([request])
        assert isinstance(claim, Claim)
        assert (claim.key, claim.epoch, claim.record_no) == (request.key, request.fresh_no, 0)
        assert not claim.taken_over
        row = claim.loaded.thread
        assert row is not None
        assert (row.key, row.uid) == (request.key, request.fresh_uid)
        assert (row.epoch, row.layout_no) == (request.fresh_no, request.fresh_no)
        assert (row.owner, row.lock_key, row.record_no) == (ALICE, claim.lock_key, 0)
        assert row.lease_left_s is not None
        assert 0 < row.lease_left_s <= request.lease_ttl_s + ROUNDING_S
        assert (row.status, row.run, row.runs) == (ThreadStatus.IDLE, 0, 0)
        assert (row.checkpoints, row.bytes, row.interrupts) == (0, 0, 0)
        assert (row.request, row.wanted, row.error) == (None, False, None)
        assert dict(row.namespaces) == {0: ("", 0)}
        assert (list(claim.loaded.rows), list(claim.loaded.writes)) == ([], [])

    async def test_the_second_worker_is_told_who_holds_it(
        self, driver_factory: DriverFactory
    ) -> None:
        """Of two workers one wins; the other is told epoch, beat, owner, lease and run,
        and changes nothing."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        await alice.append(
            checkpoint(run=1),
            runs=[run_row(1, run_id="the-run")],
            change=change(ThreadStatus.RUNNING, run=1),
        )
        row = await thread_row(one, thread_key())
        busy = await contest(two, thread_key(), BOB)
        assert isinstance(busy, Busy)
        assert (busy.key, busy.epoch, busy.owner) == (thread_key(), alice.epoch, ALICE)
        assert (busy.beat, busy.run_id) == (row.beat, "the-run")
        assert 0 < busy.lease_left_s <= alice.lease_ttl_s + ROUNDING_S
        after = await thread_row(one, thread_key())
        assert after._replace(lease_left_s=None) == row._replace(lease_left_s=None)

    async def test_an_owner_claims_again(self, driver_factory: DriverFactory) -> None:
        """A worker whose reply to a claim was lost gets the thread under a higher epoch."""
        driver = await driver_factory()
        first = await take(driver, thread_key(), ALICE)
        second = await take(driver, thread_key(), ALICE)
        assert second.epoch > first.epoch
        assert not second.claim.taken_over
        assert isinstance(await contest(driver, thread_key(), BOB), Busy)

    async def test_an_expired_lease_is_taken_over(self, driver_factory: DriverFactory) -> None:
        """When the lease of a frozen owner has run out, any worker gets the thread."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE, lease_ttl_s=self.short_lease_s)
        await self.outlive_lease()
        bob = await take(two, thread_key(), BOB)
        assert bob.claim.taken_over
        assert bob.epoch > alice.epoch

    async def test_epochs_grow_with_every_claim(self, driver_factory: DriverFactory) -> None:
        """The epoch strictly grows, whoever claims and however the thread was given back."""
        driver = await driver_factory()
        epochs: list[int] = []
        for name in ("alice", "bob", "alice", "carol"):
            writer = await take(driver, thread_key(), worker(name))
            epochs.append(writer.epoch)
            assert not writer.claim.taken_over
            await writer.release()
        writer = await take(driver, thread_key(), ALICE)
        await writer.append(checkpoint(), let_go=True)
        epochs += [writer.epoch, (await take(driver, thread_key(), BOB)).epoch]
        assert epochs == sorted(set(epochs))

    async def test_a_claim_leaves_the_description(self, driver_factory: DriverFactory) -> None:
        """A claim changes epoch, owner, lease, beat, request; status and head stay."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(
            checkpoint(),
            change=change(ThreadStatus.INTERRUPTED, graph="g", next_nodes='["a"]', interrupts=1),
            let_go=True,
        )
        before = await thread_row(driver, thread_key())
        await take(driver, thread_key(), BOB)
        after = await thread_row(driver, thread_key())
        assert after.beat != before.beat
        assert after._replace(
            epoch=before.epoch, owner=None, lock_key=None, lease_left_s=None, beat=before.beat
        ) == before._replace(lease_left_s=None, lock_key=None)

    async def test_a_moved_beat_refuses_a_suspicion(self, driver_factory: DriverFactory) -> None:
        """A suspicion of a live owner does not pass once the owner's beat has moved."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        seen = await contest(two, thread_key(), BOB)
        assert isinstance(seen, Busy)
        assert await one.renew(ALICE, [alice.held], 30.0) == [Renewed()]
        busy = await contest(two, thread_key(), BOB, confirmed=(seen.epoch, seen.beat))
        assert isinstance(busy, Busy)
        await alice.append(checkpoint())

    async def test_a_new_epoch_refuses_a_suspicion(self, driver_factory: DriverFactory) -> None:
        """A suspicion of one owner says nothing against its successor."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        seen = await contest(two, thread_key(), BOB)
        assert isinstance(seen, Busy)
        await alice.release()
        carol = await take(one, thread_key(), CAROL)
        beat = (await thread_row(one, thread_key())).beat
        for confirmed in ((seen.epoch, seen.beat), (seen.epoch, beat)):
            busy = await contest(two, thread_key(), BOB, confirmed=confirmed)
            assert isinstance(busy, Busy)
            assert busy.epoch == carol.epoch

    async def test_a_confirmed_suspicion_passes(self, driver_factory: DriverFactory) -> None:
        """If the owner's lock is free and neither epoch nor beat has moved, the claim passes a
        live lease. Without locks there is no evidence of death, and nothing to confirm."""
        self.needs(Capability.ADVISORY_LOCKS)
        self.needs(Capability.MANY_PROCESSES)
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        await self.kill(one)
        seen = await contest(two, thread_key(), BOB)
        assert isinstance(seen, Busy)
        bob = await take(two, thread_key(), BOB, confirmed=(seen.epoch, seen.beat))
        assert bob.claim.taken_over
        assert bob.epoch > alice.epoch

    @pytest.mark.parametrize("kind", ["new", "free", "expired"])
    async def test_of_twenty_racing_claims_one_wins(
        self, driver_factory: DriverFactory, kind: str
    ) -> None:
        """Twenty workers claim one thread at once, over four drivers: exactly one gets it."""
        drivers = await self.drivers(driver_factory, 4)
        key = thread_key()
        if kind == "free":
            await (await take(drivers[0], key, CAROL)).append(checkpoint(), let_go=True)
        elif kind == "expired":
            await take(drivers[0], key, CAROL, lease_ttl_s=self.short_lease_s)
            await self.outlive_lease()
        workers = [worker(f"racer-{n}") for n in range(20)]
        outcomes = await asyncio.gather(
            *(contest(drivers[n % 4], key, by) for n, by in enumerate(workers))
        )
        winners = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Claim)]
        assert len(winners) == 1
        row = await thread_row(drivers[0], key)
        won = outcomes[winners[0]]
        assert (row.owner, row.epoch) == (workers[winners[0]], won.epoch)
        for busy in outcomes:
            if isinstance(busy, Busy):
                assert (busy.owner, busy.epoch) == (row.owner, row.epoch)

    async def test_a_batch_of_claims_answers_in_order(self, driver_factory: DriverFactory) -> None:
        """One call claims several threads; each outcome stands in the place of its request."""
        one, two = await self.drivers(driver_factory, 2)
        names = ("z-new", "busy", "free", "expired", "mine", "a-new")
        keys = {name: thread_key(name) for name in names}
        await take(one, keys["busy"], ALICE)
        await (await take(one, keys["free"], ALICE)).append(checkpoint(b"free"), let_go=True)
        await take(two, keys["mine"], BOB)
        await take(one, keys["expired"], ALICE, lease_ttl_s=self.short_lease_s)
        await self.outlive_lease()
        outcomes = await two.claim([claim_request(keys[name], BOB) for name in names])
        assert [outcome.key for outcome in outcomes] == [keys[name] for name in names]
        assert [type(outcome) for outcome in outcomes] == [Claim, Busy, Claim, Claim, Claim, Claim]
        taken = [isinstance(outcome, Claim) and outcome.taken_over for outcome in outcomes]
        assert taken == [False, False, False, True, False, False]
        free = outcomes[2]
        assert isinstance(free, Claim)
        assert bodies(free.loaded.rows) == [b"free"]

    async def test_a_claim_reads_what_it_claimed(self, driver_factory: DriverFactory) -> None:
        """Under contention every winner's load stands at exactly its record_no."""
        drivers = await self.drivers(driver_factory, 3)
        key = thread_key()
        written = 0

        async def contend(number: int) -> None:
            nonlocal written
            driver, by = drivers[number % 3], worker(f"w{number}")
            while written < 12:
                outcome = await contest(driver, key, by)
                if isinstance(outcome, Busy):
                    await asyncio.sleep(0.001)
                    continue
                thread = outcome.loaded.thread
                assert thread is not None
                assert thread.record_no == outcome.record_no
                assert seqs(outcome.loaded.rows) == list(range(1, outcome.record_no + 1))
                writer = Writer(driver, outcome, by)
                await writer.append(checkpoint(b"%d" % writer.record_no), let_go=True)
                await driver.unlock([writer.held])
                written += 1

        await asyncio.gather(*(contend(number) for number in range(3)))
        rows = (await loaded(drivers[0], key)).rows
        assert bodies(rows) == [b"%d" % n for n in range(len(rows))]
        assert len(rows) == written

    async def test_a_claim_loads_what_was_asked(self, driver_factory: DriverFactory) -> None:
        """`load_ns` and `load_seq` choose the chain that comes with the claim."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(
            checkpoint(b"r1"),
            checkpoint(b"s1", ns=1),
            pending("old", ns=1),
            checkpoint(b"s2", ns=1),
            pending("new", ns=1),
            namespaces=[(1, "sub")],
            let_go=True,
        )
        bob = await take(driver, thread_key(), BOB, load_ns="sub", load_seq=1)
        assert bob.claim.loaded.ns == 1
        assert bodies(bob.claim.loaded.rows) == [b"s1"]
        assert [row.task_path for row in bob.claim.loaded.writes] == ["old"]
        carol = await take(driver, thread_key("other"), CAROL, load_ns="sub", load_seq=1)
        assert list(carol.claim.loaded.rows) == []

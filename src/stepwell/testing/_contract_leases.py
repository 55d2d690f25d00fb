"""The driver contract: keeping a thread, giving it back, deleting it."""
# ruff: noqa: S101  # the asserts of tests

from __future__ import annotations

from stepwell.checkpoint.driver import (
    Ask,
    Busy,
    Claim,
    Committed,
    Driver,
    Lost,
    Renewed,
    RunStatus,
    ThreadKey,
)
from stepwell.testing._contract_base import ContractBase, DriverFactory
from stepwell.testing._rows import (
    Writer,
    bodies,
    checkpoint,
    contest,
    loaded,
    pending,
    run_row,
    take,
    thread_key,
    thread_row,
    worker,
)

ALICE, BOB, CAROL = worker("alice"), worker("bob"), worker("carol")


class LeaseContract(ContractBase):
    """Heartbeats, waiters, release, delete."""

    async def test_a_heartbeat_keeps_the_lease(self, driver_factory: DriverFactory) -> None:
        """A renewed lease lives longer than the one that was claimed, and is no update."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE, lease_ttl_s=self.short_lease_s)
        before = await thread_row(one, thread_key())
        assert await one.renew(ALICE, [alice.held], 30.0) == [Renewed()]
        await self.outlive_lease()
        assert isinstance(await contest(two, thread_key(), BOB), Busy)
        after = await thread_row(one, thread_key())
        assert after.beat != before.beat
        assert (after.epoch, after.record_no) == (before.epoch, before.record_no)
        assert after.updated_at == before.updated_at

    async def test_a_commit_keeps_the_lease(self, driver_factory: DriverFactory) -> None:
        """A commit is a heartbeat: it moves the beat and extends the lease."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE, lease_ttl_s=self.short_lease_s)
        beat = (await thread_row(one, thread_key())).beat
        await alice.append(checkpoint())
        await self.outlive_lease()
        assert isinstance(await contest(two, thread_key(), BOB), Busy)
        assert (await thread_row(one, thread_key())).beat != beat

    async def test_a_heartbeat_tells_what_is_lost(self, driver_factory: DriverFactory) -> None:
        """Heartbeats answer per claim: alive, taken over (epoch), let go, deleted (None)."""
        one, two = await self.drivers(driver_factory, 2)
        names = ("alive", "taken", "gone", "let-go", "never")
        writers = [await take(one, thread_key(name), ALICE) for name in names[:-1]]
        await one.renew(ALICE, [writers[1].held], self.short_lease_s)
        await self.outlive_lease()
        bob = await take(two, thread_key("taken"), BOB)
        assert await one.delete(writers[2].held, ALICE)
        await writers[3].append(checkpoint(), let_go=True)
        held = [writer.held for writer in writers]
        held.append(held[0]._replace(key=thread_key("never")))
        assert await one.renew(ALICE, held, 30.0) == [
            Renewed(),
            Lost(bob.epoch),
            Lost(None),
            Lost(writers[3].epoch),
            Lost(None),
        ]
        assert (await thread_row(two, thread_key("taken"))).owner == BOB
        assert isinstance(await contest(two, thread_key("let-go"), CAROL), Claim)

    async def test_a_heartbeat_names_its_worker(self, driver_factory: DriverFactory) -> None:
        """Knowing the epoch is not enough: another worker's heartbeat renews nothing."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        before = await thread_row(driver, thread_key())
        assert await driver.renew(BOB, [alice.held], 3000.0) == [Lost(alice.epoch)]
        after = await thread_row(driver, thread_key())
        assert after.beat == before.beat
        assert after.lease_left_s is not None
        assert after.lease_left_s <= 30.0

    async def test_a_wanted_thread_is_reported(self, driver_factory: DriverFactory) -> None:
        """`want` reaches the owner with its next commit and heartbeat; a claim clears it."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        other = await take(one, thread_key("other"), ALICE)
        await two.want([thread_key(), thread_key("no such thread")])
        await two.want([thread_key()])
        assert await one.renew(ALICE, [alice.held, other.held], 30.0) == [
            Renewed(wanted=True),
            Renewed(wanted=False),
        ]
        assert await alice.send(alice.slice(checkpoint())) == Committed(1, wanted=True)
        assert (await thread_row(one, thread_key())).wanted
        assert (await loaded(one, thread_key("no such thread"))).thread is None
        await alice.release()
        await take(one, thread_key(), BOB)
        assert not (await thread_row(one, thread_key())).wanted

    async def test_a_request_reaches_the_owner(self, driver_factory: DriverFactory) -> None:
        """`ask` reaches the owner with its next commit and heartbeat, as a wanted thread does,
        and names threads one by one."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        other = await take(one, thread_key("other"), ALICE)
        assert await two.ask(
            [
                Ask(thread_key("no such thread"), alice.epoch, "interrupt:x"),
                Ask(thread_key(), alice.epoch, "interrupt:run-2"),
            ]
        ) == [False, True]
        assert await one.renew(ALICE, [other.held, alice.held], 30.0) == [
            Renewed(),
            Renewed("interrupt:run-2", wanted=True),
        ]
        assert await alice.send(alice.slice(checkpoint())) == Committed(
            1, request="interrupt:run-2", wanted=True
        )
        row = await thread_row(two, thread_key())
        assert (row.request, row.wanted, row.owner) == ("interrupt:run-2", True, ALICE)
        assert (row.epoch, row.record_no) == (alice.epoch, 1)
        assert (await loaded(one, thread_key("no such thread"))).thread is None

    async def test_a_request_stays_unless_replaced(self, driver_factory: DriverFactory) -> None:
        """The first request stands until one comes that says it replaces it."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        for request, replace, seen in (
            ("interrupt:1", False, "interrupt:1"),
            ("cancel:2", False, "interrupt:1"),
            ("rollback:3", True, "rollback:3"),
            ("interrupt:4", False, "rollback:3"),
            ("rollback:ü 5'\"%", True, "rollback:ü 5'\"%"),
        ):
            assert await two.ask([Ask(thread_key(), alice.epoch, request, replace)]) == [True]
            assert await one.renew(ALICE, [alice.held], 30.0) == [Renewed(seen, wanted=True)]

    async def test_a_request_is_for_one_claim(self, driver_factory: DriverFactory) -> None:
        """A request names the epoch: another claim, or nobody, is not asked; and a claim
        clears what was asked of the one before."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE)
        for epoch in (alice.epoch - 1, alice.epoch + 1):
            assert await two.ask([Ask(thread_key(), epoch, "interrupt:x")]) == [False]
        assert (await thread_row(two, thread_key())).request is None
        assert await two.ask([Ask(thread_key(), alice.epoch, "interrupt:y")]) == [True]
        await alice.release()
        asked = [Ask(thread_key(), alice.epoch, "rollback:z", replace=True)]
        assert await two.ask(asked) == [False]
        bob = await take(one, thread_key(), BOB)
        assert await two.ask(asked) == [False]
        assert await bob.send(bob.slice(checkpoint())) == Committed(1)
        row = await thread_row(two, thread_key())
        assert (row.request, row.wanted) == (None, False)

    async def test_a_release_frees_the_thread(self, driver_factory: DriverFactory) -> None:
        """After a release the row has no owner, lock or lease, and anybody may claim."""
        one, two = await self.drivers(driver_factory, 2)
        writers = [await take(one, thread_key(name), ALICE) for name in ("a", "b")]
        await one.release(ALICE, [writer.held for writer in writers])
        for name in ("a", "b"):
            row = await thread_row(two, thread_key(name))
            assert (row.owner, row.lock_key, row.lease_left_s) == (None, None, None)
            await take(two, thread_key(name), BOB)

    async def test_a_lost_claim_releases_nothing(self, driver_factory: DriverFactory) -> None:
        """A release by the old epoch, or by another worker, leaves the new owner alone."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE, lease_ttl_s=self.short_lease_s)
        await self.outlive_lease()
        bob = await take(two, thread_key(), BOB)
        await alice.release()
        await one.release(ALICE, [bob.held._replace(lock_key=None)])
        await one.unlock([alice.held])
        assert (await thread_row(one, thread_key())).owner == BOB
        await bob.append(checkpoint())

    async def test_a_release_is_idempotent(self, driver_factory: DriverFactory) -> None:
        """Releasing or unlocking twice, or what was deleted, is no error."""
        driver = await driver_factory()
        alice = await take(driver, thread_key(), ALICE)
        gone = await take(driver, thread_key("gone"), ALICE)
        assert await driver.delete(gone.held, ALICE)
        for _ in range(2):
            await driver.release(ALICE, [alice.held, gone.held])
            await driver.unlock([alice.held, gone.held])
        assert isinstance(await contest(driver, thread_key(), BOB), Claim)

    async def test_a_delete_is_fenced(self, driver_factory: DriverFactory) -> None:
        """Only the live claim deletes, and it takes every row of its thread and no other."""
        one, two = await self.drivers(driver_factory, 2)
        alice = await take(one, thread_key(), ALICE, lease_ttl_s=self.short_lease_s)
        await self.outlive_lease()
        bob = await take(two, thread_key(), BOB)
        await bob.append(checkpoint(b"kept"), pending(), runs=[run_row(1)])
        neighbour = await take(one, thread_key("thread-12"), CAROL)
        await neighbour.append(checkpoint(b"neighbour"), runs=[run_row(1)])
        assert not await one.delete(alice.held, ALICE)
        assert not await one.delete(bob.held, ALICE)
        assert bodies((await loaded(one, thread_key())).rows) == [b"kept"]
        assert await two.delete(bob.held, BOB)
        assert not await two.delete(bob.held, BOB)
        assert (await loaded(one, thread_key())).thread is None
        assert await one.runs(thread_key()) == []
        assert list((await one.history(thread_key(), "", None)).rows) == []
        assert bodies((await loaded(one, thread_key("thread-12"))).rows) == [b"neighbour"]

    async def test_a_deleted_thread_starts_anew(self, driver_factory: DriverFactory) -> None:
        """The next incarnation is empty, has its own uid, and refuses the old epoch, even
        if both were claimed by one worker."""
        driver = await driver_factory()
        key: ThreadKey = thread_key()
        old = await take(driver, key, ALICE)
        await old.append(
            checkpoint(b"old"), checkpoint(b"sub", ns=1), pending("old"),
            namespaces=[(1, "sub")], runs=[run_row(1, status=RunStatus.DONE)],
        )  # fmt: skip
        late = old.slice(checkpoint(b"late"))
        old_uid = (await thread_row(driver, key)).uid
        assert await driver.delete(old.held, ALICE)
        new = await take(driver, key, ALICE)
        row = await thread_row(driver, key)
        assert row.uid != old_uid
        assert (row.record_no, row.runs, row.checkpoints) == (0, 0, 0)
        assert dict(row.namespaces) == {0: ("", 0)}
        await self._refused(driver, old, new)
        assert (await driver.commit([late]))[0] != Committed(late.record_no_after)
        await new.append(checkpoint(b"new"), checkpoint(b"new sub", ns=1), namespaces=[(1, "sub")])
        chain = await loaded(driver, key)
        assert (bodies(chain.rows), list(chain.writes)) == ([b"new"], [])
        assert bodies((await loaded(driver, key, ns_name="sub")).rows) == [b"new sub"]

    async def _refused(self, driver: Driver, old: Writer, new: Writer) -> None:
        assert await driver.renew(old.worker, [old.held], 30.0) == [Lost(new.epoch)]
        assert not await driver.delete(old.held, old.worker)
        await old.release()
        assert (await thread_row(driver, new.key)).owner == new.worker

"""Connections that go silent although the server is well, and servers that are only slow."""
# ruff: noqa: F401, F811  # fixtures are imported by name

import asyncio
import contextlib

import pytest

from stepwell._db.postgres import Timeouts
from stepwell.checkpoint.driver import Busy, Committed, Renewed
from stepwell.errors import StorageUnavailableError, UsageError
from stepwell.testing._rows import bodies, checkpoint, contest, loaded, take, thread_key, worker
from tests._postgres import execute, opened, pg_dsn, pg_schema
from tests._proxy import proxy

pytestmark = pytest.mark.postgres

ALICE, BOB = worker("alice"), worker("bob")
SHORT = Timeouts(commit_s=1.5, control_s=1.5)


def silence(line):
    """From now on nothing arrives on the connection of a line; what is sent does."""
    line._link._transport.pause_reading()


async def restored(driver, keys):
    """Wait until the lock session holds so many keys on the server, and is not under repair."""
    session, line = driver._db.locks, driver._db._opened.control
    async with asyncio.timeout(40):
        while True:
            if line.connected and session._repairing is None:
                [[held]] = await execute(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = $1",
                    line._link.get_server_pid(),
                )
                if held == keys:
                    return
            await asyncio.sleep(0.02)


async def test_a_commit_without_a_reply_is_tried_again_on_a_new_connection(pg_schema):
    """Long before anyone else loses patience: the outcome is unknown, the next try tells it."""
    async with opened(pg_schema, timeouts=SHORT) as driver:
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"1"))  # the statement is prepared now
        piece = alice.slice(checkpoint(b"2"))
        lane = driver._db._opened.lane
        before = lane.session
        silence(lane)
        async with asyncio.timeout(40):
            with pytest.raises(StorageUnavailableError, match="no answer in time") as caught:
                await driver.commit([piece])
            assert caught.value.context["outcome"] == "unknown"
            assert await driver.commit([piece]) == [Committed(2, landed=True)]
        assert lane.session == before + 1
        assert bodies((await loaded(driver, alice.key)).rows) == [b"1", b"2"]


async def test_a_heartbeat_without_a_reply_goes_out_again_at_once(pg_schema):
    """The lease is extended all the same, and the keys come back in the new session."""
    async with opened(pg_schema, timeouts=SHORT) as one, opened(pg_schema) as two:
        alice = await take(one, thread_key(), ALICE)
        silence(one._db._opened.control)
        async with asyncio.timeout(40):
            assert await one.renew(ALICE, [alice.held], 600.0) == [Renewed()]
        await restored(one, 1)
        busy = await contest(two, thread_key(), BOB)
        assert isinstance(busy, Busy)
        assert busy.lock_free is False
        assert busy.lease_left_s > 300.0
        silence(one._db._opened.control)
        async with asyncio.timeout(40):
            await one.release(ALICE, [alice.held])
        await take(two, thread_key(), BOB)


async def test_a_claim_does_not_wait_long_for_a_silent_lock_session(pg_schema):
    async with opened(pg_schema, timeouts=SHORT) as driver:
        alice = await take(driver, thread_key("a"), ALICE)
        silence(driver._db._opened.control)
        async with asyncio.timeout(40):
            other = await take(driver, thread_key("b"), ALICE)
            assert other.claim.lock_key is None
            await restored(driver, 1)
            third = await take(driver, thread_key("c"), ALICE)
        assert third.claim.lock_key is not None
        assert await driver.renew(ALICE, [alice.held, third.held], 30.0) == [Renewed()] * 2


async def test_the_repair_does_not_wait_long_for_a_silent_reader(pg_schema):
    """Beats go over borrowed connections: one that is silent costs one attempt."""
    async with opened(pg_schema, timeouts=SHORT, pool_size_max=3) as driver:
        await take(driver, thread_key(), ALICE)
        source = driver._db._opened.source
        link = await source.acquire()
        link._con._transport.pause_reading()
        await source.release(link)
        async with asyncio.timeout(40):
            with pytest.raises(StorageUnavailableError, match="no answer in time"):
                await driver._db.beat([], [])
            await driver._db.beat([], [])


async def test_a_slow_server_is_not_taken_for_a_dead_one(pg_schema):
    """It ends the statement itself and says so: nothing happened, both sessions stay."""
    async with opened(pg_schema, timeouts=SHORT) as driver:
        await take(driver, thread_key(), ALICE)
        for line in (driver._db._opened.lane, driver._db._opened.control):
            before = line.session
            with pytest.raises(StorageUnavailableError) as caught:
                await line.run("SELECT pg_sleep(30)", doing="x")
            assert caught.value.context["sqlstate"] == "57014"
            assert caught.value.context["outcome"] == "none"
            assert line.session == before
        await restored(driver, 1)


async def test_through_a_pooler_each_transaction_brings_its_limit(pg_schema):
    async with opened(pg_schema, timeouts=SHORT, pgbouncer=True) as driver:
        lane = driver._db._opened.lane
        with pytest.raises(StorageUnavailableError) as caught:
            await lane.run("SELECT pg_sleep(30)", doing="x")
        assert caught.value.context["sqlstate"] == "57014"
        silence(lane)
        async with asyncio.timeout(40):
            with pytest.raises(StorageUnavailableError, match="no answer in time"):
                await lane.run("SELECT 1", doing="x")
            await lane.run("SELECT 1", doing="x")


@pytest.mark.parametrize("timeouts", [Timeouts(commit_s=0), Timeouts(control_s=-1)])
async def test_no_time_at_all_is_refused(pg_schema, timeouts):
    with pytest.raises(UsageError, match="needs more than no time"):
        async with opened(pg_schema, timeouts=timeouts):
            raise AssertionError("it was opened")


async def test_connections_that_a_router_has_forgotten_are_given_up(pg_dsn, pg_schema):
    """Idle ones too, and all at once: a run that begins meets silence on whatever it borrows, for
    as long as one reply may take, not for that long on each of them in turn."""
    async with proxy(pg_dsn) as wire, opened(pg_schema, wire.url, timeouts=SHORT) as driver:
        keys = [thread_key(f"t{n}") for n in range(6)]
        # As many borrowed connections as can be, all idle now.
        claims = await asyncio.gather(*(take(driver, key, ALICE) for key in keys))
        await asyncio.gather(*(loaded(driver, key) for key in keys for _ in range(3)))
        wire.mute_all()
        for verb in (
            lambda: contest(driver, thread_key("new"), BOB),
            lambda: loaded(driver, keys[0]),
            lambda: driver.landed(keys[0], 1, claims[0].epoch),
            lambda: driver.want(keys),
        ):
            with contextlib.suppress(StorageUnavailableError):
                async with asyncio.timeout(60):
                    await verb()
            async with asyncio.timeout(60):
                await verb()
            wire.mute_all()

"""What the lock session and the heartbeat owe to an owner that is well."""
# ruff: noqa: F401, F811  # fixtures are imported by name

import asyncio
import itertools
from uuid import UUID

import asyncpg
import pytest

from stepwell._db._postgres_locks import LockSession
from stepwell.checkpoint.driver import Busy, Renewed
from stepwell.errors import StorageUnavailableError
from stepwell.testing._rows import checkpoint, contest, take, thread_key, thread_row, worker
from tests._postgres import execute, kill_backend, opened, pg_dsn, pg_schema, server_dsn

pytestmark = pytest.mark.postgres

ALICE, BOB = worker("alice"), worker("bob")


async def test_a_lease_that_could_not_be_moved_is_not_called_extended(pg_schema):
    """A stranger holds the row: the claim is ours, its lease runs on, and the answer says so."""
    async with opened(pg_schema) as driver:
        held = (await take(driver, thread_key("held"), ALICE, lease_ttl_s=5.0)).held
        free = (await take(driver, thread_key("free"), ALICE, lease_ttl_s=5.0)).held
        stranger = await asyncpg.connect(server_dsn())
        try:
            async with stranger.transaction():
                await stranger.fetch(
                    f'SELECT FROM "{pg_schema}".stepwell_thread WHERE thread_id = $1 FOR UPDATE',
                    "held",
                )
                answers = await driver.renew(ALICE, [held, free], 60.0)
                assert answers == [Renewed(extended=False), Renewed(extended=True)]
                assert (await thread_row(driver, held.key)).lease_left_s < 5.0
                assert (await thread_row(driver, free.key)).lease_left_s > 50.0
        finally:
            await stranger.close()
        assert await driver.renew(ALICE, [held], 60.0) == [Renewed()]
        assert (await thread_row(driver, held.key)).lease_left_s > 50.0


async def locked(driver):
    """The advisory keys that the lock session of a driver holds on the server."""
    line = driver._db._opened.control
    if not line.connected:
        return set()
    rows = await execute(
        "SELECT classid::int8 << 32 | objid::int8 FROM pg_locks "
        "WHERE locktype = 'advisory' AND pid = $1",
        line._link.get_server_pid(),
    )
    return {row[0] for row in rows}


async def until(condition):
    """Wait until a function says yes, at most 10 s."""
    async with asyncio.timeout(60):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def repaired(session):
    await until(lambda: session._repairing is None)


async def settled(driver):
    """Wait until nothing is left to repair and the server holds what we believe to hold."""
    session = driver._db.locks
    async with asyncio.timeout(60):
        while True:
            await repaired(session)
            if await locked(driver) == set(session._held):
                return
            await asyncio.sleep(0.02)


async def end_session(driver):
    """End the lock session from outside; returns when this side has seen it."""
    line = driver._db._opened.control
    link = line._link
    await kill_backend(link.get_server_pid())
    await until(link.is_closed)


async def test_a_session_that_ends_again_during_its_repair_is_repaired_again(pg_schema):
    """While the beats of the first repair move, the new session ends too: keys come back."""
    async with opened(pg_schema) as one, opened(pg_schema) as two:
        alice = await take(one, thread_key(), ALICE)
        session = one._db.locks
        beat, beats = session._rows.beat, itertools.count(1)

        async def ill_timed(*args):
            await beat(*args)
            if next(beats) == 1:
                await end_session(one)

        session._rows.beat = ill_timed
        await end_session(one)
        await settled(one)
        assert await locked(one) == {alice.claim.lock_key}
        busy = await contest(two, thread_key(), BOB)
        assert isinstance(busy, Busy)
        assert busy.lock_free is False


async def test_a_session_that_ends_between_repair_and_its_report_is_repaired_again(pg_schema):
    """The last moment: the repair has returned, but counts as under way until the loop turns."""
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key(), ALICE)
        session, line = driver._db.locks, driver._db._opened.control
        restore, repairs = session._restore, itertools.count(1)

        async def ill_timed():
            await restore()
            if next(repairs) == 1:
                line._link.terminate()
                session.lost()

        session._restore = ill_timed
        await end_session(driver)
        await settled(driver)
        assert next(repairs) > 2
        assert await locked(driver) == {alice.claim.lock_key}


async def test_a_reply_read_after_its_session_ended_is_no_pooler(pg_schema, caplog):
    """The backend of a session that is gone is not what the next one is measured by."""
    async with opened(pg_schema) as driver:
        alice = await take(driver, thread_key("a"), ALICE)
        bob = await take(driver, thread_key("b"), BOB)
        session, line = driver._db.locks, driver._db._opened.control
        ask, asked = line.ask, itertools.count(1)

        async def slow_to_read(*args, **options):
            reply = await ask(*args, **options)
            if next(asked) == 1:
                await end_session(driver)
                session.lost()
            return reply

        line.ask = slow_to_read
        await driver.unlock([bob.held])
        await settled(driver)
        third = await take(driver, thread_key("c"), ALICE)
        assert not session.pooled
        assert "pooler" not in caplog.text
        assert await locked(driver) == {alice.claim.lock_key, third.claim.lock_key}


async def test_keys_locked_by_a_session_that_ended_at_once_come_back(pg_schema):
    """A claim reads the reply to its lock when the session has ended: it is locked again."""
    async with opened(pg_schema) as driver:
        await take(driver, thread_key("a"), ALICE)
        line = driver._db._opened.control
        ask, asked = line.ask, itertools.count(1)

        async def slow_to_read(*args, **options):
            reply = await ask(*args, **options)
            if next(asked) == 1:
                await end_session(driver)
            return reply

        line.ask = slow_to_read
        other = await take(driver, thread_key("b"), ALICE)
        assert other.claim.lock_key is not None
        await settled(driver)
        assert other.claim.lock_key in await locked(driver)


class FakeLine:
    """A line whose server grants everything, unless it is down."""

    def __init__(self):
        self.session, self.down = 1, False
        self.log = []

    @property
    def connected(self):
        return not self.down

    async def ask(self, sql, keys, *, doing):
        await asyncio.sleep(0)
        if self.down:
            raise StorageUnavailableError("down", outcome="none")
        self.log.append((sql, list(keys)))
        return self.session, [(key, True, 7) for key in keys]


class FakeRows:
    """Thread rows of which only lock keys matter; `meanwhile` happens during a disarm."""

    def __init__(self):
        self.disarmed, self.meanwhile = [], None

    async def beat(self, threads, keys):
        await asyncio.sleep(0)

    async def disarm(self, threads, keys):
        self.disarmed += zip(threads, keys, strict=True)
        what, self.meanwhile = self.meanwhile, None
        if what is not None:
            what()
        await asyncio.sleep(0)


class FakeIds:
    def __init__(self):
        self._numbers = itertools.count(100)

    def lock_key(self):
        return next(self._numbers)


def fake_session(keys_max=10):
    line, rows = FakeLine(), FakeRows()
    sql = {"lock": "lock", "unlock": "unlock"}
    return LockSession(line, sql, rows, FakeIds(), keys_max=keys_max), line, rows


ONE, TWO = UUID(int=1), UUID(int=2)


async def test_a_row_bound_during_a_disarm_is_disarmed_too():
    """The lock session is out of reach while a claim is between its lock and its row."""
    session, line, rows = fake_session()
    [first, second] = await session.take(2)
    assert session.bind(first, ONE, 1)

    def bind():
        assert session.bind(second, TWO, 1)

    rows.meanwhile = bind
    line.down = True
    session.lost()
    await repaired(session)
    assert set(rows.disarmed) == {(ONE, first), (TWO, second)}
    assert session.held == 0
    assert not session.bind(second, TWO, 1)


async def test_a_late_end_of_an_old_claim_leaves_the_new_one_its_shared_key():
    """The same thread, claimed again under the shared key before the old claim gave it back."""
    session, line, rows = fake_session(keys_max=0)
    [key] = await session.take(1)
    assert session.bind(key, ONE, 1)
    assert session.bind(key, ONE, 2)
    await session.give_back([(key, ONE, 1), (key, ONE, None)])
    line.down = True
    session.lost()
    await repaired(session)
    assert rows.disarmed == [(ONE, key)]


async def test_claims_at_the_same_time_agree_on_one_shared_key():
    """Two would free each other's rows: only the shared key survives the end of a claim."""
    session, line, _ = fake_session(keys_max=0)
    [one], [two] = await asyncio.gather(session.take(1), session.take(1))
    assert one == two
    assert session.held == 1
    locked = {key for verb, keys in line.log if verb == "lock" for key in keys}
    unlocked = {key for verb, keys in line.log if verb == "unlock" for key in keys}
    assert locked - unlocked == {one}


async def test_keys_of_a_statement_that_the_server_ended_are_given_back():
    """Session locks outlive the statement that took them, if the session lives."""
    session, line, _ = fake_session()
    ask = line.ask

    async def ended(sql, keys, *, doing):
        if sql == "lock":
            raise StorageUnavailableError("canceled", outcome="none", sqlstate="57014")
        return await ask(sql, keys, doing=doing)

    line.ask = ended
    assert await session.take(2) == [None, None]
    assert line.log == [("unlock", [100, 101])]
    assert session.held == 0


@pytest.mark.parametrize("kind", ["new", "written", "left"])
async def test_a_claim_goes_on_where_a_connection_broke(pg_schema, monkeypatch, kind):
    """Each of its statements loses its connection once, before or after it was carried out. What
    was done counts: the claim ends with one owner, one epoch that is the row's, and one lock."""
    async with opened(pg_schema) as driver:
        if kind != "new":
            bob = await take(driver, thread_key(), BOB, lease_ttl_s=0.001)
            bob.lease_ttl_s = 0.001
            await bob.append(checkpoint(b"1"), let_go=kind == "written")
            await driver.unlock([bob.held])
            await asyncio.sleep(0.01)
        broken = set()

        def breaks(what):
            if what in broken:
                return False
            broken.add(what)
            return True

        fetch, snapshot = driver._db.fetch, driver._db.snapshot

        async def fetch_once_broken(name, *args, **more):
            if breaks(f"{name} unsent"):
                raise StorageUnavailableError("broken", outcome="unknown", sqlstate="08003")
            rows = await fetch(name, *args, **more)
            if breaks(f"{name} unheard"):
                raise StorageUnavailableError("broken", outcome="unknown", sqlstate="57P01")
            return rows

        def snapshot_once_broken(**more):
            if breaks("snapshot"):
                raise StorageUnavailableError("broken", outcome="none", sqlstate="08003")
            return snapshot(**more)

        monkeypatch.setattr(driver._db, "fetch", fetch_once_broken)
        monkeypatch.setattr(driver._db, "snapshot", snapshot_once_broken)
        alice = await take(driver, thread_key(), ALICE)
        assert broken >= {"claim unsent", "claim unheard"}
        monkeypatch.undo()
        row = await thread_row(driver, thread_key())
        assert (row.owner, row.epoch, row.lock_key) == (ALICE, alice.epoch, alice.claim.lock_key)
        assert driver._db.locks.held == 1
        assert isinstance(await contest(driver, thread_key(), BOB), Busy)
        await alice.append(checkpoint(b"2"))


async def test_a_claim_does_not_go_on_for_ever(pg_schema, monkeypatch):
    """A database whose connections all break is an outage, which whoever asked has to bear; a
    server that is not there is told at once."""
    async with opened(pg_schema) as driver:
        calls = []

        def always(sqlstate):
            async def fetch(name, *args, **more):
                calls.append(name)
                raise StorageUnavailableError("broken", outcome="unknown", sqlstate=sqlstate)

            return fetch

        for sqlstate, most in (("08003", 10), ("57P03", 1)):
            calls.clear()
            monkeypatch.setattr(driver._db, "fetch", always(sqlstate))
            with pytest.raises(StorageUnavailableError):
                await take(driver, thread_key(), ALICE)
            assert 1 <= len(calls) <= most

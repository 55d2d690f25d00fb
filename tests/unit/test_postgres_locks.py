"""The lock session: lost and restored, out of reach, behind a pooler, at its limit."""
# ruff: noqa: F401, F811  # fixtures are imported by name

import asyncio
import logging
import os
import signal
import subprocess
import sys

import pytest

from stepwell.checkpoint.driver import Busy, Capability, Held, Renewed
from stepwell.errors import StorageUnavailableError
from stepwell.testing._rows import (
    checkpoint,
    claim_request,
    contest,
    take,
    thread_key,
    thread_row,
    worker,
)
from tests._postgres import (
    execute,
    fresh_role,
    kill_backend,
    opened,
    pg_dsn,
    pg_schema,
)

pytestmark = pytest.mark.postgres

ALICE, BOB = worker("alice"), worker("bob")


async def locks_of(driver):
    """How many advisory locks the control line of a driver holds on the server."""
    pid = driver._db._opened.control._link.get_server_pid()
    [[held]] = await execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = $1", pid
    )
    return held


async def until(condition, seconds=60.0):
    """Wait for what another process does."""
    async with asyncio.timeout(seconds):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


async def test_a_killed_lock_session_comes_back_with_every_key(pg_schema):
    """All keys are locked again in a new session, beats move, the claims live on."""
    async with opened(pg_schema) as one, opened(pg_schema) as two:
        writers = [await take(one, thread_key(f"t{n}"), ALICE) for n in range(5)]
        before = await thread_row(two, thread_key("t0"))
        suspicion = await contest(two, thread_key("t0"), BOB)
        pid = one._db._opened.control._link.get_server_pid()
        await kill_backend(pid)

        async def restored():
            line = one._db._opened.control
            return line.connected and one._db.locks._repairing is None

        await until(restored)
        assert one._db._opened.control._link.get_server_pid() != pid
        assert await locks_of(one) == 5
        after = await thread_row(two, thread_key("t0"))
        assert after.beat > before.beat
        assert after.lock_key == before.lock_key
        confirmed = (suspicion.epoch, suspicion.beat)
        for writer in writers:
            busy = await contest(two, writer.key, BOB, confirmed=confirmed)
            assert isinstance(busy, Busy)
            assert busy.lock_free is False
            await writer.append(checkpoint())
            await writer.release()
        assert await locks_of(one) == 0


async def test_no_healthy_owner_is_fenced_while_its_lock_session_dies_again_and_again(pg_schema):
    """A waiter confirms every suspicion after a grace, as the journal does, and never wins."""
    async with opened(pg_schema) as one, opened(pg_schema) as two:
        alice = await take(one, thread_key(), ALICE)
        stop = asyncio.Event()

        async def kill():
            while not stop.is_set():
                link = one._db._opened.control._link
                if link is not None and not link.is_closed():
                    await execute("SELECT pg_terminate_backend($1)", link.get_server_pid())
                await asyncio.sleep(0.07)

        async def suspect():
            suspicions = 0
            while not stop.is_set():
                seen = await contest(two, thread_key(), BOB)
                if isinstance(seen, Busy) and seen.lock_free:
                    suspicions += 1
                    await asyncio.sleep(1.0)
                    seen = await contest(two, thread_key(), BOB, confirmed=(seen.epoch, seen.beat))
                assert isinstance(seen, Busy)
                await asyncio.sleep(0.005)
            return suspicions

        killing, suspecting = asyncio.create_task(kill()), asyncio.create_task(suspect())
        for _ in range(30):
            await asyncio.sleep(0.1)
            await alice.append(checkpoint())
        stop.set()
        await killing
        await suspecting


async def test_keys_out_of_reach_are_taken_out_of_the_rows(pg_schema):
    """The session cannot come back: the rows name no key, so nobody suspects their owner."""
    async with opened(pg_schema) as owner, fresh_role() as (name, dsn):
        assert Capability.ADVISORY_LOCKS in owner.capabilities
        await execute(
            f'GRANT USAGE ON SCHEMA "{pg_schema}" TO "{name}"; GRANT SELECT, INSERT, UPDATE, '
            f'DELETE ON ALL TABLES IN SCHEMA "{pg_schema}" TO "{name}"'
        )
        async with opened(pg_schema, dsn) as driver:
            alice = await take(driver, thread_key(), ALICE)
            before = await thread_row(driver, thread_key())
            # The connections that are open stay; the lock session cannot connect anew.
            await execute(f'ALTER ROLE "{name}" CONNECTION LIMIT 0')
            await kill_backend(driver._db._opened.control._link.get_server_pid())

            async def disarmed():
                return (await thread_row(owner, thread_key())).lock_key is None

            await until(disarmed)
            row = await thread_row(owner, thread_key())
            assert row.beat > before.beat
            busy = await contest(owner, thread_key(), BOB)
            assert isinstance(busy, Busy)
            assert busy.lock_free is None
            await alice.append(checkpoint())
            # A claim meanwhile does without a lock instead of failing.
            other = await take(driver, thread_key("other"), ALICE)
            assert other.claim.lock_key is None
            await execute(f'ALTER ROLE "{name}" CONNECTION LIMIT -1')
            third = await take(driver, thread_key("third"), ALICE)
            assert third.claim.lock_key is not None
            await driver.release(ALICE, [alice.held, other.held, third.held])
            assert await locks_of(driver) == 0


async def test_beyond_the_limit_claims_share_one_key(pg_schema):
    """The server's lock table is everybody's: few keys, yet evidence of death for all rows."""
    async with opened(pg_schema) as one, opened(pg_schema) as two:
        one._db.locks._keys_max = 3
        requests = [claim_request(thread_key(f"t{n}"), ALICE) for n in range(6)]
        claims = await one.claim(requests)
        keys = [claim.lock_key for claim in claims]
        assert len(set(keys[:3])) == 3
        assert len(set(keys[3:])) == 1
        assert await locks_of(one) == 4
        held = [Held(claim.key, claim.epoch, claim.lock_key) for claim in claims]
        await one.release(ALICE, held[:1] + held[3:5])
        assert await locks_of(one) == 3
        for name, free in (("t1", False), ("t5", False)):
            busy = await contest(two, thread_key(name), BOB)
            assert isinstance(busy, Busy)
            assert busy.lock_free is free
        await one.close()
        for name in ("t1", "t5"):
            busy = await contest(two, thread_key(name), BOB)
            assert busy.lock_free is True
        await one.open()


async def test_the_limit_follows_the_server(pg_schema):
    async with opened(pg_schema) as driver:
        [[table]] = await execute(
            "SELECT current_setting('max_locks_per_transaction')::int8 * "
            "(current_setting('max_connections')::int8 + "
            "current_setting('max_prepared_transactions')::int8) WHERE $1",
            True,
        )
        assert driver._db.locks._keys_max == min(1000, table // 8)


async def test_a_full_lock_table_leaves_claims_to_their_leases(pg_schema, caplog):
    """53200: what was locked is given back at once, the claim goes on without a key."""
    async with opened(pg_schema) as driver:
        session = driver._db.locks
        await take(driver, thread_key("before"), ALICE)
        asked, ask = [], session._ask

        async def full(name, keys):
            asked.append((name, list(keys)))
            if name == "lock":
                raise StorageUnavailableError("full", sqlstate="53200", outcome="none")
            return await ask(name, keys)

        session._ask = full
        writer = await take(driver, thread_key(), ALICE)
        assert writer.claim.lock_key is None
        assert [name for name, _ in asked] == ["lock", "unlock"]
        assert asked[0][1] == asked[1][1]
        again = await take(driver, thread_key("b"), ALICE)
        assert again.claim.lock_key is None
        assert "lock table is full" in caplog.text


async def test_a_session_that_changes_its_backend_is_a_pooler(pg_schema, caplog):
    """Transaction pooling: one warning, keys out of the rows, leases from then on."""
    async with opened(pg_schema) as one, opened(pg_schema) as two:
        first = await take(one, thread_key("a"), ALICE)
        session = one._db.locks
        assert first.claim.lock_key is not None
        session._pid += 1  # as if the last statement had run somewhere else
        with caplog.at_level(logging.WARNING, "stepwell.lock"):
            second = await take(one, thread_key("b"), ALICE)
            third = await take(one, thread_key("c"), ALICE)
        assert (second.claim.lock_key, third.claim.lock_key) == (None, None)
        assert session.pooled
        assert caplog.text.count("pgbouncer=True") == 1

        async def disarmed():
            return (await thread_row(two, thread_key("a"))).lock_key is None

        await until(disarmed)
        await first.append(checkpoint())
        assert await one.renew(ALICE, [first.held], 30.0) == [Renewed()]


async def test_a_key_lost_during_its_claim_is_not_left_in_the_row(pg_schema):
    """The session ends between lock and compare-and-set, for good: the row names no key."""
    async with opened(pg_schema) as one, opened(pg_schema) as two:
        session = one._db.locks
        take_keys = session.take

        async def lost(count):
            keys = await take_keys(count)
            session._held.clear()  # as if they had been taken out of reach meanwhile
            return keys

        session.take = lost
        writer = await take(one, thread_key(), ALICE)
        assert writer.claim.lock_key is None
        assert writer.claim.loaded.thread.lock_key is None
        assert (await thread_row(two, thread_key())).lock_key is None
        busy = await contest(two, thread_key(), BOB)
        assert busy.lock_free is None
        await writer.append(checkpoint())
        await writer.release()
        again = await take(one, thread_key(), ALICE)
        assert again.claim.loaded.thread.lock_key is None
        session.take = take_keys


async def test_leases_alone_take_no_locks(pg_schema):
    async with opened(pg_schema, locks="lease") as driver:
        assert driver.capabilities == {Capability.MANY_PROCESSES, Capability.ONLINE_BACKUP}
        writer = await take(driver, thread_key(), ALICE)
        assert writer.claim.lock_key is None
        busy = await contest(driver, thread_key(), BOB)
        assert isinstance(busy, Busy)
        assert busy.lock_free is None
        # Without a key there is no evidence of death: a suspicion cannot be confirmed.
        again = await contest(driver, thread_key(), BOB, confirmed=(busy.epoch, busy.beat))
        assert isinstance(again, Busy)
        await writer.release()
        assert await locks_of(driver) == 0


async def test_a_killed_process_frees_its_keys_at_once(pg_dsn, pg_schema):
    """kill -9: under a live lease of an hour the next one is in after one confirmation."""
    code = (
        "import asyncio, sys\n"
        "from stepwell.checkpoint.postgres._driver import PostgresDriver\n"
        "from stepwell.testing._rows import take, thread_key, worker\n"
        "async def main():\n"
        "    driver = PostgresDriver(sys.argv[1], schema=sys.argv[2])\n"
        "    await driver.open()\n"
        "    await take(driver, thread_key(), worker('child'), lease_ttl_s=3600.0)\n"
        "    print('claimed', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    async with opened(pg_schema) as driver:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, pg_dsn, pg_schema, stdout=subprocess.PIPE
        )
        try:
            assert await child.stdout.readline() == b"claimed\n"
            busy = await contest(driver, thread_key(), BOB)
            assert busy.lock_free is False
        finally:
            child.kill()
            await child.wait()

        async def free():
            return (await contest(driver, thread_key(), BOB)).lock_free

        await until(free, 2.0)
        busy = await contest(driver, thread_key(), BOB)
        bob = await take(driver, thread_key(), BOB, confirmed=(busy.epoch, busy.beat))
        assert bob.claim.taken_over


async def test_a_forked_child_does_not_keep_its_parents_locks(pg_dsn, pg_schema):
    """The child forgets: it opens connections of its own, and when the parent dies, the
    parent's locks go, although the child had inherited the sockets."""
    code = (
        "import asyncio, os, sys\n"
        "from stepwell.checkpoint.postgres._driver import PostgresDriver\n"
        "from stepwell.testing._rows import take, thread_key, worker\n"
        "me = worker('parent')\n"
        "driver = PostgresDriver(sys.argv[1], schema=sys.argv[2])\n"
        "async def before():\n"
        "    await driver.open()\n"
        "    return await take(driver, thread_key(), me, lease_ttl_s=3600.0)\n"
        "async def parent(writer):\n"
        "    await asyncio.sleep(0.5)\n"
        "    [answer] = await driver.renew(me, [writer.held], 3600.0)\n"
        "    print('parent', answer.wanted, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "async def child():\n"
        "    driver.forget()\n"
        "    await driver.open()\n"
        "    await take(driver, thread_key('of the child'), worker('child'))\n"
        "    print('child', os.getpid(), flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "loop = asyncio.new_event_loop()\n"
        "writer = loop.run_until_complete(before())\n"
        "if os.fork() == 0:\n"
        "    asyncio.run(child())\n"
        "loop.run_until_complete(parent(writer))\n"
    )
    async with opened(pg_schema) as driver:
        # Plain pipes: the grandchild holds them open when its parent is gone.
        command = [sys.executable, "-W", "error", "-c", code, pg_dsn, pg_schema]
        process = await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE)
        child = 0
        try:
            lines = [await asyncio.to_thread(process.stdout.readline) for _ in range(2)]
            said = b"".join(lines).split()
            assert set(said) >= {b"parent", b"False", b"child"}, said
            child = int(said[said.index(b"child") + 1])
            busy = await contest(driver, thread_key(), BOB)
            assert busy.lock_free is False
            process.kill()
            await asyncio.to_thread(process.wait)

            async def free():
                return (await contest(driver, thread_key(), BOB)).lock_free

            await until(free, 3.0)
            other = await contest(driver, thread_key("of the child"), BOB)
            assert other.lock_free is False
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            if child:
                os.kill(child, signal.SIGKILL)

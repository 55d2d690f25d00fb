"""Sessions: what they pin against the role's defaults, and what becomes of them."""
# ruff: noqa: F401, F811  # fixtures are imported by name

import asyncio
import gc
import os
import subprocess
import sys

import asyncpg
import pytest

from stepwell.checkpoint.driver import (
    Ask,
    Busy,
    Claim,
    Committed,
    Held,
    LoadRequest,
    Renewed,
    Stale,
    ThreadQuery,
)
from stepwell.checkpoint.postgres._driver import PostgresDriver
from stepwell.errors import StorageError, UsageError
from stepwell.testing._rows import (
    bodies,
    change,
    checkpoint,
    claim_request,
    contest,
    loaded,
    pending,
    run_row,
    take,
    thread_key,
    worker,
)
from tests._postgres import (
    VARIABLE,
    execute,
    fresh_role,
    fresh_schema,
    opened,
    pg_dsn,
    pg_schema,
    sessions,
)
from tests.unit.test_postgres_silence import restored

pytestmark = pytest.mark.postgres

ALICE, BOB = worker("alice"), worker("bob")

HOSTILE_DEFAULTS = (
    "default_transaction_isolation = 'repeatable read'",
    "default_transaction_read_only = on",
    "default_transaction_deferrable = on",
    "synchronous_commit = off",
    "lock_timeout = '1h'",
    "statement_timeout = 0",
    "enable_seqscan = on",
    "plan_cache_mode = force_custom_plan",
)

PINNED = {
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
    "synchronous_commit": "on",
    "lock_timeout": "250ms",
    "statement_timeout": "1min",
    "idle_in_transaction_session_timeout": "30s",
    "application_name": "stepwell",
}


async def grant(name, schema):
    await execute(
        f'GRANT USAGE ON SCHEMA "{schema}" TO "{name}"; GRANT SELECT, INSERT, UPDATE, DELETE '
        f'ON ALL TABLES IN SCHEMA "{schema}" TO "{name}"'
    )


async def settings(run):
    """What a session says of the settings that matter, as the driver's statements see them."""
    return {name: (await run(f"SHOW {name}"))[0][0] for name in PINNED}


async def exercise(one, two):
    """A little of everything, with a lost race: what a bad default would break."""
    alice = await take(one, thread_key(), ALICE, lease_ttl_s=0.2)
    await alice.append(checkpoint(b"1"), pending(), runs=[run_row()], change=change())
    assert await one.renew(ALICE, [alice.held], 0.2) == [Renewed()]
    await two.want([alice.key])
    late = alice.slice(checkpoint(b"late"))
    await asyncio.sleep(0.3)
    bob = await take(two, thread_key(), BOB)
    assert bodies(bob.claim.loaded.rows) == [b"1"]
    await bob.append(checkpoint(b"2"))
    assert isinstance(await alice.send(late), Stale)
    assert bodies((await one.history(alice.key, "", None)).rows) == [b"1", b"2"]
    assert len(await one.threads(ThreadQuery())) == 1
    await two.release(BOB, [bob.held])
    carol = await take(one, thread_key(), worker("carol"))
    assert await one.delete(carol.held, worker("carol"))


async def test_a_roles_defaults_change_nothing(pg_schema):
    async with opened(pg_schema), fresh_role(*HOSTILE_DEFAULTS) as (name, dsn):
        await grant(name, pg_schema)
        async with opened(pg_schema, dsn) as one, opened(pg_schema, dsn) as two:
            # The server's limit on a line is below the time for which we await its reply.
            for line, limit in ((one._db._opened.lane, "12s"), (one._db._opened.control, "2400ms")):
                found = await settings(lambda sql, line=line: line.run(sql, doing="x"))
                assert found == PINNED | {"statement_timeout": limit}
            source = one._db._opened.source
            link = await source.acquire()
            assert await settings(link.fetch) == PINNED
            await source.release(link)
            await exercise(one, two)


async def test_a_roles_defaults_change_nothing_behind_a_given_pool(pg_schema):
    """Sessions of the user's pool keep their settings: ours come with each transaction."""
    async with opened(pg_schema), fresh_role(*HOSTILE_DEFAULTS) as (name, dsn):
        await grant(name, pg_schema)
        async with asyncpg.create_pool(dsn, min_size=0, max_size=10) as pool:
            one, two = (PostgresDriver(pool=pool, schema=pg_schema) for _ in range(2))
            await one.open()
            await two.open()
            await exercise(one, two)
            [[seen]] = await pool.fetch("SELECT current_setting('default_transaction_isolation')")
            assert seen == "repeatable read"
            await one.close()
            await two.close()
            # Given back as they were lent.
            for _ in range(pool.get_size()):
                assert await pool.fetchval("SHOW synchronous_commit") == "off"


async def test_the_way_through_a_transaction_pooler(pg_schema):
    """pgbouncer=True: no prepared statement outlives its transaction, no setting, no lock."""
    async with opened(pg_schema), fresh_role(*HOSTILE_DEFAULTS) as (name, dsn):
        await grant(name, pg_schema)
        options = {"pgbouncer": True}
        async with (
            opened(pg_schema, dsn, **options) as one,
            opened(pg_schema, dsn, **options) as two,
        ):
            await exercise(one, two)
            for line in (one._db._opened.lane, one._db._opened.control):
                assert line._link._stmt_cache.get_max_size() == 0
                [[count]] = await line._link.fetch("SELECT count(*) FROM pg_prepared_statements")
                assert count <= 1  # the unnamed one that asks
                assert await line._link.fetchval("SHOW synchronous_commit") == "off"
            alice = await take(one, thread_key(), ALICE)
            assert alice.claim.lock_key is None


async def test_settings_of_the_user_win_where_they_may(pg_dsn, pg_schema):
    async with opened(
        pg_schema,
        connect={
            "server_settings": {
                "application_name": "mine",
                "statement_timeout": "5000",
                "default_transaction_isolation": "serializable",
            }
        },
    ) as driver:
        found = await settings(lambda sql: driver._db._opened.lane.run(sql, doing="x"))
        assert found["application_name"] == "mine"
        assert found["statement_timeout"] == "5s"
        assert found["transaction_isolation"] == "read committed"
        assert len(await sessions("mine")) == 2  # the lane, and what migrated


async def test_at_most_pool_size_max_connections(pg_schema):
    """Lane, lock session and readers are counted together; further readers wait their turn."""
    name = f"count-{pg_schema}"
    options = {"pool_size_max": 4, "connect": {"server_settings": {"application_name": name}}}
    async with opened(pg_schema, **options) as driver:
        alice = await take(driver, thread_key(), ALICE)
        await asyncio.gather(
            alice.append(checkpoint()),
            *(driver.load([LoadRequest(thread_key())]) for _ in range(30)),
        )
        assert len(await sessions(name)) == 4


async def test_commits_and_heartbeats_do_not_wait_for_readers(pg_schema):
    """All borrowed connections are out; lane and control line have their own."""
    async with opened(pg_schema, pool_size_max=3) as driver:
        alice = await take(driver, thread_key(), ALICE)
        async with driver._db.snapshot(primary=True), asyncio.timeout(60):
            await alice.append(checkpoint())
            assert await driver.renew(ALICE, [alice.held], 30.0) == [Renewed()]
            await alice.release()


async def test_reads_that_may_lag_go_to_the_replica(pg_dsn, pg_schema):
    """`read_url` serves loads, histories and listings; the load of a claim never uses it."""
    name = f"replica-{pg_schema}"
    sign = "&" if "?" in pg_dsn else "?"
    async with opened(pg_schema, read_url=f"{pg_dsn}{sign}application_name={name}") as driver:
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"1"), runs=[run_row()])
        await alice.release()
        bob = await take(driver, thread_key(), BOB)
        assert bodies(bob.claim.loaded.rows) == [b"1"]
        assert await sessions(name) == []
        await loaded(driver, thread_key())
        await driver.history(thread_key(), "", None)
        await driver.threads(ThreadQuery())
        await driver.runs(thread_key())
        assert len(await sessions(name)) == 1


async def test_a_given_pool_is_used_and_not_closed(pg_dsn, pg_schema):
    async with asyncpg.create_pool(pg_dsn, min_size=0, max_size=5) as pool:
        driver = PostgresDriver(pool=pool, schema=pg_schema)
        for _ in range(2):
            await driver.open()
            await driver.migrate("auto")
            alice = await take(driver, thread_key(), ALICE)
            await alice.append(checkpoint())
            await alice.release()
            assert pool.get_size() - pool.get_idle_size() == 2  # lane and lock session
            await driver.close()
            assert pool.get_size() == pool.get_idle_size()
        assert await pool.fetchval("SELECT 1") == 1


async def test_a_lane_out_of_a_given_pool_is_replaced_when_it_breaks(pg_dsn, pg_schema):
    async with asyncpg.create_pool(pg_dsn, min_size=0, max_size=5) as pool:
        driver = PostgresDriver(pool=pool, schema=pg_schema)
        await driver.open()
        await driver.migrate("auto")
        alice = await take(driver, thread_key(), ALICE)
        for line in (driver._db._opened.lane, driver._db._opened.control):
            await execute("SELECT pg_terminate_backend($1, 5000)", line._link.get_server_pid())
        await asyncio.sleep(0.05)
        await alice.append(checkpoint())
        await restored(driver, 1)
        busy = await contest(driver, thread_key(), BOB)
        assert (type(busy), busy.lock_free) == (Busy, False)
        await driver.close()
        assert pool.get_size() == pool.get_idle_size()


async def test_a_pool_that_is_too_small_is_refused(pg_dsn):
    async with asyncpg.create_pool(pg_dsn, min_size=0, max_size=2) as pool:
        with pytest.raises(UsageError, match="at least 3"):
            PostgresDriver(pool=pool)
        with pytest.raises(UsageError, match="connect="):
            PostgresDriver(pool=pool, connect={})
    driver = PostgresDriver(pool=asyncpg.create_pool(pg_dsn, min_size=0, max_size=3))
    with pytest.raises(StorageError, match="the given pool"):
        await driver.open()


def test_one_driver_on_one_loop_after_another(pg_dsn):
    """Closed or not, a driver opens again on the next loop; nothing is left on the server."""
    schema = asyncio.run(_enter(fresh_schema()))
    driver = PostgresDriver(
        pg_dsn, schema=schema, connect={"server_settings": {"application_name": schema}}
    )

    async def use(turn, *, close):
        await driver.open()
        await driver.migrate("auto")
        writer = await take(driver, thread_key(), worker(f"w{turn}"), lease_ttl_s=0.01)
        writer.lease_ttl_s = 0.01
        assert writer.record_no == turn
        await asyncio.gather(
            writer.append(checkpoint()), driver.load([LoadRequest(thread_key())] * 3)
        )
        if close:
            await driver.close()
        await asyncio.sleep(0.05)

    async def gone():
        async with asyncio.timeout(60):
            while await sessions(schema):  # noqa: ASYNC110  # the server tells nobody
                await asyncio.sleep(0.01)

    try:
        for turn, close in enumerate((True, False, False, True)):
            asyncio.run(use(turn, close=close))
            driver.forget()
            gc.collect()
            asyncio.run(gone())
    finally:
        asyncio.run(execute(f'DROP SCHEMA "{schema}" CASCADE'))


async def _enter(context):
    return await context.__aenter__()


def test_closing_leaves_no_warning_and_no_task(pg_dsn):
    """A whole life under -W error: nothing on stderr, nothing left on the loop."""
    code = (
        "import asyncio, gc, sys\n"
        "from stepwell.checkpoint.postgres._driver import PostgresDriver\n"
        "from stepwell.checkpoint.driver import LoadRequest\n"
        "from stepwell.testing._rows import checkpoint, take, thread_key, worker\n"
        "from tests._postgres import fresh_schema\n"
        "async def main():\n"
        "    async with fresh_schema() as schema:\n"
        "        driver = PostgresDriver(sys.argv[1], schema=schema)\n"
        "        await driver.open(); await driver.migrate('auto')\n"
        "        writer = await take(driver, thread_key(), worker('w'))\n"
        "        await writer.append(checkpoint())\n"
        "        def load(): return driver.load([LoadRequest(thread_key())])\n"
        "        await asyncio.gather(*(load() for _ in range(5)))\n"
        "        call = asyncio.create_task(load())\n"
        "        await asyncio.sleep(0); call.cancel()\n"
        "        await asyncio.wait([call])\n"
        "        await driver.close(); await driver.close()\n"
        "        assert asyncio.all_tasks() == {asyncio.current_task()}, asyncio.all_tasks()\n"
        "        driver = PostgresDriver(sys.argv[1], schema='x', connect={'database': 'none'})\n"
        "        try: await driver.open()\n"
        "        except Exception: pass\n"
        "        del driver; gc.collect()\n"
        "asyncio.run(main()); gc.collect()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, pg_dsn],
        env={**os.environ, VARIABLE: pg_dsn},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert (done.returncode, done.stderr) == (0, "")


async def test_opening_and_closing_are_idempotent(pg_dsn, pg_schema):
    driver = PostgresDriver(pg_dsn, schema=pg_schema)
    await driver.close()
    await asyncio.gather(driver.open(), driver.open())
    before = driver._db._opened
    await driver.open()
    assert driver._db._opened is before
    await asyncio.gather(driver.close(), driver.close())
    await driver.close()


# --- cancellation ---------------------------------------------------------------------------------


SPINS = 80
MOMENTS = range(SPINS + 60)


async def reach(task, moment):
    """Let a task get so far: turn by turn of the loop at first; then the server is at work,
    and waits that grow by the half give it as long as it takes on a busy machine."""
    for _ in range(min(moment, SPINS)):
        if task.done():
            return
        await asyncio.sleep(0)
    if moment > SPINS:
        await asyncio.wait([task], timeout=0.0005 * 1.5 ** (moment - SPINS))


async def cancelled_at(call, moment):
    """Cancel `call` at a moment; its result, or None if that hit it."""
    task = asyncio.ensure_future(call)
    await reach(task, moment)
    task.cancel()
    await asyncio.wait([task])
    return None if task.cancelled() else task.result()


async def nothing_is_held(driver, key):
    """The row is free, no advisory lock is held, no transaction is open anywhere."""
    row = (await loaded(driver, key)).thread
    assert row is None or row.owner is None
    assert driver._db.locks.held == 0
    for _ in range(50):
        rows = await execute(
            "SELECT a.state, count(l.*) FROM pg_stat_activity a LEFT JOIN pg_locks l "
            "ON l.pid = a.pid AND l.locktype = 'advisory' WHERE a.application_name = $1 "
            "GROUP BY a.pid, a.state",
            "stepwell",
        )
        if all(state == "idle" and locks == 0 for state, locks in rows):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(rows)


@pytest.mark.parametrize("kind", ["new", "written", "taken over"])
async def test_a_claim_cancelled_anywhere_leaves_nothing(pg_schema, kind):
    """At one moment after the other until it finishes before it: no row owned, no lock."""
    async with opened(pg_schema) as driver:
        for turns in MOMENTS:
            key = thread_key(f"t{turns}" if kind == "new" else "t")
            if kind == "taken over":
                await take(driver, key, BOB, lease_ttl_s=0.001, lock=False)
                await asyncio.sleep(0.005)
            elif kind == "written":
                writer = await take(driver, key, BOB)
                await writer.append(checkpoint(), let_go=True)
                await driver.unlock([writer.held])
            got = await cancelled_at(driver.claim([claim_request(key, ALICE)]), turns)
            if got is not None:
                assert isinstance(got[0], Claim)
                await driver.release(ALICE, [Held(key, got[0].epoch, got[0].lock_key)])
            if kind != "taken over" or got is not None:
                await nothing_is_held(driver, key)
            else:
                row = (await loaded(driver, key)).thread
                assert row.owner in (None, BOB)
                assert driver._db.locks.held == 0
            if got is not None:
                return
        raise AssertionError("the call never finished")


async def test_a_commit_cancelled_anywhere_is_whole_or_absent(pg_schema):
    """Whatever the server made of it: row and record_no agree, and the lane goes on."""
    async with opened(pg_schema) as driver:
        for turns in MOMENTS:
            alice = await take(driver, thread_key(f"t{turns}"), ALICE)
            piece = alice.slice(checkpoint(b"1"), pending(), runs=[run_row()])
            got = await cancelled_at(driver.commit([piece]), turns)
            again = (await driver.commit([piece]))[0]
            while not isinstance(again, Committed):
                again = (await driver.commit([piece]))[0]
            assert again.record_no == 2
            answer = await loaded(driver, alice.key)
            assert answer.thread.record_no == 2
            assert (bodies(answer.rows), len(answer.writes)) == ([b"1"], 1)
            await alice.release()
            await nothing_is_held(driver, alice.key)
            if got is not None:
                assert again.landed
                return
        raise AssertionError("the call never finished")


CALLS = {
    "release": lambda driver, w: driver.release(ALICE, [w.held]),
    "renew": lambda driver, w: driver.renew(ALICE, [w.held], 30.0),
    "load": lambda driver, w: driver.load([LoadRequest(w.key)]),
    "history": lambda driver, w: driver.history(w.key, "", None),
    "want": lambda driver, w: driver.want([w.key]),
    "ask": lambda driver, w: driver.ask([Ask(w.key, w.epoch, "interrupt:x")]),
    "delete": lambda driver, w: driver.delete(w.held, ALICE),
    "landed": lambda driver, w: driver.landed(w.key, 1, w.epoch),
}


@pytest.mark.parametrize("verb", CALLS)
async def test_other_verbs_cancelled_anywhere_leave_sound_sessions(pg_schema, verb):
    async with opened(pg_schema) as driver:
        for turns in MOMENTS:
            alice = await take(driver, thread_key(f"t{turns}"), ALICE)
            await alice.append(checkpoint())
            task = asyncio.ensure_future(CALLS[verb](driver, alice))
            await reach(task, turns)
            finished = task.done()
            task.cancel()
            await asyncio.wait([task])
            await driver.release(ALICE, [alice.held])
            await nothing_is_held(driver, alice.key)
            if finished:
                return
        raise AssertionError("the call never finished")


async def test_reads_of_whoever_writes_do_not_go_to_the_replica(pg_dsn, pg_schema):
    """`current=True` asks the database that commits go to."""
    name = f"replica-{pg_schema}"
    sign = "&" if "?" in pg_dsn else "?"
    async with opened(pg_schema, read_url=f"{pg_dsn}{sign}application_name={name}") as driver:
        alice = await take(driver, thread_key(), ALICE)
        await alice.append(checkpoint(b"1"))
        [answer] = await driver.load([LoadRequest(thread_key(), current=True)])
        page = await driver.history(thread_key(), "", None, current=True)
        assert bodies(answer.rows) == bodies(page.rows) == [b"1"]
        assert await sessions(name) == []

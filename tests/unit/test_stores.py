"""What is particular to stores in databases: opening, sharing, batches, how much is read."""
# ruff: noqa: F401, F811  # fixtures are imported by name

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import sqlite3
import subprocess
import sys
import threading
import time

import aiosqlite
import asyncpg
import pytest

from stepwell._codec import Codec
from stepwell._db.sqlite import Database
from stepwell.checkpoint.postgres import PostgresSaver
from stepwell.checkpoint.sqlite import SqliteSaver
from stepwell.errors import (
    InvalidIdError,
    SchemaVersionError,
    StorageError,
    StorageUnavailableError,
    UsageError,
)
from stepwell.store import _sqlite_items
from stepwell.store.base import Item, PutOp, SearchItem
from stepwell.store.base._gathering import Gathering
from stepwell.store.memory import InMemoryStore
from stepwell.store.postgres import AsyncPostgresStore, PostgresStore
from stepwell.store.sqlite import AsyncSqliteStore, SqliteStore
from tests._postgres import execute, fresh_name, pg_dsn, pg_schema

NS = ("a",)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "memory.db"


def tables(path) -> set[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {row[0] for row in rows}


# -- opening and closing


def test_a_store_is_used_directly_in_with_and_in_async_with(path):
    direct = SqliteStore.from_conn_string(path)
    direct.put(NS, "x", {"n": 1})
    direct.close()
    direct.close()
    with SqliteStore.from_conn_string(f"sqlite:///{path}") as store:
        store.setup()
        store.setup()
        assert store.get(NS, "x").value == {"n": 1}

    async def main():
        async with AsyncSqliteStore.from_conn_string(str(path)) as store:
            await store.setup()
            assert (await store.aget(NS, "x")).value == {"n": 1}

    asyncio.run(main())


def test_a_closed_store_refuses_until_it_is_opened_again(path):
    store = SqliteStore.from_conn_string(path)
    with store:
        store.put(NS, "x", {})
    with pytest.raises(UsageError, match="closed"):
        store.get(NS, "x")
    with pytest.raises(UsageError, match="closed"):
        store.batch([PutOp(NS, "x", {})])
    with store:
        assert store.get(NS, "x") is not None


def test_a_store_follows_from_one_loop_to_the_next(path):
    store = SqliteStore.from_conn_string(path)
    for n in range(3):
        asyncio.run(store.aput(NS, str(n), {"n": n}))
    assert len(store.search(())) == 3
    store.close()


async def test_a_sync_call_on_the_stores_own_loop_names_the_other_form(path):
    async with SqliteStore.from_conn_string(path) as store:
        for call in (
            lambda: store.get(NS, "x"), lambda: store.put(NS, "x", {}), lambda: store.search(NS),
            lambda: store.delete(NS, "x"), lambda: store.batch([PutOp(NS, "x", {})]),
            store.list_namespaces, store.sweep_ttl, store.setup,
        ):  # fmt: skip
            with pytest.raises(UsageError, match=r"\.a[a-z_]+\("):
                call()


def test_a_store_that_is_forgotten_says_so(path):
    store = SqliteStore.from_conn_string(path)
    store.put(NS, "x", {})
    with pytest.warns(ResourceWarning, match="SqliteStore was never closed") as found:  # noqa: PT031
        del store
        deadline = time.monotonic() + 5
        while not found and time.monotonic() < deadline:  # the background thread may hold it yet
            gc.collect()
            time.sleep(0.01)


def test_memory_of_its_own_is_private():
    with (
        SqliteStore.from_conn_string(":memory:") as one,
        SqliteStore.from_conn_string("sqlite://") as two,
    ):
        one.put(NS, "x", {})
        assert two.get(NS, "x") is None


@pytest.mark.parametrize("kind", [SqliteStore, AsyncSqliteStore])
def test_what_is_no_database_is_refused(kind, path):
    for bad in (None, str(path), 5, object()):
        with pytest.raises(UsageError):
            kind(bad)
    for bad in ("postgresql://x", 5, None):
        with pytest.raises(UsageError):
            kind.from_conn_string(bad)
    for options in (
        {"migrate": "maybe"},
        {"synchronous": "off"},
        {"outage_budget_s": 0},
        {"ttl": 5},
    ):
        with pytest.raises(UsageError):
            kind.from_conn_string(path, **options)


def test_arguments_of_langgraphs_that_have_no_use_are_refused():
    with contextlib.closing(sqlite3.connect(":memory:")) as connection, pytest.raises(UsageError):
        SqliteStore(connection, deserializer=str)
    with pytest.raises(UsageError, match="connect="):
        PostgresStore.from_conn_string(
            "postgresql://x", pool_config={"kwargs": {"autocommit": True}}
        )
    with pytest.raises(UsageError):
        PostgresStore("postgresql://x")


def test_a_file_that_cannot_be_opened_is_an_error_of_ours(tmp_path):
    with pytest.raises(StorageError):
        SqliteStore.from_conn_string(tmp_path / "none" / "x.db").get(NS, "x")


FORK = """
import os, sys
from stepwell.store.sqlite import SqliteStore
with SqliteStore.from_conn_string(sys.argv[1]) as store:
    store.put(("a",), "parent", {})
    child = os.fork()
    if child == 0:
        store.put(("a",), "child", {})
        print(sorted(item.key for item in store.search(())), flush=True)
        store.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    store.put(("a",), "parent again", {})
    print(len(store.search(())))
"""


def test_a_forked_child_opens_its_own_connections(path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORK, str(path)],
        capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip
    assert done.stdout == "['child', 'parent']\n3\n"


async def test_a_put_that_was_cancelled_before_its_batch_is_not_done(path):
    async with SqliteStore.from_conn_string(path) as store:
        await store.aget(NS, "x")
        putting = asyncio.ensure_future(store.aput(NS, "x", {}))
        await asyncio.sleep(0)
        putting.cancel()
        await store.aput(NS, "y", {})
        assert [item.key for item in await store.asearch(())] == ["y"]


async def test_calls_from_other_loops_are_forwarded(path):
    async with SqliteStore.from_conn_string(path) as store:
        await store.aput(NS, "x", {"n": 1})
        item = await asyncio.to_thread(lambda: asyncio.run(store.aget(NS, "x")))
        assert item.value == {"n": 1}


# -- tables


async def test_savers_and_stores_make_their_own_tables_only(tmp_path):
    saver_file, store_file = tmp_path / "saver.db", tmp_path / "store.db"
    async with SqliteSaver.from_conn_string(saver_file):
        pass
    async with SqliteStore.from_conn_string(store_file):
        pass
    assert not [name for name in tables(saver_file) if "store" in name]
    assert tables(store_file) == {"stepwell_store_meta", "stepwell_store_item"}


async def test_savers_and_stores_live_in_one_file(path):
    async with SqliteStore.from_conn_string(path) as store:
        await store.aput(NS, "x", {})
        async with SqliteSaver.from_conn_string(path) as saver:
            shared = SqliteStore(saver)
            assert (await shared.aget(NS, "x")) is not None
            await shared.aput(NS, "y", {})
        assert (await store.aget(NS, "y")) is not None


async def test_check_names_what_is_missing_and_off_creates_nothing(path):
    with pytest.raises(SchemaVersionError):
        await SqliteStore.from_conn_string(path, migrate="check").aget(NS, "x")
    off = SqliteStore.from_conn_string(path, migrate="off")
    with pytest.raises(StorageError):
        await off.aget(NS, "x")
    assert tables(path) == set()
    await off.asetup()
    assert await off.aget(NS, "x") is None
    await off.aclose()


async def test_tables_of_a_newer_release_are_refused(path):
    async with SqliteStore.from_conn_string(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE stepwell_store_meta SET value = '77'")
        connection.commit()
    with pytest.raises(SchemaVersionError, match="77"):
        await SqliteStore.from_conn_string(path).aget(NS, "x")
    async with SqliteSaver.from_conn_string(path):
        """Savers have a version of their own."""


@pytest.mark.postgres
async def test_tracks_on_postgres_are_apart(pg_dsn, pg_schema):
    async def found():
        rows = await execute(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = $1 AND relkind = 'r'",
            pg_schema,
        )
        return {row[0] for row in rows}

    async with PostgresStore.from_conn_string(pg_dsn, schema=pg_schema) as store:
        await store.aput(NS, "x", {})
        assert await found() == {"stepwell_store_migration", "stepwell_store_item"}
    async with PostgresSaver.from_conn_string(pg_dsn, schema=pg_schema) as saver:
        assert (await PostgresStore(saver).aget(NS, "x")) is not None
    with pytest.raises(SchemaVersionError):
        await PostgresStore.from_conn_string(pg_dsn, schema=f"{pg_schema}x", migrate="check").aget(
            NS, "x"
        )


# -- sharing


async def test_a_store_that_shares_a_saver_closes_nothing_of_its(path):
    async with SqliteSaver.from_conn_string(path) as saver:
        store = SqliteStore(saver)
        async with store:
            await store.aput(NS, "x", {})
        assert [thread async for thread in saver.alist_threads()] == []
        assert (await store.aget(NS, "x")) is not None
    with pytest.raises(UsageError, match="closed"):
        await store.aget(NS, "x")
    async with saver:
        assert (await store.aget(NS, "x")) is not None


@pytest.mark.postgres
async def test_a_pool_is_used_and_not_closed(pg_dsn, pg_schema):
    async with asyncpg.create_pool(pg_dsn, min_size=0, max_size=4) as pool:
        async with AsyncPostgresStore(pool, schema=pg_schema) as store:
            await store.aput(NS, "x", {"n": 1})
            assert [i.key for i in await store.asearch((), filter={"n": 1})] == ["x"]
        assert await pool.fetchval("SELECT 1") == 1


@pytest.mark.postgres
async def test_a_namespace_too_long_for_an_index_is_refused_alone(pg_dsn, pg_schema):
    async with PostgresStore.from_conn_string(pg_dsn, schema=pg_schema) as store:
        outcomes = await asyncio.gather(
            store.aput(("x" * 3000,), "k", {}),
            store.aput(NS, "k" * 9000, {}),
            return_exceptions=True,
        )
        assert isinstance(outcomes[0], InvalidIdError)
        assert outcomes[1] is None
        assert (await store.aget(NS, "k" * 9000)) is not None


def test_a_connection_of_this_thread_only_is_used_in_this_thread():
    """As LangGraph's documentation opens one."""
    connection = sqlite3.connect(":memory:")
    store = SqliteStore(connection)
    store.setup()
    store.put(NS, "x", {"n": 1})
    assert store.search((), filter={"n": 1})[0].key == "x"
    [[count]] = connection.execute("SELECT count(*) FROM stepwell_store_item").fetchall()
    assert count == 1
    del store
    gc.collect()

    async def on_its_loop():
        async with AsyncSqliteStore(connection) as again:
            assert (await again.aget(NS, "x")).value == {"n": 1}

    asyncio.run(on_its_loop())
    connection.close()
    with pytest.raises(UsageError):
        SqliteStore(connection)


def test_the_file_of_a_connection_is_used_through_our_own(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        store = SqliteStore(connection)
    with store:
        store.put(NS, "x", {})
        assert store.get(NS, "x") is not None


async def test_a_connection_of_aiosqlite_is_used_and_not_closed():
    async with aiosqlite.connect(":memory:") as connection:
        async with AsyncSqliteStore(connection) as store:
            await store.aput(NS, "x", {})
            assert [item.key for item in await store.asearch(())] == ["x"]
        cursor = await connection.execute("SELECT count(*) FROM stepwell_store_item")
        assert await cursor.fetchone() == (1,)


async def test_without_json_functions_a_search_says_the_same(path, monkeypatch):
    """What the database narrows down is looked at once more, so it may narrow nothing down."""
    monkeypatch.setattr(_sqlite_items, "HAS_JSON", False)
    async with SqliteStore.from_conn_string(path) as store:
        await store.abatch([PutOp(NS, str(n), {"n": n}) for n in range(50)])
        found = await store.asearch(NS, filter={"n": {"$gte": 40, "$lt": 45}})
        assert sorted(item.key for item in found) == ["40", "41", "42", "43", "44"]


# -- batches, and how much is read


class Counted:
    """Counts transactions of a database."""

    def __init__(self, monkeypatch):
        self.writes = self.reads = 0
        for name in ("write", "read"):
            monkeypatch.setattr(Database, name, self._counting(name, getattr(Database, name)))

    def _counting(self, name, original):
        async def counted(database, work, **options):
            setattr(self, f"{name}s", getattr(self, f"{name}s") + 1)
            return await original(database, work, **options)

        return counted


async def test_what_is_put_in_one_tick_is_one_transaction(path, monkeypatch):
    async with SqliteStore.from_conn_string(path) as store:
        await store.aget(NS, "x")
        counted = Counted(monkeypatch)
        await asyncio.gather(*(store.aput(NS, str(n), {"n": n}) for n in range(500)))
        assert counted.writes == 1
        await asyncio.gather(*(store.aget(NS, str(n)) for n in range(500)))
        assert counted.reads == 1
        await asyncio.gather(*(store.aput(NS, str(n), {"n": n}) for n in range(2500)))
        assert counted.writes == 4, "a thousand at a time"
        await store.abatch([PutOp(NS, str(n), {"n": -n}) for n in range(5000)])
        assert counted.writes == 5, "what is one batch stays one"


async def test_while_a_batch_is_under_way_the_next_one_forms():
    sizes, gate = [], asyncio.Event()

    async def run(ops):
        sizes.append(len(ops))
        await gate.wait()
        return ops

    gathering = Gathering(run)
    first = asyncio.gather(*(gathering.submit(n) for n in range(3)))
    await asyncio.sleep(0)
    later = [asyncio.ensure_future(gathering.submit(n)) for n in range(5)]
    await asyncio.sleep(0)
    later[0].cancel()
    gate.set()
    assert await first == [0, 1, 2]
    assert await asyncio.gather(*later[1:]) == [1, 2, 3, 4]
    await gathering.idle()
    assert sizes == [3, 4], "who was cancelled before the batch began is not in it"


async def test_a_batch_that_fails_is_tried_apart_if_that_may_help():
    async def run(ops):
        if "bad" in ops:
            raise ValueError("bad")
        return [op.upper() for op in ops]

    def submit(gathering):
        ops = ("a", "bad", "b")
        return asyncio.gather(*(gathering.submit(op) for op in ops), return_exceptions=True)

    a, bad, b = await submit(Gathering(run, apart=lambda _: True))
    assert (a, type(bad), b) == ("A", ValueError, "B")
    assert {type(one) for one in await submit(Gathering(run))} == {ValueError}


class Decoded:
    """Counts the documents that were read."""

    def __init__(self, monkeypatch):
        self.count = 0
        original = Codec.decode

        def decode(codec, *args, **options):
            self.count += 1
            return original(codec, *args, **options)

        monkeypatch.setattr(Codec, "decode", decode)


MANY = 20_000


async def _many(store):
    for start in range(0, MANY, 5000):
        await store.abatch(
            [
                PutOp(("many", str(n % 7)), str(n), {"n": n, "s": f"s{n % 1000}"})
                for n in range(start, start + 5000)
            ]
        )


async def _reads_little(store, monkeypatch, chunk):
    await _many(store)
    decoded = Decoded(monkeypatch)
    for asked, limit, most in [
        ({}, 10, 10),
        ({"offset": 15_000}, 10, 10),
        ({"filter": {"s": "s77"}}, 5, 5 + chunk),
        ({"filter": {"n": 12_345}}, 10, 1),
        ({"filter": {"n": {"$gte": 19_990}}}, 100, 10),
        ({"filter": {"n": {"$lt": 3}, "s": "s1"}}, 10, 1),
        ({"filter": {"none": 1}}, 10, 0),
        # Not for the database to judge; the search still ends when its page is full.
        ({"filter": {"s": {"$ne": "s5"}}}, 10, 11 + chunk),
        ({"filter": {"n": {"$ne": 1}}, "offset": 5}, 10, 16 + chunk),
    ]:
        decoded.count = 0
        found = await store.asearch(("many",), limit=limit, **asked)
        assert len(found) <= decoded.count <= most, asked


async def test_a_search_on_sqlite_reads_no_more_than_it_needs(path, monkeypatch):
    async with SqliteStore.from_conn_string(path) as store:
        await _reads_little(store, monkeypatch, 0)


@pytest.mark.postgres
async def test_a_search_on_postgres_reads_no_more_than_it_needs(pg_dsn, pg_schema, monkeypatch):
    async with PostgresStore.from_conn_string(pg_dsn, schema=pg_schema) as store:
        await _reads_little(store, monkeypatch, 256)


# -- several at once


PROGRAM = """
import sys
from stepwell.store.sqlite import SqliteStore
with SqliteStore.from_conn_string(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(60):
        store.put(("own", sys.argv[2]), str(n), {"n": n})
        store.put(("shared",), str(n), {"by": sys.argv[2], "n": n})
"""


def test_two_processes_on_one_file(path):
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in "ab"
    ]  # fmt: skip
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=200)
        assert process.returncode == 0
    with SqliteStore.from_conn_string(path) as store:
        for name in "ab":
            assert len(store.search(("own", name), limit=100)) == 60
        assert {i.value["n"] for i in store.search(("shared",), limit=100)} == set(range(60))


@pytest.mark.postgres
async def test_two_pools_that_write_the_same_keys_in_any_order(pg_dsn, pg_schema):
    """Batches lock rows in the order of their keys, so none waits for another in a circle."""

    def opened():
        return PostgresStore.from_conn_string(pg_dsn, schema=pg_schema, outage_budget_s=20)

    async with opened() as one, opened() as two:
        names = [str(n) for n in range(100)]
        for _ in range(5):
            await asyncio.gather(
                one.abatch([PutOp(NS, name, {"by": 1}) for name in names]),
                two.abatch([PutOp(NS, name, {"by": 2}) for name in reversed(names)]),
            )
            found = await one.asearch(NS, limit=200)
            assert len(found) == 100
            assert len({item.value["by"] for item in found}) == 1, "a batch is one transaction"


def _use_from_everywhere(store, rounds=30):
    """Threads that call, and loops whose tasks are cancelled at any moment: nobody is left."""
    errors = []

    def thread(seed):
        chance = random.Random(seed)
        try:
            for _ in range(rounds):
                key = str(chance.randrange(20))
                store.put(("t", key), key, {"seed": seed})
                store.get(("t", key), key)
                store.search(("t",), filter={"seed": seed}, limit=5)
                store.batch([PutOp(("t", key), key, None), PutOp(("t", key), key, {"seed": seed})])
        except Exception as error:
            errors.append(error)

    async def tasks(seed):
        chance = random.Random(seed)
        for _ in range(rounds):
            keys = [str(chance.randrange(20)) for _ in range(10)]
            calls = [
                asyncio.ensure_future(call)
                for key in keys
                for call in (
                    store.aput(("t", key), key, {"seed": seed}),
                    store.aget(("t", key), key),
                )
            ]
            await asyncio.sleep(chance.random() * 0.002)
            for call in calls:
                if chance.random() < 0.3:
                    call.cancel()
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            errors.extend(one for one in outcomes if isinstance(one, Exception))

    workers = [threading.Thread(target=thread, args=(n,), daemon=True) for n in range(3)] + [
        threading.Thread(target=lambda n=n: asyncio.run(tasks(n)), daemon=True) for n in range(3, 6)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert errors == []
    assert not any(worker.is_alive() for worker in workers)


def test_threads_and_loops_share_a_store_on_sqlite(path):
    with SqliteStore.from_conn_string(path) as store:
        _use_from_everywhere(store)


@pytest.mark.postgres
def test_threads_and_loops_share_a_store_on_postgres(pg_dsn):
    schema = fresh_name()
    with PostgresStore.from_conn_string(pg_dsn, schema=schema) as store:
        _use_from_everywhere(store)
    asyncio.run(execute(f'DROP SCHEMA "{schema}" CASCADE'))


def test_a_file_that_somebody_keeps_locked(path):
    with SqliteStore.from_conn_string(path, outage_budget_s=0.2) as store:
        store.put(NS, "x", {"n": 1})
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageUnavailableError):
                store.put(NS, "x", {"n": 2})
            assert store.get(NS, "x").value == {"n": 1}, "readers do not wait"
            other.execute("ROLLBACK")
        store.put(NS, "x", {"n": 3})
        assert store.get(NS, "x").value == {"n": 3}


async def test_a_lock_that_goes_away_is_waited_for(path):
    async with SqliteStore.from_conn_string(path, outage_budget_s=20) as store:
        await store.aput(NS, "x", {"n": 1})
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            writing = asyncio.ensure_future(store.aput(NS, "x", {"n": 2}))
            await asyncio.sleep(0.2)
            assert not writing.done()
            other.execute("ROLLBACK")
            await writing
        assert (await store.aget(NS, "x")).value == {"n": 2}


@pytest.mark.postgres
async def test_connections_that_were_lost_are_made_anew(pg_dsn, pg_schema):
    name = f"store-{pg_schema}"
    dsn = f"{pg_dsn}{'&' if '?' in pg_dsn else '?'}application_name={name}"
    async with PostgresStore.from_conn_string(dsn, schema=pg_schema) as store:
        await store.aput(NS, "x", {"n": 1})
        for n in range(3):
            gone = await execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = $1",
                name,
            )
            assert gone
            await store.aput(NS, "x", {"n": n})
            assert (await store.aget(NS, "x")).value == {"n": n}
            assert len(await store.asearch((), filter={"n": n})) == 1


# -- the sweeper, synchronously


def test_a_sweeper_of_the_sync_store(path):
    with SqliteStore.from_conn_string(path, ttl={"default_ttl": 0}) as store:
        store.put(NS, "x", {})
        future = store.start_ttl_sweeper(0.0005)
        for _ in range(1000):
            if not store.list_namespaces():
                break
            threading.Event().wait(0.01)
        else:
            pytest.fail("nothing was swept in ten seconds")
        assert not future.done()
        assert store.stop_ttl_sweeper(10)
        assert future.result(60) is None
        again = store.start_ttl_sweeper(10)
        assert again.cancel()
        assert store.stop_ttl_sweeper(10)
    with SqliteStore.from_conn_string(path) as store:
        assert store.start_ttl_sweeper().done()
        assert store.stop_ttl_sweeper()


async def test_closing_ends_the_sweeper(path):
    store = SqliteStore.from_conn_string(path, ttl={"default_ttl": 1})
    async with store:
        task = await store.astart_ttl_sweeper(10)
    await asyncio.wait_for(task, 60)


# -- values


def test_items_can_be_part_of_a_state():
    store = InMemoryStore()
    store.put(NS, "x", {"t": (1, 2)})
    found = [store.get(NS, "x"), *store.search(())]
    encoded = Codec().encode(found)
    back = Codec().decode(*encoded)
    assert [type(item) for item in back] == [Item, SearchItem]
    assert back == found
    assert repr(back[0]) == repr(found[0])


def test_items_of_json_have_times_too():
    store = InMemoryStore()
    store.put(NS, "x", {"n": 1})
    item = store.get(NS, "x")
    assert Item(**item.dict()) == item
    assert item != "x"
    assert hash(Item(**item.dict())) == hash(item)


def test_embeddings_with_sync_methods_only_will_do():
    class Old:
        def embed_documents(self, texts):
            return [[float(len(text)), 1.0] for text in texts]

        def embed_query(self, text):
            return [float(len(text)), 1.0]

    store = InMemoryStore(index={"dims": 2, "embed": Old(), "fields": ["t"]})
    store.put(NS, "long", {"t": "x" * 9})
    store.put(NS, "short", {"t": "x"})
    assert store.search((), query="y")[0].key == "short"
    found = asyncio.run(store.asearch((), query="y" * 9))
    assert found[0].key == "long"
    with pytest.raises(TypeError):
        InMemoryStore(index={"dims": 2, "embed": 5})

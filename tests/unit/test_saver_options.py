"""Opening savers: URLs, options, environment, names of threads."""

from __future__ import annotations

import asyncio
import inspect
import re
import sqlite3
import time
import tomllib
import uuid
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import aiosqlite
import asyncpg
import pytest

import stepwell
from stepwell import Keyring, Retention, open_saver
from stepwell.checkpoint import _open, _options
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.memory import InMemorySaver, MemorySaver
from stepwell.checkpoint.postgres import PostgresSaver
from stepwell.checkpoint.postgres.aio import AsyncPostgresSaver
from stepwell.checkpoint.sqlite import SqliteSaver
from stepwell.checkpoint.sqlite.aio import AsyncSqliteSaver
from stepwell.errors import (
    InvalidIdError,
    StorageError,
    StorageUnavailableError,
    UsageError,
)
from stepwell.graph import START, StateGraph

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("STEPWELL_DSN", "STEPWELL_KEYRING", *_open._FROM_ENVIRONMENT):
        monkeypatch.delenv(name, raising=False)


def settings(saver):
    """The journal options that a saver was made with."""
    journal = asyncio.run(saver._home._make())
    return journal._around.options


# --- URLs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", InMemorySaver),
        ("sqlite://", SqliteSaver),
        ("sqlite:///relative.db", SqliteSaver),
        ("sqlite:///:memory:", SqliteSaver),
        (NOWHERE, PostgresSaver),
        (NOWHERE.replace("postgresql", "postgres"), PostgresSaver),
    ],
)
def test_a_url_says_which_saver(url, kind):
    saver = open_saver(url)
    assert type(saver) is kind
    assert isinstance(saver, Saver)
    assert saver.home() is None


def test_opening_does_no_io(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_saver("sqlite:///relative.db")
    open_saver(f"sqlite:///{tmp_path}/absolute.db")
    SqliteSaver.from_conn_string("plain.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("sqlite:///a.db", "a.db"),
        ("sqlite:////{folder}/b.db", "b.db"),
        ("sqlite:///with%20blank.db", "with blank.db"),
        ("plain.db", "plain.db"),
        ("{folder}/plain.db", "plain.db"),
        ("file:uri.db", "uri.db"),
        ("file:{folder}/uri.db?cache=private", "uri.db"),
    ],
)
def test_where_sqlite_puts_its_file(written, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = written.format(folder=str(tmp_path).lstrip("/") if "////" in written else tmp_path)
    with SqliteSaver.from_conn_string(text):
        assert (tmp_path / name).is_file()


def test_a_path_object_will_do(tmp_path):
    with SqliteSaver.from_conn_string(tmp_path / "a.db"):
        assert (tmp_path / "a.db").is_file()


@pytest.mark.parametrize("written", [":memory:", "", "sqlite://", "sqlite:///:memory:"])
def test_private_databases_in_memory(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SqliteSaver.from_conn_string(written) as one, SqliteSaver.from_conn_string(written) as two:
        assert list(one.list_threads()) == list(two.list_threads()) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["mysql://host/db", "threads.db", "", "sqlite:", "sqlite:/a.db", "memory", "redis://"]
)
def test_an_unknown_url_is_refused_and_told_what_there_is(url):
    with pytest.raises(UsageError) as caught:
        open_saver(url)
    for form in ("memory://", "sqlite:///", "postgresql://"):
        assert form in str(caught.value)


def test_a_refused_url_does_not_show_its_password():
    with pytest.raises(UsageError) as caught:
        open_saver("mysql://user:secret@host/db")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["memory://name", "sqlite://host/a.db", "sqlite:///", "sqlite:///a.db?mode=ro"]
)
def test_a_url_with_something_it_cannot_have_is_refused(url):
    with pytest.raises(UsageError):
        open_saver(url)


@pytest.mark.parametrize("kind", [SqliteSaver, AsyncSqliteSaver])
def test_a_saver_refuses_the_url_of_another_database(kind):
    with pytest.raises(UsageError, match="open_saver"):
        kind.from_conn_string(NOWHERE)


def test_a_url_is_a_text():
    with pytest.raises(UsageError, match="int"):
        open_saver(7)


# --- options ------------------------------------------------------------------------------------

ALL = {
    "migrate": "check",
    "lease_ttl_s": 3,
    "outage_budget_s": 4,
    "batch_rows_max": 5,
    "batch_bytes_max": 6,
    "queue_rows_max": 7,
    "thread_id_rule": "x+",
    "observe": print,
    "retention": Retention(keep_last=3),
    "locks": "lease",
    "synchronous": "normal",
    "pool": object(),
    "pool_size_max": 8,
    "pgbouncer": True,
    "schema": "s",
    "read_url": NOWHERE,
    "connect": {},
    "compress": "zlib",
    "keyring": Keyring({"a": bytes(32)}, "a"),
    "clear_metadata": (),
    "state_bytes_warn": 9,
    "state_bytes_max": 10,
}
GENERAL = {
    "migrate", "lease_ttl_s", "outage_budget_s", "batch_rows_max", "batch_bytes_max",
    "queue_rows_max", "thread_id_rule", "observe", "retention", "compress", "keyring",
    "clear_metadata", "state_bytes_warn", "state_bytes_max",
}  # fmt: skip
TAKES = {
    "memory://": GENERAL,
    "sqlite://": GENERAL | {"locks", "synchronous"},
    NOWHERE: GENERAL | {"locks", "pool_size_max", "pgbouncer", "schema", "read_url", "connect"},
}


def test_the_list_of_options_is_whole():
    assert set(_options.OpenOptions.__annotations__) | set(ALL) == set(ALL)
    assert set(ALL) == _options.MEMORY | _options.SQLITE | _options.POSTGRES


@pytest.mark.parametrize("url", TAKES)
@pytest.mark.parametrize("option", ALL)
def test_an_option_works_or_is_refused_but_is_never_ignored(url, option):
    if option in TAKES[url]:
        open_saver(url, **{option: ALL[option]})
    else:
        with pytest.raises(UsageError, match=option):
            open_saver(url, **{option: ALL[option]})


@pytest.mark.parametrize("option", ["serde", "pipeline"])
def test_an_option_that_does_not_exist_is_refused_with_a_list_of_those_that_do(option):
    with pytest.raises(UsageError, match=f"{option}.*lease_ttl_s"):
        open_saver("memory://", **{option: None})


@pytest.mark.parametrize(
    "option",
    [
        {"migrate": "never"},
        {"lease_ttl_s": 0},
        {"lease_ttl_s": -1.0},
        {"lease_ttl_s": float("nan")},
        {"lease_ttl_s": "10"},
        {"lease_ttl_s": True},
        {"outage_budget_s": float("inf")},
        {"batch_rows_max": 0},
        {"batch_rows_max": 1.5},
        {"queue_rows_max": True},
        {"thread_id_rule": 7},
        {"thread_id_rule": "("},
        {"observe": 7},
        {"observe": [print, 7]},
    ],
)
def test_a_value_that_makes_no_sense_is_refused(option):
    with pytest.raises(UsageError, match=next(iter(option)).removesuffix("e")):
        InMemorySaver(**option)


def test_options_reach_the_journal():
    given = settings(
        open_saver(
            "sqlite://",
            lease_ttl_s=timedelta(minutes=1),
            outage_budget_s=4,
            batch_rows_max=5,
            batch_bytes_max=6,
            queue_rows_max=7,
            locks="lease",
        )
    )
    assert (given.lease_ttl_s, given.outage_budget_s) == (60.0, 4.0)
    assert (given.batch_rows_max, given.batch_bytes_max, given.queue_rows_max) == (5, 6, 7)
    assert not given.locks
    assert settings(open_saver("sqlite://")).locks


def test_pgbouncer_implies_leases():
    assert not settings(open_saver(NOWHERE, pgbouncer=True)).locks
    with pytest.raises(UsageError, match="pgbouncer"):
        open_saver(NOWHERE, pgbouncer=True, locks="advisory")


async def test_observers_hear_of_commits():
    events = []
    async with InMemorySaver(observe=[events.append]) as saver:
        handle = await (await saver.journal()).acquire(saver.key("a"))
        handle.append_status()
        await handle.flushed()
        await handle.release()
    assert "CommitFinished" in {type(event).__name__ for event in events}


def test_without_migration_an_empty_database_is_refused_and_setup_helps(tmp_path):
    path = tmp_path / "a.db"
    saver = SqliteSaver.from_conn_string(path, migrate="check")
    with pytest.raises(StorageError):
        saver.get_thread("a")
    saver.setup()
    assert saver.get_thread("a") is None
    saver.setup()
    saver.close()
    with SqliteSaver.from_conn_string(path, migrate="check") as again:
        assert again.get_thread("a") is None


async def test_setup_is_a_coroutine_on_the_async_classes():
    for kind in (AsyncSqliteSaver, AsyncPostgresSaver):
        assert inspect.iscoroutinefunction(kind.setup)
    for kind in (SqliteSaver, PostgresSaver, InMemorySaver):
        assert not inspect.iscoroutinefunction(kind.setup)
    async with AsyncSqliteSaver.from_conn_string(":memory:") as saver:
        assert await saver.setup() is None


# --- given connections --------------------------------------------------------------------------


def test_an_sqlite_connection_of_a_file_gives_its_path(tmp_path):
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path)
    saver = SqliteSaver(connection)
    connection.close()  # it is not needed any more
    with saver:
        assert saver.get_thread("a") is None
    with closing(sqlite3.connect(path)) as opened:
        assert opened.execute("select count(*) from sqlite_master").fetchone()[0] > 0


def test_an_sqlite_connection_in_memory_is_used():
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    with SqliteSaver(connection) as saver:
        assert saver.get_thread("a") is None
    assert connection.execute("select count(*) from sqlite_master").fetchone()[0] > 0
    connection.close()


@pytest.mark.parametrize("where", ["file", "memory"])
async def test_an_aiosqlite_connection_works_the_same(where, tmp_path):
    path = tmp_path / "a.db" if where == "file" else ":memory:"
    async with aiosqlite.connect(path) as connection:
        async with AsyncSqliteSaver(connection) as saver:
            assert await saver.aget_thread("a") is None
        rows = await connection.execute_fetchall("select count(*) from sqlite_master")
        assert rows[0][0] > 0  # and it is still open


def test_a_closed_connection_is_refused():
    connection = sqlite3.connect(":memory:")
    connection.close()
    with pytest.raises(UsageError, match="closed"):
        SqliteSaver(connection)


@pytest.mark.parametrize("wrong", ["a.db", Path("a.db"), 7, None])
def test_something_else_than_a_connection_is_refused(wrong):
    with pytest.raises(UsageError, match="from_conn_string"):
        SqliteSaver(wrong)


@pytest.mark.parametrize("wrong", [NOWHERE, 7, None])
def test_something_else_than_a_pool_is_refused(wrong):
    with pytest.raises(UsageError, match=r"asyncpg\.Pool"):
        PostgresSaver(wrong)


def test_a_psycopg_object_is_refused_by_name():
    psycopg = pytest.importorskip("psycopg", reason="psycopg is what it is all about")
    connection = psycopg.Connection.__new__(psycopg.Connection)
    with pytest.raises(UsageError, match=r"psycopg.*from_conn_string"):
        PostgresSaver(connection)


async def test_a_pool_brings_its_loop():
    pool = asyncpg.create_pool(NOWHERE)
    loop = asyncio.get_running_loop()
    assert PostgresSaver(pool).home() is loop
    assert open_saver(pool=pool, schema="s").home() is loop
    with pytest.raises(UsageError, match="both"):
        open_saver(NOWHERE, pool=pool)
    for option in ({"pool_size_max": 5}, {"connect": {}}):
        with pytest.raises(UsageError, match=next(iter(option))):
            PostgresSaver(pool, **option)


# --- the environment ----------------------------------------------------------------------------


def test_without_a_url_the_environment_names_it(monkeypatch):
    monkeypatch.setenv("STEPWELL_DSN", "memory://")
    monkeypatch.setenv("STEPWELL_LEASE_TTL_S", "2.5")
    monkeypatch.setenv("STEPWELL_BATCH_ROWS_MAX", "17")
    saver = open_saver()
    assert type(saver) is InMemorySaver
    given = settings(saver)
    assert (given.lease_ttl_s, given.batch_rows_max) == (2.5, 17)
    assert settings(open_saver(lease_ttl_s=3)).lease_ttl_s == 3  # what is said counts more


def test_with_a_url_the_environment_is_not_read(monkeypatch):
    monkeypatch.setenv("STEPWELL_DSN", "nonsense")
    monkeypatch.setenv("STEPWELL_LEASE_TTL_S", "2.5")
    assert settings(open_saver("memory://")).lease_ttl_s == 10.0


def test_without_url_and_environment_it_says_what_is_missing():
    with pytest.raises(UsageError, match="STEPWELL_DSN"):
        open_saver()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STEPWELL_LEASE_TTL_S", "soon"),
        ("STEPWELL_BATCH_ROWS_MAX", "1.5"),
        ("STEPWELL_SCHEMA", "s"),  # memory has no schemas
        ("STEPWELL_KEYRING", "k"),  # no keyring: not to be ignored
    ],
)
def test_a_variable_that_cannot_be_obeyed_is_refused(monkeypatch, name, value):
    monkeypatch.setenv("STEPWELL_DSN", "memory://")
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"{name}|{name.removeprefix('STEPWELL_').lower()}"):
        open_saver()


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("a", "a"),
        (7, "7"),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        ("ä" * 256, "ä" * 256),
        (" ", " "),
    ],
)
def test_what_may_name_a_thread(given, text):
    assert InMemorySaver().key(given) == ("", text)


@pytest.mark.parametrize(
    "given", ["", "a\0", "\ud800", "x" * 513, "ä" * 257, None, 1.5, True, b"a", ["a"]]
)
def test_what_may_not_name_a_thread(given):
    with pytest.raises(InvalidIdError):
        InMemorySaver().key(given)


@pytest.mark.parametrize(
    "rule", ["[a-z]+", re.compile("[a-z]+"), str.isalpha], ids=["text", "pattern", "predicate"]
)
def test_a_rule_holds_for_the_whole_id(rule):
    saver = InMemorySaver(thread_id_rule=rule)
    assert saver.key("abc").thread_id == "abc"
    assert saver.scoped("s").key("abc") == ("s", "abc")
    for wrong in ("abc1", "1abc", "abc\n"):
        with pytest.raises(InvalidIdError, match="not allowed"):
            saver.key(wrong)


@pytest.mark.parametrize("scope", [7, None, "a\0", "\ud800", "x" * 513])
def test_what_may_not_be_a_scope(scope):
    with pytest.raises(InvalidIdError):
        InMemorySaver().scoped(scope)


# --- the package --------------------------------------------------------------------------------


def test_the_package_exports_what_the_sheet_says():
    assert set(stepwell.__all__) == {
        "KEEP", "OMIT", "Keyring", "Retention", "__version__", "errors", "open_saver", "register",
    }  # fmt: skip
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert stepwell.__version__ == project["version"]
    assert MemorySaver is InMemorySaver


@pytest.mark.parametrize("verb", ["put", "put_writes"])
async def test_writing_past_the_graph_is_refused_and_names_the_guide(verb):
    saver = InMemorySaver()
    with pytest.raises(UsageError, match=r"docs/drivers\.md"):
        getattr(saver, verb)({}, {}, {}, {})
    with pytest.raises(UsageError, match=r"docs/drivers\.md"):
        await getattr(saver, f"a{verb}")({}, {}, {}, {})
    assert (ROOT / "docs" / "drivers.md").is_file()


async def test_every_verb_has_both_forms():
    verbs = [n for n in dir(Saver) if not n.startswith("_") and callable(getattr(Saver, n))]
    one_form = {
        "at_home",
        "home",
        "iterate_home",
        "journal",
        "key",
        "scoped",
        "pruning",
        "with_filter",
    }
    for verb in set(verbs) - one_form:
        assert f"a{verb}" in verbs or (verb[0] == "a" and verb[1:] in verbs), verb


@pytest.mark.parametrize("schema", [5, "", "\ud800", "a\0b", "x" * 64])
def test_a_schema_that_is_no_name_is_refused(schema):
    with pytest.raises(UsageError, match="schema must be"):
        open_saver("postgresql://localhost/app", schema=schema)


@pytest.mark.parametrize("path", [None, 5, b"x.db"])
def test_a_path_that_is_none_is_refused(path):
    with pytest.raises(UsageError, match="path or URL is needed"):
        SqliteSaver.from_conn_string(path)


async def test_one_try_takes_no_longer_than_the_whole_outage_budget(tmp_path):
    """SQLite's own wait for a locked file is cut to `outage_budget_s`."""
    url = f"sqlite:///{tmp_path}/x.db"
    async with open_saver(url) as saver:
        await saver.aget_tuple({"configurable": {"thread_id": "t"}})
    blocker = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    try:
        blocker.execute("BEGIN IMMEDIATE")
        async with open_saver(url, outage_budget_s=0.2) as saver:
            graph = StateGraph(dict).add_node("n", lambda s: s)
            graph = graph.add_edge(START, "n").compile(checkpointer=saver)
            began = time.monotonic()
            with pytest.raises(StorageUnavailableError):
                await graph.ainvoke({}, {"configurable": {"thread_id": "t"}})
            assert time.monotonic() - began < 4
            blocker.execute("ROLLBACK")
    finally:
        blocker.close()


@pytest.mark.parametrize("given", [5, "keep_last", {"keep_last": 3}, Retention])
def test_a_retention_that_is_none_is_refused(given):
    with pytest.raises(UsageError, match="retention must be a Retention"):
        open_saver("memory://", retention=given)

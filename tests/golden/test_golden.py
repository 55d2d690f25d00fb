"""T16: databases that an earlier layout wrote are opened, read to the last value, and continued.

`current` is made by `python -m tests.golden`. It holds runs that are done, asked a question,
failed, died with their process, were forked, ran a graph inside, were recorded at exit, were
folded; values of every type; items of a store.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.store.postgres import PostgresStore
from stepwell.store.sqlite import SqliteStore
from tests.golden import _program as program
from tests.golden._reading import readable
from tests.torture._databases import database

FOLDERS = sorted(path for path in Path(__file__).parent.iterdir() if (path / "golden.db").exists())
CURRENT = Path(__file__).with_name("current")

CHANGED = """
The layout of the database is no longer that of the golden databases in tests/golden/current.

Before 0.1.0 that is allowed (the first migration is changed in place): make them anew with

    python -m tests.golden

look at the difference in expected.json, and commit the folder. From 0.1.0 on it is not: leave every
folder there as it is, add a migration, and a folder for the release that wrote the older layout.
"""


async def _layout(url: str) -> list[Any]:
    """What the tables look like."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        try:
            return sorted(connection.execute("SELECT type, name, sql FROM sqlite_master"))
        finally:
            connection.close()
    connection = await asyncpg.connect(url)
    try:
        columns = await connection.fetch(
            "SELECT c.relname, c.relkind::text, c.reloptions::text, a.attname, a.attnotnull, "
            "format_type(a.atttypid, a.atttypmod), a.attstorage::text FROM pg_class c "
            "JOIN pg_attribute a ON a.attrelid = c.oid "
            "WHERE c.relnamespace = 'golden'::regnamespace AND a.attnum > 0 ORDER BY 1, a.attnum"
        )
        indexes = await connection.fetch(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'golden' ORDER BY 1"
        )
        return [tuple(row) for row in (*columns, *indexes)]
    finally:
        await connection.close()


async def _fresh_layout(url: str) -> list[Any]:
    async with program.saver_of(url) as saver:
        await _store(url, saver).aget(("x",), "y")
        await saver.asetup()
    return await _layout(url)


def _store(url: str, saver: Saver) -> Any:
    kind: Any = SqliteStore if url.startswith("sqlite") else PostgresStore
    return kind(saver)


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def url(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> AsyncIterator[str]:
    """A copy of a golden database; today's has to have today's layout."""
    with database(request.param, tmp_path, "golden") as url:
        await _fill(folder, url)
        if folder == CURRENT:
            (tmp_path / "fresh").mkdir()
            with database(request.param, tmp_path / "fresh") as fresh:
                if await _layout(url) != await _fresh_layout(fresh):
                    pytest.fail(CHANGED, pytrace=False)
        yield url


async def _fill(folder: Path, url: str) -> None:
    if url.startswith("sqlite"):
        await asyncio.to_thread(shutil.copy, folder / "golden.db", url.removeprefix("sqlite:///"))
        return
    connection = await asyncpg.connect(url)
    try:
        await connection.execute((folder / "golden.sql").read_text(encoding="utf-8"))
    finally:
        await connection.close()


async def test_a_golden_database_says_what_it_said_when_it_was_written(url, folder):
    """Histories of all threads and namespaces, with every value and its type, parents, pending
    tasks, errors, questions, the status of runs; items of the store."""
    place = "sqlite" if url.startswith("sqlite") else "postgres"
    expected = orjson.loads((folder / "expected.json").read_bytes())[place]
    async with program.saver_of(url) as saver:
        found = await readable(saver)
        store = _store(url, saver)
        items = [
            await store.aget(("golden", "a"), "key"),
            await store.aget(("golden", "b"), "other"),
        ]
    assert orjson.loads(orjson.dumps(found)) == expected
    assert [i.value for i in items] == [{"value": 1, "text": "größer"}, {"value": [1, 2]}]


Flow = Callable[[Saver, bool], Awaitable[Any]]
"""(saver, whether the thread has to be brought to where the golden one stands first) -> values."""


async def _done(saver: Saver, begin: bool) -> Any:
    graph = program.plain(saver)
    for _ in range(2 if begin else 0):
        await graph.ainvoke(program.START_WITH, program.at("done"))
    return await graph.ainvoke(program.START_WITH, program.at("done"))


async def _exit(saver: Saver, begin: bool) -> Any:
    graph = program.plain(saver, "exit")
    if begin:
        await graph.ainvoke(program.START_WITH, program.at("exit"))
    return await graph.ainvoke(program.START_WITH, program.at("exit"))


async def _asked(saver: Saver, begin: bool) -> Any:
    graph = program.asking(saver)
    if begin:
        await graph.ainvoke(program.START_WITH, program.at("asked"))
    return await graph.ainvoke(program.GO_ON, program.at("asked"))


async def _nested(saver: Saver, begin: bool) -> Any:
    graph = program.nested(saver)
    if begin:
        await graph.ainvoke(program.START_WITH, program.at("nested"))
    return await graph.ainvoke(program.GO_ON, program.at("nested"))


async def _failed(saver: Saver, begin: bool) -> Any:
    given = program.START_WITH if begin else None
    return await program.failing(saver, fails=False).ainvoke(given, program.at("failed"))


async def _orphan(saver: Saver, begin: bool) -> Any:
    given = program.START_WITH if begin else None
    return await program.dying(saver, dies=False).ainvoke(given, program.at("orphan"))


async def _forked(saver: Saver, begin: bool) -> Any:
    graph = program.plain(saver)
    if begin:
        await program.fork(saver)
    return await graph.ainvoke(None, program.at("forked"))


async def _folded(saver: Saver, begin: bool) -> Any:
    if begin:
        await program.grow(saver)
    return await program.failing(saver, fails=False).ainvoke(
        program.START_WITH, program.at("folded")
    )


FLOWS: list[Flow] = [_done, _exit, _asked, _nested, _failed, _orphan, _forked, _folded]


async def test_every_thread_of_a_golden_database_goes_on(url, folder):
    """To the same end as a thread that was begun today: resumed, taken over, mended, forked."""
    async with open_saver("memory://") as memory, program.saver_of(url) as saver:
        for flow in FLOWS:
            assert await flow(saver, False) == await flow(memory, True), flow.__name__
        statuses = {info.thread_id: info.status async for info in saver.alist_threads()}
    assert statuses == dict.fromkeys(statuses, "done")
    assert len(statuses) == len(FLOWS)

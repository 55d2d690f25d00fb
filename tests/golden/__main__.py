"""Make the golden databases of today's layout: `python -m tests.golden`.

Before 0.1.0 there is one folder, `current`, and it is made anew whenever the layout changes. From
0.1.0 on, every release adds a folder with its number, and none is ever made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson

from stepwell.store.postgres import PostgresStore
from stepwell.store.sqlite import SqliteStore
from tests._postgres import execute, fresh_name, server_dsn
from tests.golden import _program as program
from tests.golden._dump import dump
from tests.golden._reading import readable

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
FOLDER = HERE / "current"


async def write(url: str, folder: Path) -> dict[str, Any]:
    """Write every thread; what a reader has to find."""
    async with program.saver_of(url) as saver:
        await program.plain(saver).ainvoke(program.START_WITH, program.at("done"))
        await program.plain(saver).ainvoke(program.START_WITH, program.at("done"))
        await program.plain(saver, "exit").ainvoke(program.START_WITH, program.at("exit"))
        await program.asking(saver).ainvoke(program.START_WITH, program.at("asked"))
        await program.nested(saver).ainvoke(program.START_WITH, program.at("nested"))
        await program.fork(saver)
        await program.grow(saver)
        folded = await saver.acompact(["folded"])
        if not (folded.rows and folded.segments):
            raise RuntimeError(f"nothing was folded: {folded}")
        with contextlib.suppress(ValueError):
            await program.failing(saver, fails=True).ainvoke(
                program.START_WITH, program.at("failed")
            )
        kind: Any = SqliteStore if url.startswith("sqlite") else PostgresStore
        store = kind(saver)
        await store.aput(("golden", "a"), "key", {"value": 1, "text": "größer"})
        await store.aput(("golden", "b"), "other", {"value": [1, 2]})
    _die(url, folder)
    async with program.saver_of(url) as saver:
        return await readable(saver)


def _die(url: str, folder: Path) -> None:
    """Leave a thread whose process died while one of two parts was done."""
    gate = folder / "gate"
    environment = {**os.environ, "STEPWELL_GOLDEN_GATE": str(gate)}
    code = subprocess.run(
        [sys.executable, "-m", "tests.golden._dying", url, str(gate)], cwd=ROOT, env=environment,
        check=False,
    ).returncode  # fmt: skip
    if code != 9:
        raise RuntimeError(f"the process that was to die ended with {code}")


def _sqlite(folder: Path) -> dict[str, Any]:
    path = folder / "golden.db"
    found = asyncio.run(write(f"sqlite:///{path}", folder))
    database = sqlite3.connect(path)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
    database.execute("VACUUM")
    database.close()
    shutil.copy(path, FOLDER / "golden.db")
    return found


def _postgres(folder: Path) -> dict[str, Any]:
    name = fresh_name("golden")
    asyncio.run(execute(f'CREATE DATABASE "{name}"'))
    url = urlunsplit(urlsplit(server_dsn())._replace(path=f"/{name}"))
    found = asyncio.run(write(url, folder))
    (FOLDER / "golden.sql").write_text(asyncio.run(dump(url, "golden")), encoding="utf-8")
    asyncio.run(execute(f'DROP DATABASE "{name}" WITH (FORCE)'))
    return found


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        sqlite, postgres = Path(folder, "sqlite"), Path(folder, "postgres")
        sqlite.mkdir()
        postgres.mkdir()
        found = {"sqlite": _sqlite(sqlite), "postgres": _postgres(postgres)}
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    (FOLDER / "expected.json").write_bytes(orjson.dumps(found, option=options) + b"\n")


if __name__ == "__main__":
    main()

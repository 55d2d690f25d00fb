"""A run whose process died is finished by whoever comes next, before anything else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stepwell import open_saver
from tests.crash._orphan import CONFIG, build

ROOT = Path(__file__).resolve().parents[2]
TAKEOVER_S = 120.0
"""Well below the lease of 240 s: the death must be seen by the lock, not by the clock."""


async def leave_an_orphan(url: str, *arguments: str) -> None:
    """Run a process that claims a thread and is killed in the midst of its run."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("_orphan.py")),
        url,
        *arguments,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert await child.wait() == -signal.SIGKILL


async def _new_input(url: str) -> None:
    await leave_an_orphan(url)
    async with open_saver(url) as saver:
        graph = build(saver, dies=False)
        info = await saver.aget_thread("orphan")
        state = await graph.aget_state(CONFIG)
        assert (info.status, state.next) == ("running", ("second",))  # type: ignore[union-attr]
        started = time.monotonic()
        result: Any = await graph.ainvoke({"ask": "two"}, CONFIG, context="!")
        assert time.monotonic() - started < TAKEOVER_S
        assert result["log"] == ["first one", "second one!", "first two", "second two!"]
        runs = [r async for r in saver.alist_runs("orphan")]
    assert [(r.status, r.attempts) for r in runs] == [("done", 1), ("done", 2)]


async def _resume(url: str) -> None:
    await leave_an_orphan(url)
    async with open_saver(url) as saver:
        result: Any = await build(saver, dies=False).ainvoke(None, CONFIG, context="!")
    assert result == {"ask": "one", "log": ["first one", "second one!"]}


async def test_sqlite_new_input_finds_the_orphan_finished(tmp_path: Path) -> None:
    """SQLite: the dead run is finished first, then the new input is applied."""
    await _new_input(f"sqlite:///{tmp_path}/o.db")


async def test_sqlite_none_resumes_the_orphan(tmp_path: Path) -> None:
    """SQLite: None goes on where the dead run stood."""
    await _resume(f"sqlite:///{tmp_path}/o.db")


@pytest.mark.postgres
async def test_postgres_new_input_finds_the_orphan_finished(pg_url: str) -> None:
    """PostgreSQL: the same."""
    await _new_input(pg_url)


@pytest.mark.postgres
async def test_postgres_none_resumes_the_orphan(pg_url: str) -> None:
    """PostgreSQL: the same."""
    await _resume(pg_url)

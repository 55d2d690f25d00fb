"""Many runs on one thread: each reads, waits and writes, and none is lost."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from stepwell import open_saver
from tests.crash._counter import count, counted

ROOT = Path(__file__).resolve().parents[2]
RUNS = 50


async def _in_one_process(url: str) -> int:
    async with open_saver(url) as saver:
        await count(saver, RUNS)
        return await counted(saver)


async def _over_two_processes(url: str) -> int:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, str(Path(__file__).with_name("_counter.py")), url, str(RUNS // 2),
            env={**os.environ, "PYTHONPATH": path},
        )
        for _ in range(2)
    ]  # fmt: skip
    assert [await child.wait() for child in children] == [0, 0]
    async with open_saver(url) as saver:
        return await counted(saver)


async def test_memory_loses_no_run() -> None:
    """50 concurrent runs on one thread of the memory saver end at 50."""
    assert await _in_one_process("memory://") == RUNS


async def test_sqlite_loses_no_run(tmp_path: Path) -> None:
    """50 concurrent runs on one thread of a SQLite file end at 50."""
    assert await _in_one_process(f"sqlite:///{tmp_path}/race.db") == RUNS


async def test_sqlite_loses_no_run_between_processes(tmp_path: Path) -> None:
    """50 runs of two processes on one thread of a SQLite file end at 50."""
    assert await _over_two_processes(f"sqlite:///{tmp_path}/race.db") == RUNS


@pytest.mark.postgres
async def test_postgres_loses_no_run(pg_url: str) -> None:
    """50 concurrent runs on one thread in PostgreSQL end at 50."""
    assert await _in_one_process(pg_url) == RUNS


@pytest.mark.postgres
async def test_postgres_loses_no_run_between_processes(pg_url: str) -> None:
    """50 runs of two processes on one thread in PostgreSQL end at 50."""
    assert await _over_two_processes(pg_url) == RUNS

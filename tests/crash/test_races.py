"""Many runs on one thread: each reads, waits and writes, and none is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell import open_saver
from tests.crash._counter import count, counted
from tests.torture.t14_races import PROCESSES, race

RUNS = 200


async def _in_one_process(url: str) -> int:
    async with open_saver(url) as saver:
        await count(saver, RUNS)
        return await counted(saver)


async def _over_two_processes(url: str) -> int:
    counted, failed = await race(url, RUNS // PROCESSES)
    assert failed == 0
    return counted


async def test_memory_loses_no_run() -> None:
    """200 concurrent runs on one thread of the memory saver end at 200."""
    assert await _in_one_process("memory://") == RUNS


async def test_sqlite_loses_no_run(tmp_path: Path) -> None:
    """200 concurrent runs on one thread of a SQLite file end at 200."""
    assert await _in_one_process(f"sqlite:///{tmp_path}/race.db") == RUNS


async def test_sqlite_loses_no_run_between_processes(tmp_path: Path) -> None:
    """200 runs of two processes on one thread of a SQLite file end at 200."""
    assert await _over_two_processes(f"sqlite:///{tmp_path}/race.db") == RUNS


@pytest.mark.postgres
async def test_postgres_loses_no_run(pg_url: str) -> None:
    """200 concurrent runs on one thread in PostgreSQL end at 200."""
    assert await _in_one_process(pg_url) == RUNS


@pytest.mark.postgres
async def test_postgres_loses_no_run_between_processes(pg_url: str) -> None:
    """200 runs of two processes on one thread in PostgreSQL end at 200."""
    assert await _over_two_processes(pg_url) == RUNS

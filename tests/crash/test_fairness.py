"""One hot thread, several processes, many callers in each: nobody is lost, nobody starves."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from stepwell import open_saver
from tests.crash import _fair

ROOT = Path(__file__).resolve().parents[2]
CALLERS = 40
TURNS = 9
"""What a process may have in a row while another one waits."""
SLACK = 3
"""A process that the machine does not let run misses its turn."""


async def _hot_thread(url: str, folder: Path, names: str) -> list[str]:
    """Who had the thread, in order."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    start = folder / "start"
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            _fair.__file__,
            url,
            name,
            str(CALLERS),
            str(start),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        for name in names
    ]
    try:
        async with asyncio.timeout(120):
            for child in children:
                assert child.stdout is not None
                assert await child.stdout.readline() == b"ready\n"
            start.touch()
            assert [await child.wait() for child in children] == [0] * len(names)
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
                await child.wait()
    async with open_saver(url) as saver:
        turns: list[str] = (await _fair.build(saver).aget_state(_fair.CONFIG)).values["log"]
    return turns


def _longest_wait(turns: list[str]) -> int:
    """The most turns of others between two of the same process."""
    last: dict[str, int] = {}
    longest = 0
    for place, name in enumerate(turns):
        longest = max(longest, place - last.get(name, place) - 1)
        last[name] = place
    return longest


def _check(turns: list[str], names: str) -> None:
    assert Counter(turns) == dict.fromkeys(names, CALLERS)
    assert _longest_wait(turns) <= SLACK * TURNS * (len(names) - 1), turns


@pytest.mark.parametrize("names", ["ab", "abc"])
async def test_sqlite(tmp_path: Path, names: str) -> None:
    """SQLite: two processes, and three."""
    _check(await _hot_thread(f"sqlite:///{tmp_path}/fair.db", tmp_path, names), names)


@pytest.mark.postgres
async def test_postgres(pg_url: str, tmp_path: Path) -> None:
    """PostgreSQL: two processes."""
    _check(await _hot_thread(pg_url, tmp_path, "ab"), "ab")

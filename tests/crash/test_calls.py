"""SIGKILL between task calls: one whose result was handed out never runs again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stepwell import open_saver
from tests.crash._caller import CONFIG, build, expected
from tests.crash._workload import Log, read_log

ROOT = Path(__file__).resolve().parents[2]
KILLS = 6


def _spawn(url: str, log: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("_caller.py")), url, log],
        env={**os.environ, "PYTHONPATH": path},
    )
    deadline = time.monotonic() + 30
    while True:
        ended = child.poll() is not None  # asked first: what it wrote before is there
        if any(e["what"] == "ready" and e["pid"] == child.pid for e in read_log(log)):
            break
        if ended or time.monotonic() > deadline:
            msg = f"the worker did not start (exit code {child.poll()})"
            raise RuntimeError(msg)
        time.sleep(0.002)
    return child


def _kill_until_done(url: str, log: str, chance: random.Random) -> int:
    """How often the worker was killed before it reached its end."""
    kills = 0
    while True:
        child = _spawn(url, log)
        try:
            # The first kill comes early, before a quick worker has reached its end.
            latest = 0.12 if kills else 0.01
            code = child.wait(60 if kills >= KILLS else chance.uniform(0.0, latest))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            kills += 1
            continue
        assert code == 0, f"the worker failed by itself with exit code {code}"
        return kills


def _broken(entries: list[dict[str, Any]]) -> list[str]:
    """Tasks that started although their result had been handed out before."""
    handed_out: set[str] = set()
    broken = []
    for entry in entries:
        if entry["what"] == "got":
            handed_out.add(entry["name"])
        elif entry["what"] == "start" and entry["name"] in handed_out:
            broken.append(entry["name"])
    return broken


def _survives(url: str, folder: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    log = str(folder / "log.jsonl")
    kills = _kill_until_done(url, log, random.Random(seed))
    entries = read_log(log)
    assert not _broken(entries)

    async def state() -> Any:
        async with open_saver(url) as saver:
            return await build(saver, Log(os.devnull)).aget_state(CONFIG)

    found = asyncio.run(state())
    assert (found.values, found.next) == (expected(), ())
    starts = sum(e["what"] == "start" for e in entries)
    with capsys.disabled():
        print(f"\nseed {seed}: {kills} kills, {starts} starts of {2 * len(expected())} tasks")
    assert kills


def test_the_check_sees_a_task_that_ran_again() -> None:
    """Else the tests below would prove nothing."""
    log = [{"what": w, "name": "a"} for w in ("start", "got", "start")]
    assert _broken(log) == ["a"]


@pytest.mark.timeout(120)
def test_sqlite_calls_survive_sigkill(
    tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite, durability="sync": killed again and again, on all levels of nesting."""
    _survives(f"sqlite:///{tmp_path}/calls.db", tmp_path, seed, capsys)


@pytest.mark.postgres
@pytest.mark.timeout(120)
def test_postgres_calls_survive_sigkill(
    tmp_path: Path, seed: int, pg_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """PostgreSQL: the same."""
    _survives(pg_url, tmp_path, seed, capsys)

"""Processes are killed; others find what they left, finish it once, and not for ever."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stepwell import open_saver
from stepwell.checkpoint.base import RecoverReport
from tests.crash import _recovering
from tests.crash._recovering import KEY, THREADS, build, thread
from tests.crash._workload import read_log

ROOT = Path(__file__).resolve().parents[2]
SEEN_S = 120.0
"""Well below the lease of 240 s: the death must be seen by the lock, not by the clock."""


async def start(what: str, url: str, log: Path) -> asyncio.subprocess.Process:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return await asyncio.create_subprocess_exec(
        sys.executable, _recovering.__file__, what, url, str(log),
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


async def die(what: str, url: str, log: Path) -> None:
    child = await start(what, url, log)
    assert await child.wait() == -signal.SIGKILL


async def ids(orphans: Any) -> list[str]:
    return [info.thread_id async for info in orphans]


def effects(log: Path) -> list[tuple[str, str]]:
    return [(e["node"], e["ask"]) for e in read_log(str(log))]


async def input_survives(url: str, log: Path) -> None:
    await die("die in first", url, log)
    assert effects(log) == []
    async with open_saver(url) as saver:
        graph = build(saver, str(log))
        state = await graph.aget_state(thread("a"))
        assert (state.metadata or {})["source"] == "input"
        assert state.next
        began = time.monotonic()
        assert await ids(saver.aorphans()) == ["a"]
        shown = [info.orphaned async for info in saver.alist_threads(status="running")]
        known = await saver.aget_thread("a")
        assert known is not None
        assert [*shown, known.orphaned] == [True, True]  # no need to wait for the lease's end
        assert (await graph.arecover()).recovered == ("a",)
        assert time.monotonic() - began < SEEN_S
        state = await graph.aget_state(thread("a"))
        assert state.values == {"ask": "a", "log": ["first a", "second a"]}


async def killed_call_goes_on_by_its_key(url: str, log: Path) -> None:
    await die("die in second", url, log)
    async with open_saver(url) as saver:
        graph = build(saver, str(log))
        done = {"ask": "a", "log": ["first a", "second a"]}
        for _ in range(2):
            assert await graph.ainvoke({"ask": "a"}, thread("a"), idempotency_key=KEY) == done
        [run] = [r async for r in saver.alist_runs("a")]
        assert (run.status, run.attempts, run.idempotency_key) == ("done", 2, KEY)
    assert effects(log)[-1] == ("second", "a")
    assert effects(log).count(("second", "a")) == 1


async def poisoned(url: str, log: Path) -> None:
    await die("die in second", url, log)
    for _ in range(2):
        await die("die while recovering", url, log)
    async with open_saver(url) as saver:
        graph = build(saver, str(log))
        assert await graph.arecover() == RecoverReport(poisoned=("a",))
        info = await saver.aget_thread("a")
        assert info is not None
        assert info.status == "failed"
        assert info.error is not None
        assert info.error.startswith("poisoned: ")
        [run] = [r async for r in saver.alist_runs("a")]
        assert run.attempts == 3
        assert ("second", "a") not in effects(log)
        result = await graph.ainvoke(None, thread("a"))
        assert result == {"ask": "a", "log": ["first a", "second a"]}


async def swept_once(url: str, log: Path) -> None:
    child = await start("leave many", url, log)
    async with asyncio.timeout(200):
        while len(effects(log)) < 2 * THREADS:
            assert child.returncode is None
            await asyncio.sleep(0.05)  # a log of another process
    child.kill()
    await child.wait()
    before = len(effects(log))
    sweepers = [await start("sweep", url, log) for _ in range(2)]
    assert [await child.wait() for child in sweepers] == [0, 0]
    names = [f"t{n}" for n in range(THREADS)]
    again = Counter(effects(log)[before:])
    assert set(again.values()) == {1}
    assert {ask for node, ask in again if node == "second"} == set(names)
    async with open_saver(url) as saver:
        graph = build(saver, str(log))
        for name in names:
            state = await graph.aget_state(thread(name))
            assert (state.values["log"], state.next) == ([f"first {name}", f"second {name}"], ())
            [run] = [r async for r in saver.alist_runs(name)]
            assert (run.status, run.attempts) == ("done", 2)


CASES = pytest.mark.parametrize(
    "case", [input_survives, killed_call_goes_on_by_its_key, poisoned, swept_once]
)


@CASES
@pytest.mark.slow
async def test_sqlite(case: Any, tmp_path: Path) -> None:
    """A file, and processes on one host."""
    await case(f"sqlite:///{tmp_path}/r.db", tmp_path / "effects.jsonl")


@CASES
@pytest.mark.slow
@pytest.mark.postgres
async def test_postgres(case: Any, pg_url: str, tmp_path: Path) -> None:
    """A server."""
    await case(pg_url, tmp_path / "effects.jsonl")

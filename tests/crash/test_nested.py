"""SIGKILL while graphs inside graphs run."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from stepwell import open_saver
from stepwell.types import Command
from tests.crash import _nested, _steps
from tests.crash._killing import ROOT, Killer

DURABILITIES = ("sync", "async", "exit")


def _report(killer: Killer, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    kills = int(os.environ.get("STEPWELL_KILLS", "4"))
    findings = killer.run(kills)
    with capsys.disabled():
        print(f"\nseed {seed}, {killer.durability}: {findings.table()}")
    assert findings.kills >= kills
    assert not findings.broken, findings.broken
    assert killer.durability != "sync" or findings.acknowledged > 0
    assert killer.durability == "exit" or findings.durable_results > 0


@pytest.mark.timeout(0)
@pytest.mark.parametrize("durability", DURABILITIES)
def test_sqlite_nested_runs_survive_sigkill(
    tmp_path: Path, seed: int, durability: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite: no acknowledged nested checkpoint is lost, no nested task whose result is durable
    runs again, and every thread ends as if nothing had happened."""
    url = f"sqlite:///{tmp_path}/kill.db"
    _report(Killer(url, tmp_path, seed, _nested, durability), seed, capsys)


@pytest.mark.postgres
@pytest.mark.timeout(0)
@pytest.mark.parametrize("durability", DURABILITIES)
def test_postgres_nested_runs_survive_sigkill(
    tmp_path: Path, seed: int, pg_url: str, durability: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """PostgreSQL: the same."""
    _report(Killer(pg_url, tmp_path, seed, _nested, durability), seed, capsys)


class Steps:
    """Calls of one graph on one thread, each made by a process of its own."""

    def __init__(self, url: str, folder: Path, durability: str) -> None:
        self.url, self.effects, self.durability = url, folder / "effects", durability

    async def call(self, step: str) -> Any:
        """What the process printed, or the signal that ended it."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, str(Path(__file__).with_name("_steps.py")), self.url,
            str(self.effects), self.durability, step,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        )  # fmt: skip
        out, _ = await child.communicate()
        return orjson.loads(out) if child.returncode == 0 else child.returncode

    def ran(self) -> Counter[str]:
        return Counter(self.effects.read_text().splitlines())


async def _answered_one_at_a_time(steps: Steps) -> None:
    told = await steps.call("start")
    asked = told["asked"]
    assert sorted(asked) == ["n0", "n1", "n2"]
    for name in ("n1", "n0", "n2"):
        told = await steps.call(orjson.dumps({asked.pop(name): f"yes {name}"}).decode())
        assert told["asked"] == asked
    assert told["log"] == ["in", "n0: yes n0", "n1: yes n1", "n2: yes n2"]
    ran = steps.ran()
    assert {ran[f"{node} n{i}"] for node in "axyb" for i in range(3)} == {1}
    assert ran["last None"] == 1


async def _taken_over(steps: Steps) -> None:
    """Answers travel with the process that dies; what it had finished is not done again."""
    asked = (await steps.call("start"))["asked"]
    died = await steps.call(orjson.dumps({asked["n0"]: "die"}).decode())
    assert died == -signal.SIGKILL
    before = steps.ran()
    async with open_saver(steps.url, lease_ttl_s=4.0) as saver:
        graph = _steps.build(saver, steps.effects, steps.durability)
        info = await saver.aget_thread("steps")
        assert info is not None
        if steps.durability == "exit":  # nothing of the call was recorded: it is made again
            result = await graph.ainvoke(Command(resume={asked["n0"]: "die"}), _steps.CONFIG)
        else:
            assert info.status == "running"
            result = await graph.ainvoke(None, _steps.CONFIG)
        assert sorted(q.value for q in result["__interrupt__"]) == ["n1", "n2"]
        rest = {asked[name]: name for name in ("n1", "n2")}
        result = await graph.ainvoke(Command(resume=rest), _steps.CONFIG)
    assert result["log"] == ["in", "n0: die", "n1: n1", "n2: n2"]
    ran = steps.ran()
    assert {ran[f"{node} n{i}"] for node in "ax" for i in range(3)} == {1}
    assert (before["y n0"], ran["y n0"]) == (1, 2)
    if steps.durability != "exit":
        assert ran["ask n0"] == 2


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_sqlite_questions_are_answered_by_many_processes(
    tmp_path: Path, durability: str
) -> None:
    """SQLite: each answer is given by a process of its own; nothing is worked out twice."""
    await _answered_one_at_a_time(Steps(f"sqlite:///{tmp_path}/s.db", tmp_path, durability))


@pytest.mark.postgres
@pytest.mark.parametrize("durability", DURABILITIES)
async def test_postgres_questions_are_answered_by_many_processes(
    tmp_path: Path, pg_url: str, durability: str
) -> None:
    """PostgreSQL: the same."""
    await _answered_one_at_a_time(Steps(pg_url, tmp_path, durability))


@pytest.mark.parametrize("durability", DURABILITIES)
async def test_sqlite_a_run_that_died_inside_is_taken_over(tmp_path: Path, durability: str) -> None:
    """SQLite: a process dies two levels down; None goes on in the node that it died in."""
    await _taken_over(Steps(f"sqlite:///{tmp_path}/s.db", tmp_path, durability))


@pytest.mark.postgres
@pytest.mark.parametrize("durability", DURABILITIES)
async def test_postgres_a_run_that_died_inside_is_taken_over(
    tmp_path: Path, pg_url: str, durability: str
) -> None:
    """PostgreSQL: the same."""
    await _taken_over(Steps(pg_url, tmp_path, durability))

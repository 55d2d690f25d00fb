"""SIGKILL at random instants: what was acknowledged is there, what was durable is not redone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crash._killing import Killer

KILLS = int(os.environ.get("STEPWELL_KILLS", "2"))
"""For each durability on each database: 12 in all."""
DURABILITIES = ["sync", "async", "exit"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]


def _report(killer: Killer, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    findings = killer.run(KILLS)
    with capsys.disabled():
        print(f"\nseed {seed}, {killer.durability}: {findings.table()}")
    assert findings.kills >= KILLS
    assert findings.acknowledged > 0 or killer.durability != "sync"
    assert findings.durable_results > 0 or killer.durability == "exit"
    assert not findings.broken, findings.broken


@pytest.mark.parametrize("durability", DURABILITIES)
def test_sqlite_survives_sigkill(
    tmp_path: Path, seed: int, durability: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite: no acknowledged superstep is lost, no durable task result is computed twice, no
    thread looks done with work left, and no more is done again than the durability says: with
    "sync" the superstep at hand, with "async" the few that are ahead, with "exit" the run."""
    url = f"sqlite:///{tmp_path}/kill.db"
    _report(Killer(url, tmp_path, seed, durability=durability), seed, capsys)


@pytest.mark.postgres
@pytest.mark.parametrize("durability", DURABILITIES)
def test_postgres_survives_sigkill(
    tmp_path: Path, seed: int, pg_url: str, durability: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """PostgreSQL: the same."""
    _report(Killer(pg_url, tmp_path, seed, durability=durability), seed, capsys)

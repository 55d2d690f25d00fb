"""SIGKILL at random instants: what was acknowledged is there, what was durable is not redone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.crash._killing import Killer


def _kills(default: int) -> int:
    return int(os.environ.get("STEPWELL_KILLS", default))


def _report(killer: Killer, seed: int, kills: int, capsys: pytest.CaptureFixture[str]) -> None:
    findings = killer.run(kills)
    with capsys.disabled():
        print(f"\nseed {seed}: {findings.table()}")
    assert findings.kills >= kills
    assert findings.acknowledged > 0
    assert findings.durable_results > 0
    assert not findings.broken, findings.broken


@pytest.mark.timeout(0)
def test_sqlite_survives_sigkill(
    tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite: no acknowledged superstep is lost, no durable task result is computed twice, and
    no thread looks done with work left."""
    kills = _kills(6)
    _report(Killer(f"sqlite:///{tmp_path}/kill.db", tmp_path, seed), seed, kills, capsys)


@pytest.mark.postgres
@pytest.mark.timeout(0)
def test_postgres_survives_sigkill(
    tmp_path: Path, seed: int, pg_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """PostgreSQL: the same."""
    _report(Killer(pg_url, tmp_path, seed), seed, _kills(6), capsys)

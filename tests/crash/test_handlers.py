"""A process killed in an error handler: the handler runs again, the node does not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from stepwell import open_saver
from tests.crash._guarded import CONFIG, build

ROOT = Path(__file__).resolve().parents[2]


def _lines(effects: Path) -> list[str]:
    return effects.read_text().splitlines()


async def _resume(url: str, effects: Path, durability: str) -> None:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("_guarded.py")),
        url,
        str(effects),
        durability,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert await child.wait() == -signal.SIGKILL
    async with open_saver(url) as saver:
        graph = build(saver, effects, durability, dies=False)
        assert (await graph.aget_state(CONFIG)).next == ("fails",)
        assert await graph.ainvoke(None, CONFIG) == {"log": ["in", "handled"]}
    assert _lines(effects) == ["node", *["handler fails ValueError('no')"] * 2]


@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_sqlite(tmp_path: Path, durability: str) -> None:
    """SQLite: the failure was durable before the handler started."""
    await _resume(f"sqlite:///{tmp_path}/h.db", tmp_path / "effects", durability)


@pytest.mark.postgres
@pytest.mark.parametrize("durability", ["sync", "async"])
async def test_postgres(pg_url: str, tmp_path: Path, durability: str) -> None:
    """PostgreSQL: the same."""
    await _resume(pg_url, tmp_path / "effects", durability)

"""T20, small: backups beside runs, one of them cut off, and restores."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import t20_soak
from tests.torture._figures import Budget


@pytest.mark.timeout(180)
@pytest.mark.parametrize("place", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_backups_beside_runs(tmp_path: Path, place: str) -> None:
    figures = await t20_soak.run(1, Budget(folder=tmp_path, cases=2, places=frozenset({place})))
    assert figures.failures == []
    assert figures.cases == 2
    assert figures.counts["restores"] == 2

"""T19, small: one storm on each driver, and a few kills on each database."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell import open_saver
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.errors import CorruptRecordError
from tests.torture import t19_upkeep
from tests.torture._databases import database
from tests.torture._figures import Figures
from tests.torture._upkeep import storm

PLACES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


async def test_a_storm_in_memory() -> None:
    """Writers, forks, readers, folds and prunes at once: every state read is what it was."""
    figures = Figures()
    async with open_saver("memory://") as saver:
        await storm([saver], 1, 8, figures)
    assert figures.failures == []
    assert figures.counts["checkpoints pruned"] > 0
    assert figures.counts["rows folded"] > 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("place", PLACES)
async def test_a_storm_of_two_savers(tmp_path: Path, place: str) -> None:
    """The same on a database that two workers share."""
    figures = Figures()
    with database(place, tmp_path) as url:
        await t19_upkeep.storm_on(url, 2, 5, figures)
    assert figures.failures == []
    assert figures.counts["checkpoints pruned"] > 0
    assert figures.counts["rows folded"] > 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("place", PLACES)
async def test_upkeep_is_killed(tmp_path: Path, place: str) -> None:
    """SIGKILL while a process folds and prunes: nothing is lost, and it can be made again."""
    figures = Figures()
    with database(place, tmp_path) as url:
        await t19_upkeep.kills_on(url, 3, 2, figures)
    assert figures.failures == []
    assert figures.counts["reads: after a kill"] > 0


async def _is_noticed() -> None:
    figures = Figures()
    async with open_saver("memory://") as saver:
        try:
            await storm([saver], 4, 6, figures)
        except CorruptRecordError:
            return
    assert figures.failures


async def test_the_storm_notices_rows_that_are_not_rebased(monkeypatch) -> None:
    """Pruning that forgets what stays is found out."""
    monkeypatch.setattr("stepwell._journal.pruning.rebase", lambda _rows, _kept: {})
    await _is_noticed()


async def test_the_storm_notices_lost_segments(monkeypatch) -> None:
    """Folding that deletes rows and writes nothing is found out."""
    real = MemoryDriver.write_segments

    async def lossy(self, change):
        return await real(self, change._replace(segments=()))

    monkeypatch.setattr(MemoryDriver, "write_segments", lossy)
    await _is_noticed()


async def test_the_storm_notices_wrong_counters(monkeypatch) -> None:
    """Counters that do not follow are found out."""
    real = MemoryDriver.prune

    async def careless(self, claim, by, change):
        return await real(self, claim, by, change._replace(checkpoints=0))

    monkeypatch.setattr(MemoryDriver, "prune", careless)
    await _is_noticed()

"""T20, small: two periods of the soak, and that what it is to find would be found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import t20_soak
from tests.torture._figures import Budget
from tests.torture._soak import growth, unmet
from tests.torture._soak_child import told_wrongly, truth


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("place", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_two_periods_with_kills_backups_and_restores(tmp_path: Path, place: str) -> None:
    figures = await t20_soak.run(
        1, Budget(folder=tmp_path, seconds=1.0, cases=2, places=frozenset({place}))
    )
    assert figures.failures == []
    assert figures.cases == 2
    assert figures.counts["restores"] == 3
    assert figures.counts["kills"] >= 2
    assert figures.counts["acknowledged"] > 0
    assert figures.worst[f"{place.replace('postgres', 'postgresql')}: resident memory MiB"] > 1


def test_growth_is_told_and_noise_is_not() -> None:
    warming = [40.0, 55.0, 60.0, 61.0]
    flat = [*warming, *(62.0, 61.0) * 6]
    assert growth(flat, 5.0, 0.0) is None
    assert growth([*warming, *(62.0 + n for n in range(12))], 5.0, 0.0) == 5.5
    assert growth([*flat[:-1], 90.0], 5.0, 0.0) is None  # a moment is no trend
    assert growth([10.0] * 6 + [20.0] * 6, 5.0, 0.6) is None  # as much as the share allows
    assert growth([1.0], 0.0, 0.0) is None


def test_what_was_acknowledged_and_is_not_there_is_told() -> None:
    log = [
        {"thread": "a", "count": 3}, {"thread": "a", "count": 2}, {"thread": "b", "count": 1},
        {"deleted": "c"}, {"deleted": "d"}, {"done": {"run": 3}}, {"wrong": "something"},
    ]  # fmt: skip
    assert unmet(log, {"a": 3, "b": 4}) == ["something"]
    assert unmet(log, {"a": 2, "b": 1, "d": 0}) == [
        "something",
        "d was deleted, and is there",
        "a had come to 3, and is at 2",
    ]
    assert unmet(log, {"a": 3})[1:] == ["b had come to 1, and is at None"]


def test_a_state_that_contradicts_itself_is_told() -> None:
    assert told_wrongly({}) is None
    assert told_wrongly({**truth(20), "goal": 30}) is None
    for key in ("total", "tail", "text"):
        other = truth(21)[key]
        assert told_wrongly({**truth(20), key: other}) is not None
    assert told_wrongly({"total": 3}) is not None

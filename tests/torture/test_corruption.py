"""T17, small: SQLite's files are damaged, and nobody is given a wrong state."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.torture import t17_corruption as t17
from tests.torture._figures import Budget, Figures

CASES = 48


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_damaged_files_show_no_wrong_state(tmp_path, seed, capsys):
    figures = t17.run(seed, Budget(folder=tmp_path, cases=CASES, places=frozenset()))
    with capsys.disabled():
        print(f"\nT17 seed {seed}: {figures.line()}")
    assert not figures.failures
    assert figures.cases == CASES
    # Half of the images lost some of the log, or might have: all three threads stand right.
    assert figures.counts["states of a prefix"] == CASES // 2 * len(t17.THREADS)


@pytest.mark.slow
def test_a_check_that_is_told_of_other_states_finds_them_missing(tmp_path, seed):
    """Sabotage: what was acknowledged is said to have been more than is in the log."""
    recorded = t17.recording(tmp_path / "recorded")
    late = [replace(mark, log_bytes=0) for mark in recorded.marks]
    figures = Figures()
    chance = random.Random(seed)
    for number in range(6):
        folder = tmp_path / str(number)
        t17.case(replace(recorded, marks=late), "log cut", chance, folder, figures)
    assert any("fell back to state" in failure for failure in figures.failures)

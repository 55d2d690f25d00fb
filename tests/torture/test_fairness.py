"""T21, at every commit as a whole: it takes no time but the computer's."""

from __future__ import annotations

import pytest

from tests.torture.t21_fairness import COLD, compare


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_hot_thread_does_not_starve_cold_ones(seed):
    """A thousand cold runs beside a thread that writes as fast as it can: the queue stays within
    its bound, and the slowest hundredth waits at most three times as long as without it."""
    figures = compare(seed, COLD)
    assert figures.failures == []
    print(figures.line())

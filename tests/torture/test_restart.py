"""T10, the part of every commit: one crash of the server while runs go."""

from __future__ import annotations

import pytest

from tests._own_server import own_server
from tests.torture.t10_restart import round_of


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_crash_of_the_server_pauses_runs(seed):
    """Immediate-mode stop, then start: every run goes on by itself, nothing acknowledged is lost,
    no node runs twice, nobody is fenced."""
    async with own_server() as server:
        figures = await round_of(server, seed, 10, (0.3, 1.0), 1)
    assert figures.failures == []
    assert figures.counts["runs finished"] == figures.counts["runs"]

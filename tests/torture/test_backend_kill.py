"""T9, the part of every commit: 15 runs while their sessions are killed every 20-80 ms."""

from __future__ import annotations

import pytest

from tests.torture._databases import database
from tests.torture.t09_backend_kill import round_of


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_killed_sessions_lose_no_run_and_fence_nobody(tmp_path, seed):
    """All runs finish, each node has run once, the history has no gap; waiters of another worker,
    who see every lost lock session, take nothing over."""
    with database("postgres", tmp_path) as url:
        figures = await round_of(seed, url, "20-80 ms", 15)
    assert figures.failures == []
    assert figures.counts["runs finished"] == 15

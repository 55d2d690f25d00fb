"""T11, the part of every commit: ten lost answers to COMMIT, and the rest of a bad network."""

from __future__ import annotations

import pytest

from tests._pgbouncer import pgbouncer
from tests.torture._databases import database
from tests.torture.t11_network import POOLED, round_of

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(240)]


async def test_lost_answers_are_resolved(tmp_path, seed):
    """Answers lost, requests lost, late and in doubt, silence, resets, partitions, latency: every
    run finishes as in calm weather, nothing is written twice, nobody is fenced."""
    with database("postgres", tmp_path) as url:
        figures = await round_of(seed, url, url, 10, runs=10)
    assert figures.failures == []
    assert figures.cases >= 10
    print(figures.line())


async def test_lost_answers_of_a_pooler_are_resolved(tmp_path, seed):
    """Through PgBouncer a commit is a transaction of several statements; its COMMIT is answered,
    and the answer lost."""
    with database("postgres", tmp_path) as url:
        async with pgbouncer(url) as through:
            figures = await round_of(seed, through, url, 10, odds=POOLED, runs=10, pgbouncer=True)
    assert figures.failures == []
    assert figures.cases >= 10
    print(figures.line())

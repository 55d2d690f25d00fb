"""Fixtures that every folder of tests may ask for."""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, settings

from tests._postgres import pg_dsn, pg_schema, pg_url

__all__ = ["pg_dsn", "pg_schema", "pg_url", "seed"]

# The machines that run these tests are small and shared: time is no verdict here.
settings.register_profile(
    "stepwell", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("stepwell")

SEED_VARIABLE = "STEPWELL_TEST_SEED"


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Where the randomness of a test starts; shown when the test fails, to replay it."""
    given = os.environ.get(SEED_VARIABLE)
    chosen = int(given) if given else random.SystemRandom().getrandbits(32)
    request.node.add_report_section("setup", "seed", f"{SEED_VARIABLE}={chosen} replays this run")
    return chosen

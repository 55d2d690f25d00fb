"""Fixtures that every folder of tests may ask for."""

from __future__ import annotations

import gc
import os
import random
import sys
import traceback
from collections.abc import Generator

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


# -- who leaked it
#
# What a test leaves open in a cycle of references is found by the garbage collector, at some time,
# in whatever test runs then. So it runs after every test, and the test that leaked is told. What
# was there before this file's tests (modules, reports) is exempt: that is what makes it cheap.
# In a file whose tests leave much behind that lives on (late imports, caches, reports), that is
# exempt as well, until its last test has ended: then everything is looked at.

KEPT_MAX = 10_000
"""How many objects are looked at after every test: a millisecond's worth."""

_exempt_amid = False


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Exempt what there is before the first test."""
    gc.collect()
    gc.freeze()


def collect(*, last: bool) -> None:
    """Collect the garbage of a test; `last`: and exempt what its file has left."""
    global _exempt_amid  # noqa: PLW0603  # as the collector, one per process
    if last and _exempt_amid:
        gc.unfreeze()
    gc.collect()
    if last or len(gc.get_objects()) > KEPT_MAX:
        gc.freeze()
        _exempt_amid = not last


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    """Collect garbage, and fail the test whose garbage complains."""
    yield  # every fixture of the test has ended after this
    getattr(item, "funcargs", {}).clear()
    leaked: list[str] = []

    def note(unraisable: sys.UnraisableHookArgs) -> None:
        why = "".join(traceback.format_exception_only(unraisable.exc_value))
        leaked.append(f"{unraisable.object!r}: {why}")

    before, sys.unraisablehook = sys.unraisablehook, note
    try:
        collect(last=nextitem is None or nextitem.path != item.path)
    finally:
        sys.unraisablehook = before
    if leaked:
        pytest.fail("left for the garbage collector:\n" + "\n".join(leaked), pytrace=False)

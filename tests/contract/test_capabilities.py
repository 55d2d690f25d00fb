"""What a driver of ours declares, the contract tries: nothing is declared on trust."""

from __future__ import annotations

import inspect

import pytest

from stepwell.checkpoint.driver import Capability
from stepwell.testing import DriverContract
from tests.contract.test_memory import TestMemoryDriver as MemoryTests
from tests.contract.test_postgres import TestPostgresDriver as PostgresTests
from tests.contract.test_sqlite import TestSqliteDriver as SqliteTests

SOURCES = "".join(
    inspect.getsource(inspect.getmodule(part))
    for part in DriverContract.__mro__
    if part.__module__.startswith("stepwell.")
)


@pytest.mark.parametrize("tests", [MemoryTests, PostgresTests, SqliteTests])
def test_what_is_declared_is_tried(tests):
    """The contract has tests that run for this capability only, or asserts that depend on it.
    (That a driver declares what its test class does is a test of the contract.)"""
    for capability in tests.capabilities:
        name = f"Capability.{capability.name}"
        assert f"self.needs({name})" in SOURCES or f"{name} in self.capabilities" in SOURCES, name


def test_the_rest_is_declared_by_nobody_yet():
    """What has no test is no promise: no driver of ours says that it can."""
    tried = {c for c in Capability if f"Capability.{c.name}" in SOURCES}
    declared = MemoryTests.capabilities | PostgresTests.capabilities | SqliteTests.capabilities
    assert declared <= tried
    assert set(Capability) - tried == {Capability.LISTEN, Capability.USER_TRANSACTION}

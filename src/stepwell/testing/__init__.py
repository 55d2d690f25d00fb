"""Tools to test drivers, graphs that must survive crashes, and how fast a database is here.

Nothing of the core imports this package. `DriverContract` is loaded when it is first asked
for, because it alone needs pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.testing._bench import abench
from stepwell.testing._case import Violation
from stepwell.testing._check import acheck_history, check_history
from stepwell.testing._crash import CrashReport, crash_at, crash_everywhere
from stepwell.testing._effects import Effect, EffectLog
from stepwell.testing._faulty import FaultPlan, FaultyDriver
from stepwell.testing._history import Event, Operation
from stepwell.testing._recording import History
from stepwell.testing._virtual import VirtualClock

if TYPE_CHECKING:
    from stepwell.testing._contract import DriverContract

_CONTRACT_MODULES = (
    "stepwell.testing._contract_claims",
    "stepwell.testing._contract_commits",
    "stepwell.testing._contract_crashes",
    "stepwell.testing._contract_leases",
    "stepwell.testing._contract_lifecycle",
    "stepwell.testing._contract_listings",
    "stepwell.testing._contract_namespaces",
    "stepwell.testing._contract_reads",
    "stepwell.testing._contract_records",
)


def __getattr__(name: str) -> object:
    if name == "DriverContract":
        import pytest

        # So that a failed assert of the contract shows its values, as in a test module.
        pytest.register_assert_rewrite(*_CONTRACT_MODULES)
        from stepwell.testing._contract import DriverContract

        return DriverContract
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "CrashReport",
    "DriverContract",
    "Effect",
    "EffectLog",
    "Event",
    "FaultPlan",
    "FaultyDriver",
    "History",
    "Operation",
    "Violation",
    "VirtualClock",
    "abench",
    "acheck_history",
    "check_history",
    "crash_at",
    "crash_everywhere",
]

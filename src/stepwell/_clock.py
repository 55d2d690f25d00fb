"""Time, in one place: nothing else in the package asks the operating system for it."""

from __future__ import annotations

import time
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """What the engine may know of time. Seconds as float."""

    def wall(self) -> float:
        """Unix time; for display only, never for order or correctness."""

    def monotonic(self) -> float:
        """Time that never steps back, and goes on while the host sleeps where that can be told:
        a lease runs out meanwhile. For durations and deadlines."""


_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)  # Linux


class SystemClock:
    """The clock of this machine."""

    def __init__(self) -> None:
        # Asked four times a superstep: not by way of a method.
        self.monotonic = (
            time.monotonic if _BOOTTIME is None else partial(time.clock_gettime, _BOOTTIME)
        )

    def wall(self) -> float:
        # Whole microseconds: what comes back as a `datetime` names the very same moment.
        return time.time_ns() // 1000 / 1_000_000


SYSTEM_CLOCK: Clock = SystemClock()


def since_boot() -> float | None:
    """Seconds since this host booted, sleep included; None where the platform cannot tell.

    Nobody can set this clock, and all processes of a host read the same one: leases of a
    database that is a file of this host are counted on it.
    """
    return None if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)

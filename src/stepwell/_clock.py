"""Time, in one place: nothing else in the package asks the operating system for it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the engine may know of time. Seconds as float."""

    def wall(self) -> float:
        """Unix time; for display only, never for order or correctness."""

    def monotonic(self) -> float:
        """Time that never steps back; for durations and deadlines."""


class SystemClock:
    """The clock of this machine."""

    def wall(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


SYSTEM_CLOCK: Clock = SystemClock()


def since_boot() -> float | None:
    """Seconds since this host booted, sleep included; None where the platform cannot tell.

    Nobody can set this clock, and all processes of a host read the same one: leases of a
    database that is a file of this host are counted on it.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)  # Linux
    return None if clock is None else time.clock_gettime(clock)

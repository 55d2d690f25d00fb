"""The clock of the machine."""

from __future__ import annotations

import time

import pytest

from stepwell import _clock


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="the platform cannot tell")
def test_time_goes_on_while_the_host_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that slept with its host for longer than its lease is in doubt when it wakes, as
    others have seen its lease run out: on a clock that stops meanwhile it would begin new work."""
    real, slept_s = time.clock_gettime, [0.0]

    def gettime(clock: int) -> float:
        return real(clock) + (slept_s[0] if clock == time.CLOCK_BOOTTIME else 0.0)

    monkeypatch.setattr(time, "clock_gettime", gettime)
    before = _clock.SYSTEM_CLOCK.monotonic()
    slept_s[0] = 3600.0
    assert _clock.SYSTEM_CLOCK.monotonic() - before >= 3600.0

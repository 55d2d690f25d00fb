"""The clock of the machine."""

from __future__ import annotations

import time
from datetime import UTC, datetime

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
    clock = _clock.SystemClock()  # it asks no module for the time, but what it found at first
    before = clock.monotonic()
    slept_s[0] = 3600.0
    assert clock.monotonic() - before >= 3600.0


def test_a_moment_survives_as_a_datetime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listings are bounded by the times that they have shown."""
    for moment in (1796067123.1234567, 1796067123.9999998, 1796067123.0):
        monkeypatch.setattr(time, "time", lambda moment=moment: moment)
        now = _clock.SYSTEM_CLOCK.wall()
        assert datetime.fromtimestamp(now, UTC).timestamp() == now

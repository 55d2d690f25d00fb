"""Options of stores, checked."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from stepwell.errors import UsageError
from stepwell.store.base import TTLConfig


def check_ttl(ttl: TTLConfig | None) -> None:
    """See that a configuration of expiry says only what it can.

    Raises:
        UsageError: It does not.
    """
    if ttl is None:
        return
    if not isinstance(ttl, dict) or (unknown := ttl.keys() - TTLConfig.__annotations__.keys()):
        known = ", ".join(sorted(TTLConfig.__annotations__))
        what = f"{sorted(unknown)}" if isinstance(ttl, dict) else type(ttl).__name__
        raise UsageError(f"ttl= is a dict with some of {known}; it has no use for {what}.")
    for name in ("default_ttl", "sweep_interval_minutes"):
        value: Any = ttl.get(name)
        if value is not None and not (isinstance(value, int | float) and value >= 0):
            raise UsageError(f"ttl[{name!r}] must be minutes, not {value!r}.")


def check_migrate(migrate: Any) -> None:
    """See that it is one of the three words.

    Raises:
        UsageError: It is not.
    """
    if migrate not in ("auto", "check", "off"):
        raise UsageError(f"migrate must be 'auto', 'check' or 'off', not {migrate!r}.")


def seconds_of(span: float | timedelta | None) -> float | None:
    """A time span in seconds; None for the default.

    Raises:
        UsageError: It is none, or not greater than 0.
    """
    if span is None:
        return None
    value = span.total_seconds() if isinstance(span, timedelta) else span
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"outage_budget_s must be seconds, not {span!r}.")
    if not math.isfinite(value) or value <= 0:
        raise UsageError(f"outage_budget_s must be greater than 0 and finite, not {span!r}.")
    return float(value)

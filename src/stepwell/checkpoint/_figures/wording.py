"""How figures and names are shown to people: sizes, times, names that may hold anything."""

from __future__ import annotations

from datetime import datetime
from typing import Final

_NAME_MAX: Final = 60
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def shown(name: str | None, longest: int = _NAME_MAX) -> str:
    """A name on one line: what does not print is escaped, what is long is cut.

    Graphs, channels and threads are named by users and by whoever calls them: a name must not
    move a terminal's cursor, nor turn the rest of a line around.
    """
    if name is None:
        return "(none)"
    if not name.isprintable():
        name = "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name
        )
    return name if len(name) <= longest else f"{name[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"


def size(count: float | None) -> str:
    """Bytes as people read them: "812 B", "3.4 MiB"."""
    if count is None:
        return "unknown"
    value, unit = float(count), _UNITS[0]
    for unit in _UNITS:  # the last one is kept
        if abs(value) < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def span(seconds: float) -> str:
    """A duration as people read it: "85 us", "1.2 ms", "3.0 s", "2 min", "4 h", "9 d"."""
    for below, unit, divisor in (
        (1e-3, "us", 1e-6), (1.0, "ms", 1e-3), (120.0, "s", 1.0), (7200.0, "min", 60.0),
        (86_400.0, "h", 3600.0),
    ):  # fmt: skip
        if seconds < below:
            value = seconds / divisor
            return f"{value:.1f} {unit}" if value < 10 and divisor <= 1 else f"{value:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def count(number: int) -> str:
    """A number with its thousands apart: "12,345"."""
    return f"{number:,}"


def when(moment: datetime | None) -> str:
    """A moment to the second, in UTC."""
    return "never" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S UTC")


__all__ = ["count", "shown", "size", "span", "when"]

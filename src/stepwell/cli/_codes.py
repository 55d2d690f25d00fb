"""Exit codes: fine, a problem was found, wrong usage, storage not available, a conflict,
stopped by Ctrl-C."""

from __future__ import annotations

FINE, PROBLEM, USAGE, UNAVAILABLE, CONFLICT = range(5)
INTERRUPTED = 130

__all__ = ["CONFLICT", "FINE", "INTERRUPTED", "PROBLEM", "UNAVAILABLE", "USAGE"]

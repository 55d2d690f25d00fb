"""Exit codes: fine, a problem was found, wrong usage, storage not available, a conflict."""

from __future__ import annotations

FINE, PROBLEM, USAGE, UNAVAILABLE, CONFLICT = range(5)

__all__ = ["CONFLICT", "FINE", "PROBLEM", "UNAVAILABLE", "USAGE"]

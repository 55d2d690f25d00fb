"""Where Stepwell means to differ from LangGraph, and what it does instead.

Each entry names the case, the reason, and an assertion of Stepwell's own behaviour. An entry
whose case no longer differs fails the run, so the table cannot grow stale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """`check(stepwell, langgraph)` asserts what Stepwell does; both are normalised."""

    why: str
    check: Callable[[Any, Any], None]


DIFFERENCES: dict[str, Difference] = {}

"""Durable graphs of Python functions: every step on disk, one writer per thread.

    from stepwell import open_saver
    from stepwell.graph import END, START, StateGraph

Importing this package loads no database client; `open_saver` does, when it is told which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell import errors
from stepwell._codec import register
from stepwell.checkpoint._open import open_saver
from stepwell.types import KEEP, OMIT
from stepwell.version import __version__

if TYPE_CHECKING:
    from stepwell._codec.crypt import Keyring
    from stepwell.checkpoint._upkeep.retention import Retention

__all__ = [
    "KEEP", "OMIT", "Keyring", "Retention", "__version__", "errors", "open_saver", "register",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Names whose modules few programs need are imported when they are asked for."""
    if name == "Keyring":
        from stepwell._codec.crypt import Keyring

        globals()[name] = Keyring
    elif name == "Retention":
        from stepwell.checkpoint._upkeep.retention import Retention

        globals()[name] = Retention
    else:
        raise AttributeError(f"module 'stepwell' has no attribute {name!r}")
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Durable graphs of Python functions: every step on disk, one writer per thread.

    from stepwell import open_saver
    from stepwell.graph import END, START, StateGraph

Importing this package loads no database client; `open_saver` does, when it is told which.
"""

from __future__ import annotations

from stepwell import errors
from stepwell._codec import register
from stepwell._codec.crypt import Keyring
from stepwell.checkpoint._open import open_saver
from stepwell.checkpoint._retention import Retention
from stepwell.types import KEEP, OMIT
from stepwell.version import __version__

__all__ = [
    "KEEP", "OMIT", "Keyring", "Retention", "__version__", "errors", "open_saver", "register",
]  # fmt: skip

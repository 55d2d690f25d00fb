"""Durable graphs of Python functions: every step on disk, one writer per thread.

    from stepwell import open_saver
    from stepwell.graph import END, START, StateGraph

Importing this package loads no database client; `open_saver` does, when it is told which. What
runs graphs is loaded by `StateGraph.compile`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell import errors
from stepwell._late import late_names
from stepwell.checkpoint._open import open_saver
from stepwell.types import KEEP, OMIT
from stepwell.version import __version__

if TYPE_CHECKING:
    from stepwell._codec import register
    from stepwell._codec.crypt import Keyring
    from stepwell.checkpoint._upkeep.retention import Retention

__all__ = [
    "KEEP", "OMIT", "Keyring", "Retention", "__version__", "errors", "open_saver", "register",
]  # fmt: skip

if not TYPE_CHECKING:
    __getattr__, __dir__ = late_names(
        __name__,
        {
            "Keyring": "stepwell._codec.crypt",
            "Retention": "stepwell.checkpoint._upkeep.retention",
            "register": "stepwell._codec",
        },
    )

"""How the saver of the other side of a backup is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stepwell.checkpoint._upkeep.backup import Backing


class _Opener(Protocol):
    """Makes the saver for a URL or a path."""

    def __call__(self, where: str, /, *, is_path: bool, exists: bool) -> Backing:
        """Make it; `exists`: only of a database that is there, and in the form of today."""


OPENERS: list[_Opener] = []
"""How a saver is made; the floor above, which knows the kinds of database, says so."""

__all__ = ["OPENERS"]

"""Threads in the memory of this process: for tests, examples and short-lived work."""

from __future__ import annotations

from typing import ClassVar, Unpack

from stepwell.checkpoint._options import MEMORY, SaverOptions, check_options
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.memory._driver import MemoryDriver


class InMemorySaver(Saver):
    """Keeps threads for as long as it lives, for one process; closing it loses nothing.

    Args:
        options: `SaverOptions`.

    Raises:
        UsageError: An option is unknown, or has a value it cannot have.
    """

    answers_at_once: ClassVar[bool] = True

    _warns_when_forgotten: ClassVar[bool] = False  # it leaves nothing behind

    def __init__(self, **options: Unpack[SaverOptions]) -> None:
        check_options(options, MEMORY, "InMemorySaver")
        super().__init__(MemoryDriver(), **options)

    def setup(self) -> None:
        """Open. There is no schema."""
        self._now(self.asetup, "setup")


MemorySaver = InMemorySaver
"""LangGraph's older name."""

__all__ = ["InMemorySaver", "MemorySaver"]

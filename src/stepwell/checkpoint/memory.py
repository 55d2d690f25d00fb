"""Threads in the memory of this process: for tests, examples and short-lived work."""

from __future__ import annotations

from typing import Unpack

from stepwell.checkpoint._memory_driver import MemoryDriver
from stepwell.checkpoint._options import MEMORY, SaverOptions, check_options
from stepwell.checkpoint.base import Saver


class InMemorySaver(Saver):
    """Keeps threads for as long as it lives; closing it loses nothing."""

    def __init__(self, **options: Unpack[SaverOptions]) -> None:
        super().__init__(MemoryDriver(), check_options(options, MEMORY, "InMemorySaver"))


MemorySaver = InMemorySaver

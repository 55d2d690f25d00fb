"""The calls of one superstep: which were made, which still run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepwell._engine.calls import CallRun


class Board:
    """The calls of one superstep, on all levels."""

    __slots__ = ("closed", "made", "running")

    def __init__(self) -> None:
        self.closed = False
        self.made: list[CallRun] = []
        self.running: set[asyncio.Task[None]] = set()

    @property
    def asks(self) -> bool:
        """Whether a call has a question without an answer."""
        return any(call.interrupts or (call.over and call.paused) for call in self.made)

    async def finish(self, *, cancel: bool) -> None:
        """Wait for calls that nobody waited for; with `cancel`, stop them first. Who is
        cancelled meanwhile stops them, and waits all the same."""
        self.closed = self.closed or cancel
        stopped: asyncio.CancelledError | None = None
        while self.running:
            if cancel:
                for steps in self.running:
                    steps.cancel()
            try:
                # Not `gather`: from Python 3.12 on it returns at once if all have ended, before
                # those callbacks that take them off the board.
                await asyncio.wait(self.running)
            except asyncio.CancelledError as exc:
                self.closed = cancel = True
                stopped = exc
        self.closed = True
        if stopped is not None:
            raise stopped

    def release(self) -> None:
        """Nobody asks for the calls any more: let them, and their callers, be freed at once."""
        for call in self.made:
            call.failure = call.calls = call.steps = call.parent.calls = None
            call.waiters = []


__all__ = ["Board"]

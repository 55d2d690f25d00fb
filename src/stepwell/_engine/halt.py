"""How a run is stopped from outside: its claim was lost, or somebody asks for its thread.

A lost claim and a demand to undo the run cancel the task that drives it, at once. A demand to
stop only marks the claim: every run under it, nested ones too, looks at the mark where it
would begin something new. The engine's loop looks before a superstep, a task before it calls
another one. What runs then is finished and recorded first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from stepwell._journal.demand import Demand, parse_demand
from stepwell.errors import RunPreemptedError

if TYPE_CHECKING:
    from stepwell._engine.open import Opened
    from stepwell._journal.handle import ThreadHandle


class Stopped(Exception):  # noqa: N818  # a signal between the loop of a root run and its driver
    """A root run has stopped because somebody asked for its thread."""


def be_undone(opened: Opened | None) -> None:
    """Go no further if the run is to be undone and has not noticed: its cancellation is still
    on its way, or a node has swallowed it.

    Raises:
        asyncio.CancelledError: It is.
    """
    if opened is not None and opened.halt is not None and opened.halt.undoes:
        raise asyncio.CancelledError


def demanded(on_conflict: str, run_id: str) -> Demand | None:
    """What a run with this policy asks of those that hold its thread."""
    if on_conflict == "interrupt":
        return Demand("interrupt", plain_text(run_id))
    if on_conflict == "rollback":
        return Demand("rollback", plain_text(run_id))
    return None


def plain_text(text: str) -> str:
    """Text that every database can hold."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()[:2000]


class Halt:
    """Watches one claim for the task that drives runs under it."""

    __slots__ = ("_before", "_cancels", "_handle", "_lost", "_me", "demand")

    def __init__(self, handle: ThreadHandle) -> None:
        self._handle = handle
        self._me = asyncio.current_task()
        self._before = 0 if self._me is None else self._me.cancelling()
        self._cancels = 0  # made by this halt, and not taken back
        self._lost: BaseException | None = None
        self.demand: Demand | None = None
        """What was asked, and is obeyed."""
        handle.on_lost = self._on_lost
        handle.on_request = self._on_request
        if handle.request is not None:
            self._on_request(handle.request)

    def close(self) -> None:
        """Whatever comes now, comes too late for the runs under this claim."""
        self._handle.on_lost = self._handle.on_request = None

    @property
    def undoes(self) -> bool:
        """Whether the run has to be undone."""
        return self.demand is not None and self.demand.policy == "rollback"

    def _on_lost(self, error: BaseException) -> None:
        self._lost = error
        self._cancel()

    def _on_request(self, text: str) -> None:
        demand = parse_demand(text)
        # A run whose last record is on its way has ended.
        if demand is None or self._handle.outbox.closed or self._lost is not None:
            return
        self.demand = demand
        self._handle.stopping = True
        if self.undoes:
            self._cancel()

    def _cancel(self) -> None:
        if self._me is not None:
            self._me.cancel()
            self._cancels += 1

    def _take_back(self) -> bool:
        """Take back our own cancellation; whether nobody else has cancelled the task."""
        if self._me is None:
            return False
        while self._cancels:
            self._cancels -= 1
            self._me.uncancel()
        return self._me.cancelling() <= self._before

    async def settled(self) -> None:
        """Nothing of our own cancellation is left in the task, if it met nobody who waited.

        Raises:
            asyncio.CancelledError: Somebody else has cancelled it.
        """
        try:
            if self._cancels:
                await asyncio.sleep(0)  # where it arrives, if it has not been swallowed
                self._take_back()
        except asyncio.CancelledError:
            if not self._take_back():
                raise
        finally:
            self._me = None  # it keeps what it raises, whose traceback leads to this halt

    async def to_the_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what must be done before the claim is let go, whoever cancels meanwhile.

        Raises:
            StorageError: It could not be done.
        """
        task = asyncio.create_task(work)
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((task,))
        if task.exception() is not None:
            self._take_back()  # the error takes the place of our cancellation
        task.result()

    def cause(self, run_id: str | None) -> BaseException | None:
        """Why the driving task was cancelled: the error to raise in place of it, or None if it
        was cancelled by somebody else (too)."""
        error = self._lost
        if error is None and self.undoes:
            error = self.preempted(run_id)
        return error if error is not None and self._take_back() else None

    def preempted(self, run_id: str | None) -> RunPreemptedError:
        """The error for the caller of a run that was stopped on demand."""
        policy, token = self.demand or Demand("cancel", "cancelled")
        thread_id = self._handle.key.thread_id
        which = f"Run {run_id!r} of thread {thread_id!r}"
        if policy == "cancel":
            msg = f"{which} was cancelled: {token}. What it has finished is kept; None resumes it."
        elif policy == "interrupt":
            msg = f"{which} was stopped by run {token!r}. What it has finished is kept."
        else:
            msg = f"{which} was undone by run {token!r}: the thread stands where it stood before."
        by = None if policy == "cancel" else token
        return RunPreemptedError(
            msg, policy=policy, by_run_id=by, thread_id=thread_id, run_id=run_id
        )


__all__ = ["Halt", "Stopped", "be_undone"]

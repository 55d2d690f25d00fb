"""Stopping a run, and waiting for one, from wherever: both only look at the thread's row.

A run is known by its number in the thread: whoever takes it over goes on under the same one. A run
that writes nothing before its end (durability="exit") has none yet; it is known by its claim.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from stepwell._context import current_task
from stepwell._engine.arguments import RunConfig, refuse, seconds
from stepwell._engine.halt import plain_text
from stepwell._engine.open import claim_thread, give_back
from stepwell._engine.program import Program
from stepwell._engine.rollback import stop_where_it_stands
from stepwell._journal.demand import Demand
from stepwell._journal.lineup import reentrant
from stepwell.checkpoint._results import RunInfo
from stepwell.checkpoint.driver import LoadRequest, RunRow, RunStatus, ThreadKey, ThreadRow
from stepwell.errors import NotFoundError, ThreadBusyError

if TYPE_CHECKING:
    from stepwell._journal.journal import Journal
    from stepwell.checkpoint.base import Saver

_PAUSE_LEAST_S: Final = 0.02
_PAUSE_MOST_S: Final = 1.0
_SUSPECT_AFTER_S: Final = 1.0
_SUSPECT_FOR_S: Final = 1.5
"""Longer than a worker whose death can be seen keeps its thread."""


class _Seen:
    """A thread's row, and its newest run."""

    __slots__ = ("row", "run")

    def __init__(self, row: ThreadRow, run: RunRow | None) -> None:
        self.row = row
        self.run = run

    @property
    def held(self) -> bool:
        """Whether somebody has a claim on it, alive or not."""
        return self.row.owner is not None

    @property
    def running(self) -> bool:
        """Whether its newest run has not ended, or somebody may be making one."""
        return self.held or self.open

    @property
    def open(self) -> bool:
        """Whether its newest run has not ended."""
        return self.run is not None and self.run.status == RunStatus.RUNNING

    def same(self, other: _Seen) -> bool:
        """Whether the run that was under way in `other` is under way here."""
        if other.open and other.run is not None:
            return self.open and self.run is not None and self.run.run == other.run.run
        return self.held and self.row.epoch == other.row.epoch


async def _look(journal: Journal, key: ThreadKey) -> _Seen | None:
    # The chain of "no checkpoint" is empty: only the thread's own row is read, and its run's.
    loaded = await journal.load(LoadRequest(key, "", 0, current=True))
    row = loaded.thread
    return None if row is None else _Seen(row, loaded.runs.get(row.run))


def _refuse_own(seen: _Seen) -> None:
    """Refuse to wait for a run that the calling code is a part of.

    Raises:
        ThreadBusyError: It is.
    """
    current = current_task.get()
    row = seen.row
    for handle in () if current is None else current.held:
        if (handle.key, handle.epoch, handle.outbox.owner) == (row.key, row.epoch, row.owner):
            raise reentrant(handle.turn, handle.outbox.owner)


async def _looks(
    journal: Journal, key: ThreadKey, timeout_s: float | None
) -> AsyncIterator[tuple[_Seen | None, float]]:
    """Look again and again, less and less often: what was seen, and after how many seconds.

    Ends when the time is up, after a last look.
    """
    clock, ids = journal.clock, journal.ids
    began = clock.monotonic()
    while True:
        seen = await _look(journal, key)
        passed = clock.monotonic() - began
        yield seen, passed
        if timeout_s is not None and passed >= timeout_s:
            return
        pause = min(_PAUSE_MOST_S, max(_PAUSE_LEAST_S, passed / 2))
        pause = ids.uniform(pause / 2, pause)
        await asyncio.sleep(pause if timeout_s is None else min(pause, timeout_s - passed))


async def cancel(
    program: Program, saver: Saver, config: RunConfig, *, reason: str, timeout: float | None
) -> bool:
    """Stop the run that has a thread at its next barrier.

    Returns:
        Whether there was one and it has stopped, or ended by itself.

    Raises:
        ThreadBusyError: The caller is a part of that run.
    """
    if not isinstance(reason, str):
        raise refuse("reason", reason, "text")
    limit = seconds("timeout", timeout)
    key = saver.key(config.require_thread("acancel"))
    journal = await saver.journal()
    demand = Demand("cancel", plain_text(reason))
    first: _Seen | None = None
    asked: int | None = None
    suspected = False
    async for seen, passed in _looks(journal, key, limit):
        if first is None:
            if seen is None or not seen.running:
                return False
            _refuse_own(seen)
            first = seen
        if seen is None or not seen.same(first):
            return True
        row = seen.row
        late = row.lease_left_s is not None and row.lease_left_s < 0
        suspects = passed > _SUSPECT_AFTER_S and not suspected and row.owner != journal.worker
        if not seen.held or late or suspects:
            suspected = suspected or suspects
            left = _SUSPECT_FOR_S if limit is None else min(_SUSPECT_FOR_S, limit - passed)
            await _close_orphan(program, config, seen, max(0.0, left))
        elif asked != row.epoch and await journal.ask_owner(key, row.epoch, demand):
            asked = row.epoch
    return False


async def _close_orphan(
    program: Program, config: RunConfig, seen: _Seen, patience_s: float
) -> None:
    """Take the thread over from a worker that is gone, if it is, and close its run."""
    place = RunConfig({"configurable": {"thread_id": config.thread_id}}, 1)
    try:
        opened = await claim_thread(program, place, on_conflict="wait", lock_timeout=patience_s)
    except ThreadBusyError:
        return
    try:
        run, known = opened.open_run, seen.run
        if opened.unfinished and run is not None and known is not None and run.run == known.run:
            await stop_where_it_stands(opened, keep=False)
    finally:
        await give_back(opened.handle)


async def await_run(
    saver: Saver, config: RunConfig, *, run_id: str | None, timeout: float | None
) -> RunInfo:
    """Wait until a run has ended.

    Args:
        saver: Where the thread is.
        config: Names it.
        run_id: The run; None: the one that has the thread now, else the newest.
        timeout: Seconds; None = no limit.

    Raises:
        NotFoundError: There is no such thread or run.
        ThreadBusyError: It did not end in time, or the caller is a part of it.
    """
    limit = seconds("timeout", timeout)
    thread_id = config.require_thread("await_run")
    key = saver.key(thread_id)
    journal = await saver.journal()
    first: _Seen | None = None
    async for seen, _ in _looks(journal, key, limit):
        if seen is None:
            raise _unknown(thread_id, run_id)
        if first is None:
            first = seen
            if seen.running:
                _refuse_own(seen)
        if run_id is None:
            if not (seen.running and seen.same(first)):
                return await _newest(saver, thread_id, first)
            continue
        found = await saver.aget_run(thread_id, run_id)
        if found is not None and found.status != "running":
            return found
        if found is None and not (seen.held and seen.same(first)):
            raise _unknown(thread_id, run_id)
    msg = f"A run of thread {thread_id!r} was still under way after {limit} s."
    raise ThreadBusyError(
        msg, run_id=run_id, retry_after_s=1.0, thread_id=thread_id, code="timeout"
    )


async def _newest(saver: Saver, thread_id: str, first: _Seen) -> RunInfo:
    """The run that was waited for: the one that was open, or the newest."""
    async for info in saver.alist_runs(thread_id):
        if not first.open or first.run is None or info.run_id == first.run.run_id:
            return info
    raise _unknown(thread_id, None)


def _unknown(thread_id: str, run_id: str | None) -> NotFoundError:
    which = "no run" if run_id is None else f"no run {run_id!r}"
    return NotFoundError(f"Thread {thread_id!r} has {which}.", thread_id=thread_id)


__all__ = ["await_run", "cancel"]

"""Finishing runs whose process is gone.

Each orphan is claimed like any thread, so two processes that sweep at once cannot run it twice;
under the claim it is looked at again, because somebody may have been faster. The attempt is
counted in the run row, and durable before any node runs: a run that kills its process does not
do so for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, Literal

from stepwell._engine.arguments import RunConfig
from stepwell._engine.ending import end
from stepwell._engine.entry import drive, make_run, under_claim
from stepwell._engine.open import Opened, check_graph, claim_thread
from stepwell._engine.options import RunOptions
from stepwell._engine.program import Program
from stepwell.checkpoint._looking.orphans import orphan_rows
from stepwell.checkpoint._results import RecoverReport
from stepwell.checkpoint.driver import RunRow, RunStatus, ThreadRow, ThreadStatus
from stepwell.errors import (
    GraphDrained,
    GraphMismatchError,
    RunPreemptedError,
    StepwellError,
    ThreadBusyError,
)
from stepwell.runtime import RunControl

if TYPE_CHECKING:
    from stepwell.checkpoint.base import Saver

logger = logging.getLogger("stepwell")

NAMELESS: Final = "LangGraph"
"""The name of graphs that were given none: it does not tell whose a thread is."""
_TAKE_S: Final = 5.0
"""Longer than it takes to see that an owner's process has died."""
_STOP_S: Final = 5.0
"""How long runs that were taken over may take to their next barrier when all is to stop."""

Outcome = Literal["recovered", "failed", "poisoned", "skipped"]


class PoisonedRunError(StepwellError):
    """A run was taken over too often: it is taken to be what ends its workers."""

    code = "poisoned"

    def __repr__(self) -> str:
        return f"{self.code}: {self}"


class Recovery:
    """Takes over the orphans of one graph, several at a time. Belongs to the saver's loop.

    Args:
        program: The graph.
        saver: Where its threads are.
        settings: Makes the config of a thread.
        concurrency: How many runs go on at the same time.
        attempts_max: How many workers may have a run, one after the other.
        context: Handed to nodes as `runtime.context`.
    """

    def __init__(
        self,
        program: Program,
        saver: Saver,
        settings: Callable[[str], RunConfig],
        *,
        concurrency: int,
        attempts_max: int,
        context: Any,
    ) -> None:
        self._program = program
        self._saver = saver
        self._settings = settings
        self._attempts_max = attempts_max
        self._context = context
        self._slots = asyncio.Semaphore(concurrency)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._controls: set[RunControl] = set()
        self._refused: dict[str, float] = {}
        """Threads that do not fit the graph, as they were when that was seen."""
        self._ids: dict[Outcome, list[str]] = {}

    def report(self) -> RecoverReport:
        """What became of the orphans so far."""
        ids = self._ids
        return RecoverReport(
            recovered=tuple(ids.get("recovered", ())), failed=tuple(ids.get("failed", ())),
            poisoned=tuple(ids.get("poisoned", ())), skipped=tuple(ids.get("skipped", ())),
        )  # fmt: skip

    async def begin(self) -> None:
        """See whether this process may begin anything.

        Raises:
            ThreadBusyError: It drains.
        """
        (await self._saver.journal()).check_begins()

    async def sweep(self, limit: int | None = None) -> None:
        """Begin with every orphan that is there now; waits only for room.

        Raises:
            StorageError: The database did not answer.
        """
        journal = await self._saver.journal()
        scope = self._saver.scope
        left = limit
        async with aclosing(orphan_rows(journal, scope, self._program.name)) as rows:
            async for row in rows:
                thread_id = row.key.thread_id
                if thread_id in self._running or not self._fits(row):
                    continue
                if left is not None and left <= 0:
                    return
                left = None if left is None else left - 1
                await self._slots.acquire()
                task = asyncio.create_task(self._recover(thread_id))
                self._running[thread_id] = task

    def _fits(self, row: ThreadRow) -> bool:
        """Whether the graph may run a thread; if not, that is noted once."""
        thread_id, program = row.key.thread_id, self._program
        if self._refused.get(thread_id) == row.updated_at:
            return False
        why: object = None
        if program.name == NAMELESS and row.fingerprint != program.fingerprint:
            why = f"a graph without a name and with another shape wrote it: name={program.name!r}"
        try:
            check_graph(program, row)
        except GraphMismatchError as exc:
            why = exc
        if why is None:
            return True
        logger.warning("Thread %r is not recovered by graph %r: %s", thread_id, program.name, why)
        self._refused[thread_id] = row.updated_at
        self._note("skipped", thread_id)
        return False

    def _note(self, outcome: Outcome, thread_id: str) -> None:
        self._ids.setdefault(outcome, []).append(thread_id)

    async def _recover(self, thread_id: str) -> None:
        control = RunControl()
        self._controls.add(control)
        try:
            outcome = await self._take_over(thread_id, control)
        except (ThreadBusyError, GraphMismatchError, GraphDrained, RunPreemptedError) as exc:
            logger.info("Thread %r is not recovered here: %s", thread_id, type(exc).__name__)
            outcome = "skipped"
        except Exception as exc:  # noqa: BLE001  # whatever its nodes raise is on the thread too
            kind = type(exc).__name__
            logger.warning("The orphaned run of thread %r failed: %s", thread_id, kind)
            outcome = "failed"
        finally:
            self._controls.discard(control)
            del self._running[thread_id]
            self._slots.release()
        if outcome is not None:
            self._note(outcome, thread_id)

    async def _take_over(self, thread_id: str, control: RunControl) -> Outcome | None:
        program = self._program
        config = self._settings(thread_id)
        options = RunOptions()
        options.context, options.control = self._context, control
        if program.durability == "exit":
            options.durability = "async"  # else the attempt would not be counted
        opened = await claim_thread(program, config, on_conflict="wait", lock_timeout=_TAKE_S)
        row = opened.open_run

        async def work() -> Outcome | None:
            if not opened.unfinished or row is None or row.status != RunStatus.RUNNING:
                return None  # somebody else was faster
            if row.attempts >= self._attempts_max:
                await self._poison(opened, row, config, options)
                return "poisoned"
            run = make_run(program, opened, config, options, again=row)
            await drive(run, None, opened, row, swept=True)
            return "recovered"

        return await under_claim(opened, work, "" if row is None else row.run_id)

    async def _poison(
        self, opened: Opened, row: RunRow, config: RunConfig, options: RunOptions
    ) -> None:
        thread_id = opened.key.thread_id
        run = make_run(self._program, opened, config, options, again=row)
        if run.rec is None:
            return
        run.rec.run_row = row
        error = PoisonedRunError(
            f"run {row.run_id!r} was begun by {row.attempts} workers and outlived none of them, "
            "so it is not recovered any more. When the cause is mended, ainvoke(None, config) "
            "goes on with it.",
            thread_id=thread_id, run_id=row.run_id,
        )  # fmt: skip
        end(run, ThreadStatus.FAILED, RunStatus.FAILED, error)
        await run.rec.durable()
        logger.error("Thread %r: %r", thread_id, error)

    async def finished(self) -> None:
        """Wait for what has begun. Cancelled, it stops all of it first."""
        try:
            while self._running:
                await asyncio.wait(self._running.values())
        except asyncio.CancelledError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Let runs come to their next barrier, for a while, then cancel them; wait for all.
        Their threads are orphans again, for others to take."""
        for control in tuple(self._controls):
            control.request_drain("the recovery was stopped")
        if self._running:
            await asyncio.wait(self._running.values(), timeout=_STOP_S)
        for task in tuple(self._running.values()):
            task.cancel()
        while self._running:
            await asyncio.wait(self._running.values())


async def recover(recovery: Recovery, limit: int | None) -> RecoverReport:
    """Take over the orphans that are there now, and wait for what becomes of them.

    Raises:
        StorageError: The database did not answer.
        ThreadBusyError: This process drains: it would leave all of them where they are.
    """
    await recovery.begin()
    try:
        await recovery.sweep(limit)
    except BaseException:
        await recovery.stop()
        raise
    await recovery.finished()
    return recovery.report()


async def keep_recovering(recovery: Recovery, pauses: Callable[[], float]) -> None:
    """Sweep, pause, sweep again, until cancelled."""
    try:
        while True:
            try:
                await recovery.sweep()
            except StepwellError as exc:
                logger.warning("A sweep for orphaned runs failed: %s", exc)
            except Exception:
                logger.exception("A sweep for orphaned runs failed; the next one comes.")
            await asyncio.sleep(pauses())
    finally:
        await recovery.stop()


__all__ = ["PoisonedRunError", "Recovery", "keep_recovering", "recover"]

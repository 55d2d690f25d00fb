"""Keeping leases alive, and noticing when one is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from stepwell._journal.batcher import stale_writer
from stepwell._journal.gather import Gather
from stepwell._journal.handle import ThreadHandle
from stepwell._journal.options import Surroundings
from stepwell._journal.outage import Backoff, persist
from stepwell.checkpoint.driver import Held, Lost, Renewed
from stepwell.errors import StorageError
from stepwell.observe import LeaseLost

_log = logging.getLogger("stepwell.lock")


class Heartbeat:
    """Renews the claims of one journal every third of a lease.

    It names the claims that the journal holds, never "all rows that carry our name": what no
    run holds must expire. Claims whose commits renewed them lately are left out. It runs on
    the event loop on purpose: a process whose loop is blocked is a frozen process.
    """

    __slots__ = ("_around", "_beats", "_claims", "_loop", "_task")

    def __init__(
        self, surroundings: Surroundings, claims: Callable[[], Sequence[ThreadHandle]]
    ) -> None:
        self._around = surroundings
        self._claims = claims
        self._loop = asyncio.get_running_loop()
        self._beats: Gather[ThreadHandle, None] = Gather(self._beat)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with the first claim; repeating it is harmless."""
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """End the task and wait until it has ended."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        await self._beats.idle()

    async def fresh(self, handle: ThreadHandle) -> None:
        """Renew the lease now if it was not renewed for two thirds of its length.

        Raises:
            StaleWriterError: The claim is lost.
            StorageUnavailableError: No answer within the outage budget.
        """
        outbox = handle.outbox
        ttl_s = self._around.options.lease_ttl_s
        if outbox.failure is None and (
            self._around.clock.monotonic() - outbox.renewed_at > ttl_s * 2 / 3
        ):
            await persist(self._around, "renew", lambda: asyncio.shield(self._beats.submit(handle)))
        if outbox.failure is not None:
            raise outbox.failure.with_traceback(None)

    async def _run(self) -> None:
        clock, ttl_s = self._around.clock, self._around.options.lease_ttl_s
        period = pause = ttl_s / 3
        backoff = Backoff(self._around, "renew")
        while True:
            before = clock.monotonic()
            await asyncio.sleep(pause)
            now = clock.monotonic()
            blocked = now - before - pause
            if blocked > ttl_s * 2 / 3:
                _log.warning(
                    "The event loop was blocked for %.1f s; the leases of its threads last "
                    "%.1f s. Move blocking work to a thread.",
                    blocked,
                    ttl_s,
                )
            due = [h for h in self._claims() if now - h.outbox.renewed_at >= period]
            pause = period
            if due:
                try:
                    await self._beat(due)
                except StorageError as error:
                    if backoff.fresh:
                        _log.warning("The storage does not take heartbeats (%s).", error)
                    pause = backoff.next_delay(error, now + period) or period
                except Exception:  # noqa: BLE001
                    # Without a heartbeat every run would lose its thread: never stop.
                    _log.exception("A heartbeat failed; the next one comes in its time.")
                else:
                    backoff.reset()

    async def _beat(self, handles: Sequence[ThreadHandle]) -> list[None]:
        around = self._around
        sent_at = around.clock.monotonic()
        held: list[Held] = [handle.held for handle in handles]
        answers = await around.driver.renew(around.worker, held, around.options.lease_ttl_s)
        for handle, answer in zip(handles, answers, strict=True):
            self._apply(handle, answer, sent_at)
        return [None] * len(handles)

    def _apply(self, handle: ThreadHandle, answer: Renewed | Lost, sent_at: float) -> None:
        outbox = handle.outbox
        if isinstance(answer, Renewed):
            outbox.renewed_at = max(outbox.renewed_at, sent_at)
            outbox.notice(answer.request, wanted=answer.wanted)
            return
        # A claim that is being let go is not lost: whoever lets it go learns the truth.
        if outbox.closed or outbox.failure is not None:
            return
        if around := self._around.observers:
            around(
                LeaseLost(
                    thread_id=handle.key.thread_id, epoch=handle.epoch, noticed_by="heartbeat"
                )
            )
        outbox.lose(stale_writer(outbox, answer.epoch, "none"))

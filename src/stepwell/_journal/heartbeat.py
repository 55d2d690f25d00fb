"""Keeping leases alive, and noticing when one is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from stepwell._journal.gather import Gather
from stepwell._journal.handle import ThreadHandle
from stepwell._journal.lost import stale_writer
from stepwell._journal.options import Surroundings
from stepwell._journal.outage import Backoff, persist
from stepwell.checkpoint.driver import Held, Lost, Renewed
from stepwell.errors import StorageError, StorageUnavailableError
from stepwell.observe import LeaseLost

_log = logging.getLogger("stepwell.lock")


class Heartbeat:
    """Renews the claims of one journal every third of a lease.

    It names the claims that the journal holds, never "all rows that carry our name": what no
    run holds must expire. Claims whose commits renewed them lately are left out. It runs on
    the event loop on purpose: a process whose loop is blocked is a frozen process.

    A call without an answer for a third of a lease counts as failed, and another is made. Its
    answer is still good when it comes, because a renewal counts from when it was sent; after a
    whole lease it would be worth nothing, and the call is cancelled.
    """

    __slots__ = ("_around", "_beats", "_calls", "_claims", "_clock", "_doubt_s", "_loop", "_task")

    def __init__(
        self, surroundings: Surroundings, claims: Callable[[], Sequence[ThreadHandle]]
    ) -> None:
        self._around = surroundings
        self._clock = surroundings.clock
        self._doubt_s = surroundings.options.lease_ttl_s * 2 / 3
        self._claims = claims
        self._loop = asyncio.get_running_loop()
        self._beats: Gather[ThreadHandle, bool] = Gather(self._beat_for_fresh)
        self._calls: set[asyncio.Task[list[bool]]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with the first claim; repeating it is harmless."""
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """End the task and all calls, and wait until they have ended."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        for call in self._calls:
            call.cancel()
        await self._beats.idle()
        if self._calls:
            await asyncio.wait(self._calls)

    async def fresh(self, handle: ThreadHandle) -> None:
        """Renew the lease now if it was not renewed for two thirds of its length.

        Raises:
            StaleWriterError: The claim is lost.
            StorageUnavailableError: No answer within the outage budget, or somebody had the
                row locked all that time.
        """
        outbox = handle.outbox
        if self.doubts(handle):
            await persist(
                self._around, "renew", lambda: self._make_fresh(handle), outage=outbox.outage
            )
        if outbox.failure is not None:
            raise outbox.failure.with_traceback(None)

    def doubts(self, handle: ThreadHandle) -> bool:
        """Whether the lease was not renewed for two thirds of its length."""
        outbox = handle.outbox
        age = self._clock.monotonic() - outbox.renewed_at
        return age > self._doubt_s and outbox.failure is None

    async def _make_fresh(self, handle: ThreadHandle) -> None:
        # A late answer, or the heartbeat, may have done it since the last try.
        if self.doubts(handle) and not await asyncio.shield(self._beats.submit(handle)):
            raise _row_locked(thread_id=handle.key.thread_id)

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
                    if not all(await self._beat(due, period)):
                        raise _row_locked()
                except StorageError as error:
                    if backoff.fresh:
                        _log.warning("The storage does not take heartbeats (%s).", error)
                    pause = backoff.next_delay(error, clock.monotonic() + period) or period
                except Exception:  # noqa: BLE001
                    # Without a heartbeat every run would lose its thread: never stop.
                    _log.exception("A heartbeat failed; the next one comes in its time.")
                else:
                    backoff.reset()

    async def _beat_for_fresh(self, handles: Sequence[ThreadHandle]) -> list[bool]:
        # An answer that takes longer would leave the lease in doubt even so.
        return await self._beat(handles, self._around.options.lease_ttl_s * 2 / 3)

    async def _beat(self, handles: Sequence[ThreadHandle], patience_s: float) -> list[bool]:
        """Renew; of each claim, whether nothing is left to do.

        Raises:
            StorageError: Of the driver; or there was no answer in time.
        """
        call = self._loop.create_task(self._ask(handles))
        self._calls.add(call)
        call.add_done_callback(self._ended)
        await asyncio.wait((call,), timeout=patience_s)
        if not call.done() or call.cancelled():
            msg = f"There was no answer to a heartbeat in {patience_s:.1f} s."
            raise StorageUnavailableError(msg, outcome="unknown")
        return call.result()

    def _ended(self, call: asyncio.Task[list[bool]]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # whoever asked may have gone on without an answer

    async def _ask(self, handles: Sequence[ThreadHandle]) -> list[bool]:
        around = self._around
        ttl_s = around.options.lease_ttl_s
        sent_at = around.clock.monotonic()
        held: list[Held] = [handle.held for handle in handles]
        async with asyncio.timeout(ttl_s):
            answers = await around.driver.renew(around.worker, held, ttl_s)
        pairs = zip(handles, answers, strict=True)
        return [self._apply(handle, answer, sent_at) for handle, answer in pairs]

    def _apply(self, handle: ThreadHandle, answer: Renewed | Lost, sent_at: float) -> bool:
        outbox = handle.outbox
        if isinstance(answer, Renewed):
            if answer.extended:
                outbox.outage.over()
                outbox.renewed_at = max(outbox.renewed_at, sent_at)
            outbox.notice(answer.request, wanted=answer.wanted)
            return answer.extended
        # A claim that is being let go is not lost: whoever lets it go learns the truth.
        if outbox.closed or outbox.failure is not None:
            return True
        if around := self._around.observers:
            around(
                LeaseLost(
                    thread_id=handle.key.thread_id, epoch=handle.epoch, noticed_by="heartbeat"
                )
            )
        outbox.lose(stale_writer(outbox, answer.epoch, "none"))
        return True


def _row_locked(**context: str) -> StorageUnavailableError:
    msg = "A thread's row is locked by somebody else: its lease could not be renewed."
    return StorageUnavailableError(msg, outcome="none", **context)

"""Becoming the one writer of a thread: claims, waiting, suspicion, courtesy.

The thread row is the truth: a claim is a compare-and-set that the driver makes. What is
decided here is when to try, when to wait, and what to do with a claim whose caller is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from stepwell._journal.courtesy import POLL_LEAST_S, POLL_MOST_S, Courtesy, poll_interval
from stepwell._journal.demand import Demand
from stepwell._journal.gather import Gather
from stepwell._journal.handle import ThreadHandle
from stepwell._journal.heads import Head, Heads
from stepwell._journal.inline import InlineClaim
from stepwell._journal.lineup import Lineups, Turn, reentrant
from stepwell._journal.options import Surroundings
from stepwell._journal.outage import Backoff, Outage, persist
from stepwell.checkpoint.driver import (
    Ask,
    Busy,
    Claim,
    ClaimRequest,
    Held,
    LoadRequest,
    ThreadKey,
)
from stepwell.errors import (
    StorageError,
    StorageUnavailableError,
    ThreadBusyError,
    UsageError,
)

_log = logging.getLogger("stepwell.lock")

_TORN_LOADS_MAX = 10

# The last try is made when the time is up: so long it may take on its way.
_ANSWER_LEAST_S = 0.5


class Won(NamedTuple):
    """A claim, when its request was sent, whether somebody else was in the way, and the state of
    the thread, if it is known here."""

    claim: Claim
    sent_at: float
    waited: bool
    head: Head | None = None


class Wish(NamedTuple):
    """How somebody wants a thread.

    Args:
        wait: False: refuse a busy thread at once.
        deadline: On the journal's clock; None = no limit. It bounds the wait for the thread
            and for an answer. An outage that is told does not count: it has its own budget.
        load_ns: Namespace whose chain is loaded with the claim.
        load_seq: Its checkpoint; None = the head.
        mine: The live claims of the calling context.
        demand: What is asked of every owner that is in the way.
    """

    wait: bool = True
    deadline: float | None = None
    load_ns: str = ""
    load_seq: int | None = None
    mine: Sequence[ThreadHandle] = ()
    demand: Demand | None = None


class Claimer:
    """Claims threads for those whose turn it is in this process.

    `unlock` gives the lock of a claim back, in its own time.
    """

    __slots__ = (
        "_around", "_claim_now", "_claims", "_lines", "_loop", "_releases", "_tasks", "_unlock",
        "asking", "closed", "courtesy", "heads",
    )  # fmt: skip

    def __init__(
        self, surroundings: Surroundings, lines: Lineups, unlock: Callable[[Held], object]
    ) -> None:
        driver = surroundings.driver
        self._around = surroundings
        self._unlock = unlock
        self._lines = lines
        self._loop = asyncio.get_running_loop()
        self._claim_now = driver.claim_now if isinstance(driver, InlineClaim) else None
        self._claims: Gather[ClaimRequest, Claim | Busy] = Gather(driver.claim)
        self._releases: Gather[Held, None] = Gather(self._release_all)
        self._tasks: set[asyncio.Task[None]] = set()
        self.courtesy = Courtesy()
        # What is sealed on the disk is not kept open in memory behind the run that needed it.
        self.heads = None if hasattr(driver, "seal") else Heads()
        """The states that threads were left in; None: none are kept."""
        self.asking = 0
        """Claims under way."""
        self.closed = False

    async def _release_all(self, held: list[Held]) -> list[None]:
        await self._around.driver.release(self._around.worker, held)
        return [None] * len(held)

    async def release(self, held: Held, outage: Outage | None = None) -> None:
        """Free the row of a claim and its lock. `outage`: that of the run that had it.

        A database that does not answer is asked again for the length of a lease: after that
        the row is free without us.

        Raises:
            StorageError: It did not answer in all that time, or refused for good.
        """
        await persist(
            self._around,
            "release",
            lambda: asyncio.shield(self._releases.submit(held)),
            budget_s=self._around.options.lease_ttl_s,
            outage=outage,
        )

    async def idle(self) -> None:
        """Wait until nothing is under way; new claims must have been `closed` before."""
        await self._claims.idle()
        while self.asking or self._tasks:
            if self._tasks:
                await asyncio.wait(self._tasks)
            else:
                await asyncio.sleep(0.001)
        await self._releases.idle()

    def check_open(self) -> None:
        """Raise `UsageError` when the journal is closed, or about to be."""
        if self.closed:
            msg = "The journal is closed."
            raise UsageError(msg)

    # -- claiming

    async def claim(self, turn: Turn, wish: Wish) -> Won:
        """Claim the thread whose turn this is; on failure the turn is passed on.

        Raises:
            ThreadBusyError: Somebody else holds the thread.
            StorageError: The database did not answer in time, or failed for as long as the
                outage budget lasts.
        """
        around = self._around
        request = ClaimRequest(
            key=turn.key,
            worker=around.worker,
            lease_ttl_s=around.options.lease_ttl_s,
            fresh_no=around.ids.start_no(),
            fresh_uid=around.ids.uid(),
            lock=around.options.locks,
            load_ns=wish.load_ns,
            load_seq=wish.load_seq,
        )
        head = None if self.heads is None else self.heads.take(turn.key)
        if head is not None and not wish.load_ns and wish.load_seq is None:
            request = request._replace(known=head.known)
        attempt = _Attempt(self, turn, request)
        try:
            won = await self._claim(attempt, wish)
            if head is not None and request.known is not None and head.fits(won.claim):
                return won._replace(head=head)
            if won.claim.loaded.newest_only:
                # The row is as it was left, and what it stands for is not: all of it is read.
                await attempt.undo()
                attempt.request = request._replace(known=None)
                won = await self._claim(attempt, wish)
            return won
        except BaseException:
            self._abandon(attempt)
            raise

    async def _claim(self, attempt: _Attempt, wish: Wish) -> Won:
        around, key, deadline = self._around, attempt.turn.key, wish.deadline
        seen: tuple[int, float] | None = None
        busy: Busy | None = None
        flagged: tuple[int, Demand | None] | None = None
        torn = 0
        while True:
            if wish.wait:
                await self._stay_away(key, deadline)
            sent_at = around.clock.monotonic()
            answer = await attempt.ask(deadline)
            if answer is None:
                raise _unanswered(key) if busy is None else self._refusal(busy)
            self.check_open()
            now = around.clock.monotonic()
            if isinstance(answer, Claim):
                row = answer.loaded.thread
                if row is not None and row.record_no == answer.record_no:
                    return Won(answer, sent_at, waited=seen is not None)
                # What was read is not what was claimed: a stale reader, or somebody faster.
                torn += 1
                await attempt.undo()
                if torn >= _TORN_LOADS_MAX:
                    msg = f"What is read of thread {key.thread_id!r} lags behind its row."
                    raise StorageUnavailableError(msg, thread_id=key.thread_id, outcome="none")
                await asyncio.sleep(torn * 0.001)
                continue
            self.courtesy.foreign(key, answer.owner, answer.epoch)
            busy = answer
            self._refuse_reentry(busy, wish.mine)
            if not wish.wait or (deadline is not None and now >= deadline):
                raise self._refusal(answer)
            if seen is None or seen[0] != answer.epoch:
                seen = answer.epoch, now
            confirmed = None
            if answer.lock_free:
                # Its process is gone, or only its lock session: a live owner beats meanwhile.
                grace = around.options.grace_s
                pause = self._bounded(min(grace, answer.lease_left_s + 0.001), deadline)
                if pause >= grace:
                    confirmed = answer.epoch, answer.beat
            elif flagged != (told := (answer.epoch, wish.demand or self._lines.demand(key))):
                # Ask again at once: if the epoch is the same then, its owner is still there
                # and will see the flag; else the new claim has cleared it.
                flagged = told
                await self._want(key, *told, deadline)
                pause = 0.0
            else:
                most = poll_interval(now - seen[1]) * self.courtesy.haste(key)
                pause = min(around.ids.uniform(most / 2, most), answer.lease_left_s + 0.001)
                pause = self._bounded(pause, deadline)
            attempt.request = attempt.request._replace(confirmed=confirmed)
            await asyncio.sleep(pause)

    def _bounded(self, pause: float, deadline: float | None) -> float:
        if deadline is not None:
            pause = min(pause, deadline - self._around.clock.monotonic())
        return max(0.0, pause)

    async def _stay_away(self, key: ThreadKey, deadline: float | None) -> None:
        """Leave a free thread to other processes whose turn it is, as long as they need to
        notice that it is free. Whoever holds it is waited for as by anybody else."""
        around, courtesy = self._around, self.courtesy
        while courtesy.yields(key):
            try:
                async with asyncio.timeout(self.patience_s(deadline)):
                    (loaded,) = await around.driver.load([LoadRequest(key, seq=0, current=True)])
            except (StorageError, TimeoutError) as error:
                _log.debug("Could not see who has a thread: %s", error)
                return  # the claim that follows knows how to wait for a database
            row = loaded.thread
            if row is None:
                return
            left_s = courtesy.left_s(key, row.owner, row.epoch, around.clock.monotonic())
            pause = (
                0.0 if left_s is None else self._bounded(min(left_s, POLL_LEAST_S / 2), deadline)
            )
            if not pause:
                return
            await asyncio.sleep(pause)

    def patience_s(self, deadline: float | None) -> float | None:
        """How long to wait for one answer of the driver; None = for ever."""
        if deadline is None:
            return None
        return max(_ANSWER_LEAST_S, deadline - self._around.clock.monotonic())

    async def _want(
        self, key: ThreadKey, epoch: int, demand: Demand | None, deadline: float | None
    ) -> None:
        """Tell the owner that somebody waits, and what he asks of it."""
        driver = self._around.driver
        try:
            async with asyncio.timeout(self.patience_s(deadline)):
                if demand is None:
                    await driver.want([key])
                else:
                    await driver.ask([Ask(key, epoch, demand.text, demand.replaces)])
        except (StorageError, TimeoutError) as error:
            # Only courtesy: the next claim finds out whether the database is there.
            _log.debug("Could not say that a thread is wanted: %s", error)

    def _refuse_reentry(self, busy: Busy, mine: Sequence[ThreadHandle]) -> None:
        """Refuse to wait for a claim of our own that was made through another journal.

        Raises:
            ThreadBusyError: The calling run holds the thread.
        """
        for handle in mine:
            if (handle.key, handle.epoch, handle.outbox.owner) == (
                busy.key,
                busy.epoch,
                busy.owner,
            ):
                raise reentrant(handle.turn, busy.owner)

    def _refusal(self, busy: Busy) -> ThreadBusyError:
        left = self._around.options.grace_s if busy.lock_free else busy.lease_left_s
        return ThreadBusyError(
            f"Thread {busy.key.thread_id!r} is held by another worker; wait for it, or try "
            "again later.",
            owner=busy.owner.hex(),
            run_id=busy.run_id,
            retry_after_s=min(POLL_MOST_S, max(POLL_LEAST_S, left)),
            thread_id=busy.key.thread_id,
            code="held",
        )

    # -- claims that nobody wants any more

    async def drop(self, claim: Claim) -> None:
        """Release a claim that no run ever had.

        Raises:
            StorageError: It could not be done; its lock is given back even so, or the row
                would look like that of an owner who lives.
        """
        held = Held(claim.key, claim.epoch, claim.lock_key)
        try:
            await self.release(held)
        except StorageError:
            if held.lock_key is not None:
                self._unlock(held)
            raise

    def _abandon(self, attempt: _Attempt) -> None:
        if attempt.in_doubt():
            task = self._loop.create_task(self._clear_up(attempt))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._lines.pass_on(attempt.turn)

    async def _clear_up(self, attempt: _Attempt) -> None:
        """Find out whether a claim arrived after all, and release it. Only then may the next
        in line claim: a late claim of ours would take the thread from it."""
        try:
            await attempt.undo()
        except StorageError as error:
            _log.warning(
                "A claim of thread %r that is not wanted could not be released (%s); it ends "
                "with its lease.",
                attempt.turn.key.thread_id,
                error,
            )
        finally:
            self._lines.pass_on(attempt.turn)

    def submit(self, request: ClaimRequest) -> asyncio.Future[Claim | Busy]:
        """Send a claim with all others of this tick; or ask at once, where that is possible."""
        if self._claim_now is None:
            return self._claims.submit(request)
        future: asyncio.Future[Claim | Busy] = self._loop.create_future()
        try:
            future.set_result(self._claim_now([request])[0])
        except Exception as error:  # noqa: BLE001  # handed to who asked
            future.set_exception(error)
        return future

    async def insist(self, request: ClaimRequest) -> Claim | Busy:
        """Claim through an outage as long as a lease lasts: after that it does not matter."""
        return await persist(
            self._around,
            "claim",
            lambda: asyncio.shield(self.submit(request)),
            budget_s=self._around.options.lease_ttl_s,
        )

    def withdraw(self, future: asyncio.Future[Claim | Busy]) -> bool:
        """Take back a claim that was not sent yet."""
        return self._claims.withdraw(future)

    def backoff(self) -> Backoff:
        """For the outages that one claim lives through."""
        return Backoff(self._around, "claim")


class _Attempt:
    """The tries of one caller to claim one thread, and what may have come of the last."""

    __slots__ = ("_claimer", "_future", "_lost_reply", "request", "turn")

    def __init__(self, claimer: Claimer, turn: Turn, request: ClaimRequest) -> None:
        self._claimer = claimer
        self.turn = turn
        self.request = request
        self._future: asyncio.Future[Claim | Busy] | None = None
        self._lost_reply = False

    async def ask(self, deadline: float | None) -> Claim | Busy | None:
        """Send the claim; through an outage, again and again. None: no answer in time."""
        backoff: Backoff | None = None
        while True:
            self._claimer.check_open()
            self._future = future = self._claimer.submit(self.request)
            self._claimer.asking += 1
            try:
                if not future.done():
                    patience_s = self._claimer.patience_s(deadline)
                    await asyncio.wait((future,), timeout=patience_s)
                    if not future.done():
                        return None
                answer = future.result()
            except StorageError as error:
                self._lost_reply |= _may_have_won(error)
                if not error.retryable:
                    raise
                backoff = backoff or self._claimer.backoff()
                delay = backoff.next_delay(error)
                if delay is None:
                    raise
            else:
                self._lost_reply = False
                if isinstance(answer, Busy):
                    self._future = None
                return answer
            finally:
                self._claimer.asking -= 1
            await asyncio.sleep(delay)

    def in_doubt(self) -> bool:
        """May the thread be ours, now or in a moment, without anybody wanting it?"""
        future = self._future
        if future is None:
            return self._lost_reply
        if not future.done():
            return not self._claimer.withdraw(future) or self._lost_reply
        if future.cancelled():
            return self._lost_reply
        if (error := future.exception()) is not None:
            return self._lost_reply or _may_have_won(error)
        return isinstance(future.result(), Claim)

    async def undo(self) -> None:
        """Release what the last try has claimed, or may have claimed.

        Raises:
            StorageError: It could not be done.
        """
        future, self._future = self._future, None
        answer: Claim | Busy | None = None
        if future is not None and not future.cancelled():
            try:
                answer = await asyncio.shield(future)
            except StorageError:
                self._lost_reply = True
        if answer is None and self._lost_reply:
            # A claim of ours passes a row that is ours already, so ask once more.
            answer = await self._claimer.insist(self.request)
        self._lost_reply = False
        if isinstance(answer, Claim):
            await self._claimer.drop(answer)


def _may_have_won(error: BaseException) -> bool:
    return (
        isinstance(error, StorageError)
        and error.retryable
        and error.context.get("outcome") != "none"
    )


def _unanswered(key: ThreadKey) -> StorageUnavailableError:
    msg = f"The database did not answer in time to a claim of thread {key.thread_id!r}."
    return StorageUnavailableError(msg, thread_id=key.thread_id, outcome="none")

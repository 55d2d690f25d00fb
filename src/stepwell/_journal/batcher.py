"""Group commit: the slices of many threads in one transaction of the driver.

The flusher of a lane is started by `call_soon` after the first append, so everything that
is appended in one tick travels together; while a commit is under way the next batch forms.
There is no timer. One batch per lane is under way, in a task that belongs to nobody who
could be cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from stepwell._journal.inline import InlineCommit
from stepwell._journal.lost import stale_writer
from stepwell._journal.options import Surroundings
from stepwell._journal.outage import Backoff, persist
from stepwell._journal.outbox import Outbox
from stepwell._journal.slices import Sent, Ticket, proof
from stepwell._journal.straight import commit_at_once
from stepwell.checkpoint.driver import (
    CommitOutcome,
    Committed,
    Failed,
    Parked,
    Slice,
    Stale,
)
from stepwell.errors import (
    InternalError,
    SchemaVersionError,
    StepwellError,
    StorageError,
    StorageUnavailableError,
)
from stepwell.observe import CommitFinished, LeaseLost

_log = logging.getLogger("stepwell.journal")

_PARK_LEAST_S = 0.005
_PARK_MOST_S = 0.1

# SQLSTATEs by which a database refuses a statement for now because of single rows in it:
# a lock that was not had in time, a failed serialization, a deadlock, a statement timeout.
_OF_SINGLE_ROWS = frozenset({"55P03", "40001", "40P01", "57014"})


class Lane:
    """One stream of batches. A thread's records always use the same lane."""

    __slots__ = (
        "_around", "_backoff", "_bytes_max", "_clock", "_commit_now", "_loop", "_parked",
        "_put_off", "_ready", "_rows_max", "_scheduled", "_tasks", "busy", "launch", "new_ticket",
        "now",
    )  # fmt: skip

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self._clock = surroundings.clock
        self._loop = asyncio.get_running_loop()
        self.new_ticket = self._loop.create_future
        self._rows_max = surroundings.options.batch_rows_max
        self._bytes_max = surroundings.options.batch_bytes_max
        driver = surroundings.driver
        self._commit_now = driver.commit_now if isinstance(driver, InlineCommit) else None
        self.launch: Callable[[Outbox, Slice], Ticket | None] = self.post
        """The same as `post`; or what returns None, where the slice is durable at once."""
        if self._commit_now is not None and not surroundings.observers:
            self.launch = partial(commit_at_once, self, self._commit_now)
        self._backoff = Backoff(surroundings, "commit")
        self.now = surroundings.clock.monotonic
        self._ready: deque[Outbox] = deque()
        self._scheduled = False
        self._put_off = False
        self.busy = False
        """Whether a batch is under way."""
        self._parked = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def enqueue(self, outbox: Outbox) -> None:
        """There is something to send for this claim."""
        if outbox.queued:
            return
        outbox.queued = True
        if outbox.sent is None:
            outbox.ready_at = self.now()
        self._ready.append(outbox)
        if not self.busy and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def post(self, outbox: Outbox, piece: Slice) -> Ticket:
        """Send the slice of a checkpoint that its run waits for before anything else."""
        sent = outbox.post(piece)
        sent.ticket = ticket = self.new_ticket()
        sent.since = self.now()
        outbox.queued = True
        self._ready.append(outbox)
        if not self.busy and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return ticket

    def _wake(self) -> None:
        if self._ready and not self.busy and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def push(self, outbox: Outbox) -> None:
        """Commit what this claim has appended at once, if the driver can without waiting: nothing
        is gained there by letting more of it gather."""
        if self._commit_now is None or self.busy or not outbox.queued:
            return
        if outbox.sent is not None and outbox.sent.first_sent_at is not None:
            return
        sent = self._take_of(outbox, self._rows_max, self._bytes_max)
        if sent is not None:
            self._commit_here([sent])

    def _take_of(self, outbox: Outbox, rows: int, size: int) -> Sent | None:
        """The next slice of one claim that is queued; None: it is for `_take`."""
        sent = outbox.take(rows, size)
        if sent is not None:
            if self._ready[-1] is outbox:  # as nearly always
                self._ready.pop()
            else:
                self._ready.remove(outbox)
            outbox.queued = False
        return sent

    def tried(
        self, sent: Sent, error: Exception | None, outcome: CommitOutcome | None, sent_at: float
    ) -> None:
        """A slice was sent by somebody else, who commits without waiting: this became of it."""
        sent.first_sent_at = sent.since = sent_at
        if outcome is not None:
            self._settle([sent], [outcome], sent_at)
        else:
            self.busy = True
            self._spawn(self._run([sent], error))

    async def idle(self) -> None:
        """Wait until nothing is queued, parked or under way."""
        while self._ready or self.busy or self._parked or self._tasks:
            if self._tasks:
                await asyncio.wait(self._tasks)
            else:
                await asyncio.sleep(_PARK_LEAST_S if self._parked else 0)

    # -- forming and sending a batch

    def _take(self) -> list[Sent]:
        ready = self._ready
        batch: list[Sent] = []
        rows, size = self._rows_max, self._bytes_max
        while ready and rows > 0 and size > 0:
            outbox = ready[0]
            sent = outbox.sent
            if sent is not None and sent.first_sent_at is None and (sent.size <= size or not batch):
                ready.popleft()  # most are such: one checkpoint, and it is a slice already
                outbox.queued = False
                batch.append(sent)
                rows -= sent.count
                size -= sent.size
                continue
            if sent is None:
                if not outbox.pending:
                    ready.popleft().queued = False  # it failed while it waited
                    continue
            elif (error := sent.blocked) is not None:
                if self._overdue(sent, self._clock.monotonic()):
                    ready.popleft().queued = False
                    self._give_up(sent, error)
                    continue
                if batch:
                    break
                ready.popleft().queued = False
                return [sent]
            elif batch and sent.size > size:
                break
            sent = outbox.take(rows, size)
            if sent is None:
                if batch:
                    break
                sent = outbox.take(1, sys.maxsize)
                if sent is None:
                    msg = "A thread that is due has nothing to send."
                    raise InternalError(msg)
            ready.popleft().queued = False
            batch.append(sent)
            rows -= sent.count
            size -= sent.size
        return batch

    def _flush(self) -> None:
        ready = self._ready
        if ready and not self._put_off and all(outbox.ends_with_write for outbox in ready):
            # Results of tasks alone: where these were the last, their barrier comes in this very
            # tick, and takes their place.
            self._put_off = True
            self._loop.call_soon(self._flush)
            return
        self._scheduled = self._put_off = False
        if not self.busy:
            self._send()

    def _send(self) -> None:
        batch = self._take()
        if not batch:
            return
        if self._commit_now is None:
            self.busy = True
            self._mark(batch)  # nobody can take it back from here on
            self._spawn(self._run(batch))
        else:
            self._commit_here(batch)

    def _commit_here(self, batch: list[Sent]) -> None:
        """Commit a batch where the driver does it without waiting."""
        commit = self._commit_now
        if commit is None:
            raise InternalError("This driver cannot commit at once.")
        sent_at = self._mark(batch)
        try:
            outcomes = commit([sent.slice for sent in batch])
            _check(outcomes, batch)
        except Exception as error:  # noqa: BLE001  # sorted out by `_run`
            self.busy = True
            self._spawn(self._run(batch, error))
        else:
            self._settle(batch, outcomes, sent_at)
            if self._ready and not self._scheduled:
                self._wake()  # whatever did not fit

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: list[Sent], error: Exception | None = None) -> None:
        """Deliver batches until there are no more. `error`: the first was tried, and failed."""
        try:
            while batch:
                await self._deliver(batch, error)
                error = None
                if self._commit_now is not None:
                    break
                # One tick: whoever the tickets have woken joins the next batch.
                await asyncio.sleep(0)
                batch = self._take()
        finally:
            self.busy = False
            self._wake()

    async def _deliver(self, batch: list[Sent], error: Exception | None) -> None:
        parts = [batch]
        try:
            while parts:
                part = parts[-1]
                if error is None:
                    sent_at = self._mark(part)
                    try:
                        outcomes = await self._around.driver.commit([s.slice for s in part])
                        _check(outcomes, part)
                    except Exception as failure:  # noqa: BLE001  # sorted out below
                        error = failure
                    else:
                        parts.pop()
                        self._settle(part, outcomes, sent_at)
                if error is not None:
                    parts.pop()
                    again, delay = self._sort_out(part, error)
                    parts += again
                    error = None
                    if delay is not None:
                        await asyncio.sleep(delay)
        except asyncio.CancelledError:
            for part in parts:
                for sent in part:
                    sent.unknown = True
                    self._give_up(sent, StorageUnavailableError("The event loop was stopped."))
            raise

    def _mark(self, part: list[Sent]) -> float:
        now = self._clock.monotonic()
        for sent in part:
            if sent.first_sent_at is None:
                sent.first_sent_at = now
        return now

    # -- what became of it

    def _sort_out(
        self, part: list[Sent], error: Exception
    ) -> tuple[list[list[Sent]], float | None]:
        """A commit raised. What to send next, and how long to wait before it.

        For now: the same slices, but for those whose time is up; or, if single rows are the
        matter, halves, until the slice at fault stands alone and waits by itself. For good:
        halves too.
        """
        if isinstance(error, StorageError) and error.retryable:
            again = self._still_in_time(part, error)
            if not again:
                return [], None
            if error.context.get("sqlstate") in _OF_SINGLE_ROWS:
                if len(again) > 1:
                    return _halves(again), None
                self._set_aside(again[0], error)
                return [], None
            if self._backoff.fresh:
                _log.warning("The storage does not take commits (%s): trying again.", error)
            return [again], self._backoff.next_delay(error, min(map(self._deadline, again)))
        if isinstance(error, SchemaVersionError):
            for sent in part:
                self._give_up(sent, error)
            return [], None
        if len(part) == 1:
            _fail(part[0], error)
            return [], None
        return _halves(part), None

    def _still_in_time(self, part: list[Sent], error: StorageError) -> list[Sent]:
        """The slices of a failed commit that have time left; the others are given up."""
        now = self._around.clock.monotonic()
        again: list[Sent] = []
        for sent in part:
            if error.context.get("outcome") != "none":
                sent.unknown = True
            if self._overdue(sent, now):
                self._give_up(sent, error)
            else:
                again.append(sent)
        return again

    def _overdue(self, sent: Sent, now: float) -> bool:
        """A try has failed, or there is to be another: is the time of this slice up?

        The time counts from the first failure, however long that took to come, so there are
        two tries at least. A slice that had to wait while its lane was in an outage already
        has lost that time.
        """
        if sent.failing_since is None:
            lane = self._backoff.since
            began = now if lane is None else max(sent.since, lane)
            sent.failing_since = sent.outbox.outage.failed(began)
            return False
        return now >= self._deadline(sent)

    def _deadline(self, sent: Sent) -> float:
        start = sent.since if sent.failing_since is None else sent.failing_since
        return start + self._around.options.outage_budget_s

    def _set_aside(self, sent: Sent, error: StorageError) -> None:
        """Somebody holds a lock that this slice alone needs. Each of its tries may make the
        lane wait for that lock again, so it travels alone, and less and less often."""
        if sent.backoff is None:
            sent.backoff = Backoff(self._around, "commit")
            _log.warning(
                "The records of thread %r wait for a lock that somebody else holds (%s).",
                sent.outbox.key.thread_id,
                error,
            )
        sent.blocked = error
        delay = sent.backoff.next_delay(error, self._deadline(sent))
        self._send_later(sent, delay or 0.0)

    def _settle(self, part: list[Sent], outcomes: list[CommitOutcome], sent_at: float) -> None:
        if not self._backoff.fresh:
            self._backoff.reset()
        refused = 0
        for sent, outcome in zip(part, outcomes):  # noqa: B905  # `_check` has counted them
            outbox = sent.outbox
            if outbox.sent is not sent:
                continue  # the journal was told to forget
            if isinstance(outcome, Committed):
                upto, landed, request, wanted = outcome
                # What landed earlier renewed the lease when it landed, not now.
                renewed_at = (sent.first_sent_at or 0.0) if landed else sent_at
                if renewed_at > outbox.renewed_at:  # noqa: PLR1730  # a call for each superstep
                    outbox.renewed_at = renewed_at
                outbox.outage.since = None
                outbox.complete(sent, upto)
                if wanted or request is not None:
                    outbox.notice(request, wanted=wanted)
                if outbox.sent is not None or outbox.pending:
                    self.enqueue(outbox)
                continue
            refused += 1
            if isinstance(outcome, Parked):
                self._park(sent)
            elif isinstance(outcome, Failed):
                _fail(sent, outcome.error)
            elif sent.unknown:
                self._spawn(self._resolve(sent, outcome))
            else:
                self._fenced(sent, outcome, "none")
        observers = self._around.observers
        if observers:
            observers(
                CommitFinished(
                    threads=len(part),
                    rows=sum(sent.count for sent in part),
                    bytes=sum(sent.size for sent in part),
                    duration_s=self._clock.monotonic() - sent_at,
                    refused=refused,
                    queued_rows=sum(outbox.waiting for outbox in self._ready),
                    thread_ids=tuple(
                        sent.outbox.key.thread_id
                        for sent, outcome in zip(part, outcomes, strict=True)
                        if isinstance(outcome, Committed)
                    ),
                )
            )

    def _park(self, sent: Sent) -> None:
        """Somebody had the row locked: send the same slice again soon, holding up nobody."""
        if self._overdue(sent, self._around.clock.monotonic()):
            self._give_up(sent, StorageUnavailableError("The thread's row stayed locked."))
        else:
            self._send_later(sent, self._around.ids.uniform(_PARK_LEAST_S, _PARK_MOST_S))

    def _send_later(self, sent: Sent, delay: float) -> None:
        self._parked += 1
        self._loop.call_later(delay, self._unpark, sent)

    def _unpark(self, sent: Sent) -> None:
        self._parked -= 1
        if sent.outbox.sent is sent:
            self.enqueue(sent.outbox)

    def _give_up(self, sent: Sent, error: StorageError) -> None:
        outcome = "unknown" if sent.unknown else "none"
        failure = type(error)(str(error), **{**error.context, "outcome": outcome})
        failure.__cause__ = error
        sent.outbox.fail(failure)

    def _fenced(self, sent: Sent, stale: Stale, outcome: str) -> None:
        outbox = sent.outbox
        if outbox.failure is None and self._around.observers:
            self._around.observers(
                LeaseLost(thread_id=outbox.key.thread_id, epoch=outbox.epoch, noticed_by="commit")
            )
        outbox.fail(stale_writer(outbox, stale.epoch, outcome))

    async def _resolve(self, sent: Sent, stale: Stale) -> None:
        """A slice was refused, but an earlier attempt of it may have been written: look."""
        outbox, driver = sent.outbox, self._around.driver
        witness = proof(sent.slice)
        landed = False
        try:
            landed = await persist(
                self._around,
                "landed",
                lambda: driver.landed(outbox.key, witness, outbox.epoch),
            )
        except StorageError as error:
            _log.warning("Whether the last records of a thread were written is open: %s", error)
        finally:
            if landed:
                outbox.complete(sent, sent.slice.record_no_after)
                if not sent.slice.let_go:
                    self._fenced(sent, stale, "none")
            else:
                # A row that is not there now may have been there, and been pruned since.
                self._fenced(sent, stale, "unknown")


def _fail(sent: Sent, error: BaseException) -> None:
    """A slice cannot be written, now or later: its thread fails, and no other."""
    if not isinstance(error, StepwellError):
        # Drivers translate what their database raises: this is a mistake in one of them.
        failure = InternalError(f"The driver raised {type(error).__name__}.", outcome="unknown")
        failure.__cause__ = error
        error = failure
    if sent.unknown:
        error.context["outcome"] = "unknown"
    sent.outbox.fail(error)


def _halves(part: list[Sent]) -> list[list[Sent]]:
    """As a stack: the first half is sent first."""
    middle = len(part) // 2
    return [part[middle:], part[:middle]]


def _check(outcomes: Sequence[CommitOutcome], part: Sequence[Sent]) -> None:
    if len(outcomes) != len(part):
        msg = f"The driver gave {len(outcomes)} outcomes for {len(part)} slices."
        raise InternalError(msg, outcome="unknown")

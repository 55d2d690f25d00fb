"""The records of one claim on their way to the database.

A record waits in `pending`, then travels in a frozen slice (`sent`), then is durable. At
most one slice of a claim is under way, so its records arrive in the order they were
appended, and what is durable is always a prefix of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from stepwell._journal.bound import Bound
from stepwell._journal.demand import outranks
from stepwell._journal.folding import Growth
from stepwell._journal.outage import Backoff, Outage
from stepwell._journal.slices import Filed, Place, Record, Ticket, elide, freeze
from stepwell.checkpoint.driver import (
    CheckpointRow,
    Loaded,
    RunRow,
    Slice,
    ThreadChange,
    ThreadKey,
    WriteRow,
)
from stepwell.errors import StepwellError, StorageError

_log = logging.getLogger("stepwell.journal")

T = TypeVar("T")


class Sent:
    """A slice that was handed to the driver, with the records it carries. Never changed."""

    __slots__ = (
        "backoff", "blocked", "failing_since", "first_sent_at", "outbox", "records", "since",
        "size", "slice", "unknown",
    )  # fmt: skip

    def __init__(
        self, outbox: Outbox, records: list[Record], frozen: Slice, since: float, size: int
    ) -> None:
        self.outbox = outbox
        self.records = records
        self.slice = frozen
        self.since = since
        """When its first record became due."""
        self.failing_since: float | None = None
        """What its outage budget counts from; None until a first try has failed."""
        self.blocked: StorageError | None = None
        """Why it must travel alone: somebody holds a lock that its rows need."""
        self.backoff: Backoff | None = None
        """Its own pauses while it is blocked."""
        self.size = size
        self.first_sent_at: float | None = None
        self.unknown = False
        """An earlier attempt may have been written."""


class Outbox:
    """What one claim has appended and how far it is durable.

    `enqueue` is the lane's way to learn that there is something to send.
    """

    __slots__ = (
        "_apart", "_bound", "_dropped", "_enqueue", "_filed", "_flushers", "_joining",
        "_new_ticket", "_pending_size", "claimed_at", "closed", "durable_no", "durable_seq",
        "epoch", "failure", "growth", "key", "let_go_done", "on_failure", "on_request", "outage",
        "owner", "pending", "queued", "ready_at", "record_no", "renewed_at", "request", "sent",
        "ttl_s", "unsent_namespaces", "wanted",
    )  # fmt: skip

    def __init__(
        self,
        loaded: Loaded,
        *,
        key: ThreadKey,
        epoch: int,
        owner: bytes,
        record_no: int,
        ttl_s: float,
        renewed_at: float,
        bound: Bound,
        enqueue: Callable[[Outbox], None],
    ) -> None:
        self.key = key
        self.epoch = epoch
        self.owner = owner
        self.ttl_s = ttl_s
        self.record_no = record_no
        """Number of the last record appended."""
        self.durable_no = record_no
        """Number of the last record known to be in the database."""
        self.durable_seq: tuple[int, int] | None = None
        """(namespace number, seq) of the last checkpoint this claim made durable."""
        self.claimed_at = self.renewed_at = renewed_at
        """When the last confirmed renewal of the lease was sent."""
        self.request: str | None = None
        self.wanted = False
        self.failure: BaseException | None = None
        self.on_failure: Callable[[BaseException], None] | None = None
        self.on_request: Callable[[str], None] | None = None
        self.growth: Growth | None = None
        """Who counts the checkpoints that have become durable."""
        self.outage = Outage()
        """What the run under this claim has waited for the database, whatever it asked."""
        self.closed = False
        """Nothing more may be appended."""
        self.let_go_done = False
        """A commit has released the row."""
        self.pending: list[Record] = []
        self.sent: Sent | None = None
        self.queued = False
        self.ready_at = 0.0
        self.unsent_namespaces: list[tuple[int, str]] = []
        self._pending_size = 0
        self._bound = bound
        self._enqueue = enqueue
        self._new_ticket = asyncio.get_running_loop().create_future
        self._flushers: list[tuple[int, asyncio.Future[None]]] = []
        self._filed = Filed(loaded)
        self._dropped: dict[int, int] = {}
        self._apart = 0
        self._joining = 0

    def learn(self, ns: int, head: int) -> None:
        """A namespace that the claim did not come with had this head then."""
        self._filed.learn(ns, head)

    # -- appending

    def append(
        self,
        size: int,
        checkpoint: CheckpointRow | None,
        drop: Place | None,
        write: WriteRow | None,
        run: RunRow | None,
        thread: ThreadChange | None,
        *,
        let_go: bool,
    ) -> Ticket:
        """Queue the next record behind all earlier ones; see `Record` for what it may hold.

        Raises:
            BaseException: The failure of an earlier record of this claim.
        """
        if self.failure is not None:
            raise self.failure.with_traceback(None)
        self.record_no = no = self.record_no + 1
        ticket = self._new_ticket()
        record = Record(
            no, ticket, size, checkpoint, drop, write, run=run, thread=thread, let_go=let_go
        )
        if drop is not None:
            ns, seq = drop
            if seq > self._dropped.get(ns, 0):
                self._dropped[ns] = seq
        elif write is not None and self._dropped and write.seq <= self._dropped.get(write.ns, -1):
            # A slice deletes and inserts in no stated order: a write that is filed where a
            # barrier has just cleared (a replay) must come in a later slice than the barrier.
            record.apart = True
            self._apart += 1
        if let_go:
            self.closed = True
        self.pending.append(record)
        self._pending_size += size
        bound = self._bound
        bound.rows += 1
        bound.bytes += size
        if not self.queued and self.sent is None:
            self._enqueue(self)
        return ticket

    @property
    def is_bare(self) -> bool:
        """Whether what is appended next is all that is on its way, and may travel alone."""
        return not (
            self.pending
            or self.sent is not None
            or self.unsent_namespaces
            or self._joining
            or self.failure is not None
        )

    def may_be_filed(self, place: Place) -> bool:
        """May there be pending writes under `place`?"""
        return self._filed.possible(place)

    def append_durable(
        self, row: CheckpointRow, drop: Place | None, sent_at: float, *, let_go: bool
    ) -> None:
        """Append a checkpoint that is in the database already; its commit was sent then."""
        self.record_no = self.durable_no = row.record_no
        self.durable_seq = (row.ns, row.seq)
        self.renewed_at = sent_at
        self.outage.since = None
        if drop is not None:
            self._filed.clear(drop)
        if let_go:
            self.closed = self.let_go_done = True
        if self.growth is not None:
            self.growth.add(row)

    # -- sending

    @property
    def ends_with_write(self) -> bool:
        """Whether what a task left is the last that was appended, and nothing is under way."""
        pending = self.pending
        return self.sent is None and bool(pending) and pending[-1].write is not None

    def take(self, rows_max: int, bytes_max: int) -> Sent | None:
        """Freeze the next records as one slice; a slice that was sent is given again as it is.

        None when the first record alone is over `bytes_max`.
        """
        if self.sent is not None:
            return self.sent
        pending = self.pending
        if len(pending) <= rows_max and self._pending_size <= bytes_max and not self._apart:
            count, size = len(pending), self._pending_size
            if count == 1 and pending[0].checkpoint is not None:
                return self._take_one(pending[0], size)
        else:
            count, size = self._within(rows_max, bytes_max)
        if not count:
            return None
        if count == len(pending):
            records, self.pending = pending, []
        else:
            records = pending[:count]
            del pending[:count]
        self._pending_size -= size
        elide(records, self._filed)
        self.sent = sent = Sent(self, records, self._freeze(records), self.ready_at, size)
        return sent

    def _take_one(self, record: Record, size: int) -> Sent:
        """The same, of the one record that is pending, a checkpoint: what one client at a time
        appends with durability="sync"."""
        self.pending = []
        self._pending_size = 0
        drop, filed = record.drop, self._filed
        if drop is not None and filed.possible(drop):
            record.must_drop = True
            filed.clear(drop)
        records = [record]
        self.sent = sent = Sent(self, records, self._freeze(records), self.ready_at, size)
        return sent

    def _within(self, rows_max: int, bytes_max: int) -> tuple[int, int]:
        """How many of the next records fit between these bounds, and their size.

        Records that belong together are not parted. Where not even the first of such groups
        fits, it is the bound that gives way: half of it must not be found after a crash.
        """
        count = size = 0
        whole = (0, 0)
        for record in self.pending:
            full = count >= rows_max or size + record.size > bytes_max
            if not record.joined:
                if full:
                    break
                whole = (count, size)
            elif full and whole[0]:
                return whole
            if record.apart:
                if count:
                    break
                self._apart -= 1
                record.apart = False
            count += 1
            size += record.size
        return count, size

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is appended in this block, which must not wait for anything, travels in one
        slice: it is found whole after a crash, or not at all."""
        began = len(self.pending)
        self._joining += 1
        try:
            yield
        finally:
            self._joining -= 1
            for record in self.pending[began + 1 :]:
                record.joined = True

    def _freeze(self, records: list[Record]) -> Slice:
        namespaces: Sequence[tuple[int, str]] = ()
        if self.unsent_namespaces:
            namespaces, self.unsent_namespaces = self.unsent_namespaces, []
        return freeze(
            records, self._filed, self.durable_no, namespaces, key=self.key, epoch=self.epoch,
            owner=self.owner, lease_ttl_s=self.ttl_s,
        )  # fmt: skip

    # -- what became of it

    def complete(self, sent: Sent, upto: int) -> None:
        """Records up to number `upto` of a slice are durable; what remains of it is due again."""
        self.sent = None
        frozen = sent.slice
        if upto < frozen.record_no_after:
            self._complete_part(sent, upto)
        else:
            self.durable_no = upto = frozen.record_no_after
            records = sent.records
            for record in records:
                self._acknowledge(record)
            self._bound.give_back(len(records), sent.size)
            if frozen.let_go:
                self.let_go_done = True
        if self.failure is not None and isinstance(self.failure, StepwellError):
            self.failure.context["durable_record_no"] = upto
        if self._flushers:
            self._wake_flushers()

    def _acknowledge(self, record: Record) -> None:
        row = record.checkpoint
        if row is not None:
            self.durable_seq = (row.ns, row.seq)
            if self.growth is not None:
                self.growth.add(row)
        ticket = record.ticket
        if not ticket.done():
            ticket.set_result(None)

    def _complete_part(self, sent: Sent, upto: int) -> None:
        """An earlier attempt had fewer records: those behind `upto` are still to be sent."""
        self.durable_no = upto
        rest: list[Record] = []
        size = 0
        for record in sent.records:
            if record.record_no <= upto:
                size += record.size
                self._acknowledge(record)
            else:
                rest.append(record)
        self._bound.give_back(len(sent.records) - len(rest), size)
        if rest:
            self.sent = Sent(self, rest, self._freeze(rest), sent.since, sent.size - size)
        elif sent.slice.let_go:
            self.let_go_done = True

    def fail(self, error: BaseException) -> None:
        """No record of this claim that is not durable ever will be, nor any later one."""
        sent, self.sent = self.sent, None
        lost = self._drop_pending()
        if sent is not None:
            lost = sent.records + lost
        self._describe(error, len(lost))
        first = self._set_failure(error)
        for record in lost:
            _fail(record.ticket, error)
        self._bound.give_back(len(lost), sum(record.size for record in lost))
        self._wake_flushers()
        if first:
            self._tell_failure(error)

    def lose(self, error: StepwellError) -> None:
        """The claim is gone, found out by other means than a commit. A slice under way keeps
        its tickets until its answer comes: it may have been written before."""
        if self.sent is None:
            self.fail(error)
            return
        lost = self._drop_pending()
        self._describe(error, len(lost))
        # These were never sent, which stays true whatever becomes of the slice.
        unsent = type(error)(str(error), **error.context)
        for record in lost:
            _fail(record.ticket, unsent)
        self._bound.give_back(len(lost), sum(record.size for record in lost))
        if self._set_failure(error):
            self._tell_failure(error)

    def _drop_pending(self) -> list[Record]:
        lost, self.pending = self.pending, []
        self._pending_size = self._apart = 0
        return lost

    def _set_failure(self, error: BaseException) -> bool:
        """Keep the first failure, and in it the worst that is known of the outcome."""
        if self.failure is None:
            self.failure = error
            return True
        known = self.failure
        if (
            isinstance(known, StepwellError)
            and isinstance(error, StepwellError)
            and error.context["outcome"] == "unknown"
        ):
            known.context["outcome"] = "unknown"
        return False

    def _tell_failure(self, error: BaseException) -> None:
        callback, self.on_failure = self.on_failure, None
        if callback is not None:
            self._tell(callback, error)

    def forget(self, error: BaseException) -> None:
        """Refuse everything from now on, without touching a future: their loop may be gone."""
        self.failure = error
        self.sent = None
        self.pending = []

    def _describe(self, error: BaseException, dropped: int) -> None:
        if not isinstance(error, StepwellError):
            return
        context = error.context
        context.setdefault("thread_id", self.key.thread_id)
        context.setdefault("outcome", "none")
        context["durable_record_no"] = self.durable_no
        context["dropped_records"] = dropped
        if self.durable_seq is not None:
            context["durable_ns"], context["durable_seq"] = self.durable_seq

    # -- waiting for it

    async def settled(self) -> None:
        """Wait until everything appended so far is durable or has failed."""
        if self.durable_no < self.record_no and (self.failure is None or self.sent is not None):
            future = self._new_ticket()
            self._flushers.append((self.record_no, future))
            await future

    async def flushed(self) -> None:
        """Wait until everything appended so far is durable.

        Raises:
            BaseException: The failure of the claim.
        """
        await self.settled()
        if self.failure is not None:
            raise self.failure.with_traceback(None)

    def _wake_flushers(self) -> None:
        over = self.failure is not None and self.sent is None
        waiting: list[tuple[int, asyncio.Future[None]]] = []
        for entry in self._flushers:
            if entry[0] > self.durable_no and not over:
                waiting.append(entry)
            elif not entry[1].done():
                entry[1].set_result(None)
        self._flushers = waiting

    def notice(self, request: str | None, *, wanted: bool) -> None:
        """Keep what a reply of the driver says of other processes' wishes."""
        if wanted:
            self.wanted = True
        known = self.request
        if request is not None and (known is None or outranks(request, known)):
            self.request = request
            if self.on_request is not None:
                self._tell(self.on_request, request)

    def _tell(self, callback: Callable[[T], None], what: T) -> None:
        try:
            callback(what)
        except Exception:  # noqa: BLE001  # one run's callback must not stop a whole batch
            _log.exception("A callback of the run on thread %r raised.", self.key.thread_id)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # nobody has to look at it


__all__ = ["Outbox", "Sent", "Ticket"]

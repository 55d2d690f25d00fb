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
from stepwell._journal.outage import Outage
from stepwell._journal.slices import Filed, Place, Record, Sent, Ticket, elide, freeze, size_of
from stepwell.checkpoint.driver import (
    CheckpointRow,
    Loaded,
    RunRow,
    Slice,
    ThreadChange,
    ThreadKey,
    WriteRow,
)
from stepwell.errors import StepwellError

_log = logging.getLogger("stepwell.journal")

T = TypeVar("T")

_new = tuple.__new__


class Outbox:
    """What one claim has appended and how far it is durable.

    `enqueue` is the lane's way to learn that there is something to send.
    """

    __slots__ = (
        "_apart", "_bound", "_dropped", "_enqueue", "_filed", "_flushers", "_joining",
        "_new_ticket", "_newest", "_pending_size", "claimed_at", "closed", "durable_no", "epoch",
        "failure", "growth", "key", "let_go_done", "on_failure", "on_request", "outage", "owner",
        "pending", "queued", "ready_at", "record_no", "renewed_at", "request", "sent", "ttl_s",
        "unsent_namespaces", "wanted",
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
        self._newest: CheckpointRow | None = None
        """The last checkpoint this claim made durable."""
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
        if self.queued and self.sent is not None:
            self._thaw(self.sent)
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

    def lone(
        self,
        row: CheckpointRow,
        drop: Place | None,
        run: RunRow | None,
        thread: ThreadChange | None,
        *,
        let_go: bool,
    ) -> Slice | None:
        """Append a checkpoint as a slice of its own, at once: what a run appends that waits for it
        before anything else. Whoever asks for it tells what becomes of it: `landed`, or `post`.

        Returns:
            None, and nothing was done: something else is on its way, or belongs to it.
        """
        if self.pending or self.sent is not None or self.unsent_namespaces or self._joining:
            return None
        if self.failure is not None:
            return None
        drops: tuple[Place, ...] = ()
        if drop is not None:
            filed = self._filed
            if filed.possible(drop):  # else nothing is deleted, and no write need keep apart
                filed.clear(drop)
                drops = (drop,)
                ns, seq = drop
                self._dropped[ns] = max(seq, self._dropped.get(ns, 0))
        no = self.record_no = row[7]
        if let_go:
            self.closed = True
        return _new(
            Slice,
            (
                self.key, self.epoch, self.owner, self.durable_no, no, self.ttl_s, (row,), (),
                () if run is None else (run,), (), drops, {row[0]: row[1]}, thread, let_go,
            ),
        )  # fmt: skip

    def post(self, piece: Slice) -> Sent:
        """A lone checkpoint is on its way: from now on it counts for the bounds, and what is
        appended next waits behind it."""
        self.sent = sent = Sent(self, piece, size_of(piece[6][0]))
        bound = self._bound
        bound.rows += 1
        bound.bytes += sent.size
        return sent

    def landed(self, piece: Slice) -> None:
        """A lone checkpoint is durable that was committed where it was appended: nobody has seen it
        on its way, so there is nothing to take back."""
        self.durable_no = piece[4]
        self._note_durable(piece[6][0])
        if piece[13]:
            self.let_go_done = True

    def _thaw(self, sent: Sent) -> None:
        """Let a slice of one checkpoint that has not left yet become a record again: what is
        appended next travels with it. The rest of a slice that landed in part stays one: others
        wait behind it, and its namespaces are told nowhere else."""
        if sent.made_of is None and sent.first_sent_at is None:
            self.sent = None
            self.pending = sent.records
            self._pending_size = sent.size
            self.ready_at = sent.since

    # -- sending

    @property
    def waiting(self) -> int:
        """How many records have not been sent."""
        sent = self.sent
        unsent = 0 if sent is None or sent.first_sent_at is not None else sent.count
        return len(self.pending) + unsent

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
        self.sent = sent = Sent(self, self._freeze(records), size, records)
        sent.since = self.ready_at
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
        if self.queued and self.sent is not None:
            self._thaw(self.sent)
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
        last = frozen.record_no_after
        if upto < last:
            self._complete_part(sent, upto)
        else:
            self.durable_no = upto = last
            if (records := sent.made_of) is None:
                self._acknowledge(frozen[6][0], sent.ticket)
            else:
                for record in records:
                    self._acknowledge(record.checkpoint, record.ticket)
            bound = self._bound
            bound.rows -= sent.count
            bound.bytes -= sent.size
            if bound.waiting:
                bound.let_in()
            if frozen.let_go:
                self.let_go_done = True
        if self.failure is not None and isinstance(self.failure, StepwellError):
            self.failure.context["durable_record_no"] = upto
        if self._flushers:
            self._wake_flushers()

    def _acknowledge(self, row: CheckpointRow | None, ticket: Ticket | None) -> None:
        if row is not None:
            self._note_durable(row)
        if ticket is not None and not ticket.done():
            ticket.set_result(None)

    def _note_durable(self, row: CheckpointRow) -> None:
        self._newest = row
        if self.growth is not None:
            self.growth.add(row[0], len(row[10]))

    def _complete_part(self, sent: Sent, upto: int) -> None:
        """An earlier attempt had fewer records: those behind `upto` are still to be sent."""
        self.durable_no = upto
        rest: list[Record] = []
        size = 0
        for record in sent.records:
            if record.record_no <= upto:
                size += record.size
                self._acknowledge(record.checkpoint, record.ticket)
            else:
                rest.append(record)
        self._bound.give_back(len(sent.records) - len(rest), size)
        if rest:
            self.sent = again = Sent(self, self._freeze(rest), sent.size - size, rest)
            again.since = sent.since
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
        if self.sent is None or (self.sent.made_of is None and self.sent.first_sent_at is None):
            self.fail(error)  # nothing of it has left
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
        if self._newest is not None:
            context["durable_ns"], context["durable_seq"] = self._newest[:2]

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


__all__ = ["Outbox", "Ticket"]

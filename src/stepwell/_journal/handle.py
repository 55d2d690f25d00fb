"""A claim as its run sees it: a place to append to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol

from stepwell._journal.bound import Bound
from stepwell._journal.budget import Budget
from stepwell._journal.heads import KEPT_ROW_BYTES, Head, Trail
from stepwell._journal.lineup import Turn
from stepwell._journal.outage import current_outage
from stepwell._journal.outbox import Outbox
from stepwell._journal.screen import Screen
from stepwell._journal.slices import ROW_BYTES, Ticket, size_of
from stepwell.checkpoint.driver import (
    CheckpointRow,
    Claim,
    Held,
    HistoryPage,
    Loaded,
    Relayout,
    RunRow,
    RunStatus,
    Slice,
    ThreadChange,
    ThreadKey,
    WriteRow,
)
from stepwell.errors import InternalError, UsageError


class Appended(NamedTuple):
    """Where a checkpoint was put, and when it is safe."""

    seq: int
    record_no: int
    ticket: Ticket


class Keeper(Protocol):
    """What a handle asks of the journal that made it."""

    def give_back(self, handle: ThreadHandle) -> Coroutine[Any, Any, None]:
        """Flush, release the claim, pass the turn on."""

    def fresh(self, handle: ThreadHandle) -> Coroutine[Any, Any, None]:
        """See to it that the lease is not in doubt."""

    @property
    def doubts(self) -> Callable[[ThreadHandle], bool]:
        """Whether that would have to wait for the database."""

    @property
    def launch(self) -> Callable[[Outbox, Slice], Ticket | None]:
        """Sends a checkpoint that is waited for."""

    @property
    def push(self) -> Callable[[Outbox], None]:
        """Commits what a claim has appended, where that needs no waiting."""

    def delete(self, handle: ThreadHandle) -> Coroutine[Any, Any, bool]:
        """Delete the thread under its claim."""

    def prune(self, handle: ThreadHandle, change: Relayout) -> Coroutine[Any, Any, bool]:
        """Store a part of the thread in another form, under its claim."""

    @property
    def draining(self) -> str | None:
        """Why runs are to stop at their next barrier, if they are."""


def named_by(namespaces: Mapping[str, int], ns: int) -> str:
    """The name of a namespace by its number; empty = it has none."""
    return next((name for name, number in namespaces.items() if number == ns), "")


class ThreadHandle:
    """One claim of one thread: the only way to write it.

    Appends never wait; `room()` is where a producer waits for the queue. All methods belong
    to the event loop of the journal.
    """

    __slots__ = (
        "_bound", "_keeper", "_launch", "_more", "_namespaces", "budget", "deleting", "epoch",
        "heads", "held", "keeps", "key", "known", "loaded", "on_drain", "outbox", "push",
        "releasing", "screen", "stopping", "taken_over", "trail", "turn", "uid",
    )  # fmt: skip

    def __init__(
        self, claim: Claim, outbox: Outbox, *, bound: Bound, keeper: Keeper, turn: Turn
    ) -> None:
        row = claim.loaded.thread
        self.key: ThreadKey = claim.key
        self.uid: bytes = b"" if row is None else row.uid
        self.epoch = claim.epoch
        self.loaded: Loaded = claim.loaded
        self.known: Head | None = None
        """The state that was claimed, if it is known without what was loaded."""
        self.keeps = False
        """Whether it is worth while to say what the state is (`trail`)."""
        self.trail: Trail | None = None
        """The root's state, as far as it is known, and what was appended behind it."""
        self.taken_over = claim.taken_over
        self.held = Held(claim.key, claim.epoch, claim.lock_key)
        """The claim as the driver names it."""
        self.turn = turn
        self.budget: Budget | None = None
        """How large states may become that are recorded under this claim."""
        self.screen: Screen | None = None
        """What must stay off the disk of what runs under this claim record."""
        self.stopping = False
        """Whether runs under this claim begin nothing new, because somebody asked for it."""
        self.on_drain: Callable[[str], None] | None = None
        """How the run is told to stop at its next barrier; it was given the reason, or will be."""
        self.releasing: asyncio.Task[None] | None = None
        """For the journal only."""
        self.deleting: asyncio.Task[bool] | None = None
        """For the journal only."""
        self.outbox = outbox
        """For the journal only."""
        self._bound = bound
        self._keeper = keeper
        self._launch = keeper.launch
        self.push = partial(keeper.push, outbox)
        """Commits what was appended at once, where the driver can do that without waiting."""
        known = {0: ("", 0)} if row is None else {0: ("", 0), **row.namespaces}
        self._namespaces = {name: no for no, (name, _) in known.items()}
        self.heads = {no: head for no, (_, head) in known.items()}
        """Number of the newest checkpoint of each namespace, durable or not; 0 = none."""
        self._more = row is not None and row.more_namespaces

    # -- what is known

    @property
    def record_no(self) -> int:
        """The last record number given out."""
        return self.outbox.record_no

    @property
    def durable_no(self) -> int:
        """The last record number known to be in the database."""
        return self.outbox.durable_no

    @property
    def failure(self) -> BaseException | None:
        """Why nothing can be appended any more: the claim was lost, or a record failed."""
        return self.outbox.failure

    @property
    def request(self) -> str | None:
        """What another process asked of this owner."""
        return self.outbox.request

    @property
    def on_lost(self) -> Callable[[BaseException], None] | None:
        """Called once, on the loop, when `failure` is set."""
        return self.outbox.on_failure

    @on_lost.setter
    def on_lost(self, callback: Callable[[BaseException], None] | None) -> None:
        self.outbox.on_failure = callback

    @property
    def on_request(self) -> Callable[[str], None] | None:
        """Called on the loop when a new `request` has been seen."""
        return self.outbox.on_request

    @on_request.setter
    def on_request(self, callback: Callable[[str], None] | None) -> None:
        self.outbox.on_request = callback

    @property
    def run_id(self) -> str | None:
        """The run that holds the thread, as far as its records have said."""
        return self.turn.run_id

    @property
    def has_namespaces(self) -> bool:
        """Whether the thread has any namespace but the root, or may have."""
        return self._more or len(self.heads) > 1

    def may_exist(self, name: str) -> bool:
        """Whether a namespace that may be older than this claim has to be looked up: the claim
        came with the newest ones only, and it is none of them."""
        return self._more and name not in self._namespaces

    def learn(self, loaded: Loaded | HistoryPage) -> None:
        """Take note of the namespaces that a read under this claim has shown."""
        row = loaded.thread
        for number, (name, head) in row.namespaces.items() if row is not None else ():
            if self._more and name not in self._namespaces:
                self._namespaces[name] = number
                self.heads[number] = head
                self.outbox.learn(number, head)

    def namespace(self, name: str) -> int:
        """Number of a namespace; a new one is made with the next record that is sent."""
        number = self._namespaces.get(name)
        if number is None:
            number = max(self.heads) + 1
            self._namespaces[name] = number
            self.heads[number] = 0
            self.outbox.unsent_namespaces.append((number, name))
        return number

    def name_of(self, ns: int) -> str:
        """Name of a namespace by number."""
        return named_by(self._namespaces, ns)

    def namer(self) -> Callable[[int], str]:
        """`name_of`, for those whom the handle leads to: it does not lead back here, so nothing
        of a claim that is over waits for the garbage collector."""
        return partial(named_by, self._namespaces)

    def head_of(self, name: str) -> int:
        """Number of the newest checkpoint of a namespace by name; 0 = none, or no such one."""
        number = self._namespaces.get(name)
        return 0 if number is None else self.heads[number]

    def head(self, ns: int) -> int:
        """Number of the newest checkpoint of a namespace, durable or not; 0 = none."""
        return self.heads[ns]

    @contextmanager
    def call(self) -> Iterator[None]:
        """What is read of the journal in this block is read for the run under this claim: all
        that it waits for, reads and writes, shares one outage budget."""
        token = current_outage.set(self.outbox.outage)
        try:
            yield
        finally:
            current_outage.reset(token)

    def drains(self, stop: Callable[[str], None]) -> None:
        """Name what makes the run under this claim stop at its next barrier, when all are to."""
        self.on_drain = stop
        if self._keeper.draining is not None:
            stop(self._keeper.draining)

    def drain(self, reason: str) -> None:
        """Ask the run to stop at its next barrier."""
        if self.on_drain is not None:
            self.on_drain(reason)

    # -- appending

    def number_from(self, record_no: int) -> None:
        """Give the next record this number, if it is ahead: numbers may have gaps.

        To be followed by an append at once.
        """
        outbox = self.outbox
        outbox.record_no = max(outbox.record_no, record_no - 1)

    def together(self) -> AbstractContextManager[None]:
        """What is appended in this block is one commit, however large: after a crash all of it
        is there, or nothing. The block must not wait for anything."""
        return self.outbox.together()

    def append_checkpoint(
        self,
        ns: int,
        *,
        parent: int | None,
        step: int,
        source: int,
        run: int,
        format: int,
        crc: int,
        body: bytes,
        metadata: bytes | None = None,
        meta_index: str | None = None,
        key_id: str | None = None,
        checkpoint_id: bytes | None = None,
        drops: int | None = None,
        run_row: RunRow | None = None,
        thread: ThreadChange | None = None,
        let_go: bool = False,
    ) -> Appended:
        """Append a superstep at the head of a namespace.

        Args:
            parent: None = the head as it is now.
            drops: seq in the same namespace whose pending writes this checkpoint takes the
                place of. Those that travel with it are left out of the slice, and their
                tickets complete with this one's; those sent before are deleted.
            let_go: Release the claim with this record; nothing can be appended after it.

        Raises:
            BaseException: The failure of the claim.
        """
        seq, no = self.heads[ns] + 1, self.outbox.record_no + 1
        row = CheckpointRow(
            ns, seq, parent, step, source, run, self.epoch, no, format, crc, body, metadata,
            meta_index, checkpoint_id, key_id,
        )  # fmt: skip
        ticket = self.append_row(row, drops, run_row, thread, let_go=let_go)
        if ticket is None:
            raise InternalError("Nobody asked for a commit at once.")
        return Appended(seq, no, ticket)

    def append_row(
        self,
        row: CheckpointRow,
        drops: int | None,
        run_row: RunRow | None,
        thread: ThreadChange | None,
        *,
        let_go: bool,
        at_once: bool = False,
    ) -> Ticket | None:
        """The same, of a row that was made with the numbers that come next.

        Args:
            at_once: Whoever appends waits for it before anything else.

        Returns:
            None: it is durable already, which happens only `at_once`.

        Raises:
            BaseException: The failure of the claim.
            InternalError: Others come next.
        """
        outbox = self.outbox
        if outbox.closed:
            self._open()
        ns, seq = row[0], row[1]
        if seq != self.heads[ns] + 1 or row[7] != outbox.record_no + 1:
            msg = f"Checkpoint {seq}, record {row.record_no}, does not come next."
            raise InternalError(msg, thread_id=self.key.thread_id)
        drop = None if drops is None else (ns, drops)
        piece = outbox.lone(row, drop, run_row, thread, let_go=let_go) if at_once else None
        ticket = (
            outbox.append(size_of(row), row, drop, None, run_row, thread, let_go=let_go)
            if piece is None
            else self._launch(outbox, piece)
        )
        self.heads[ns] = seq
        if ns == 0 and (trail := self.trail) is not None:
            trail.rows.append(row)
            trail.room -= KEPT_ROW_BYTES + len(row[10])
            if trail.room < 0:
                self.trail = None
        if run_row is not None:
            self._note_run(run_row)
        return ticket

    def append_write(
        self,
        ns: int,
        seq: int,
        *,
        task_id: bytes,
        idx: int,
        task_path: str,
        channel: str | None,
        format: int,
        crc: int,
        body: bytes,
        key_id: str | None = None,
    ) -> Ticket:
        """File what one task of the superstep after checkpoint `seq` has left behind.

        Raises:
            BaseException: The failure of the claim.
        """
        outbox = self._open()
        row = WriteRow(
            ns, seq, task_id, idx, task_path, channel, self.epoch, outbox.record_no + 1, format,
            crc, body, key_id,
        )  # fmt: skip
        return outbox.append(ROW_BYTES + len(body), None, None, row, None, None, let_go=False)

    def append_status(
        self,
        *,
        run_row: RunRow | None = None,
        thread: ThreadChange | None = None,
        let_go: bool = False,
    ) -> Ticket:
        """Append what changes about the run or the thread, without a checkpoint.

        Raises:
            BaseException: The failure of the claim.
        """
        outbox = self._open()
        size = ROW_BYTES
        if run_row is not None:
            size += len(run_row.input or b"") + len(run_row.outcome or b"")
        ticket = outbox.append(size, None, None, None, run_row, thread, let_go=let_go)
        if run_row is not None:
            self._note_run(run_row)
        return ticket

    def _open(self) -> Outbox:
        outbox = self.outbox
        if outbox.closed and outbox.failure is None:
            msg = (
                f"Thread {self.key.thread_id!r} was let go while its run went on: the saver was "
                "closed, or the run had already ended. Nothing more is stored for it; what was "
                "stored is complete, and ainvoke(None, config) on an open saver resumes from it."
            )
            raise UsageError(msg, thread_id=self.key.thread_id)
        return outbox

    def _note_run(self, row: RunRow) -> None:
        if row.status == RunStatus.RUNNING:
            self.turn.run_id = row.run_id

    # -- waiting

    @property
    def crowded(self) -> bool:
        """Whether `room` would wait, or raise."""
        return self._bound.crowded or self.outbox.failure is not None

    async def room(self) -> None:
        """Wait until the queue of the journal is below its bounds.

        Raises:
            BaseException: The failure of the claim.
        """
        if self._bound.crowded:
            await self._bound.room()
        if self.outbox.failure is not None:
            raise self.outbox.failure.with_traceback(None)

    async def flushed(self) -> None:
        """Wait until everything appended so far is durable.

        Raises:
            BaseException: The failure of the claim.
        """
        await self.outbox.flushed()

    @property
    def doubtful(self) -> bool:
        """Whether the lease is in doubt, or the claim is known to be lost: see `fresh`."""
        return self.outbox.failure is not None or self._keeper.doubts(self)

    async def fresh(self) -> None:
        """Renew the lease if it was not renewed for two thirds of its length.

        To be awaited before a superstep: no task starts while the claim is in doubt.

        Raises:
            StaleWriterError: The claim is lost.
            StorageUnavailableError: The database did not answer within the outage budget.
        """
        await self._keeper.fresh(self)

    async def delete(self) -> bool:
        """Delete the thread with all its rows, and the claim with it; `release` it even so. Once
        begun it is finished, and then only the claim is let go.

        Returns:
            False when the claim was lost before.
        """
        return await self._keeper.delete(self)

    async def prune(self, change: Relayout) -> bool:
        """Store a part of the thread in another form, under this claim.

        Returns:
            False when nothing was done: another layout came first.

        Raises:
            StaleWriterError: The claim was lost.
            StorageError: The database did not answer, or the change does not fit.
        """
        return await self._keeper.prune(self, change)

    async def release(self) -> None:
        """Flush what is queued, let the claim go, pass the thread on to who waits for it.

        Once begun it is finished whether or not the caller is cancelled. Repeating it is
        harmless, and so is releasing a claim that was lost.
        """
        await self._keeper.give_back(self)

"""Records, and how a stretch of them becomes one slice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from stepwell.checkpoint.driver import (
    CheckpointRow,
    Loaded,
    RunRow,
    Slice,
    ThreadChange,
    ThreadKey,
    WriteRow,
)

if TYPE_CHECKING:
    from stepwell._journal.outage import Backoff
    from stepwell._journal.outbox import Outbox
    from stepwell.errors import StorageError

Ticket: TypeAlias = asyncio.Future[None]
"""Completes when its record is durable, or fails with a typed error."""

Place: TypeAlias = tuple[int, int]
"""(namespace number, seq): the checkpoint that pending writes are filed under."""


ROW_BYTES: Final = 120
"""What a row costs beside its body, roughly; for the bounds of queue and batch."""


def size_of(row: CheckpointRow) -> int:
    """How much a checkpoint counts for these bounds."""
    metadata = row[11]
    return ROW_BYTES + len(row[10]) + (0 if metadata is None else len(metadata))


class Record:
    """One append: at most one row of each kind, and a ticket."""

    __slots__ = (
        "apart", "checkpoint", "drop", "joined", "let_go", "must_drop", "record_no", "run",
        "size", "thread", "ticket", "write",
    )  # fmt: skip

    def __init__(
        self,
        record_no: int,
        ticket: Ticket,
        size: int,
        checkpoint: CheckpointRow | None,
        drop: Place | None,
        write: WriteRow | None,
        *,
        run: RunRow | None,
        thread: ThreadChange | None,
        let_go: bool,
    ) -> None:
        self.record_no = record_no
        self.ticket = ticket
        self.size = size
        self.checkpoint = checkpoint
        self.drop = drop
        """Whose pending writes this checkpoint takes the place of."""
        self.must_drop = False
        """Some of them are, or may be, in the database."""
        self.write = write
        self.run = run
        self.thread = thread
        self.let_go = let_go
        self.apart = False
        """Must not share a slice with what was appended before it."""
        self.joined = False
        """Belongs to what was appended before it: no bound may come between them."""


class Sent:
    """A slice, which never changes, on its way: the records it carries, and what became of it."""

    # Of most of these the slice of most supersteps never knows.
    first_sent_at: float | None = None
    failing_since: float | None = None
    """What its outage budget counts from; None until a first try has failed."""
    blocked: StorageError | None = None
    """Why it must travel alone: somebody holds a lock that its rows need."""
    backoff: Backoff | None = None
    """Its own pauses while it is blocked."""
    unknown = False
    """An earlier attempt may have been written."""
    count = 1
    """How many records it carries."""
    ticket: Ticket | None = None
    """Of the one record that it was made of."""
    since = 0.0
    """When its first record became due."""

    def __init__(
        self, outbox: Outbox, frozen: Slice, size: int, records: list[Record] | None = None
    ) -> None:
        """`records`: None where it was made of one checkpoint; see `Outbox.lone`."""
        self.outbox = outbox
        self.slice = frozen
        self.size = size
        self.made_of = records
        if records is not None:
            self.count = len(records)

    @property
    def records(self) -> list[Record]:
        """What it carries, record by record."""
        if self.made_of is None:
            piece, ticket = self.slice, self.ticket
            if ticket is None:
                ticket = self.ticket = asyncio.get_running_loop().create_future()
            (row,) = piece.checkpoints
            record = Record(
                row.record_no, ticket, self.size, row,
                piece.drop_writes[0] if piece.drop_writes else None, None,
                run=piece.runs[0] if piece.runs else None, thread=piece.thread, let_go=piece.let_go,
            )  # fmt: skip
            record.must_drop = bool(piece.drop_writes)
            self.made_of = [record]
        return self.made_of


class Filed:
    """Which checkpoints have pending writes in the database, as far as one claim can know.

    Of those made under the claim it is known. Of older ones only the load can tell, for the
    one checkpoint that was loaded; all others may have some.
    """

    __slots__ = ("_heads_at_claim", "_known", "_known_not")

    def __init__(self, loaded: Loaded) -> None:
        row = loaded.thread
        self._known: set[Place] = set()
        self._known_not: set[Place] = set()
        self._heads_at_claim = (
            {} if row is None else {no: head for no, (_, head) in row.namespaces.items()}
        )
        folded_to = loaded.segments[-1].seq_to if loaded.segments else 0
        if loaded.rows and loaded.rows[-1].seq > folded_to:
            last = loaded.rows[-1].seq
        elif loaded.segments:
            return  # it may be any checkpoint of the last segment
        elif row is None or row.record_no == 0:
            last = 0
        else:
            return  # nothing was loaded, which says nothing
        if not loaded.writes:
            self._known_not.add((loaded.ns, last))

    def learn(self, ns: int, head: int) -> None:
        """An older namespace, found after the claim; there may be writes under all it has."""
        self._heads_at_claim[ns] = head

    def add(self, place: Place) -> None:
        """A write is on its way to `place`."""
        self._known.add(place)

    def possible(self, place: Place) -> bool:
        """May there be writes under `place`?"""
        if place in self._known:
            return True
        ns, seq = place
        return seq <= self._heads_at_claim.get(ns, -1) and place not in self._known_not

    def clear(self, place: Place) -> None:
        """The writes under `place` are being deleted."""
        self._known.discard(place)
        if place[1] <= self._heads_at_claim.get(place[0], -1):
            self._known_not.add(place)


def elide(records: Sequence[Record], filed: Filed) -> None:
    """Leave out pending writes that were never sent and whose barrier is in the same slice.

    Their tickets complete with the barrier's. Only the same slice will do: a record between
    a write and its barrier must not become durable without the write.
    """
    over: dict[Place, int] = {}
    for record in reversed(records):
        if (place := record.drop) is not None:
            over[place] = record.record_no
            if filed.possible(place):
                record.must_drop = True
                filed.clear(place)
        elif over and (write := record.write) is not None:
            barrier = over.get((write.ns, write.seq))
            if barrier is not None:
                record.write = None
                record.record_no = barrier


def freeze(
    records: Sequence[Record],
    filed: Filed,
    record_no: int,
    namespaces: Sequence[tuple[int, str]],
    *,
    key: ThreadKey,
    epoch: int,
    owner: bytes,
    lease_ttl_s: float,
) -> Slice:
    """The slice that carries `records` behind record `record_no`.

    Of several rows for one slot, run or thread only the newest is in it.
    """
    last = records[-1]
    drops: list[Place] = []
    checkpoints: list[CheckpointRow] = []
    writes: dict[tuple[int, int, bytes, int], WriteRow] = {}
    runs: dict[int, RunRow] = {}
    heads: dict[int, int] = {}
    thread: ThreadChange | None = None
    for record in records:
        if (row := record.checkpoint) is not None:
            checkpoints.append(row)
            heads[row.ns] = row.seq
            if record.must_drop and record.drop is not None:
                drops.append(record.drop)
        elif (write := record.write) is not None:
            slot = (write.ns, write.seq, write.task_id, write.idx)
            writes.pop(slot, None)
            writes[slot] = write
            filed.add(slot[:2])
        if (run := record.run) is not None:
            runs[run.run] = run
        if record.thread is not None:
            thread = record.thread
    return Slice(
        key, epoch, owner, record_no, last.record_no, lease_ttl_s,
        checkpoints, list(writes.values()), list(runs.values()), namespaces,
        drops, heads, thread, last.let_go,
    )  # fmt: skip


def proof(frozen: Slice) -> int:
    """Number of the record to look for, to see whether the slice was written: one that leaves
    a row behind if there is one, else the last (a driver may know it by its number)."""
    if frozen.checkpoints:
        return frozen.checkpoints[-1].record_no
    return frozen.writes[-1].record_no if frozen.writes else frozen.record_no_after

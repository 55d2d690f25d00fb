"""What travels between databases: the rows of threads, whatever kind of driver keeps them.

Public as names of `stepwell.checkpoint.driver`.

A thread *at rest* is its row without what belongs to the place where it is: owner, lease, lock,
beat, requests. Two databases hold the same if the rows at rest of all their threads are equal, and
so are all the rows of each `RowKind`; times are equal if they are the same microsecond, and
`meta_index` if it is the same JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from stepwell._dataclass import dataclass
from stepwell.checkpoint._driver_rows import (
    CheckpointRow,
    RunRow,
    SegmentRow,
    ThreadKey,
    ThreadRow,
    WriteRow,
)
from stepwell.errors import StorageError


class NamespaceRow(NamedTuple):
    """A namespace but the root (whose head stands in the thread's row)."""

    ns: int
    name: str
    head: int


StoredRow: TypeAlias = NamespaceRow | RunRow | CheckpointRow | WriteRow | SegmentRow


class RowKind(StrEnum):
    """The kinds of rows that a thread has beside its own."""

    NAMESPACES = "namespaces"
    RUNS = "runs"
    CHECKPOINTS = "checkpoints"
    WRITES = "writes"
    SEGMENTS = "segments"


PLACE_WIDTH: Final = {
    RowKind.NAMESPACES: 1,  # ns
    RowKind.RUNS: 1,  # run
    RowKind.CHECKPOINTS: 2,  # ns, seq
    RowKind.WRITES: 4,  # ns, seq, task_id, idx
    RowKind.SEGMENTS: 2,  # ns, seq_from
}
"""How many of its first columns are the place of a row in its thread."""


def place_of(kind: RowKind, row: StoredRow) -> tuple[Any, ...]:
    """Where a row stands among those of its kind and thread; they are read in this order."""
    return tuple(row[: PLACE_WIDTH[kind]])


@dataclass(slots=True, frozen=True, kw_only=True)
class ThreadPart:
    """Some or all rows of one thread, for a database that is being filled.

    `thread`: its row at rest; of `namespaces` only the root's head counts. `begins`: what is
    there under its key goes first. `ends`: nothing more comes, and the thread is whole: until
    then its row has `layout_no` -1, which no thread that was written by runs has.
    """

    thread: ThreadRow
    begins: bool = False
    ends: bool = False
    namespaces: Sequence[NamespaceRow] = ()
    runs: Sequence[RunRow] = ()
    checkpoints: Sequence[CheckpointRow] = ()
    writes: Sequence[WriteRow] = ()
    segments: Sequence[SegmentRow] = ()


def resealed(kind: RowKind, row: Any) -> tuple[Any, ...]:
    """What `BackupDriver.reseal` puts into a row, in the order of the row's columns."""
    return tuple(getattr(row, name) for name in RESEALED[kind])


RESEALED: Final[Mapping[RowKind, Sequence[str]]] = {
    RowKind.RUNS: ("idempotency_key", "metadata", "meta_index", "input", "outcome", "error"),
    RowKind.CHECKPOINTS: ("format", "crc", "body", "metadata", "meta_index", "key_id"),
    RowKind.WRITES: ("format", "crc", "body", "key_id"),
    RowKind.SEGMENTS: ("format", "crc", "body", "detail", "key_id"),
}
"""The columns of a row that say nothing but how it is sealed."""


def not_there(part: ThreadPart, kind: RowKind, found: int) -> StorageError:
    """The error of rows that were to get other bytes, and are not there."""
    key, wanted = part.thread.key, len(getattr(part, kind))
    return StorageError(
        f"Of {wanted} {kind} of thread {key.thread_id!r} that were to be sealed anew, {found} are "
        "there: the thread was left as it is.",
        thread_id=key.thread_id, outcome="none",
    )  # fmt: skip


UNENDED: Final = -1
"""`layout_no` of a thread of which not all rows have come."""


class Snapshot(Protocol):
    """One state of a whole database, all scopes, while others go on writing it."""

    note: str | None
    """Says that the database is being filled, and by what; None: it is not."""

    async def count(self, scope: str | None = None) -> int:
        """How many threads there are, of one scope or (None) of all."""

    async def threads(
        self, after: ThreadKey | None, limit: int, scope: str | None = None
    ) -> list[ThreadRow]:
        """One page of thread rows, by scope and thread id; `namespaces` hold the root only."""

    async def named(self, keys: Sequence[ThreadKey]) -> list[ThreadRow | None]:
        """The rows of these threads, in order; None where there is no such thread."""

    async def rows(
        self,
        kind: RowKind,
        keys: Sequence[ThreadKey],
        *,
        after: tuple[Any, ...] | None = None,
        limit: int | None = None,
    ) -> list[list[Any]]:
        """The rows of one kind of each of these threads, by place.

        Args:
            kind: Which.
            keys: Threads; of one that is not there the list is empty.
            after: Only those behind this place; `keys` is a single one then.
            limit: At most so many; `keys` is a single one then.
        """


def at_rest(row: ThreadRow) -> ThreadRow:
    """A thread's row without what belongs to the place where it is."""
    return row._replace(
        owner=None,
        lock_key=None,
        lease_left_s=None,
        beat=0,
        request=None,
        wanted=False,
        namespaces={0: row.namespaces[0]},
        more_namespaces=False,
    )


__all__ = [
    "PLACE_WIDTH", "RESEALED", "UNENDED", "NamespaceRow", "RowKind", "Snapshot", "StoredRow",
    "ThreadPart", "at_rest", "not_there", "place_of", "resealed",
]  # fmt: skip

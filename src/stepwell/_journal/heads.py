"""The states that this process has left threads in, for whoever claims them here next.

A claim reads what stands behind the last segment of a thread, up to a hundred rows, and folds
them. Whoever let the thread go had that state. So it is kept, as bytes, with the bodies that were
appended behind it: what a user is handed is made of them anew, and cannot change them.

It is used only where the claim proves that nothing was written meanwhile. Every record is fenced
by an epoch, and a claim is what makes a new one: if the claim's epoch is the next after that
which the thread was let go under, and uid (of one incarnation of a thread), record number, head
and layout are as they were, then nobody has written anything. The newest row and the id of the
newest run are compared too, against a database that was put back to an earlier day.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from stepwell._journal.folded import Folded
from stepwell._journal.load import add_row
from stepwell._journal.track import REPAIR_BYTES_MAX, Stored
from stepwell.checkpoint.driver import CheckpointRow, Claim, Known, ThreadKey

HEAD_BYTES_MAX: Final = REPAIR_BYTES_MAX
"""Larger states are read again: they are folded into segments for the most part."""
HEADS_BYTES_MAX: Final = 8 << 20
"""What the heads of one journal may take together."""
_OWN_BYTES: Final = 2048
"""What a head takes beside its bytes, roughly."""
KEPT_ROW_BYTES: Final = 512
"""What a row takes beside its body, roughly."""
_COMPARED: Final = 12
"""Columns of a row that are compared: those behind are derived, or the database's."""


class Base:
    """The state at one checkpoint of a root namespace, as bytes.

    Args:
        folded: The state, which may be changed afterwards.
        stored: Encodings of its lists and dicts, of all channels: the values themselves have
            been revived, and whoever revived them may have changed what he was handed.
        row: Its row; None: the state before the first one.
        parent: The row before that.
        tail: How many rows of the thread are not folded.
    """

    __slots__ = ("header", "parent", "row", "size", "tail", "values")

    def __init__(
        self,
        folded: Folded,
        stored: dict[str, Stored],
        *,
        row: CheckpointRow | None,
        parent: CheckpointRow | None,
        tail: int,
    ) -> None:
        self.header = _header(folded)
        self.row = row
        self.parent = parent
        self.tail = tail
        self.values: dict[str, Any] = {}
        """Lists and dicts as bytes; texts, numbers and None, which nobody can change."""
        self.size = _OWN_BYTES
        for name, value in folded.values.items():
            kind = type(value)
            if kind is list or kind is dict:
                made = stored[name]
                if not isinstance(made, bytes):
                    self.size = HEAD_BYTES_MAX + 1  # of a long list, made only when it is needed
                    return
                self.values[name] = made
                self.size += len(made)
            else:
                self.values[name] = value
                if kind is str:
                    self.size += len(value)

    def folded(self) -> Folded:
        """The state, made anew."""
        folded = _header(self.header)
        folded.values = {
            name: orjson.loads(value) if type(value) is bytes else value
            for name, value in self.values.items()
        }
        return folded


def _header(folded: Folded) -> Folded:
    copy = folded.header()
    copy.tagged = set(folded.tagged)
    return copy


class Trail:
    """What a claim appends to the root namespace behind a state that is known."""

    __slots__ = ("base", "room", "rows")

    def __init__(self, base: Base) -> None:
        self.base = base
        self.rows: list[CheckpointRow] = []
        self.room = HEAD_BYTES_MAX - base.size
        """How many more bytes it may hold."""


class Head:
    """The newest state of a thread that was let go, and the newest run, which may have left no
    row: it asked again, or failed again."""

    __slots__ = ("base", "known", "rows", "run_id", "size")

    def __init__(self, trail: Trail, known: Known, run_id: str | None) -> None:
        self.base = trail.base
        self.rows = trail.rows
        self.known = known
        self.run_id = run_id
        self.size = HEAD_BYTES_MAX - trail.room

    @property
    def parent(self) -> CheckpointRow | None:
        """The row before the newest."""
        if not self.rows:
            return self.base.parent
        return self.rows[-2] if len(self.rows) > 1 else self.base.row

    @property
    def tail(self) -> int:
        """How many rows of the thread are not folded."""
        return self.base.tail + len(self.rows)

    def fits(self, claim: Claim) -> bool:
        """Whether it is the state that was claimed."""
        loaded, known = claim.loaded, self.known
        thread, rows = loaded.thread, loaded.rows
        if thread is None or not rows:
            return False
        # The epoch before this claim's is the one that the thread was let go under.
        seen = (thread.uid, claim.epoch - 1, thread.record_no, thread.layout_no)
        if (*seen, thread.namespaces[0][1]) != known or loaded.ns:
            return False
        row, kept = rows[-1], self.rows[-1] if self.rows else self.base.row
        if kept is None or row[:_COMPARED] != kept[:_COMPARED] or row.key_id != kept.key_id:
            return False
        run = loaded.runs.get(thread.run)
        return self.run_id is None or run is None or run.run_id == self.run_id

    def folded(self) -> Folded:
        """The state, made anew.

        Raises:
            CorruptRecordError: What this process appended cannot be read.
        """
        folded = self.base.folded()
        for row in self.rows:
            add_row(folded, row)
        return folded


def head_of(
    trail: Trail, *, uid: bytes, epoch: int, record_no: int, layout_no: int, run_id: str | None
) -> Head | None:
    """The head that a claim leaves behind; None: what it appended is no line, or nothing."""
    before = trail.base.row
    seq = 0 if before is None else before.seq
    for row in trail.rows:
        seq += 1
        if row.parent is not None or row.seq != seq:
            return None
        trail.room -= len(row.metadata or b"")
    if not seq or trail.room < 0:
        return None
    return Head(trail, Known(uid, epoch, record_no, layout_no, seq), run_id)


class Heads:
    """The heads of one journal: as many as fit, those that were left last."""

    def __init__(self) -> None:
        self._heads: dict[ThreadKey, Head] = {}
        self._size = 0

    def take(self, key: ThreadKey) -> Head | None:
        """Take out the head of a thread that is about to be claimed."""
        head = self._heads.pop(key, None)
        if head is not None:
            self._size -= head.size
        return head

    def keep(self, key: ThreadKey, head: Head) -> None:
        """Keep the head that a thread was left with."""
        self.take(key)
        self._heads[key] = head
        self._size += head.size
        while self._size > HEADS_BYTES_MAX:
            self.take(next(iter(self._heads)))


__all__ = [
    "HEADS_BYTES_MAX", "HEAD_BYTES_MAX", "KEPT_ROW_BYTES", "Base", "Head", "Heads", "Trail",
    "head_of",
]  # fmt: skip

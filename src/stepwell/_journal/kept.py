"""Which checkpoints stay, and what becomes of those whose ancestors go. Pure.

A namespace is a tree: every row extends its parent. Rows that stay and whose nearest ancestor
that stays is not their parent any more are *rebased*: their body says what differs between the
two states, or the whole state where no ancestor stays. So no state changes, and the tree stays
a tree.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from stepwell._journal.folded import Folded
from stepwell._journal.load import add_row, parent_of
from stepwell._journal.record import FORMAT_JSON
from stepwell.checkpoint.driver import CheckpointRow
from stepwell.errors import CorruptRecordError


class Rules(NamedTuple):
    """What lets a checkpoint go: all of the rules that are given, not one of them.

    `keep_last`: it is not among so many newest. `older_than`: it was created before this time.
    `keep`: this does not say True.
    """

    keep_last: int | None = None
    older_than: float | None = None
    keep: Callable[[CheckpointRow], bool] | None = None

    def let_go(self, row: CheckpointRow, age: int) -> bool:
        """Whether the rules let a row go that `age` others are newer than."""
        if self.keep_last is not None and age < self.keep_last:
            return False
        if self.older_than is not None and (row.created_at or 0.0) >= self.older_than:
            return False
        return self.keep is None or not self.keep(row)


def kept_rows(
    rows: Sequence[CheckpointRow], head: int, filed: Collection[int], rules: Rules
) -> set[int]:
    """The seqs that stay: what a rule keeps, the head, what pending writes are filed under, and
    where branches of these meet.

    Args:
        rows: All of a namespace, by seq.
        head: The newest seq of the namespace.
        filed: Seqs that pending writes are filed under.
        rules: What lets a row go.
    """
    always = {head, *filed}
    last = len(rows) - 1
    kept = {
        row.seq
        for place, row in enumerate(rows)
        if row.seq in always or not rules.let_go(row, last - place)
    }
    branches: dict[int, int] = {}
    for row in reversed(rows):  # children come before their parents
        alive = branches.get(row.seq, 0)
        if alive > 1:
            kept.add(row.seq)
        if alive or row.seq in kept:
            parent = parent_of(row)
            branches[parent] = branches.get(parent, 0) + 1
    return kept


def rebase(rows: Sequence[CheckpointRow], kept: Collection[int]) -> dict[int, CheckpointRow]:
    """New forms of the rows that stay although their parents do not, by seq.

    Raises:
        CorruptRecordError: A row is damaged, or its parent is not there.
    """
    bases = _bases(rows, kept)
    if not bases:
        return {}
    needed = {base for base in bases.values() if base}
    needed |= {parent_of(row) for row in rows if row.parent}
    states: dict[int, Folded] = {0: Folded()}
    rebased: dict[int, CheckpointRow] = {}
    folded, at = Folded(), 0
    for row in rows:
        parent = parent_of(row)
        if parent != at:
            if parent not in states:
                msg = f"Checkpoint {row.seq} continues {parent}, which is not there."
                raise CorruptRecordError(msg, seq=row.seq)
            folded = states[parent].snapshot()
        add_row(folded, row)
        at = row.seq
        if at in bases:
            body = difference(states[bases[at]], folded)
            rebased[at] = row._replace(
                parent=bases[at], body=body, crc=zlib.crc32(body), format=FORMAT_JSON
            )
        if at in needed:
            states[at] = folded.snapshot()
    return rebased


def _bases(rows: Sequence[CheckpointRow], kept: Collection[int]) -> dict[int, int]:
    """Of each row that stays but whose parent goes: its nearest ancestor that stays, or 0."""
    nearest: dict[int, int] = {0: 0}
    bases: dict[int, int] = {}
    for row in rows:
        parent = parent_of(row)
        base = nearest.get(parent, 0)
        if row.seq in kept:
            nearest[row.seq] = row.seq
            if base != parent:
                bases[row.seq] = base
        else:
            nearest[row.seq] = base
    return bases


def difference(old: Folded, new: Folded) -> bytes:
    """The body of a row that makes one state of another; as a record of many supersteps does, it
    does not tell what each task did."""
    ops: dict[str, list[Any]] = {}
    for channel, value in new.values.items():
        tagged = channel in new.tagged
        op = _op(old.values, channel, value, tagged=tagged, was_tagged=channel in old.tagged)
        if op is not None:
            ops[channel] = op
    for channel in old.values:
        if channel not in new.values:
            ops[channel] = ["x"]
    document: dict[str, Any] = {
        "t": [],
        "c": ops,
        "i": new.interrupt_seen,
        "z": [new.version, new.versions, new.seen],
        "p": new.parents,
    }
    if new.state_version or old.state_version:
        document["m"] = {"v": new.state_version}
    return orjson.dumps(document)


def _op(
    before: Mapping[str, Any], channel: str, value: Any, *, tagged: bool, was_tagged: bool
) -> list[Any] | None:
    """What makes one value of another; None: they are the same."""
    if channel in before and was_tagged == tagged:
        old = before[channel]
        # Compared as what is stored: to Python, 1, 1.0 and True are equal.
        if type(old) is list and type(value) is list and 0 < len(old) <= len(value):
            if orjson.dumps(value[: len(old)]) == orjson.dumps(old):
                added = value[len(old) :]
                return ["A" if tagged else "a", added] if added else None
        elif orjson.dumps(old) == orjson.dumps(value):
            return None
    return ["S" if tagged else "s", value]


__all__ = ["Rules", "difference", "kept_rows", "rebase"]

"""A batch of slices as one statement, and its reply as one outcome per slice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

from stepwell._db.postgres import shifted
from stepwell.checkpoint._postgres_rows import Record, exact, indexable, key_of, uuid_of
from stepwell.checkpoint.driver import (
    CommitOutcome,
    Committed,
    Parked,
    RunRow,
    Slice,
    Stale,
    WriteRow,
)
from stepwell.errors import InternalError

Columns: TypeAlias = tuple[Sequence[Any], ...]
"""Parameters of one fragment: one array per column."""

WRITTEN: Final = 0
REFUSED: Final = 1
LOCKED: Final = 2
GONE: Final = 3

_PARTS: Final = ("tail", "dropped", "pending", "runs", "spaces", "heads")


class CommitStatements:
    """Commit statements, put together from the fragments that a batch needs.

    A batch that only appends checkpoints, the usual one, should not pay for the other five
    parts; and each combination is one text, so the server's plan for it is found again.
    """

    def __init__(self, sql: Mapping[str, str]) -> None:
        self._sql = sql
        self._texts: dict[tuple[str, ...], str] = {}

    def build(self, batch: Sequence[Slice]) -> tuple[str, list[Sequence[Any]]]:
        """Text and parameters of the statement that commits `batch`."""
        columns = {
            "tail": _tail(batch),
            "dropped": _dropped(batch),
            "pending": _pending(batch),
            "runs": _runs(batch),
            **_spaces(batch),
        }
        parts = tuple(part for part in _PARTS if columns[part])
        text = self._texts.get(parts)
        if text is None:
            text = self._texts[parts] = self._join(parts)
        return text, [*_fence(batch), *(column for part in parts for column in columns[part])]

    def _join(self, parts: Iterable[str]) -> str:
        fence = self._sql["commit_fence"]
        pieces, count = [fence], _parameters(fence)
        for part in parts:
            fragment = self._sql[f"commit_{part}"]
            pieces.append(shifted(fragment, count).replace("{keys}", "$1::uuid[]"))
            count += _parameters(fragment)
        return "\n".join([*pieces, self._sql["commit_outcome"]])


@lru_cache(maxsize=32)
def _parameters(fragment: str) -> int:
    return max(int(number) for number in re.findall(r"\$(\d+)", fragment))


def outcomes(batch: Sequence[Slice], rows: Iterable[Record]) -> list[CommitOutcome]:
    """One outcome per slice, in the order of the batch.

    Raises:
        InternalError: the statement did not answer for every slice.
    """
    found: list[CommitOutcome | None] = [None] * len(batch)
    for row in rows:
        found[row[0] - 1] = _outcome(batch[row[0] - 1], row)
    answers = [outcome for outcome in found if outcome is not None]
    if len(answers) != len(batch):
        raise InternalError(f"{len(batch)} slices were committed, {len(answers)} answered for.")
    return answers


def _outcome(piece: Slice, row: Record) -> CommitOutcome:
    _, what, epoch, owner_uuid, record_no, request, wanted = row
    if what == WRITTEN:
        return Committed(piece.record_no_after, False, request, wanted)
    if what == LOCKED:
        return Parked()
    if what == GONE:
        return Stale(None)
    owner = None if owner_uuid is None else owner_uuid.bytes
    mine = owner == piece.owner or (owner is None and piece.let_go)
    if mine and epoch == piece.epoch and record_no > piece.record_no:
        return Committed(min(record_no, piece.record_no_after), True, request, wanted)
    return Stale(epoch, owner, record_no)


def _fence(batch: Sequence[Slice]) -> Columns:
    return tuple(zip(*map(_fence_row, batch), strict=True))


def _fence_row(piece: Slice) -> tuple[Any, ...]:
    change = piece.thread
    size = 0
    for row in piece.checkpoints:
        size += len(row.body) + (len(row.metadata) if row.metadata else 0)
    return (
        key_of(piece.key),
        piece.epoch,
        uuid_of(piece.owner),
        piece.record_no,
        piece.record_no_after,
        piece.let_go,
        piece.lease_ttl_s,
        len(piece.checkpoints),
        size,
        piece.heads.get(0),
        max((run.run for run in piece.runs), default=0),
        *(
            _UNCHANGED
            if change is None
            else (
                change.status,
                change.run,
                exact(change.graph),
                exact(change.fingerprint),
                change.state_version,
                exact(change.next_nodes),
                change.interrupts,
                exact(change.error),
            )
        ),
    )


_UNCHANGED: Final = (None,) * 8


def _tail(batch: Sequence[Slice]) -> Columns:
    rows = [row for piece in batch for row in piece.checkpoints]
    if not rows:
        return ()
    at = [i for i, piece in enumerate(batch, 1) for _ in piece.checkpoints]
    (
        ns, seq, parent, step, source, run, epoch, record_no, form, crc,
        body, metadata, meta_index, foreign_id, key_id, created_at,
    ) = zip(*rows, strict=True)  # fmt: skip
    return (
        at, ns, seq, parent, step, source, run, epoch, record_no, form, crc,
        body, metadata, _each(indexable, meta_index), foreign_id, _each(exact, key_id), created_at,
    )  # fmt: skip


def _each(convert: Any, column: Sequence[Any]) -> Sequence[Any]:
    """Convert a column; most hold nothing but None."""
    return column if column.count(None) == len(column) else [convert(value) for value in column]


def _dropped(batch: Sequence[Slice]) -> Columns:
    rows = [(i, ns, seq) for i, piece in enumerate(batch, 1) for ns, seq in piece.drop_writes]
    return tuple(zip(*rows, strict=True))


def _pending(batch: Sequence[Slice]) -> Columns:
    """Writes that outlive their slice: one that the slice drops itself is never stored, and
    of two in one slot the newer stands (a statement can write a row only once)."""
    slots: dict[tuple[int, int, int, bytes, int], WriteRow] = {}
    for i, piece in enumerate(batch, 1):
        dropped = set(piece.drop_writes)
        for row in piece.writes:
            if (row.ns, row.seq) not in dropped:
                slots[i, row.ns, row.seq, row.task_id, row.idx] = row
    if not slots:
        return ()
    at = [slot[0] for slot in slots]
    (
        ns, seq, task_id, idx, task_path, channel, epoch, record_no, form, crc, body, key_id,
    ) = zip(*slots.values(), strict=True)  # fmt: skip
    return (
        at, ns, seq, task_id, idx, [exact(path) for path in task_path], _each(exact, channel),
        epoch, record_no, form, crc, body, _each(exact, key_id),
    )  # fmt: skip


def _runs(batch: Sequence[Slice]) -> Columns:
    newest: dict[tuple[int, int], RunRow] = {}
    for i, piece in enumerate(batch, 1):
        for run in piece.runs:
            newest[i, run.run] = run
    return tuple(zip(*(_run_values(i, run) for (i, _), run in newest.items()), strict=True))


def _run_values(i: int, run: RunRow) -> tuple[Any, ...]:
    return (
        i,
        run.run,
        exact(run.run_id),
        run.status,
        run.attempts,
        run.supersteps,
        exact(run.idempotency_key),
        exact(run.graph),
        run.metadata,
        indexable(run.meta_index),
        run.input,
        run.outcome,
        exact(run.error),
        run.first_parent,
    )


def _spaces(batch: Sequence[Slice]) -> dict[str, Columns]:
    """New namespaces with their heads, and the heads of those that exist."""
    made: list[tuple[Any, ...]] = []
    moved: list[tuple[Any, ...]] = []
    for i, piece in enumerate(batch, 1):
        if not piece.namespaces and len(piece.heads) <= (0 in piece.heads):
            continue
        new = {number for number, _ in piece.namespaces}
        heads = piece.heads
        made += [(i, ns, exact(name), heads.get(ns, 0)) for ns, name in piece.namespaces]
        moved += [(i, ns, head) for ns, head in heads.items() if ns != 0 and ns not in new]
    return {
        "spaces": tuple(zip(*made, strict=True)),
        "heads": tuple(zip(*moved, strict=True)),
    }

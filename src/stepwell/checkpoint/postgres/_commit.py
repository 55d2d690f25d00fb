"""A batch of slices as one statement, and its reply as one outcome per slice."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

from stepwell._db.postgres import shifted
from stepwell.checkpoint.driver import (
    CommitOutcome,
    Committed,
    Parked,
    RunRow,
    Slice,
    Stale,
    ThreadChange,
    WriteRow,
)
from stepwell.checkpoint.postgres._rows import Record, exact, indexable, key_of, uuid_of
from stepwell.errors import InternalError

Columns: TypeAlias = tuple[Any, ...]
"""Parameters of one fragment: one array per column, most of them as text."""

WRITTEN: Final = 0
REFUSED: Final = 1
LOCKED: Final = 2
GONE: Final = 3

_new = tuple.__new__

_PARTS: Final = ("tail", "dropped", "pending", "runs", "spaces", "heads")


class CommitStatements:
    """Commit statements, put together from the fragments that a batch needs.

    A batch that only appends checkpoints, the usual one, should not pay for the other five
    parts; and each combination is one text, so the server's plan for it is found again.
    """

    def __init__(self, sql: Mapping[str, str]) -> None:
        self._sql = sql
        self._texts: dict[tuple[str, ...], str] = {}

    def build(self, batch: Sequence[Slice]) -> tuple[str, list[Any]]:
        """Text and parameters of the statement that commits `batch`."""
        if len(batch) == 1 and (alone := _alone(batch[0])) is not None:
            return self._sql["commit_one"], alone
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
        return _new(Committed, (piece.record_no_after, False, request, wanted))
    if what == LOCKED:
        return Parked()
    if what == GONE:
        return Stale(None)
    owner = None if owner_uuid is None else owner_uuid.bytes
    mine = owner == piece.owner or (owner is None and piece.let_go)
    if mine and epoch == piece.epoch and record_no > piece.record_no:
        return Committed(min(record_no, piece.record_no_after), True, request, wanted)
    return Stale(epoch, owner, record_no)


def _alone(piece: Slice) -> list[Any] | None:
    """Parameters of `commit_one`; None: the slice holds something else, or more."""
    if len(piece.checkpoints) != 1 or piece.let_go or piece.thread is not None:
        return None
    if piece.writes or piece.runs or piece.namespaces or piece.drop_writes:
        return None
    row = piece.checkpoints[0]
    (
        ns, seq, parent, step, source, run, epoch, record_no, form, crc, body, *others,
    ) = row  # fmt: skip
    if ns or parent is not None or others.count(None) < len(others) or piece.heads != {0: seq}:
        return None
    if (epoch, record_no) != (piece.epoch, piece.record_no_after):
        return None
    return [
        key_of(piece.key), epoch, uuid_of(piece.owner), piece.record_no, record_no,
        piece.lease_ttl_s, len(body), seq, step, int(source), run, form, crc, body,
    ]  # fmt: skip


def _fence(batch: Sequence[Slice]) -> Columns:
    (
        keys, epochs, owners, record_nos, after, let_go, ttl_s, checkpoints, sizes, heads, runs,
        changes,
    ) = zip(*map(_fence_row, batch), strict=True)  # fmt: skip
    return (
        keys, array(epochs), _uuids(owners),
        *map(array, (record_nos, after, let_go, ttl_s, checkpoints, sizes, heads, runs)),
        *_changes(changes),
    )  # fmt: skip


def _fence_row(piece: Slice) -> tuple[Any, ...]:
    size = 0
    for row in piece.checkpoints:
        size += len(row.body) + (len(row.metadata) if row.metadata else 0)
    return (
        key_of(piece.key), piece.epoch, piece.owner, piece.record_no, piece.record_no_after,
        piece.let_go, piece.lease_ttl_s, len(piece.checkpoints), size, piece.heads.get(0),
        max((run.run for run in piece.runs), default=0) if piece.runs else 0,
        piece.thread,
    )  # fmt: skip


def _changes(changes: Sequence[ThreadChange | None]) -> Columns:
    nulls = array((None,) * len(changes))
    if changes.count(None) == len(changes):
        return (nulls,) * len(_UNCHANGED)
    rows = [_UNCHANGED if change is None else change for change in changes]
    status, run, graph, prints, version, next_nodes, interrupts, error = zip(*rows, strict=True)
    return (
        array(map(_integer, status)), array(run), texts(graph), texts(prints),
        array(version), texts(next_nodes), array(interrupts), texts(error),
    )  # fmt: skip


_UNCHANGED: Final = (None,) * 8


def _integer(value: int | None) -> int | None:
    """An integer that shows as one, of one that may be a member of an enum."""
    return None if value is None else int(value)


def array(column: Iterable[float | None]) -> str:
    """An array of numbers (or truth values) as the text of one."""
    return "{" + str(list(column))[1:-1].replace("None", "NULL") + "}"


def octets(column: Sequence[bytes | None]) -> str:
    """An array of bytes as the text of one."""
    if column.count(None) == len(column):
        return array(column)  # type: ignore[arg-type]  # it holds nothing
    return _joined(None if v is None else rf"\\x{v.hex()}" for v in column)


def texts(column: Sequence[str | None]) -> str:
    """An array of the user's texts as their columns hold them: bytes."""
    return octets([exact(value) for value in column])


def documents(column: Sequence[str | None]) -> str:
    """An array of JSON documents as the text of an array of texts."""
    return _joined(
        None if v is None else v.replace("\\", r"\\").replace('"', r"\"")
        for v in map(indexable, column)
    )


def _joined(values: Iterable[str | None]) -> str:
    """The text of an array whose values are spelled already as they stand between quotes."""
    return "{" + ",".join(["NULL" if v is None else f'"{v}"' for v in values]) + "}"


def _uuids(column: Sequence[bytes]) -> str:
    return "{" + ",".join([value.hex() for value in column]) + "}"


def _tail(batch: Sequence[Slice]) -> Columns:
    rows = [row for piece in batch for row in piece.checkpoints]
    if not rows:
        return ()
    at = [i for i, piece in enumerate(batch, 1) for _ in piece.checkpoints]
    (
        ns, seq, parent, step, source, run, epoch, record_no, form, crc,
        body, metadata, meta_index, foreign_id, key_id, created_at,
    ) = zip(*rows, strict=True)  # fmt: skip
    numbers = (at, ns, seq, parent, step, map(int, source), run, epoch, record_no, form, crc)
    return (
        *map(array, numbers), body, octets(metadata), documents(meta_index), octets(foreign_id),
        texts(key_id), array(created_at),
    )  # fmt: skip


def _dropped(batch: Sequence[Slice]) -> Columns:
    rows = [(i, ns, seq) for i, piece in enumerate(batch, 1) for ns, seq in piece.drop_writes]
    return tuple(map(array, zip(*rows, strict=True)))


def _pending(batch: Sequence[Slice]) -> Columns:
    """Writes that outlive their slice: one that the slice drops itself is never stored, and
    of two in one slot the newer stands (a statement can write a row only once)."""
    slots: dict[tuple[int, int, int, bytes, int], WriteRow] = {}
    for i, piece in enumerate(batch, 1):
        if not piece.writes:
            continue
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
        array(at), array(ns), array(seq), task_id, array(idx), texts(task_path), texts(channel),
        array(epoch), array(record_no), array(form), array(crc), body, texts(key_id),
    )  # fmt: skip


def _runs(batch: Sequence[Slice]) -> Columns:
    newest: dict[tuple[int, int], RunRow] = {}
    for i, piece in enumerate(batch, 1):
        for run in piece.runs:
            newest[i, run.run] = run
    if not newest:
        return ()
    (
        number, run_id, status, attempts, supersteps, key, graph, metadata, meta_index,
        given, outcome, error, first_parent, _, _,
    ) = zip(*newest.values(), strict=True)  # fmt: skip
    return (
        array([i for i, _ in newest]), array(number), texts(run_id), array(map(int, status)),
        array(attempts), array(supersteps), texts(key), texts(graph), octets(metadata),
        documents(meta_index), octets(given), octets(outcome), texts(error), array(first_parent),
    )  # fmt: skip


def _spaces(batch: Sequence[Slice]) -> dict[str, Columns]:
    """New namespaces with their heads, and the heads of those that exist."""
    made: list[tuple[int, int, str, int]] = []
    moved: list[tuple[int, int, int]] = []
    for i, piece in enumerate(batch, 1):
        if not piece.namespaces and len(piece.heads) <= (0 in piece.heads):
            continue
        new = {number for number, _ in piece.namespaces}
        heads = piece.heads
        made += [(i, ns, name, heads.get(ns, 0)) for ns, name in piece.namespaces]
        moved += [(i, ns, head) for ns, head in heads.items() if ns != 0 and ns not in new]
    at, numbers, names, tops = zip(*made, strict=True) if made else ((),) * 4
    return {
        "spaces": (array(at), array(numbers), texts(names), array(tops)) if made else (),
        "heads": tuple(map(array, zip(*moved, strict=True))),
    }

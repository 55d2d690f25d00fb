"""SQLite: reading everything, and putting rows in place. Functions of a cursor, and the snapshot
that calls them on a connection of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from stepwell._db.sqlite import SQL, Cursor, LeaseTime, exact_parameter
from stepwell.checkpoint._driver_parts import RESEALED, not_there, resealed
from stepwell.checkpoint.driver import (
    UNENDED,
    CheckpointRow,
    Held,
    NamespaceRow,
    RowKind,
    RunRow,
    SegmentRow,
    ThreadKey,
    ThreadPart,
    ThreadRow,
    WriteRow,
    place_of,
)
from stepwell.checkpoint.sqlite._read import thread_row
from stepwell.errors import InternalError

T = TypeVar("T")
Run: TypeAlias = Callable[[Callable[[Cursor], Any]], Awaitable[Any]]
"""Runs a function of a cursor inside the snapshot's transaction."""

_STATE, _COUNT = SQL["thread_state"], SQL["backup_count"]
_COLUMNS: Final = SQL["thread_columns"] + "\n"
_THREADS, _NAMED = _COLUMNS + SQL["backup_threads"], _COLUMNS + SQL["thread_by_id"]
_OF_SCOPE = _COLUMNS + SQL["backup_threads_of_scope"]
_NOTE, _MARK, _UNMARK = SQL["backup_note"], SQL["backup_mark"], SQL["backup_unmark"]
_THREAD, _END = SQL["backup_thread_insert"], SQL["backup_thread_end"]
_DELETE = tuple(
    SQL[name]
    for name in (
        "delete_tail", "delete_pending", "delete_segments", "delete_runs", "delete_namespaces",
        "backup_thread_delete",
    )
)  # fmt: skip
_READ: Final = {
    RowKind.NAMESPACES: (SQL["backup_namespaces"], NamespaceRow._make, (-1,)),
    RowKind.RUNS: (SQL["run_columns"] + "\n" + SQL["backup_runs"], RunRow._make, (-1,)),
    RowKind.CHECKPOINTS: (SQL["backup_checkpoints"], CheckpointRow._make, (-1, 0)),
    RowKind.WRITES: (SQL["backup_writes"], WriteRow._make, (-1, 0, b"", 0)),
    RowKind.SEGMENTS: (SQL["backup_segments"], SegmentRow._make, (-1, 0)),
}
"""Statement, row type, and the place before all rows."""
_RESEAL_THREAD: Final = SQL["reseal_thread"]
_RESEAL: Final = {kind: SQL[f"reseal_{kind}"] for kind in RESEALED}
_STRAYS: Final = {kind: SQL[f"stray_{kind}"] for kind in RowKind}
_STRAYS_DELETE: Final = {kind: SQL[f"stray_{kind}_delete"] for kind in RowKind}


class SqliteSnapshot:
    """One state of the file: a read transaction that is open until the snapshot ends."""

    def __init__(self, run: Run, note: str | None, now: LeaseTime) -> None:
        self.note = note
        self._run = run
        self._now = now

    async def count(self, scope: str | None = None) -> int:
        """Count threads."""
        rows = await self._run(lambda cursor: cursor.execute(_COUNT, (scope, scope)).fetchall())
        return int(rows[0][0])

    async def threads(
        self, after: ThreadKey | None, limit: int, scope: str | None = None
    ) -> list[ThreadRow]:
        """Read one page of rows."""
        last = ThreadKey("", "") if after is None else after
        sql, place = (_THREADS, tuple(last))
        if scope is not None:
            sql, place = _OF_SCOPE, (scope, last.thread_id)
        rows = await self._run(lambda cursor: cursor.execute(sql, (*place, limit)).fetchall())
        return [thread_row(raw, {0: ("", raw[27])}, self._now) for raw in rows]

    async def named(self, keys: Sequence[ThreadKey]) -> list[ThreadRow | None]:
        """Read the rows of some threads."""

        def read(cursor: Cursor) -> list[Any]:
            return [cursor.execute(_NAMED, key).fetchone() for key in keys]

        rows = await self._run(read)
        return [
            None if raw is None else thread_row(raw, {0: ("", raw[27])}, self._now) for raw in rows
        ]

    async def rows(
        self,
        kind: RowKind,
        keys: Sequence[ThreadKey],
        *,
        after: tuple[Any, ...] | None = None,
        limit: int | None = None,
    ) -> list[list[Any]]:
        """Read rows of one kind."""
        sql, make, first = _READ[kind]
        place = (*(first if after is None else after), -1 if limit is None else limit)

        def read(cursor: Cursor) -> list[list[Any]]:
            answers: list[list[Any]] = []
            for key in keys:
                state = cursor.execute(_STATE, key).fetchone()
                found = () if state is None else cursor.execute(sql, (state[0], *place))
                answers.append([make(row) for row in found])
            return answers

        answers: list[list[Any]] = await self._run(read)
        return answers


def note(cursor: Cursor) -> str | None:
    """What a database that is being filled says of itself."""
    row = cursor.execute(_NOTE).fetchone()
    return None if row is None else row[0]


def mark(cursor: Cursor, text: str | None) -> None:
    """Write the note, or take it away."""
    cursor.execute(_UNMARK) if text is None else cursor.execute(_MARK, (text,))


def strays(cursor: Cursor, *, remove: bool) -> dict[RowKind, int]:
    """Rows without a thread, by kind."""
    found = {kind: cursor.execute(sql).fetchone()[0] for kind, sql in _STRAYS.items()}
    found = {kind: count for kind, count in found.items() if count}
    for kind in found if remove else ():
        cursor.execute(_STRAYS_DELETE[kind])
    return found


def restore(cursor: Cursor, parts: Sequence[ThreadPart], gone: Sequence[ThreadKey]) -> None:
    """Put rows in place, and delete threads."""
    for key in gone:
        _delete(cursor, key)
    for part in parts:
        _put(cursor, part)


def _delete(cursor: Cursor, key: ThreadKey) -> None:
    state = cursor.execute(_STATE, key).fetchone()
    if state is not None:
        for sql in _DELETE:
            cursor.execute(sql, (state[0],))


def _put(cursor: Cursor, part: ThreadPart) -> None:
    row = part.thread
    if part.begins:
        _delete(cursor, row.key)
        values = (
            *row.key, row.uid, row.epoch, row.record_no, row.record_no, UNENDED, row.status,
            row.run, row.runs, row.namespaces[0][1], row.checkpoints, row.bytes, row.interrupts,
            row.state_version, row.ttl_s, row.created_at, row.updated_at, row.graph,
            row.fingerprint, row.next_nodes, row.error,
        )  # fmt: skip
        cursor.execute(_THREAD, tuple(map(exact_parameter, values)))
    state = cursor.execute(_STATE, row.key).fetchone()
    if state is None:
        raise InternalError(f"Thread {row.key.thread_id!r} goes on, but it was not begun.")
    t = state[0]
    columns: tuple[tuple[str, Sequence[tuple[Any, ...]]], ...] = (
        (SQL["backup_namespace_insert"], part.namespaces),
        (SQL["run_upsert"], part.runs),
        (SQL["checkpoint_insert"], [(*c, None) for c in part.checkpoints]),
        (SQL["write_upsert"], part.writes),
        (SQL["segment_insert"], part.segments),
    )
    for sql, rows in columns:
        if rows:
            cursor.executemany(sql, [tuple(map(exact_parameter, (t, *each))) for each in rows])
    if part.ends:
        cursor.execute(_END, (row.layout_no, t))


def reseal(cursor: Cursor, worker: bytes, changes: Sequence[tuple[Held, ThreadPart]]) -> list[bool]:
    """Put other bytes into rows, thread by thread, each behind its fence.

    Raises:
        StorageError: A row is not there; the transaction must be undone.
    """
    return [_reseal(cursor, worker, claim, part) for claim, part in changes]


def _reseal(cursor: Cursor, worker: bytes, claim: Held, part: ThreadPart) -> bool:
    row = part.thread
    values = (row.bytes, exact_parameter(row.error), *row.key, claim.epoch, worker, row.layout_no)
    found = cursor.execute(_RESEAL_THREAD, values).fetchone()
    if found is None:
        return False
    t = found[0]
    for kind, sql in _RESEAL.items():
        rows = [
            tuple(map(exact_parameter, (*resealed(kind, each), t, *place_of(kind, each))))
            for each in getattr(part, kind)
        ]
        if not rows:
            continue
        cursor.executemany(sql, rows)
        if cursor.rowcount != len(rows):
            raise not_there(part, kind, cursor.rowcount)
    return True


__all__ = ["SqliteSnapshot", "mark", "note", "reseal", "restore", "strays"]

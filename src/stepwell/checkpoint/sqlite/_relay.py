"""SQLite: rows and segments in the place of others. Functions of a cursor that may write."""

from __future__ import annotations

from collections.abc import Sequence

from stepwell._db.sqlite import SQL, Cursor, exact_parameter
from stepwell.checkpoint.driver import Held, Relayout, ThreadKey
from stepwell.errors import StorageError

_STATE, _RELAYOUT = SQL["thread_state"], SQL["relayout"]
_ROWS_TAKE, _SEGMENTS_TAKE = SQL["rows_take"], SQL["segments_take"]
_ROW, _SEGMENT = SQL["checkpoint_insert"], SQL["segment_insert"]
_DROP, _SET_TTL = SQL["writes_drop"], SQL["set_ttl"]
_FREE, _VACUUM = SQL["free_pages"], SQL["incremental_vacuum"]


def relay(cursor: Cursor, change: Relayout, now: float, fence: tuple[Held, bytes] | None) -> bool:
    """Carry out a `Relayout`. `fence`: a claim and its worker; None: whoever owns the thread.

    Raises:
        StorageError: What is to go is not there; the transaction must be undone.
    """
    state = cursor.execute(_STATE, change.key).fetchone()
    if state is None or (fence is not None and state[1:3] != (fence[0].epoch, fence[1])):
        return False
    t, ns = state[0], change.ns
    cursor.execute(_RELAYOUT, (change.checkpoints, change.bytes, t, change.layout_no))
    if cursor.rowcount != 1:
        return False
    _take(cursor, _ROWS_TAKE, t, change, change.rows_gone)
    _take(cursor, _SEGMENTS_TAKE, t, change, change.segments_gone)
    # Rarely many and never hot: texts that are no valid UTF-8 are looked for each time.
    cursor.executemany(_ROW, [tuple(map(exact_parameter, (t, *row, now))) for row in change.rows])
    cursor.executemany(
        _SEGMENT, [tuple(map(exact_parameter, (t, *segment))) for segment in change.segments]
    )
    cursor.executemany(_DROP, [(t, ns, seq) for seq in change.writes_gone])
    return True


def _take(cursor: Cursor, sql: str, t: int, change: Relayout, gone: Sequence[int]) -> None:
    if not gone:
        return
    cursor.execute(sql, (t, change.ns, str(list(gone))))
    if cursor.rowcount != len(gone):
        raise StorageError(
            f"Of {len(gone)} rows of namespace {change.ns} that were to be replaced, "
            f"{cursor.rowcount} are there: the thread was left as it is.",
            thread_id=change.key.thread_id, ns=change.ns, outcome="none",
        )  # fmt: skip


def set_ttl(cursor: Cursor, key: ThreadKey, ttl_s: float | None) -> bool:
    """Set how long a thread is to be kept; False if there is none."""
    cursor.execute(_SET_TTL, (ttl_s, *key))
    return cursor.rowcount == 1


def free_bytes(cursor: Cursor) -> int:
    """Bytes of pages that hold nothing."""
    return int(cursor.execute(_FREE).fetchone()[0])


def vacuum(cursor: Cursor) -> int:
    """Cut some free pages off the file; how many bytes are free after it."""
    cursor.execute(_VACUUM).fetchall()
    return free_bytes(cursor)

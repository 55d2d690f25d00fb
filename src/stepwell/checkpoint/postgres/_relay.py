"""PostgreSQL: rows and segments in the place of others, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwell._db.postgres import Postgres
from stepwell.checkpoint.driver import CheckpointRow, Held, Relayout, SegmentRow
from stepwell.checkpoint.postgres._rows import exact, indexable, key_of, uuid_of
from stepwell.checkpoint.postgres._sweep import Sweep
from stepwell.errors import StorageError, StorageUnavailableError

_DIVISION_BY_ZERO = "22012"


async def relay(
    db: Postgres, change: Relayout, fence: tuple[Held, bytes] | None, sweep: Sweep
) -> bool:
    """Carry out a `Relayout`. `fence`: a claim and its worker; None: whoever owns the thread.
    `sweep` is told of what is gone.

    Raises:
        StorageError: What is to go is not there, or a place is taken; nothing was done.
    """
    try:
        [[moved, _]] = await db.fetch(
            "relayout",
            key_of(change.key),
            change.layout_no,
            change.ns,
            None if fence is None else fence[0].epoch,
            None if fence is None else uuid_of(fence[1]),
            list(change.rows_gone),
            list(change.segments_gone),
            list(change.writes_gone),
            change.checkpoints,
            change.bytes,
            *_rows(change.rows),
            *_segments(change.segments),
            long=True,
        )
    except StorageUnavailableError:
        raise
    except StorageError as error:
        if error.context.get("sqlstate") != _DIVISION_BY_ZERO:
            raise
        raise StorageError(
            f"Rows of namespace {change.ns} that were to be replaced are not there: the thread "
            "was left as it is.",
            thread_id=change.key.thread_id, ns=change.ns, outcome="none",
        ) from error  # fmt: skip
    if moved:
        sweep.gone(change)
    return bool(moved)


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * width


def _rows(rows: Sequence[CheckpointRow]) -> list[list[Any]]:
    return _columns(
        [
            (
                r.seq, r.parent, r.step, r.source, r.run, r.epoch, r.record_no, r.format, r.crc,
                r.body, r.metadata, indexable(r.meta_index), r.checkpoint_id, exact(r.key_id),
                r.created_at,
            )
            for r in rows
        ],
        15,
    )  # fmt: skip


def _segments(segments: Sequence[SegmentRow]) -> list[list[Any]]:
    return _columns(
        [
            (
                s.seq_from, s.seq_to, s.parent, s.format, s.crc, s.body, s.detail,
                exact(s.key_id), s.run_from, s.run_to,
            )
            for s in segments
        ],
        10,
    )  # fmt: skip

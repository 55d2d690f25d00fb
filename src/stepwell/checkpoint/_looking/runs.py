"""Listing runs, of one thread or of all."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from stepwell._journal.journal import Journal
from stepwell._journal.metadata import decode_metadata
from stepwell.checkpoint._looking import listing as _listing
from stepwell.checkpoint._looking.listing import (
    OpenReader,
    Reader,
    cursor_of,
    moment,
    parsed_cursor,
    standing_of,
    thread_place,
    thread_rows,
    whole,
)
from stepwell.checkpoint._results import RunInfo
from stepwell.checkpoint.driver import RunRow, RunStatus, ThreadKey, ThreadQuery


async def list_runs(
    opened: OpenReader,
    key: ThreadKey,
    *,
    status: RunStatus | None,
    after: int | None,
    limit: int | None,
) -> AsyncIterator[RunInfo]:
    """Runs of one thread, newest first; `after`: a run's number."""
    reader = await opened()
    left = limit
    async with aclosing(_run_rows(reader.journal, key, after)) as rows:
        async for row in rows:
            if left is not None and left <= 0:
                return
            if status is None or row.status == status:
                yield _run_info(reader, key, row, cursor_of("run", row.run))
                if left is not None:
                    left -= 1


async def list_all_runs(
    opened: OpenReader,
    scope: str,
    *,
    status: RunStatus | None,
    after: tuple[tuple[float, str], int] | None,
    limit: int | None,
) -> AsyncIterator[RunInfo]:
    """Runs of all threads: the thread written last comes first, its newest run before older.

    `after`: where a thread stands, and a run's number in it.
    """
    reader = await opened()
    left = limit
    async with aclosing(_all_run_rows(reader.journal, scope, after)) as rows:
        async for key, place, row in rows:
            if left is not None and left <= 0:
                return
            if status is None or row.status == status:
                yield _run_info(reader, key, row, cursor_of("runs", *place, row.run))
                if left is not None:
                    left -= 1


def run_position(after: str | None) -> int | None:
    """The run that a cursor of one thread's runs names.

    Raises:
        UsageError: It is no such cursor.
    """
    return None if after is None else whole(parsed_cursor(after, "run", 2)[1], after)


def all_runs_position(after: str | None) -> tuple[tuple[float, str], int] | None:
    """The thread's place and the run that a cursor of all runs names.

    Raises:
        UsageError: It is no such cursor.
    """
    if after is None:
        return None
    _, value, thread_id, number = parsed_cursor(after, "runs", 4)
    return thread_place(value, thread_id, after), whole(number, after)


async def _all_run_rows(
    journal: Journal, scope: str, after: tuple[tuple[float, str], int] | None
) -> AsyncGenerator[tuple[ThreadKey, tuple[float, str], RunRow], None]:
    query = ThreadQuery(scope=scope)
    if after is not None:
        place, number = after
        query = query._replace(after=place)
        key = ThreadKey(scope, place[1])
        async with aclosing(_run_rows(journal, key, number)) as rows:
            async for run in rows:
                yield key, place, run
    async with aclosing(thread_rows(journal, query)) as threads:
        async for thread in threads:
            if thread.runs:
                async with aclosing(_run_rows(journal, thread.key, None)) as rows:
                    async for run in rows:
                        yield thread.key, standing_of(thread, "updated"), run


async def _run_rows(
    journal: Journal, key: ThreadKey, after: int | None
) -> AsyncGenerator[RunRow, None]:
    while True:
        page = await journal.runs(key, after=after, limit=_listing.PAGE)
        for row in page:
            yield row
        if len(page) < _listing.PAGE:
            return
        after = page[-1].run


async def get_run(reader: Reader, key: ThreadKey, run_id: str) -> RunInfo | None:
    """The newest run of a thread with this name; None if there is none."""
    async with aclosing(_run_rows(reader.journal, key, None)) as rows:
        async for row in rows:
            if row.run_id == run_id:
                return _run_info(reader, key, row, cursor_of("run", row.run))
    return None


def _run_info(reader: Reader, key: ThreadKey, row: RunRow, cursor: str) -> RunInfo:
    return RunInfo(
        run_id=row.run_id,
        thread_id=key.thread_id,
        graph=row.graph,
        status=RunStatus(row.status).name.lower(),
        idempotency_key=row.idempotency_key,
        attempts=row.attempts,
        started_at=None if row.started_at is None else moment(row.started_at),
        finished_at=None if row.finished_at is None else moment(row.finished_at),
        supersteps=row.supersteps,
        error=row.error,
        metadata=decode_metadata(row.metadata, reader.codec),
        cursor=cursor,
    )

"""Listing threads: pages of the driver become items with cursors."""

from __future__ import annotations

import math
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeVar

import orjson

from stepwell._clock import Clock
from stepwell._codec import Codec
from stepwell._journal.journal import Journal
from stepwell._journal.metadata import decode_metadata, wanted_index
from stepwell.checkpoint._results import ThreadInfo
from stepwell.checkpoint.driver import (
    LoadRequest,
    RunRow,
    RunStatus,
    ThreadKey,
    ThreadQuery,
    ThreadRow,
    ThreadStatus,
)
from stepwell.errors import UsageError

Order = Literal["updated", "created", "thread_id"]
Status = TypeVar("Status", ThreadStatus, RunStatus)

PAGE = 100
_ORDERS = ("updated", "created", "thread_id")


class Reader(NamedTuple):
    """What reading needs of a saver: its journal, open on this loop, and its codec."""

    journal: Journal
    codec: Codec
    clock: Clock


OpenReader = Callable[[], Awaitable[Reader]]


# --- what callers ask for -----------------------------------------------------------------------


def status_of(kind: type[Status], name: str | None) -> Status | None:
    """The status a caller names.

    Raises:
        UsageError: There is no such status.
    """
    if name is None:
        return None
    known = {member.name.lower(): member for member in kind}
    if not isinstance(name, str) or name not in known:
        raise UsageError(f"status must be one of {', '.join(known)}, not {name!r}.")
    return known[name]


def check_wanted(
    wanted: Mapping[str, Any] | None, what: str, clear: Collection[str] | None = None
) -> None:
    """Refuse a filter by values that cannot be compared everywhere.

    Raises:
        UsageError: It is no mapping from text, or a value is no text, number, boolean or None; or
            a key is not among those in clear, where metadata is encrypted.
    """
    if wanted is not None and not (
        isinstance(wanted, Mapping) and all(isinstance(key, str) for key in wanted)
    ):
        raise UsageError(f"{what} must be a mapping with keys of text, not {wanted!r:.100}.")
    for key, value in (wanted or {}).items():
        if clear is not None and key not in clear:
            raise UsageError(
                f"{what} can only compare metadata in clear, and {key!r} is encrypted: name it in "
                "clear_metadata= when the saver is opened."
            )
        if not isinstance(value, str | int | float | bool | None):
            raise UsageError(
                f"{what} compares text, numbers, booleans and None; {key!r} is a "
                f"{type(value).__name__}."
            )


def matches(metadata: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Whether all wanted keys are there with the wanted values. True is not 1 here."""
    return all(
        key in metadata
        and metadata[key] == value
        and isinstance(metadata[key], bool) is isinstance(value, bool)
        for key, value in (wanted or {}).items()
    )


def check_limit(limit: int | None) -> None:
    """Refuse a limit that is no count.

    Raises:
        UsageError: It is no whole number, or negative.
    """
    if limit is not None and not (type(limit) is int and limit >= 0):
        raise UsageError(f"limit must be a whole number, 0 or more, or None, not {limit!r:.100}.")


def unix_seconds(value: datetime | float | None, name: str) -> float | None:
    """A moment that a caller gave.

    Raises:
        UsageError: It is neither an aware datetime nor a number.
    """
    if value is None:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise UsageError(f"{name} must be an aware datetime or unix seconds, not {value!r}.")
    return value.timestamp()


def thread_query(
    scope: str,
    *,
    status: str | None,
    graph: str | None,
    updated_before: datetime | float | None,
    updated_after: datetime | float | None,
    order: Order,
    descending: bool,
    after: str | None,
) -> ThreadQuery:
    """The first page of a listing.

    Raises:
        UsageError: An argument is none that it can be.
    """
    if order not in _ORDERS:
        raise UsageError(f"order must be one of {', '.join(_ORDERS)}, not {order!r}.")
    if graph is not None and not isinstance(graph, str):
        raise UsageError(f"graph must be the name of one, not {graph!r:.100}.")
    if not isinstance(descending, bool):
        raise UsageError(f"descending must be True or False, not {descending!r:.100}.")
    return ThreadQuery(
        scope=scope,
        status=status_of(ThreadStatus, status),
        graph=graph,
        updated_before=unix_seconds(updated_before, "updated_before"),
        updated_after=unix_seconds(updated_after, "updated_after"),
        order=order,
        descending=descending,
        after=None if after is None else _thread_position(after, order),
    )


# --- cursors ------------------------------------------------------------------------------------


def cursor_of(*parts: str | float) -> str:
    """The cursor of an item: which listing, and where the item stands in it."""
    return orjson.dumps(parts).decode()


def parsed_cursor(cursor: str, first: str, length: int) -> list[Any]:
    """The parts of a cursor of the listing that `first` names.

    Raises:
        UsageError: It is no such cursor.
    """
    try:
        parts = orjson.loads(cursor)
    except (ValueError, TypeError):
        parts = None
    if not isinstance(parts, list) or len(parts) != length or parts[0] != first:
        raise _no_cursor(cursor)
    return parts


def standing_of(row: ThreadRow, order: Order) -> tuple[float, str]:
    """Where a thread stands in a listing, as `ThreadQuery.after` takes it."""
    value = {"updated": row.updated_at, "created": row.created_at, "thread_id": 0.0}[order]
    return value, row.key.thread_id


def _thread_position(cursor: str, order: Order) -> tuple[float, str]:
    _, value, thread_id = parsed_cursor(cursor, order, 3)
    return thread_place(value, thread_id, cursor)


def thread_place(value: object, thread_id: object, cursor: str) -> tuple[float, str]:
    """Where a cursor says that a thread stands.

    Raises:
        UsageError: The cursor was made up.
    """
    if not isinstance(value, int | float) or not isinstance(thread_id, str):
        raise _no_cursor(cursor)
    return value, thread_id


def whole(value: object, cursor: str) -> int:
    """A number out of a cursor.

    Raises:
        UsageError: The cursor was made up.
    """
    if not isinstance(value, int):
        raise _no_cursor(cursor)
    return value


def _no_cursor(cursor: object) -> UsageError:
    return UsageError(
        f"after={cursor!r} is no cursor of this listing: pass the `cursor` of an item that the "
        "same listing gave."
    )


# --- threads ------------------------------------------------------------------------------------


async def list_threads(
    opened: OpenReader,
    query: ThreadQuery,
    *,
    metadata: Mapping[str, Any] | None,
    limit: int | None,
) -> AsyncIterator[ThreadInfo]:
    """Threads in the query's order; a page at a time is read."""
    reader = await opened()
    left = limit
    query = query._replace(metadata=wanted_index(metadata))
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        page = await reader.journal.threads(query._replace(limit=size))
        for info in await thread_infos(reader, page, query.order):
            if matches(info.metadata, metadata):
                yield info
                if left is not None:
                    left -= 1
                    if not left:
                        return
        if len(page) < size:
            return
        query = query._replace(after=standing_of(page[-1], query.order))


async def _newest_runs(journal: Journal, page: Sequence[ThreadRow]) -> list[RunRow | None]:
    if not any(row.run for row in page):
        return [None] * len(page)
    return await journal.runs_numbered([(row.key, row.run) for row in page])


async def _metadata(
    reader: Reader, page: Sequence[ThreadRow], newest: Sequence[RunRow | None]
) -> list[dict[str, Any]]:
    """The metadata of threads: of the newest run of each that was given any."""
    found = [run if run is not None and run.metadata is not None else None for run in newest]
    # Runs without metadata, and updates by hand, take nothing away of what an earlier run said.
    left = [at for at, row in enumerate(page) if row.runs and found[at] is None]
    if left:
        earlier = await reader.journal.described([page[at].key for at in left])
        for at, run in zip(left, earlier, strict=True):
            found[at] = run
    return [decode_metadata(run.metadata if run else None, reader.codec) for run in found]


async def thread_keys(journal: Journal, scope: str) -> AsyncGenerator[ThreadKey, None]:
    """Keys of all threads of a scope, the one written last first."""
    async with aclosing(thread_rows(journal, ThreadQuery(scope=scope))) as rows:
        async for row in rows:
            yield row.key


async def thread_rows(journal: Journal, query: ThreadQuery) -> AsyncGenerator[ThreadRow, None]:
    """Rows of all threads that a query asks for, page after page."""
    async with aclosing(thread_pages(journal, query)) as pages:
        async for page in pages:
            for row in page:
                yield row


async def thread_pages(
    journal: Journal, query: ThreadQuery
) -> AsyncGenerator[list[ThreadRow], None]:
    """The same, in pages as they are read."""
    while True:
        page = await journal.threads(query._replace(limit=PAGE))
        yield page
        if len(page) < PAGE:
            return
        query = query._replace(after=standing_of(page[-1], query.order))


async def thread_info(reader: Reader, row: ThreadRow, order: Order) -> ThreadInfo:
    """A thread that was listed, with what its newest run says."""
    (info,) = await thread_infos(reader, [row], order)
    return info


async def thread_infos(reader: Reader, rows: Sequence[ThreadRow], order: Order) -> list[ThreadInfo]:
    """The same of many threads, with as many queries as for one."""
    runs = await _newest_runs(reader.journal, rows)
    known = await _metadata(reader, rows, runs)
    orphaned = await reader.journal.orphans(rows)
    return [
        _thread_info(reader, row, run, about, order, orphaned=gone)
        for row, run, about, gone in zip(rows, runs, known, orphaned, strict=True)
    ]


async def get_thread(reader: Reader, key: ThreadKey) -> ThreadInfo | None:
    """One thread; None if there is none."""
    # The chain of "no checkpoint" is empty: only the thread's own row is read, and its run's.
    loaded = await reader.journal.load(LoadRequest(key, "", 0))
    row = loaded.thread
    if row is None:
        return None
    run = loaded.runs.get(row.run)
    (known,) = await _metadata(reader, [row], [run])
    (gone,) = await reader.journal.orphans([row])
    return _thread_info(reader, row, run, known, "updated", orphaned=gone)


def _thread_info(
    reader: Reader,
    row: ThreadRow,
    run: RunRow | None,
    metadata: dict[str, Any],
    order: Order,
    *,
    orphaned: bool,
) -> ThreadInfo:
    left = row.lease_left_s
    return ThreadInfo(
        thread_id=row.key.thread_id,
        status=ThreadStatus(row.status).name.lower(),
        graph=row.graph,
        fingerprint=row.fingerprint,
        state_version=row.state_version,
        run_id=None if run is None else run.run_id,
        owner=None if row.owner is None else row.owner.hex(),
        lease_expires_at=None if left is None else moment(reader.clock.wall() + left),
        orphaned=orphaned,
        next=tuple(orjson.loads(row.next_nodes)),
        interrupts=row.interrupts,
        error=row.error,
        checkpoints=row.checkpoints,
        bytes=row.bytes,
        metadata=metadata,
        created_at=moment(row.created_at),
        updated_at=moment(row.updated_at),
        cursor=cursor_of(order, *standing_of(row, order)),
    )


# --- values -------------------------------------------------------------------------------------


def moment(seconds: float) -> datetime:
    """Unix seconds as an aware datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)

"""PostgreSQL: one state of everything to read from, and rows put in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

from stepwell._db.postgres import Postgres
from stepwell.checkpoint._driver_parts import RESEALED, not_there, resealed
from stepwell.checkpoint.driver import (
    UNENDED,
    Held,
    NamespaceRow,
    RowKind,
    ThreadKey,
    ThreadPart,
    ThreadRow,
    place_of,
)
from stepwell.checkpoint.postgres._rows import (
    checkpoint_row,
    exact,
    indexable,
    key_of,
    run_row,
    segment_row,
    text_of,
    thread_row,
    uuid_of,
    write_row,
)


class _Link(Protocol):
    """What is used of a connection."""

    async def fetch(self, query: str, *args: Any) -> Sequence[Any]:
        """Run a statement."""


def _namespace_row(values: Any) -> NamespaceRow:
    return NamespaceRow(values[0], text_of(values[1]) or "", values[2])


_MAKE: Final = {
    RowKind.NAMESPACES: _namespace_row,
    RowKind.RUNS: run_row,
    RowKind.CHECKPOINTS: checkpoint_row,
    RowKind.WRITES: write_row,
    RowKind.SEGMENTS: segment_row,
}
_BEFORE_ALL: Final[Mapping[RowKind, tuple[Any, ...]]] = {
    RowKind.NAMESPACES: (-1,),
    RowKind.RUNS: (-1,),
    RowKind.CHECKPOINTS: (-1, 0),
    RowKind.WRITES: (-1, 0, b"", 0),
    RowKind.SEGMENTS: (-1, 0),
}


async def snapshot(sql: Mapping[str, str], link: _Link) -> PostgresSnapshot:
    """What the transaction of a connection sees, which may stand still for a while."""
    await link.fetch(sql["backup_patience"])
    rows = await link.fetch(sql["backup_note"])
    return PostgresSnapshot(sql, link, rows[0][0] if rows else None)


class PostgresSnapshot:
    """One state of the database: a transaction that is open until the snapshot ends."""

    def __init__(self, sql: Mapping[str, str], link: _Link, note: str | None) -> None:
        self.note = note
        self._sql = sql
        self._link = link
        self.failed: Exception | None = None
        """What the connection has raised: an error of the database, not of whoever reads."""

    async def _fetch(self, query: str, *args: Any) -> Sequence[Any]:
        try:
            return await self._link.fetch(query, *args)
        except Exception as error:
            self.failed = error
            raise

    async def count(self, scope: str | None = None) -> int:
        """Count threads."""
        [[number]] = await self._fetch(self._sql["backup_count"], exact(scope))
        return int(number)

    async def threads(
        self, after: ThreadKey | None, limit: int, scope: str | None = None
    ) -> list[ThreadRow]:
        """Read one page of rows."""
        last = ThreadKey("", "") if after is None else after
        name = "backup_threads" if scope is None else "backup_threads_of_scope"
        place = (exact(last.scope if scope is None else scope), last.thread_id, limit)
        return [thread_row(row) for row in await self._fetch(self._sql[name], *place)]

    async def named(self, keys: Sequence[ThreadKey]) -> list[ThreadRow | None]:
        """Read the rows of some threads."""
        wanted = [key_of(key) for key in keys]
        rows = await self._fetch(self._sql["backup_named"], wanted)
        found = {row[0]: thread_row(row[1:]) for row in rows}
        return [found.get(key) for key in wanted]

    async def rows(
        self,
        kind: RowKind,
        keys: Sequence[ThreadKey],
        *,
        after: tuple[Any, ...] | None = None,
        limit: int | None = None,
    ) -> list[list[Any]]:
        """Read rows of one kind."""
        wanted = [key_of(key) for key in keys]
        if after is None and limit is None:
            rows = await self._fetch(self._sql[f"backup_{kind}_of"], wanted)
        else:
            place = _BEFORE_ALL[kind] if after is None else after
            sql = self._sql[f"backup_{kind}_page"]
            rows = await self._fetch(sql, *wanted, *place, limit)
        make = _MAKE[kind]
        found: dict[UUID, list[Any]] = {key: [] for key in wanted}
        for row in rows:
            found[row[0]].append(make(row[1:]))
        return [found[key] for key in wanted]


async def note(db: Postgres) -> str | None:
    """What a database that is being filled says of itself."""
    rows = await db.fetch("backup_note", sent=False)
    return rows[0][0] if rows else None


async def strays(db: Postgres, *, remove: bool) -> dict[RowKind, int]:
    """Rows without a thread, by kind."""
    rows = await db.fetch("strays", sent=False, long=True)
    found = {RowKind(kind): count for kind, count in rows if count}
    for kind in found if remove else ():
        await db.fetch(f"stray_{kind}_delete", long=True)
    return found


async def restore(db: Postgres, parts: Sequence[ThreadPart], gone: Sequence[ThreadKey]) -> None:
    """Put rows in place, and delete threads, in one transaction."""
    begun = [part.thread for part in parts if part.begins]
    ended = [part.thread for part in parts if part.ends]
    removed = [key_of(key) for key in (*gone, *(row.key for row in begun))]
    async with db.transaction("filling the database") as link:
        for kind in ("thread", *RowKind) if removed else ():
            await link.fetch(db.sql[f"backup_delete_{kind}"], removed)
        if begun:
            columns = zip(*map(_thread, begun), strict=True)
            await link.fetch(db.sql["backup_put_thread"], *columns)
        for kind, convert in _CONVERT.items():
            rows = [
                (key_of(part.thread.key), *convert(row))
                for part in parts
                for row in getattr(part, kind)
            ]
            if rows:
                await link.fetch(db.sql[f"backup_put_{kind}"], *zip(*rows, strict=True))
        if ended:
            keys = [key_of(row.key) for row in ended]
            await link.fetch(db.sql["backup_end_thread"], keys, [row.layout_no for row in ended])


async def reseal(
    db: Postgres, worker: bytes, changes: Sequence[tuple[Held, ThreadPart]]
) -> list[bool]:
    """Put other bytes into rows, each thread behind its fence, in one transaction.

    Raises:
        StorageError: A row is not there; nothing was done.
    """
    keys = [key_of(claim.key) for claim, _ in changes]
    threads = [part.thread for _, part in changes]
    async with db.transaction("sealing records anew") as link:
        moved = await link.fetch(
            db.sql["reseal_threads"], keys, [claim.epoch for claim, _ in changes],
            [row.layout_no for row in threads], [row.bytes for row in threads],
            [exact(row.error) for row in threads], uuid_of(worker),
        )  # fmt: skip
        fit = {row[0] for row in moved}
        parts = {key: part for key, (_, part) in zip(keys, changes, strict=True) if key in fit}
        for kind in RESEALED:
            await _reseal(db, link, kind, parts)
    return [key in fit for key in keys]


async def _reseal(
    db: Postgres, link: _Link, kind: RowKind, parts: Mapping[UUID, ThreadPart]
) -> None:
    convert = _CONVERT[kind]
    rows: list[tuple[Any, ...]] = []
    for key, part in parts.items():
        for row in getattr(part, kind):
            stored = row._make(convert(row))
            rows.append((key, *place_of(kind, row), *resealed(kind, stored)))
    if not rows:
        return
    done = await link.fetch(db.sql[f"reseal_{kind}"], *zip(*rows, strict=True))
    for key, part in parts.items() if len(done) != len(rows) else ():
        found = sum(row[0] == key for row in done)
        if found != len(getattr(part, kind)):
            raise not_there(part, kind, found)


def _thread(row: ThreadRow) -> tuple[Any, ...]:
    return (
        key_of(row.key), exact(row.key.scope), row.key.thread_id, uuid_of(row.uid), row.epoch,
        row.record_no, UNENDED, row.status, row.run, row.runs, row.namespaces[0][1],
        row.checkpoints, row.bytes, row.interrupts, row.state_version, row.ttl_s,
        _moment(row.created_at), _moment(row.updated_at),
        exact(row.graph), exact(row.fingerprint), exact(row.next_nodes), exact(row.error),
    )  # fmt: skip


def _moment(seconds: float | None) -> float | None:
    """A time in whole microseconds, which is what a timestamp holds."""
    return None if seconds is None else round(seconds, 6)


def _texts(*places: int, index: int | None = None, times: tuple[int, ...] = ()) -> Any:
    """A row with the texts at `places` as their columns hold them, the JSON at `index`, and
    `times`."""

    def convert(row: tuple[Any, ...]) -> tuple[Any, ...]:
        values = list(row)
        for place in places:
            values[place] = exact(values[place])
        if index is not None:
            values[index] = indexable(values[index])
        for place in times:
            values[place] = _moment(values[place])
        return tuple(values)

    return convert


_CONVERT: Final[Mapping[RowKind, Any]] = {
    RowKind.NAMESPACES: _texts(1),
    RowKind.RUNS: _texts(1, 5, 6, 11, index=8, times=(13, 14)),
    RowKind.CHECKPOINTS: _texts(14, index=12, times=(15,)),
    RowKind.WRITES: _texts(4, 5, 11),
    RowKind.SEGMENTS: _texts(8),
}
"""Rows of the SPI as rows of the database, by kind, in the order in which they are written."""


__all__ = ["PostgresSnapshot", "note", "reseal", "restore", "strays"]

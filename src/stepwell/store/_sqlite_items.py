"""The tables of a store in an SQLite file, or in the memory of one connection."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Final, Literal, TypeAlias

from stepwell._clock import Clock
from stepwell._codec import Codec
from stepwell._db._sqlite_schema import STORE, migrate
from stepwell._db.sqlite import (
    HAS_JSON,
    SQL,
    AnyConnection,
    Cursor,
    Database,
    Settings,
    file_of_connection,
)
from stepwell.errors import UsageError
from stepwell.store._embedding import ranked
from stepwell.store._rows import (
    Batch,
    Collector,
    Condition,
    Listing,
    Row,
    Upsert,
    bounds,
    conditions,
    item_of,
    key_of,
    score_of,
    slack,
)
from stepwell.store.base import GetOp, ListNamespacesOp, SearchOp

_SWEEP_ROWS: Final = 1000
_NEVER: Final = -(2**62)
"""Everything expires after this moment."""


class SqliteItems:
    """Items in an open database. Opening and closing that is somebody else's affair.

    Args:
        database: Where.
        location: How the database is called in messages.
        codec: For values.
        clock: What times are taken from.
        omit_expired: Whether what has expired is left out before it is swept.
    """

    def __init__(
        self, database: Database, location: str, codec: Codec, clock: Clock, *, omit_expired: bool
    ) -> None:
        self.database = database
        self._location = location
        self._codec = codec
        self._clock = clock
        self._omit_expired = omit_expired

    async def migrate(self, mode: Literal["auto", "check", "off"]) -> None:
        """Create or upgrade the tables; safe when many processes do it at once."""
        await migrate(self.database, mode, self._location, STORE)

    async def run(self, batch: Batch) -> list[Any]:
        """Do a batch: one snapshot for what reads, one transaction for all if it writes."""

        def work(cursor: Cursor) -> tuple[list[Any], list[bytes]]:
            return self._read(cursor, batch)

        def all_of_it(cursor: Cursor) -> list[Any]:
            results, mortal = self._read(cursor, batch)
            self._touch(cursor, mortal)
            self._write(cursor, batch)
            return results

        if batch.upserts or batch.deletions:
            return await self.database.write(all_of_it)
        results, mortal = await self.database.read(work)
        if mortal:
            await self.database.write(lambda cursor: self._touch(cursor, mortal))
        return results

    async def sweep(self) -> int:
        """Delete what has expired, a thousand items at a time."""
        swept = 0
        while True:
            gone = await self.database.write(self._sweep)
            swept += gone
            if gone < _SWEEP_ROWS:
                return swept

    def _sweep(self, cursor: Cursor) -> int:
        return cursor.execute(SQL["store_sweep"], (self._now(), _SWEEP_ROWS)).rowcount

    def _now(self) -> int:
        return int(self._clock.wall() * 1e6)

    # -- writing

    def _write(self, cursor: Cursor, batch: Batch) -> None:
        cursor.executemany(SQL["store_delete"], [(key,) for key in batch.deletions])
        now = self._now()
        # Items of one batch are a microsecond apart, so that they have an order.
        rows = [_columns(row, now + place) for place, row in enumerate(batch.upserts)]
        cursor.executemany(SQL["store_put"], rows)

    def _touch(self, cursor: Cursor, keys: list[bytes]) -> None:
        now = self._now()
        cursor.executemany(SQL["store_touch"], [(now, key) for key in keys])

    # -- reading

    def _read(self, cursor: Cursor, batch: Batch) -> tuple[list[Any], list[bytes]]:
        results: list[Any] = [None] * batch.results
        mortal: list[bytes] = []
        seen_after = self._now() if self._omit_expired else _NEVER
        for place, op in batch.reads:
            if isinstance(op, GetOp):
                row = _row(cursor, key_of(op.namespace, op.key), seen_after)
                if row is not None:
                    results[place] = item_of(row, self._codec)
                    if op.refresh_ttl and row.mortal:
                        mortal.append(row.key)
            elif isinstance(op, ListNamespacesOp):
                results[place] = _namespaces(cursor, op, seen_after)
            else:
                found = self._search(cursor, op, batch, seen_after)
                results[place] = found.items
                if op.refresh_ttl:
                    mortal += found.mortal
        return results, mortal

    def _search(self, cursor: Cursor, op: SearchOp, batch: Batch, seen_after: int) -> Collector:
        found = Collector(op, self._codec)
        query = batch.vectors.of_query.get(op.query) if op.query else None
        where, arguments = _within(op, seen_after)
        if query is not None:
            self._rank(cursor, op, found, (query, where, arguments))
            return found
        page = (-1, 0) if op.filter else (op.limit, op.offset)
        text = f"{SQL['store_search']} {where} {SQL['store_search_order']}"
        # Only keys are sorted; bodies are read one by one, until the page is full.
        with _another(cursor) as keys:
            for (key,) in keys.execute(text, (*arguments, *page)):
                row = _row(cursor, key, _NEVER)
                if row is None:
                    continue
                if not op.filter:
                    found.keep(row)
                    continue
                found.take(row)
                if found.full:
                    break
        return found

    def _rank(
        self, cursor: Cursor, op: SearchOp, found: Collector, asked: tuple[Any, str, list[Any]]
    ) -> None:
        """Compare with every vector in the range; nothing but keys and scores is kept."""
        query, where, arguments = asked
        text = f"{SQL['store_vectors']} {where} {SQL['store_search_order']}"
        scores: list[tuple[bytes, float | None]] = []
        with _another(cursor) as rows:
            for key, dims, vectors in rows.execute(text, (*arguments, -1, 0)):
                if op.filter:
                    row = _row(cursor, key, _NEVER)
                    if row is None or not found.wanted(row):
                        continue
                scores.append((key, score_of(query, dims, vectors)))
        for key, score in ranked(scores, op.offset, op.limit):
            row = _row(cursor, key, _NEVER)
            if row is not None:
                found.keep(row, score)


def _columns(row: Upsert, now: int) -> tuple[Any, ...]:
    expires_at = None if row.ttl_s is None else now + int(row.ttl_s * 1e6)
    return (
        row.key,
        row.namespace,
        now,
        now,
        expires_at,
        row.ttl_s,
        row.tagged,
        row.dims,
        row.name,
        row.body,
        row.vectors,
    )


def _row(cursor: Cursor, key: bytes, seen_after: int) -> Row | None:
    found = cursor.execute(SQL["store_get"], (key, seen_after)).fetchone()
    return None if found is None else Row(*found)


def _namespaces(cursor: Cursor, op: ListNamespacesOp, seen_after: int) -> list[tuple[str, ...]]:
    listing = Listing(op)
    with _another(cursor) as rows:
        for (raw,) in rows.execute(SQL["store_namespaces"], (*listing.bounds, seen_after)):
            if listing.full:
                break
            listing.take(raw)
    return listing.found


def _another(cursor: Cursor) -> closing[Cursor]:
    """A second cursor in the same transaction, that need not be read to its end."""
    fresh = cursor.connection.cursor()
    fresh.row_factory = None  # a borrowed connection may have its own
    return closing(fresh)


def _within(op: SearchOp, seen_after: int) -> tuple[str, list[Any]]:
    """What a search adds to its statement, and all the statement's arguments up to there."""
    parts: list[str] = []
    arguments: list[Any] = [*bounds(op.namespace_prefix), seen_after]
    if HAS_JSON:
        for condition in conditions(op):
            parts.append(SQL[f"store_where_{condition.kind}"])
            arguments += _arguments(condition)
    return "\n".join(parts), arguments


def _arguments(condition: Condition) -> Iterator[Any]:
    path, value = f'$."{condition.key}"', condition.value
    yield path
    if condition.kind == "text":
        yield value
    elif condition.kind == "number":
        yield from (value - slack(value), value + slack(value))
    elif condition.kind == "above":
        yield from (path, value - slack(value))
    elif condition.kind == "below":
        yield from (path, value + slack(value))


MakeItems: TypeAlias = Callable[[Database, str], SqliteItems]


class OwnSqlite:
    """Items in a database that is opened and closed with them.

    Args:
        settings: Which database, and how.
        borrowed: A connection to use in place of a file, if it has none itself.
        make: Makes the items of an opened database.
    """

    def __init__(self, settings: Settings, borrowed: AnyConnection | None, make: MakeItems) -> None:
        self._settings = settings
        self._borrowed = borrowed
        self._make = make
        self._opening: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._items: SqliteItems | None = None

    async def open(self, migrate: Literal["auto", "check", "off"]) -> None:
        """Connect, and see to the tables. Idempotent."""
        loop = asyncio.get_running_loop()
        if self._opening is None or self._opening[0] is not loop:
            self._opening = (loop, asyncio.Lock())
        async with self._opening[1]:
            if self._items is None:
                self._items = await self._open(migrate)

    async def _open(self, mode: Literal["auto", "check", "off"]) -> SqliteItems:
        if self._borrowed is not None:
            file = await file_of_connection(self._borrowed)
            if file:
                self._settings = dataclasses.replace(self._settings, path=file)
                self._borrowed = None
        database = Database(self._settings, self._borrowed)
        try:
            await database.open()
            items = self._make(database, location_of(self._settings))
            await items.migrate(mode)
        except BaseException:
            await database.close()
            raise
        return items

    async def migrate(self, mode: Literal["auto", "check", "off"]) -> None:
        """See to the tables of the open database."""
        await self._opened().migrate(mode)

    async def run(self, batch: Batch) -> list[Any]:
        """As `SqliteItems.run`."""
        return await self._opened().run(batch)

    async def sweep(self) -> int:
        """As `SqliteItems.sweep`."""
        return await self._opened().sweep()

    def _opened(self) -> SqliteItems:
        if self._items is None:
            raise UsageError("The store is not open.")
        return self._items

    async def close(self) -> None:
        """Finish what is under way and give back connections. Idempotent."""
        items, self._items = self._items, None
        if items is not None:
            await items.database.close()

    def forget(self) -> None:
        """Let go of connections without waiting (dead loop, fork's child)."""
        items, self._items, self._opening = self._items, None, None
        if items is not None:
            items.database.forget()


def location_of(settings: Settings) -> str:
    """How a database is called in messages."""
    return settings.path if settings.uri else f"sqlite:///{settings.path}"

"""The tables of a store in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from stepwell._clock import SYSTEM_CLOCK, Clock
from stepwell._codec import Codec
from stepwell._db.postgres import FastUUID, Postgres, shifted
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
    in_order,
    item_of,
    key_of,
    score_of,
)
from stepwell.store.base import GetOp, InvalidNamespaceError, ListNamespacesOp, SearchOp

if TYPE_CHECKING:
    from stepwell._db._postgres_source import Link

_SWEEP_ROWS: Final = 1000
_CHUNK: Final = 256
"""Rows that a search which has to look at each takes at once."""
_NAMESPACE_BYTES_MAX: Final = 2000
"""What fits into an entry of an index."""
_KINDS: Final = {"text": "equal"}
"""Conditions that are called otherwise here."""


class PostgresItems:
    """Items in a database. If `own`, it is opened and closed with them.

    Args:
        database: Where.
        codec: For values.
        clock: What times are taken from; the system's clock stands for the server's.
        omit_expired: Whether what has expired is left out before it is swept.
    """

    def __init__(
        self, database: Postgres, codec: Codec, clock: Clock, *, omit_expired: bool
    ) -> None:
        self.database = database
        self._codec = codec
        self._clock = clock
        self._omit_expired = omit_expired

    # -- life, of items that have a database of their own

    async def open(self, migrate: Literal["auto", "check", "off"]) -> None:
        """Connect, and see to the tables. Idempotent."""
        try:
            await self.database.open()
            await self.migrate(migrate)
        except BaseException:
            await self.database.close()
            raise

    async def migrate(self, mode: Literal["auto", "check", "off"]) -> None:
        """Create or upgrade the tables; safe when many processes do it at once."""
        await self.database.migrate_store(mode)

    async def close(self) -> None:
        """Give back connections. Idempotent."""
        await self.database.close()

    def forget(self) -> None:
        """Drop every connection without touching it."""
        self.database.forget()

    # -- batches

    async def run(self, batch: Batch) -> list[Any]:
        """Do a batch: one snapshot for what reads, then one statement for what writes."""
        results, mortal = await self._read(batch)
        if mortal:
            await self.database.fetch("store_touch", sorted(mortal), self._now())
        if batch.upserts or batch.deletions:
            await self._write(batch)
        return results

    async def sweep(self) -> int:
        """Delete what has expired, a thousand items at a time."""
        swept = 0
        while True:
            [row] = await self.database.fetch("store_sweep", self._now(), _SWEEP_ROWS)
            gone: int = row[0]
            swept += gone
            if gone < _SWEEP_ROWS:
                return swept

    def _now(self) -> datetime | None:
        if self._clock is SYSTEM_CLOCK:
            return None  # the server's: hosts do not agree
        return datetime.fromtimestamp(self._clock.wall(), UTC)

    async def _write(self, batch: Batch) -> None:
        for row in batch.upserts:
            if len(row.namespace) > _NAMESPACE_BYTES_MAX:
                raise InvalidNamespaceError(
                    f"A namespace of {len(row.namespace)} bytes is too long for an index of "
                    f"PostgreSQL: {_NAMESPACE_BYTES_MAX} at most."
                )
        # In the order of their keys, so that two batches never wait for each other's rows.
        rows = sorted(enumerate(batch.upserts), key=lambda pair: pair[1].key)
        await self.database.fetch(
            "store_write", self._now(), _uuids(sorted(batch.deletions)), *_columns(rows)
        )

    # -- reading

    async def _read(self, batch: Batch) -> tuple[list[Any], list[Any]]:
        results: list[Any] = [None] * batch.results
        mortal: list[Any] = []
        gets = [(place, op) for place, op in batch.reads if isinstance(op, GetOp)]
        if len(gets) < len(batch.reads):
            async with self.database.snapshot(primary=True) as link:
                reading = _Reading(self, link, batch, self._codec)
                mortal += await reading.all(results)
        elif gets:
            arguments = self._get_arguments(gets)
            rows = await self.database.fetch("store_get", *arguments, sent=False)
            mortal += self._got(gets, rows, results)
        return results, mortal

    def _get_arguments(self, gets: Sequence[tuple[int, GetOp]]) -> tuple[Any, ...]:
        keys = {key_of(op.namespace, op.key) for _, op in gets}
        return (_uuids(sorted(keys)), *self.expiry)

    def _got(
        self, gets: Sequence[tuple[int, GetOp]], rows: Sequence[Any], results: list[Any]
    ) -> list[Any]:
        """Put items where they belong; the keys of those whose time begins anew."""
        mortal = []
        found = {row[0].bytes: Row(*row) for row in rows}
        for place, op in gets:
            row = found.get(key_of(op.namespace, op.key))
            if row is not None:
                results[place] = item_of(row, self._codec)
                if op.refresh_ttl and row.mortal:
                    mortal.append(row.key)
        return mortal

    @property
    def expiry(self) -> tuple[bool, datetime | None]:
        """Whether to leave out what has expired, and when it is now."""
        return self._omit_expired, self._now()


class _Reading:
    """What one batch reads, in one snapshot."""

    def __init__(self, items: PostgresItems, link: Link, batch: Batch, codec: Codec) -> None:
        self._items = items
        self._link = link
        self._batch = batch
        self._codec = codec
        self._sql = items.database.sql

    async def all(self, results: list[Any]) -> list[Any]:
        """Do all reads; the keys of items whose time begins anew."""
        mortal: list[Any] = []
        gets = [(place, op) for place, op in self._batch.reads if isinstance(op, GetOp)]
        if gets:
            arguments = self._items._get_arguments(gets)  # noqa: SLF001  # one class in two
            rows = await self._link.fetch(self._sql["store_get"], *arguments)
            mortal += self._items._got(gets, rows, results)  # noqa: SLF001
        for place, op in self._batch.reads:
            if isinstance(op, ListNamespacesOp):
                results[place] = await self._namespaces(op)
            elif isinstance(op, SearchOp):
                found = await self._search(op)
                results[place] = found.items
                if op.refresh_ttl:
                    mortal += found.mortal
        return mortal

    async def _namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        listing = Listing(op)
        start, end = listing.bounds
        while not listing.full:
            rows = await self._link.fetch(
                self._sql["store_namespaces"], start, end, *self._items.expiry, _CHUNK
            )
            for (raw,) in rows:
                listing.take(raw)
            if len(rows) < _CHUNK:
                break
            start = rows[-1][0] + b"\0"  # the next bytes there can be
        return listing.found

    async def _search(self, op: SearchOp) -> Collector:
        found = Collector(op, self._codec)
        where, arguments = self._within(op)
        query = self._batch.vectors.of_query.get(op.query) if op.query else None
        if query is not None:
            await self._rank(op, found, query, (where, arguments))
        elif op.filter:
            # Only keys are sorted; rows are read chunk by chunk, until the page is full.
            text = f"{self._sql['store_search_keys']} {where} {self._sql['store_search_order']}"
            keys: list[Any] = []
            async for (key,) in self._link.cursor(text, *arguments, prefetch=_CHUNK):
                keys.append(key)
                if len(keys) >= _CHUNK:
                    await self._take(found, keys)
                    keys = []
                    if found.full:
                        return found
            await self._take(found, keys)
        else:
            page = shifted(self._sql["store_search_page"], len(arguments))
            order = self._sql["store_search_order"]
            text = f"{self._sql['store_search']} {where} {order} {page}"
            for row in await self._link.fetch(text, *arguments, op.limit, op.offset):
                found.keep(Row(*row))
        return found

    async def _rows(self, keys: list[Any]) -> list[Row]:
        if not keys:
            return []
        rows = await self._link.fetch(self._sql["store_get"], keys, False, None)
        return in_order(keys, (Row(*row) for row in rows))

    async def _take(self, found: Collector, keys: list[Any]) -> None:
        for row in await self._rows(keys):
            found.take(row)

    async def _rank(
        self,
        op: SearchOp,
        found: Collector,
        query: Sequence[float],
        within: tuple[str, list[Any]],
    ) -> None:
        """Compare with every vector in the range; nothing but keys and scores is kept."""
        where, arguments = within
        text = f"{self._sql['store_search_vectors']} {where} {self._sql['store_search_order']}"
        scores: list[tuple[Any, float | None]] = []
        chunk: list[tuple[Any, float | None]] = []
        async for key, dims, vectors in self._link.cursor(text, *arguments, prefetch=_CHUNK):
            chunk.append((key, score_of(query, dims, vectors)))
            if len(chunk) >= _CHUNK:
                scores += await self._wanted(op, found, chunk)
                chunk = []
        scores += await self._wanted(op, found, chunk)
        page = ranked(scores, op.offset, op.limit)
        rows = {row.key: row for row in await self._rows([key for key, _ in page])}
        for key, score in page:
            if key in rows:
                found.keep(rows[key], score)

    async def _wanted(
        self, op: SearchOp, found: Collector, chunk: list[tuple[Any, float | None]]
    ) -> list[tuple[Any, float | None]]:
        if not op.filter:
            return chunk
        rows = await self._rows([key for key, _ in chunk])
        wanted = {row.key for row in rows if found.wanted(row)}
        return [pair for pair in chunk if pair[0] in wanted]

    def _within(self, op: SearchOp) -> tuple[str, list[Any]]:
        """The range of a search with what it adds, and the arguments up to there."""
        parts = [self._sql["store_within"]]
        arguments: list[Any] = [*bounds(op.namespace_prefix), *self._items.expiry]
        for condition in conditions(op):
            kind = _KINDS.get(condition.kind, condition.kind)
            parts.append(shifted(self._sql[f"store_where_{kind}"], len(arguments)))
            arguments += [condition.key, _json(condition)]
        return "\n".join(parts), arguments


def _json(condition: Condition) -> str:
    return orjson.dumps(condition.value).decode()


def _uuids(keys: Sequence[bytes]) -> list[Any]:
    return [FastUUID(key) for key in keys]


def _columns(rows: Sequence[tuple[int, Upsert]]) -> list[list[Any]]:
    return [
        _uuids([row.key for _, row in rows]),
        [row.namespace for _, row in rows],
        [row.name for _, row in rows],
        [place for place, _ in rows],
        [row.ttl_s for _, row in rows],
        [row.tagged for _, row in rows],
        # What jsonb cannot hold is written like this in JSON.
        [not row.tagged and b"\\u0000" not in row.body for _, row in rows],
        [row.dims for _, row in rows],
        [row.body for _, row in rows],
        [row.vectors for _, row in rows],
    ]

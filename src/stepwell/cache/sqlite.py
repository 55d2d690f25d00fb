"""A cache in an SQLite file: it outlives the process, and processes share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import orjson
from anyio import to_thread

from stepwell._clock import SYSTEM_CLOCK
from stepwell._db.sqlite_cache import CacheTable, Row
from stepwell.cache.base import (
    SEALED,
    BaseCache,
    FullKey,
    Namespace,
    SealedEntries,
    Serializer,
    ValueT,
)

if TYPE_CHECKING:
    from stepwell._codec.crypt import Keyring


class SqliteCache(BaseCache[ValueT]):
    """Keeps encoded values in one table of a file. Safe to use from any thread or process.

    What is over is deleted when it is met, and when the file is opened. The async verbs run in
    a worker thread.

    Args:
        path: The file; ":memory:" for a private one.
        serde: How values become bytes; Stepwell's codec by default.
        keyring: Values are encrypted, and found by a keyed digest; names of functions and nodes
            stay in clear. What does not open is computed anew. None: nothing is encrypted.

    Raises:
        StorageError: The file cannot be opened.
        UsageError: `keyring` is none.
    """

    def __init__(
        self, *, path: str, serde: Serializer | None = None, keyring: Keyring | None = None
    ) -> None:
        super().__init__(serde=serde)
        self._sealed = None if keyring is None else SealedEntries(keyring)
        self._table = CacheTable(path, SYSTEM_CLOCK.wall())

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """The values of those keys that are there and not over.

        Raises:
            StorageError: The file cannot be read.
        """
        places = {
            (text, name): (tuple(ns), key)
            for ns, key in keys
            for text in (_text(ns),)
            for name in self._names(text, key)
        }
        found: dict[FullKey, ValueT] = {}
        for place, kept in self._table.get(list(places), SYSTEM_CLOCK.wall()).items():
            opened = None if places[place] in found else self._opened(place, kept)
            if opened is not None:
                found[places[place]] = self.serde.loads_typed(opened)
        return found

    def _names(self, namespace: str, key: str) -> Sequence[str]:
        return (key,) if self._sealed is None else self._sealed.names(namespace, key)

    def _opened(self, place: tuple[str, str], kept: tuple[str, bytes]) -> tuple[str, bytes] | None:
        if self._sealed is not None:
            return self._sealed.open(*place, *kept)
        return None if kept[0].startswith(SEALED) else kept

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """Async twin of `get`."""
        return await to_thread.run_sync(self.get, keys)

    def set(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Keep values, each for so many seconds (None: for ever), in place of older ones.

        Raises:
            StorageError: The file cannot be written.
            UnsupportedTypeError: A value cannot be stored faithfully; none was kept.
        """
        now = SYSTEM_CLOCK.wall()
        self._table.set(
            [
                self._row(_text(ns), key, None if ttl is None else now + ttl, value)
                for (ns, key), (value, ttl) in pairs.items()
            ]
        )

    def _row(self, namespace: str, key: str, expiry: float | None, value: ValueT) -> Row:
        kept = self.serde.dumps_typed(value)
        if self._sealed is not None:
            key = self._sealed.names(namespace, key)[0]
            kept = self._sealed.seal(namespace, key, *kept)
        return (namespace, key, expiry, *kept)

    async def aset(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Async twin of `set`."""
        await to_thread.run_sync(self.set, pairs)

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forget everything in the namespaces; None: in all of them.

        Raises:
            StorageError: The file cannot be written.
        """
        self._table.clear(None if namespaces is None else [_text(ns) for ns in namespaces])

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Async twin of `clear`."""
        await to_thread.run_sync(self.clear, namespaces)

    def close(self) -> None:
        """Close the file. Closing twice does nothing."""
        self._table.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        table = getattr(self, "_table", None)
        if table is not None:
            table.close()


def _text(namespace: Sequence[str]) -> str:
    """A namespace as one text: no two are the same."""
    return orjson.dumps(list(namespace)).decode()


__all__ = ["SqliteCache"]

"""A cache in the memory of the process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from stepwell._clock import SYSTEM_CLOCK
from stepwell.cache.base import BaseCache, FullKey, Namespace, Serializer, ValueT


class InMemoryCache(BaseCache[ValueT]):
    """Keeps encoded values in a dict: every hit is a copy. Safe to use from any thread.

    Args:
        serde: How values become bytes; Stepwell's codec by default.
    """

    def __init__(self, *, serde: Serializer | None = None) -> None:
        super().__init__(serde=serde)
        self._kept: dict[Namespace, dict[str, tuple[str, bytes, float | None]]] = {}
        self._lock = threading.RLock()

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """The values of those keys that are there and not over."""
        now = SYSTEM_CLOCK.wall()
        found: dict[FullKey, ValueT] = {}
        with self._lock:
            for namespace, key in keys:
                ns = tuple(namespace)
                space = self._kept.get(ns, {})
                if key not in space:
                    continue
                encoding, raw, expiry = space[key]
                if expiry is not None and now >= expiry:
                    del space[key]
                else:
                    found[ns, key] = self.serde.loads_typed((encoding, raw))
        return found

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """Async twin of `get`."""
        return self.get(keys)

    def set(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Keep values, each for so many seconds (None: for ever), in place of older ones.

        Raises:
            UnsupportedTypeError: A value cannot be stored faithfully; none was kept.
        """
        now = SYSTEM_CLOCK.wall()
        encoded = {
            (tuple(ns), key): (*self.serde.dumps_typed(value), None if ttl is None else now + ttl)
            for (ns, key), (value, ttl) in pairs.items()
        }
        with self._lock:
            for (ns, key), kept in encoded.items():
                self._kept.setdefault(ns, {})[key] = kept

    async def aset(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Async twin of `set`."""
        self.set(pairs)

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forget everything in the namespaces; None: in all of them."""
        with self._lock:
            if namespaces is None:
                self._kept.clear()
                return
            for ns in namespaces:
                self._kept.pop(tuple(ns), None)

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Async twin of `clear`."""
        self.clear(namespaces)


__all__ = ["InMemoryCache"]

"""A base for stores that do the operations of one tick of the event loop together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

from stepwell._portal import run_sync
from stepwell.store.base._gathering import Gathering, dedupe
from stepwell.store.base._items import Item, SearchItem
from stepwell.store.base._names import check_labels
from stepwell.store.base._ops import NOT_PROVIDED, NamespacePath, NotProvided, Op, PutOp, Result
from stepwell.store.base._store import BaseStore, Index, _listing_op

T = TypeVar("T")


class AsyncBatchedBaseStore(BaseStore):
    """Base of stores whose `abatch` is worth more than the sum of its operations.

    What is asked for in one tick of the loop becomes one `abatch`: equal reads once, of
    several puts to one key the last; the reads see what was there before. A subclass defines
    `abatch`. It belongs to the event loop that makes it; the synchronous methods may be called
    from other threads.

    Raises:
        RuntimeError: It is made where no event loop runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._gathering: Gathering[Op] = Gathering(self._deduped)

    async def _deduped(self, ops: list[Op]) -> list[Result]:
        where, left = dedupe(ops)
        results = await self.abatch(left)
        return [results[place] for place in where]

    async def aget(
        self, namespace: tuple[str, ...], key: str, *, refresh_ttl: bool | None = None
    ) -> Item | None:
        op = self._get_op(namespace, key, refresh_ttl)
        return cast("Item | None", await self._gathering.submit(op))

    async def asearch(
        self,
        namespace_prefix: tuple[str, ...],
        /,
        *,
        query: str | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002  # LangGraph's name
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool | None = None,
    ) -> list[SearchItem]:
        op = self._search_op(namespace_prefix, query, filter, limit, offset, refresh_ttl)
        return cast("list[SearchItem]", await self._gathering.submit(op))

    async def aput(
        self,
        namespace: tuple[str, ...],
        key: str,
        value: Mapping[str, Any],
        index: Index = None,
        *,
        ttl: float | NotProvided | None = NOT_PROVIDED,
    ) -> None:
        await self._gathering.submit(self._put_op(namespace, key, value, index, ttl))

    async def adelete(self, namespace: tuple[str, ...], key: str) -> None:
        check_labels(namespace)
        await self._gathering.submit(PutOp(namespace, str(key), None))

    async def alist_namespaces(
        self,
        *,
        prefix: NamespacePath | None = None,
        suffix: NamespacePath | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[tuple[str, ...]]:
        op = _listing_op(prefix, suffix, max_depth, limit, offset)
        return cast("list[tuple[str, ...]]", await self._gathering.submit(op))

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Sync twin of `abatch`, for other threads than the loop's.

        Raises:
            UsageError: It is called on the store's own loop.
        """
        return run_sync(lambda: self.abatch(ops), loop=self._loop, name="batch")


__all__ = ["AsyncBatchedBaseStore"]

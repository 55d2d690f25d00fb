"""The interface of a store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

from stepwell.store.base._items import Item, SearchItem
from stepwell.store.base._names import check_labels, check_namespace
from stepwell.store.base._ops import (
    NOT_PROVIDED,
    GetOp,
    ListNamespacesOp,
    MatchCondition,
    NamespacePath,
    NotProvided,
    Op,
    PutOp,
    Result,
    SearchOp,
    TTLConfig,
)

Index = Literal[False] | list[str] | None


class BaseStore(ABC):
    """Base of all stores: documents by key, in namespaces that are paths of names.

    A store of one's own defines `batch` and `abatch`; the other methods are made of them.
    Names, signatures and meaning are those of LangGraph's `BaseStore`. Items are shared by all
    threads of a graph, and by whoever else opens the same store.
    """

    supports_ttl: bool = False
    """Whether items can be given a time to live."""
    ttl_config: TTLConfig | None = None
    __slots__ = ("__weakref__",)

    @abstractmethod
    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do several operations at once.

        Reads see what was there before the batch. Of several writes to one key the last
        counts.

        Returns:
            One result for each operation, in their order.
        """

    @abstractmethod
    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Async twin of `batch`."""

    # -- one operation each

    def get(
        self, namespace: tuple[str, ...], key: str, *, refresh_ttl: bool | None = None
    ) -> Item | None:
        """One item; None if there is none.

        Args:
            namespace: Where it lies.
            key: Its name there.
            refresh_ttl: Whether its time to live begins anew; None: as the store is configured.

        Raises:
            InvalidNamespaceError: The namespace is none.
        """
        return cast("Item | None", self.batch([self._get_op(namespace, key, refresh_ttl)])[0])

    def search(
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
        """Items at or below a namespace: `("a",)` covers `("a", "b")`, never `("ab",)`.

        Args:
            namespace_prefix: Where to look; `()` is everywhere.
            query: Rank by similarity to this text, if the store has an index; else it counts
                for nothing.
            filter: Top-level keys, with the value they must have or operators: `{"color":
                "red", "score": {"$gte": 3}}`. $eq $ne $gt $gte $lt $lte.
            limit: How many at most.
            offset: How many of them to skip.
            refresh_ttl: As for `get`.

        Raises:
            InvalidNamespaceError: The namespace is none.
            ValueError: The filter names an operator that there is not.
        """
        op = self._search_op(namespace_prefix, query, filter, limit, offset, refresh_ttl)
        return cast("list[SearchItem]", self.batch([op])[0])

    def put(
        self,
        namespace: tuple[str, ...],
        key: str,
        value: Mapping[str, Any],
        index: Index = None,
        *,
        ttl: float | NotProvided | None = NOT_PROVIDED,
    ) -> None:
        """Write an item, new or in place of the one there is.

        Args:
            namespace: Where it lies.
            key: Its name there.
            value: The document.
            index: Which fields are embedded; None: as the store is configured; False: none.
            ttl: Minutes until it expires; None: never. Left out: the store's default.

        Raises:
            InvalidNamespaceError: The namespace is none.
            NotImplementedError: A `ttl`, and this store has none.
            UnsupportedTypeError: Something in the value cannot be stored.
        """
        self.batch([self._put_op(namespace, key, value, index, ttl)])

    def delete(self, namespace: tuple[str, ...], key: str) -> None:
        """Delete an item; if there is none, nothing happens.

        Raises:
            InvalidNamespaceError: The namespace is none.
        """
        check_labels(namespace)
        self.batch([PutOp(namespace, str(key), None)])

    def list_namespaces(
        self,
        *,
        prefix: NamespacePath | None = None,
        suffix: NamespacePath | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[tuple[str, ...]]:
        """Namespaces that hold items, in order.

        Args:
            prefix: They begin with this path; "*" stands for any one element.
            suffix: They end with this path.
            max_depth: Cut them to so many elements; what is then the same counts once.
            limit: How many at most.
            offset: How many of them to skip.

        Raises:
            InvalidNamespaceError: A path is none.
        """
        op = _listing_op(prefix, suffix, max_depth, limit, offset)
        return cast("list[tuple[str, ...]]", self.batch([op])[0])

    async def aget(
        self, namespace: tuple[str, ...], key: str, *, refresh_ttl: bool | None = None
    ) -> Item | None:
        """Async twin of `get`."""
        found = await self.abatch([self._get_op(namespace, key, refresh_ttl)])
        return cast("Item | None", found[0])

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
        """Async twin of `search`."""
        op = self._search_op(namespace_prefix, query, filter, limit, offset, refresh_ttl)
        return cast("list[SearchItem]", (await self.abatch([op]))[0])

    async def aput(
        self,
        namespace: tuple[str, ...],
        key: str,
        value: Mapping[str, Any],
        index: Index = None,
        *,
        ttl: float | NotProvided | None = NOT_PROVIDED,
    ) -> None:
        """Async twin of `put`."""
        await self.abatch([self._put_op(namespace, key, value, index, ttl)])

    async def adelete(self, namespace: tuple[str, ...], key: str) -> None:
        """Async twin of `delete`."""
        check_labels(namespace)
        await self.abatch([PutOp(namespace, str(key), None)])

    async def alist_namespaces(
        self,
        *,
        prefix: NamespacePath | None = None,
        suffix: NamespacePath | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[tuple[str, ...]]:
        """Async twin of `list_namespaces`."""
        op = _listing_op(prefix, suffix, max_depth, limit, offset)
        return cast("list[tuple[str, ...]]", (await self.abatch([op]))[0])

    # -- arguments, checked

    def _get_op(self, namespace: tuple[str, ...], key: str, refresh_ttl: bool | None) -> GetOp:
        check_labels(namespace)
        return GetOp(namespace, str(key), self._refresh(refresh_ttl))

    def _search_op(
        self,
        namespace_prefix: tuple[str, ...],
        query: str | None,
        wanted: dict[str, Any] | None,
        limit: int,
        offset: int,
        refresh_ttl: bool | None,
    ) -> SearchOp:
        check_labels(namespace_prefix)
        refresh = self._refresh(refresh_ttl)
        return SearchOp(namespace_prefix, wanted, limit, offset, query, refresh)

    def _put_op(
        self,
        namespace: tuple[str, ...],
        key: str,
        value: Mapping[str, Any],
        index: Index,
        ttl: float | NotProvided | None,
    ) -> PutOp:
        check_namespace(namespace)
        if isinstance(ttl, NotProvided):
            ttl = (self.ttl_config or {}).get("default_ttl")
        elif ttl is not None and not self.supports_ttl:
            raise NotImplementedError(
                f"TTL is not supported by {type(self).__name__}: use a store that is a database, "
                "or leave ttl out."
            )
        return PutOp(namespace, str(key), value, index, ttl)

    def _refresh(self, refresh_ttl: bool | None) -> bool:
        if refresh_ttl is not None:
            return refresh_ttl
        return (self.ttl_config or {}).get("refresh_on_read", True)


def _listing_op(
    prefix: NamespacePath | None,
    suffix: NamespacePath | None,
    max_depth: int | None,
    limit: int,
    offset: int,
) -> ListNamespacesOp:
    check_labels(prefix or ())
    check_labels(suffix or ())
    conditions: list[MatchCondition] = []
    if prefix:
        conditions.append(MatchCondition("prefix", prefix))
    if suffix:
        conditions.append(MatchCondition("suffix", suffix))
    return ListNamespacesOp(tuple(conditions), max_depth, limit, offset)

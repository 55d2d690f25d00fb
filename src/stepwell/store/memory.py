"""A store in the memory of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from stepwell._clock import SYSTEM_CLOCK, Clock
from stepwell._codec import Codec
from stepwell.store._embedding import NO_VECTORS, TextIndex, Vectors, best, queries_of, ranked
from stepwell.store._prepare import Document, Prepared, Put, prepare
from stepwell.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    Op,
    Result,
    SearchItem,
    SearchOp,
)
from stepwell.store.base._filters import matches
from stepwell.store.base._names import does_match

Namespace = tuple[str, ...]


class _Stored:
    """One item as it is kept: bytes, so that nobody can change it from outside."""

    __slots__ = ("created_at", "data", "key", "namespace", "tagged", "updated_at", "vectors")

    def __init__(
        self, put: Put, document: Document, created_at: datetime, updated_at: datetime
    ) -> None:
        self.namespace = put.namespace
        self.key = put.key
        self.data, self.tagged, _ = document
        self.created_at = created_at
        self.updated_at = updated_at
        self.vectors: list[Sequence[float]] = []


class InMemoryStore(BaseStore):
    """Keeps items for as long as it lives, for one process. Safe to use from several threads.

    Values are kept encoded, as every other store keeps them: changing one after it was put,
    or one that was read, changes nothing here; what cannot be stored is refused. Items do not
    expire. With `index`, `query` ranks by the cosine of vectors, all of which are compared.

    Args:
        index: How documents are embedded; None: `query` counts for nothing.
        clock: Where `created_at` and `updated_at` come from.

    Raises:
        ValueError: The index has no `embed`.
        UsageError: The index asks for what is not there.
    """

    def __init__(self, *, index: IndexConfig | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__()
        self._index = None if index is None else TextIndex(index)
        self.index_config = None if index is None else index.copy()
        """How documents are embedded, as it was given."""
        self.embeddings = None if self._index is None else self._index.embeddings
        """What embeds them."""
        self._clock = clock
        self._codec = Codec()
        self._lock = threading.Lock()
        self._spaces: dict[Namespace, dict[str, _Stored]] = {}

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        prepared = prepare(ops, self._codec)
        if self._index is None:
            return self._run(prepared, NO_VECTORS)
        texts = self._texts(prepared, self._index)
        return self._run(prepared, self._index.embed(texts, queries_of(prepared)))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        prepared = prepare(ops, self._codec)
        if self._index is None:
            return self._run(prepared, NO_VECTORS)
        texts = self._texts(prepared, self._index)
        return self._run(prepared, await self._index.aembed(texts, queries_of(prepared)))

    @staticmethod
    def _texts(ops: list[Prepared], index: TextIndex) -> dict[str, None]:
        """The texts to embed, each once. They are noted in the documents they are of."""
        texts: dict[str, None] = {}
        for op in ops:
            if isinstance(op, Put) and op.document is not None and op.value is not None:
                op.document.texts.update(index.texts(op.value, op.index))
                texts.update(dict.fromkeys(op.document.texts.values()))
        return texts

    def _run(self, ops: list[Prepared], vectors: Vectors) -> list[Result]:
        with self._lock:
            results: list[Result] = []
            puts: dict[tuple[Namespace, str], Put] = {}
            for op in ops:
                if isinstance(op, GetOp):
                    results.append(self._get(op))
                elif isinstance(op, SearchOp):
                    results.append(self._search(op, vectors))
                elif isinstance(op, ListNamespacesOp):
                    results.append(self._list(op))
                else:
                    puts[op.namespace, op.key] = op
                    results.append(None)
            for put in puts.values():
                self._put(put, vectors)
            return results

    # -- reading

    def _get(self, op: GetOp) -> Item | None:
        stored = self._spaces.get(op.namespace, {}).get(op.key)
        if stored is None:
            return None
        return Item(
            value=self._value(stored),
            key=stored.key,
            namespace=stored.namespace,
            created_at=stored.created_at,
            updated_at=stored.updated_at,
        )

    def _value(self, stored: _Stored) -> dict[str, Any]:
        value: dict[str, Any] = self._codec.decode(stored.data, stored.tagged)
        return value

    def _search(self, op: SearchOp, vectors: Vectors) -> list[SearchItem]:
        query = vectors.of_query.get(op.query) if op.query else None
        end = op.offset + op.limit
        page: list[tuple[_Stored, float | None]]
        if query is None:
            page = []
            for stored in self._found(op):
                if len(page) >= end:
                    break
                page.append((stored, None))
            page = page[op.offset :]
        else:
            scored = ((stored, best(query, stored.vectors)) for stored in self._found(op))
            page = ranked(scored, op.offset, op.limit)
        return [
            SearchItem(
                stored.namespace,
                stored.key,
                self._value(stored),
                stored.created_at,
                stored.updated_at,
                score,
            )
            for stored, score in page
        ]

    def _found(self, op: SearchOp) -> Iterator[_Stored]:
        depth = len(op.namespace_prefix)
        for namespace, items in self._spaces.items():
            if namespace[:depth] == op.namespace_prefix:
                for stored in items.values():
                    if not op.filter or matches(self._value(stored), op.filter):
                        yield stored

    def _list(self, op: ListNamespacesOp) -> list[Namespace]:
        conditions = op.match_conditions or ()
        found = (
            namespace
            for namespace in self._spaces
            if all(does_match(condition, namespace) for condition in conditions)
        )
        cut = found if op.max_depth is None else {namespace[: op.max_depth] for namespace in found}
        return sorted(cut)[op.offset : op.offset + op.limit]

    # -- writing

    def _put(self, put: Put, vectors: Vectors) -> None:
        items = self._spaces.get(put.namespace, {})
        before = items.get(put.key)
        if put.document is None:
            if before is not None:
                del items[put.key]
                if not items:
                    del self._spaces[put.namespace]
            return
        now = datetime.fromtimestamp(self._clock.wall(), UTC)
        if before is None:
            stored = _Stored(put, put.document, now, now)
        else:  # a clock may step back
            updated_at = max(now, before.updated_at)
            stored = _Stored(put, put.document, before.created_at, updated_at)
        stored.vectors = [vectors.of_text[text] for text in put.document.texts.values()]
        self._spaces.setdefault(put.namespace, items)[put.key] = stored


__all__ = ["InMemoryStore"]

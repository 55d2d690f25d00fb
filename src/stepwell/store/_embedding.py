"""Which texts of a document are embedded, and how near two vectors are. Plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import mul
from typing import Any, Final, NamedTuple, TypeVar

from stepwell.errors import UsageError
from stepwell.store.base import IndexConfig, SearchOp, ensure_embeddings
from stepwell.store.base._store import Index
from stepwell.store.base.embed import get_text_at_path, tokenize_path

K = TypeVar("K")

_KNOWN: Final = {"dims", "embed", "fields", "text_fields", "distance_type", "ann_index_config"}


class Vectors(NamedTuple):
    """What one batch needs embedded: texts of documents, and queries. All of length 1."""

    of_text: dict[str, Sequence[float]]
    of_query: dict[str, Sequence[float]]


NO_VECTORS: Final = Vectors({}, {})


class TextIndex:
    """An index configuration, checked and taken apart.

    Args:
        config: LangGraph's form.

    Raises:
        UsageError: It asks for what is not there.
        ValueError: It has no `embed`.
    """

    def __init__(self, config: IndexConfig) -> None:
        given: dict[str, Any] = dict(config)
        if unknown := given.keys() - _KNOWN:
            raise UsageError(f"index= has no use for {', '.join(sorted(unknown))}.")
        if given.get("ann_index_config") or given.get("distance_type", "cosine") != "cosine":
            raise UsageError(
                "Vectors are compared one by one, by their cosine: there is no ann_index_config, "
                "and no other distance_type."
            )
        self.embeddings = ensure_embeddings(given.get("embed"))
        self.dims: int | None = given.get("dims")
        fields = given.get("fields") or given.get("text_fields") or ["$"]
        self._paths = _paths([fields] if isinstance(fields, str) else fields)

    def texts(self, value: Mapping[str, Any], index: Index) -> dict[str, str]:
        """Texts of a document that are embedded, by path; of several below one path, `path.n`."""
        if index is False:
            return {}
        found: dict[str, str] = {}
        for path, steps in self._paths if index is None else _paths(index):
            texts = get_text_at_path(value, steps)
            if len(texts) == 1:
                found[path] = texts[0]
            else:
                found.update((f"{path}.{n}", text) for n, text in enumerate(texts))
        return found

    def embed(self, texts: Collection[str], queries: Collection[str]) -> Vectors:
        """Vectors of all of them.

        Raises:
            ValueError: There are more or fewer vectors than texts.
        """
        documents = self.embeddings.embed_documents(list(texts)) if texts else []
        asked = {query: unit(self.embeddings.embed_query(query)) for query in queries}
        return self._paired(texts, documents, asked)

    async def aembed(self, texts: Collection[str], queries: Collection[str]) -> Vectors:
        """Async twin of `embed`."""
        documents = await self.embeddings.aembed_documents(list(texts)) if texts else []
        asked = {query: unit(await self.embeddings.aembed_query(query)) for query in queries}
        return self._paired(texts, documents, asked)

    @staticmethod
    def _paired(texts: Collection[str], documents: Sequence[Any], asked: dict[str, Any]) -> Vectors:
        if len(documents) != len(texts):
            raise ValueError(
                f"embed gave {len(documents)} vectors for {len(texts)} texts: it must give one "
                "for each."
            )
        return Vectors(dict(zip(texts, map(unit, documents), strict=True)), asked)


def _paths(fields: Iterable[str]) -> list[tuple[str, str | list[str]]]:
    return [(field, "$" if field == "$" else tokenize_path(field)) for field in fields]


def queries_of(ops: Iterable[Any]) -> set[str]:
    """The texts that searches look for."""
    return {op.query for op in ops if isinstance(op, SearchOp) and op.query}


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    product: float = sum(map(mul, one, other))
    return product


dot: Callable[[Sequence[float], Sequence[float]], float] = getattr(math, "sumprod", _dot)
"""The product of two vectors of one length; in C from Python 3.12 on."""


def unit(vector: Sequence[float]) -> list[float]:
    """A vector's direction: itself with length 1; one without length stays as it is."""
    length = math.sqrt(sum(map(mul, vector, vector)))
    return [number / length for number in vector] if length else list(vector)


def best(query: Sequence[float], vectors: Iterable[Sequence[float]]) -> float | None:
    """Cosine to the nearest of several vectors; None if there are none. All have length 1."""
    return max((dot(query, vector) for vector in vectors), default=None)


def ranked(
    scored: Iterable[tuple[K, float | None]], offset: int, limit: int
) -> list[tuple[K, float | None]]:
    """One page of what was found: the nearest first, then, in their order, those without score."""
    # Sorting is stable, so equal scores stay in the order in which they came.
    order = sorted(scored, key=lambda pair: -math.inf if pair[1] is None else pair[1], reverse=True)
    return order[offset : offset + limit]

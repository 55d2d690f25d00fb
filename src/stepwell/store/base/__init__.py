"""Stores: the interface, and the values that go in and come out.

Names, signatures and meaning are those of `langgraph.store.base`.
"""

from __future__ import annotations

from stepwell.store.base._items import Item, SearchItem
from stepwell.store.base._names import InvalidNamespaceError, validate_op_namespace
from stepwell.store.base._ops import (
    NOT_PROVIDED,
    GetOp,
    IndexConfig,
    ListNamespacesOp,
    MatchCondition,
    NamespaceMatchType,
    NamespacePath,
    NotProvided,
    Op,
    PutOp,
    Result,
    SearchOp,
    TTLConfig,
)
from stepwell.store.base._store import BaseStore
from stepwell.store.base.embed import (
    AEmbeddingsFunc,
    Embeddings,
    EmbeddingsFunc,
    ensure_embeddings,
    get_text_at_path,
    tokenize_path,
)

__all__ = [
    "NOT_PROVIDED", "AEmbeddingsFunc", "BaseStore", "Embeddings", "EmbeddingsFunc", "GetOp",
    "IndexConfig", "InvalidNamespaceError", "Item", "ListNamespacesOp", "MatchCondition",
    "NamespaceMatchType", "NamespacePath", "NotProvided", "Op", "PutOp", "Result", "SearchItem",
    "SearchOp", "TTLConfig", "ensure_embeddings", "get_text_at_path", "tokenize_path",
    "validate_op_namespace",
]  # fmt: skip

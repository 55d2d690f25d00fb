"""Operations, checked and encoded, before a store does any of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from stepwell._codec import Codec
from stepwell.store.base import GetOp, ListNamespacesOp, Op, PutOp, SearchOp, validate_op_namespace
from stepwell.store.base._filters import check_filter
from stepwell.store.base._store import Index


class Document(NamedTuple):
    """A value on its way into a store: its bytes, and what is embedded of it."""

    data: bytes
    tagged: bool
    texts: dict[str, str]


class Put(NamedTuple):
    """A write, encoded. `document` None: a deletion. `ttl` in minutes."""

    namespace: tuple[str, ...]
    key: str
    value: Mapping[str, Any] | None
    document: Document | None
    index: Index  # type: ignore[assignment]  # tuple.index
    ttl: float | None


Prepared = GetOp | SearchOp | ListNamespacesOp | Put


def prepare(ops: Iterable[Op], codec: Codec) -> list[Prepared]:
    """Check operations, and encode what is to be written.

    Raises:
        InvalidNamespaceError: One names a namespace that there cannot be.
        ValueError: One is none, or asks for what cannot be.
        TypeError: A value is no mapping.
        UnsupportedTypeError: Something in a value cannot be stored.
    """
    return [_prepared(op, codec) for op in ops]


def _prepared(op: Op, codec: Codec) -> Prepared:
    if not isinstance(op, GetOp | SearchOp | ListNamespacesOp | PutOp):
        raise ValueError(f"Unknown operation type: {type(op)}")  # noqa: TRY004  # LangGraph's
    validate_op_namespace(op)
    if isinstance(op, PutOp):
        return _put(op, codec)
    if isinstance(op, GetOp):
        return op._replace(namespace=tuple(op.namespace), key=str(op.key))
    _check_bounds(op.limit, op.offset)
    if isinstance(op, SearchOp):
        check_filter(op.filter)
        return op._replace(namespace_prefix=tuple(op.namespace_prefix))
    for condition in op.match_conditions or ():
        if condition.match_type not in ("prefix", "suffix"):
            raise ValueError(
                f"Unsupported match type: {condition.match_type!r}; there are 'prefix' and "
                "'suffix'."
            )
    return op


def _check_bounds(limit: Any, offset: Any) -> None:
    for name, value in (("limit", limit), ("offset", offset)):
        if not isinstance(value, int) or value < 0:
            raise ValueError(f"{name} must be a whole number of at least 0, not {value!r}.")


def _put(op: PutOp, codec: Codec) -> Put:
    document = None
    if op.value is not None:
        if not isinstance(op.value, Mapping):
            raise TypeError(
                f"The value of {op.key!r} must be a dict or another mapping, not "
                f"{type(op.value).__name__}; wrap it: {{'value': ...}}."
            )
        if op.ttl is not None and not op.ttl >= 0:
            raise ValueError(f"ttl must be minutes, at least 0, not {op.ttl!r}.")
        encoded = codec.encode(dict(op.value))
        document = Document(encoded.data, encoded.tagged, {})
    return Put(tuple(op.namespace), str(op.key), op.value, document, op.index, op.ttl)

"""Items as rows: names as bytes, and rows as what the user gets. Shared by the databases."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, Protocol

from stepwell._codec import Codec
from stepwell._ids import digest16
from stepwell.store._embedding import Vectors, best, dot
from stepwell.store._prepare import Put
from stepwell.store.base import GetOp, Item, ListNamespacesOp, SearchItem, SearchOp
from stepwell.store.base._filters import is_operators, matches
from stepwell.store.base._names import does_match

Namespace = tuple[str, ...]
Migrate = Literal["auto", "check", "off"]

BEHIND_ALL: Final = b"\xff"
"""Sorts behind every namespace: no UTF-8 begins with it."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT_MAX: Final = 2**53
"""Up to here, databases and Python agree on what a number is."""
_SLACK: Final = 1e-12
"""A database may read the last digit of a number differently; Python has the last word."""


class Row(NamedTuple):
    """An item as a database gives it. Times are unix microseconds, or datetimes."""

    key: Any
    namespace: bytes
    name: bytes
    created_at: Any
    updated_at: Any
    mortal: bool
    tagged: bool
    body: bytes


class Upsert(NamedTuple):
    """An item to be written. `vectors`: all of them, one after the other."""

    key: bytes
    namespace: bytes
    name: bytes
    ttl_s: float | None
    tagged: bool
    body: bytes
    dims: int | None
    vectors: bytes | None


class Batch(NamedTuple):
    """What one batch reads, with the places of the results; and what it writes, each key once."""

    reads: list[tuple[int, GetOp | SearchOp | ListNamespacesOp]]
    upserts: list[Upsert]
    deletions: list[bytes]
    results: int
    vectors: Vectors


class Items(Protocol):
    """The tables of a store in one open database."""

    async def migrate(self, mode: Migrate) -> None:
        """Create or upgrade the tables."""

    async def run(self, batch: Batch) -> list[Any]:
        """Do a batch: first what reads, then, in one transaction, what writes."""

    async def sweep(self) -> int:
        """Delete what has expired; how many items that were."""


# -- names


def text_bytes(text: str) -> bytes:
    """A text as it is kept: UTF-8, in which lone surrogates pass."""
    return text.encode("utf-8", "surrogatepass")


def namespace_bytes(namespace: Sequence[str]) -> bytes:
    """A namespace as it is kept. Elements hold no NUL, so the order is theirs."""
    return b"\0".join(map(text_bytes, namespace))


def namespace_of(raw: bytes) -> Namespace:
    """Inverse of `namespace_bytes`."""
    return tuple(part.decode("utf-8", "surrogatepass") for part in raw.split(b"\0"))


def key_of(namespace: Sequence[str], name: str) -> bytes:
    """16 bytes that stand for an item."""
    return digest16(namespace_bytes(namespace), name)


def bounds(prefix: Sequence[str]) -> tuple[bytes, bytes]:
    """First namespace at or below a prefix, and the one behind the last: ("a",) is not ("ab",)."""
    if not prefix:
        return b"", BEHIND_ALL
    raw = namespace_bytes(prefix)
    return raw, raw + b"\x01"


# -- what goes in


def upsert_of(put: Put, vectors: Vectors, dims: int | None) -> Upsert:
    """The row of a write.

    Raises:
        ValueError: A vector has another length than the index says.
    """
    document = put.document
    if document is None:
        raise ValueError(f"{put.key!r} is to be deleted, not written.")
    packed = array("f")
    for text in document.texts.values():
        vector = vectors.of_text[text]
        if dims is not None and len(vector) != dims:
            raise ValueError(f"embed gave a vector of {len(vector)} numbers; dims is {dims}.")
        packed.extend(vector)
    count = len(packed) // max(len(document.texts), 1) or None
    if sys.byteorder == "big":
        packed.byteswap()
    return Upsert(
        key_of(put.namespace, put.key),
        namespace_bytes(put.namespace),
        text_bytes(put.key),
        None if put.ttl is None else put.ttl * 60.0,
        document.tagged,
        document.data,
        count,
        packed.tobytes() if count else None,
    )


# -- what comes out


def moment(raw: Any) -> datetime:
    """A time as the user gets it."""
    return raw if isinstance(raw, datetime) else _EPOCH + timedelta(microseconds=raw)


def item_of(row: Row, codec: Codec) -> Item:
    """The item of a row."""
    return Item(
        value=codec.decode(row.body, bool(row.tagged)),
        key=row.name.decode("utf-8", "surrogatepass"),
        namespace=namespace_of(row.namespace),
        created_at=moment(row.created_at),
        updated_at=moment(row.updated_at),
    )


def found_item(row: Row, value: Any, score: float | None = None) -> SearchItem:
    """The item of a row that a search found."""
    return SearchItem(
        namespace_of(row.namespace),
        row.name.decode("utf-8", "surrogatepass"),
        value,
        moment(row.created_at),
        moment(row.updated_at),
        score,
    )


class Collector:
    """Takes the rows of a search in their order, until its page is full."""

    def __init__(self, op: SearchOp, codec: Codec) -> None:
        self._op = op
        self._codec = codec
        self._skip = op.offset
        self.items: list[SearchItem] = []
        self.mortal: list[Any] = []
        """Keys of those found that have a time to live."""

    @property
    def full(self) -> bool:
        """Whether no more rows are wanted."""
        return len(self.items) >= self._op.limit

    def value(self, row: Row) -> Any:
        """The document of a row."""
        return self._codec.decode(row.body, bool(row.tagged))

    def wanted(self, row: Row) -> bool:
        """Whether a row is what the filter asks for."""
        return matches(self.value(row), self._op.filter)

    def take(self, row: Row) -> None:
        """Keep a row, if it is what the filter asks for and on the page."""
        if self.full:
            return
        value = self.value(row)
        if not matches(value, self._op.filter):
            return
        if self._skip > 0:
            self._skip -= 1
            return
        self._keep(row, value, None)

    def keep(self, row: Row, score: float | None = None) -> None:
        """Keep a row that is known to be on the page."""
        self._keep(row, self.value(row), score)

    def _keep(self, row: Row, value: Any, score: float | None) -> None:
        self.items.append(found_item(row, value, score))
        if row.mortal:
            self.mortal.append(row.key)


def score_of(query: Sequence[float], dims: int | None, raw: bytes | None) -> float | None:
    """Similarity of the nearest of an item's vectors; None if it has none of this length."""
    if not raw or dims != len(query):
        return None
    packed = array("f")
    packed.frombytes(raw)
    if sys.byteorder == "big":
        packed.byteswap()
    numbers = packed.tolist()
    if len(numbers) == dims:
        return dot(query, numbers)
    return best(query, (numbers[at : at + dims] for at in range(0, len(numbers), dims)))


class Listing:
    """Takes namespaces in their order, until the page of a listing is full."""

    def __init__(self, op: ListNamespacesOp) -> None:
        self._op = op
        self._conditions = op.match_conditions or ()
        self._last: Namespace | None = None
        self._skip = op.offset
        self.found: list[Namespace] = []

    @property
    def full(self) -> bool:
        """Whether no more namespaces are wanted."""
        return len(self.found) >= self._op.limit

    @property
    def bounds(self) -> tuple[bytes, bytes]:
        """What can be left out without a look: all that is outside of a prefix."""
        for condition in self._conditions:
            if condition.match_type == "prefix" and "*" not in condition.path:
                return bounds(condition.path)
        return bounds(())

    def take(self, raw: bytes) -> None:
        """Keep a namespace, if it is what is asked for and on the page."""
        namespace = namespace_of(raw)
        if self.full or not all(does_match(one, namespace) for one in self._conditions):
            return
        cut = namespace if self._op.max_depth is None else namespace[: self._op.max_depth]
        if cut == self._last:  # they come in order, so equal ones come together
            return
        self._last = cut
        if self._skip > 0:
            self._skip -= 1
        else:
            self.found.append(cut)


# -- what a database can judge of a filter


class Condition(NamedTuple):
    """Something a database may check by itself. `kind`: text number none above below."""

    kind: str
    key: str
    value: Any


def conditions(op: SearchOp) -> Iterator[Condition]:
    """Conditions that follow from a filter. They are weaker: rows are looked at once more."""
    for key, wanted in (op.filter or {}).items():
        if not _is_plain_name(key):
            continue
        if not is_operators(wanted):
            yield from _equal(key, wanted)
            continue
        for name, operand in wanted.items():
            if name == "$eq":
                yield from _equal(key, operand)
            elif name in ("$gt", "$gte") and _is_exact(operand):
                yield Condition("above", key, operand)
            elif name in ("$lt", "$lte") and _is_exact(operand):
                yield Condition("below", key, operand)


def _equal(key: str, value: Any) -> Iterator[Condition]:
    if value is None:
        yield Condition("none", key, None)
    elif type(value) is str and _is_text(value):
        yield Condition("text", key, value)
    elif type(value) is bool or _is_exact(value):
        yield Condition("number", key, int(value) if type(value) is bool else value)


def _is_exact(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= _EXACT_MAX


def _is_text(value: str) -> bool:
    return "\0" not in value and value.encode("utf-8", "replace").decode() == value


def _is_plain_name(key: Any) -> bool:
    return (
        type(key) is str
        and key.isprintable()
        and not any(sign in key for sign in '"\\')
        and _is_text(key)
    )


def slack(value: float) -> float:
    """By how much a database may err about a number."""
    return abs(value) * _SLACK


def in_order(keys: Iterable[Any], rows: Iterable[Row]) -> list[Row]:
    """Rows in the order of their keys; keys without a row are left out."""
    by_key = {row.key: row for row in rows}
    return [by_key[key] for key in keys if key in by_key]

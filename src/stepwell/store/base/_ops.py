"""What a store can be asked to do, as values; and how it is configured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

from stepwell.store.base._items import Item, SearchItem
from stepwell.store.base.embed import AEmbeddingsFunc, Embeddings, EmbeddingsFunc

if TYPE_CHECKING:
    from typing import TypeAlias


class NotProvided:
    """Type of `NOT_PROVIDED`: an argument that was left out, where None means something."""

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_PROVIDED = NotProvided()

NamespacePath = tuple[str | Literal["*"], ...]  # noqa: PYI051  # said to readers
"""A namespace in which "*" stands for any one element."""

NamespaceMatchType = Literal["prefix", "suffix"]
"""Which end of a namespace a path is laid against."""


class GetOp(NamedTuple):
    """Read one item. `refresh_ttl`: let its time to live begin anew, if it has one."""

    namespace: tuple[str, ...]
    key: str
    refresh_ttl: bool = True


class SearchOp(NamedTuple):
    """Find items at or below a namespace.

    `filter` maps keys of the document to values, or to operators ($eq, $ne, $gt, $gte, $lt,
    $lte); all must hold. `query` ranks by meaning, in a store that has an index.
    """

    namespace_prefix: tuple[str, ...]
    filter: dict[str, Any] | None = None
    limit: int = 10
    offset: int = 0
    query: str | None = None
    refresh_ttl: bool = True


class MatchCondition(NamedTuple):
    """A namespace must begin ("prefix") or end ("suffix") with this path."""

    match_type: NamespaceMatchType
    path: NamespacePath


class ListNamespacesOp(NamedTuple):
    """List namespaces that hold items, in order, cut to `max_depth` elements."""

    match_conditions: tuple[MatchCondition, ...] | None = None
    max_depth: int | None = None
    limit: int = 100
    offset: int = 0


class PutOp(NamedTuple):
    """Write one item, or delete it (`value` None).

    `index`: which fields are embedded; None: the store's; False: none. `ttl`: minutes.
    """

    namespace: tuple[str, ...]
    key: str
    value: Mapping[str, Any] | None
    index: Literal[False] | list[str] | None = None  # type: ignore[assignment]  # tuple.index
    ttl: float | None = None


Op = GetOp | SearchOp | PutOp | ListNamespacesOp
if TYPE_CHECKING:
    Result: TypeAlias = Item | list[Item] | list[SearchItem] | list[tuple[str, ...]] | None
else:
    Result = Item | list[Item] | list[SearchItem] | list[tuple[str, ...]] | None
"""What an operation gives: an item or None, items, namespaces; None for a write."""


class TTLConfig(TypedDict, total=False):
    """How items expire. All times are minutes."""

    refresh_on_read: bool
    """Whether reading an item lets its time begin anew, unless the call says; default True."""
    omit_expired: bool
    """Whether items that are over, but not swept yet, are left out; default False."""
    default_ttl: float | None
    """For items put without `ttl`; default None: they stay."""
    sweep_interval_minutes: int | None
    """How often the sweeper looks, once it was started; default 5."""


class IndexConfig(TypedDict, total=False):
    """How documents are embedded, so that `query` finds them by meaning."""

    dims: int
    """Length of a vector."""
    embed: Embeddings | EmbeddingsFunc | AEmbeddingsFunc | str
    """Makes vectors of texts: an object with `embed_documents` and `embed_query`, or a
    function of a list of texts, which may be async."""
    fields: list[str] | None
    """Which parts of a document: paths such as "text", "meta.title", "notes[*].body"; default
    ["$"], the whole of it."""

"""What a cache has to be. Names and signatures are LangGraph's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from stepwell._codec import Codec

ValueT = TypeVar("ValueT")
Namespace = tuple[str, ...]
FullKey = tuple[Namespace, str]


class Serializer(Protocol):
    """Turns values into bytes of a named encoding, and back."""

    def dumps_typed(self, obj: Any, /) -> tuple[str, bytes]:
        """The name of the encoding, and the bytes."""

    def loads_typed(self, data: tuple[str, bytes], /) -> Any:
        """The value."""


class CodecSerializer:
    """Stepwell's codec: JSON with types, classes by allow-list, never pickle.

    Bytes are kept as they are: so the engine, which encodes with the codec of its graph, has
    its records stored once.
    """

    __slots__ = ("_codec",)

    def __init__(self) -> None:
        self._codec = Codec()

    def dumps_typed(self, obj: Any, /) -> tuple[str, bytes]:
        """The encoding of a value.

        Raises:
            UnsupportedTypeError: It cannot be stored faithfully.
        """
        if type(obj) is bytes:
            return "bytes", obj
        encoded = self._codec.encode(obj)
        return ("tagged" if encoded.tagged else "json"), encoded.data

    def loads_typed(self, data: tuple[str, bytes], /) -> Any:
        """The value that was encoded.

        Raises:
            CorruptRecordError: The bytes are not what `dumps_typed` made.
        """
        encoding, raw = data
        return raw if encoding == "bytes" else self._codec.decode(raw, encoding == "tagged")


class BaseCache(ABC, Generic[ValueT]):
    """Values by namespace and key, each for a limited time or for ever.

    Args:
        serde: How values become bytes; Stepwell's codec by default.
    """

    serde: Serializer = CodecSerializer()

    def __init__(self, *, serde: Serializer | None = None) -> None:
        self.serde = serde or self.serde

    @abstractmethod
    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """The values of those keys that are there and not over."""

    @abstractmethod
    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, ValueT]:
        """Async twin of `get`."""

    @abstractmethod
    def set(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Keep values, each for so many seconds (None: for ever), in place of older ones."""

    @abstractmethod
    async def aset(self, pairs: Mapping[FullKey, tuple[ValueT, int | None]]) -> None:
        """Async twin of `set`."""

    @abstractmethod
    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forget everything in the namespaces; None: in all of them."""

    @abstractmethod
    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Async twin of `clear`."""


__all__ = ["BaseCache", "CodecSerializer", "FullKey", "Namespace", "Serializer", "ValueT"]

"""What a cache has to be. Names and signatures are LangGraph's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from stepwell._codec import Codec
from stepwell._ids import RANDOM_IDS
from stepwell.errors import CodecError, UsageError

if TYPE_CHECKING:
    from stepwell._codec.crypt import Keyring

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


SEALED: Final = "sealed:"
"""How the encoding of an encrypted entry begins; the name of its key follows."""


class SealedEntries:
    """Encrypts the entries of a cache, and what they are found by.

    An entry is bound to its place. One that does not open (under another key, changed, moved, or
    in clear) counts as not there: it is computed anew.

    Args:
        keyring: What is encrypted with.

    Raises:
        UsageError: It is no keyring.
    """

    __slots__ = ("_ring",)

    def __init__(self, keyring: Keyring) -> None:
        if not hasattr(keyring, "digest"):
            raise UsageError(f"keyring must be a Keyring, not {type(keyring).__name__}.")
        self._ring = keyring

    def names(self, namespace: str, key: str) -> list[str]:
        """What a key may be stored as, first what it is stored as now: nobody without the ring
        can tell which input an entry is of."""
        ring = self._ring
        return [ring.digest(key_id, ("", namespace), key) for key_id in ring.key_ids]

    def seal(self, namespace: str, name: str, encoding: str, raw: bytes) -> tuple[str, bytes]:
        """Encoding and bytes of an entry as they are stored under its name."""
        ring = self._ring
        plain = encoding.encode() + b"\0" + raw
        nonce = RANDOM_IDS.uid()[:12]
        return SEALED + ring.current, ring.seal(("", namespace), ("cache", name), plain, nonce)

    def open(
        self, namespace: str, name: str, encoding: str, raw: bytes
    ) -> tuple[str, bytes] | None:
        """Encoding and bytes that `seal` was given; None: it does not open."""
        if not encoding.startswith(SEALED):
            return None
        key_id = encoding.removeprefix(SEALED)
        try:
            plain = self._ring.open(key_id, ("", namespace), ("cache", name), raw)
        except CodecError:
            return None
        kind, _, data = plain.partition(b"\0")
        return kind.decode(), data


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

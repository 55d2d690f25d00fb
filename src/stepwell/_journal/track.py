"""What an encoder remembers of a channel's stored value, beside the value itself."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import orjson

Stored: TypeAlias = bytes | Callable[[], bytes]
"""An encoding, or what makes it."""
SPLICE_BYTES_MIN: Final = 256
"""Values with a shorter encoding are recorded anew as a whole."""
_COPY_BYTES_MAX: Final = 1 << 14
"""From here on a view of bytes is cheaper than a copy."""
REPAIR_BYTES_MAX: Final = 256 << 10
"""Channels with a larger encoding are looked at for changes in place only in strict mode."""
_CHUNK: Final = 256
"""Items of a list that are encoded at once where all of it may be too much."""
TRACKED: Final = b'[{"'
"""First bytes of the encodings that have a `Track`: the others are never changed in place."""


class Track:
    """What is known of the stored encoding of one channel: enough to find the next delta
    and to notice that somebody changed the value in place."""

    __slots__ = ("crc", "data", "size")

    def __init__(self, data: bytes) -> None:
        self.reset(data)

    def reset(self, data: bytes) -> None:
        inner = _inner(data)
        self.crc = zlib.crc32(inner)
        self.size = len(inner)
        self.data: bytes | None = data if len(data) >= SPLICE_BYTES_MIN else None

    def whole(self) -> bytes | None:
        """The encoding, where it is at hand and long enough for a splice."""
        return self.data

    def extend(self, items: bytes) -> None:
        """Items (the encoding of a list) were appended to the list tracked here."""
        inner = _inner(items)
        if not inner:
            return
        if self.size:
            self.crc = zlib.crc32(inner, zlib.crc32(b",", self.crc))
            self.size += len(inner) + 1
        else:
            self.crc, self.size = zlib.crc32(inner), len(inner)
        self.data = None

    def matches(self, data: bytes) -> bool:
        """Whether `data` is the encoding tracked here."""
        inner = _inner(data)
        return len(inner) == self.size and zlib.crc32(inner) == self.crc


class LateTrack(Track):
    """The same of a long list, whose encoding is only made if somebody asks for it: as a rule
    such a list is appended to, and not looked at for changes in place.

    `source` makes the encoding as it was at first, whatever became of the value since. `size` is
    less than it is, but more than `REPAIR_BYTES_MAX`.
    """

    __slots__ = ("_more", "_more_size", "_source")

    def __init__(self, source: Callable[[], bytes]) -> None:
        self._source: Callable[[], bytes] | None = source
        self._more: list[bytes] = []
        self._more_size = 0
        self.crc, self.size, self.data = 0, REPAIR_BYTES_MAX + 1, None

    def reset(self, data: bytes) -> None:
        self._source = None
        self._more.clear()
        super().reset(data)

    def whole(self) -> bytes | None:
        self._settle()
        return self.data

    def extend(self, items: bytes) -> None:
        if self._source is None:
            super().extend(items)
            return
        self._more.append(items)
        self._more_size += len(items)
        if self._more_size > REPAIR_BYTES_MAX:
            self._settle()  # what is kept for later must not grow with the run

    def matches(self, data: bytes) -> bool:
        self._settle()
        return super().matches(data)

    def _settle(self) -> None:
        source, more = self._source, self._more
        if source is not None:
            self._more = []
            self.reset(source())
            for items in more:
                super().extend(items)


def tracks_of(stored: Mapping[str, Stored]) -> dict[str, Track]:
    """A `Track` for each channel of a state that was loaded."""
    return {k: Track(v) if isinstance(v, bytes) else LateTrack(v) for k, v in stored.items()}


def encoding(value: Any) -> bytes | None:
    """The encoding of a parsed value; None: it is a list whose encoding is longer than
    `REPAIR_BYTES_MAX`, and making it was given up."""
    if type(value) is not list or len(value) <= _CHUNK:
        return orjson.dumps(value)
    pieces: list[bytes] = []
    size = 0
    for start in range(0, len(value), _CHUNK):
        piece = orjson.dumps(value[start : start + _CHUNK])[1:-1]
        size += len(piece) + 1
        if size > REPAIR_BYTES_MAX:
            return None
        pieces.append(piece)
    return b"[" + b",".join(pieces) + b"]"


def _inner(data: bytes) -> bytes | memoryview:
    """Lists are tracked without their brackets, so that appending extends the checksum."""
    if data[:1] != b"[":
        return data
    return data[1:-1] if len(data) < _COPY_BYTES_MAX else memoryview(data)[1:-1]


__all__ = [
    "REPAIR_BYTES_MAX", "SPLICE_BYTES_MIN", "TRACKED", "LateTrack", "Stored", "Track", "encoding",
    "tracks_of",
]  # fmt: skip

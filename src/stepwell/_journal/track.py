"""What an encoder remembers of a channel's stored value, beside the value itself."""

from __future__ import annotations

import zlib
from typing import Final

SPLICE_BYTES_MIN: Final = 256
"""Values with a shorter encoding are recorded anew as a whole."""
_COPY_BYTES_MAX: Final = 1 << 14
"""From here on a view of bytes is cheaper than a copy."""
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


def _inner(data: bytes) -> bytes | memoryview:
    """Lists are tracked without their brackets, so that appending extends the checksum."""
    if data[:1] != b"[":
        return data
    return data[1:-1] if len(data) < _COPY_BYTES_MAX else memoryview(data)[1:-1]


__all__ = ["SPLICE_BYTES_MIN", "TRACKED", "Track"]

"""The difference between two encodings of one value, as bytes.

Where a user wrote a whole value again, most of its encoding is often unchanged: a list grew,
one entry of a dict changed. A splice says: keep so many bytes of the old encoding at its
start and at its end, and put these bytes between them. The checksum is that of the result,
so a splice applied to the wrong bytes is noticed.
"""

from __future__ import annotations

from typing import TypeAlias
from zlib import crc32

from stepwell.errors import CorruptRecordError

Splice: TypeAlias = tuple[int, int, bytes, int]
"""(bytes kept at the start, bytes kept at the end, bytes between them, crc32 of the result)."""

_NEW_BYTES_MIN = 256
"""Below this a splice saves less than it costs."""
_WINDOW = 256


def crc(data: bytes) -> int:
    """CRC-32 (zlib's), 0 <= crc < 2**32."""
    return crc32(data)


def make_splice(old: bytes, new: bytes) -> Splice | None:
    """The splice that turns `old` into `new`; None if it is not worth it.

    It is not when `new` is shorter than 256 bytes, or more than half of it would have to be
    repeated. The cut never falls inside a UTF-8 character of `new`, so if `new` is valid
    UTF-8, the middle is too. Cost: a few memory comparisons over both, no loop over bytes.
    """
    if len(new) < _NEW_BYTES_MIN:
        return None
    shorter = min(len(old), len(new))
    prefix = _common_prefix(old, new, shorter)
    while 0 < prefix < len(new) and new[prefix] & 0xC0 == 0x80:
        prefix -= 1
    suffix = _common_suffix(old, new, shorter - prefix)
    while suffix and new[len(new) - suffix] & 0xC0 == 0x80:
        suffix -= 1
    if (len(new) - prefix - suffix) * 2 > len(new):
        return None
    return prefix, suffix, new[prefix : len(new) - suffix], crc32(new)


def apply_splice(old: bytes, splice: Splice) -> bytes:
    """The bytes that a splice makes of `old`.

    Raises:
        CorruptRecordError: `old` is not what the splice was made for.
    """
    prefix, suffix, middle, checksum = splice
    if prefix < 0 or suffix < 0 or prefix + suffix > len(old):
        raise CorruptRecordError(
            f"A splice keeps {prefix} + {suffix} bytes of {len(old)}: it belongs to another value."
        )
    new = b"".join((old[:prefix], middle, old[len(old) - suffix :]))
    if crc32(new) != checksum:
        raise CorruptRecordError("A splice does not give the bytes it was made from.")
    return new


def _common_prefix(old: bytes, new: bytes, limit: int) -> int:
    """Length of the common start, at most `limit`.

    Windows that double as long as they agree, then bisection of the one that does not: each
    comparison is one memcmp, and what is copied stays within twice the length found.
    """
    start = end = 0
    window = _WINDOW
    while start < limit:
        end = min(start + window, limit)
        if not old.startswith(new[start:end], start):
            break
        start = end
        window *= 2
    else:
        return limit
    while start < end:
        middle = (start + end + 1) // 2
        if old.startswith(new[start:middle], start):
            start = middle
        else:
            end = middle - 1
    return start


def _common_suffix(old: bytes, new: bytes, limit: int) -> int:
    """Length of the common end, at most `limit`; found as `_common_prefix` is."""
    kept = far = 0
    window = _WINDOW
    size, old_size = len(new), len(old)
    while kept < limit:
        far = min(kept + window, limit)
        if not old.endswith(new[size - far : size - kept], 0, old_size - kept):
            break
        kept = far
        window *= 2
    else:
        return limit
    while kept < far:
        middle = (kept + far + 1) // 2
        if old.endswith(new[size - middle : size - kept], 0, old_size - kept):
            kept = middle
        else:
            far = middle - 1
    return kept

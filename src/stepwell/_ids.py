"""Randomness, in one place: nothing else in the package draws it.

Also the names that are derived, not drawn: task ids and checkpoint ids.
"""

from __future__ import annotations

import random
import uuid
from functools import lru_cache
from typing import Protocol

try:
    from _blake2 import blake2b  # what `hashlib` gives, which would load all of OpenSSL
except ImportError:
    from hashlib import blake2b


class Ids(Protocol):
    """A source of random names. Simulations inject a seeded one."""

    def worker(self) -> bytes:
        """16 random bytes: identity of a journal in a process."""

    def uid(self) -> bytes:
        """16 random bytes: identity of one incarnation of a thread."""

    def start_no(self) -> int:
        """Where epoch and layout_no of a new thread start: in [2**32, 2**52)."""

    def lock_key(self) -> int:
        """A fresh advisory key: in [1, 2**62)."""

    def run_id(self) -> str:
        """A name for a run whose config gives none."""

    def message_id(self) -> str:
        """A name for a message that came without one."""

    def uniform(self, low: float, high: float) -> float:
        """For jitter."""


class RandomIds:
    """Random names from the operating system (or from `seed`, for tests)."""

    def __init__(self, seed: int | None = None) -> None:
        self._random: random.Random = (
            random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311
        )

    def worker(self) -> bytes:
        return self._random.randbytes(16)

    def uid(self) -> bytes:
        return self._random.randbytes(16)

    def start_no(self) -> int:
        return self._random.getrandbits(52) | 1 << 32

    def lock_key(self) -> int:
        return self._random.randrange(1, 1 << 62)

    def run_id(self) -> str:
        return _uuid4(self._random.randbytes(16))

    def message_id(self) -> str:
        return _uuid4(self._random.randbytes(16))

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


def _uuid4(raw: bytes) -> str:
    """`str(uuid.UUID(bytes=raw, version=4))`, without the object."""
    text = raw.hex()
    variant = "89ab"[raw[8] >> 4 & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


RANDOM_IDS: Ids = RandomIds()

_SEQ_BITS = 30
_TAG_BITS = 32


def checkpoint_id(uid: bytes, ns: str, seq: int, record_no: int) -> str:
    """Name of a checkpoint: a UUID (version 8) that sorts by creation within its thread.

    Layout, most significant first: 60 bits of record_no (around the version nibble), then in
    the last 62 bits seq (30) and a tag keyed by the thread's uid (32). So it parses back to
    (record_no, seq) without a look-up, and an id of another thread does not pass for one of
    this thread.
    """
    if seq >> _SEQ_BITS:
        msg = f"seq {seq} does not fit a checkpoint id"
        raise OverflowError(msg)
    tag = int.from_bytes(
        blake2b(
            b"%d|%d|%s" % (record_no, seq, ns.encode("utf-8", "surrogatepass")),
            digest_size=4,
            key=uid,
        ).digest()
    )
    high = ((record_no >> 12) << 16) | 0x8000 | (record_no & 0xFFF)
    low = (0b10 << 62) | (seq << _TAG_BITS) | tag
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_checkpoint_id(text: str) -> tuple[int, int] | None:
    """(record_no, seq) of an id made by `checkpoint_id`; None if it is not one."""
    try:
        number = uuid.UUID(text).int
    except (ValueError, AttributeError, TypeError):
        return None
    high, low = number >> 64, number & ((1 << 64) - 1)
    if (high >> 12) & 0xF != 8 or low >> 62 != 0b10:
        return None
    record_no = ((high >> 16) << 12) | (high & 0xFFF)
    return record_no, (low >> _TAG_BITS) & ((1 << _SEQ_BITS) - 1)


def uuid_text(raw: bytes) -> str:
    """`str(uuid.UUID(bytes=raw))`, without the object."""
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def framed(part: str | bytes) -> bytes:
    """A part of a name that is digested, with its length in front."""
    raw = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
    return b"%d:%b" % (len(raw), raw)


framed_name = lru_cache(maxsize=4096)(framed)
"""The same for names that come again and again."""


def digest_framed(parts: bytes) -> bytes:
    """`digest16` of parts that are framed, one behind the other."""
    return blake2b(parts, digest_size=16).digest()


def digest16(*parts: str | bytes) -> bytes:
    """16 bytes that name `parts` (each length-prefixed, so no two lists collide)."""
    return digest_framed(b"".join([framed(part) for part in parts]))

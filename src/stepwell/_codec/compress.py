"""Bodies made smaller, and back. The form of a body is a small number beside it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from stepwell.errors import CorruptRecordError, UsageError

Compression: TypeAlias = Literal["none", "zlib", "zstd"]

FORMAT_JSON: Final = 1
FORMAT_ZLIB: Final = 2
FORMAT_ZSTD: Final = 3

COMPRESS_BYTES_MIN: Final = 2048
"""Smaller bodies are left as they are: they would cost more than they give."""
EXPANDED_BYTES_MAX: Final = 1 << 30
"""What a body may be made of at most: a few hostile bytes must not fill the memory."""

Pack: TypeAlias = Callable[[bytes], tuple[int, bytes]]
"""A body -> (its form, what is stored)."""


def packer(kind: Compression) -> Pack:
    """How bodies are stored under one kind of compression.

    Raises:
        UsageError: "zstd" needs a package that is not installed.
    """
    if kind == "none":
        return lambda data: (FORMAT_JSON, data)
    form = FORMAT_ZLIB if kind == "zlib" else FORMAT_ZSTD
    compress: Callable[[bytes], bytes] = _deflate if kind == "zlib" else _zstd()[0]

    def pack(data: bytes) -> tuple[int, bytes]:
        if len(data) < COMPRESS_BYTES_MIN:
            return FORMAT_JSON, data
        packed = compress(data)
        # Not worth the time of every reader, if it gave less than a tenth.
        return (form, packed) if len(packed) * 10 < len(data) * 9 else (FORMAT_JSON, data)

    return pack


def _deflate(data: bytes) -> bytes:
    return zlib.compress(data, 1)


def expand(form: int, data: bytes) -> bytes:
    """What `pack` was given.

    Raises:
        CorruptRecordError: The form is not known, or the bytes are not of it.
        UsageError: "zstd" needs a package that is not installed.
    """
    if form == FORMAT_JSON:
        return data
    if form == FORMAT_ZLIB:
        return inflate(data)
    if form == FORMAT_ZSTD:
        return _zstd()[1](data)
    msg = f"A body has format {form}, which this release cannot read; upgrade Stepwell."
    raise CorruptRecordError(msg)


def inflate(data: bytes) -> bytes:
    """Bytes that zlib has compressed, within bounds.

    Raises:
        CorruptRecordError: They are none, are not complete, or would become too many.
    """
    stream = zlib.decompressobj()
    try:
        whole = stream.decompress(data, EXPANDED_BYTES_MAX)
    except zlib.error as exc:
        msg = f"A compressed body cannot be read: {exc}."
        raise CorruptRecordError(msg) from exc
    if not stream.eof:
        what = "is larger than a body can be" if stream.unconsumed_tail else "is cut off"
        msg = f"A compressed body {what}."
        raise CorruptRecordError(msg)
    return whole


def _zstd() -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """Compression and its inverse: of Python 3.14, or of the package `zstandard`."""
    try:
        import zstandard
    except ImportError:
        return _zstd_of_python()

    def decompress(data: bytes) -> bytes:
        try:
            size = zstandard.frame_content_size(data)
            if not 0 <= size <= EXPANDED_BYTES_MAX:
                msg = "A compressed body is larger than a body can be."
                raise CorruptRecordError(msg)
            return zstandard.ZstdDecompressor().decompress(data)
        except zstandard.ZstdError as exc:
            msg = f"A compressed body cannot be read: {exc}."
            raise CorruptRecordError(msg) from exc

    # A context is not to be shared between threads, and costs little.
    return lambda data: zstandard.ZstdCompressor(level=1).compress(data), decompress


def _zstd_of_python() -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        msg = (
            'Compression with zstd needs Python 3.14, or pip install "stepwell[zstd]". '
            'compress="zlib" needs nothing.'
        )
        raise UsageError(msg) from None
    module: Any = zstd

    def decompress(data: bytes) -> bytes:
        stream = module.ZstdDecompressor()
        try:
            whole: bytes = stream.decompress(data, EXPANDED_BYTES_MAX)
        except module.ZstdError as exc:
            msg = f"A compressed body cannot be read: {exc}."
            raise CorruptRecordError(msg) from exc
        if not stream.eof:
            msg = "A compressed body is cut off, or larger than a body can be."
            raise CorruptRecordError(msg)
        return whole

    return lambda data: module.compress(data, level=1), decompress


__all__ = [
    "COMPRESS_BYTES_MIN", "EXPANDED_BYTES_MAX", "FORMAT_JSON", "FORMAT_ZLIB", "FORMAT_ZSTD",
    "Compression", "Pack", "expand", "inflate", "packer",
]  # fmt: skip

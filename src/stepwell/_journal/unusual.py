"""Rows whose body is not plain JSON: compressed by another process, or encrypted.

A saver with a keyring opens what it reads (`checkpoint._sealing`). What could not be opened
keeps its form, and says why where its body is asked for: so one bad record fails whoever wants
to know what is in it, and nobody else.
"""

from __future__ import annotations

import zlib
from typing import Any, TypeVar

from stepwell._codec.compress import FORMAT_JSON, expand
from stepwell.checkpoint.driver import CheckpointRow, SegmentRow, WriteRow
from stepwell.errors import CodecError, CorruptRecordError, KeyMissingError

R = TypeVar("R", bound=CheckpointRow | WriteRow | SegmentRow)


class OpenedCheckpoint(CheckpointRow):
    """A row as it was before it was sealed."""

    stored: int | None = None
    """Bytes that it takes as it is stored."""
    refusal: CodecError | None = None
    """Why it could not be opened."""


class OpenedWrite(WriteRow):
    """A row as it was before it was sealed."""

    stored: int | None = None
    refusal: CodecError | None = None


class OpenedSegment(SegmentRow):
    """A segment as it was before it was sealed."""

    stored: int | None = None
    refusal: CodecError | None = None


def plain(row: CheckpointRow | SegmentRow) -> bool:
    """Whether the body of a row is a document as it stands."""
    return row.format == FORMAT_JSON and row.key_id is None


def usual(row: R) -> R:
    """A row with its body as plain JSON; its checksum is that of the body.

    Raises:
        KeyMissingError: It is encrypted, and this saver has no keyring.
        CodecError: It could not be opened, or is not what it should be.
    """
    refusal = getattr(row, "refusal", None)
    if refusal is not None:
        raise refusal.with_traceback(None)
    if row.key_id is not None:
        msg = (
            f"A record is encrypted under the key {row.key_id!r}, and this saver was opened "
            "without a keyring: open it with keyring=."
        )
        raise KeyMissingError(msg)
    if zlib.crc32(row.body) != row.crc:
        msg = "The checksum of a compressed record does not match: restore it from a backup."
        raise CorruptRecordError(msg)
    body = expand(row.format, row.body)
    changed: Any = row._replace(format=FORMAT_JSON, body=body, crc=zlib.crc32(body))
    return changed  # type: ignore[no-any-return]


def stored_bytes(row: CheckpointRow | SegmentRow) -> int:
    """What a row takes in the database: its body and what else of it grows."""
    stored: int | None = getattr(row, "stored", None)
    if stored is not None:
        return stored
    more = row.detail if isinstance(row, SegmentRow) else row.metadata or b""
    return len(row.body) + len(more)


__all__ = ["OpenedCheckpoint", "OpenedSegment", "OpenedWrite", "plain", "stored_bytes", "usual"]

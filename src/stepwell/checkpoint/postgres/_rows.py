"""Rows of the SPI and rows of PostgreSQL: keys, texts, and the order of columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias
from uuid import UUID

from stepwell._db.postgres import FastUUID
from stepwell._ids import digest16
from stepwell.checkpoint.driver import (
    CheckpointRow,
    RunRow,
    SegmentRow,
    ThreadKey,
    ThreadRow,
    WriteRow,
)

Record: TypeAlias = Any
"""A row as the client returns it: values by position, iterable and sliceable."""

_ESCAPES: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair: one character
    r"|(\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2}))"  # NUL, or half a pair
    r"|\\."
)


@lru_cache(maxsize=1 << 16)
def key_of(key: ThreadKey) -> UUID:
    """The compact key of a thread: 128 bits of blake2b over scope and thread_id."""
    return FastUUID(digest16(key.scope, key.thread_id))


@lru_cache(maxsize=1 << 10)
def uuid_of(raw: bytes) -> UUID:
    """16 bytes (a worker) as the type of their column."""
    return FastUUID(raw)


def exact(text: str | None) -> bytes | None:
    """A text of the user's as its column holds it: any str survives, NUL and half pairs too."""
    return None if text is None else text.encode("utf-8", "surrogatepass")


def text_of(raw: bytes | None) -> str | None:
    """The inverse of `exact`."""
    return None if raw is None else raw.decode("utf-8", "surrogatepass")


def indexable(document: str | None) -> str | None:
    """A JSON document as jsonb takes it: what it refuses becomes U+FFFD.

    Only the derived form of metadata goes through here; the exact bytes have a column.
    """
    if document is None:
        return None
    if not document.isascii():
        document = document.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if "\\u" not in document:
        return document
    return _ESCAPES.sub(lambda match: "\\ufffd" if match[1] else match[0], document)


def thread_row(
    values: Record, names: Mapping[int, tuple[str, int]] | None = None, *, more: bool = False
) -> ThreadRow:
    """A thread row from the columns of `thread_columns`; `names`: namespaces but the root."""
    (
        scope, thread_id, uid, epoch, owner, lock_key, lease_left_s,
        beat, record_no, layout_no, request, wanted,
        status, run, graph, fingerprint, state_version, next_nodes, interrupts, error,
        checkpoints, size, ttl_s, created_at, updated_at, runs, head,
    ) = values  # fmt: skip
    return ThreadRow(
        key=ThreadKey(text_of(scope) or "", thread_id),
        uid=uid.bytes,
        epoch=epoch,
        owner=None if owner is None else owner.bytes,
        lock_key=lock_key,
        lease_left_s=lease_left_s,
        beat=beat,
        record_no=record_no,
        layout_no=layout_no,
        request=request,
        wanted=wanted,
        status=status,
        run=run,
        graph=text_of(graph),
        fingerprint=text_of(fingerprint),
        state_version=state_version,
        next_nodes=text_of(next_nodes) or "",
        interrupts=interrupts,
        error=text_of(error),
        checkpoints=checkpoints,
        bytes=size,
        ttl_s=ttl_s,
        created_at=created_at,
        updated_at=updated_at,
        namespaces={0: ("", head), **(names or {})},
        runs=runs,
        more_namespaces=more,
    )


def checkpoint_row(values: Record) -> CheckpointRow:
    """A checkpoint from the columns of `rows`, which stand in the order of the type."""
    row = CheckpointRow._make(values)
    return row if row.key_id is None else row._replace(key_id=text_of(values[14]))


def write_row(values: Record) -> WriteRow:
    """A pending write from the columns of `writes`."""
    row = WriteRow._make(values)
    return row._replace(
        task_path=text_of(values[4]) or "", channel=text_of(values[5]), key_id=text_of(values[11])
    )


def segment_row(values: Record) -> SegmentRow:
    """A segment from the columns of `segments`."""
    row = SegmentRow._make(values)
    return row if row.key_id is None else row._replace(key_id=text_of(values[8]))


def run_row(values: Record) -> RunRow:
    """A run from the columns of `run_columns`."""
    row = RunRow._make(values)
    return row._replace(
        run_id=text_of(values[1]) or "",
        idempotency_key=text_of(values[5]),
        graph=text_of(values[6]),
        error=text_of(values[11]),
    )

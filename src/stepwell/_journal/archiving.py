"""A thread as one compressed file, and back.

The file is gzip of lines of JSON (ASCII):

    {"stepwell": 1, "thread": [...]}           the thread's row at rest
    ["checkpoints", [...]]                     a row of some kind, its columns in order
    ...
    {"rows": n, "sha256": "..."}               of all lines before

Bytes are {"b": base64}. So it needs no class and no graph, any tool can read it, and what is read
back is compared with its checksum before it is believed.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from stepwell.checkpoint.driver import (
    CheckpointRow,
    NamespaceRow,
    RowKind,
    RunRow,
    SegmentRow,
    ThreadKey,
    ThreadPart,
    ThreadRow,
    WriteRow,
    at_rest,
)
from stepwell.errors import CorruptRecordError

FORMAT: Final = 1
_MAKE: Final[Mapping[RowKind, Callable[[Sequence[Any]], Any]]] = {
    RowKind.NAMESPACES: NamespaceRow._make,
    RowKind.RUNS: RunRow._make,
    RowKind.CHECKPOINTS: CheckpointRow._make,
    RowKind.WRITES: WriteRow._make,
    RowKind.SEGMENTS: SegmentRow._make,
}


def packed(row: ThreadRow, rows: Mapping[RowKind, Sequence[Any]]) -> bytes:
    """The file of a thread. The same rows give the same bytes."""
    lines = list(_lines(row, rows))
    digest = hashlib.sha256(b"".join(lines)).hexdigest()
    lines.append(_line({"rows": len(lines) - 1, "sha256": digest}))
    return gzip.compress(b"".join(lines), 6, mtime=0)


def _lines(row: ThreadRow, rows: Mapping[RowKind, Sequence[Any]]) -> Iterator[bytes]:
    resting = at_rest(row)
    head = resting.namespaces[0][1]
    columns = [*resting._replace(namespaces={})]
    columns[ThreadRow._fields.index("namespaces")] = head
    yield _line({"stepwell": FORMAT, "thread": [_plain(value) for value in columns]})
    for kind in RowKind:
        for each in rows[kind]:
            yield _line([kind, [_plain(value) for value in each]])


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _plain(value: Any) -> Any:
    return {"b": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _value(value: Any) -> Any:
    return base64.b64decode(value["b"], validate=True) if isinstance(value, dict) else value


def unpacked(data: bytes, name: str) -> ThreadPart:
    """The thread that a file holds, whole.

    Raises:
        CorruptRecordError: It is damaged, or of a later release.
    """
    try:
        return _unpacked(data)
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError, zlib.error) as error:
        msg = f"The archive {name!r} is damaged: {error}."
        raise CorruptRecordError(msg) from error


def _unpacked(data: bytes) -> ThreadPart:
    lines = gzip.decompress(data).splitlines(keepends=True)
    if not lines:
        raise ValueError("it is empty")
    end = json.loads(lines[-1])
    if end["sha256"] != hashlib.sha256(b"".join(lines[:-1])).hexdigest():
        raise ValueError("its checksum does not match")
    first = json.loads(lines[0])
    if first["stepwell"] != FORMAT:
        raise ValueError(f"it has format {first['stepwell']}, which this release cannot read")
    rows: dict[RowKind, list[Any]] = {kind: [] for kind in RowKind}
    for line in lines[1:-1]:
        kind, values = json.loads(line)
        rows[RowKind(kind)].append(_MAKE[RowKind(kind)]([_value(value) for value in values]))
    columns = [_value(value) for value in first["thread"]]
    columns[0] = ThreadKey(*columns[0])
    place = ThreadRow._fields.index("namespaces")
    columns[place] = {0: ("", columns[place])}
    return ThreadPart(
        thread=ThreadRow._make(columns),
        begins=True,
        ends=True,
        namespaces=rows[RowKind.NAMESPACES],
        runs=rows[RowKind.RUNS],
        checkpoints=rows[RowKind.CHECKPOINTS],
        writes=rows[RowKind.WRITES],
        segments=rows[RowKind.SEGMENTS],
    )


__all__ = ["packed", "unpacked"]

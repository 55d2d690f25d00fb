"""A driver that compresses and encrypts what goes into another one, and opens what comes out.

Above it, the journal sees plain rows; below it, the database sees sealed ones. Nothing else
knows of it: folding, pruning, copying and migrations work on what they always did.

    what                            sealed as
    bodies, details of segments     bytes; format and key_id stand in the row
    metadata, input, outcome        envelope: 0, length and name of the key, sealed bytes
    texts of errors                 "sealed:" and the envelope in base64
    idempotency keys                "sealed:" and a keyed digest; the key itself is in the input
    index of metadata               only keys that the saver names stay

Each is bound to the place that it has in its thread. Reading never raises here: what cannot be
opened fails whoever asks for its body (see `_journal.unusual`), not the others that were read
with it. With a keyring, a body that is not encrypted is refused as well.
"""

from __future__ import annotations

import base64
import binascii
import copy
import zlib
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeVar

import orjson

from stepwell._codec.compress import FORMAT_JSON, Pack, expand, packer
from stepwell._codec.crypt import Keyring, missing
from stepwell._ids import Ids
from stepwell._journal.unusual import OpenedCheckpoint, OpenedSegment, OpenedWrite
from stepwell.checkpoint.driver import (
    CheckpointRow,
    RowKind,
    RunRow,
    SegmentRow,
    ThreadChange,
    ThreadKey,
    ThreadRow,
    WriteRow,
)
from stepwell.errors import CodecError, CorruptRecordError

_DIGEST_BYTES: Final = 16
"""What an input is stored as in clear: no envelope is that short."""

R = TypeVar("R", OpenedCheckpoint, OpenedWrite, OpenedSegment)

SEALED: Final = "sealed:"


class Seal:
    """How one saver stores rows, and reads them.

    Args:
        compress: "none", "zlib" or "zstd".
        keyring: None = nothing is encrypted.
        clear_metadata: Keys of metadata that stay in clear in its index.
        ids: Where nonces come from.

    Raises:
        UsageError: A package is not installed.
    """

    def __init__(
        self, compress: Any, keyring: Keyring | None, clear_metadata: Collection[str], ids: Ids
    ) -> None:
        self._pack: Pack = packer(compress)
        # zlib costs a load more than it gives where a body is joined from many.
        self._pack_segment: Pack = self._pack if compress == "zstd" else packer("none")
        self._ring = keyring
        self._clear = frozenset(clear_metadata)
        self._ids = ids
        self._admits_clear = False

    def admitting_clear(self) -> Seal:
        """This seal, but it takes rows in clear for true: for whoever says that they are."""
        other = copy.copy(self)
        other._admits_clear = True  # noqa: SLF001
        return other

    @property
    def current(self) -> str | None:
        """The name of the key that is written with."""
        return None if self._ring is None else self._ring.current

    def is_current(self, run: RunRow) -> bool:
        """Whether all of a stored run is sealed with the current key."""
        parts = (run.metadata, run.input, run.outcome)
        return self.is_current_text(run.error) and all(
            part is None or part.startswith(self._head()) for part in parts
        )

    def is_current_text(self, text: str | None) -> bool:
        """Whether a stored text is sealed with the current key."""
        if text is None:
            return True
        try:
            raw = base64.b64decode(text.removeprefix(SEALED), validate=True)
        except (binascii.Error, ValueError):
            return False
        return text.startswith(SEALED) and raw.startswith(self._head())

    def _head(self) -> bytes:
        name = (self.current or "").encode()
        return b"\0" + bytes((len(name),)) + name

    @property
    def keyring(self) -> Keyring | None:
        """What is encrypted with."""
        return self._ring

    # -- in ----------------------------------------------------------------------------------

    def checkpoint(self, key: ThreadKey, row: CheckpointRow) -> CheckpointRow:
        """A checkpoint as it is stored."""
        form, body = self._pack(row.body)
        metadata, index = row.metadata, row.meta_index
        key_id = None
        if (ring := self._ring) is not None:
            key_id = ring.current
            place = _place(row)
            body = self._seal(key, ("c", form, *place), body)
            if metadata is not None:
                metadata = self._envelope(key, ("cm", *place), metadata)
            index = self._index(index)
        return row._replace(
            format=form, crc=zlib.crc32(body), body=body, metadata=metadata, meta_index=index,
            key_id=key_id,
        )  # fmt: skip

    def write(self, key: ThreadKey, row: WriteRow) -> WriteRow:
        """A pending write as it is stored."""
        form, body = self._pack(row.body)
        key_id = None
        if (ring := self._ring) is not None:
            key_id = ring.current
            body = self._seal(key, ("w", form, *_place_of_write(row)), body)
        return row._replace(format=form, crc=zlib.crc32(body), body=body, key_id=key_id)

    def segment(self, key: ThreadKey, row: SegmentRow) -> SegmentRow:
        """A segment as it is stored."""
        form, body = self._pack_segment(row.body)
        detail, key_id = row.detail, None
        if (ring := self._ring) is not None:
            key_id = ring.current
            place = _place_of_segment(row)
            body = self._seal(key, ("s", form, *place), body)
            detail = self._seal(key, ("d", *place), detail)
        return row._replace(
            format=form, crc=zlib.crc32(body), body=body, detail=detail, key_id=key_id
        )

    def run(self, key: ThreadKey, row: RunRow) -> RunRow:
        """A run as it is stored."""
        ring = self._ring
        if ring is None:
            return row
        place, name = (row.run, row.run_id), row.idempotency_key
        given = row.input
        if given is not None or name is not None:
            given = orjson.dumps([None if given is None else given.hex(), name])
        return row._replace(
            metadata=self._envelope(key, ("rm", *place), row.metadata),
            meta_index=self._index(row.meta_index),
            input=self._envelope(key, ("ri", *place), given),
            outcome=self._envelope(key, ("ro", *place), row.outcome),
            error=self._text(key, ("re", *place), row.error),
            idempotency_key=None if name is None else SEALED + ring.digest(ring.current, key, name),
        )

    def change(self, key: ThreadKey, change: ThreadChange) -> ThreadChange:
        """What is said of a thread, as it is stored."""
        if change.error is None or self._ring is None:
            return change
        return change._replace(error=self._text(key, ("te",), change.error))

    def thread(self, row: ThreadRow) -> ThreadRow:
        """A thread's row as it is stored."""
        if row.error is None or self._ring is None:
            return row
        return row._replace(error=self._text(row.key, ("te",), row.error))

    def names(self, key: ThreadKey, idempotency_key: str) -> list[str]:
        """What an idempotency key may be stored as, the likeliest first."""
        if (ring := self._ring) is None:
            return [idempotency_key]
        return [SEALED + ring.digest(key_id, key, idempotency_key) for key_id in ring.key_ids]

    def _seal(self, key: ThreadKey, place: tuple[Any, ...], data: bytes) -> bytes:
        assert self._ring is not None  # noqa: S101  # asked for by whoever calls
        return self._ring.seal(key, place, data, self._ids.uid()[:12])

    def _envelope(self, key: ThreadKey, place: tuple[Any, ...], data: bytes | None) -> bytes | None:
        if data is None or self._ring is None:
            return data
        return self._head() + self._seal(key, place, data)

    def _text(self, key: ThreadKey, place: tuple[Any, ...], text: str | None) -> str | None:
        if text is None:
            return None
        raw = self._envelope(key, place, text.encode("utf-8", "surrogatepass")) or b""
        return SEALED + base64.b64encode(raw).decode()

    def _index(self, index: str | None) -> str | None:
        if index is None:
            return None
        kept = {k: v for k, v in orjson.loads(index).items() if k in self._clear}
        return orjson.dumps(kept).decode() if kept else None

    # -- out ---------------------------------------------------------------------------------

    def open_checkpoint(self, key: ThreadKey, row: CheckpointRow) -> CheckpointRow:
        """A checkpoint as it was given; what it cannot be opened for, it says when asked."""
        opened = OpenedCheckpoint._make(row)
        opened.stored = len(row.body) + len(row.metadata or b"")
        try:
            place = _place(row)
            body = self._open(key, row, ("c", row.format, *place))
            metadata = self._opened(key, ("cm", *place), row.metadata)
        except CodecError as exc:
            return _refused(opened, exc)
        plain = opened._replace(
            format=FORMAT_JSON, crc=zlib.crc32(body), body=body, metadata=metadata, key_id=None
        )
        plain.stored = opened.stored
        return plain

    def open_write(self, key: ThreadKey, row: WriteRow) -> WriteRow:
        """A pending write as it was given."""
        try:
            body = self._open(key, row, ("w", row.format, *_place_of_write(row)))
        except CodecError as exc:
            return _refused(OpenedWrite._make(row), exc)
        return row._replace(format=FORMAT_JSON, crc=zlib.crc32(body), body=body, key_id=None)

    def open_segment(self, key: ThreadKey, row: SegmentRow) -> SegmentRow:
        """A segment as it was given."""
        opened = OpenedSegment._make(row)
        opened.stored = len(row.body) + len(row.detail)
        try:
            place = _place_of_segment(row)
            body = self._open(key, row, ("s", row.format, *place))
            detail = row.detail
            if detail and self._ring is not None and row.key_id is not None:
                detail = self._ring.open(row.key_id, key, ("d", *place), detail)
        except CodecError as exc:
            return _refused(opened, exc)
        plain = opened._replace(
            format=FORMAT_JSON, crc=zlib.crc32(body), body=body, detail=detail, key_id=None
        )
        plain.stored = opened.stored
        return plain

    def open_run(self, key: ThreadKey, row: RunRow) -> RunRow:
        """A run as it was given; parts that do not open stay sealed."""
        if self._ring is None:
            return row
        try:
            return self._opened_run(key, row)
        except CodecError:
            # Said when the metadata is asked for. Nothing in clear is taken for true.
            return row._replace(
                metadata=b"\0", input=None, outcome=None, error=_unopened(row.error)
            )

    def _opened_run(self, key: ThreadKey, row: RunRow) -> RunRow:
        place = (row.run, row.run_id)
        given, name = self._opened(key, ("ri", *place), row.input), row.idempotency_key
        if given is not None and given is not row.input:
            digest, name = orjson.loads(given)
            given = None if digest is None else bytes.fromhex(digest)
        return row._replace(
            metadata=self._opened(key, ("rm", *place), row.metadata),
            input=given,
            idempotency_key=name,
            outcome=self._opened(key, ("ro", *place), row.outcome),
            error=self._opened_text(key, ("re", *place), row.error),
        )

    def open_thread(self, row: ThreadRow) -> ThreadRow:
        """A thread's row as it was given; the text of an error that does not open stays sealed."""
        if row.error is None or self._ring is None:
            return row
        try:
            return row._replace(error=self._opened_text(row.key, ("te",), row.error))
        except CodecError:
            return row._replace(error=_unopened(row.error))

    # -- out and in again ---------------------------------------------------------------------

    def anew(self, kind: RowKind, key: ThreadKey, row: Any) -> Any:
        """A stored row as it is stored now: with the current key.

        Raises:
            CodecError: It does not open.
        """
        if kind is RowKind.RUNS:
            return self.run(key, self._opened_run(key, row))
        opens, seals = _ANEW[kind]
        opened = opens(self, key, row)
        refusal = getattr(opened, "refusal", None)
        if refusal is not None:
            raise refusal
        return seals(self, key, opened)

    def error_anew(self, row: ThreadRow) -> str | None:
        """The text of the error on a stored thread's row, with the current key.

        Raises:
            CodecError: It does not open.
        """
        place = ("te",)
        return self._text(row.key, place, self._opened_text(row.key, place, row.error))

    def _open(
        self, key: ThreadKey, row: CheckpointRow | WriteRow | SegmentRow, place: tuple[Any, ...]
    ) -> bytes:
        if zlib.crc32(row.body) != row.crc:
            msg = (
                f"The checksum of a record of thread {key.thread_id!r} does not match its body; "
                "restore the thread from a backup."
            )
            raise CorruptRecordError(msg, thread_id=key.thread_id)
        body, ring = row.body, self._ring
        if ring is not None:
            if row.key_id is not None:
                body = ring.open(row.key_id, key, place, body)
            elif not self._admits_clear:
                raise _in_clear(key)
        elif row.key_id is not None:
            raise missing(row.key_id, key)
        return expand(row.format, body)

    def _opened(self, key: ThreadKey, place: tuple[Any, ...], raw: bytes | None) -> bytes | None:
        ring = self._ring
        if raw is None or ring is None:
            return raw
        if raw[:1] != b"\0" or len(raw) <= _DIGEST_BYTES:
            if self._admits_clear:
                return raw
            raise _in_clear(key)
        end = 2 + raw[1]
        return ring.open(raw[2:end].decode("utf-8", "replace"), key, place, raw[end:])

    def _opened_text(self, key: ThreadKey, place: tuple[Any, ...], text: str | None) -> str | None:
        if text is None:
            return None
        try:
            if not text.startswith(SEALED):
                raise _in_clear(key)
            raw = base64.b64decode(text.removeprefix(SEALED), validate=True)
        except (binascii.Error, ValueError, CorruptRecordError):
            if self._admits_clear:
                return text
            raise _in_clear(key) from None
        plain = self._opened(key, place, raw) or b""
        return plain.decode("utf-8", "surrogatepass")


_ANEW: Final[Mapping[RowKind, tuple[Any, Any]]] = {
    RowKind.CHECKPOINTS: (Seal.open_checkpoint, Seal.checkpoint),
    RowKind.WRITES: (Seal.open_write, Seal.write),
    RowKind.SEGMENTS: (Seal.open_segment, Seal.segment),
}


def _refused(row: R, error: CodecError) -> R:
    """A row that says why it cannot be opened, when its body is asked for."""
    other = row._replace(key_id=row.key_id or "")  # so that nobody takes it for a plain one
    other.stored, other.refusal = getattr(row, "stored", None), error
    return other


def _unopened(text: str | None) -> str | None:
    return text if text is None or text.startswith(SEALED) else "(not encrypted)"


def _in_clear(key: ThreadKey) -> CorruptRecordError:
    msg = (
        f"A record of thread {key.thread_id!r} is not encrypted, and this saver has a keyring: who "
        "can write to the database could have put it there. If it was written before there was a "
        "key, arotate_keys(clear_too=True) encrypts it."
    )
    return CorruptRecordError(msg, thread_id=key.thread_id)


def _place(row: CheckpointRow) -> tuple[Any, ...]:
    name = None if row.checkpoint_id is None else _hex(row.checkpoint_id)
    return (
        row.ns, row.seq, row.parent, row.step, row.source, row.run, row.epoch, row.record_no, name,
    )  # fmt: skip


def _place_of_write(row: WriteRow) -> tuple[Any, ...]:
    return (
        row.ns, row.seq, _hex(row.task_id), row.idx, row.task_path, row.channel, row.epoch,
        row.record_no,
    )  # fmt: skip


def _place_of_segment(row: SegmentRow) -> tuple[Any, ...]:
    return (row.ns, row.seq_from, row.seq_to, row.parent, row.run_from, row.run_to)


def _hex(raw: Any) -> str:
    return bytes(getattr(raw, "bytes", raw)).hex()


__all__ = ["SEALED", "Seal"]

"""From rows to state: fold the records of a chain, then revive the values.

Folding works on parsed JSON and needs neither the graph nor its classes; reviving turns
tagged documents into Python values through the codec.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import orjson

from stepwell._codec import Codec
from stepwell._codec.splice import apply_splice
from stepwell._journal.record import FORMAT_JSON, KIND_COMMAND, KIND_PULL
from stepwell._journal.renames import Renames
from stepwell.checkpoint.driver import CheckpointRow, SegmentRow, WriteRow
from stepwell.errors import CorruptRecordError


class Folded:
    """The state after some row, as parsed JSON: channel values, versions, who has seen what."""

    __slots__ = (
        "interrupt_seen", "parents", "seen", "state_version", "tagged", "values", "version",
        "versions",
    )  # fmt: skip

    def __init__(self) -> None:
        self.parents: dict[str, str] = {}
        self.values: dict[str, Any] = {}
        self.tagged: set[str] = set()
        self.versions: dict[str, int] = {}
        self.seen: dict[str, dict[str, int]] = {}
        self.version = 0
        self.interrupt_seen = 0
        self.state_version = 0
        """Version of the state's meaning: what migrations lead from."""

    def snapshot(self) -> Folded:
        """A copy that later folding leaves alone (lists are extended in place)."""
        copy = Folded()
        copy.values = {k: list(v) if type(v) is list else v for k, v in self.values.items()}
        copy.tagged = set(self.tagged)
        copy.versions = dict(self.versions)
        copy.seen = {k: dict(v) for k, v in self.seen.items()}
        copy.version = self.version
        copy.parents = self.parents
        copy.interrupt_seen = self.interrupt_seen
        copy.state_version = self.state_version
        return copy

    def add(self, document: dict[str, Any]) -> None:
        """Apply one checkpoint's parsed body."""
        migrated: Collection[str] = ()
        if "m" in document:
            migrated = self._migrated(document["m"])
        versions = self.versions
        for entry in document["t"]:
            if entry[1] == KIND_COMMAND:
                # It was applied before the tasks were planned: what it triggered has been seen.
                self.version += 1
                for write in entry[3]:
                    if write[0] in versions or write[0] in document["c"]:
                        versions[write[0]] = self.version
        for entry in document["t"]:
            if entry[1] == KIND_PULL:
                known = self.seen.setdefault(entry[0], {})
                for trigger in entry[2] if entry[2] is not None else (f"branch:to:{entry[0]}",):
                    if trigger in versions:
                        known[trigger] = versions[trigger]
        self.version += 1
        for channel, op in document["c"].items():
            self._apply(channel, op, document["t"])
            if channel not in migrated:
                versions[channel] = self.version
        if "i" in document:
            self.interrupt_seen = document["i"]
        if "z" in document:
            self.version, self.versions, self.seen = document["z"]
        if "p" in document:
            self.parents = document["p"]

    def _migrated(self, told: dict[str, Any]) -> Collection[str]:
        """Take note of a migration; returns the channels that it, and no task, has written."""
        self.state_version = told["v"]
        if "r" in told:
            self.rename(told["r"])
        alone: Collection[str] = told.get("k", ())
        return alone

    def rename(self, nodes: Mapping[str, str]) -> None:
        """Give nodes other names, wherever a state knows them by name."""
        names = Renames(nodes)
        self.values = {names.channel(k): names.value(k, v) for k, v in self.values.items()}
        self.tagged = {names.channel(k) for k in self.tagged}
        self.versions = {names.channel(k): v for k, v in self.versions.items()}
        self.seen = {
            names.node(node): {names.channel(k): v for k, v in known.items()}
            for node, known in self.seen.items()
        }

    def _apply(self, channel: str, op: list[Any], entries: list[Any]) -> None:
        values, kind = self.values, op[0]
        if kind == "s":
            values[channel] = op[1]
            self.tagged.discard(channel)
        elif kind == "a":
            self._extend(channel, op[1])
        elif kind == "x":
            values.pop(channel, None)
            self.tagged.discard(channel)
        elif kind == "S":
            values[channel] = op[1]
            self.tagged.add(channel)
        elif kind == "A":
            self._extend(channel, op[1])
            self.tagged.add(channel)
        elif kind in ("p", "P"):
            old = orjson.dumps(values.get(channel))
            data = apply_splice(old, (op[1], op[2], op[3].encode(), op[4]))
            values[channel] = orjson.loads(data)
            (self.tagged.add if kind == "P" else self.tagged.discard)(channel)
        elif kind in ("w", "W"):
            self._refer(channel, kind, op[1], entries)
        elif kind in ("e", "E"):
            self._edit(channel, op[1])
            if kind == "E":
                self.tagged.add(channel)
        else:
            msg = f"Operation {kind!r} on channel {channel!r} is not one this release knows"
            raise CorruptRecordError(msg, channel=channel)

    def _extend(self, channel: str, items: list[Any]) -> None:
        known = self.values.get(channel)
        if known is None:
            self.values[channel] = list(items)
        else:
            known.extend(items)

    def _edit(self, channel: str, splices: list[Any]) -> None:
        items = self.values.setdefault(channel, [])
        for start, cut, new in splices:
            if start is None:
                items.extend(new)
            else:
                items[start : start + cut] = new

    def _refer(self, channel: str, kind: str, refs: list[Any], entries: list[Any]) -> None:
        writes = [entries[i][3][j] for i, j in refs]
        tagged = any(len(w) > 2 for w in writes)
        if kind == "W":
            self.values[channel] = [w[1] for w in writes]
            (self.tagged.add if tagged else self.tagged.discard)(channel)
            return
        for write in writes:
            self._extend(channel, write[1])
        if tagged:
            self.tagged.add(channel)


def parse(row: CheckpointRow | WriteRow) -> dict[str, Any]:
    """The parsed body of a row.

    Raises:
        CorruptRecordError: The body does not match its checksum, or is no such document.
    """
    place = f"record {row.record_no} (namespace {row.ns}, seq {row.seq})"
    if zlib.crc32(row.body) != row.crc:
        msg = f"The checksum of {place} does not match its body; restore the thread from a backup."
        raise CorruptRecordError(msg, seq=row.seq)
    if row.format != FORMAT_JSON:
        msg = f"{place} has format {row.format}, which this release cannot read; upgrade Stepwell."
        raise CorruptRecordError(msg, seq=row.seq)
    try:
        document = orjson.loads(row.body)
    except orjson.JSONDecodeError as exc:
        msg = f"{place} is not a JSON document; restore the thread from a backup."
        raise CorruptRecordError(msg, seq=row.seq) from exc
    if not isinstance(document, dict):
        msg = f"{place} is not a JSON object; restore the thread from a backup."
        raise CorruptRecordError(msg, seq=row.seq)
    return document


def add_row(folded: Folded, row: CheckpointRow) -> dict[str, Any]:
    """Fold one row; returns its parsed body.

    Raises:
        CorruptRecordError: The body is damaged.
    """
    document = parse(row)
    try:
        folded.add(document)
    except (KeyError, IndexError, TypeError, AttributeError) as exc:
        msg = f"Record {row.record_no} (seq {row.seq}) does not have the shape of a checkpoint"
        raise CorruptRecordError(msg, seq=row.seq) from exc
    return document


def fold(rows: Sequence[CheckpointRow], segments: Sequence[SegmentRow] = ()) -> Folded:
    """The state after the last of `rows`, which are the chain from the oldest on.

    Raises:
        CorruptRecordError: A body is damaged.
    """
    folded = Folded()
    for row in chain(rows, segments):
        add_row(folded, row)
    return folded


def chain(
    rows: Sequence[CheckpointRow], segments: Sequence[SegmentRow] = ()
) -> Iterator[CheckpointRow]:
    """All rows of a chain, those inside segments included, oldest first."""
    yield from (row for segment in segments for row in unpack_segment(segment))
    yield from rows


def pack_segment(rows: Sequence[CheckpointRow]) -> SegmentRow:
    """One segment that holds a contiguous stretch of one namespace's rows, losslessly."""
    first, last = rows[0], rows[-1]
    detail = zlib.compress(
        orjson.dumps(
            [
                [
                    r.seq, r.parent, r.step, r.source, r.run, r.epoch, r.record_no, r.format, r.crc,
                    r.body.decode(), None if r.metadata is None else r.metadata.decode(),
                    r.meta_index, None if r.checkpoint_id is None else r.checkpoint_id.hex(),
                    r.key_id, r.created_at,
                ]
                for r in rows
            ]
        ),
        1,
    )  # fmt: skip
    return SegmentRow(
        ns=first.ns, seq_from=first.seq, seq_to=last.seq, parent=first.parent,
        format=FORMAT_JSON, crc=zlib.crc32(detail), body=b"", detail=detail,
    )  # fmt: skip


def unpack_segment(segment: SegmentRow) -> list[CheckpointRow]:
    """The rows a segment holds.

    Raises:
        CorruptRecordError: The segment is damaged.
    """
    place = f"segment {segment.seq_from}-{segment.seq_to} of namespace {segment.ns}"
    if zlib.crc32(segment.detail) != segment.crc:
        msg = f"The checksum of {place} does not match; restore the thread from a backup."
        raise CorruptRecordError(msg, seq=segment.seq_from)
    return [
        CheckpointRow(
            ns=segment.ns, seq=seq, parent=parent, step=step, source=source, run=run, epoch=epoch,
            record_no=record_no, format=fmt, crc=crc, body=body.encode(),
            metadata=None if metadata is None else metadata.encode(), meta_index=meta_index,
            checkpoint_id=None if name is None else bytes.fromhex(name), key_id=key_id,
            created_at=created_at,
        )
        for seq, parent, step, source, run, epoch, record_no, fmt, crc, body, metadata,
        meta_index, name, key_id, created_at in orjson.loads(zlib.decompress(segment.detail))
    ]  # fmt: skip


class Revived:
    """Channel values of a folded state as Python values, and the encodings to track."""

    __slots__ = ("stored", "values")

    def __init__(self, folded: Folded, codec: Codec, *, track: bool = False) -> None:
        # Encodings are taken before anybody is handed the values and may change them.
        self.stored: dict[str, bytes] = (
            {
                k: orjson.dumps(v)
                for k, v in folded.values.items()
                if isinstance(v, (list, dict, str))
            }
            if track
            else {}
        )
        self.values: dict[str, Any] = {
            k: codec.revive(v, channel=k) if k in folded.tagged else v
            for k, v in folded.values.items()
        }


class Contribution:
    """What one task contributed to a checkpoint, revived."""

    __slots__ = ("control", "kind", "name", "writes")

    def __init__(
        self, name: str, kind: int, writes: list[tuple[str, Any]], control: dict[int, Any]
    ) -> None:
        self.name = name
        self.kind = kind
        self.writes = writes
        self.control = control


def contributions(document: dict[str, Any], after: Folded, codec: Codec) -> list[Contribution]:
    """The tasks of a checkpoint's body; `after` is the state that the body leads to."""
    if "z" in document:
        return []  # one record of many supersteps: it does not say what each task did
    ops = document["c"]
    found = []
    for entry in document["t"]:
        writes = [(w[0], _write_value(w, ops, after, codec)) for w in entry[3]]
        control = (
            {int(slot): _value(v, codec) for slot, v in entry[4].items()} if len(entry) > 4 else {}
        )
        found.append(Contribution(entry[0], entry[1], writes, control))
    return found


def _value(pair: list[Any], codec: Codec) -> Any:
    return codec.revive(pair[0]) if len(pair) > 1 else pair[0]


def _write_value(write: list[Any], ops: dict[str, Any], after: Folded, codec: Codec) -> Any:
    channel = write[0]
    if len(write) > 1:
        return _value(write[1:], codec)
    op = ops[channel]
    if op[0] in "sa":
        return op[1]
    if op[0] in "SA":
        return codec.revive(op[1], channel=channel)
    value = after.values[channel]
    return codec.revive(value, channel=channel) if channel in after.tagged else value


def pending_writes(row: WriteRow, codec: Codec) -> tuple[list[tuple[str, Any]], int]:
    """The writes that a finished task left behind, and the state version they are of.

    Raises:
        CorruptRecordError: The body is damaged.
    """
    document = parse(row)
    return [(w[0], _value(w[1:], codec)) for w in document["w"]], document.get("m", 0)


def pending_value(row: WriteRow, codec: Codec) -> Any:
    """The value in a control slot.

    Raises:
        CorruptRecordError: The body is damaged.
    """
    document = parse(row)
    return codec.revive(document["v"]) if document.get("t") else document["v"]


__all__ = [
    "Contribution", "Folded", "Revived", "add_row", "chain", "contributions", "fold",
    "pack_segment", "parse", "pending_value", "pending_writes", "unpack_segment",
]  # fmt: skip

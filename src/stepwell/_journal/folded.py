"""The state after some row, as parsed JSON, and how the next row or segment changes it.

Nothing here needs the graph or its classes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from zlib import crc32

import orjson
from orjson import JSONDecodeError, loads

from stepwell._codec.splice import apply_splice
from stepwell._journal.record import FORMAT_JSON, KIND_COMMAND, KIND_PULL
from stepwell._journal.renames import Renames
from stepwell._journal.unusual import usual
from stepwell.checkpoint.driver import CheckpointRow, WriteRow
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

    @classmethod
    def of_header(cls, document: dict[str, Any]) -> Folded:
        """The state behind a segment, given its parsed body, but for the values."""
        folded = cls()
        folded.add_segment({**document, "c": {}})
        return folded

    def header(self) -> Folded:
        """A copy without values, of which nothing is shared."""
        copy = Folded()
        copy.versions = dict(self.versions)
        copy.seen = {k: dict(v) for k, v in self.seen.items()}
        copy.version = self.version
        copy.parents = self.parents
        copy.interrupt_seen = self.interrupt_seen
        copy.state_version = self.state_version
        return copy

    def apply(self, channel: str, op: list[Any]) -> None:
        """Apply one operation that stands by itself."""
        self._apply(channel, op, ())

    def add(self, document: dict[str, Any]) -> None:
        """Apply one checkpoint's parsed body."""
        entries, ops = document["t"], document["c"]
        if len(document) > 2 or len(entries) != 1 or entries[0][1] == KIND_COMMAND:
            self.count(document)
            for channel, op in ops.items():
                self._apply(channel, op, entries)
            return
        # What one task did, as nearly always: the same in one go.
        name, kind, triggers = entries[0][:3]
        values, versions, tagged = self.values, self.versions, self.tagged
        if kind == KIND_PULL:
            known = self.seen.get(name)
            if known is None:
                known = self.seen[name] = {}
            for trigger in (f"branch:to:{name}",) if triggers is None else triggers:
                if trigger in versions:
                    known[trigger] = versions[trigger]
        self.version = version = self.version + 1
        for channel, op in ops.items():
            versions[channel] = version
            what = op[0]
            if what == "s":
                values[channel] = op[1]
            elif what == "x":
                values.pop(channel, None)
            elif what == "a" and type(items := values.get(channel)) is list:
                items.extend(op[1])
                continue
            else:
                self._apply(channel, op, entries)
                continue
            if channel in tagged:
                tagged.remove(channel)

    def add_segment(self, document: dict[str, Any]) -> None:
        """Apply a segment's parsed body: what all of its rows did, one after the other."""
        version, nodes = document["m"]
        if nodes:
            self.rename(nodes)
        self.state_version = version
        for channel, ops in document["c"].items():
            for op in ops:
                self._apply(channel, op, ())
        self.version, self.versions, self.seen = document["z"]
        self.interrupt_seen = document["i"]
        self.parents = document["p"]

    def count(self, document: dict[str, Any]) -> None:
        """The part of `add` that leaves values alone: versions, who has seen what, parents,
        and the names of nodes, which values may name too."""
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
        for channel in document["c"]:
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

    def _apply(self, channel: str, op: list[Any], entries: Sequence[Any]) -> None:
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

    def _refer(self, channel: str, kind: str, refs: list[Any], entries: Sequence[Any]) -> None:
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
        KeyMissingError: It is encrypted under a key that this saver does not have.
    """
    if row.format != FORMAT_JSON or row.key_id is not None:
        row = usual(row)
    body = row.body
    if crc32(body) != row.crc:
        raise _corrupt(row, "has a checksum that does not match its body")
    try:
        document = loads(body)
    except JSONDecodeError as exc:
        raise _corrupt(row, "is not a JSON document") from exc
    if type(document) is not dict:
        raise _corrupt(row, "is not a JSON object")
    return document


def _corrupt(row: CheckpointRow | WriteRow, what: str) -> CorruptRecordError:
    msg = (
        f"Record {row.record_no} (namespace {row.ns}, seq {row.seq}) {what}; restore the thread "
        "from a backup."
    )
    return CorruptRecordError(msg, seq=row.seq)


__all__ = ["Folded", "parse"]

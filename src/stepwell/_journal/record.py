"""Bodies of records: from operations and writes to bytes.

A checkpoint's body is one JSON document:

    {"t": [entry, ...],          what each task of the superstep contributed
     "c": {channel: op, ...},    what happened to each persisted channel
     "i": n,                     breakpoints passed up to version n (only when that changed)
     "p": {ns: checkpoint id},   checkpoints of the graphs around this one (when they changed)
     "m": {"v": n, "k": [channel, ...], "r": {old: new}},
                                 the state is of version n from here on (when that changed): of
                                 the channels in "c", those in "k" were written by a migration
                                 alone; nodes have other names
     "z": [n, {...}, {...}]}     version, versions and seen after this record, where they are
                                 not what one superstep makes of them (durability="exit")

    entry = [name, kind, triggers, [write, ...], control?]
        kind: -1 a node triggered by edges, >= 0 the position of a Send, -2 an update,
        -3 input, -4 a command (applied before the superstep), -5 the error handler of the
        nearest entry before it.
        triggers: null means ["branch:to:<name>"].
        control: {slot: value} of the negative slots (error, handled, interrupts, answers).
    write = [channel] | [channel, value] | [channel, value, 1]
        without a value: it is the operand (set, append) of the channel's op; 1: value is tagged.
    op = ["s", value] | ["a", items] | ["x"] | ["p", keep, cut, middle, crc] |
         ["e", [[position, cut, items], ...]] | ["w", [[entry, write], ...]] |
         ["W", [[entry, write], ...]]
        "s" set, "a" append, "x" clear; "p" keep that many bytes at both ends of the encoded
        value and put `middle` between them (crc32 of the result); "e" take `cut` items out of
        the list and put `items` there, one splice after the other, null is its end; "w" append
        the items of those writes, "W" set to the list of those writes. Upper case "S", "A",
        "P", "E": tagged.

So values stand in a record once, and a record needs no user code to be applied. A pending
write's body is {"w": [write, ...]}, with "m": n where they are of state version n > 0, or, in a
control slot, {"v": value} / {"v": value, "t": 1}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import orjson

from stepwell._codec import Codec, Encoded
from stepwell._codec.compress import FORMAT_JSON
from stepwell._codec.json import NULL
from stepwell._codec.large import encode_in_slices
from stepwell._codec.splice import make_splice
from stepwell._journal.contributions import (
    Entry,
    shown_places,
    spell_out,
    spelled_write,
    told,
    writers_of,
)
from stepwell._journal.screen import untracked_screen
from stepwell._journal.spelling import (
    cleared,
    contributed,
    exact,
    quoted,
    signalled,
)
from stepwell._journal.track import SPLICE_BYTES_MIN, TRACKED, Stored, Track, tracks_of
from stepwell.channels.base import MISSING, Edit, Op, OpKind
from stepwell.constants import START, TASKS

KIND_PULL: Final = -1
KIND_UPDATE: Final = -2
KIND_INPUT: Final = -3
KIND_COMMAND: Final = -4

SLOT_OUTPUT: Final = 0
SLOT_ERROR: Final = -1
SLOT_HANDLED: Final = -2
"""The task failed and its error handler took over: the exception, or its repr."""
SLOT_INTERRUPT: Final = -3
SLOT_RESUME: Final = -4
SLOT_PASSED: Final = -5
"""Somebody resumed the run where it stood at a breakpoint: it may pass."""

_CLEAR: Final = OpKind.CLEAR  # looked up once: a member of an enum is not found in no time
_APPEND: Final = OpKind.APPEND
_SET: Final = OpKind.SET
_EDIT: Final = OpKind.EDIT

_PLAIN_SET: Final = b'%b:["s",%b]'
_PLAIN_TAGGED: Final = b'%b:["S",%b]'


class BodyEncoder:
    """Encodes the records of one namespace under one claim; keeps a `Track` per channel."""

    __slots__ = ("_changed", "_codec", "_parts", "_state_version", "_untracked", "tracks")

    in_threads = True
    """Whether `writes` may be called in any thread."""

    def __init__(
        self,
        codec: Codec,
        *,
        untracked: frozenset[str],
        stored: Mapping[str, Stored] | None = None,
        state_version: int = 0,
    ) -> None:
        self._codec = codec
        self._state_version = state_version
        self._untracked = untracked
        self._parts = untracked_screen(untracked)
        """What hides untracked keys in values that carry others."""
        self._changed: list[str] = []
        """Channels that were found changed in place while the body was made."""
        self.tracks: dict[str, Track] = tracks_of(stored or {})

    def writes(
        self, writes: Iterable[tuple[str, Any]], *, sliced: bool = False
    ) -> list[Encoded | None]:
        """Encode the writes of a finished task (None where the channel is not persisted).

        `sliced`: so that other threads have their turn meanwhile. The result is the same.

        Raises:
            UnsupportedTypeError: A value cannot be stored; names the channel and the path.
        """
        untracked, parts = self._untracked, self._parts
        encode = partial(encode_in_slices, self._codec) if sliced else self._codec.encode
        encoded: list[Encoded | None] = []
        for channel, value in writes:
            if channel in untracked:
                encoded.append(None)
            elif value is None:  # a signal
                encoded.append(NULL)
            else:
                stored = value if parts is None else self._strip(channel, value)
                encoded.append(encode(stored, channel=channel))
        return encoded

    def _strip(self, channel: str, value: Any) -> Any:
        """The input and arguments of Sends without the keys that must not reach the disk."""
        if self._parts is None or channel not in (START, TASKS):
            return value
        return self._parts.inside(channel, value)

    def value_body(self, value: Any, *, channel: str, node: str | None = None) -> bytes:
        """The body of a pending write in a control slot, for a task of `node`."""
        encoded = self._codec.encode(value, channel=channel, node=node)
        document: dict[str, Any] = {"v": orjson.Fragment(encoded.data)}
        if encoded.tagged:
            document["t"] = 1
        return exact(document)

    def writes_body(
        self, writes: Sequence[tuple[str, Any]], encoded: Sequence[Encoded | None]
    ) -> bytes:
        """The body of the pending write that holds a finished task's output."""
        document: dict[str, Any] = {
            "w": [
                spelled_write(c, e)
                for (c, _), e in zip(writes, encoded, strict=True)
                if e is not None
            ]
        }
        if self._state_version:
            document["m"] = self._state_version
        return exact(document)

    def step_body(
        self,
        entries: Sequence[Entry],
        ops: Mapping[str, Op],
        *,
        interrupt_seen: int | None = None,
        versions: tuple[int, dict[str, int], dict[str, dict[str, int]]] | None = None,
        parents: Mapping[str, str] | None = None,
        migrated: Mapping[str, Any] | None = None,
        check: Mapping[str, Any] | None = None,
        check_bytes_max: int | None = None,
    ) -> tuple[bytes, list[str]]:
        """The body of a checkpoint, and the channels that somebody had changed in place.

        Args:
            migrated: What is to be said of a change of the state's version.
            check: The channels as they are now: those whose value is not what was recorded are
                recorded anew, as a whole. None: do not look.
            check_bytes_max: Channels with a larger encoding are not looked at; None: all are.

        Raises:
            UnsupportedTypeError: A value cannot be stored; names the channel and the path.
        """
        encodings = [e.encoded if e.encoded is not None else self.writes(e.writes) for e in entries]
        self._changed = []
        writers = writers_of(entries, encodings)
        folded: set[tuple[int, int]] = set()
        document: dict[str, Any] = {
            "t": None,
            "c": {
                name: self._op(name, op, writers.get(name, ()), entries, encodings, folded)
                for name, op in ops.items()
            },
        }
        document["t"] = [
            self._entry(i, entry, encodings[i], folded) for i, entry in enumerate(entries)
        ]
        mended = self._changed
        if check is not None:
            mended = mended + self._mend(document, check, check_bytes_max)
        if interrupt_seen is not None:
            document["i"] = interrupt_seen
        if versions is not None:
            document["z"] = versions
        if parents is not None:
            document["p"] = parents
        if migrated is not None:
            document["m"] = migrated
        return exact(document), mended

    def plain_body(
        self, entries: Sequence[Entry], ops: Mapping[str, Op], *, looks: bool = False
    ) -> tuple[bytes, list[str]] | None:
        """What `step_body` gives for these two, of the superstep of one task that wrote no channel
        twice. None: it is another one, and nothing was done.

        Most are of this kind. It is joined from pieces, which are the same bytes. `looks`: it is
        time to look for what was changed in place; so no value may be there that could be.
        """
        # An encoder that does more (it hides something, say) has to take the long way.
        tracks = self.tracks
        if len(entries) != 1 or (looks and tracks) or type(self) is not BodyEncoder:
            return None
        node, kind_of_task, triggers, writes, encoded, control = entries[0]
        if control:
            return None
        if encoded is None:
            encoded = self.writes(writes)
        if len(encoded) != len(writes):
            return None
        known: dict[str, tuple[Any, Encoded]] = {}
        for i, (name, value) in enumerate(writes):  # `zip` costs more than two of its rounds
            if (document := encoded[i]) is not None:
                if name in known:
                    return None
                known[name] = value, document
        names = tuple(known)
        self._changed = []
        pieces: list[bytes] = []
        for name, op in ops.items():
            kind, operand = op
            if kind is _CLEAR:
                if name in tracks:
                    del tracks[name]
                pieces.append(cleared[name])
                continue
            source = known.get(name)
            if kind is _SET and source is not None and source[0] is operand:
                del known[name]
                if operand is None and name not in tracks:
                    pieces.append(signalled[name])
                    continue
                data, tagged = source[1]
                if data[0] in TRACKED or name in tracks:
                    pieces.append(self._spelled_set(name, data, tagged=tagged))
                else:
                    pieces.append((_PLAIN_TAGGED if tagged else _PLAIN_SET) % (quoted[name], data))
            else:
                pieces.append(self._spelled_op(name, op, source, known))
        if looks and tracks:  # of this very superstep
            tracks.clear()
            return None
        if known:
            beginning = told(node, kind_of_task, tuple(triggers), names, known)
        else:
            beginning = contributed(node, kind_of_task, tuple(triggers), names)
        return b"".join((beginning, b",".join(pieces), b"}}")), self._changed

    def _spelled_op(
        self,
        name: str,
        op: Op,
        source: tuple[Any, Encoded] | None,
        known: dict[str, tuple[Any, Encoded]],
    ) -> bytes:
        """An op of `plain_body` that is not what the task wrote to the channel, or extends it; a
        write that it is after all is taken out of `known`."""
        kind, operand = op
        if kind is _EDIT:
            return b"%b:%b" % (quoted[name], orjson.dumps(self._edit(name, operand)))
        if source is not None and kind is _APPEND and source[0] == operand:
            del known[name]
            data, tagged = source[1]
        else:
            data, tagged = self._codec.encode(self._strip(name, operand), channel=name)
        if kind is _APPEND:
            self._track(name).extend(data)
            return (b'%b:["A",%b]' if tagged else b'%b:["a",%b]') % (quoted[name], data)
        return self._spelled_set(name, data, tagged=tagged)

    def _spelled_set(self, name: str, data: bytes, *, tagged: bool) -> bytes:
        """The op of a channel that was set to what this is the document of, with its name."""
        if len(data) >= SPLICE_BYTES_MIN:
            return b"%b:%b" % (quoted[name], orjson.dumps(self._set(name, Encoded(data, tagged))))
        self._retrack(name, data)
        return (_PLAIN_TAGGED if tagged else _PLAIN_SET) % (quoted[name], data)

    def _entry(
        self,
        index: int,
        entry: Entry,
        encoded: Sequence[Encoded | None],
        folded: set[tuple[int, int]],
    ) -> list[Any]:
        triggers = list(entry.triggers)
        row: list[Any] = [
            entry.name,
            entry.kind,
            None if triggers == [f"branch:to:{entry.name}"] else triggers,
            [
                [channel] if (index, j) in folded else spelled_write(channel, e)
                for j, ((channel, _), e) in enumerate(zip(entry.writes, encoded, strict=True))
                if e is not None
            ],
        ]
        if entry.control:
            row.append(
                {
                    str(slot): [orjson.Fragment(e.data), 1]
                    if e.tagged
                    else [orjson.Fragment(e.data)]
                    for slot, value in entry.control.items()
                    for e in (self._codec.encode(value, channel=_SLOT_NAMES.get(slot, str(slot))),)
                }
            )
        return row

    def _op(
        self,
        name: str,
        op: Op,
        sources: Sequence[tuple[int, int]],
        entries: Sequence[Entry],
        encodings: Sequence[Sequence[Encoded | None]],
        folded: set[tuple[int, int]],
    ) -> list[Any]:
        kind, operand = op
        if kind is _CLEAR:
            self.tracks.pop(name, None)
            return ["x"]
        if kind is _EDIT:
            return self._edit(name, operand)
        written = [entries[i].writes[j][1] for i, j in sources]
        known: Encoded | None = None
        if len(sources) == 1 and (
            written[0] is operand or (kind is _APPEND and written[0] == operand)
        ):
            # The one write is the operand: keep the value in the op, refer to it from the write.
            i, j = sources[0]
            known = encodings[i][j]
            folded.add((i, j))
        elif self._is_all(written, operand, kind):
            refs = shown_places(encodings, sources)
            if kind is _APPEND:
                self._extend(name, sources, encodings)
                return ["w", refs]
            self.tracks.pop(name, None)
            return ["W", refs]
        encoded = known
        if encoded is None:
            encoded = self._codec.encode(self._strip(name, operand), channel=name)
        if kind is _APPEND:
            self._track(name).extend(encoded.data)
            return ["A" if encoded.tagged else "a", orjson.Fragment(encoded.data)]
        return self._set(name, encoded)

    @staticmethod
    def _is_all(written: Sequence[Any], operand: Any, kind: OpKind) -> bool:
        """Whether the operand is exactly the writes, in order: then it need not be repeated."""
        if len(written) < 2 or not isinstance(operand, list):
            return False
        if kind is _APPEND:
            if not all(type(w) is list for w in written):
                return False
            items = [item for w in written for item in w]
        else:
            if any(isinstance(w, list) for w in written):
                return False
            items = list(written)
        return len(items) == len(operand) and all(
            a is b for a, b in zip(items, operand, strict=True)
        )

    def _edit(self, name: str, edit: Edit) -> list[Any]:
        """An edit of a list; the whole list, if an item of it had been changed in place."""
        after = list(edit.before)
        for start, cut, items in edit.splices:
            position = len(after) if start is None else start
            after[position : position + cut] = items
        track = self.tracks.get(name) or (Track(b"[]") if not edit.before else None)
        encoded = self._codec.encode(after, channel=name)
        if track is None or not track.matches(self._codec.encode(edit.before, channel=name).data):
            if track is not None:
                self._changed.append(name)
            return self._set(name, encoded)
        track.reset(encoded.data)
        self.tracks[name] = track
        splices = self._codec.encode([list(s) for s in edit.splices], channel=name)
        return ["E" if splices.tagged else "e", orjson.Fragment(splices.data)]

    def _track(self, name: str) -> Track:
        track = self.tracks.get(name)
        if track is None:
            track = self.tracks[name] = Track(b"[]")
        return track

    def _extend(
        self,
        name: str,
        sources: Sequence[tuple[int, int]],
        encodings: Sequence[Sequence[Encoded | None]],
    ) -> None:
        track = self._track(name)
        for i, j in sources:
            encoded = encodings[i][j]
            if encoded is not None:
                track.extend(encoded.data)

    def _set(self, name: str, encoded: Encoded) -> list[Any]:
        data, tagged = encoded
        track = self.tracks.get(name)
        if track is not None and len(data) >= SPLICE_BYTES_MIN:
            before = track.whole()
            splice = None if before is None else make_splice(before, data)
            if splice is not None:
                keep, cut, middle, crc = splice
                track.reset(data)
                return ["P" if tagged else "p", keep, cut, middle.decode(), crc]
        self._retrack(name, data)
        return ["S" if tagged else "s", orjson.Fragment(data)]

    def _retrack(self, name: str, data: bytes) -> None:
        """A channel was set as a whole."""
        track = self.tracks.get(name)
        if data[0] in TRACKED:
            if track is None:
                self.tracks[name] = Track(data)
            else:
                track.reset(data)
        elif track is not None:
            del self.tracks[name]

    def _mend(
        self, document: dict[str, Any], channels: Mapping[str, Any], bytes_max: int | None
    ) -> list[str]:
        """Record channels whose value no longer is what the records say: somebody changed a
        list or dict in place."""
        mended = []
        for name, track in list(self.tracks.items()):
            channel = channels.get(name)
            if channel is None or (bytes_max is not None and track.size > bytes_max):
                continue
            value = channel.checkpoint()
            if value is MISSING or isinstance(value, str):
                continue
            encoded = self._codec.encode(self._strip(name, value), channel=name)
            if track.matches(encoded.data):
                continue
            mended.append(name)
            spell_out(document, name)
            track.reset(encoded.data)
            document["c"][name] = ["S" if encoded.tagged else "s", orjson.Fragment(encoded.data)]
        return mended


_SLOT_NAMES: Final = {
    SLOT_ERROR: "__error__",
    SLOT_HANDLED: "__error_source_node__",
    SLOT_INTERRUPT: "__interrupt__",
    SLOT_RESUME: "__resume__",
    SLOT_PASSED: "__breakpoint__",
}


__all__ = [
    "FORMAT_JSON", "KIND_COMMAND", "KIND_INPUT", "KIND_PULL", "KIND_UPDATE", "SLOT_ERROR",
    "SLOT_HANDLED", "SLOT_INTERRUPT",
    "SLOT_OUTPUT", "SLOT_PASSED", "SLOT_RESUME", "BodyEncoder", "Entry", "Track",
]  # fmt: skip

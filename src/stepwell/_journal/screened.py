"""Bodies of records without what must stay off the disk.

A record says twice what a task wrote: as its write, and as what became of the channel. The
screen is asked both times. Where it lets the channel's whole value through, the difference is
stored as always; where it does not, what stands in its place is stored as a whole (of which
again only the difference to what stood there before reaches the disk), and an omitted channel
is recorded as empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stepwell._codec import Encoded
from stepwell._journal.record import (
    SLOT_ERROR,
    SLOT_HANDLED,
    SLOT_INTERRUPT,
    SLOT_RESUME,
    BodyEncoder,
    Entry,
)
from stepwell._journal.screen import Screen
from stepwell.channels.base import MISSING, Op, OpKind
from stepwell.types import OMIT

_SLOTS = {
    "__error__": SLOT_ERROR, "__error_source_node__": SLOT_HANDLED,
    "__interrupt__": SLOT_INTERRUPT, "__resume__": SLOT_RESUME,
}  # fmt: skip


class Stand(Encoded):
    """The encoding of what stands in the place of a write."""

    __slots__ = ()


class ScreenedEncoder(BodyEncoder):
    """A `BodyEncoder` that hides what its screen says."""

    __slots__ = ("_hidden", "_screen", "channels")

    def __init__(self, screen: Screen, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._screen = screen
        self._hidden: set[str] = set()
        """Channels of which something else is stored than they hold."""
        self.channels: Mapping[str, Any] = {}
        """The channels as they are when a body is made."""

    in_threads = False
    """The screen asks what the user gave, which belongs on the loop."""

    def writes(
        self,
        writes: Iterable[tuple[str, Any]],
        *,
        sliced: bool = False,  # noqa: ARG002
    ) -> list[Encoded | None]:
        """Encode the writes of a finished task (None where nothing is stored of one)."""
        return [
            None if channel in self._untracked else self._write(channel, value)
            for channel, value in writes
        ]

    def _write(self, channel: str, value: Any) -> Encoded | None:
        stripped = self._strip(channel, value)
        seen = self._screen.see(channel, stripped)
        if seen is OMIT:
            return None
        encoded = self._codec.encode(seen, channel=channel)
        return encoded if seen is stripped else Stand(*encoded)

    def _strip(self, channel: str, value: Any) -> Any:
        return self._screen.inside(channel, super()._strip(channel, value))

    def value_body(self, value: Any, *, channel: str, node: str | None = None) -> bytes:
        """The body of a pending write in a control slot."""
        slot = _SLOTS.get(channel)
        shown = value if slot is None else self._control(slot, value)
        return super().value_body(shown, channel=channel, node=node)

    def _control(self, slot: int, value: Any) -> Any:
        screen = self._screen
        if slot == SLOT_INTERRUPT:
            return screen.interrupts(value)
        if slot == SLOT_RESUME:
            return screen.answers(value)
        if slot == SLOT_ERROR:
            return screen.error(value)
        return screen.failure(value) if slot == SLOT_HANDLED else value

    def step_body(
        self, entries: Sequence[Entry], ops: Mapping[str, Op], **options: Any
    ) -> tuple[bytes, list[str]]:
        """The body of a checkpoint, and the channels that somebody had changed in place."""
        shown = [
            e._replace(control={slot: self._control(slot, v) for slot, v in e.control.items()})
            if e.control
            else e
            for e in entries
        ]
        return super().step_body(shown, ops, **options)

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
        if kind is OpKind.CLEAR:
            self._hidden.discard(name)
            return super()._op(name, op, sources, entries, encodings, folded)
        channel = self.channels.get(name)
        whole = operand if kind is OpKind.SET or channel is None else channel.checkpoint()
        if whole is MISSING:
            whole = operand
        stripped = self._strip(name, whole)
        seen = self._screen.see(name, stripped)
        if seen is OMIT:
            self._hidden.add(name)
            self.tracks.pop(name, None)
            return ["x"]
        if seen is stripped and name not in self._hidden:
            if any(type(encodings[i][j]) is Stand for i, j in sources):
                sources = ()
            return super()._op(name, op, sources, entries, encodings, folded)
        (self._hidden.discard if seen is stripped else self._hidden.add)(name)
        return self._set(name, self._codec.encode(seen, channel=name))

    def _mend(
        self, document: dict[str, Any], channels: Mapping[str, Any], bytes_max: int | None
    ) -> list[str]:
        shown = {n: _Shown(self._screen, n, c) for n in self.tracks if (c := channels.get(n))}
        mended = super()._mend(document, shown, bytes_max)
        for name in mended:
            (self._hidden.add if shown[name].hides else self._hidden.discard)(name)
        return mended


class _Shown:
    """A channel as it is stored."""

    __slots__ = ("_channel", "_name", "_screen", "hides")

    def __init__(self, screen: Screen, name: str, channel: Any) -> None:
        self._screen = screen
        self._name = name
        self._channel = channel
        self.hides = False

    def checkpoint(self) -> Any:
        value = self._channel.checkpoint()
        if value is MISSING:
            return MISSING
        inside = self._screen.inside(self._name, value)
        seen = self._screen.see(self._name, inside)
        self.hides = seen is not value
        return MISSING if seen is OMIT else seen


__all__ = ["ScreenedEncoder"]

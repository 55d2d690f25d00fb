"""The channels that nearly all keys and signals have, handled without calling them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stepwell.channels.any_value import AnyValue
from stepwell.channels.base import MISSING, BaseChannel, OneValue
from stepwell.channels.binop import BinaryOperatorAggregate
from stepwell.channels.ephemeral_value import EphemeralValue
from stepwell.channels.last_value import LastValue
from stepwell.channels.untracked_value import UntrackedValue

_CLEARING: Final = (AnyValue.update, EphemeralValue.update)
"""Those that forget their value where no write comes; the others keep it, stepping or not."""
_KEEPING: Final = (LastValue.update, UntrackedValue.update)


def is_simple(channel: BaseChannel[Any, Any, Any]) -> bool:
    """Whether a channel is one of ours whose attribute `value` becomes whatever is written, if
    one write comes, and (where it `steps`) `MISSING`, if none does.

    A channel that derives from ours is one only as long as it keeps these rules.
    """
    kind = type(channel)
    return (
        kind.update in (_CLEARING if channel.steps else (*_CLEARING, *_KEEPING))
        and kind.get is OneValue.get
        and kind.is_available is OneValue.is_available
        and kind.delta is OneValue.delta
    )


_ONE_VALUE: Final = (AnyValue, EphemeralValue, LastValue, UntrackedValue)


def empty_unless_stored(channel: BaseChannel[Any, Any, Any]) -> bool:
    """Whether a channel of which nothing is stored holds nothing."""
    return type(channel) in _ONE_VALUE


def shows_what_is_stored(channel: BaseChannel[Any, Any, Any]) -> bool:
    """Whether the value of a channel is the stored form of it, if there is one."""
    if type(channel) is BinaryOperatorAggregate:
        return getattr(channel.operator, "revive", None) is None
    return type(channel) in _ONE_VALUE


class Moulds:
    """Makes the channels of new states. Every run needs all of them, and most are of two kinds,
    which are made here without a call for each."""

    __slots__ = ("_names", "_others", "_signals", "_values")

    def __init__(self, channels: Mapping[str, BaseChannel[Any, Any, Any]]) -> None:
        self._names: dict[str, Any] = dict.fromkeys(channels)
        self._values = [(k, c.typ, c.key) for k, c in channels.items() if type(c) is LastValue]
        self._signals = [
            (k, c.typ, c.key, c.guard) for k, c in channels.items() if type(c) is EphemeralValue
        ]
        kinds = (LastValue, EphemeralValue)
        self._others = [(k, c) for k, c in channels.items() if type(c) not in kinds]

    def make(self) -> dict[str, BaseChannel[Any, Any, Any]]:
        """Empty channels by name, in the order in which the graph names them."""
        made = self._names.copy()
        new = object.__new__
        for name, typ, key in self._values:
            made[name] = value = new(LastValue)
            value.typ, value.key, value.value = typ, key, MISSING
        for name, typ, key, guard in self._signals:
            made[name] = signal = new(EphemeralValue)
            signal.typ, signal.key, signal.guard, signal.value = typ, key, guard, MISSING
        for name, channel in self._others:
            made[name] = channel.from_checkpoint(MISSING)
        return made


__all__ = ["Moulds", "empty_unless_stored", "is_simple", "shows_what_is_stored"]

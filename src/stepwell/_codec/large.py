"""Values that take long to encode: how to tell, and how to do it in pieces.

Whoever encodes on an event loop holds it up meanwhile, and a worker thread helps only between
the calls of orjson, which no other thread interrupts. So what is large is told by a look at a
few of its parts, and a long list becomes a document slice by slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from stepwell._codec.json import Codec, Encoded

LARGE_BYTES: Final = 1 << 20
"""From here on, roughly, encoding takes longer than a loop should stand still."""
_SLICE_BYTES: Final = 1 << 19
_LOOKED_AT: Final = 8
"""Parts of a container that stand for all of them."""
_LEVELS: Final = 4
_SCALAR_BYTES: Final = 8
# Tuples: `list | tuple` would be made anew at each look.
_TEXTS: Final = (str, bytes, bytearray)
_SEQUENCES: Final = (list, tuple)
_SETS: Final = (set, frozenset)
NEVER_LARGE: Final = frozenset({int, bool, float, type(None)})
"""Classes whose instances nobody need look at."""


def is_large(value: Any) -> bool:
    """Whether the document of a value has more than about `LARGE_BYTES`: a guess from samples,
    whose cost does not grow with the value."""
    return type(value) not in NEVER_LARGE and weight(value) > LARGE_BYTES


def weight(value: Any, levels: int = _LEVELS) -> float:
    """About how many bytes the document of a value has."""
    if isinstance(value, _TEXTS):
        return len(value)
    sample: Sequence[Any]
    if isinstance(value, dict):
        count, sample = len(value), list(islice(value.values(), _LOOKED_AT))
    elif isinstance(value, _SEQUENCES):
        count, sample = len(value), value
        if count > _LOOKED_AT:
            sample = [value[i * (count - 1) // (_LOOKED_AT - 1)] for i in range(_LOOKED_AT)]
    elif isinstance(value, _SETS):
        count, sample = len(value), list(islice(value, _LOOKED_AT))
    else:
        return _SCALAR_BYTES
    if not sample or not levels:
        return count * _SCALAR_BYTES
    return sum(weight(part, levels - 1) for part in sample) / len(sample) * count


def encode_in_slices(codec: Codec, value: Any, *, channel: str | None = None) -> Encoded:
    """The document that `codec.encode` makes of a value, byte for byte; a list slice by slice.

    It is the list as it was at the beginning, whatever another thread does to it meanwhile.

    Raises:
        UnsupportedTypeError: As there; but the path begins anew in each slice.
    """
    if type(value) is not list or len(value) < 2:
        return codec.encode(value, channel=channel)
    items = value.copy()
    step = max(1, int(len(items) * _SLICE_BYTES / max(weight(items), 1)))
    parts = [
        codec.encode(items[start : start + step], channel=channel)
        for start in range(0, len(items), step)
    ]
    inner = b",".join([part.data[1:-1] for part in parts])
    return Encoded(b"[%b]" % inner, any(part.tagged for part in parts))


__all__ = ["LARGE_BYTES", "NEVER_LARGE", "encode_in_slices", "is_large", "weight"]

"""How large a state may become, by what is known of the encodings of its channels."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from stepwell.errors import StateTooLargeError

if TYPE_CHECKING:
    from stepwell._journal.record import Track
    from stepwell.checkpoint.driver import ThreadKey

_log = logging.getLogger("stepwell")

_SHOWN: Final = 3
_TOLD_MAX: Final = 10_000


class Budget:
    """Bounds of the state of one namespace, in bytes of JSON; numbers do not count.

    Args:
        warn: From where on it is said, once per thread; None = never.
        most: More is refused; None = nothing is.
    """

    def __init__(self, warn: int | None, most: int | None) -> None:
        self._warn = warn
        self._most = most
        self._told: set[ThreadKey] = set()

    def check(self, key: ThreadKey, tracks: Mapping[str, Track]) -> None:
        """Look at a state before it is stored.

        Raises:
            StateTooLargeError: It is larger than it may be.
        """
        size = sum(track.size for track in tracks.values())
        if self._most is not None and size > self._most:
            msg = (
                f"The state of thread {key.thread_id!r} would be {size:,} bytes, and may be "
                f"{self._most:,} (state_bytes_max). Largest: {_largest(tracks)}. The superstep was "
                "not stored: what was there before is unchanged."
            )
            raise StateTooLargeError(msg, thread_id=key.thread_id)
        if self._warn is not None and size > self._warn and key not in self._told:
            if len(self._told) >= _TOLD_MAX:
                self._told.clear()
            self._told.add(key)
            _log.warning(
                "The state of thread %r is %s bytes, more than state_bytes_warn=%s. Largest: %s.",
                key.thread_id, f"{size:,}", f"{self._warn:,}", _largest(tracks),
            )  # fmt: skip


def _largest(tracks: Mapping[str, Track]) -> str:
    sizes = sorted(((t.size, name) for name, t in tracks.items()), reverse=True)
    return ", ".join(f"{name} {size:,}" for size, name in sizes[:_SHOWN])


__all__ = ["Budget"]

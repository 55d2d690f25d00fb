"""What a saver tells of what it keeps, beyond listings: differences, figures, health."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepwell.checkpoint import _reading as reading
from stepwell.checkpoint._diffing import Operation, difference
from stepwell.checkpoint._keeping import Keeping


class Looking(Keeping):
    """The part of a saver that compares and counts what is stored."""

    async def adiff(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Operation]:
        """What leads from the values of one checkpoint to those of another: an RFC 6902 patch.

        It is made of the stored form, which is JSON: no class of the state needs to be known
        here, and what JSON cannot say appears under a tag (`{"$tuple": [1, 2]}`). Channels that
        only lead from node to node are left out. 1, 1.0 and true are different values.

        Args:
            a: A config; without `checkpoint_id` it names the newest checkpoint of its thread
                and `checkpoint_ns`.
            b: Another one; of the same thread, or of any other in this scope.

        Returns:
            Operations `{"op": "add" | "remove" | "replace", "path": ..., "value": ...}`, to be
            applied in order; none if the values are the same.

        Raises:
            NotFoundError: There is no such checkpoint.
            UsageError: A config names no thread.
            InvalidIdError: A thread id is none.
            CorruptRecordError: A record is damaged.
        """
        places = [reading.place_of(config) for config in (a, b)]
        keys = [self.key(place.thread_id) for place in places]

        async def compare() -> list[Operation]:
            reader = await self._reader()
            named = zip(keys, places, strict=True)
            old, new = [await reading.stored_values(reader, *each) for each in named]
            return difference(old, new)

        return await self.at_home(compare)

    def diff(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Operation]:
        """Sync twin of `adiff`."""
        return self._now(lambda: self.adiff(a, b), "diff")


__all__ = ["Looking"]

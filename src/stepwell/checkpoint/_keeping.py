"""What a saver does so that storage stays small: fold, prune, give space back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from stepwell._journal.folding import Gain
from stepwell.checkpoint import _listing as listing
from stepwell.checkpoint._results import CompactReport
from stepwell.checkpoint._upkeep import Upkeep, listed
from stepwell.checkpoint.driver import ThreadKey


class Keeping(Upkeep):
    """The part of a saver that keeps storage small."""

    async def acompact(self, thread_ids: Sequence[Any] | None = None) -> CompactReport:
        """Fold threads as far as they can be, and give free space back.

        Folding goes on by itself in the background where a thread grows; this is for what it
        leaves: short stretches, threads that nobody writes any more, space of deleted rows.
        States and histories stay exactly as they are, and threads may be running meanwhile.

        Args:
            thread_ids: Which; None: all threads of this scope. Unknown ones are left out.

        Returns:
            What was done. SQLite: pages of deleted rows are cut off the file as far as they
            are at its end, the others are used again; PostgreSQL: autovacuum does that.

        Raises:
            TypeError: `thread_ids` is a single text.
            CorruptRecordError: A record is damaged; threads before it are compacted.
            StorageError: The database did not answer.
        """
        named = None if thread_ids is None else [self.key(i) for i in listed(thread_ids)]

        async def compact() -> CompactReport:
            journal = await self.journal()
            threads, gain = 0, Gain()
            for key in await self._keys(named):
                gain = gain.plus(await journal.compact(key))
                threads += 1
            return CompactReport(
                threads=threads,
                rows=gain.rows,
                merged=gain.merged,
                segments=gain.segments,
                bytes=gain.bytes,
                reclaimed_bytes=await journal.reclaim(),
            )

        return await self.at_home(compact)

    def compact(self, thread_ids: Sequence[Any] | None = None) -> CompactReport:
        """Sync twin of `acompact`."""
        return self._now(lambda: self.acompact(thread_ids), "compact")

    async def _keys(self, named: Sequence[ThreadKey] | None) -> Sequence[ThreadKey]:
        """Those named, or those of all threads of this scope."""
        if named is not None:
            return named
        async with aclosing(listing.thread_keys(await self.journal(), self._scope)) as keys:
            return [key async for key in keys]


__all__ = ["Keeping"]

"""What a saver does so that storage stays small: fold, prune, give space back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

from stepwell._journal.folding import Gain
from stepwell.checkpoint._looking import listing
from stepwell.checkpoint._options import seconds
from stepwell.checkpoint._results import CompactReport, PruneReport, ThreadInfo
from stepwell.checkpoint._upkeep.pruning import Pass, prune_threads, tell_pruned, unconcerned
from stepwell.checkpoint._upkeep.retention import KEEP_LATEST, ONLY_OWN_TTL, Retention
from stepwell.checkpoint._upkeep.threads import Upkeep, listed
from stepwell.checkpoint.driver import ThreadKey, ThreadQuery, ThreadRow
from stepwell.errors import CorruptRecordError, NotFoundError, StorageError, UsageError

_log = logging.getLogger("stepwell")

BATCH_ROWS: Final = 1000
"""Rows that one transaction of a background pass deletes or writes, about."""


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
            UsageError: `thread_ids` is a single text, or no collection.
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

    async def aprune(
        self,
        thread_ids: Sequence[Any] | None = None,
        policy: Retention | None = None,
        *,
        strategy: str | None = None,
        dry_run: bool = False,
        batch_rows: int = 1000,
    ) -> PruneReport:
        """Delete what a policy does not keep.

        Every checkpoint that stays has exactly the state it had. Threads are claimed one after
        the other and never waited for; a pass that was killed is simply made again. Threads that
        are running are left alone.

        Args:
            thread_ids: Which; None: all threads of this scope. Unknown ones are left out.
            policy: What may go. None: the saver's `retention`; if it has none, "keep_latest" for
                threads that are named, and else only threads whose own time is over.
            strategy: LangGraph's form, in place of a policy. "keep_latest": all but the newest
                checkpoint of each namespace; "delete": the threads.
            dry_run: Only say what would be done.
            batch_rows: Rows that one transaction deletes or writes, about.

        Raises:
            UsageError: Policy and strategy are both given, `batch_rows` is no count, or
                `thread_ids` a single text.
            ValueError: There is no such strategy.
            ThreadBusyError: strategy="delete": a thread is running; those before it are deleted.
            CorruptRecordError: A record is damaged; threads before it are pruned.
            StorageError: The database did not answer; what is done is done.
        """
        check_batch_rows(batch_rows)
        if not isinstance(dry_run, bool):
            raise UsageError(f"dry_run must be True or False, not {dry_run!r:.100}.")
        _check_policy(policy)
        if policy is not None and strategy is not None:
            raise UsageError("aprune() takes a policy or LangGraph's strategy, not both.")
        if strategy not in (None, "delete", "keep_latest"):
            msg = f"Unknown prune strategy: {strategy!r}. There are 'delete' and 'keep_latest'."
            raise ValueError(msg)
        named = None if thread_ids is None else [self.key(i) for i in listed(thread_ids)]
        if strategy is not None and named is None:
            raise UsageError("A strategy needs thread_ids; for all threads, give a policy.")
        if strategy == "delete":
            return await self._delete_all(named or (), dry_run=dry_run)
        policy = policy or self._retention
        by_langgraph = strategy is not None or (policy is None and named is not None)
        chosen = KEEP_LATEST if by_langgraph else policy or ONLY_OWN_TTL

        async def prune() -> PruneReport:
            reader = await self._reader()
            work = Pass(chosen, self._clock.wall(), batch_rows, dry_run, by_langgraph)
            report = PruneReport()
            pages = _named(named) if named is not None else self._listed(reader, work)
            async with aclosing(pages):
                async for keys in pages:
                    async with aclosing(prune_threads(reader, keys, work)) as pruned:
                        async for _, done in pruned:
                            report = report.plus(done)
            return report

        return await self.at_home(prune)

    def prune(
        self,
        thread_ids: Sequence[Any] | None = None,
        policy: Retention | None = None,
        *,
        strategy: str | None = None,
        dry_run: bool = False,
        batch_rows: int = 1000,
    ) -> PruneReport:
        """Sync twin of `aprune`."""
        return self._now(
            lambda: self.aprune(
                thread_ids, policy, strategy=strategy, dry_run=dry_run, batch_rows=batch_rows
            ),
            "prune",
        )

    async def _delete_all(self, keys: Sequence[ThreadKey], *, dry_run: bool) -> PruneReport:
        report = PruneReport()
        for key in keys:
            info = await self.at_home(partial(self._info, key))
            if info is None:
                continue
            gone = PruneReport(threads=1, checkpoints=info.checkpoints, bytes=info.bytes)
            if not dry_run:
                began = self._clock.monotonic()
                await self.adelete_thread(key.thread_id)
                await self.at_home(partial(self._tell, key, gone, began))
            report = report.plus(gone)
        return report

    async def _tell(self, key: ThreadKey, gone: PruneReport, began: float) -> None:
        tell_pruned(await self.journal(), key, gone, self._clock.monotonic() - began)

    async def _info(self, key: ThreadKey) -> ThreadInfo | None:
        return await listing.get_thread(await self._reader(), key)

    @asynccontextmanager
    async def pruning(
        self, policy: Retention | None = None, *, interval_s: float | timedelta = 300.0
    ) -> AsyncIterator[None]:
        """Prune all threads of this scope again and again, for as long as the block lasts.

        Threads that have nothing to prune and are not written are looked at by their row only.

        Args:
            policy: What may go; None: as for `aprune`.
            interval_s: Seconds or a timedelta between passes; the first begins at once.

        Raises:
            UsageError: `interval_s` is no span of time.
        """
        pause_s = seconds("interval_s", interval_s)
        _check_policy(policy)
        chosen = policy or self._retention or ONLY_OWN_TTL
        await self.at_home(self.journal)
        task = asyncio.ensure_future(self.at_home(lambda: self._prune_for_ever(chosen, pause_s)))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _prune_for_ever(self, policy: Retention, pause_s: float) -> None:
        settled: dict[ThreadKey, tuple[int, float]] = {}
        while True:
            try:
                await self._prune_changed(policy, settled)
            except (StorageError, CorruptRecordError) as error:
                _log.warning("A pass of retention failed, and is made again: %s", error)
            await asyncio.sleep(pause_s)

    async def _prune_changed(
        self, policy: Retention, settled: dict[ThreadKey, tuple[int, float]]
    ) -> None:
        """One pass over the rows of all threads. `settled`: the record number of threads in
        which there was nothing left to prune, and when that was."""
        reader, now = await self._reader(), self._clock.wall()
        known = dict(settled)
        seen: set[ThreadKey] = set()
        work = Pass(policy, now, BATCH_ROWS, dry_run=False)
        async with aclosing(self._pages(reader)) as pages:
            async for page in pages:
                seen.update(row.key for row in page)
                keys = [
                    row.key
                    for row in page
                    if not unconcerned(row, work)
                    and (
                        policy.expired(row, now) or not _is_settled(policy, row, known.get(row.key))
                    )
                ]
                async with aclosing(prune_threads(reader, keys, work)) as pruned:
                    async for row, report in pruned:
                        if not report.skipped:
                            settled[row.key] = (row.record_no, now)
        for key in settled.keys() - seen:
            del settled[key]

    def _pages(self, reader: listing.Reader) -> AsyncGenerator[list[ThreadRow], None]:
        """All threads of this scope, in an order that neither runs nor a pass change."""
        query = ThreadQuery(scope=self._scope, order="thread_id", descending=False)
        return listing.thread_pages(reader.journal, query)

    async def _listed(
        self, reader: listing.Reader, work: Pass
    ) -> AsyncGenerator[list[ThreadKey], None]:
        """Of each page of threads, those in which something may go."""
        async with aclosing(self._pages(reader)) as pages:
            async for page in pages:
                yield [row.key for row in page if not unconcerned(row, work)]

    async def aset_ttl(self, thread_id: Any, ttl: float | timedelta | None) -> None:
        """Say how long a thread is kept after its last update, whatever the policy says.

        Args:
            thread_id: Which thread.
            ttl: Seconds or a timedelta; None: the policy decides.

        Raises:
            NotFoundError: There is no such thread.
            UsageError: `ttl` is no span of time.
            InvalidIdError: The id is none.
        """
        key = self.key(thread_id)
        ttl_s = None if ttl is None else seconds("ttl", ttl, least=0)

        async def set_it() -> None:
            if not await (await self.journal()).set_ttl(key, ttl_s):
                msg = f"There is no thread {key.thread_id!r}."
                raise NotFoundError(msg, thread_id=key.thread_id)

        await self.at_home(set_it)

    def set_ttl(self, thread_id: Any, ttl: float | timedelta | None) -> None:
        """Sync twin of `aset_ttl`."""
        self._now(lambda: self.aset_ttl(thread_id, ttl), "set_ttl")

    async def _keys(self, named: Sequence[ThreadKey] | None) -> Sequence[ThreadKey]:
        """Those named, or those of all threads of this scope."""
        if named is not None:
            return named
        async with aclosing(listing.thread_keys(await self.journal(), self._scope)) as keys:
            return [key async for key in keys]


async def _named(keys: Sequence[ThreadKey]) -> AsyncGenerator[list[ThreadKey], None]:
    """Threads that were named, in pages; each once."""
    once = list(dict.fromkeys(keys))
    for start in range(0, len(once), listing.PAGE):
        yield once[start : start + listing.PAGE]


def check_batch_rows(batch_rows: object) -> None:
    """Refuse what is no count.

    Raises:
        UsageError: It is none.
    """
    if type(batch_rows) is not int or batch_rows < 1:
        raise UsageError(f"batch_rows must be a whole number from 1 on, not {batch_rows!r:.80}.")


def _check_policy(policy: object) -> None:
    if policy is not None and not isinstance(policy, Retention):
        raise UsageError(f"policy must be a Retention or None, not {policy!r:.100}.")


def _is_settled(policy: Retention, row: ThreadRow, known: tuple[int, float] | None) -> bool:
    """Whether a pass would find what an earlier one has found: nothing."""
    if not policy.prunes:
        return True
    if known is None or known[0] != row.record_no:
        return False
    # What was too young at that pass may have aged since.
    return policy.max_age_s is None or known[1] > row.updated_at + policy.max_age_s


__all__ = ["Keeping", "check_batch_rows"]

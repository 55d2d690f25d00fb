"""The memory driver: threads in dicts of this process; the reference for the other drivers.

Every verb is a coroutine that never suspends, so it is one step of the event loop: nothing
can come between a fence and what it guards, and no lock is needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from typing import Literal

from stepwell._clock import SYSTEM_CLOCK, Clock
from stepwell.checkpoint.driver import (
    Ask,
    Busy,
    Capability,
    Claim,
    ClaimRequest,
    CommitOutcome,
    Committed,
    Failed,
    Held,
    HistoryPage,
    Layout,
    Loaded,
    LoadRequest,
    Lost,
    Relayout,
    Renewed,
    RowKind,
    RowPlace,
    RunRow,
    SegmentPlace,
    Slice,
    Stale,
    Tally,
    TallyQuery,
    ThreadKey,
    ThreadPart,
    ThreadQuery,
    ThreadRow,
    Vitals,
)
from stepwell.checkpoint.memory._backup import MemorySnapshot, put, reseal
from stepwell.checkpoint.memory._listing import Listings
from stepwell.checkpoint.memory._page import between, page
from stepwell.checkpoint.memory._rows import Thread
from stepwell.errors import SequenceConflictError

_new = tuple.__new__


class MemoryDriver:
    """Keeps threads for as long as the object lives; closing it loses nothing.

    It serves one process and one event loop. It has no advisory locks: inside a process
    there is no death to witness, and a lease is all that a claim needs.

    Args:
        clock: `monotonic()` for leases, `wall()` for the times that rows show.
    """

    name: str = "memory"
    capabilities: frozenset[Capability] = frozenset({Capability.ONLINE_BACKUP})
    opens_at_once: Literal[True] = True

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._threads: dict[ThreadKey, Thread] = {}
        self._listings = Listings(self._threads)
        self.unfinished: str | None = None

    # --- lifecycle: there is nothing to connect to, and nothing to migrate
    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do: the threads stay."""

    def forget(self) -> None:
        """Nothing to do: after a fork, parent and child each have their own copy."""

    async def migrate(self, mode: Literal["auto", "check", "off"]) -> None:
        """Nothing to do: rows in memory have the form of this release."""

    # --- who writes -----------------------------------------------------------------------------

    async def claim(self, requests: Sequence[ClaimRequest]) -> list[Claim | Busy]:
        """Claim each thread that is free, the worker's own, expired, or confirmed dead."""
        return self.claim_now(requests)

    def claim_now(self, requests: Sequence[ClaimRequest]) -> list[Claim | Busy]:
        """The same without a coroutine: nothing here ever waits."""
        now = self._clock.monotonic()
        return [self._claim(request, now) for request in requests]

    def _claim(self, request: ClaimRequest, now: float) -> Claim | Busy:
        thread = self._threads.get(request.key)
        taken_over = False
        if thread is None:
            thread = Thread(request.key, request.fresh_uid, request.fresh_no, self._clock.wall())
            self._threads[request.key] = thread
            self._listings.changed()
        else:
            owner, lease_until = thread.owner, thread.lease_until
            if owner is not None and owner != request.worker and lease_until is not None:
                suspected = request.confirmed == (thread.epoch, thread.beat)
                if lease_until >= now and not suspected:
                    return Busy(
                        key=request.key,
                        epoch=thread.epoch,
                        beat=thread.beat,
                        owner=owner,
                        lock_free=None,
                        lease_left_s=lease_until - now,
                        run_id=thread.run_id(),
                    )
                taken_over = True
            thread.epoch += 1
        thread.owner = request.worker
        thread.lease_until = now + request.lease_ttl_s
        thread.beat += 1
        thread.request, thread.wanted = None, False
        thread.claimed_record_no = thread.record_no
        return Claim(
            key=request.key,
            epoch=thread.epoch,
            record_no=thread.record_no,
            lock_key=None,
            loaded=self._load(thread, request.load_ns, request.load_seq, now),
            taken_over=taken_over,
        )

    async def renew(
        self, worker: bytes, held: Sequence[Held], lease_ttl_s: float
    ) -> list[Renewed | Lost]:
        """Extend the lease of each claim still ours."""
        now = self._clock.monotonic()
        outcomes: list[Renewed | Lost] = []
        for claim in held:
            thread = self._held(claim, worker)
            if thread is None:
                known = self._threads.get(claim.key)
                outcomes.append(Lost(None if known is None else known.epoch))
                continue
            thread.lease_until = now + lease_ttl_s
            thread.beat += 1
            outcomes.append(Renewed(thread.request, thread.wanted))
        return outcomes

    async def release(self, worker: bytes, held: Sequence[Held]) -> None:
        """Free each claim still ours."""
        for claim in held:
            thread = self._held(claim, worker)
            if thread is not None:
                thread.owner = thread.lease_until = None

    async def unlock(self, held: Sequence[Held]) -> None:
        """Nothing to do: there are no locks."""

    async def want(self, keys: Sequence[ThreadKey]) -> None:
        """Mark these threads as waited for, until their next claim."""
        for key in keys:
            thread = self._threads.get(key)
            if thread is not None:
                thread.wanted = True

    async def ask(self, asks: Sequence[Ask]) -> list[bool]:
        """Leave each request with the owner of its thread."""
        return [self._ask(ask) for ask in asks]

    def _ask(self, ask: Ask) -> bool:
        thread = self._threads.get(ask.key)
        if thread is None or thread.epoch != ask.epoch or thread.owner is None:
            return False
        if thread.request is None or ask.replace:
            thread.request = ask.request
        thread.wanted = True
        return True

    async def delete(self, claim: Held, worker: bytes) -> bool:
        """Drop the thread if the claim is live; nothing of it stays behind."""
        if self._held(claim, worker) is None:
            return False
        del self._threads[claim.key]
        self._listings.changed()
        return True

    def _held(self, claim: Held, worker: bytes) -> Thread | None:
        """The thread of a claim, if that claim is live."""
        thread = self._threads.get(claim.key)
        if thread is None or thread.epoch != claim.epoch or thread.owner != worker:
            return None
        return thread

    # --- writing --------------------------------------------------------------------------------

    async def commit(self, batch: Sequence[Slice]) -> list[CommitOutcome]:
        """Write each slice behind its fence; one that does not fit fails alone."""
        return self.commit_now(batch)

    def commit_now(self, batch: Sequence[Slice]) -> list[CommitOutcome]:
        """The same without a coroutine: nothing here ever waits."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        self._listings.written += 1
        if len(batch) == 1:  # as nearly always: what does not wait is committed by itself
            return [self._commit(batch[0], now, wall)]
        return list(map(partial(self._commit, now=now, wall=wall), batch))

    def _commit(self, piece: Slice, now: float, wall: float) -> CommitOutcome:
        thread = self._threads.get(piece[0])
        if thread is None:
            return Stale(None)
        epoch, owner, known_no = piece[1], piece[2], piece[3]
        if epoch != thread.epoch or owner != thread.owner or known_no != thread.record_no:
            return _not_written(thread, piece)
        if not thread.write_next(piece, wall):
            try:
                thread.check(piece)
            except SequenceConflictError as error:
                return Failed(error)
            thread.write(piece, wall)
        if piece[13]:
            thread.owner = thread.lease_until = None
        else:
            thread.lease_until = now + piece[5]
        return _new(Committed, (piece[4], False, thread.request, thread.wanted))

    async def free_locks(self, lock_keys: Sequence[int]) -> list[bool]:
        """There are no locks, so none is known to be free."""
        return [False for _ in lock_keys]

    async def landed(self, key: ThreadKey, record_no: int, epoch: int) -> bool:
        """Is the record there? Of epochs before the last only if it left a row."""
        thread = self._threads.get(key)
        return thread is not None and thread.holds(record_no, epoch)

    # --- reading --------------------------------------------------------------------------------

    async def load(self, requests: Sequence[LoadRequest]) -> list[Loaded]:
        """Read each chain."""
        now = self._clock.monotonic()
        answers: list[Loaded] = []
        for request in requests:
            thread = self._threads.get(request.key)
            answers.append(
                Loaded(thread=None)
                if thread is None
                else self._load(thread, request.ns_name, request.seq, now)
            )
        return answers

    def _load(self, thread: Thread, ns_name: str, seq: int | None, now: float) -> Loaded:
        found = thread.named(ns_name)
        if found is None:
            return Loaded(thread=thread.row(now), runs=thread.runs_of(()))
        number, space = found
        asked = space.head if seq is None else seq
        legs = space.legs(asked)
        rows = [row for leg in legs for row in space.between(*leg)]
        segments = [segment for leg in legs for segment in space.folded(*leg)]
        # Writes may be filed under "no checkpoint yet" (0), but not under one that is not there.
        writes = thread.writes_under(number, asked) if legs or asked == 0 else ()
        return Loaded(
            thread=thread.row(now, ns_name),
            ns=number,
            rows=rows,
            segments=segments,
            writes=writes,
            runs=thread.runs_of(rows, [s for s in segments if s.seq_from <= asked <= s.seq_to]),
        )

    async def history(
        self,
        key: ThreadKey,
        ns_name: str,
        upto: int | None,
        *,
        since: int = 1,
        current: bool = False,  # noqa: ARG002  # there is no replica
    ) -> HistoryPage:
        """Read the rows of one namespace over all branches, oldest first."""
        thread = self._threads.get(key)
        if thread is None:
            return HistoryPage(thread=None)
        return between(thread, ns_name, since, upto, self._clock.monotonic())

    async def page(
        self,
        key: ThreadKey,
        ns_name: str,
        upto: int | None,
        limit: int,
        *,
        current: bool = False,  # noqa: ARG002  # there is no replica
    ) -> HistoryPage:
        """Read the newest checkpoints up to a seq, and what their states are made of."""
        thread = self._threads.get(key)
        if thread is None:
            return HistoryPage(thread=None)
        return page(thread, ns_name, upto, limit, self._clock.monotonic())

    async def layout(self, key: ThreadKey, ns_name: str) -> Layout:
        """Say how one namespace is stored."""
        thread = self._threads.get(key)
        if thread is None:
            return Layout(thread=None)
        row = thread.row(self._clock.monotonic(), ns_name)
        found = thread.named(ns_name)
        if found is None:
            return Layout(thread=row)
        number, space = found
        return Layout(
            thread=row,
            ns=number,
            rows=[
                RowPlace(r.seq, r.parent, len(r.body) + len(r.metadata or b"")) for r in space.rows
            ],
            segments=[
                SegmentPlace(s.seq_from, s.seq_to, s.parent, len(s.body) + len(s.detail))
                for s in space.segments or ()
            ],
        )

    # --- other forms ----------------------------------------------------------------------------

    async def write_segments(self, change: Relayout) -> bool:
        """Store a part of a namespace in another form."""
        thread = self._threads.get(change.key)
        return thread is not None and self._relay(thread, change)

    async def prune(self, claim: Held, worker: bytes, change: Relayout) -> bool:
        """The same under a claim."""
        thread = self._held(claim, worker)
        return thread is not None and self._relay(thread, change)

    def _relay(self, thread: Thread, change: Relayout) -> bool:
        space = thread.space(change.ns)
        if space is None or thread.layout_no != change.layout_no:
            return False
        space.relay(change)
        thread.layout_no += 1
        thread.checkpoints += change.checkpoints
        thread.bytes += change.bytes
        for seq in change.writes_gone if thread.writes else ():
            thread.writes.pop((change.ns, seq), None)  # type: ignore[union-attr]  # asked above
        thread.writes = thread.writes or None
        return True

    async def set_ttl(self, key: ThreadKey, ttl_s: float | None) -> bool:
        """Set how long a thread is to be kept."""
        thread = self._threads.get(key)
        if thread is not None:
            thread.ttl_s = ttl_s
        return thread is not None

    async def reclaim(self) -> int:
        """Nothing to do: what is deleted is free at once."""
        return 0

    async def threads(self, query: ThreadQuery) -> list[ThreadRow]:
        """Read one page of threads; builds only the page."""
        now = self._clock.monotonic()
        return [thread.row(now) for thread in self._listings.page(query)]

    async def tally(self, query: TallyQuery) -> list[Tally]:
        """Count threads by graph, status and when they were created."""
        groups: dict[tuple[str | None, int, int], list[Thread]] = {}
        for thread in self._threads.values():
            since = query.updated_since
            if thread.key.scope == query.scope and (since is None or thread.updated_at >= since):
                span = int(thread.created_at // query.width_s) if query.width_s else 0
                groups.setdefault((thread.change.graph, thread.change.status, span), []).append(
                    thread
                )
        return [
            Tally(
                *group,
                threads=len(threads),
                runs=sum(len(t.runs) for t in threads),
                checkpoints=sum(t.checkpoints for t in threads),
                bytes=sum(t.bytes for t in threads),
                interrupts=sum(t.change.interrupts for t in threads),
                created_first=min(t.created_at for t in threads),
                updated_last=max(t.updated_at for t in threads),
            )
            for group, threads in groups.items()
        ]

    async def vitals(self) -> Vitals:
        """Say what the rows take; the dicts around them are not counted."""
        return Vitals(bytes=sum(thread.bytes for thread in self._threads.values()))

    async def namespaces(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[tuple[int, str, int]]:
        """Read one page of namespaces, newest first."""
        thread = self._threads.get(key)
        if thread is None:
            return []
        older = (
            (number, space.name, space.head)
            for number, space in thread.newest_spaces()
            if after is None or number < after
        )
        return list(islice(older, limit))

    async def runs(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[RunRow]:
        """Read one page of runs, newest first."""
        thread = self._threads.get(key)
        if thread is None:
            return []
        end = len(thread.runs) if after is None else min(len(thread.runs), max(after - 1, 0))
        return thread.runs[max(end - limit, 0) : end][::-1]

    async def runs_numbered(self, names: Sequence[tuple[ThreadKey, int]]) -> list[RunRow | None]:
        """Look up runs by thread and number."""
        found: list[RunRow | None] = []
        for key, number in names:
            runs = thread.runs if (thread := self._threads.get(key)) else []
            found.append(runs[number - 1] if 0 < number <= len(runs) else None)
        return found

    async def described(self, keys: Sequence[ThreadKey]) -> list[RunRow | None]:
        """Look up the newest run with metadata of each thread."""
        return [thread.described() if (thread := self._threads.get(k)) else None for k in keys]

    async def keyed_run(self, key: ThreadKey, idempotency_key: str) -> RunRow | None:
        """Look up the run that has an idempotency key."""
        thread = self._threads.get(key)
        number = None if thread is None else (thread.idempotency or {}).get(idempotency_key)
        return None if thread is None or number is None else thread.runs[number - 1]

    # --- as a whole -----------------------------------------------------------------------------

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[MemorySnapshot]:
        """See all threads as they are now."""
        yield MemorySnapshot(self._threads, self.unfinished, self._clock.monotonic())

    async def restore(self, parts: Sequence[ThreadPart], gone: Sequence[ThreadKey] = ()) -> None:
        """Put threads in place as they were elsewhere."""
        for key in gone:
            self._threads.pop(key, None)
        for part in parts:
            put(self._threads, part)
        self._listings.changed()

    async def reseal(self, worker: bytes, changes: Sequence[tuple[Held, ThreadPart]]) -> list[bool]:
        """Put other bytes into rows that are there."""
        return reseal([(self._held(claim, worker), part) for claim, part in changes])

    async def strays(self, *, remove: bool = False) -> dict[RowKind, int]:  # noqa: ARG002
        """There are none: rows are kept inside their threads."""
        return {}

    async def mark(self, note: str | None) -> None:
        """Say that the threads of this driver are not all there yet, or that they are."""
        self.unfinished = note


def _not_written(thread: Thread, piece: Slice) -> Committed | Stale:
    """Tell a retry of what has landed from a slice of somebody who is not the writer."""
    mine = thread.owner == piece.owner or (thread.owner is None and piece.let_go)
    if mine and thread.epoch == piece.epoch and thread.record_no > piece.record_no:
        upto = min(thread.record_no, piece.record_no_after)
        return Committed(upto, True, thread.request, thread.wanted)
    return Stale(thread.epoch, thread.owner, thread.record_no)

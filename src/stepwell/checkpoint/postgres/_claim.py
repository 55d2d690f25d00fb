"""Claiming threads: guess or read the rows, decide, lock, compare-and-set, load.

Most threads are new, or were let go by this very process. So the epoch is guessed first, which
the compare-and-set bears as well as one that was read a moment ago; what stands in its way it
answers, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from stepwell._dataclass import dataclass
from stepwell._db._postgres_errors import LOCK_TIMEOUT, broken_off
from stepwell._db.postgres import FastUUID, LockSession, Postgres
from stepwell.checkpoint.driver import (
    NAMESPACES_MAX,
    Busy,
    Claim,
    ClaimRequest,
    CommitOutcome,
    Committed,
    Held,
    Loaded,
    LoadRequest,
    Slice,
    ThreadKey,
    ThreadRow,
)
from stepwell.checkpoint.postgres._claimed import Seen, read_answers
from stepwell.checkpoint.postgres._read import load
from stepwell.checkpoint.postgres._rows import exact, key_of, text_of, uuid_of
from stepwell.errors import StorageError, StorageUnavailableError

_log = logging.getLogger("stepwell.lock")

ROUNDS: Final = 10
BREAKS: Final = 5
"""Connections that one claim may lose on its way."""
PAUSE_S: Final = 0.025
"""ROUNDS x PAUSE_S is how long a claim waits for a row that a stranger has locked."""
LOAD_BYTES_MAX: Final = 16 << 20
"""Bytes of threads that one claim statement loads, all together; larger ones are read after it."""
_KNOWN_MAX: Final = 100_000


@dataclass(slots=True)
class _Attempt:
    """One request about to be sent: under which epoch and beat, with which lock."""

    place: int
    request: ClaimRequest
    key: UUID
    epoch: int
    beat: int | None
    lock_key: int | None = None


@dataclass(slots=True)
class _Taken:
    """A claim whose compare-and-set has passed."""

    attempt: _Attempt
    row: ThreadRow
    taken_over: bool
    loaded: Loaded | None
    """What was read with it; None: it is to be read."""

    @property
    def held(self) -> Held:
        return Held(self.attempt.request.key, self.row.epoch, self.attempt.lock_key)


class _Call:
    """One batch of requests on its way."""

    __slots__ = ("locks", "outcomes", "requests", "seen", "taken", "waiting")

    def __init__(self, requests: Sequence[ClaimRequest]) -> None:
        self.requests = requests
        self.outcomes: dict[int, Claim | Busy] = {}
        self.waiting = list(range(len(requests)))
        self.taken: list[_Taken] = []
        self.seen: dict[UUID, Seen | None] = {}
        """The rows of threads that could not be had, as they were read last; None: no row."""
        self.locks: dict[int, int | None] = {}
        """Lock keys of requests that were refused, so that no row names them; by place."""


class Claims:
    """The claims of one driver, batched."""

    def __init__(self, db: Postgres) -> None:
        self._db = db
        self._free: dict[UUID, int] = {}
        """The epochs of threads that this process has let go."""
        self._busy: set[UUID] = set()
        """Threads that were held by somebody when they were asked for last: who waits for one asks
        again and again, and a look is all that it takes to see that it still is."""

    def freed(self, key: ThreadKey, epoch: int) -> None:
        """The process has let a thread go, at this epoch."""
        if len(self._free) >= _KNOWN_MAX:
            self._free.clear()  # they are only a short cut
        self._free[key_of(key)] = epoch

    def noted(self, batch: Sequence[Slice], outcomes: list[CommitOutcome]) -> list[CommitOutcome]:
        """The outcomes of a batch, having taken note of the threads that it has let go."""
        for piece, outcome in zip(batch, outcomes, strict=True):
            if piece.let_go and isinstance(outcome, Committed):
                self.freed(piece.key, piece.epoch)
        return outcomes

    async def claim(self, requests: Sequence[ClaimRequest]) -> list[Claim | Busy]:
        """Claim each thread that is free to take; outcomes in the order of `requests`."""
        call = _Call(requests)
        outcomes, taken = call.outcomes, call.taken
        breaks = 0
        try:
            for turn in range(ROUNDS + 1):
                if turn > 2:
                    # The row changes hands or is locked: give it time.
                    await asyncio.sleep(PAUSE_S)
                try:
                    if not taken:
                        await self._round(call)
                    outcomes |= dict(await self._load(taken))
                except StorageUnavailableError as error:
                    # A claim takes several replies. Where connections keep breaking, what one
                    # of them has brought must count, or nobody would ever get to the last.
                    breaks += 1
                    if breaks > BREAKS or not broken_off(error):
                        raise
                    continue
                taken.clear()
                call.waiting = [place for place in call.waiting if place not in outcomes]
                if not call.waiting:
                    break
            else:
                await self._undo([claim.held for claim in taken], requests)
                for place in call.waiting:
                    request = requests[place]
                    outcomes[place] = _busy(request, call.seen.get(key_of(request.key)))
        except BaseException:
            done = [claim for claim in outcomes.values() if isinstance(claim, Claim)]
            await self._undo([claim.held for claim in taken] + held_by(done), requests)
            raise
        finally:
            await self._unlock_unused(call)
        return [outcomes[place] for place in range(len(requests))]

    async def _round(self, call: _Call) -> None:
        """Read or guess, decide, claim."""
        requests, seen = call.requests, call.seen
        places: dict[UUID, int] = {}
        for place in call.waiting:
            # A thread named twice: one after the other.
            places.setdefault(key_of(requests[place].key), place)
        # A suspicion is confirmed by a look at the row; elsewhere the last refusal was one.
        looked_at = {
            key: place
            for key, place in places.items()
            if key not in seen and (requests[place].confirmed is not None or key in self._busy)
        }
        if looked_at:
            found = await self._present(requests, looked_at)
            seen |= {key: found.get(key) for key in looked_at}
        attempts: list[_Attempt] = []
        for key, place in places.items():
            attempt = self._decide(call, place, key)
            if isinstance(attempt, Busy):
                call.outcomes[place] = attempt
                if len(self._busy) >= _KNOWN_MAX:
                    self._busy.clear()
                self._busy.add(key)
            else:
                self._busy.discard(key)
                attempts.append(attempt)
        await self._send(call, attempts)

    def _decide(self, call: _Call, place: int, key: UUID) -> _Attempt | Busy:
        request = call.requests[place]
        if key not in call.seen:
            return _Attempt(place, request, key, epoch=self._free.pop(key, 0), beat=None)
        return _decide(place, request, key, call.seen[key])

    async def _present(
        self, requests: Sequence[ClaimRequest], places: Mapping[UUID, int]
    ) -> dict[UUID, Seen]:
        keys = list(places)
        workers = [uuid_of(requests[place].worker) for place in places.values()]
        rows = await self._db.fetch("present", keys, workers, sent=False)
        return {keys[row[0] - 1]: Seen._make(row[1:]) for row in rows}

    async def _send(self, call: _Call, attempts: list[_Attempt]) -> None:
        """Lock, then compare-and-set; who is refused keeps his lock for the next try."""
        if not attempts:
            return
        locks = self._db.locks
        if locks is not None:
            for attempt in attempts:
                attempt.lock_key = call.locks.pop(attempt.place, None)
            wanting = [a for a in attempts if a.request.lock and a.lock_key is None]
            for attempt, lock_key in zip(wanting, await locks.take(len(wanting)), strict=True):
                attempt.lock_key = lock_key
        won: dict[UUID, _Taken] = {}
        refused: set[UUID] = set()
        try:
            await self._compare_and_set(call, attempts, won, refused)
        finally:
            call.taken.extend(won.values())
            if locks is not None:
                await self._settle(call, locks, attempts, won, refused)

    async def _settle(
        self,
        call: _Call,
        locks: LockSession,
        attempts: Sequence[_Attempt],
        won: Mapping[UUID, _Taken],
        refused: Collection[UUID],
    ) -> None:
        """Say which rows name which keys; unlock those of claims of which nothing is known."""
        adrift: list[_Taken] = []
        for key, claim in won.items():
            lock_key = claim.attempt.lock_key
            if lock_key is not None and not locks.bind(lock_key, key, claim.row.epoch):
                adrift.append(claim)
        call.locks |= {a.place: a.lock_key for a in attempts if a.key in refused}
        unknown = [a for a in attempts if a.key not in won and a.key not in refused]
        await locks.give_back([(a.lock_key, a.key, None) for a in unknown])
        if adrift:
            # The session ended and could not be had back while the claim was under way: a
            # row that names a key nobody holds would look like that of a dead owner.
            keys = [claim.attempt.lock_key or 0 for claim in adrift]
            await self._db.disarm([claim.attempt.key for claim in adrift], keys)
            for claim in adrift:
                claim.attempt.lock_key = None
                claim.row = claim.row._replace(lock_key=None)
                if claim.loaded is not None:
                    claim.loaded = replace(claim.loaded, thread=claim.row)

    async def _unlock_unused(self, call: _Call) -> None:
        """Give back the locks of requests that were refused to the end."""
        if self._db.locks is not None and call.locks:
            unused = [
                (lock_key, key_of(call.requests[place].key), None)
                for place, lock_key in call.locks.items()
            ]
            await self._db.locks.give_back(unused)

    async def _compare_and_set(
        self,
        call: _Call,
        attempts: list[_Attempt],
        won: dict[UUID, _Taken],
        refused: set[UUID],
    ) -> None:
        columns = zip(*map(_claim_values, attempts), strict=True)
        bytes_max = LOAD_BYTES_MAX // len(attempts)
        try:
            records = await self._db.fetch("claim", *columns, NAMESPACES_MAX + 1, bytes_max)
        except StorageUnavailableError as error:
            if error.context.get("sqlstate") != LOCK_TIMEOUT:
                raise
            # Only a new thread that somebody is just creating is waited for: find which one.
            if len(attempts) > 1:
                middle = len(attempts) // 2
                await self._compare_and_set(call, attempts[:middle], won, refused)
                await self._compare_and_set(call, attempts[middle:], won, refused)
            return
        answers, seen = read_answers([attempt.key for attempt in attempts], records)
        for attempt in attempts:
            answer = answers.get(attempt.key)
            if answer is None:
                refused.add(attempt.key)
                call.seen[attempt.key] = seen.get(attempt.key)
                continue
            call.seen.pop(attempt.key, None)
            loaded = (
                answer.loaded() if _loads(attempt.request) or not answer.row.record_no else None
            )
            won[attempt.key] = _Taken(attempt, answer.row, answer.taken_over, loaded)

    async def _load(self, taken: Sequence[_Taken]) -> list[tuple[int, Claim]]:
        """Load what was claimed, from the primary. A row that moved since is not ours."""
        written = [claim for claim in taken if claim.loaded is None]
        asked = [
            LoadRequest(claim.attempt.request.key, request.load_ns, request.load_seq)
            for claim in written
            for request in (claim.attempt.request,)
        ]
        found = await load(self._db, asked, primary=True) if asked else []
        chains = dict(zip((claim.attempt.key for claim in written), found, strict=True))
        done: list[tuple[int, Claim]] = []
        lost: list[_Taken] = []
        for claim in taken:
            loaded = claim.loaded or chains[claim.attempt.key]
            row = loaded.thread
            if (
                row is None
                or (row.epoch, row.owner) != (claim.row.epoch, claim.row.owner)
                or row.record_no != claim.row.record_no
            ):
                lost.append(claim)
                continue
            answer = Claim(
                key=claim.attempt.request.key,
                epoch=row.epoch,
                record_no=row.record_no,
                lock_key=claim.attempt.lock_key,
                loaded=loaded,
                taken_over=claim.taken_over,
            )
            done.append((claim.attempt.place, answer))
        if lost:
            await self.unlock([claim.held for claim in lost])
        return done

    async def _undo(self, held: Sequence[Held], requests: Sequence[ClaimRequest]) -> None:
        """Give back what a failed call had claimed so far."""
        try:
            await self.withdraw(held, requests)
        except StorageError as error:
            _log.warning("%d claims are left to their leases: %s", len(held), error)

    async def withdraw(self, held: Sequence[Held], requests: Sequence[ClaimRequest]) -> None:
        """Release claims that came of `requests`."""
        for worker in {request.worker for request in requests}:
            keys = {request.key for request in requests if request.worker == worker}
            if mine := [claim for claim in held if claim.key in keys]:
                await self.release(worker, mine)

    async def release(self, worker: bytes, held: Sequence[Held]) -> None:
        """Free the rows of claims still ours, then their locks.

        Raises:
            StorageUnavailableError: a row stayed locked by somebody; its lock is free.
        """
        waiting = list(held)
        try:
            for turn in range(ROUNDS):
                if turn:
                    await asyncio.sleep(PAUSE_S)
                keys = [key_of(claim.key) for claim in waiting]
                epochs = [claim.epoch for claim in waiting]
                rows = await self._db.control("release", keys, epochs, uuid_of(worker))
                locked = {row[0] - 1 for row in rows}
                for place, claim in enumerate(waiting):
                    if place not in locked:
                        self.freed(claim.key, claim.epoch)
                waiting = [waiting[place] for place in sorted(locked)]
                if not waiting:
                    return
            raise StorageUnavailableError(
                f"PostgreSQL at {self._db.label}: {len(waiting)} thread rows stayed locked by "
                "another transaction and could not be released; their leases will run out.",
                outcome="none",
            )
        finally:
            await self.unlock(held)

    async def unlock(self, held: Sequence[Held]) -> None:
        """Give back the locks of claims that ended."""
        if self._db.locks is not None:
            await self._db.locks.give_back(map(_ended, held))


def _ended(held: Held) -> tuple[int | None, UUID, int]:
    return held.lock_key, key_of(held.key), held.epoch


def held_by(claims: Iterable[Claim]) -> list[Held]:
    """The names of claims."""
    return [Held(claim.key, claim.epoch, claim.lock_key) for claim in claims]


def _decide(place: int, request: ClaimRequest, key: UUID, seen: Seen | None) -> _Attempt | Busy:
    if seen is None:
        return _Attempt(place, request, key, epoch=0, beat=None)
    if seen.owner is None or seen.late or seen.owner.bytes == request.worker:
        return _Attempt(place, request, key, epoch=seen.epoch, beat=None)
    # A suspicion: the owner's key is free under a live lease. Confirmed if nothing has moved.
    if seen.lock_free and request.confirmed == (seen.epoch, seen.beat):
        return _Attempt(place, request, key, epoch=seen.epoch, beat=seen.beat)
    return _busy(request, seen)


def _busy(request: ClaimRequest, seen: Seen | None) -> Busy:
    return Busy(
        key=request.key,
        epoch=0 if seen is None else seen.epoch,
        beat=0 if seen is None else seen.beat,
        # Nobody owns it, but its row is locked by a transaction that is none of ours.
        owner=b"" if seen is None or seen.owner is None else seen.owner.bytes,
        lock_free=None if seen is None else seen.lock_free,
        lease_left_s=(seen.lease_left_s or 0.0) if seen is not None else 0.0,
        run_id=None if seen is None else text_of(seen.run_id),
    )


def _claim_values(attempt: _Attempt) -> tuple[Any, ...]:
    request = attempt.request
    return (
        attempt.key,
        exact(request.key.scope),
        request.key.thread_id,
        FastUUID(request.fresh_uid),
        request.fresh_no,
        uuid_of(request.worker),
        attempt.lock_key,
        request.lease_ttl_s,
        attempt.epoch,
        attempt.beat,
        _loads(request),
    )


def _loads(request: ClaimRequest) -> bool:
    """Whether the claim statement can load what is asked for: the newest state of the root."""
    return request.load_ns == "" and request.load_seq is None

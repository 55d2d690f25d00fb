"""Claiming threads: read the rows, decide, lock, compare-and-set, load."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from stepwell._dataclass import dataclass
from stepwell._db._postgres_errors import LOCK_TIMEOUT, broken_off
from stepwell._db.postgres import FastUUID, LockSession, Postgres
from stepwell.checkpoint.driver import (
    Busy,
    Claim,
    ClaimRequest,
    Held,
    Loaded,
    LoadRequest,
    ThreadRow,
)
from stepwell.checkpoint.postgres._read import load
from stepwell.checkpoint.postgres._rows import exact, key_of, text_of, thread_row, uuid_of
from stepwell.errors import StorageError, StorageUnavailableError

_log = logging.getLogger("stepwell.lock")

ROUNDS: Final = 10
BREAKS: Final = 5
"""Connections that one claim may lose on its way."""
PAUSE_S: Final = 0.025
"""ROUNDS x PAUSE_S is how long a claim waits for a row that a stranger has locked."""


class _Seen(NamedTuple):
    """A thread row as `present` shows it."""

    epoch: int
    beat: int
    owner: UUID | None
    late: bool
    lease_left_s: float | None
    lock_free: bool | None
    run_id: bytes | None


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

    @property
    def held(self) -> Held:
        return Held(self.attempt.request.key, self.row.epoch, self.attempt.lock_key)


class Claims:
    """The claims of one driver, batched."""

    def __init__(self, db: Postgres) -> None:
        self._db = db

    async def claim(self, requests: Sequence[ClaimRequest]) -> list[Claim | Busy]:
        """Claim each thread that is free to take; outcomes in the order of `requests`."""
        outcomes: dict[int, Claim | Busy] = {}
        waiting = list(range(len(requests)))
        taken: list[_Taken] = []
        seen: Mapping[UUID, _Seen] = {}
        breaks = 0
        try:
            for turn in range(ROUNDS):
                if turn > 1:
                    # The row changes hands or is locked: give it time.
                    await asyncio.sleep(PAUSE_S)
                try:
                    if not taken:
                        seen = await self._round(requests, waiting, taken, outcomes)
                    outcomes |= dict(await self._load(taken))
                except StorageUnavailableError as error:
                    # A claim takes several replies. Where connections keep breaking, what one
                    # of them has brought must count, or nobody would ever get to the last.
                    breaks += 1
                    if breaks > BREAKS or not broken_off(error):
                        raise
                    continue
                taken.clear()
                waiting = [place for place in waiting if place not in outcomes]
                if not waiting:
                    break
            else:
                await self._undo([claim.held for claim in taken], requests)
                for place in waiting:
                    request = requests[place]
                    outcomes[place] = _busy(request, seen.get(key_of(request.key)))
        except BaseException:
            done = [claim for claim in outcomes.values() if isinstance(claim, Claim)]
            await self._undo([claim.held for claim in taken] + held_by(done), requests)
            raise
        return [outcomes[place] for place in range(len(requests))]

    async def _round(
        self,
        requests: Sequence[ClaimRequest],
        waiting: Sequence[int],
        taken: list[_Taken],
        outcomes: dict[int, Claim | Busy],
    ) -> Mapping[UUID, _Seen]:
        """Read, decide, claim. Returns the rows as they were read."""
        places: dict[UUID, int] = {}
        for place in waiting:
            # A thread named twice: one after the other.
            places.setdefault(key_of(requests[place].key), place)
        seen = await self._present(requests, places)
        attempts: list[_Attempt] = []
        for key, place in places.items():
            attempt = _decide(place, requests[place], key, seen.get(key))
            if isinstance(attempt, Busy):
                outcomes[place] = attempt
            else:
                attempts.append(attempt)
        await self._send(attempts, taken)
        return seen

    async def _present(
        self, requests: Sequence[ClaimRequest], places: Mapping[UUID, int]
    ) -> dict[UUID, _Seen]:
        keys = list(places)
        workers = [uuid_of(requests[place].worker) for place in places.values()]
        rows = await self._db.fetch("present", keys, workers, sent=False)
        return {keys[row[0] - 1]: _Seen._make(row[1:]) for row in rows}

    async def _send(self, attempts: list[_Attempt], taken: list[_Taken]) -> None:
        """Lock, then compare-and-set; what is refused gives its lock back."""
        if not attempts:
            return
        locks = self._db.locks
        wanting = [attempt for attempt in attempts if attempt.request.lock]
        if locks is not None:
            for attempt, lock_key in zip(wanting, await locks.take(len(wanting)), strict=True):
                attempt.lock_key = lock_key
        won: dict[UUID, _Taken] = {}
        try:
            await self._compare_and_set(attempts, won)
        finally:
            taken.extend(won.values())
            if locks is not None:
                await self._settle(locks, attempts, won)

    async def _settle(
        self, locks: LockSession, attempts: Sequence[_Attempt], won: Mapping[UUID, _Taken]
    ) -> None:
        """Say which rows name which keys, and unlock those of refused claims."""
        adrift: list[_Taken] = []
        for key, claim in won.items():
            lock_key = claim.attempt.lock_key
            if lock_key is not None and not locks.bind(lock_key, key, claim.row.epoch):
                adrift.append(claim)
        await locks.give_back([(a.lock_key, a.key, None) for a in attempts if a.key not in won])
        if adrift:
            # The session ended and could not be had back while the claim was under way: a
            # row that names a key nobody holds would look like that of a dead owner.
            keys = [claim.attempt.lock_key or 0 for claim in adrift]
            await self._db.disarm([claim.attempt.key for claim in adrift], keys)
            for claim in adrift:
                claim.attempt.lock_key = None
                claim.row = claim.row._replace(lock_key=None)

    async def _compare_and_set(self, attempts: list[_Attempt], won: dict[UUID, _Taken]) -> None:
        columns = zip(*map(_claim_values, attempts), strict=True)
        try:
            rows = await self._db.fetch("claim", *columns)
        except StorageUnavailableError as error:
            if error.context.get("sqlstate") != LOCK_TIMEOUT:
                raise
            # Only a new thread that somebody is just creating is waited for: find which one.
            if len(attempts) > 1:
                middle = len(attempts) // 2
                await self._compare_and_set(attempts[:middle], won)
                await self._compare_and_set(attempts[middle:], won)
            return
        by_key = {attempt.key: attempt for attempt in attempts}
        for key, taken_over, *columns_of_row in rows:
            won[key] = _Taken(by_key[key], thread_row(columns_of_row), taken_over)

    async def _load(self, taken: Sequence[_Taken]) -> list[tuple[int, Claim]]:
        """Load what was claimed, from the primary. A row that moved since is not ours."""
        written = [claim for claim in taken if claim.row.record_no > 0]
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
            loaded = chains.get(claim.attempt.key) or Loaded(thread=claim.row)
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
                waiting = [waiting[row[0] - 1] for row in rows]
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


def _decide(place: int, request: ClaimRequest, key: UUID, seen: _Seen | None) -> _Attempt | Busy:
    if seen is None:
        return _Attempt(place, request, key, epoch=0, beat=None)
    if seen.owner is None or seen.late or seen.owner.bytes == request.worker:
        return _Attempt(place, request, key, epoch=seen.epoch, beat=None)
    # A suspicion: the owner's key is free under a live lease. Confirmed if nothing has moved.
    if seen.lock_free and request.confirmed == (seen.epoch, seen.beat):
        return _Attempt(place, request, key, epoch=seen.epoch, beat=seen.beat)
    return _busy(request, seen)


def _busy(request: ClaimRequest, seen: _Seen | None) -> Busy:
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
    )

"""SQLite: who owns a thread. Claims, heartbeats, releases, deletion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwell._clock import Clock
from stepwell._db._filelock import ByteLocks
from stepwell._db.sqlite import SQL, Cursor, LeaseClock, LeaseTime
from stepwell._ids import Ids
from stepwell.checkpoint.driver import (
    Ask,
    Busy,
    Claim,
    ClaimRequest,
    Held,
    Lost,
    Renewed,
    ThreadKey,
)
from stepwell.checkpoint.sqlite._commit import Numbers
from stepwell.checkpoint.sqlite._read import (
    load_chain,
    load_newest,
    read_thread,
    read_thread_again,
)

_INSERT, _CLAIM, _STATE = SQL["thread_insert"], SQL["thread_claim"], SQL["thread_state"]
_RUN_ID, _RENEW, _RELEASE, _WANT = SQL["run_id"], SQL["renew"], SQL["release"], SQL["want"]
_ASK = SQL["ask"]
_DELETE = SQL["delete_thread"]
_DELETE_ROWS = [
    SQL[name]
    for name in (
        "delete_tail",
        "delete_pending",
        "delete_segments",
        "delete_runs",
        "delete_namespaces",
    )
]


class ClaimBatch:
    """Claims on their way into the database, and the locks taken for them.

    Nobody else writes between the look at a row and its change, because both happen in one
    write transaction; the chain is read there too, so it stands at the claim's record_no.
    """

    def __init__(
        self,
        requests: Sequence[ClaimRequest],
        locks: ByteLocks | None,
        ids: Ids,
        *,
        clock: Clock,
        leases: LeaseClock,
    ) -> None:
        self._requests = requests
        self._locks = locks
        self._ids = ids
        self._clock = clock
        self._leases = leases
        self._taken: list[int] = []
        self.numbers: Numbers = {}
        """The threads that were claimed, by key."""

    def write(self, cursor: Cursor) -> list[Claim | Busy]:
        """Decide every request, in order."""
        wall, now = self._clock.wall(), self._leases.now()
        return [self._decide(cursor, request, wall, now) for request in self._requests]

    def give_back_locks(self) -> None:
        """Unlock what was taken: the transaction did not commit, or was undone."""
        for byte in self._taken:
            if self._locks is not None:
                self._locks.give_back(byte)
        self._taken.clear()

    def undo(self, outcomes: Sequence[Claim | Busy], cursor: Cursor) -> None:
        """Free the claims again: their caller was cancelled and will not know of them."""
        for request, outcome in zip(self._requests, outcomes, strict=True):
            if isinstance(outcome, Claim):
                cursor.execute(_RELEASE, (*request.key, outcome.epoch, request.worker))

    def _decide(
        self, cursor: Cursor, request: ClaimRequest, wall: float, now: LeaseTime
    ) -> Claim | Busy:
        raw = read_thread(cursor, request.key)
        if raw is None:
            return self._create(cursor, request, wall, now)
        epoch, owner, lock_key, until, boot_id, beat = *raw[4:9], raw[9]
        if owner is None or owner == request.worker:
            return self._take(cursor, request, raw, now, taken_over=False)
        if until is None or boot_id != now.boot_id or until < now.seconds:
            return self._take(cursor, request, raw, now, taken_over=True)
        lock_free = None
        if lock_key is not None and self._locks is not None:
            lock_free = self._locks.is_free(lock_key)
        # A row without a key is no evidence of death: its lease decides.
        if lock_free and request.confirmed == (epoch, beat):
            return self._take(cursor, request, raw, now, taken_over=True)
        run = cursor.execute(_RUN_ID, (raw[0], raw[15])).fetchone()
        return Busy(
            key=request.key,
            epoch=epoch,
            beat=beat,
            owner=owner,
            lock_free=lock_free,
            lease_left_s=until - now.seconds,
            run_id=None if run is None else run[0],
        )

    def _lock(self, request: ClaimRequest) -> int | None:
        if not request.lock or self._locks is None:
            return None
        byte = self._locks.take(self._ids.lock_key)
        if byte is not None:
            self._taken.append(byte)
        return byte

    def _create(self, cursor: Cursor, request: ClaimRequest, wall: float, now: LeaseTime) -> Claim:
        lock_key = self._lock(request)
        cursor.execute(
            _INSERT,
            (
                *request.key, request.fresh_uid, request.fresh_no, request.worker, lock_key,
                now.seconds + request.lease_ttl_s, now.boot_id, request.fresh_no, wall, wall,
            ),
        )  # fmt: skip
        row = read_thread_again(cursor, int(cursor.lastrowid or 0))
        return self._claim(request, cursor, row, now, taken_over=False)

    def _take(
        self,
        cursor: Cursor,
        request: ClaimRequest,
        raw: Sequence[Any],
        now: LeaseTime,
        *,
        taken_over: bool,
    ) -> Claim:
        lock_key = self._lock(request)
        until = now.seconds + request.lease_ttl_s
        cursor.execute(_CLAIM, (request.worker, lock_key, until, now.boot_id, raw[0], raw[4]))
        # The row as that statement has left it: reading it again would cost more.
        taken = (request.worker, lock_key, until, now.boot_id, raw[9] + 1)
        row = (*raw[:4], raw[4] + 1, *taken, *raw[10:12], None, 0, *raw[14:])
        return self._claim(request, cursor, row, now, taken_over=taken_over)

    def _claim(
        self,
        request: ClaimRequest,
        cursor: Cursor,
        raw: Sequence[Any],
        now: LeaseTime,
        *,
        taken_over: bool,
    ) -> Claim:
        """`raw`: the thread, claimed."""
        self.numbers[request.key] = raw[0]
        known = request.known
        if known is not None and known == (raw[3], raw[4] - 1, *raw[10:12], raw[27]):
            loaded = load_newest(cursor, raw, now)
        else:
            loaded = load_chain(cursor, raw, request.load_ns, request.load_seq, now)
        return Claim(
            key=request.key,
            epoch=raw[4],
            record_no=raw[10],
            lock_key=raw[6],
            loaded=loaded,
            taken_over=taken_over,
        )


def renew(
    cursor: Cursor, worker: bytes, held: Sequence[Held], until: float
) -> list[Renewed | Lost]:
    """Extend the leases of claims that are still ours to `until`."""
    answers: list[Renewed | Lost] = []
    for key, epoch, _ in held:
        cursor.execute(_RENEW, (until, *key, epoch, worker))
        ours = cursor.rowcount == 1
        state = cursor.execute(_STATE, key).fetchone()
        if state is None:
            answers.append(Lost(None))
        elif ours:
            answers.append(Renewed(state[5], bool(state[6])))
        else:
            answers.append(Lost(state[1]))
    return answers


def release(cursor: Cursor, worker: bytes, held: Sequence[Held]) -> None:
    """Free the rows of claims that are still ours."""
    cursor.executemany(_RELEASE, [(*key, epoch, worker) for key, epoch, _ in held])


def want(cursor: Cursor, keys: Sequence[ThreadKey], wall: float) -> None:
    """Say that somebody waits, if nobody has said so since the last claim."""
    cursor.executemany(_WANT, [(wall, *key) for key in keys])


def ask(cursor: Cursor, asks: Sequence[Ask], wall: float) -> list[bool]:
    """Put requests on the rows of threads that are held under the epochs they name."""
    answers = []
    for key, epoch, request, replace in asks:
        cursor.execute(_ASK, (replace, request, wall, *key, epoch))
        answers.append(cursor.rowcount == 1)
    return answers


def delete(cursor: Cursor, claim: Held, worker: bytes) -> bool:
    """Delete a thread and all its rows, if the claim is still ours."""
    state = cursor.execute(_STATE, claim.key).fetchone()
    if state is None:
        return False
    t = state[0]
    cursor.execute(_DELETE, (t, claim.epoch, worker))
    if cursor.rowcount != 1:
        return False
    for sql in _DELETE_ROWS:
        cursor.execute(sql, (t,))
    return True

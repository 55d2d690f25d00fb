"""SQLite: writing a batch of slices, each behind its fence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwell._clock import Clock
from stepwell._db.sqlite import SQL, Cursor, LeaseClock, exact_parameter, is_poison, storage_error
from stepwell.checkpoint.driver import (
    CommitOutcome,
    Committed,
    Failed,
    RunStatus,
    Slice,
    Stale,
    ThreadKey,
)
from stepwell.errors import InternalError

_FENCES, _FENCES_ONE, _STATE = SQL["fences"], SQL["fences_one"], SQL["thread_state"]
_FENCE, _FENCE_DESCRIBE, _FENCE_ON = SQL["fence"], SQL["fence_describe"], SQL["fence_on"]
_STATUS = SQL["status_change"]
_NAMESPACE, _HEAD, _RUN = SQL["namespace_insert"], SQL["namespace_head"], SQL["run_upsert"]
_APPEND = SQL["checkpoint_append"]
_CHECKPOINT, _WRITE, _DROP = SQL["checkpoint_insert"], SQL["write_upsert"], SQL["writes_drop"]
_SAVEPOINT, _RELEASE = SQL["savepoint"], SQL["release_savepoint"]
_BACK = SQL["rollback_to_savepoint"]

_new = tuple.__new__

Numbers = dict[ThreadKey, int]
"""The small integers of threads that this process has claimed."""


class CommitBatch:
    """One batch on its way into the database.

    `write` is the common case: every statement runs once for all slices. One bad row undoes
    the whole transaction; then `write_apart` does it again, slice by slice, and finds out
    whose row it was.
    """

    def __init__(
        self,
        batch: Sequence[Slice],
        numbers: Numbers,
        path: str,
        *,
        clock: Clock,
        leases: LeaseClock,
    ) -> None:
        self._batch = batch
        self._numbers = numbers
        self._path = path
        self._clock = clock
        self._leases = leases

    def write(self, cursor: Cursor) -> list[CommitOutcome]:
        """All slices at once."""
        if len({piece.key for piece in self._batch}) < len(self._batch):
            return self.write_apart(cursor)  # a thread occurs twice: order matters
        return self._write(cursor, self._batch, exact=False)

    def write_apart(self, cursor: Cursor) -> list[CommitOutcome]:
        """Slice by slice, each in a savepoint: a bad one fails alone."""
        return [self._write_alone(cursor, piece) for piece in self._batch]

    def _write_alone(self, cursor: Cursor, piece: Slice) -> CommitOutcome:
        exact = False
        while True:
            cursor.execute(_SAVEPOINT)
            try:
                [outcome] = self._write(cursor, [piece], exact=exact)
            except Exception as error:
                if not is_poison(error):
                    raise
                cursor.execute(_BACK)
                cursor.execute(_RELEASE)
                if isinstance(error, UnicodeEncodeError) and not exact:
                    exact = True
                    continue
                failure = storage_error(error, self._path, writing=True)
                failure.context["thread_id"] = piece.key.thread_id
                failure.__cause__ = error
                return Failed(failure)
            cursor.execute(_RELEASE)
            return outcome

    def _write(self, cursor: Cursor, batch: Sequence[Slice], *, exact: bool) -> list[CommitOutcome]:
        found = self._numbered(cursor, batch)
        now, lease_now = self._clock.wall(), self._leases.now().seconds
        rows = _Rows(now, lease_now)
        looked = (
            cursor.execute(_FENCES_ONE, found)
            if len(found) == 1
            else cursor.execute(_FENCES, (str(found),))
        )
        states = {row[0]: row for row in looked}
        outcomes: list[CommitOutcome] = []
        for piece, t in zip(batch, found, strict=True):
            state = states.get(t)
            if state is None:
                outcomes.append(self._gone(cursor, piece))
                continue
            # Epoch, owner and record number.
            if state[1:4] == piece[1:4]:
                rows.add(piece, t, state[6])
                outcomes.append(_new(Committed, (piece[4], False, state[4], bool(state[5]))))
            else:
                outcomes.append(_refused(piece, state))
        rows.write(cursor, exact=exact)
        return outcomes

    def _numbered(self, cursor: Cursor, batch: Sequence[Slice]) -> list[int]:
        """The number of each slice's thread; 0 if there is no such thread."""
        numbers = self._numbers
        found: list[int] = []
        for piece in batch:
            t = numbers.get(piece.key)
            if t is None:
                state = cursor.execute(_STATE, piece.key).fetchone()
                t = 0 if state is None else state[0]
            found.append(t)
        return found

    def _gone(self, cursor: Cursor, piece: Slice) -> Stale:
        self._numbers.pop(piece.key, None)
        state = cursor.execute(_STATE, piece.key).fetchone()  # another incarnation?
        return Stale(None) if state is None else Stale(*state[1:4])


def _refused(piece: Slice, state: Sequence[Any]) -> CommitOutcome:
    """A slice that does not extend the row: written by an earlier attempt, or stale."""
    _, epoch, owner, record_no, request, wanted, _ = state
    let_go = owner is None and piece.let_go
    ours = epoch == piece.epoch and (owner == piece.owner or let_go)
    further = record_no > piece.record_no or (let_go and record_no == piece.record_no_after)
    if ours and further:
        return Committed(record_no, True, request, bool(wanted))
    return Stale(epoch, owner, record_no)


_NOTHING = (None,) * 5


class _Rows:
    """Parameters of the statements of one batch, by statement.

    The usual ones bind no NULL, no bool and no bytes (but bytearrays): `sqlite3` asks every such
    value whether it wants to be adapted, which costs more than inserting the row.
    """

    def __init__(self, now: float, lease_now: float) -> None:
        self._now = now
        self._lease_now = lease_now
        self._fences: list[tuple[Any, ...]] = []
        self._fences_on: list[tuple[Any, ...]] = []
        self._appended: list[tuple[Any, ...]] = []
        self._described: list[tuple[Any, ...]] = []
        self._statuses: list[tuple[int, int]] = []
        self._namespaces: list[tuple[int, int, str]] = []
        self._heads: list[tuple[int, int, int]] = []
        self._runs: list[tuple[Any, ...]] = []
        self._checkpoints: list[tuple[Any, ...]] = []
        self._writes: list[tuple[Any, ...]] = []
        self._drops: list[tuple[int, int, int]] = []

    def add(self, piece: Slice, t: int, status: int) -> None:
        """Take up an accepted slice of thread `t`, whose row has `status`."""
        now = self._now
        size = 0
        # By position: nothing here is done as often as this.
        checkpoints, writes, runs, namespaces, drop_writes, heads, thread, let_go = piece[6:]
        for row in checkpoints:
            body = row[10]
            size += len(body)
            if row[2] is None and row[11:] == _NOTHING and type(body) is bytes:
                self._appended.append((t, *row[:2], *row[3:10], bytearray(body), now))
            else:
                metadata = row[11]
                size += 0 if metadata is None else len(metadata)
                self._checkpoints.append((t, *row, now))
        if drop_writes:
            self._drops += [(t, ns, seq) for ns, seq in drop_writes]
        plain = not (let_go or runs or writes or namespaces)
        if plain and thread is None and len(heads) == 1 and 0 in heads:
            self._fences_on.append(
                (
                    piece[4], self._lease_now + piece[5], now, heads[0], len(checkpoints), size,
                    t, piece[1], bytearray(piece[2]), piece[3],
                )
            )  # fmt: skip
        else:
            self._add_more(piece, t, status, size)

    def _add_more(self, piece: Slice, t: int, status: int, size: int) -> None:
        """All but its checkpoints, of `size` bytes, and what they drop."""
        now = self._now
        for write in piece.writes:
            self._writes.append((t, *write))
        runs = 0
        for run in piece.runs:
            runs = max(runs, run.run)
            finished = None if run.status == RunStatus.RUNNING else now
            self._runs.append((t, *run[:-2], now, finished))
        self._namespaces += [(t, number, name) for number, name in piece.namespaces if number]
        head = None
        for ns, seq in piece.heads.items():
            if ns:
                self._heads.append((seq, t, ns))
            else:
                head = seq
        lease = None if piece.let_go else self._lease_now + piece.lease_ttl_s
        owner = None if piece.let_go else bytearray(piece.owner)
        news = (
            piece.record_no_after, owner, int(not piece.let_go), lease, now, head,
            len(piece.checkpoints), size, runs,
        )  # fmt: skip
        fence = (t, piece.epoch, bytearray(piece.owner), piece.record_no)
        change = piece.thread
        if change is None:
            self._fences.append(news + fence)
        else:
            self._described.append(news + change[1:] + fence)
            if change[0] != status:
                self._statuses.append((change[0], t))

    def write(self, cursor: Cursor, *, exact: bool) -> None:
        """Execute everything. `exact`: send texts that are no valid UTF-8 as bytes."""
        for sql, fences in (
            (_FENCE_ON, self._fences_on),
            (_FENCE, self._fences),
            (_FENCE_DESCRIBE, self._described),
        ):
            if fences:
                cursor.executemany(sql, _as_bytes(fences) if exact else fences)
                if cursor.rowcount != len(fences):
                    raise InternalError("a fence that was read in this transaction has moved")
        for sql, rows in (
            (_STATUS, self._statuses),
            (_NAMESPACE, self._namespaces),
            (_HEAD, self._heads),
            (_RUN, self._runs),
            (_APPEND, self._appended),
            (_CHECKPOINT, self._checkpoints),
            (_WRITE, self._writes),
            (_DROP, self._drops),  # last: a slice may drop writes that it brought itself
        ):
            if rows:
                cursor.executemany(sql, _as_bytes(rows) if exact else rows)


def _as_bytes(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Texts that UTF-8 forbids, as the bytes that CAST(? AS TEXT) takes for them."""
    return [tuple(map(exact_parameter, row)) for row in rows]

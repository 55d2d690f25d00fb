"""The PostgreSQL driver: threads in tables, one round trip per batch."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

from stepwell._db.postgres import TIMEOUTS, Postgres, Timeouts
from stepwell._ids import RANDOM_IDS, Ids
from stepwell.checkpoint.driver import (
    Ask,
    Busy,
    Capability,
    Claim,
    ClaimRequest,
    CommitOutcome,
    Held,
    HistoryPage,
    Layout,
    Loaded,
    LoadRequest,
    Lost,
    Relayout,
    Renewed,
    RowKind,
    RunRow,
    Slice,
    Tally,
    TallyQuery,
    ThreadKey,
    ThreadPart,
    ThreadQuery,
    ThreadRow,
    ThreadStatus,
    Vitals,
)
from stepwell.checkpoint.postgres import _backup as whole
from stepwell.checkpoint.postgres import _page as paging
from stepwell.checkpoint.postgres import _read as reading
from stepwell.checkpoint.postgres._claim import PAUSE_S, ROUNDS, Claims, held_by
from stepwell.checkpoint.postgres._commit import CommitStatements, outcomes
from stepwell.checkpoint.postgres._relay import relay
from stepwell.checkpoint.postgres._rows import exact, key_of, run_row, text_of, thread_row, uuid_of
from stepwell.checkpoint.postgres._sweep import Sweep
from stepwell.errors import StorageUnavailableError

_RUN_MAX: Final = 2**31 - 1
_LAST_NAME: Final = "\U0010ffff" * 129
"""Sorts behind every thread_id, which has at most 512 bytes."""
_OPEN: Final[Mapping[int | None, str]] = {
    ThreadStatus.RUNNING: "threads_running",
    ThreadStatus.INTERRUPTED: "threads_interrupted",
}
"""Statuses that an index serves."""
_UNDO_WAIT_S: Final = 2.0
_REPLY_LEAST_S: Final = 1.0


class PostgresDriver:
    """Keeps threads in PostgreSQL 13 or newer, reached through asyncpg.

    The constructor does no I/O; `open` connects. Connections are our own (to `dsn`) or come
    out of `pool`, an `asyncpg.Pool` that the caller made and will close.

    Args:
        dsn: `postgresql://...`; query parameters are libpq's.
        pool: an `asyncpg.Pool` in place of `dsn`; it lends two connections for as long as the
            driver is open, and one for each read.
        pool_size_max: connections of our own at most.
        schema: everything lives in this schema; None: the first of the role's search path.
        pgbouncer: a pooler in transaction mode stands between; implies `locks="lease"`.
        locks: "advisory" shows the death of an owner at once, "lease" after its lease.
        read_url: a replica for loads that may lag; claims never use it.
        connect: extra arguments of `asyncpg.connect`.
        ids: randomness.
        timeouts: how long replies to commits and to heartbeats and locks may take.

    Raises:
        UsageError: the arguments make no sense together.
    """

    name: str = "postgres"

    def __init__(
        self,
        dsn: str | None = None,
        *,
        pool: Any = None,
        pool_size_max: int = 10,
        schema: str | None = None,
        pgbouncer: bool = False,
        locks: Literal["advisory", "lease"] = "advisory",
        read_url: str | None = None,
        connect: Mapping[str, Any] | None = None,
        ids: Ids = RANDOM_IDS,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self._db = Postgres(
            dsn,
            pool=pool,
            pool_size_max=pool_size_max,
            schema=schema,
            pgbouncer=pgbouncer,
            locks=locks,
            read_url=read_url,
            connect=connect,
            ids=ids,
            timeouts=timeouts,
        )
        self.capabilities = self._declared()
        self._claims = Claims(self._db)
        self._statements: CommitStatements | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._sweep = Sweep(self._db, self._chores)
        self.unfinished: str | None = None

    def _declared(self) -> frozenset[Capability]:
        locks = {Capability.ADVISORY_LOCKS} if self._db.advisory else frozenset()
        return frozenset({Capability.MANY_PROCESSES, Capability.ONLINE_BACKUP}) | locks

    @property
    def database(self) -> Postgres:
        """The database, for whoever shares its connections."""
        return self._db

    # --- lifecycle ------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect. Idempotent. A transaction pooler that nobody spoke of is found, and warned of.

        Raises:
            StorageError: the server cannot be reached or refuses us; the message says which.
        """
        await self._db.open()
        self.capabilities = self._declared()
        self._statements = CommitStatements(self._db.sql)

    async def close(self) -> None:
        """Give back connections and locks. Idempotent; `open` may follow, on any loop."""
        loop = asyncio.get_running_loop()
        chores = [chore for chore in self._chores if chore.get_loop() is loop]
        if chores:
            await asyncio.wait(chores, timeout=_UNDO_WAIT_S)
        await self._db.close()

    def forget(self) -> None:
        """Drop every connection without touching it: the loop is gone, or this is a fork."""
        self._db.forget()

    async def migrate(self, mode: Literal["auto", "check", "off"]) -> None:
        """Create or upgrade the schema; safe when many processes do it at once."""
        await self._db.migrate(mode)
        if mode != "off":
            self.unfinished = await whole.note(self._db)

    # --- who writes -----------------------------------------------------------------------------

    async def claim(self, requests: Sequence[ClaimRequest]) -> list[Claim | Busy]:
        """Compare-and-set the epoch of each thread; outcomes in the order of `requests`.

        Cancelled in the middle, it gives back what it got before it lets go of the caller (or,
        if the server does not answer, behind the caller's back).
        """
        if not requests:
            return []
        work = asyncio.get_running_loop().create_task(self._claims.claim(requests))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            undo = asyncio.get_running_loop().create_task(self._undo(work, requests))
            self._chores.add(undo)
            undo.add_done_callback(self._chores.discard)
            await asyncio.wait([undo], timeout=_UNDO_WAIT_S)
            raise

    async def _undo(
        self, work: asyncio.Task[list[Claim | Busy]], requests: Sequence[ClaimRequest]
    ) -> None:
        await asyncio.wait([work])
        if work.cancelled() or work.exception() is not None:
            return
        held = held_by(claim for claim in work.result() if isinstance(claim, Claim))
        await self._claims.withdraw(held, requests)

    async def renew(
        self, worker: bytes, held: Sequence[Held], lease_ttl_s: float
    ) -> list[Renewed | Lost]:
        """Extend the lease of each claim still ours.

        A row that somebody keeps locked is tried again for a moment; then its claim is ours yet
        and its lease is what it was, which the answer says (`extended` is False).
        """
        # Two tries fit into what is left of a lease, also of one shorter than usual.
        reply_s = max(_REPLY_LEAST_S, lease_ttl_s / 3)
        answers: list[Renewed | Lost] = [Lost(None)] * len(held)
        waiting = list(range(len(held)))
        for turn in range(ROUNDS):
            if not waiting:
                break
            if turn:
                await asyncio.sleep(PAUSE_S)
            left = [held[place] for place in waiting]
            keys, epochs = [key_of(claim.key) for claim in left], [claim.epoch for claim in left]
            rows = await self._db.control(
                "renew", keys, epochs, uuid_of(worker), lease_ttl_s, reply_s=reply_s
            )
            locked: list[int] = []
            for i, renewed, ours, epoch, request, wanted in rows:
                place = waiting[i - 1]
                answers[place] = Renewed(request, wanted, extended=renewed) if ours else Lost(epoch)
                if ours and not renewed:
                    locked.append(place)
            waiting = locked
        return answers

    async def release(self, worker: bytes, held: Sequence[Held]) -> None:
        """Free the row of each claim still ours, then its advisory lock."""
        if held:
            await self._claims.release(worker, held)

    async def unlock(self, held: Sequence[Held]) -> None:
        """Give back the advisory locks of claims that were let go by a commit, or lost."""
        await self._claims.unlock(held)

    async def want(self, keys: Sequence[ThreadKey]) -> None:
        """Say that somebody waits for these threads (sets `wanted_at` once)."""
        waiting = [key_of(key) for key in keys]
        for turn in range(ROUNDS):
            if not waiting:
                return
            if turn:
                await asyncio.sleep(PAUSE_S)
            waiting = [row[0] for row in await self._db.fetch("want", waiting)]

    async def ask(self, asks: Sequence[Ask]) -> list[bool]:
        """Put each request on the row of its thread.

        Raises:
            StorageUnavailableError: A row stayed locked by somebody else.
        """
        answers, waiting = [False] * len(asks), list(range(len(asks)))
        for turn in range(ROUNDS):
            if not waiting:
                return answers
            if turn:
                await asyncio.sleep(PAUSE_S)
            left = [asks[place] for place in waiting]
            rows = await self._db.fetch(
                "ask", [key_of(ask.key) for ask in left], [ask.epoch for ask in left],
                [ask.request for ask in left], [ask.replace for ask in left],
            )  # fmt: skip
            locked: list[int] = []
            for i, done in rows:
                answers[waiting[i - 1]] = done
                if not done:
                    locked.append(waiting[i - 1])
            waiting = locked
        if not waiting:
            return answers
        name = asks[waiting[0]].key.thread_id
        raise StorageUnavailableError(
            f"PostgreSQL at {self._db.label}: the row of thread {name!r} stayed locked by another "
            "transaction.", outcome="none", thread_id=name,
        )  # fmt: skip

    async def delete(self, claim: Held, worker: bytes) -> bool:
        """Delete the thread and all its rows, fenced by the claim."""
        key = key_of(claim.key)
        for turn in range(ROUNDS):
            if turn:
                await asyncio.sleep(PAUSE_S)
            [[deleted]] = await self._db.fetch(
                "delete", key, claim.epoch, uuid_of(worker), long=True
            )
            if deleted is not None:
                if deleted:
                    await self.unlock([claim])
                return bool(deleted)
        raise StorageUnavailableError(
            f"PostgreSQL at {self._db.label}: the row of thread {claim.key.thread_id!r} stayed "
            "locked by another transaction; nothing was deleted.",
            outcome="none", thread_id=claim.key.thread_id,
        )  # fmt: skip

    # --- writing --------------------------------------------------------------------------------

    async def commit(self, batch: Sequence[Slice]) -> list[CommitOutcome]:
        """Write all slices in one statement, each behind its fence; outcomes in order.

        Raises:
            StorageUnavailableError: `.context["outcome"]` is "none" or "unknown".
            StorageError: a slice cannot be written; nothing of the batch was.
        """
        if not batch:
            return []
        if len({piece.key for piece in batch}) < len(batch):
            return await self._commit_in_turns(batch)
        if self._statements is None:
            self._statements = CommitStatements(self._db.sql)
        text, args = self._statements.build(batch)
        return self._claims.noted(batch, outcomes(batch, await self._db.commit(text, args)))

    async def _commit_in_turns(self, batch: Sequence[Slice]) -> list[CommitOutcome]:
        """A statement updates a thread row once: later slices of a thread go in later ones."""
        answers: list[CommitOutcome] = []
        turn: list[Slice] = []
        for piece in batch:
            if any(piece.key == other.key for other in turn):
                answers += await self.commit(turn)
                turn = []
            turn.append(piece)
        return answers + await self.commit(turn)

    async def free_locks(self, lock_keys: Sequence[int]) -> list[bool]:
        """Which of these advisory locks no session holds."""
        if not lock_keys or self._db.locks is None:
            return [False for _ in lock_keys]
        rows = await self._db.fetch("free_locks", list(lock_keys), sent=False)
        return [free for _, free in sorted(map(tuple, rows))]

    async def landed(self, key: ThreadKey, record_no: int, epoch: int) -> bool:
        """Is the record numbered `record_no`, written under `epoch`, in the database?"""
        [[found]] = await self._db.fetch("landed", key_of(key), record_no, epoch, sent=False)
        return bool(found)

    # --- other forms ----------------------------------------------------------------------------

    async def write_segments(self, change: Relayout) -> bool:
        """Store a part of a namespace in another form, in one statement."""
        return await relay(self._db, change, None, self._sweep)

    async def prune(self, claim: Held, worker: bytes, change: Relayout) -> bool:
        """The same, fenced by a claim."""
        return await relay(self._db, change, (claim, worker), self._sweep)

    async def set_ttl(self, key: ThreadKey, ttl_s: float | None) -> bool:
        """Say how long a thread is to be kept after its last update."""
        return bool(await self._db.fetch("set_ttl", key_of(key), ttl_s))

    async def reclaim(self) -> int:
        """Nothing shrinks: room of deleted rows is used again (see `_sweep`), and stays ours."""
        return 0

    # --- reading --------------------------------------------------------------------------------

    async def load(self, requests: Sequence[LoadRequest]) -> list[Loaded]:
        """Read each chain in one consistent snapshot. Never locks."""
        return await self._load(requests) if requests else []

    async def _load(self, requests: Sequence[LoadRequest]) -> list[Loaded]:
        primary = any(request.current for request in requests)
        return await reading.load(self._db, requests, primary=primary)

    async def history(
        self,
        key: ThreadKey,
        ns_name: str,
        upto: int | None,
        *,
        since: int = 1,
        current: bool = False,
    ) -> HistoryPage:
        """Rows of one namespace with `since` <= seq <= `upto` (None = all), one snapshot."""
        return await reading.history(self._db, key, ns_name, since, upto, primary=current)

    async def page(
        self, key: ThreadKey, ns_name: str, upto: int | None, limit: int, *, current: bool = False
    ) -> HistoryPage:
        """The newest `limit` checkpoints up to a seq, and what their states are made of."""
        return await paging.page(self._db, key, ns_name, upto, limit, primary=current)

    async def layout(self, key: ThreadKey, ns_name: str) -> Layout:
        """How one namespace is stored, one snapshot."""
        return await reading.layout(self._db, key, ns_name)

    async def threads(self, query: ThreadQuery) -> list[ThreadRow]:
        """One page of thread rows; their `namespaces` hold the root only."""
        sql = self._db.sql
        direction = "descending" if query.descending else "ascending"
        parts = ["threads", f"threads_by_{query.order}_{direction}"]
        status = query.status
        if status in _OPEN:
            parts.insert(1, _OPEN[status])
            status = None
        described = () if query.metadata is None else (query.metadata,)
        parts[1:1] = ["threads_described"] * len(described)
        text = "\n".join(sql[part] for part in parts)
        end = (math.inf, _LAST_NAME) if query.descending else (-math.inf, "")
        place, name = query.after or end
        rows = await self._db.read(
            text,
            exact(query.scope),
            status,
            exact(query.graph),
            query.updated_before,
            query.updated_after,
            float(place),
            name,
            query.limit,
            *described,
        )
        return _thread_rows(rows)

    async def tally(self, query: TallyQuery) -> list[Tally]:
        """Count threads by graph, status and when they were created."""
        text = self._db.sql["tally"]
        rows = await self._db.read(text, exact(query.scope), query.updated_since, query.width_s)
        return [Tally(text_of(row[0]), *row[1:]) for row in map(tuple, rows)]

    async def vitals(self) -> Vitals:
        """What the schema says of itself; the server's disk is not seen from here."""
        return Vitals(*await self._db.space())

    async def namespaces(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[tuple[int, str, int]]:
        """One page of a thread's namespaces, newest first, with a number < `after`."""
        return await reading.namespaces(self._db, key, after, limit)

    async def runs(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[RunRow]:
        """One page of a thread's runs, newest first, with run < `after`."""
        below = _RUN_MAX if after is None else min(after, _RUN_MAX)
        rows = await self._db.read(self._db.sql["runs"], key_of(key), below, limit)
        return [run_row(row) for row in rows]

    async def runs_numbered(self, names: Sequence[tuple[ThreadKey, int]]) -> list[RunRow | None]:
        """Runs by thread and number, in one statement."""
        keys, numbers = [key_of(key) for key, _ in names], [number for _, number in names]
        rows = await self._db.read(self._db.sql["runs_numbered"], keys, numbers)
        return _placed(rows, len(names))

    async def described(self, keys: Sequence[ThreadKey]) -> list[RunRow | None]:
        """The newest run of each thread that has metadata, in one statement."""
        rows = await self._db.read(self._db.sql["described"], [key_of(key) for key in keys])
        return _placed(rows, len(keys))

    async def keyed_run(self, key: ThreadKey, idempotency_key: str) -> RunRow | None:
        """The run of a thread that has this idempotency key."""
        rows = await self._db.fetch("run_keyed", key_of(key), exact(idempotency_key), sent=False)
        return run_row(rows[0]) if rows else None

    # --- as a whole -----------------------------------------------------------------------------

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[whole.PostgresSnapshot]:
        """See one state of the primary while others write it."""
        async with self._db.snapshot(primary=True) as link:
            shown = await whole.snapshot(self._db.sql, link)
            raised: Exception | None = None
            try:
                yield shown
            except Exception as error:
                if error is shown.failed:
                    raise  # of the database: it comes out as ours
                raised = error
        if raised is not None:
            raise raised  # of whoever reads: it comes out as it is

    async def restore(self, parts: Sequence[ThreadPart], gone: Sequence[ThreadKey] = ()) -> None:
        """Put rows in place as they are, in one transaction."""
        await whole.restore(self._db, parts, gone)

    async def reseal(self, worker: bytes, changes: Sequence[tuple[Held, ThreadPart]]) -> list[bool]:
        """Put other bytes into rows that are there, in one transaction."""
        return await whole.reseal(self._db, worker, changes)

    async def strays(self, *, remove: bool = False) -> dict[RowKind, int]:
        """Count rows that belong to no thread, and delete them if asked to."""
        return await whole.strays(self._db, remove=remove)

    async def mark(self, note: str | None) -> None:
        """Say in the schema that it is being filled, or that it is whole."""
        if note is None:
            await self._db.fetch("backup_unmark")
        else:
            await self._db.fetch("backup_mark", note)
        self.unfinished = note


def _placed(rows: Iterable[Any], count: int) -> list[RunRow | None]:
    """Runs in the places that they name first, counted from 1."""
    found: list[RunRow | None] = [None] * count
    for place, *values in map(tuple, rows):
        found[place - 1] = run_row(values)
    return found


def _thread_rows(rows: Iterable[Any]) -> list[ThreadRow]:
    return [thread_row(row) for row in rows]

"""A database in memory that several "processes" share, with advisory locks and counted calls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

from stepwell._ids import RandomIds
from stepwell._journal.handle import Appended, ThreadHandle
from stepwell._journal.journal import Journal, JournalOptions
from stepwell._journal.slices import Ticket
from stepwell.checkpoint.driver import (
    Ask,
    Busy,
    Capability,
    CheckpointRow,
    Claim,
    ClaimRequest,
    CommitOutcome,
    Committed,
    Driver,
    Failed,
    Held,
    HistoryPage,
    Layout,
    Loaded,
    LoadRequest,
    Lost,
    Parked,
    Relayout,
    Renewed,
    RunRow,
    Slice,
    Tally,
    TallyQuery,
    ThreadKey,
    ThreadQuery,
    ThreadRow,
    Vitals,
)
from stepwell.checkpoint.memory._driver import MemoryDriver
from stepwell.errors import StorageError, StorageUnavailableError
from stepwell.observe import Event, Observers
from tests.simulation._virtual import LoopClock


class Database:
    """The rows, the locks, and who holds them."""

    def __init__(self) -> None:
        self.rows = MemoryDriver(LoopClock())
        self.locks: dict[int, Process] = {}
        self.keys: dict[ThreadKey, int | None] = {}
        self.ids = RandomIds(seed=7)

    def epoch(self, key: ThreadKey) -> int:
        """Of the row; 0 = there is none."""
        thread = self.rows._threads.get(key)
        return 0 if thread is None else thread.epoch

    def may_claim(self, request: ClaimRequest) -> bool:
        """What a driver decides when it has read the row."""
        thread = self.rows._threads.get(request.key)
        if thread is None or thread.owner in (None, request.worker):
            return True
        late = thread.lease_until is None or thread.lease_until < LoopClock().monotonic()
        suspected = request.confirmed == (thread.epoch, thread.beat)
        return late or (suspected and self.keys.get(request.key) not in (None, *self.locks))

    async def row(self, key: ThreadKey) -> ThreadRow:
        row = (await self.chain(key)).thread
        assert row is not None
        return row

    async def chain(self, key: ThreadKey, ns: str = "", seq: int | None = None) -> Loaded:
        return (await self.rows.load([LoadRequest(key, ns, seq)]))[0]

    async def bodies(self, key: ThreadKey) -> list[bytes]:
        return [row.body for row in (await self.chain(key)).rows]

    async def steal(self, key: ThreadKey) -> int:
        """Another worker takes the thread, whatever its lease says; its epoch."""
        row = await self.row(key)
        [claim] = await self.rows.claim(
            [
                ClaimRequest(
                    key, b"thief" * 3 + b"!", 10.0, 1, b"u" * 16, confirmed=(row.epoch, row.beat)
                )
            ]
        )
        assert isinstance(claim, Claim)
        return claim.epoch


class Process:
    """A driver as one process has it. Everything it is asked is kept."""

    name = "fake"
    capabilities = frozenset({Capability.ADVISORY_LOCKS, Capability.MANY_PROCESSES})

    def __init__(self, database: Database) -> None:
        self.database = database
        self.dead = False
        self.opened = 0
        self.calls: Counter[str] = Counter()
        self.claims: list[list[ClaimRequest]] = []
        self.commits: list[list[Slice]] = []
        self.renewals: list[list[Held]] = []
        self.releases: list[list[Held]] = []
        self.unlocks: list[list[Held]] = []
        self.wants: list[ThreadKey] = []
        self.committing = 0
        self.committing_max = 0
        self.latency_s = 0.0
        self.gate: asyncio.Event | None = None
        self.parked: Counter[ThreadKey] = Counter()
        self.failing: dict[ThreadKey, BaseException] = {}
        self.poison: bytes | None = None
        self.poison_error: Callable[[], Exception] = lambda: StorageError("value too long")
        self.outage: Callable[[], Exception] | None = None

    def kill(self) -> None:
        """The process is gone: its locks are free, its calls go nowhere."""
        self.dead = True
        locks = self.database.locks
        for key in [key for key, holder in locks.items() if holder is self]:
            del locks[key]

    async def _call(self, verb: str) -> None:
        self.calls[verb] += 1
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if self.dead:
            await asyncio.Event().wait()
        if self.outage is not None:
            raise self.outage()

    async def open(self) -> None:
        await self._call("open")
        self.opened += 1

    async def close(self) -> None:
        self.calls["close"] += 1

    def forget(self) -> None:
        self.calls["forget"] += 1

    async def migrate(self, mode: Literal["auto", "check", "off"]) -> None:
        await self._call(f"migrate {mode}")

    async def claim(self, requests: Sequence[ClaimRequest]) -> list[Claim | Busy]:
        await self._call("claim")
        self.claims.append(list(requests))
        database = self.database
        answers: list[Claim | Busy] = []
        for request in requests:
            old = database.keys.get(request.key)
            lock_free = None if old is None else old not in database.locks
            asked = request if lock_free else request._replace(confirmed=None)
            [answer] = await database.rows.claim([asked])
            if isinstance(answer, Busy):
                answer = replace(answer, lock_free=lock_free)
            else:
                new = database.ids.lock_key() if request.lock else None
                if new is not None:
                    database.locks[new] = self
                database.keys[request.key] = new
                answer = replace(answer, lock_key=new)
            answers.append(answer)
        return answers

    async def commit(self, batch: Sequence[Slice]) -> list[CommitOutcome]:
        self.commits.append(list(batch))
        self.committing += 1
        self.committing_max = max(self.committing_max, self.committing)
        try:
            await self._call("commit")
            if self.gate is not None:
                await self.gate.wait()
            if self.poison is not None and any(
                row.body == self.poison for piece in batch for row in piece.checkpoints
            ):
                raise self.poison_error()
            return [await self._commit(piece) for piece in batch]
        finally:
            self.committing -= 1

    async def _commit(self, piece: Slice) -> CommitOutcome:
        if self.parked[piece.key] > 0:
            self.parked[piece.key] -= 1
            return Parked()
        if piece.key in self.failing:
            return Failed(self.failing.pop(piece.key))
        [outcome] = await self.database.rows.commit([piece])
        return outcome

    async def renew(
        self, worker: bytes, held: Sequence[Held], lease_ttl_s: float
    ) -> list[Renewed | Lost]:
        await self._call("renew")
        self.renewals.append(list(held))
        return await self.database.rows.renew(worker, held, lease_ttl_s)

    async def release(self, worker: bytes, held: Sequence[Held]) -> None:
        await self._call("release")
        self.releases.append(list(held))
        await self.database.rows.release(worker, held)
        self._free(held)

    async def unlock(self, held: Sequence[Held]) -> None:
        await self._call("unlock")
        self.unlocks.append(list(held))
        self._free(held)

    def _free(self, held: Sequence[Held]) -> None:
        for claim in held:
            if claim.lock_key is not None:
                assert self.database.locks.pop(claim.lock_key, self) is self

    async def want(self, keys: Sequence[ThreadKey]) -> None:
        await self._call("want")
        self.wants += keys
        await self.database.rows.want(keys)

    async def ask(self, asks: Sequence[Ask]) -> list[bool]:
        await self._call("ask")
        return await self.database.rows.ask(asks)

    async def free_locks(self, lock_keys: Sequence[int]) -> list[bool]:
        await self._call("free_locks")
        return await self.database.rows.free_locks(lock_keys)

    async def landed(self, key: ThreadKey, record_no: int, epoch: int) -> bool:
        await self._call("landed")
        return await self.database.rows.landed(key, record_no, epoch)

    async def load(self, requests: Sequence[LoadRequest]) -> list[Loaded]:
        await self._call("load")
        return await self.database.rows.load(requests)

    async def history(
        self,
        key: ThreadKey,
        ns_name: str,
        upto: int | None,
        *,
        since: int = 1,
        current: bool = False,
    ) -> HistoryPage:
        await self._call("history")
        return await self.database.rows.history(key, ns_name, upto, since=since)

    async def page(
        self, key: ThreadKey, ns_name: str, upto: int | None, limit: int, *, current: bool = False
    ) -> HistoryPage:
        await self._call("page")
        return await self.database.rows.page(key, ns_name, upto, limit)

    async def layout(self, key: ThreadKey, ns_name: str) -> Layout:
        await self._call("layout")
        return await self.database.rows.layout(key, ns_name)

    async def write_segments(self, change: Relayout) -> bool:
        await self._call("write_segments")
        return await self.database.rows.write_segments(change)

    async def prune(self, claim: Held, worker: bytes, change: Relayout) -> bool:
        await self._call("prune")
        return await self.database.rows.prune(claim, worker, change)

    async def set_ttl(self, key: ThreadKey, ttl_s: float | None) -> bool:
        await self._call("set_ttl")
        return await self.database.rows.set_ttl(key, ttl_s)

    async def reclaim(self) -> int:
        await self._call("reclaim")
        return await self.database.rows.reclaim()

    async def threads(self, query: ThreadQuery) -> list[ThreadRow]:
        await self._call("threads")
        return await self.database.rows.threads(query)

    async def tally(self, query: TallyQuery) -> list[Tally]:
        await self._call("tally")
        return await self.database.rows.tally(query)

    async def vitals(self) -> Vitals:
        await self._call("vitals")
        return await self.database.rows.vitals()

    async def namespaces(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[tuple[int, str, int]]:
        await self._call("namespaces")
        return await self.database.rows.namespaces(key, after=after, limit=limit)

    async def runs(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[RunRow]:
        await self._call("runs")
        return await self.database.rows.runs(key, after=after, limit=limit)

    async def runs_numbered(self, names: Sequence[tuple[ThreadKey, int]]) -> list[RunRow | None]:
        await self._call("runs_numbered")
        return await self.database.rows.runs_numbered(names)

    async def described(self, keys: Sequence[ThreadKey]) -> list[RunRow | None]:
        await self._call("described")
        return await self.database.rows.described(keys)

    async def keyed_run(self, key: ThreadKey, idempotency_key: str) -> RunRow | None:
        await self._call("keyed_run")
        return await self.database.rows.keyed_run(key, idempotency_key)

    async def delete(self, claim: Held, worker: bytes) -> bool:
        await self._call("delete")
        return await self.database.rows.delete(claim, worker)


class InlineProcess(Process):
    """A process whose commits and claims need no waiting."""

    def commit_now(self, batch: Sequence[Slice]) -> list[CommitOutcome]:
        self.calls["commit_now"] += 1
        if self.outage is not None:
            raise self.outage()
        return [_step(self._commit(piece)) for piece in batch]

    def claim_now(self, requests: Sequence[ClaimRequest]) -> list[Claim | Busy]:
        self.calls["claim_now"] += 1
        if self.outage is not None:
            raise self.outage()
        return _step(self.claim(requests))


def _step(call: Any) -> Any:
    try:
        call.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("the call waited")


def unavailable(outcome: str = "none") -> StorageUnavailableError:
    return StorageUnavailableError("no connection", outcome=outcome)


def journal_on(
    driver: Driver, *, observers: Observers | None = None, seed: int = 1, **options: Any
) -> Journal:
    """A journal on virtual time, with seeded randomness."""
    return Journal(
        driver,
        options=JournalOptions(**options),
        clock=LoopClock(),
        ids=RandomIds(seed=seed),
        observers=observers,
    )


@asynccontextmanager
async def opened(driver: Driver, **options: Any) -> AsyncIterator[Journal]:
    """An open journal; closed at the end."""
    journal = journal_on(driver, **options)
    await journal.open("auto")
    try:
        yield journal
    finally:
        await journal.close()


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[tuple[Journal, Process]]:
    """One process with an open journal on an empty database."""
    process = Process(Database())
    async with opened(process, **options) as journal:
        yield journal, process


def key(name: object = "t") -> ThreadKey:
    return ThreadKey("", str(name))


def step(handle: ThreadHandle, body: bytes = b"x", **fields: Any) -> Appended:
    """Append a checkpoint to the root."""
    columns = {
        "parent": None, "step": 0, "source": 1, "run": 0, "format": 1, "crc": 0, "body": body,
    } | fields  # fmt: skip
    return handle.append_checkpoint(columns.pop("ns", 0), **columns)


def waited_for(
    handle: ThreadHandle,
    body: bytes,
    *,
    ns: int = 0,
    drops: int | None = None,
    let_go: bool = False,
) -> Appended:
    """Append a checkpoint that its run waits for before anything else."""
    seq, no = handle.head(ns) + 1, handle.record_no + 1
    row = CheckpointRow(ns, seq, None, 0, 1, 0, handle.epoch, no, 1, 0, body)
    ticket = handle.append_row(row, drops, None, None, let_go=let_go, at_once=True)
    assert ticket is not None
    return Appended(seq, no, ticket)


def write(handle: ThreadHandle, seq: int, task: str, body: bytes = b"w", **fields: Any) -> Ticket:
    """File a pending write."""
    columns = {
        "task_id": task.encode(), "idx": 0, "task_path": task, "channel": None, "format": 1,
        "crc": 0, "body": body,
    } | fields  # fmt: skip
    return handle.append_write(columns.pop("ns", 0), seq, **columns)


class Heard:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.observers = Observers([self.events.append])

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def landed(number: int) -> Committed:
    return Committed(number, landed=True)

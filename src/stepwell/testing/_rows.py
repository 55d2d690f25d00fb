"""Builders of rows, slices and claims, for tests of drivers and of what stands on them.

A `Writer` plays the journal for one claim of one thread: it numbers records, keeps the
heads and sends slices, so a test says only what it is about::

    alice = await take(driver, thread_key(), worker("alice"))
    await alice.append(checkpoint(body=b"one"), pending("task-1"))
    late = alice.slice(checkpoint())          # built, not sent
    assert isinstance(await alice.send(late), Committed)
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict, Unpack

from stepwell._ids import RandomIds, digest16
from stepwell.checkpoint.driver import (
    Busy,
    CheckpointRow,
    Claim,
    ClaimRequest,
    CommitOutcome,
    Committed,
    Driver,
    Held,
    Loaded,
    LoadRequest,
    Parked,
    RunRow,
    RunStatus,
    Slice,
    Source,
    ThreadChange,
    ThreadKey,
    ThreadRow,
    ThreadStatus,
    WriteRow,
)

AUTO = -1
"""A seq that the `Writer` fills in: the next one for a checkpoint, the head for a write."""

LEASE_TTL_S = 30.0
"""Long enough that no test sees it end by accident."""

_PARKED_MAX, _PARKED_PAUSE_S = 500, 0.005

Record: TypeAlias = CheckpointRow | WriteRow

_IDS = RandomIds(seed=1)


def worker(name: str) -> bytes:
    """16 bytes that name a worker: the same for the same `name`."""
    return digest16("worker", name)


def thread_key(thread_id: str = "thread-1", scope: str = "") -> ThreadKey:
    """The key of a thread."""
    return ThreadKey(scope, thread_id)


def checkpoint(
    body: bytes = b'{"n":1}', *, seq: int = AUTO, parent: int | None = None, **fields: Any
) -> CheckpointRow:
    """A checkpoint row of the root namespace. `fields` replace any other column."""
    row = CheckpointRow(
        ns=0, seq=seq, parent=parent, step=0, source=Source.LOOP, run=0, epoch=0, record_no=0,
        format=1, crc=zlib.crc32(body), body=body,
    )  # fmt: skip
    return row._replace(**fields)


def pending(
    task: str = "task-1", body: bytes = b'{"w":1}', *, seq: int = AUTO, idx: int = 0, **fields: Any
) -> WriteRow:
    """A pending write of `task`, filed under checkpoint `seq` of the root namespace."""
    row = WriteRow(
        ns=0, seq=seq, task_id=digest16("task", task), idx=idx, task_path=task, channel=None,
        epoch=0, record_no=0, format=1, crc=zlib.crc32(body), body=body,
    )  # fmt: skip
    return row._replace(**fields)


def run_row(run: int = 1, *, status: int = RunStatus.RUNNING, **fields: Any) -> RunRow:
    """A run row; its name is "run-<run>" unless `fields` say otherwise."""
    return RunRow(run=run, run_id=f"run-{run}", status=status)._replace(**fields)


def change(status: int = ThreadStatus.RUNNING, run: int = 0, **fields: Any) -> ThreadChange:
    """New descriptive columns of a thread row."""
    return ThreadChange(status=status, run=run)._replace(**fields)


def claim_request(
    key: ThreadKey, by: bytes, *, lease_ttl_s: float = LEASE_TTL_S, **fields: Any
) -> ClaimRequest:
    """A claim of `key` by worker `by`, with fresh random starts."""
    request = ClaimRequest(
        key=key, worker=by, lease_ttl_s=lease_ttl_s, fresh_no=_IDS.start_no(), fresh_uid=_IDS.uid()
    )
    return request._replace(**fields)


class SliceOptions(TypedDict, total=False):
    """What a slice may hold besides its rows."""

    change: ThreadChange | None
    runs: Sequence[RunRow]
    namespaces: Sequence[tuple[int, str]]
    drop: Sequence[tuple[int, int]]
    let_go: bool


class Writer:
    """The journal's part for one claim: numbers records, keeps heads, sends slices."""

    def __init__(self, driver: Driver, claim: Claim, by: bytes) -> None:
        self.driver = driver
        self.claim = claim
        self.key = claim.key
        self.worker = by
        self.epoch = claim.epoch
        self.record_no = claim.record_no
        self.lease_ttl_s = LEASE_TTL_S
        self.heads: dict[int, int] = {}
        if claim.loaded.thread is not None:
            self.heads = {no: head for no, (_, head) in claim.loaded.thread.namespaces.items()}

    @property
    def held(self) -> Held:
        """This claim, as `renew`, `release`, `unlock` and `delete` name it."""
        return Held(self.key, self.epoch, self.claim.lock_key)

    def slice(self, *rows: Record, **options: Unpack[SliceOptions]) -> Slice:
        """The next slice with `rows`, numbered in the order given; nothing is sent.

        A slice without rows counts as one record (a status, a release).
        """
        heads: dict[int, int] = {}
        checkpoints: list[CheckpointRow] = []
        writes: list[WriteRow] = []
        record_no = self.record_no
        for row in rows:
            record_no += 1
            head = heads.get(row.ns, self.heads.get(row.ns, 0))
            if isinstance(row, CheckpointRow):
                seq = head + 1 if row.seq == AUTO else row.seq
                checkpoints.append(row._replace(seq=seq, epoch=self.epoch, record_no=record_no))
                heads[row.ns] = seq
            else:
                seq = head if row.seq == AUTO else row.seq
                writes.append(row._replace(seq=seq, epoch=self.epoch, record_no=record_no))
        return Slice(
            key=self.key,
            epoch=self.epoch,
            owner=self.worker,
            record_no=self.record_no,
            record_no_after=max(record_no, self.record_no + 1),
            lease_ttl_s=self.lease_ttl_s,
            checkpoints=checkpoints,
            writes=writes,
            runs=options.get("runs", ()),
            namespaces=options.get("namespaces", ()),
            drop_writes=options.get("drop", ()),
            heads=heads,
            thread=options.get("change"),
            let_go=options.get("let_go", False),
        )

    def advance(self, sent: Slice) -> None:
        """Go on behind `sent`, which is known to be in the database."""
        self.record_no = sent.record_no_after
        self.heads.update(sent.heads)

    async def send(self, piece: Slice) -> CommitOutcome:
        """Commit one slice alone; nothing is concluded from the outcome.

        Only `Parked` (a passing claimer held the row) is answered, as the journal does: by
        sending the same slice again.
        """
        for _ in range(_PARKED_MAX):
            [outcome] = await self.driver.commit([piece])
            if not isinstance(outcome, Parked):
                return outcome
            await asyncio.sleep(_PARKED_PAUSE_S)
        raise AssertionError("the row of the thread stays locked")

    async def append(self, *rows: Record, **options: Unpack[SliceOptions]) -> Slice:
        """Build the next slice, commit it, insist that it was written now, and go on."""
        piece = self.slice(*rows, **options)
        outcome = await self.send(piece)
        if not (isinstance(outcome, Committed) and not outcome.landed):
            raise AssertionError(f"the slice was not written: {outcome!r}")
        self.advance(piece)
        return piece

    async def release(self) -> None:
        """Give the thread back."""
        await self.driver.release(self.worker, [self.held])


async def contest(driver: Driver, key: ThreadKey, by: bytes, **fields: Any) -> Claim | Busy:
    """Claim one thread; `fields` as of `claim_request`."""
    [outcome] = await driver.claim([claim_request(key, by, **fields)])
    return outcome


async def take(driver: Driver, key: ThreadKey, by: bytes, **fields: Any) -> Writer:
    """Claim one thread and insist on getting it."""
    outcome = await contest(driver, key, by, **fields)
    if not isinstance(outcome, Claim):
        raise AssertionError(f"the thread was not free: {outcome!r}")  # noqa: TRY004
    return Writer(driver, outcome, by)


async def loaded(
    driver: Driver, key: ThreadKey, *, ns_name: str = "", seq: int | None = None
) -> Loaded:
    """Load one chain."""
    [answer] = await driver.load([LoadRequest(key, ns_name, seq)])
    return answer


async def thread_row(driver: Driver, key: ThreadKey) -> ThreadRow:
    """The row of a thread that must exist."""
    row = (await loaded(driver, key)).thread
    if row is None:
        raise AssertionError(f"no thread {key!r}")
    return row


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def comparable(row: CheckpointRow | WriteRow | RunRow) -> tuple[Any, ...]:
    """The columns of a row in a form in which what was written equals what is read.

    Left out: times that the database sets. `meta_index` is compared as the JSON it is,
    because a database may keep a derived form of it.
    """
    if isinstance(row, WriteRow):
        return tuple(row)
    fields = row._asdict()
    for name in ("created_at", "started_at", "finished_at"):
        fields.pop(name, None)
    fields["meta_index"] = _json(row.meta_index)
    return tuple(fields.items())


def bodies(rows: Iterable[Record]) -> list[bytes]:
    """The bodies of rows, in their order."""
    return [row.body for row in rows]


def seqs(rows: Iterable[Record]) -> list[int]:
    """The seqs of rows, in their order."""
    return [row.seq for row in rows]


def head_of(row: ThreadRow, ns_name: str = "") -> int:
    """The head seq of the namespace called `ns_name`; 0 if there is none."""
    spaces: Mapping[int, tuple[str, int]] = row.namespaces
    return next((head for name, head in spaces.values() if name == ns_name), 0)

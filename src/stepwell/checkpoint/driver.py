"""The driver SPI: what one database must offer so that Stepwell can keep threads in it.

A driver moves rows and knows nothing of graphs or bodies. The journal above it decides *what* is
written, and in which order; the driver guarantees that a batch of slices is one transaction, that
every slice is fenced, and that one refused thread never fails the others.

A *thread* is one conversation or workflow, keyed by (scope, thread_id). Its *epoch* is the fencing
token: it moves by compare-and-set at every claim. Its *record_no* numbers the records appended to
it; a commit names the one it extends, so what is durable is a prefix, and a retry is idempotent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from stepwell._dataclass import dataclass
from stepwell.checkpoint._driver_parts import (
    UNENDED,
    NamespaceRow,
    RowKind,
    Snapshot,
    StoredRow,
    ThreadPart,
    at_rest,
    place_of,
)
from stepwell.checkpoint._driver_rows import (
    CheckpointRow,
    Known,
    Layout,
    Relayout,
    RowPlace,
    RunRow,
    RunStatus,
    SegmentPlace,
    SegmentRow,
    Source,
    Tally,
    TallyQuery,
    ThreadChange,
    ThreadKey,
    ThreadRow,
    ThreadStatus,
    Vitals,
    WriteRow,
)

NAMESPACES_MAX: Final = 64
"""How many of a thread's namespaces a read shows, beside the root and the one asked for."""


class Capability(StrEnum):
    """What a driver declares it can do; declared, never inferred."""

    LISTEN = "listen"
    """Waiters are woken by a hint when a thread is released."""
    ADVISORY_LOCKS = "advisory_locks"
    """The death of an owner's process is visible at once."""
    MANY_PROCESSES = "many_processes"
    """Several processes may open the same database at the same time."""
    ONLINE_BACKUP = "online_backup"
    """It is a `BackupDriver`."""
    USER_TRANSACTION = "user_transaction"


class LoadRequest(NamedTuple):
    """Ask for the chain of one checkpoint. `seq` None = head of the namespace; `current`: not
    from a replica that may lag (whoever asks writes the thread)."""

    key: ThreadKey
    ns_name: str = ""
    seq: int | None = None
    current: bool = False


@dataclass(slots=True, frozen=True, kw_only=True)
class Loaded:
    """One consistent snapshot. `thread` None: no such thread. `rows`: oldest to newest,
    exactly the ancestors of the checkpoint asked for and itself, that are not covered by
    `segments` (oldest to newest too; each holds at least one row of the chain). Nothing of a
    segment whose rows are all in the chain is needed but its `body`: there `detail` may be
    empty, if the checkpoint asked for is not in it. `writes`: those filed under that
    checkpoint, ordered by (record_no, idx). `runs`: the run rows that `rows` name, by number
    (and the newest, and those of the segment that holds the checkpoint asked for).
    `newest_only`: all rows but the newest, and the segments, are left out (see `Known`)."""

    thread: ThreadRow | None
    ns: int = 0
    rows: Sequence[CheckpointRow] = ()
    segments: Sequence[SegmentRow] = ()
    writes: Sequence[WriteRow] = ()
    runs: Mapping[int, RunRow] = field(default_factory=dict)
    newest_only: bool = False


@dataclass(slots=True, frozen=True, kw_only=True)
class HistoryPage:
    """`rows`: every not yet folded row of the namespace between the oldest and the newest seq
    asked for, oldest to newest, over all branches (folding needs the ancestors); `segments`:
    those that hold a row of that range, whole; `writes` filed under the range (from 0 if it
    begins at 1); `runs` that rows and segments name. One consistent snapshot."""

    thread: ThreadRow | None
    ns: int = 0
    rows: Sequence[CheckpointRow] = ()
    segments: Sequence[SegmentRow] = ()
    writes: Sequence[WriteRow] = ()
    runs: Mapping[int, RunRow] = field(default_factory=dict)
    first: int = 0
    last: int = 0
    """Of `page`: the oldest and the newest checkpoint of the page; 0: it is empty."""


class ClaimRequest(NamedTuple):
    """Ask to become the writer of a thread (created if absent).

    `fresh_no` is the random start of epoch and layout_no of a new row, `fresh_uid` its uid.
    `confirmed` = (epoch, beat) of a suspicion that the journal has confirmed: the claim may
    then pass a live lease whose lock key is free, if neither has moved. A row without a key
    is no evidence of death: it is held until its lease ends, whatever was confirmed.
    `lock`: take a fresh advisory key for this claim (a driver without locks ignores it).
    `known`: only where the newest state of the root is asked for.
    """

    key: ThreadKey
    worker: bytes
    lease_ttl_s: float
    fresh_no: int
    fresh_uid: bytes
    lock: bool = True
    confirmed: tuple[int, int] | None = None
    load_ns: str = ""
    load_seq: int | None = None
    known: Known | None = None


@dataclass(slots=True, frozen=True, kw_only=True)
class Claim:
    """The thread is ours under `epoch`. `loaded.thread` is the row after the claim and
    `loaded` was read at the same record_no. `was_running` / `previous_owner` describe the
    row before (a takeover if it was running)."""

    key: ThreadKey
    epoch: int
    record_no: int
    lock_key: int | None
    loaded: Loaded
    taken_over: bool = False
    """The row had an owner whose lease had run out or whose death was confirmed."""


@dataclass(slots=True, frozen=True, kw_only=True)
class Busy:
    """Somebody else holds the thread. `lock_free` True: the owner's lock key is free under
    a live lease (suspicion); False: held; None: no evidence. `status` etc. for messages."""

    key: ThreadKey
    epoch: int
    beat: int
    owner: bytes
    lock_free: bool | None
    lease_left_s: float
    run_id: str | None = None


class Slice(NamedTuple):
    """The next records of one thread, under one claim. A retry may only append records behind
    it.

    `record_no`: the number this slice extends; `record_no_after`: the number of its last
    record. `drop_writes`: (ns, seq) pairs whose pending writes are superseded by a
    checkpoint in this slice. `heads`: new head seq per namespace number. `namespaces`: new
    ones, (number, name). `let_go`: release the claim with this commit.
    """

    key: ThreadKey
    epoch: int
    owner: bytes
    record_no: int
    record_no_after: int
    lease_ttl_s: float
    checkpoints: Sequence[CheckpointRow] = ()
    writes: Sequence[WriteRow] = ()
    runs: Sequence[RunRow] = ()
    namespaces: Sequence[tuple[int, str]] = ()
    drop_writes: Sequence[tuple[int, int]] = ()
    heads: Mapping[int, int] = MappingProxyType({})
    thread: ThreadChange | None = None
    let_go: bool = False


class Committed(NamedTuple):
    """Written, now (`landed` False) or by an earlier attempt of the same slice (True; then
    only the records up to `record_no` are there and the rest must be sent again)."""

    record_no: int
    landed: bool = False
    request: str | None = None
    wanted: bool = False


@dataclass(slots=True, frozen=True)
class Stale:
    """Refused by the fence: the row has another epoch, owner or record_no, or is gone
    (`epoch` None). Nothing of this slice was written by this call."""

    epoch: int | None
    owner: bytes | None = None
    record_no: int | None = None


@dataclass(slots=True, frozen=True)
class Parked:
    """The row was locked by somebody just now; nothing written; try again soon."""


@dataclass(slots=True, frozen=True)
class Failed:
    """This slice cannot be written (bad bytes, a broken invariant); the others were."""

    error: BaseException


CommitOutcome: TypeAlias = Committed | Stale | Parked | Failed


class Held(NamedTuple):
    """Names one live claim."""

    key: ThreadKey
    epoch: int
    lock_key: int | None = None


class Ask(NamedTuple):
    """A request to whoever holds the thread under `epoch`: text that only journals read. One
    that is there already stays, unless `replace`; the next claim clears it."""

    key: ThreadKey
    epoch: int
    request: str
    replace: bool = False


@dataclass(slots=True, frozen=True)
class Renewed:
    """The claim is still ours; `request` and `wanted` are what others ask of the owner."""

    request: str | None = None
    wanted: bool = False
    extended: bool = True
    """False: the lease runs on as it was, because somebody else had the row locked. Try again
    soon; until then nothing may rest on a lease of full length."""


@dataclass(slots=True, frozen=True)
class Lost:
    """The claim is no longer ours. `epoch` None: the thread is gone."""

    epoch: int | None


class ThreadQuery(NamedTuple):
    """One page of threads, keyset-paged. `after` is the cursor of the last item seen."""

    scope: str = ""
    status: int | None = None
    graph: str | None = None
    updated_before: float | None = None
    updated_after: float | None = None
    order: Literal["updated", "created", "thread_id"] = "updated"
    descending: bool = True
    after: tuple[float, str] | None = None
    """(order value, thread_id); for order="thread_id" the first element is 0."""
    limit: int = 100
    metadata: str | None = None
    """A JSON object, not empty: keys that the `meta_index` of the thread's metadata (`described`)
    must have, with equal values: text, numbers, booleans (true is not 1), null."""


@runtime_checkable
class Driver(Protocol):
    """Code for one database. Every verb is batched and may be called concurrently.

    Errors: a verb raises only what concerns the whole call, always a `StorageError`:
    `StorageUnavailableError` (try again; `.context["outcome"]` is "none" when certainly
    nothing was written, "unknown" when a commit may have landed), `StorageFullError`,
    `SchemaVersionError`, or a plain `StorageError` (permanent: the journal bisects the
    batch down to the thread at fault). Native errors never leave a driver.
    """

    name: str
    capabilities: frozenset[Capability]

    async def open(self) -> None:
        """Connect. Idempotent; called on the event loop that the driver will live on."""

    async def close(self) -> None:
        """Give back connections and locks. Idempotent."""

    def forget(self) -> None:
        """Drop every connection without touching it: the loop is gone, or this is a fork."""

    async def migrate(self, mode: Literal["auto", "check", "off"]) -> None:
        """Create or upgrade the schema; safe when many processes do it at once."""

    async def claim(self, requests: Sequence[ClaimRequest]) -> list[Claim | Busy]:
        """Compare-and-set the epoch of each thread; outcomes in the order of `requests`."""

    async def commit(self, batch: Sequence[Slice]) -> list[CommitOutcome]:
        """Write all slices in one transaction, each behind its fence; outcomes in order."""

    async def renew(
        self, worker: bytes, held: Sequence[Held], lease_ttl_s: float
    ) -> list[Renewed | Lost]:
        """Heartbeat: extend the lease of each claim still ours, where its row is not locked."""

    async def release(self, worker: bytes, held: Sequence[Held]) -> None:
        """Free the row of each claim still ours, then its advisory lock."""

    async def unlock(self, held: Sequence[Held]) -> None:
        """Give back the advisory locks of claims that were let go by a commit, or lost."""

    async def want(self, keys: Sequence[ThreadKey]) -> None:
        """Say that somebody waits for these threads (sets `wanted_at` once)."""

    async def ask(self, asks: Sequence[Ask]) -> list[bool]:
        """Leave requests with owners, who learn of them by their next commit or heartbeat;
        sets `wanted_at` too. False: nobody holds that thread under that epoch any more."""

    async def free_locks(self, lock_keys: Sequence[int]) -> list[bool]:
        """Which of these locks nobody holds: evidence, no verdict. A driver without locks: none."""

    async def landed(self, key: ThreadKey, record_no: int, epoch: int) -> bool:
        """Is the record numbered `record_no`, written under `epoch`, in the database?"""

    async def load(self, requests: Sequence[LoadRequest]) -> list[Loaded]:
        """Read each chain in one consistent snapshot per request. Never locks."""

    async def history(
        self,
        key: ThreadKey,
        ns_name: str,
        upto: int | None,
        *,
        since: int = 1,
        current: bool = False,
    ) -> HistoryPage:
        """Rows of one namespace with `since` <= seq <= `upto` (None = all), one snapshot.
        `current`: as in a `LoadRequest`."""

    async def page(
        self, key: ThreadKey, ns_name: str, upto: int | None, limit: int, *, current: bool = False
    ) -> HistoryPage:
        """The newest `limit` checkpoints with seq <= `upto` (None = all) over all branches, and
        what else their states are made of: their ancestors, and those that extend one of them. One
        snapshot. Of `HistoryPage`: rows and segments that are not needed may be left out; detail
        may be empty where no row of a segment is in the page, extends one of it, or is an ancestor
        whose own segment goes on in another branch; `writes` of the page (and under 0, if it
        begins with the first there is); `runs` that its rows name, but not its segments."""

    async def layout(self, key: ThreadKey, ns_name: str) -> Layout:
        """How a namespace is stored. Not from a replica that may lag."""

    async def threads(self, query: ThreadQuery) -> list[ThreadRow]:
        """One page of thread rows (their `namespaces` may hold the root only, and say nothing
        of more)."""

    async def tally(self, query: TallyQuery) -> list[Tally]:
        """Count threads by graph, status and span, in any order: one look at the thread rows."""

    async def vitals(self) -> Vitals:
        """What the database says of itself. Not from a replica."""

    async def namespaces(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[tuple[int, str, int]]:
        """One page of a thread's namespaces but the root, newest first, with a number <
        `after`: (number, name, head seq)."""

    async def runs(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[RunRow]:
        """One page of a thread's runs, newest first, with run < `after`."""

    async def runs_numbered(self, names: Sequence[tuple[ThreadKey, int]]) -> list[RunRow | None]:
        """The run of each thread that has this number, in order; None where there is none."""

    async def described(self, keys: Sequence[ThreadKey]) -> list[RunRow | None]:
        """The newest run of each thread that has metadata, in order; None where none has."""

    async def keyed_run(self, key: ThreadKey, idempotency_key: str) -> RunRow | None:
        """The run with this idempotency key: one look into an index, not at a lagging replica."""

    async def delete(self, claim: Held, worker: bytes) -> bool:
        """Delete the thread and all its rows, fenced by the claim."""

    async def write_segments(self, change: Relayout) -> bool:
        """Store a part of a namespace in another form, whoever owns the thread: rows are
        immutable, so a fold and a writer do not meet. All of it happens, or nothing.

        Returns:
            False when nothing was done: another layout came first, or the thread is gone.

        Raises:
            StorageError: Something that was to go is not there, or the place of something that
                was to come is taken; nothing was done.
        """

    async def prune(self, claim: Held, worker: bytes, change: Relayout) -> bool:
        """The same, fenced by a claim: False also when that is not ours any more."""

    async def set_ttl(self, key: ThreadKey, ttl_s: float | None) -> bool:
        """Say how long the thread is to be kept after its last update (`ThreadRow.ttl_s`); not
        an update itself. False: there is no such thread."""

    async def reclaim(self) -> int:
        """Give space of what was deleted back, as far as that is possible beside readers and
        writers; bytes that the database has become smaller by."""


class BackupDriver(Driver, Protocol):
    """A driver that declares `ONLINE_BACKUP`: it gives away all it holds, and can be filled."""

    unfinished: str | None
    """The note of `mark`, as `migrate` (in another mode than "off") has found it last."""

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """See one state of the whole database while others go on writing it."""

    async def restore(self, parts: Sequence[ThreadPart], gone: Sequence[ThreadKey] = ()) -> None:
        """Put rows in place as they are, and delete the threads `gone`, in one transaction.

        Nobody else writes these threads: a database that is being filled is marked so.
        """

    async def reseal(self, worker: bytes, changes: Sequence[tuple[Held, ThreadPart]]) -> list[bool]:
        """Put other bytes into rows that are there, in one transaction: see docs/drivers.md. False:
        the claim or the `layout_no` of a part was not that of its thread any more."""

    async def strays(self, *, remove: bool = False) -> dict[RowKind, int]:
        """How many rows of each kind belong to no thread (kinds without any left out).

        Args:
            remove: Delete them.
        """

    async def mark(self, note: str | None) -> None:
        """Say durably that this database is being filled (`note`), or is whole (None)."""


__all__ = [
    "NAMESPACES_MAX", "UNENDED", "Ask", "BackupDriver", "Busy", "Capability", "CheckpointRow",
    "Claim", "ClaimRequest", "CommitOutcome", "Committed", "Driver", "Failed", "Held",
    "HistoryPage", "Known", "Layout", "LoadRequest", "Loaded", "Lost", "NamespaceRow", "Parked",
    "Relayout", "Renewed", "RowKind", "RowPlace", "RunRow", "RunStatus", "SegmentPlace",
    "SegmentRow", "Slice", "Snapshot", "Source", "Stale", "StoredRow", "Tally", "TallyQuery",
    "ThreadChange", "ThreadKey", "ThreadPart", "ThreadQuery", "ThreadRow", "ThreadStatus", "Vitals",
    "WriteRow", "at_rest", "place_of",
]  # fmt: skip

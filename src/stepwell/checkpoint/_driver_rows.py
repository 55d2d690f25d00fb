"""What a driver keeps: rows, and the forms in which a namespace may be stored.

Public as names of `stepwell.checkpoint.driver`.
"""

# No `from __future__ import annotations`: each text in place of a type would be compiled.

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from stepwell._dataclass import dataclass


class ThreadStatus(IntEnum):
    """Status column of the thread row."""

    IDLE = 0
    RUNNING = 1
    INTERRUPTED = 2
    FAILED = 3
    DONE = 4


class RunStatus(IntEnum):
    """Status column of a run row."""

    RUNNING = 1
    INTERRUPTED = 2
    FAILED = 3
    DONE = 4
    CANCELLED = 5
    SUPERSEDED = 6


class Source(IntEnum):
    """What made a checkpoint."""

    INPUT = 0
    LOOP = 1
    UPDATE = 2
    FORK = 3


class ThreadKey(NamedTuple):
    """Identity of a thread. `scope` is "" unless the saver is a scoped view."""

    scope: str
    thread_id: str


class CheckpointRow(NamedTuple):
    """One superstep of one namespace: the delta that leads to it, as opaque bytes.

    `seq` starts at 1 in every namespace and has no gaps; `parent` is None for "the row
    before", 0 for "nothing", else the seq this row branches from. `ns` is the small
    number of the namespace inside its thread (0 = root). `created_at` is unix seconds on
    the database's clock: None when writing, set when read.
    """

    ns: int
    seq: int
    parent: int | None
    step: int
    source: int
    run: int
    epoch: int
    record_no: int
    format: int
    crc: int
    body: bytes
    metadata: bytes | None = None
    meta_index: str | None = None
    checkpoint_id: bytes | None = None
    key_id: str | None = None
    created_at: float | None = None


class WriteRow(NamedTuple):
    """What one task of the unfinished superstep after checkpoint `seq` left behind.

    `idx` 0 is the task's output (one row holds all its writes); negative numbers are the
    fixed slots of control writes (error -1, interrupt -3, resume -4, ...): a newer row with
    the same (ns, seq, task_id, idx) replaces the older one.
    """

    ns: int
    seq: int
    task_id: bytes
    idx: int
    task_path: str
    channel: str | None
    epoch: int
    record_no: int
    format: int
    crc: int
    body: bytes
    key_id: str | None = None


class RunRow(NamedTuple):
    """One run of a thread; written again (by `run`, its small number) when it changes."""

    run: int
    run_id: str
    status: int
    attempts: int = 1
    supersteps: int = 0
    idempotency_key: str | None = None
    graph: str | None = None
    metadata: bytes | None = None
    meta_index: str | None = None
    input: bytes | None = None  # of a run with a key: the digest of its input,
    outcome: bytes | None = None  # and where its output is, once it has stopped
    error: str | None = None
    first_parent: int | None = None
    """seq of the root checkpoint the run started from; 0 = nothing."""
    started_at: float | None = None
    finished_at: float | None = None
    """Database clock, set by the driver: `started_at` on first insert, `finished_at` when
    the status written is not RUNNING."""


class SegmentRow(NamedTuple):
    """A folded stretch seq_from..seq_to of one namespace, without a gap and without a fork:
    every row in it but the first extends the one before, and the first extends `parent` (as
    in a `CheckpointRow`). `body`: all that the states behind it need; `detail`: every folded
    row, for states in the middle. `crc` is that of `body`; `run_from` and `run_to` are the
    smallest and the largest run that the rows name."""

    ns: int
    seq_from: int
    seq_to: int
    parent: int | None
    format: int
    crc: int
    body: bytes
    detail: bytes
    key_id: str | None = None
    run_from: int = 0
    run_to: int = 0


class Relayout(NamedTuple):
    """Another form for a part of one namespace: rows and segments that go, and those that come
    in their place, in one transaction. It moves the thread's `layout_no` on by one, if that is
    what it was when the old form was read; `record_no` and the head stay.

    `rows_gone`: seqs of rows; `segments_gone`: the `seq_from` of segments; `writes_gone`: seqs
    whose pending writes go. `rows` keep the `created_at` that they bring. What comes may have
    the place of what goes. `checkpoints` and `bytes` are added to the thread's counters.
    """

    key: ThreadKey
    ns: int
    layout_no: int
    rows_gone: Sequence[int] = ()
    segments_gone: Sequence[int] = ()
    rows: Sequence[CheckpointRow] = ()
    segments: Sequence[SegmentRow] = ()
    writes_gone: Sequence[int] = ()
    checkpoints: int = 0
    bytes: int = 0


class RowPlace(NamedTuple):
    """Where a row is, and what it takes: bytes of body and metadata."""

    seq: int
    parent: int | None
    bytes: int


class SegmentPlace(NamedTuple):
    """Where a segment is, and what it takes: bytes of body and detail."""

    seq_from: int
    seq_to: int
    parent: int | None
    bytes: int


@dataclass(slots=True, frozen=True, kw_only=True)
class Layout:
    """How one namespace is stored: its rows and segments by seq, without what they hold."""

    thread: "ThreadRow | None"
    ns: int = 0
    rows: Sequence[RowPlace] = ()
    segments: Sequence[SegmentPlace] = ()


class ThreadChange(NamedTuple):
    """New values of the descriptive columns of a thread row (all are written)."""

    status: int
    run: int
    """Small number of the newest run; 0 = none."""
    graph: str | None = None
    fingerprint: str | None = None
    state_version: int = 0
    next_nodes: str = "[]"
    """JSON array of node names."""
    interrupts: int = 0
    error: str | None = None


class ThreadRow(NamedTuple):
    """A thread row as read."""

    key: ThreadKey
    uid: bytes
    epoch: int
    owner: bytes | None
    lock_key: int | None
    lease_left_s: float | None
    """Seconds until the lease ends on the database's clock (negative: over); None = free."""
    beat: int
    record_no: int
    layout_no: int
    request: str | None
    wanted: bool
    status: int
    run: int
    graph: str | None
    fingerprint: str | None
    state_version: int
    next_nodes: str
    interrupts: int
    error: str | None
    checkpoints: int
    bytes: int
    ttl_s: float | None
    created_at: float
    updated_at: float
    namespaces: Mapping[int, tuple[str, int]]
    """number -> (name, head seq). The root is {0: ("", head)}; head 0 = no checkpoint.
    Beside it the NAMESPACES_MAX newest, those with the highest numbers, and the one that a
    load or claim asked for: a thread makes a namespace with every call of a subgraph."""
    runs: int = 0
    """How many runs the thread has had (the next run's number is runs + 1)."""
    more_namespaces: bool = False
    """Whether there are, or may be, namespaces that `namespaces` leaves out."""


class TallyQuery(NamedTuple):
    """Which threads of a scope are counted, and how finely.

    `updated_since`: those written then or later (unix seconds; None: all). `width_s`: threads
    are told apart by when they were created too, in spans of so many seconds.
    """

    scope: str = ""
    updated_since: float | None = None
    width_s: float | None = None


class Tally(NamedTuple):
    """What the threads of one graph, in one status, come to. `span`: they were created in
    [span * width_s, (span + 1) * width_s); 0 if nobody asked."""

    graph: str | None
    status: int
    span: int
    threads: int
    runs: int
    checkpoints: int
    bytes: int
    interrupts: int
    created_first: float
    updated_last: float


class Known(NamedTuple):
    """The newest state of a thread's root as whoever claims it remembers it. A driver may answer
    with the newest row alone (`Loaded.newest_only`), if the thread's row had just these values
    before the claim; it may also take no notice."""

    uid: bytes
    epoch: int
    record_no: int
    layout_no: int
    seq: int
    """Of the newest checkpoint."""


class Vitals(NamedTuple):
    """What a database says of itself. None: there is no such thing, or it cannot be seen."""

    schema_version: int | None = None
    """Of its tables; 0: there are none."""
    schema_needed: int | None = None
    """What this release works with."""
    bytes: int | None = None
    """What it takes: the file and its log, or all tables of Stepwell with their indexes."""
    disk_free_bytes: int | None = None
    """What is left where it lies."""


__all__ = [
    "CheckpointRow", "Known", "Layout", "Relayout", "RowPlace", "RunRow", "RunStatus",
    "SegmentPlace", "SegmentRow", "Source", "Tally", "TallyQuery", "ThreadChange", "ThreadKey",
    "ThreadRow", "ThreadStatus", "Vitals", "WriteRow",
]  # fmt: skip

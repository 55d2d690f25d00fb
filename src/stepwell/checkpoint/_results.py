"""What savers tell about threads, runs and checkpoints."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime
from typing import Any, NamedTuple

from stepwell._dataclass import dataclass
from stepwell.config import RunnableConfig


class _Record:
    """A result: immutable, and convertible to a dict."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Fields by name; times as ISO 8601 text in UTC, tuples as lists."""
        return {
            field.name: _plain(getattr(self, field.name))
            for field in fields(self)  # type: ignore[arg-type]  # subclasses are dataclasses
        }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, _Record):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadInfo(_Record):
    """A thread as its row says it is; times are aware and in UTC.

    Attributes:
        thread_id: Its name in the scope of the saver that was asked.
        status: "idle" | "running" | "interrupted" | "failed" | "done".
        graph: Name of the graph that wrote it last.
        fingerprint: Of that graph.
        state_version: Of that graph's state.
        run_id: The newest run.
        owner: The worker that holds the thread (hex digits); None: it is free.
        lease_expires_at: When the owner's claim ends unless it is renewed.
        orphaned: Status "running", but nobody holds a live claim: its lease is over, or its
            owner's lock is free.
        next: Nodes that are still to run, as of the last stop. Barriers do not keep it up to
            date: of a thread that is "running" it is (), and `aget_state` knows.
        interrupts: How many questions wait for an answer.
        error: Why the newest run failed.
        checkpoints: How many there are.
        bytes: What they take.
        metadata: Of the newest run that was given any.
        created_at: When the thread was first written.
        updated_at: When it was last written.
        cursor: For `after=`: the listing goes on behind this thread.
    """

    thread_id: str
    status: str
    graph: str | None
    fingerprint: str | None
    state_version: int
    run_id: str | None
    owner: str | None
    lease_expires_at: datetime | None
    orphaned: bool
    next: tuple[str, ...]
    interrupts: int
    error: str | None
    checkpoints: int
    bytes: int
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    cursor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo(_Record):
    """A run of a thread; times are aware and in UTC.

    Attributes:
        run_id: Its name.
        thread_id: The thread it is a run of.
        graph: The graph that ran.
        status: "running" | "interrupted" | "failed" | "done" | "cancelled" | "superseded".
        idempotency_key: The key it was started under.
        attempts: How many workers have run it, one after the other.
        started_at: When its first record was written.
        finished_at: When it last stopped; None while it runs.
        supersteps: How many it has made.
        error: Why it failed.
        metadata: `config["metadata"]` of the call that started it.
        cursor: For `after=`: the listing goes on behind this run.
    """

    run_id: str
    thread_id: str
    graph: str | None
    status: str
    idempotency_key: str | None
    attempts: int
    started_at: datetime | None
    finished_at: datetime | None
    supersteps: int
    error: str | None
    metadata: dict[str, Any]
    cursor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateReport(_Record):
    """What bringing threads to a graph's state version did, or would do; thread ids.

    Attributes:
        state_version: The graph's.
        dry_run: Whether nothing was written.
        migrated: Threads that are of that version now (or would be).
        waiting: Threads with an open superstep (a question, a failed task): they are migrated
            when they go on, and left as they are until then.
        busy: Threads that a run holds, or that an unfinished run has to be finished on first.
        failed: Threads that cannot be migrated, and why.
    """

    state_version: int
    dry_run: bool
    migrated: tuple[str, ...]
    waiting: tuple[str, ...]
    busy: tuple[str, ...]
    failed: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactReport(_Record):
    """What compacting has done.

    Attributes:
        threads: How many threads were looked at.
        rows: Checkpoints that had a row each and are part of a segment now.
        merged: Segments that are part of larger ones now.
        segments: Segments that were made.
        bytes: What the stored records take less.
        reclaimed_bytes: By how much the database became smaller. On PostgreSQL 0: its
            autovacuum makes the space usable again.
    """

    threads: int = 0
    rows: int = 0
    merged: int = 0
    segments: int = 0
    bytes: int = 0
    reclaimed_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveInfo(_Record):
    """An archived thread, as its manifest says; times are aware and in UTC.

    Attributes:
        name: Of the archive: for `arestore_archive`.
        thread_id: What it was called.
        scope: The scope it was in.
        graph: Name of the graph that wrote it last.
        status: "idle" | "interrupted" | "failed" | "done".
        checkpoints: How many it has.
        bytes: Of the file.
        sha256: Of the file.
        created_at: When the thread was first written.
        updated_at: When it was last written.
        archived_at: When the file was made.
    """

    name: str
    thread_id: str
    scope: str
    graph: str | None
    status: str
    checkpoints: int
    bytes: int
    sha256: str
    created_at: datetime
    updated_at: datetime
    archived_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveReport(_Record):
    """What archiving has done.

    Attributes:
        threads: Threads that were archived, and read back.
        deleted: How many of them are no longer in the database.
        skipped: Threads left alone because they were running, or are not there.
        bytes: Of the files.
        archives: Their names.
    """

    threads: int = 0
    deleted: int = 0
    skipped: int = 0
    bytes: int = 0
    archives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupProgress(_Record):
    """How far a backup or a restore has come.

    Attributes:
        threads: Threads that are in the target, whole and verified.
        threads_total: Threads that there are to be.
        rows: Rows of them that this call has copied: runs, checkpoints, segments and so on.
        bytes: What the records of the threads that this call has copied take.
    """

    threads: int
    threads_total: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport(_Record):
    """What a backup or a restore has done.

    Attributes:
        threads: Threads of the source, all of which are in the target now.
        copied: Threads that this call has copied and verified.
        kept: Threads that an earlier call had copied already.
        removed: Threads that an earlier call had copied, and that the source no longer has.
        running: Threads whose run was under way: in the target they are orphans.
        checkpoints: Checkpoints of the copied threads that have a row of their own.
        segments: Folded stretches of the copied threads.
        runs: Runs of the copied threads.
        writes: Results of unfinished supersteps of the copied threads.
        bytes: What the records of the copied threads take.
        resumed: Whether an earlier call was gone on with.
    """

    threads: int
    copied: int
    kept: int
    removed: int
    running: int
    checkpoints: int
    segments: int
    runs: int
    writes: int
    bytes: int
    resumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyProblem(_Record):
    """Something in a database that is not as it was written, or does not fit.

    Attributes:
        kind: "checksum" (other bytes than were written), "unreadable" (no such record),
            "missing" (others build on it), "twice" (two records for one place), "segment" (a
            folded stretch does not say what its rows say), "head" (not the newest checkpoint),
            "run" (it names a run that is not there), "newer" (than its thread's row), "orphan"
            (it belongs to nothing that is there), "unended" (a copy that was cut off).
        thread_id: Its thread; None: no thread.
        scope: The thread's scope.
        checkpoint_ns: The namespace; "#3" if only its number is known.
        seq: The checkpoint's number in its namespace; None: the thread as a whole.
        message: What is wrong.
        repaired: Whether it is mended now.
    """

    kind: str
    thread_id: str | None
    scope: str
    checkpoint_ns: str
    seq: int | None
    message: str
    repaired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport(_Record):
    """What a check has come to.

    Attributes:
        threads: Threads that were looked at.
        checkpoints: Checkpoints of them that have a row of their own.
        segments: Folded stretches of them.
        writes: Results of unfinished supersteps of them.
        problems: What is wrong, thread by thread.
        busy: Threads that a run holds, and that were therefore not repaired.
    """

    threads: int
    checkpoints: int
    segments: int
    writes: int
    problems: tuple[VerifyProblem, ...] = ()
    busy: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong (any more)."""
        return all(problem.repaired for problem in self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverReport(_Record):
    """What became of the orphans that `arecover` looked at; thread ids.

    Attributes:
        recovered: Their runs have come to their end, or to a question.
        failed: Their runs went on, and failed.
        poisoned: Taken over too often; marked as failed without going on.
        skipped: They do not fit the graph, somebody else has them, or the run was stopped here.
    """

    recovered: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    poisoned: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainReport(_Record):
    """What draining has come to; thread ids.

    Attributes:
        drained: Held when it began, and let go since.
        running: Held even now: their nodes have not come to an end.
    """

    drained: tuple[str, ...] = ()
    running: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateReport(_Record):
    """What `arotate_keys` has done.

    Attributes:
        threads: Threads that were sealed anew with the current key.
        current: Threads of which everything was already, or that are gone.
        skipped: Threads that somebody held; the next call does them.
    """

    threads: int = 0
    current: int = 0
    skipped: int = 0

    def plus(self, *, threads: int = 0, current: int = 0, skipped: int = 0) -> RotateReport:
        """With more threads counted."""
        return RotateReport(
            threads=self.threads + threads,
            current=self.current + current,
            skipped=self.skipped + skipped,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneReport(_Record):
    """What pruning has done, or would do.

    Attributes:
        threads: Threads that were deleted.
        checkpoints: Checkpoints that are gone, those of deleted threads among them.
        bytes: What the stored records take less.
        skipped: Threads left alone because they were running, held by somebody, or written
            meanwhile; the next pass finds them again.
    """

    threads: int = 0
    checkpoints: int = 0
    bytes: int = 0
    skipped: int = 0

    def plus(self, other: PruneReport) -> PruneReport:
        """Both together."""
        return PruneReport(
            threads=self.threads + other.threads,
            checkpoints=self.checkpoints + other.checkpoints,
            bytes=self.bytes + other.bytes,
            skipped=self.skipped + other.skipped,
        )


class CheckpointTuple(NamedTuple):
    """A checkpoint in the shape that LangGraph's savers give it.

    `checkpoint` has the keys v, id, ts, channel_values, channel_versions, versions_seen and
    updated_channels; `pending_writes` are (task id, channel, value).
    """

    config: RunnableConfig
    checkpoint: dict[str, Any]
    metadata: dict[str, Any]
    parent_config: RunnableConfig | None = None
    pending_writes: list[tuple[str, str, Any]] | None = None


__all__ = [
    "ArchiveInfo",
    "ArchiveReport",
    "BackupProgress",
    "BackupReport",
    "CheckpointTuple",
    "CompactReport",
    "DrainReport",
    "MigrateReport",
    "PruneReport",
    "RecoverReport",
    "RotateReport",
    "RunInfo",
    "ThreadInfo",
    "VerifyProblem",
    "VerifyReport",
]  # fmt: skip

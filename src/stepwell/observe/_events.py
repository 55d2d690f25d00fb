"""What Stepwell tells its observers: one frozen object per thing that happened.

No event carries a value of a user's state. Durations are seconds (`_s`), `thread_id`, `ns`
and `run_id` are filled where they are known.
"""

from __future__ import annotations

from typing import Literal

from stepwell._dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events."""

    thread_id: str | None = None
    ns: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A run holds its thread and is about to execute its first superstep."""

    graph: str | None = None
    attempt: int = 1
    resumed: bool = False
    """The run goes on from a checkpoint: an interrupt was answered, or it was retried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """A run came to its end, for whatever reason."""

    graph: str | None = None
    status: str = "done"
    """done, interrupted, failed, cancelled or superseded."""
    supersteps: int = 0
    duration_s: float = 0.0
    error: str | None = None
    """Class name of the error, never its text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperstepFinished(Event):
    """A barrier was passed: all tasks of the superstep are in, their writes applied."""

    step: int
    seq: int | None = None
    """Number of the checkpoint; None when nothing is stored."""
    tasks: int = 0
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted(Event):
    """One activation of a node begins; also of START, which takes the input in."""

    node: str
    task_id: str
    step: int
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFinished(Event):
    """One activation of a node ended."""

    node: str
    task_id: str
    step: int
    attempt: int = 1
    duration_s: float = 0.0
    outcome: Literal["ok", "error", "interrupt", "cancelled"] = "ok"
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFinished(Event):
    """The database answered a batch: one transaction that carried many threads."""

    threads: int
    rows: int
    bytes: int
    duration_s: float
    refused: int = 0
    """Threads of the batch that were not written (stale, locked just now, or broken)."""
    queued_rows: int = 0
    """Records that waited, or were under way, when the answer came."""
    thread_ids: tuple[str, ...] = ()
    """Threads that were written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFinished(Event):
    """The database gave what it holds of a thread: with a claim, or to whoever reads."""

    verb: Literal["claim", "load", "history"]
    rows: int = 0
    """Deltas that the state is put together from, or that a history goes through."""
    segments: int = 0
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LockWaited(Event):
    """A run had to wait for its thread."""

    waited_s: float
    won: bool
    """False: the wait timed out, or was cancelled."""
    taken_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLost(Event):
    """A claim is gone although its run had not let go."""

    epoch: int
    noticed_by: Literal["commit", "heartbeat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageRetried(Event):
    """The database did not answer; the same call goes out again after `delay_s`."""

    verb: str
    attempt: int
    delay_s: float
    error: str
    """Code of the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecovered(Event):
    """A run whose owner was gone is being finished by this process."""

    graph: str | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned(Event):
    """Retention took checkpoints or whole threads away."""

    threads: int = 0
    checkpoints: int = 0
    bytes: int = 0
    duration_s: float = 0.0

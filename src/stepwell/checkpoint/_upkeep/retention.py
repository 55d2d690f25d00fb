"""`Retention`: what may be deleted, in words of threads and checkpoints."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from stepwell._codec import Codec
from stepwell._dataclass import dataclass
from stepwell._ids import checkpoint_id
from stepwell._journal.kept import Rules
from stepwell._journal.metadata import decode_metadata
from stepwell.checkpoint._looking.listing import moment
from stepwell.checkpoint._options import seconds
from stepwell.checkpoint._results import ThreadInfo
from stepwell.checkpoint.driver import (
    CheckpointRow,
    HistoryPage,
    Source,
    ThreadRow,
    ThreadStatus,
)
from stepwell.errors import UsageError

_STATUSES = frozenset(status.name.lower() for status in ThreadStatus) - {"running"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointInfo:
    """A checkpoint as `Retention.keep` is asked about it.

    Attributes:
        thread_id: Its thread.
        checkpoint_ns: Its namespace; empty: the graph's own.
        checkpoint_id: Its name.
        step: As in the metadata.
        source: "input" | "loop" | "update" | "fork".
        run_id: The run that made it.
        metadata: Of the run, and its own.
        created_at: Aware, in UTC; None if that is not known.
    """

    thread_id: str
    checkpoint_ns: str
    checkpoint_id: str
    step: int
    source: str
    run_id: str | None
    metadata: dict[str, Any]
    created_at: datetime | None


class Retention:
    """What may be deleted. Keep wins: a checkpoint goes only if *every* rule given lets it go.

    Checkpoints go if they are not among the `keep_last` newest of their namespace, *and* older
    than `max_age`, *and* `keep` does not say True; with none of the three given, none goes. The
    newest of each namespace stays, and so do those that unanswered questions and results of an
    unfinished superstep are filed under, and those where branches that stay meet. What ran inside
    a task goes as a whole when all that stays around it is younger.

    A whole thread goes if it has one of the `statuses`, was not written for `thread_ttl` (or for
    its own, `aset_ttl`), and `where` says True. Running threads are left alone.

    Args:
        keep_last: How many, at least 1.
        max_age: Seconds or a timedelta.
        thread_ttl: Seconds or a timedelta. None: only threads with a time of their own go.
        statuses: Of threads that may go: "idle", "interrupted", "failed", "done".
        where: Asked with a `ThreadInfo`. Must not block.
        keep: Asked with a `CheckpointInfo`. Must not block.

    Raises:
        UsageError: A value is none it can be.
    """

    __slots__ = ("keep", "keep_last", "max_age_s", "statuses", "thread_ttl_s", "where")

    def __init__(
        self,
        *,
        keep_last: int | None = None,
        max_age: float | timedelta | None = None,
        thread_ttl: float | timedelta | None = None,
        statuses: Collection[str] = ("done", "failed"),
        where: Callable[[ThreadInfo], bool] | None = None,
        keep: Callable[[CheckpointInfo], bool] | None = None,
    ) -> None:
        if keep_last is not None and not (type(keep_last) is int and keep_last > 0):
            raise UsageError(f"keep_last must be a whole number from 1 on, not {keep_last!r}.")
        if (
            isinstance(statuses, str)
            or not isinstance(statuses, Collection)
            or not all(isinstance(s, str) and s in _STATUSES for s in statuses)
        ):
            raise UsageError(
                f"statuses must be some of {', '.join(sorted(_STATUSES))}, not {statuses!r}."
            )
        for name, asked in (("where", where), ("keep", keep)):
            if asked is not None and not callable(asked):
                raise UsageError(f"{name} must be callable, not {asked!r}.")
        self.keep_last = keep_last
        self.max_age_s = None if max_age is None else seconds("max_age", max_age, least=0)
        self.thread_ttl_s = (
            None if thread_ttl is None else seconds("thread_ttl", thread_ttl, least=0)
        )
        self.statuses = frozenset(statuses)
        self.where = where
        self.keep = keep

    def __repr__(self) -> str:
        given = ", ".join(
            f"{name}={value!r}"
            for name in self.__slots__
            if (value := getattr(self, name)) is not None
        )
        return f"Retention({given})"

    @property
    def prunes(self) -> bool:
        """Whether checkpoints may go, and not only threads."""
        return not (self.keep_last is None and self.max_age_s is None and self.keep is None)

    def expired(self, row: ThreadRow, now: float) -> bool:
        """Whether a thread may go, as far as its row tells; `where` is still to be asked."""
        ttl = self.thread_ttl_s if row.ttl_s is None else row.ttl_s
        status = ThreadStatus(row.status).name.lower()
        return ttl is not None and status in self.statuses and row.updated_at < now - ttl

    def rules(self, row: ThreadRow, ns: str, page: HistoryPage, now: float, codec: Codec) -> Rules:
        """What lets checkpoints of one namespace go."""
        keep = self.keep

        def kept(checkpoint: CheckpointRow) -> bool:
            return keep is not None and bool(keep(_info(row, ns, checkpoint, page, codec)))

        return Rules(
            keep_last=self.keep_last,
            older_than=None if self.max_age_s is None else now - self.max_age_s,
            keep=None if keep is None else kept,
        )


def _info(
    thread: ThreadRow, ns: str, row: CheckpointRow, page: HistoryPage, codec: Codec
) -> CheckpointInfo:
    run = page.runs.get(row.run)
    name = (
        checkpoint_id(thread.uid, ns, row.seq, row.record_no)
        if row.checkpoint_id is None
        else str(uuid.UUID(bytes=row.checkpoint_id))
    )
    return CheckpointInfo(
        thread_id=thread.key.thread_id,
        checkpoint_ns=ns,
        checkpoint_id=name,
        step=row.step,
        source=Source(row.source).name.lower(),
        run_id=None if run is None else run.run_id,
        metadata={
            **decode_metadata(None if run is None else run.metadata, codec),
            **decode_metadata(row.metadata, codec),
        },
        created_at=None if row.created_at is None else moment(row.created_at),
    )


def retention_of(given: Any) -> Retention | None:
    """The option `retention=` of a saver.

    Raises:
        UsageError: It is no `Retention`.
    """
    if given is not None and not isinstance(given, Retention):
        raise UsageError(f"retention must be a Retention or None, not {given!r:.80}.")
    return given


KEEP_LATEST = Retention(keep_last=1)
"""LangGraph's strategy of that name."""
ONLY_OWN_TTL = Retention()
"""No rules: threads with a time of their own go when it is over."""

__all__ = ["KEEP_LATEST", "ONLY_OWN_TTL", "CheckpointInfo", "Retention", "retention_of"]

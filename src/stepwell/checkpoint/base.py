"""The saver: what users pass as `checkpointer=`, and ask about their threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar, NoReturn

from stepwell._portal import iterate_sync
from stepwell.checkpoint._looking import listing, reading, runs
from stepwell.checkpoint._looking.forms import (
    ERROR,
    EXCLUDED_METADATA_KEYS,
    INTERRUPT,
    LATEST_VERSION,
    RESUME,
    SCHEDULED,
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    EmptyChannelError,
    PendingWrite,
    copy_checkpoint,
    create_checkpoint,
    empty_checkpoint,
    get_checkpoint_id,
    get_checkpoint_metadata,
    get_serializable_checkpoint_metadata,
    writes_sort_key,
)
from stepwell.checkpoint._looking.orphans import list_orphans
from stepwell.checkpoint._looking.verbs import Looking
from stepwell.checkpoint._results import (
    ArchiveInfo,
    ArchiveReport,
    BackupProgress,
    BackupReport,
    CheckpointTuple,
    CompactReport,
    DrainReport,
    PruneReport,
    RecoverReport,
    RotateReport,
    RunInfo,
    ThreadInfo,
    VerifyProblem,
    VerifyReport,
)
from stepwell.checkpoint._upkeep.archiving import Archiving
from stepwell.checkpoint._upkeep.verifying import Verifying
from stepwell.checkpoint.driver import RunStatus
from stepwell.errors import UsageError

Config = Mapping[str, Any]


class Saver(Looking, Verifying, Archiving):
    """Threads in one database: checkpoints of their states, and the runs that made them.

    Usable directly (it opens at first use), in `with`, and in `async with`. It belongs to the
    event loop that uses it first; calls from other loops and threads are forwarded there.
    Every coroutine `a...` has a sync twin without the prefix.

    Args:
        driver: Code for one database; or a coroutine function that finds it at first use.
        clock: The only source of time.
        ids: The only source of randomness.
        options: `SaverOptions`, and `locks`.

    Raises:
        UsageError: An option has a value it cannot have.
    """

    is_saver: ClassVar[bool] = True
    """How `ensure_valid_checkpointer`, which stands below, knows one."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__module__.startswith("stepwell."):
            return
        changed = sorted(_STORED_BY_DRIVERS & vars(cls).keys())
        if Saver in cls.__bases__ or changed:
            what = f"overrides {', '.join(changed)}" if changed else "derives from the base class"
            msg = (
                f"{cls.__name__} {what}, but a Stepwell saver does not store: it hands a journal "
                "to a driver. To keep threads in a database of your own, write a driver "
                "(docs/drivers.md)."
            )
            raise UsageError(msg)

    def __class_getitem__(cls, _: Any) -> type[Saver]:
        """`BaseCheckpointSaver[V]`, as annotations for LangGraph have it, is the class itself."""
        return cls

    # -- threads

    def alist_threads(
        self,
        *,
        status: str | None = None,
        graph: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        updated_before: datetime | float | None = None,
        updated_after: datetime | float | None = None,
        order: listing.Order = "updated",
        descending: bool = True,
        after: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[ThreadInfo]:
        """Threads of this scope. Nothing is locked; a page at a time is read.

        Args:
            status: "idle" | "running" | "interrupted" | "failed" | "done".
            graph: Name of the graph that wrote them last.
            metadata: Top-level keys that the thread's metadata must have, with these values
                (text, number, boolean or None): that of its newest run that was given any.
            updated_before: Aware datetime or unix seconds, exclusive.
            updated_after: The same.
            order: What to sort by.
            descending: Largest first.
            after: The `cursor` of the last item seen, in the same order.
            limit: How many at most.

        Raises:
            UsageError: An argument is none that it can be.
        """
        query = listing.thread_query(
            self._scope,
            status=status,
            graph=graph,
            updated_before=updated_before,
            updated_after=updated_after,
            order=order,
            descending=descending,
            after=after,
        )
        listing.check_wanted(metadata, "metadata=", self._filterable)
        listing.check_limit(limit)
        return self.iterate_home(
            lambda: listing.list_threads(self._reader, query, metadata=metadata, limit=limit)
        )

    def list_threads(
        self,
        *,
        status: str | None = None,
        graph: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        updated_before: datetime | float | None = None,
        updated_after: datetime | float | None = None,
        order: listing.Order = "updated",
        descending: bool = True,
        after: str | None = None,
        limit: int | None = None,
    ) -> Iterator[ThreadInfo]:
        """Sync twin of `alist_threads`."""
        return iterate_sync(
            lambda: self.alist_threads(
                status=status,
                graph=graph,
                metadata=metadata,
                updated_before=updated_before,
                updated_after=updated_after,
                order=order,
                descending=descending,
                after=after,
                limit=limit,
            ),
            loop=self.home(),
            name="list_threads",
            at_once=self.answers_at_once,
        )

    @property
    def scope(self) -> str:
        """Whose threads this saver sees; "" unless it is a scoped view."""
        return self._scope

    async def aget_thread(self, thread_id: Any) -> ThreadInfo | None:
        """One thread; None if there is none.

        Raises:
            InvalidIdError: The id is none.
        """
        key = self.key(thread_id)

        async def get() -> ThreadInfo | None:
            return await listing.get_thread(await self._reader(), key)

        return await self.at_home(get)

    def get_thread(self, thread_id: Any) -> ThreadInfo | None:
        """Sync twin of `aget_thread`."""
        return self._now(lambda: self.aget_thread(thread_id), "get_thread", reads=True)

    def aorphans(
        self, *, graph: str | None = None, limit: int | None = None
    ) -> AsyncIterator[ThreadInfo]:
        """Threads whose run was cut off: status "running", but their owner is gone.

        Its lease is over, or nobody holds its lock (which is seen at once where locks show the
        death of a process). `arecover` of their graph finishes them. Ordered by thread id.

        Args:
            graph: Name of the graph that wrote them.
            limit: How many at most.
        """
        listing.check_limit(limit)
        scope = self._scope
        return self.iterate_home(
            lambda: list_orphans(self._reader, scope, graph=graph, limit=limit)
        )

    def orphans(
        self, *, graph: str | None = None, limit: int | None = None
    ) -> Iterator[ThreadInfo]:
        """Sync twin of `aorphans`."""
        return iterate_sync(
            lambda: self.aorphans(graph=graph, limit=limit),
            loop=self.home(),
            name="orphans",
            at_once=self.answers_at_once,
        )

    # -- runs

    def alist_runs(
        self,
        thread_id: Any = None,
        *,
        status: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[RunInfo]:
        """Runs of one thread, newest first; or of all, the thread written last coming first.

        Args:
            thread_id: None = all threads of this scope.
            status: "running" | "interrupted" | "failed" | "done" | "cancelled" | "superseded".
            after: The `cursor` of the last item seen in the same listing.
            limit: How many at most.

        Raises:
            UsageError: An argument is none that it can be.
            InvalidIdError: The id is none.
        """
        key = None if thread_id is None else self.key(thread_id)
        wanted = listing.status_of(RunStatus, status)
        listing.check_limit(limit)
        if key is None:
            all_after = runs.all_runs_position(after)
            return self.iterate_home(
                lambda: runs.list_all_runs(
                    self._reader, self._scope, status=wanted, after=all_after, limit=limit
                )
            )
        one_after = runs.run_position(after)
        return self.iterate_home(
            lambda: runs.list_runs(self._reader, key, status=wanted, after=one_after, limit=limit)
        )

    def list_runs(
        self,
        thread_id: Any = None,
        *,
        status: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Iterator[RunInfo]:
        """Sync twin of `alist_runs`."""
        return iterate_sync(
            lambda: self.alist_runs(thread_id, status=status, after=after, limit=limit),
            loop=self.home(),
            name="list_runs",
            at_once=self.answers_at_once,
        )

    async def aget_run(self, thread_id: Any, run_id: Any) -> RunInfo | None:
        """The newest run of a thread with this name; None if there is none.

        Raises:
            InvalidIdError: The thread id is none.
        """
        key = self.key(thread_id)

        async def get() -> RunInfo | None:
            return await runs.get_run(await self._reader(), key, str(run_id))

        return await self.at_home(get)

    def get_run(self, thread_id: Any, run_id: Any) -> RunInfo | None:
        """Sync twin of `aget_run`."""
        return self._now(lambda: self.aget_run(thread_id, run_id), "get_run", reads=True)

    # -- checkpoints, as LangGraph's savers give them

    async def aget_tuple(self, config: Config) -> CheckpointTuple | None:
        """The checkpoint a config names (no `checkpoint_id`: the newest); None if none.

        Values are decoded; those of classes that are not registered are `Opaque`.

        Raises:
            UsageError: The config names no thread.
            CorruptRecordError: A record is damaged.
        """
        place = reading.place_of(config)
        key = self.key(place.thread_id)

        async def get() -> CheckpointTuple | None:
            return await reading.get_tuple(await self._reader(), key, place)

        return await self.at_home(get)

    def get_tuple(self, config: Config) -> CheckpointTuple | None:
        """Sync twin of `aget_tuple`."""
        return self._now(lambda: self.aget_tuple(config), "get_tuple", reads=True)

    async def aget(self, config: Config) -> dict[str, Any] | None:
        """`aget_tuple(config).checkpoint`, or None."""
        found = await self.aget_tuple(config)
        return None if found is None else found.checkpoint

    def get(self, config: Config) -> dict[str, Any] | None:
        """Sync twin of `aget`."""
        return self._now(lambda: self.aget(config), "get", reads=True)

    def alist(
        self,
        config: Config | None,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002  # LangGraph's name
        before: Config | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Checkpoints, newest first within a thread, over all branches.

        Args:
            config: The thread; with `checkpoint_ns`, one namespace of it. None: every
                thread of this scope, the one written last coming first.
            filter: Top-level metadata they must have (text, number, boolean or None).
            before: A config with a `checkpoint_id`; only older checkpoints are given.
            limit: How many at most.

        Raises:
            UsageError: An argument is none that it can be.
            CorruptRecordError: A record is damaged.
        """
        place = None if config is None else reading.place_of(config)
        key = None if place is None else self.key(place.thread_id)
        oldest = None if before is None else reading.record_no_of(before)
        listing.check_wanted(filter, "filter=", self._filterable)
        listing.check_limit(limit)
        which = reading.Which(filter, oldest, limit)
        if place is None or key is None:
            return self.iterate_home(
                lambda: reading.list_all_tuples(self._reader, self._scope, which)
            )
        return self.iterate_home(lambda: reading.list_tuples(self._reader, key, place, which))

    def list(
        self,
        config: Config | None,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002  # LangGraph's name
        before: Config | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Sync twin of `alist`."""
        return iterate_sync(
            lambda: self.alist(config, filter=filter, before=before, limit=limit),
            loop=self.home(),
            name="list",
            at_once=self.answers_at_once,
        )

    # -- what only a driver may do

    def put(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: checkpoints are written by graphs, under a claim of their thread.

        Raises:
            UsageError: Always.
        """
        raise _not_written_by_hand("put")

    def put_writes(self, *_: Any, **__: Any) -> NoReturn:
        """Refused, as `put` is.

        Raises:
            UsageError: Always.
        """
        raise _not_written_by_hand("put_writes")

    async def aput(self, *_: Any, **__: Any) -> NoReturn:
        """Refused, as `put` is.

        Raises:
            UsageError: Always.
        """
        raise _not_written_by_hand("aput")

    async def aput_writes(self, *_: Any, **__: Any) -> NoReturn:
        """Refused, as `put` is.

        Raises:
            UsageError: Always.
        """
        raise _not_written_by_hand("aput_writes")


_STORED_BY_DRIVERS = frozenset(
    ("put", "put_writes", "aput", "aput_writes", "get_tuple", "aget_tuple", "list", "alist")
)
BaseCheckpointSaver = Saver
"""LangGraph's name."""


def _not_written_by_hand(verb: str) -> UsageError:
    return UsageError(
        f"{verb}() is not how records get into a Stepwell saver: they are deltas, fenced by a "
        "claim of their thread. Use update_state() of a graph to change a state; to keep "
        "threads in a database of your own, write a driver (docs/drivers.md)."
    )


__all__ = [
    "ERROR",
    "EXCLUDED_METADATA_KEYS",
    "INTERRUPT",
    "LATEST_VERSION",
    "RESUME",
    "SCHEDULED",
    "WRITES_IDX_MAP",
    "ArchiveInfo",
    "ArchiveReport",
    "BackupProgress",
    "BackupReport",
    "BaseCheckpointSaver",
    "ChannelVersions",
    "Checkpoint",
    "CheckpointMetadata",
    "CheckpointTuple",
    "CompactReport",
    "DrainReport",
    "EmptyChannelError",
    "PendingWrite",
    "PruneReport",
    "RecoverReport",
    "RotateReport",
    "RunInfo",
    "Saver",
    "ThreadInfo",
    "VerifyProblem",
    "VerifyReport",
    "copy_checkpoint",
    "create_checkpoint",
    "empty_checkpoint",
    "get_checkpoint_id",
    "get_checkpoint_metadata",
    "get_serializable_checkpoint_metadata",
    "writes_sort_key",
]  # fmt: skip

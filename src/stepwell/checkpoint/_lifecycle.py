"""How savers are opened, shared between loops and threads, and closed."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar, Unpack

from stepwell._clock import SYSTEM_CLOCK, Clock
from stepwell._codec import Codec
from stepwell._ids import RANDOM_IDS, Ids
from stepwell._journal.journal import Journal
from stepwell._journal.screen import Screen, screen_of
from stepwell._portal import Home, run_sync
from stepwell.checkpoint._names import rule_of, scope_of, thread_id_of
from stepwell.checkpoint._options import (
    GENERAL,
    LockOptions,
    budget_of,
    check_options,
    journal_options,
    observers,
    seal_of,
    seconds,
)
from stepwell.checkpoint._results import DrainReport
from stepwell.checkpoint._upkeep.retention import retention_of
from stepwell.checkpoint.driver import Driver, ThreadKey
from stepwell.errors import UsageError

T = TypeVar("T")
FindDriver = Callable[[], Awaitable[Driver]]


class Opening:
    """A journal on one event loop, and the ways to it from everywhere else."""

    codec: Codec
    """For values whose graph is not known; graphs put their own classes on top."""

    answers_at_once: ClassVar[bool] = False
    """Whether threads are read without waiting, and those that nobody holds updated."""

    _warns_when_forgotten: ClassVar[bool] = True

    def __init__(
        self,
        driver: Driver | FindDriver,
        *,
        clock: Clock = SYSTEM_CLOCK,
        ids: Ids = RANDOM_IDS,
        **options: Unpack[LockOptions],
    ) -> None:
        given = check_options(options, GENERAL, type(self).__name__)
        settings, watchers = journal_options(given), observers(given.get("observe"))
        seal = seal_of(given, ids)

        async def make() -> Journal:
            found = await driver() if callable(driver) else driver
            if seal is not None:
                from stepwell.checkpoint._sealing.driver import SealedDriver

                found = SealedDriver(found, seal)
            return Journal(
                found, options=settings, clock=clock, ids=ids, observers=watchers,
                admits_unfinished=lambda: bool(filling),
            )  # fmt: skip

        filling: list[object] = []
        self._filling = filling
        """Calls that fill the database just now: only they may open an unfinished one."""
        self._retention = retention_of(given.get("retention"))
        self.codec = Codec()
        self._clock = clock
        self._scope = ""
        self._is_view = False
        self.budget = budget_of(given)
        """How large states may become; None = as large as they will. For the engine."""
        self._filterable = (
            None if given.get("keyring") is None else frozenset(given.get("clear_metadata", ()))
        )
        """Keys of metadata that may be filtered on; None: all."""
        self._screen: Screen | None = None
        self._check_thread_id = rule_of(given.get("thread_id_rule"))
        self._home = Home(
            make,
            migrate=given.get("migrate", "auto"),
            name=type(self).__name__,
            warns=self._warns_when_forgotten,
        )

    # -- names

    def key(self, thread_id: Any) -> ThreadKey:
        """The key of a thread in this saver's scope.

        Raises:
            InvalidIdError: The id is none, or `thread_id_rule` does not allow it.
        """
        text = thread_id_of(thread_id)
        if self._check_thread_id is not None:
            self._check_thread_id(text)
        return ThreadKey(self._scope, text)

    def scoped(self, scope: str) -> Self:
        """The same saver for another scope: it sees and writes only threads of that scope.

        Connections and limits are shared. Closing the view closes nothing.

        Raises:
            InvalidIdError: The scope is no text of at most 512 bytes.
        """
        view = copy.copy(self)
        view._scope = scope_of(scope)  # noqa: SLF001  # it is one of us
        view._is_view = True  # noqa: SLF001
        return view

    def with_filter(
        self,
        *,
        omit: Collection[str] = (),
        redact: Mapping[str, Any] | None = None,
        where: Callable[[str, Any], Any] | None = None,
    ) -> Self:
        """The same saver, but some values never reach the disk.

        A graph that runs on the view sees the true values; whoever loads its state (also the
        run that resumes it) finds omitted channels empty, and others replaced. It holds for all
        records: input, checkpoints, pending writes, arguments of `Send`, results of tasks,
        answers, questions, errors, metadata, what a cache keeps. What is stored already stays.
        On a filtered view it adds a filter; connections and limits are shared, and closing the
        view closes nothing.

        Args:
            omit: Channels (or `__interrupt__`, `__resume__`, `__error__`, `__metadata__`) whose
                values are not stored.
            redact: What is stored in place of a value, by channel.
            where: Called with channel and value; returns `KEEP`, `OMIT`, or what is stored in
                its place. Equal values must be answered equally.

        Raises:
            UsageError: An option is none that it can be, or nothing would be hidden.
        """
        view = copy.copy(self)
        view._screen = screen_of(omit, redact, where, self._screen)  # noqa: SLF001
        view._is_view = True  # noqa: SLF001
        return view

    @property
    def screen(self) -> Screen | None:
        """What keeps values off the disk; None = nothing does. For the engine."""
        return self._screen

    # -- loops

    def home(self) -> asyncio.AbstractEventLoop | None:
        """The event loop this saver belongs to.

        Returns:
            None when it belongs to none: never used, closed, that loop has closed, or this
            is a forked child.
        """
        return self._home.loop()

    async def journal(self) -> Journal:
        """The open journal; to be called on the home loop.

        The first call makes the running loop home, opens and migrates. While the journal is
        open, this does not suspend.

        Raises:
            UsageError: The saver is closed, or belongs to another loop.
            StorageError: The database cannot be opened, or has another schema.
        """
        return await self._home.opened()

    async def at_home(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await `call()` on the home loop, in the caller's context; cancellation is passed on.

        Raises:
            UsageError: Nobody runs the home loop.
        """
        return await self._home.call(call)

    def iterate_home(self, make: Callable[[], AsyncIterator[T]]) -> AsyncIterator[T]:
        """Iterate over `make()` on the home loop; closing this closes that."""
        return self._home.iterate(make)

    def _now(
        self,
        call: Callable[[], Awaitable[T]],
        name: str,
        instead: str | None = None,
        *,
        reads: bool = False,
    ) -> T:
        """Run `call` on the home loop from a thread that waits for it. `reads`: it only reads."""
        at_once = self.answers_at_once and reads
        return run_sync(call, loop=self.home(), name=name, instead=instead, at_once=at_once)

    # -- opening and closing

    async def asetup(self) -> None:
        """Open, and create or upgrade the schema. Needed only with `migrate="check"` or "off".

        Raises:
            StorageError: The database cannot be opened, or has a newer schema.
        """
        await self.at_home(self._home.migrate)

    def setup(self) -> Awaitable[None] | None:
        """Sync twin of `asetup`; a coroutine on the `Async*` classes, as in LangGraph."""
        return self._now(self.asetup, "setup")

    async def aclose(self) -> None:
        """Wait for commits in flight, release claims, give back connections. Idempotent.

        A closed saver refuses to work until it is opened again by `with` or `async with`.
        On a view, this does nothing.
        """
        if not self._is_view:
            await self._home.close()

    def close(self) -> None:
        """Sync twin of `aclose`."""
        if not self._is_view:
            self._now(self.aclose, "close")

    async def adrain(self, timeout_s: float | timedelta = 30.0) -> DrainReport:
        """Shut down in good order: this process's runs on this saver stop at their next barrier.

        Their callers get `GraphDrained`, what they have finished is kept, and other processes
        may have their threads at once. New runs, updates, deletions and recoveries are refused with
        `ThreadBusyError` (`context["code"] == "draining"`) from now on, until the saver was
        closed and is opened again; what a running node still needs goes on. Reading goes on.

        Args:
            timeout_s: How long to wait for nodes that are still running. They are not cancelled.

        Returns:
            The threads that were let go, and those that are still held.

        Raises:
            UsageError: This is a scoped view: draining is for all that the process runs.
        """
        if self._scope:
            raise UsageError(
                f"drain() on a view of scope {self._scope!r} would stop the runs of all scopes: "
                "drain the saver that the view is of."
            )
        limit = seconds("timeout_s", timeout_s, least=0)
        if self.home() is None:
            return DrainReport()  # it never opened, or is closed: nothing runs on it

        async def drain() -> DrainReport:
            journal = await self.journal()
            drained, running = await journal.drain("shutdown", limit)
            return DrainReport(
                drained=tuple(key.thread_id for key in drained),
                running=tuple(key.thread_id for key in running),
            )

        return await self.at_home(drain)

    def drain(self, timeout_s: float | timedelta = 30.0) -> DrainReport:
        """Sync twin of `adrain`."""
        return self._now(lambda: self.adrain(timeout_s), "drain")

    async def _open(self) -> None:
        if not self._is_view:
            self._home.reopen()
        await self.at_home(self.journal)

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        self._now(self._open, "__enter__", "async with")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._is_view:
            self._now(self.aclose, "__exit__", "async with")

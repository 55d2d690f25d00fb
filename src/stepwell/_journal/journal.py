"""The journal: claims of threads, and the group commit of what their runs append.

It sits on the driver SPI alone and knows nothing of bodies. One journal belongs to one
event loop and is one *worker*: two journals in one process are two.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, TypeVar

from stepwell._clock import SYSTEM_CLOCK, Clock
from stepwell._ids import RANDOM_IDS, Ids
from stepwell._journal.copying import unfinished
from stepwell._journal.core import Backlog, Core
from stepwell._journal.demand import Demand
from stepwell._journal.folding import Gain, fold_namespace
from stepwell._journal.handle import ThreadHandle
from stepwell._journal.inline import InlineOpen
from stepwell._journal.layouts import EAGER
from stepwell._journal.options import JournalOptions, Surroundings
from stepwell._journal.outage import current_outage, persist
from stepwell._journal.ownership import Wish
from stepwell.checkpoint.driver import (
    Ask,
    Driver,
    HistoryPage,
    Loaded,
    LoadRequest,
    RunRow,
    Tally,
    TallyQuery,
    ThreadKey,
    ThreadQuery,
    ThreadRow,
    ThreadStatus,
    Vitals,
)
from stepwell.errors import UsageError
from stepwell.observe import LoadFinished, Observers

T = TypeVar("T")

_NAMESPACES_PAGE = 1000

SETTLE_MAX_S: Final = 1.0
"""Seconds that a read waits for what its own process has appended."""

_DEFAULT_OPTIONS = JournalOptions()


class Journal:
    """Everything between the engine and a driver.

    Args:
        driver: Its life is the journal's: opened, migrated and closed with it.
        options: Times, bounds, locks.
        clock: The only source of time.
        ids: The only source of randomness.
        observers: Who is told of commits, waits, lost leases and outages.
        admits_unfinished: Asked at opening whether a database may be opened that another call
            has not filled to its end; else it is refused.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        options: JournalOptions = _DEFAULT_OPTIONS,
        clock: Clock = SYSTEM_CLOCK,
        ids: Ids = RANDOM_IDS,
        observers: Observers | None = None,
        admits_unfinished: Callable[[], bool] = lambda: False,
    ) -> None:
        self._admits_unfinished = admits_unfinished
        self._around = Surroundings(
            driver=driver,
            options=options,
            clock=clock,
            ids=ids,
            observers=Observers() if observers is None else observers,
            worker=b"",
        )
        self.observers: Observers = self._around.observers
        """Who is told of events; the engine tells them of runs and tasks."""
        self.keyed_calls: Counter[tuple[ThreadKey, str]] = Counter()
        """Calls under way by thread and idempotency key; the engine keeps count."""
        self._core: Core | None = None
        self._opening: asyncio.Task[Core] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def worker(self) -> bytes:
        """16 bytes that name this journal as an owner of threads; fresh at every `open`."""
        return self._around.worker

    @property
    def clock(self) -> Clock:
        """The time that runs on its threads go by, too."""
        return self._around.clock

    @property
    def ids(self) -> Ids:
        """Where runs on its threads have their randomness from, too."""
        return self._around.ids

    @property
    def driver(self) -> Driver:
        """What the journal writes to."""
        return self._around.driver

    @property
    def options(self) -> JournalOptions:
        """Times, bounds, locks."""
        return self._around.options

    # -- life

    async def open(self, migrate: Literal["auto", "check", "off"] = "auto") -> None:
        """Open the driver and begin. Idempotent; concurrent callers share one opening.

        Raises:
            StorageError: The database cannot be opened or has another schema.
        """
        if self._closing is not None:
            await asyncio.shield(self._closing)
        if self._core is not None:
            return
        if self._opening is None and isinstance(self._around.driver, InlineOpen):
            self._core = await self._open(migrate)
            return
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open(migrate))
            self._opening.add_done_callback(self._opened)
        await asyncio.shield(self._opening)

    async def _open(self, migrate: Literal["auto", "check", "off"]) -> Core:
        driver = self._around.driver
        try:
            await driver.open()
            await driver.migrate(migrate)
            note: str | None = getattr(driver, "unfinished", None)
            if note is not None and not self._admits_unfinished():
                raise unfinished(note)
        except BaseException:
            await driver.close()
            raise
        # A new object: what still belongs to an earlier opening keeps its own worker id.
        self._around = replace(self._around, worker=self._around.ids.worker())
        core = Core(self._around)
        if self._opening is asyncio.current_task():
            # Before anybody who waits for it is woken, in whatever order that happens.
            self._core, self._opening = core, None
        return core

    def _opened(self, task: asyncio.Task[Core]) -> None:
        if self._opening is task:
            self._opening = None
            if not task.cancelled() and task.exception() is None:
                self._core = task.result()

    async def migrate(self, mode: Literal["auto", "check", "off"]) -> None:
        """See to the schema of the open database."""
        await self.driver.migrate(mode)

    async def close(self) -> None:
        """Wait for commits under way, release the claims still held, close the driver.

        Waiting callers of `acquire` get `UsageError`. Idempotent; may be opened again.
        """
        if self._opening is not None:
            await asyncio.wait((self._opening,))
        if self._closing is None:
            core, self._core = self._core, None
            if core is None:
                return
            self._closing = asyncio.get_running_loop().create_task(self._close(core))
        await asyncio.shield(self._closing)

    async def _close(self, core: Core) -> None:
        try:
            await core.close()
        finally:
            try:
                await self._around.driver.close()
            finally:
                self._closing = None

    def forget(self) -> None:
        """Drop everything without touching it: the loop is gone, or this is a forked child.

        Handles given out before refuse every append; the next `open` starts a new worker.
        """
        core, self._core = self._core, None
        if core is not None:
            core.forget()
        self._opening = self._closing = None
        self._around.driver.forget()

    # -- threads

    async def acquire(
        self,
        key: ThreadKey,
        *,
        wait: bool = True,
        timeout: float | None = None,
        load_ns: str = "",
        load_seq: int | None = None,
        held: Sequence[ThreadHandle] = (),
        demand: Demand | None = None,
    ) -> ThreadHandle:
        """Become the one writer of a thread, and load it.

        First come first served within this process, fair between processes.

        Args:
            key: The thread; it is created if there is none.
            wait: False: refuse a busy thread at once.
            timeout: Seconds for line and claim together; None = no limit, 0 = `wait=False`.
                Time that the database does not answer has its own budget.
            load_ns: Namespace whose chain comes with the handle.
            load_seq: Checkpoint whose chain comes with it; None = the head.
            held: Handles that the calling context holds already. Asking for one of their
                threads is refused at once, and so is a wait that would close a circle; any
                other wait is bounded by 30 s.
            demand: What to ask of every run that holds the thread before.

        Raises:
            ThreadBusyError: `context["code"]` is "reentrant", "cycle", "held" or "timeout".
            StorageError: The database did not answer within the outage budget.
            UsageError: The journal is not open, or is being closed.
        """
        return await self._opened_core().acquire(
            key,
            Wish(wait, None, load_ns, load_seq, held, demand),
            timeout,
        )

    def ask(self, key: ThreadKey, request: str) -> bool:
        """Put a request to the owner of a thread, if this journal is the owner.

        Returns:
            False: no run of this journal holds the thread.
        """
        return self._opened_core().ask(key, request)

    async def ask_owner(self, key: ThreadKey, epoch: int, demand: Demand) -> bool:
        """Put a demand to whoever holds a thread under `epoch`, in whatever process.

        Returns:
            False: nobody does any more.

        Raises:
            StorageError: The database did not answer within the outage budget.
        """
        if self._opened_core().ask(key, demand.text, epoch):
            return True
        asks = [Ask(key, epoch, demand.text, demand.replaces)]
        (asked,) = await self._read("ask", lambda: self._around.driver.ask(asks))
        return asked

    async def drain(self, reason: str, timeout_s: float) -> tuple[list[ThreadKey], list[ThreadKey]]:
        """Let the runs of this journal stop at their next barrier, and begin no others.

        Claims of those who hold a thread already go on: a node that needs another thread gets
        to its barrier. It stays so until the journal was closed and is opened again.

        Args:
            reason: What runs are told.
            timeout_s: How long to wait for them.

        Returns:
            The threads that were let go, and those that runs still hold.
        """
        return await self._opened_core().drain(reason, timeout_s)

    def check_begins(self) -> None:
        """Refuse what would begin runs of threads that are still to be found.

        Raises:
            ThreadBusyError: The journal drains.
        """
        self._opened_core().check_begins()

    # -- reading

    async def settled(self, key: ThreadKey) -> None:
        """Wait until what a run of this journal has appended to a thread can be read.

        Reads show what is durable. Whoever looks at a thread from the process that runs it
        expects what its stream has shown already. It is not waited for longer than
        `SETTLE_MAX_S`: while the database is away, a read shows what is there.
        """
        await self._opened_core().settled(key, SETTLE_MAX_S)

    def backlog(self) -> Backlog:
        """What has been appended here and is not durable yet."""
        return self._opened_core().backlog()

    async def load(self, request: LoadRequest) -> Loaded:
        """The chain of one checkpoint, in one snapshot."""
        began = self.clock.monotonic() if self.observers else None
        (loaded,) = await self._read("load", lambda: self._around.driver.load([request]))
        if began is not None:
            self._tell("load", request.key, request.ns_name, loaded, began)
        return loaded

    async def history(
        self, key: ThreadKey, ns_name: str, upto: int | None = None, *, current: bool = False
    ) -> HistoryPage:
        """Rows of one namespace with seq <= `upto` (None = all). `current`: no replica's."""
        driver = self._around.driver
        began = self.clock.monotonic() if self.observers else None
        page = await self._read(
            "history", lambda: driver.history(key, ns_name, upto, current=current)
        )
        if began is not None:
            self._tell("history", key, ns_name, page, began)
        return page

    async def page(
        self,
        key: ThreadKey,
        ns_name: str,
        upto: int | None,
        limit: int,
        *,
        current: bool = False,
    ) -> HistoryPage:
        """The newest `limit` checkpoints with seq <= `upto`, and what their states are made of."""
        driver = self._around.driver
        began = self.clock.monotonic() if self.observers else None
        page = await self._read(
            "page", lambda: driver.page(key, ns_name, upto, limit, current=current)
        )
        if began is not None:
            self._tell("history", key, ns_name, page, began)
        return page

    def _tell(
        self,
        verb: Literal["load", "history"],
        key: ThreadKey,
        ns: str,
        read: Loaded | HistoryPage,
        began: float,
    ) -> None:
        self.observers(
            LoadFinished(
                thread_id=key.thread_id, ns=ns, verb=verb, rows=len(read.rows),
                segments=len(read.segments), duration_s=self.clock.monotonic() - began,
            )
        )  # fmt: skip

    async def threads(self, query: ThreadQuery) -> list[ThreadRow]:
        """One page of threads."""
        return await self._read("threads", lambda: self._around.driver.threads(query))

    async def thread_rows(self, keys: Sequence[ThreadKey]) -> list[ThreadRow | None]:
        """Rows of threads with their newest namespaces, in one call, and not from a replica.
        None: there is no such thread."""
        # The chain of "no checkpoint" is empty: nothing but the rows is read.
        requests = [LoadRequest(key, "", 0, current=True) for key in keys]
        found = await self._read("load", lambda: self._around.driver.load(requests))
        return [loaded.thread for loaded in found]

    async def tally(self, query: TallyQuery) -> list[Tally]:
        """Threads counted by graph, status and when they were created."""
        return await self._read("tally", lambda: self._around.driver.tally(query))

    async def vitals(self) -> Vitals:
        """What the database says of itself."""
        return await self._read("vitals", self._around.driver.vitals)

    async def runs(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[RunRow]:
        """One page of a thread's runs, newest first."""
        return await self._read(
            "runs", lambda: self._around.driver.runs(key, after=after, limit=limit)
        )

    async def runs_numbered(self, names: Sequence[tuple[ThreadKey, int]]) -> list[RunRow | None]:
        """The run of each thread that has this number; None where there is none."""
        driver = self._around.driver
        return await self._read("runs_numbered", lambda: driver.runs_numbered(names))

    async def described(self, keys: Sequence[ThreadKey]) -> list[RunRow | None]:
        """The newest run of each thread that has metadata; None where none has."""
        return await self._read("described", lambda: self._around.driver.described(keys))

    async def keyed_run(self, key: ThreadKey, idempotency_key: str) -> RunRow | None:
        """The run of a thread that has this idempotency key."""
        driver = self._around.driver
        return await self._read("keyed_run", lambda: driver.keyed_run(key, idempotency_key))

    async def orphans(self, rows: Sequence[ThreadRow]) -> list[bool]:
        """Of each thread: is it running, without an owner, or with one whose lease is over or
        whose lock nobody holds? The last is suspicion; a claim confirms it or does not."""
        gone: list[bool] = []
        probed: list[int] = []
        for at, row in enumerate(rows):
            running, left = row.status == ThreadStatus.RUNNING, row.lease_left_s
            gone.append(running and (row.owner is None or left is None or left < 0))
            if running and not gone[at] and row.lock_key is not None and row.owner != self.worker:
                probed.append(at)
        if probed:
            keys = [key for at in probed if (key := rows[at].lock_key) is not None]
            driver = self._around.driver
            free = await self._read("free_locks", lambda: driver.free_locks(keys))
            for at, is_free in zip(probed, free, strict=True):
                gone[at] = is_free
        return gone

    async def namespaces(self, key: ThreadKey) -> list[str]:
        """The names of all namespaces of a thread but the root, newest first."""
        names: list[str] = []
        after: int | None = None
        while True:
            page = await self._namespaces(key, after)
            names += [name for _, name, _ in page]
            if len(page) < _NAMESPACES_PAGE:
                return names
            after = page[-1][0]

    # -- upkeep

    async def compact(self, key: ThreadKey) -> Gain:
        """Fold all namespaces of a thread as far as they can be.

        Raises:
            StorageError: The database did not answer.
            CorruptRecordError: A record is damaged.
        """
        self._opened_core()
        gain = Gain()
        for name in ("", *await self.namespaces(key)):
            gain = gain.plus(await fold_namespace(self._around.driver, key, name, EAGER))
        return gain

    async def reclaim(self) -> int:
        """Give space of what was deleted back; bytes that the database became smaller by."""
        return await self._read("reclaim", self._around.driver.reclaim)

    async def set_ttl(self, key: ThreadKey, ttl_s: float | None) -> bool:
        """Say how long a thread is kept after its last update; False: there is none."""
        return await self._read("set_ttl", lambda: self._around.driver.set_ttl(key, ttl_s))

    async def folded(self) -> None:
        """Wait until nothing is folded in the background."""
        await self._opened_core().folder.idle()

    async def _namespaces(self, key: ThreadKey, after: int | None) -> list[tuple[int, str, int]]:
        driver = self._around.driver
        return await self._read(
            "namespaces", lambda: driver.namespaces(key, after=after, limit=_NAMESPACES_PAGE)
        )

    async def _read(self, verb: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self._opened_core()
        return await persist(self._around, verb, call, outage=current_outage.get())

    def _opened_core(self) -> Core:
        if self._core is None:
            state = (
                "is being closed" if self._closing is not None else "was closed, or never opened"
            )
            msg = (
                f"The saver {state}: this call goes no further. What it had finished is stored; "
                "make it again on an open saver."
            )
            raise UsageError(msg)
        return self._core


__all__ = ["Backlog", "Journal", "JournalOptions", "ThreadHandle"]

"""A connection that runs whole functions in its own thread, and survives a fork.

aiosqlite gives every connection a thread and one queue; each of its calls is one hop there
and back. Given a subclass of `sqlite3.Connection` whose `execute` also takes a `Hop`, one
public call of aiosqlite carries a whole transaction: `Lane.run`.

**Fork.** SQLite keeps its file locks in a table per process. A child that opens a database
while it still has the parent's handles believes that it holds locks it does not have; when
the parent then closes, it deletes the write-ahead log under the child's feet, and what the
child commits is lost. So a fork waits until no hop is inside SQLite, and the child closes
the inherited handles before it runs anything else. They are idle: closing them touches
neither the file nor the parent's locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import weakref
from asyncio import _get_running_loop
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar, cast

import aiosqlite

from stepwell.errors import StorageError, StorageUnavailableError, UsageError

T = TypeVar("T")

BUSY_SLICE_S = 0.05
"""How long SQLite itself waits for a lock. Short, because its pauses grow to 100 ms: asking
anew starts again with 1 ms, and a cancelled caller is noticed in between."""
IN_MEMORY = ":memory:"
_CACHED_STATEMENTS = 256
_QUIET_MAX_S = 10.0
_JOIN_MAX_S = 5.0
_FORGET_MAX_S = 1.0


class Hop(Generic[T]):
    """One function on its way to a connection's thread."""

    def __init__(self, work: Callable[[sqlite3.Connection, Hop[Any]], T]) -> None:
        self._work = work
        self.result: T | None = None
        self.done = False
        self.broken = False
        """Set by the work when the connection is not to be used again."""
        self.abandoned = False
        """Set when the caller was cancelled: what has not begun need not."""

    def __repr__(self) -> str:
        # aiosqlite writes what it executes into its debug log, where no state may appear.
        return f"<hop {getattr(self._work, '__qualname__', 'work')}>"

    def go(self, connection: sqlite3.Connection) -> None:
        if not self.abandoned:
            self.result = self._work(connection, self)
            self.done = True

    def fetchall(self) -> Hop[T]:
        """What aiosqlite asks of the cursor it thinks this is."""
        return self


class Connection(sqlite3.Connection):
    """What `aiosqlite.connect(factory=...)` is told to make; lives in one worker thread."""

    def __init__(self, path: str, *args: Any, **kwargs: Any) -> None:
        self.gate = threading.Lock()  # held while SQLite runs; a fork waits for it
        self.path = path
        with _forking:
            if path in _unsafe:
                raise StorageError(
                    f"{path}: this process was forked while a transaction of its parent was "
                    "running, so it cannot use the file safely. Start it anew, or fork earlier."
                )
            _live.add(self)
            self.gate.acquire()
        try:
            super().__init__(path, *args, **kwargs)
        finally:
            self.gate.release()
        self.text_factory = exact_text

    def execute(self, sql: Any, parameters: Any = (), /) -> Any:
        if isinstance(sql, Hop):
            with self.gate:
                sql.go(self)
            return sql
        return super().execute(sql, parameters)

    def close(self) -> None:
        with self.gate:
            super().close()


exact_text = partial(str, encoding="utf-8", errors="surrogatepass")
"""Decodes a text column: UTF-8, and lone surrogates as they were bound."""


def exact_parameter(value: Any) -> Any:
    """The other way: a text that UTF-8 forbids as the bytes that CAST(? AS TEXT) takes for it;
    anything else as it is."""
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        return value if raw.decode("utf-8", "ignore") == value else raw
    return value


class BaseLane:
    """Base of lanes: a connection, and the place where functions run on it one by one."""

    def __init__(self) -> None:
        self.waiting = 0
        """How many hops are queued or running."""
        self.broken = False
        """Set by a hop that left the connection unusable."""

    async def run(
        self,
        work: Callable[[sqlite3.Connection, Hop[Any]], T],
        undo: Callable[[T, sqlite3.Connection, Hop[Any]], None] | None = None,
    ) -> T:
        """Run `work(connection, hop)` in the connection's thread, in one hop.

        When the caller is cancelled, work that has not begun is left out, and work that has
        is waited for: no transaction goes on behind the caller's back. If it was finished,
        `undo(result, ...)` runs before CancelledError goes up.
        """
        hop = Hop(work)
        self.waiting += 1
        try:
            await self._send(hop)
        except asyncio.CancelledError:
            hop.abandoned = True
            await finish(self._settle(hop, undo))
            raise
        finally:
            self.waiting -= 1
            self.broken = self.broken or hop.broken
        return cast("T", hop.result)

    async def _send(self, hop: Hop[Any]) -> None:
        raise NotImplementedError

    async def _settle(
        self, hop: Hop[T], undo: Callable[[T, sqlite3.Connection, Hop[Any]], None] | None
    ) -> None:
        # Nobody waits for the outcome of either hop any more: the caller hears that it was
        # cancelled, and what an undo that failed leaves behind ends with its lease.
        with contextlib.suppress(StorageError, UsageError, sqlite3.Error, ValueError):
            await self._send(Hop(_nothing))  # the queue is served in order
            if hop.done and undo is not None:
                result = cast("T", hop.result)
                await self._send(Hop(lambda connection, hop: undo(result, connection, hop)))


class Lane(BaseLane):
    """A connection of our own, in a thread of its own."""

    def __init__(self, path: str, *, uri: bool) -> None:
        super().__init__()
        self._path = path
        self._uri = uri
        self._aio: aiosqlite.Connection | None = None
        self._native: Connection | None = None
        self._thread: threading.Thread | None = None

    async def open(self, prepare: Callable[[sqlite3.Connection, Hop[Any]], None]) -> None:
        """Connect and run `prepare`; both or neither. Native errors pass."""
        aio = self._new_connection()
        hop = Hop(prepare)

        async def connect() -> None:
            try:
                await aio
                await aio.execute_fetchall(cast("Any", hop))
            except BaseException:
                await aio.close()
                self._join()
                raise
            self._aio = aio

        connecting = asyncio.ensure_future(connect())
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            hop.abandoned = True
            with contextlib.suppress(StorageError, UsageError, sqlite3.Error, ValueError):
                await finish(connecting)
            await self.close()
            raise

    async def _send(self, hop: Hop[Any]) -> None:
        if self._aio is None:
            raise StorageUnavailableError("The connection was closed meanwhile.", outcome="none")
        await self._aio.execute_fetchall(cast("Any", hop))

    async def close(self) -> None:
        """Wait for the hops in the queue, then close; the thread is gone afterwards."""
        aio, self._aio = self._aio, None
        if aio is not None:
            await finish(aio.close())
            self._join()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join(_JOIN_MAX_S)  # it has nothing left to do but to end

    def forget(self) -> None:
        """Let go of the connection: its loop is gone, or this is a fork."""
        aio, self._aio = self._aio, None
        native, self._native = self._native, None
        if aio is None or native is None or self._thread is None:
            return
        if self._thread.is_alive() and _close_on_another_loop(aio):
            return
        if not self._thread.is_alive():  # it cannot answer to a loop that is closed
            _close_from_outside(native)
            _keep_forever(aio)

    def _new_connection(self) -> aiosqlite.Connection:
        """An aiosqlite connection, not started, whose thread will not keep the process alive.

        A thread is a daemon if the thread that makes it is one: a short-lived daemon does.
        """
        made: list[aiosqlite.Connection] = []

        def factory(*args: Any, **kwargs: Any) -> Connection:
            self._thread = threading.current_thread()
            self._native = Connection(*args, **kwargs)
            return self._native

        def make() -> None:
            made.append(
                aiosqlite.connect(
                    self._path,
                    uri=self._uri,
                    factory=factory,
                    isolation_level=None,
                    check_same_thread=False,  # only for closing it in a fork's child
                    timeout=BUSY_SLICE_S,
                    cached_statements=_CACHED_STATEMENTS,
                )
            )

        maker = threading.Thread(target=make, daemon=True)
        maker.start()
        maker.join()
        return made[0]


def _nothing(connection: sqlite3.Connection, hop: Hop[Any]) -> None:
    """Holds a place in the queue."""


async def finish(work: Any) -> Any:
    """Await `work` to its end even if the caller is cancelled meanwhile; then say so."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except BaseException:  # noqa: BLE001  # task.result() below raises it
            break
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # looked at: the cancellation is what the caller hears
        raise cancelled
    return task.result()


def _close_on_another_loop(aio: aiosqlite.Connection) -> bool:
    """Close a connection whose loop is gone; whether that took a moment, as it does unless a hop
    is under way."""

    def close() -> None:
        asyncio.run(aio.close())

    # In a thread, for a loop may be running in this one.
    closer = threading.Thread(target=close, daemon=True)
    try:
        closer.start()
    except RuntimeError:  # the interpreter ends: since Python 3.12 no thread starts then
        return _close_in_this_thread(aio)
    closer.join(_FORGET_MAX_S)
    return not closer.is_alive()


def _close_in_this_thread(aio: aiosqlite.Connection) -> bool:
    if _get_running_loop() is not None:  # the interpreter goes on, but is short of threads
        return False
    loop = asyncio.new_event_loop()
    closing = loop.create_task(aio.close())
    loop.run_until_complete(asyncio.wait([closing], timeout=_FORGET_MAX_S))
    if not closing.done():
        _keep_forever(closing)  # the end of the process is near
        return False
    loop.close()
    return True


def _close_from_outside(connection: Connection) -> None:
    """Close a connection whose thread is gone. In a fork's child it is closed already, or its
    gate stays shut for good: then it is left alone."""
    if connection.gate.acquire(blocking=False):
        connection.gate.release()
        with contextlib.suppress(sqlite3.Error):  # its opening may have failed half-way
            connection.close()


def _keep_forever(thing: object) -> None:
    """Make `thing` immortal: its finaliser would touch a handle that is not ours, or warn
    about a thread that is not there."""
    import ctypes  # costs milliseconds, and is needed in few processes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


# --- fork -------------------------------------------------------------------------------------

_live: weakref.WeakSet[Connection] = weakref.WeakSet()
_forking = threading.Lock()
_quiet: list[Connection] = []
_unsafe: set[str] = set()


def _before_fork() -> None:
    _forking.acquire()  # until the fork is over: no connection is made meanwhile
    _quiet.extend(c for c in list(_live) if c.gate.acquire(timeout=_QUIET_MAX_S))


def _after_fork_in_parent() -> None:
    while _quiet:
        _quiet.pop().gate.release()
    _forking.release()


def _after_fork_in_child() -> None:
    for connection in list(_live):
        if connection in _quiet:
            connection.gate.release()
            _close_from_outside(connection)
        else:  # a transaction was running: SQLite's own state is torn
            if connection.path != IN_MEMORY:
                _unsafe.add(connection.path)
            _keep_forever(connection)
    _quiet.clear()
    _live.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )

"""Where connections come from: our own to an address, or those of a pool that was given."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

import asyncpg

from stepwell._db._postgres_dsn import Address
from stepwell._db._postgres_errors import replied, translate, usable
from stepwell.errors import StepwellError, UsageError

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Link: TypeAlias = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
    """A connection, bare or out of a pool."""
    _BaseConnection = asyncpg.Connection[asyncpg.Record]
else:
    _BaseConnection = asyncpg.Connection  # generic in its stubs only

_log = logging.getLogger("stepwell.journal")

LOCK_TIMEOUT_MS: Final = 250
STATEMENT_TIMEOUT_MS: Final = 60_000
COMMAND_TIMEOUT_S: Final = 70.0
"""When the client gives up on a reply of a borrowed connection, which may read or delete much;
above the server's own limit, which is exact."""


class Timeouts(NamedTuple):
    """How long a reply may take before its connection counts as silent, in seconds.

    A connection can go silent while the server is well (a router that forgot it, a backend
    that hangs); nothing but time tells. The server itself ends a statement a little earlier
    (`limit_ms`): a server that is only slow says so, and the connection stays in use.

    Both numbers are what the layers above leave: a commit must fail, and be tried again on a
    new connection, well within the time for which an outage is borne (60 s); a heartbeat must
    be tried twice within a lease (10 s) of which a third has passed when it is sent. They are
    not smaller, because a server under load, or one that waits for its disk or its standby,
    takes seconds for what it does in a millisecond otherwise, and giving up a connection costs
    it a new one, the lock session all of its keys.
    """

    commit_s: float = 15.0
    control_s: float = 3.0


TIMEOUTS: Final = Timeouts()


def limit_ms(reply_s: float) -> int:
    """The server's limit for a statement whose reply may take `reply_s` seconds."""
    return max(1, min(STATEMENT_TIMEOUT_MS, int(reply_s * 800)))


RULES: Final[Mapping[str, str]] = {
    # The fences are written for READ COMMITTED: elsewhere a lost race is an error of the batch.
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "synchronous_commit": "on",
    # Plans are cached, some since the tables were empty: never one that reads a whole table.
    "enable_seqscan": "off",
    "jit": "off",
    # Planning anew for each length of the lists costs more than any better plan would save.
    "plan_cache_mode": "force_generic_plan",
}
"""What correctness and cost rest upon, whatever the role's defaults are."""

LIMITS: Final[Mapping[str, str]] = {
    "application_name": "stepwell",
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
    "idle_in_transaction_session_timeout": "30000",
}
"""What the user's own settings may override."""

DEATHWATCH: Final[Mapping[str, str]] = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
"""Makes the server notice soon that the client's host is gone."""

_WRITE: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;"
_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
_LOCAL: Final = " ".join(
    f"SET LOCAL {name} = '{value}';"
    for name, value in {**RULES, **LIMITS}.items()
    if not name.startswith(("default_", "application_"))
)

graveyard: list[object] = []
"""What belongs to a forgotten source: finalizing it would reach into an event loop that is
gone, or that a forked child shares with its parent."""


class _Connection(_BaseConnection):
    """A connection that can be let go without a word."""

    __slots__ = ("_forgotten", "_inode", "_wire")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._forgotten = False
        self._wire: Any = args[1]
        self._inode = self._stat()

    def _stat(self) -> tuple[int, int, int] | None:
        """Descriptor, device and inode of the socket; None if it is closed."""
        sock = self._wire.get_extra_info("socket")
        try:
            found = os.fstat(sock.fileno())
        except (OSError, AttributeError):
            return None
        return sock.fileno(), found.st_dev, found.st_ino

    def keep_alive(self, options: Mapping[str, int]) -> None:
        """Set TCP options, named as libpq names them, where the platform has them."""
        if self._inode is None or not options:
            return
        with socket.socket(fileno=os.dup(self._inode[0])) as twin:
            if twin.family == socket.AF_UNIX:
                return
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, options.get("keepalives", 1))
            for name, constant in (
                ("keepalives_idle", "TCP_KEEPIDLE"),
                ("keepalives_interval", "TCP_KEEPINTVL"),
                ("keepalives_count", "TCP_KEEPCNT"),
                ("tcp_user_timeout", "TCP_USER_TIMEOUT"),
            ):
                if name in options and hasattr(socket, constant):
                    twin.setsockopt(socket.IPPROTO_TCP, getattr(socket, constant), options[name])

    def forget(self) -> None:
        """Close the socket behind the back of loop and transport, and go silent.

        A socket that a forked child keeps open would hold the locks of a parent that died.
        asyncio has no public way to let go of a transport whose loop cannot be asked.
        """
        self._forgotten = True
        shown: Any = self._wire.get_extra_info("socket")
        real = getattr(shown, "_sock", None)
        if real is not None:
            real.close()
        elif self._still_open():
            os.close(shown.fileno())
        if hasattr(self._wire, "_sock"):
            self._wire._sock = None  # noqa: SLF001  # else its finalizer complains of the socket
        else:
            graveyard.append(self._wire)

    def _still_open(self) -> bool:
        """Is the descriptor that of our socket yet? Numbers are used again."""
        return self._inode is not None and self._inode == self._stat()

    def __del__(self) -> None:
        if not self._forgotten:
            super().__del__()


class Source(Protocol):
    """A supplier of connections to one database."""

    label: str
    """Host and database, safe to show."""
    pinned: bool
    """Borrowed connections have our session settings; else each transaction brings them."""
    pinned_kept: bool
    """The same, for connections got by `connect`."""

    async def connect(
        self, *, deathwatch: bool = False, statement_timeout_ms: int = STATEMENT_TIMEOUT_MS
    ) -> Link:
        """A connection for keeps, with our settings. Raises StorageError."""

    async def discard(self, link: Link, *, broken: bool) -> None:
        """Give up a connection got by `connect`."""

    async def acquire(self) -> Link:
        """Borrow a connection for a moment."""

    async def release(self, link: Link) -> None:
        """Give a borrowed connection back."""

    async def distrust(self) -> None:
        """A borrowed connection has gone silent: lend no other that was open at the time."""

    async def close(self) -> None:
        """Close what is ours."""

    def forget(self) -> None:
        """Drop everything without touching it."""


class OwnSource:
    """Connections of our own to one address."""

    def __init__(self, address: Address, *, borrowed_max: int, pgbouncer: bool = False) -> None:
        self.label = address.label
        self.pinned = self.pinned_kept = not pgbouncer
        self._address = address
        self._borrowed_max = borrowed_max
        self._live: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    def _arguments(
        self, *, deathwatch: bool = False, statement_timeout_ms: int = STATEMENT_TIMEOUT_MS
    ) -> dict[str, Any]:
        settings = {"application_name": "stepwell"}
        if self.pinned:
            settings = {**LIMITS, "statement_timeout": str(statement_timeout_ms)}
        settings |= self._address.settings
        if self.pinned:
            settings |= RULES
        if deathwatch and self.pinned:
            settings |= DEATHWATCH
        cache = {} if self.pinned else {"statement_cache_size": 0}
        return {
            "command_timeout": COMMAND_TIMEOUT_S,
            **self._address.options,
            **cache,
            "timeout": self._address.timeout_s,
            "server_settings": settings,
            "connection_class": _Connection,
        }

    async def connect(
        self, *, deathwatch: bool = False, statement_timeout_ms: int = STATEMENT_TIMEOUT_MS
    ) -> Link:
        try:
            arguments = self._arguments(
                deathwatch=deathwatch, statement_timeout_ms=statement_timeout_ms
            )
            link: Link = await asyncpg.connect(self._address.url, **arguments)
        except (TypeError, asyncpg.ClientConfigurationError) as error:
            raise UsageError(f"asyncpg cannot connect like this: {error}.") from error
        except Exception as error:
            raise translate(error, "connecting", self.label, sent=False) from error
        await self._register(link)
        return link

    async def _register(self, link: Any) -> None:
        self._live.add(link)
        link.keep_alive(self._address.keepalive)

    async def discard(self, link: Link, *, broken: bool) -> None:
        await hang_up(link, broken=broken)

    async def acquire(self) -> Link:
        try:
            if self._pool is None:
                self._pool = asyncpg.create_pool(
                    self._address.url,
                    min_size=0,
                    max_size=self._borrowed_max,
                    init=self._register,
                    # The default would send RESET ALL after each use, for nothing: a borrower
                    # that leaves anything behind ends the connection.
                    reset=_leave,
                    **self._arguments(),
                )
                await self._pool
            return await self._pool.acquire()
        except Exception as error:
            raise translate(error, "connecting", self.label, sent=False) from error

    async def release(self, link: Link) -> None:
        if self._pool is not None:
            await give_back(self._pool, link)

    async def distrust(self) -> None:
        if self._pool is not None:
            await self._pool.expire_connections()

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(5.0):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()

    def forget(self) -> None:
        self._pool = None
        for link in list(self._live):
            link.forget()
        self._live.clear()


class PoolSource:
    """Connections of a pool that the user made and will close."""

    pinned = False
    label = "the given pool"

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], *, pgbouncer: bool = False) -> None:
        self.pinned_kept = not pgbouncer
        self._pool = pool
        self._taken: list[Link] = []

    async def connect(
        self, *, deathwatch: bool = False, statement_timeout_ms: int = STATEMENT_TIMEOUT_MS
    ) -> Link:
        link = await self.acquire()
        settings = {**RULES, **LIMITS, **(DEATHWATCH if deathwatch else {})}
        settings["statement_timeout"] = str(statement_timeout_ms)
        try:
            if self.pinned_kept and await _pooled(link):
                # Settings would stay in a session that others use: every transaction brings them.
                self.pinned_kept = False
            if self.pinned_kept:
                for name, value in settings.items():
                    await link.execute("SELECT set_config($1, $2, false)", name, value)
        except BaseException as error:
            end(link)
            await give_back(self._pool, link)
            if isinstance(error, Exception):
                raise translate(error, "connecting", self.label, sent=False) from error
            raise
        self._taken.append(link)
        return link

    async def discard(self, link: Link, *, broken: bool) -> None:
        if link in self._taken:
            self._taken.remove(link)
        if broken:
            end(link)
        await give_back(self._pool, link)

    async def acquire(self) -> Link:
        try:
            return await self._pool.acquire()
        except Exception as error:
            raise translate(error, "connecting", self.label, sent=False) from error

    async def release(self, link: Link) -> None:
        await give_back(self._pool, link)

    async def distrust(self) -> None:
        """The pool is its owner's, and lends to others: each connection is found out by itself."""

    async def close(self) -> None:
        """Nothing is ours: `discard` has given back what was taken."""

    def forget(self) -> None:
        # The pool knows its connections; what becomes of them is its owner's affair.
        self._taken.clear()


async def _pooled(link: Link) -> bool:
    """Did somebody else answer for the server, when the connection was made?"""
    return bool(await link.fetchval("SELECT pg_backend_pid()") != link.get_server_pid())


async def give_back(pool: asyncpg.Pool[asyncpg.Record], link: Link) -> None:
    """Return a connection to its pool; one that cannot be reset is ended by asyncpg."""
    try:
        await pool.release(link)  # type: ignore[arg-type]  # it came out of this pool
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # The work done on it is done, or has its own error: this one is about the next use.
        _log.debug("a connection was lost while it went back to its pool: %s", error)


async def _leave(link: Link) -> None:
    """Reset nothing."""


def ended(link: Link) -> bool:
    """Is the connection closed, by whomever?"""
    try:
        return link.is_closed()
    except asyncpg.InterfaceError:
        # Its pool has taken back what it had lent: that happens when the connection breaks.
        return True


def end(link: Link) -> None:
    """Close a connection at once, without a word to the server."""
    if not ended(link):
        link.terminate()


async def hang_up(link: Link, *, broken: bool) -> None:
    """Close a connection: politely within a second, else by force."""
    if not broken and not ended(link):
        try:
            async with asyncio.timeout(1.0):
                await link.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            _log.debug("a connection was closed by force: %s", error)
    link.terminate()


async def run(
    link: Link,
    sql: str,
    args: tuple[object, ...],
    *,
    pinned: bool,
    reply_s: float | None = None,
) -> list[asyncpg.Record]:
    """Run one statement that may write, under our rules. Native errors go through.

    `reply_s` bounds the wait for each reply (None: the connection's own limit); TimeoutError.
    asyncpg counts it rather than a timer of ours: where the loop itself was blocked, it takes
    the reply that has arrived meanwhile.
    """
    if pinned:
        return await link.fetch(sql, *args, timeout=reply_s)
    limit = "" if reply_s is None else f"SET LOCAL statement_timeout = '{limit_ms(reply_s)}';"
    await link.execute(_WRITE + _LOCAL + limit, timeout=reply_s)
    try:
        rows = await link.fetch(sql, *args, timeout=reply_s)
    except Exception as error:
        if replied(error) and not ended(link):
            await link.execute("ROLLBACK", timeout=reply_s)
        raise
    await link.execute("COMMIT", timeout=reply_s)
    return rows


@asynccontextmanager
async def borrowed(source: Source, doing: str, *, sent: bool) -> AsyncIterator[Link]:
    """Borrow a connection; native errors inside come out translated.

    A connection whose state is not certain afterwards (the reply is missing, the borrower was
    cancelled, a transaction is open) is ended, so that nothing outlives its borrower.
    """
    link = await source.acquire()
    try:
        yield link
    except StepwellError:
        raise  # ours: the borrower did not like what was read
    except Exception as error:
        lost = ended(link)
        if not usable(error):
            end(link)
        if isinstance(error, TimeoutError):
            await source.distrust()
        raise translate(error, doing, source.label, sent=sent, lost=lost) from error
    except BaseException:
        end(link)
        raise
    finally:
        if not ended(link) and link.is_in_transaction():
            end(link)
        await source.release(link)


@asynccontextmanager
async def snapshot(source: Source, doing: str, *, reply_s: float) -> AsyncIterator[Link]:
    """A read-only transaction that sees one state of the database throughout.

    `reply_s` bounds the reply to its beginning, which is no work: without one the connection
    is dead. What is read may take longer.
    """
    async with borrowed(source, doing, sent=False) as link:
        await link.execute(_READ if source.pinned else _READ + _LOCAL, timeout=reply_s)
        yield link
        await link.execute("COMMIT")


@asynccontextmanager
async def transaction(source: Source, doing: str, *, reply_s: float) -> AsyncIterator[Link]:
    """A transaction of several statements that write; `reply_s` as for `snapshot`."""
    async with borrowed(source, doing, sent=True) as link:
        await link.execute(_WRITE if source.pinned else _WRITE + _LOCAL, timeout=reply_s)
        yield link
        await link.execute("COMMIT", timeout=reply_s)

"""PostgreSQL through asyncpg: connections, locks, schema. The only importer of asyncpg, with
its siblings `_postgres_*`.

A database handle owns three kinds of connections, so that none waits for another: the lane
(commits), the control line (locks, heartbeats, releases) and borrowed ones (claims and reads).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

try:
    import asyncpg
    from asyncpg.pgproto import pgproto
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "PostgreSQL is reached through asyncpg, which is not installed: pip install asyncpg",
        name=error.name,
    ) from error

from stepwell._dataclass import dataclass
from stepwell._db._postgres_dsn import POOL_MIN, check_pool, parse_dsn
from stepwell._db._postgres_line import Line
from stepwell._db._postgres_locks import KEYS_MAX, LockSession
from stepwell._db._postgres_pooler import betrays_a_pooler, pooled, warn
from stepwell._db._postgres_schema import (
    LEDGER,
    MIGRATIONS,
    STORE_LEDGER,
    STORE_MIGRATIONS,
    drop_scratch,
    migrate,
    quoted,
    schema_version,
)
from stepwell._db._postgres_source import (
    TIMEOUTS,
    OwnSource,
    PoolSource,
    Source,
    Timeouts,
    borrowed,
    run,
    snapshot,
    transaction,
)
from stepwell._db.migrations import load_migrations, load_queries
from stepwell._ids import Ids
from stepwell.errors import StorageError, StorageUnavailableError, UsageError

if TYPE_CHECKING:
    from stepwell._db._postgres_source import Link

__all__ = ["TIMEOUTS", "FastUUID", "LockSession", "Postgres", "Timeouts", "shifted"]

FastUUID = pgproto.UUID
"""Written in C, and a `uuid.UUID` all the same."""

QUERIES: Final = Path(__file__).with_name("postgres.sql")
STORE_QUERIES: Final = Path(__file__).with_name("postgres_store.sql")
SERVER_MIN: Final = 13
BACKUP_QUERIES: Final = Path(__file__).with_name("postgres_backup.sql")

_TRIES: Final = 5
_PAUSE_S: Final = 0.02


@lru_cache(maxsize=8)
def _is_name(name: object) -> bool:
    if not isinstance(name, str) or "\0" in name:
        return False
    return 1 <= len(name.encode("utf-8", "surrogatepass")) <= 63 and name.isprintable()


def queries(schema: str, ledger: str = LEDGER) -> Mapping[str, str]:
    """The statements of the SQL files for one schema, by name."""
    texts: dict[str, str] = {}
    for file in (QUERIES, STORE_QUERIES, BACKUP_QUERIES):
        texts |= load_queries(file)
    columns = {
        "{thread}": texts["thread_columns"],
        "{run}": texts["run_columns"], "{no_thread}": texts["no_thread"],
        "{store_item}": texts["store_columns"],
        "{ledger}": ledger,
        "{schema}": quoted(schema),  # last: what a name of the user's holds is no mark
    }  # fmt: skip
    for name, text in texts.items():
        whole = text
        for mark, stands_for in columns.items():
            whole = whole.replace(mark, stands_for)
        texts[name] = whole
    return texts


def shifted(text: str, by: int) -> str:
    """A fragment of a statement with its parameters numbered from `by` + 1."""
    return re.sub(r"\$(\d+)", lambda match: f"${int(match[1]) + by}", text)


@dataclass(slots=True)
class _Opened:
    """What exists only while a database is open."""

    loop: asyncio.AbstractEventLoop
    source: Source
    replica: Source
    lane: Line
    control: Line
    backend: int = 0
    """The server's process that answered first."""
    schema: str = ""
    sql: Mapping[str, str] = field(default_factory=dict)
    locks: LockSession | None = None


class Postgres:
    """One database, reached by an address or through a given pool.

    Args:
        dsn: `postgresql://...` with libpq's query parameters. Either this or `pool`.
        pool: an `asyncpg.Pool` of the user's; it is used and not closed.
        pool_size_max: how many connections of our own at most, lane and control included.
        schema: everything lives in this schema; None: the first one of the search path.
        pgbouncer: a pooler in transaction mode stands between: no prepared statements, no
            session settings, no advisory locks. One that is found at opening is treated alike.
        locks: "lease" takes no advisory locks.
        read_url: address of a replica for reads that may lag.
        connect: extra arguments of `asyncpg.connect`.
        ids: randomness.
        timeouts: how long replies may take on the lane and on the control line.

    Raises:
        UsageError: the arguments make no sense together, or the DSN is none.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        pool: Any = None,
        pool_size_max: int = 10,
        schema: str | None = None,
        pgbouncer: bool = False,
        locks: Literal["advisory", "lease"] = "advisory",
        read_url: str | None = None,
        connect: Mapping[str, Any] | None = None,
        ids: Ids,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        check_pool(dsn, pool, connect)
        if pool_size_max < POOL_MIN:
            raise UsageError(
                f"pool_size_max={pool_size_max} is too small: one connection commits, one holds "
                f"the locks, the others read. Give at least {POOL_MIN}."
            )
        if locks not in ("advisory", "lease"):
            raise UsageError(f"locks={locks!r}: say 'advisory' or 'lease'.")
        if min(timeouts) <= 0:
            raise UsageError(f"{timeouts}: a reply needs more than no time.")
        if schema is not None and not _is_name(schema):
            raise UsageError(f"schema must be a printable name of 1 to 63 bytes, not {schema!r}.")
        self._pool = pool
        self._address = None if dsn is None else parse_dsn(dsn, connect)
        self._read_address = None if read_url is None else parse_dsn(read_url, connect)
        self._pool_size_max = pool_size_max
        self._schema = schema
        self._pgbouncer = pgbouncer
        self._locks = locks
        self._ids = ids
        self._timeouts = timeouts
        self.advisory = locks == "advisory" and not pgbouncer
        self._opened: _Opened | None = None
        self._opening: asyncio.Lock | None = None

    # --- life -----------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect. Idempotent; what another, closed loop has left behind is dropped.

        Raises:
            StorageError: the server cannot be reached, refuses the role, or is too old.
        """
        loop = asyncio.get_running_loop()
        if self._opened is not None and self._opened.loop is not loop:
            self.forget()
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._opened is None:
                self._opened = await self._connect_as_it_must_be(loop)

    async def _connect_as_it_must_be(self, loop: asyncio.AbstractEventLoop) -> _Opened:
        """Connect; where a pooler turns out to stand between, again, in its way."""
        if self._pgbouncer:
            return await self._connect(loop)
        sign: StorageError | None = None
        try:
            opened = await self._connect(loop)
            if not await self._found_pooled(opened):
                return opened
        except StorageError as error:
            if not betrays_a_pooler(error):
                raise
            sign = error
        self._pgbouncer, self.advisory = True, False
        try:
            opened = await self._connect(loop)
        except StorageError as error:
            # Next time as it was asked for: perhaps it was something else.
            self._pgbouncer, self.advisory = False, self._locks == "advisory"
            raise sign or error from error
        warn(opened.source.label)
        return opened

    async def _found_pooled(self, opened: _Opened) -> bool:
        """Look for a pooler; if there is one, what was opened is closed again."""
        found = True
        try:
            found = await pooled(
                opened.lane,
                opened.control,
                opened.sql,
                opened.backend,
                pinned=opened.source.pinned_kept,
            )
        finally:
            if found:
                await _close(opened)
        return found

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> _Opened:
        source, replica = self._sources()
        opened = _Opened(
            loop=loop,
            source=source,
            replica=replica,
            lane=Line(source, reply_s=self._timeouts.commit_s),
            control=Line(source, reply_s=self._timeouts.control_s, deathwatch=True, patient=True),
        )
        try:
            await self._look_around(opened)
        except BaseException:
            await _close(opened)
            raise
        return opened

    def _sources(self) -> tuple[Source, Source]:
        source: Source
        if self._address is None:
            source = PoolSource(self._pool, pgbouncer=self._pgbouncer)
        else:
            source = OwnSource(
                self._address, borrowed_max=self._pool_size_max - 2, pgbouncer=self._pgbouncer
            )
        if self._read_address is None:
            return source, source
        return source, OwnSource(
            self._read_address, borrowed_max=self._pool_size_max, pgbouncer=self._pgbouncer
        )

    async def _look_around(self, opened: _Opened) -> None:
        """Ask the server what it is, on the lane, and settle schema and locks."""
        label = opened.source.label
        sql = queries("")
        [row] = await opened.lane.run(sql["server_limits"], doing="connecting", sent=False)
        version, lock_table, standby, opened.backend = row
        if version < SERVER_MIN * 10_000:
            raise StorageError(
                f"PostgreSQL at {label} has version {version // 10_000}; Stepwell needs "
                f"{SERVER_MIN} or newer."
            )
        if standby:
            raise StorageUnavailableError(
                f"PostgreSQL at {label} is a standby and takes no writes. Name the primary in the "
                "DSN, or several hosts and target_session_attrs=primary.",
                outcome="none",
            )
        found = await opened.lane.run(
            sql["schema_present"], self._schema, doing="connecting", sent=False
        )
        if not found and self._schema is None:
            raise StorageError(
                f"PostgreSQL at {label}: the search path of the role names no schema that exists. "
                "Say which one to use with schema=."
            )
        opened.schema = self._schema if self._schema is not None else found[0][0]
        opened.sql = queries(opened.schema)
        if self.advisory:
            opened.locks = LockSession(
                opened.control, opened.sql, self, self._ids, keys_max=min(KEYS_MAX, lock_table // 8)
            )

    async def close(self) -> None:
        """Give back connections and locks. Idempotent."""
        opened, self._opened = self._opened, None
        self._opening = None
        if opened is None:
            return
        if opened.loop is not asyncio.get_running_loop():
            _forget(opened)
            return
        await _close(opened)

    def forget(self) -> None:
        """Drop every connection without touching it: the loop is gone, or this is a fork."""
        opened, self._opened = self._opened, None
        self._opening = None
        if opened is not None:
            _forget(opened)

    @property
    def _open(self) -> _Opened:
        if self._opened is None:
            raise UsageError("The driver is not open: await its open() first.")
        return self._opened

    @property
    def sql(self) -> Mapping[str, str]:
        """Statements by name, for the schema in use."""
        return self._open.sql

    @property
    def locks(self) -> LockSession | None:
        """The advisory locks of this process; None if there are none to be had."""
        return self._open.locks

    @property
    def label(self) -> str:
        """Host and database, without credentials."""
        return self._open.source.label

    # --- statements -----------------------------------------------------------------------

    async def migrate(self, mode: Literal["auto", "check", "off"]) -> None:
        """Create or upgrade the schema; safe when many processes do it at once."""
        opened = self._open
        await migrate(opened.source, opened.sql, opened.schema, mode)

    async def drop_scratch(self, prefix: str) -> None:
        """Drop the schema that is used; its name begins with `prefix`, or that is refused."""
        await drop_scratch(self._open.source, self._open.sql, self._open.schema, prefix)

    async def space(self) -> tuple[int, int, int]:
        """Version of the schema, the one this release needs, and bytes of its tables.

        Raises:
            StorageError: mapped.
        """
        opened = self._open
        async with borrowed(opened.source, "asking for vitals", sent=False) as link:
            found = await schema_version(link, opened.sql, opened.schema)
            row = await link.fetchrow(opened.sql["space"], opened.schema)
        return found, len(load_migrations(MIGRATIONS)), 0 if row is None else row[0]

    async def migrate_store(self, mode: Literal["auto", "check", "off"]) -> None:
        """The same for the tables of stores, which are a track of their own."""
        opened = self._open
        sql = queries(opened.schema, STORE_LEDGER)
        steps = load_migrations(STORE_MIGRATIONS)
        await migrate(opened.source, sql, opened.schema, mode, steps)

    async def commit(self, sql: str, args: Sequence[object]) -> list[asyncpg.Record]:
        """Run one statement on the lane."""
        return await self._open.lane.run(sql, *args, doing="commit")

    async def control(
        self, name: str, *args: object, reply_s: float | None = None
    ) -> list[asyncpg.Record]:
        """Run one named statement on the control line, carried through if we are cancelled.

        It must bear being run twice: without a reply it is tried once more, on a new
        connection, because leases run out while the layers above make up their minds.
        """
        opened = self._open
        if reply_s is not None:
            reply_s = min(reply_s, self._timeouts.control_s)
        sql = opened.sql[name]
        try:
            return await opened.control.run(sql, *args, doing=name, reply_s=reply_s)
        except StorageUnavailableError as error:
            if error.context.get("outcome") != "unknown" or self._opened is not opened:
                raise
        return await opened.control.run(sql, *args, doing=name, reply_s=reply_s)

    async def fetch(
        self,
        name: str,
        *args: object,
        sent: bool = True,
        reply_s: float | None = None,
        long: bool = False,
    ) -> list[asyncpg.Record]:
        """Run one named statement on a borrowed connection to the primary.

        Args:
            name: of the statement.
            args: its parameters.
            sent: it writes, so that a missing reply leaves the outcome unknown.
            reply_s: how long its reply may take; None: as long as a commit's.
            long: it may have much to do: the server's own limit counts.

        Raises:
            StorageError: mapped.
        """
        opened = self._open
        if reply_s is None and not long:
            reply_s = self._timeouts.commit_s
        pinned = opened.source.pinned
        async with borrowed(opened.source, name, sent=sent) as link:
            return await run(link, opened.sql[name], args, pinned=pinned, reply_s=reply_s)

    async def vacuum(self, rows: int, segments: int) -> list[str]:
        """Clear away deleted rows, where it is due and ours to do; see `vacuum_due`.

        Returns:
            The names of the statements that were run; none where reads have one connection only.

        Raises:
            StorageError: mapped.
        """
        opened = self._open
        size = self._pool_size_max if self._pool is None else self._pool.get_max_size()
        if size <= POOL_MIN:
            return []
        async with borrowed(opened.source, "vacuum", sent=False) as link:
            due = await link.fetch(opened.sql["vacuum_due"], opened.schema, rows, segments)
            names = [name for (name,) in due]
            for name in names:
                await link.execute(opened.sql[name])  # bare: no transaction may stand around it
        return names

    async def read(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """Run one statement that reads, where reads may lag."""
        opened = self._open
        async with borrowed(opened.replica, "reading", sent=False) as link:
            return await link.fetch(sql, *args)

    def snapshot(self, *, primary: bool) -> AbstractAsyncContextManager[Link]:
        """A read-only transaction that sees one state of the database throughout."""
        opened = self._open
        source = opened.source if primary else opened.replica
        return snapshot(source, "reading", reply_s=self._timeouts.commit_s)

    def transaction(self, doing: str) -> AbstractAsyncContextManager[Link]:
        """A transaction of several statements that write."""
        return transaction(self._open.source, doing, reply_s=self._timeouts.commit_s)

    # --- what the lock session needs done (its `Rows`) --------------------------------------

    async def beat(self, threads: Sequence[UUID], keys: Sequence[int]) -> None:
        """Move the beat of rows that name these keys; those locked just now are skipped."""
        await self.fetch("beat", threads, keys, reply_s=self._timeouts.control_s)

    async def disarm(self, threads: Sequence[UUID], keys: Sequence[int]) -> None:
        """Take these keys out of their rows.

        Raises:
            StorageUnavailableError: a row stayed locked by somebody.
        """
        reply_s = self._timeouts.control_s
        for _ in range(_TRIES):
            await self.fetch("disarm", threads, keys, reply_s=reply_s)
            if not await self.fetch("armed", threads, keys, sent=False, reply_s=reply_s):
                return
            await asyncio.sleep(_PAUSE_S)
        raise StorageUnavailableError("Thread rows stayed locked.", outcome="none")


async def _close(opened: _Opened) -> None:
    try:
        if opened.locks is not None:
            await opened.locks.close()
        await opened.control.close()
        await opened.lane.close()
    finally:
        await opened.source.close()
        if opened.replica is not opened.source:
            await opened.replica.close()


def _forget(opened: _Opened) -> None:
    # The sources first: a connection that nobody refers to would be finalized.
    opened.source.forget()
    opened.replica.forget()
    opened.lane.forget()
    opened.control.forget()
    if opened.locks is not None:
        opened.locks.forget()

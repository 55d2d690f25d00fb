"""What the two savers for PostgreSQL share."""

from __future__ import annotations

import asyncio
from typing import Any, Self, Unpack

from stepwell._ids import RANDOM_IDS
from stepwell.checkpoint._options import POSTGRES, PostgresOptions, check_options, pick
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.postgres._driver import PostgresDriver
from stepwell.errors import UsageError

_FOR_DRIVER = ("locks", "pool_size_max", "pgbouncer", "schema", "read_url", "connect")


class BasePostgresSaver(Saver):
    """Threads in PostgreSQL 13 or newer, through asyncpg.

    Args:
        pool: An `asyncpg.Pool`. It is used and not closed; the saver belongs to its loop.
        options: `PostgresOptions`, except `pool`, `pool_size_max` and `connect`: those are
            the pool's own.

    Raises:
        UsageError: An option is unknown or has a value it cannot have; `pool` is none.
    """

    def __init__(self, pool: Any, /, **options: Unpack[PostgresOptions]) -> None:
        if pool is None or isinstance(pool, str):
            raise UsageError(
                "The constructor takes an asyncpg.Pool; pass an address to from_conn_string()."
            )
        self._start(None, pool, options)
        loop = getattr(pool, "_loop", None)
        if isinstance(loop, asyncio.AbstractEventLoop):
            # A pool works on the loop it was made on, and there alone.
            self._home.settle(loop)

    @classmethod
    def from_conn_string(
        cls,
        conn_string: str,
        *,
        pipeline: bool = False,  # noqa: ARG003  # LangGraph's
        **options: Unpack[PostgresOptions],
    ) -> Self:
        """A saver for a `postgresql://` URL, whose query parameters are libpq's. No I/O yet.

        It is the saver itself: use it directly, in `with` or in `async with`.

        Args:
            conn_string: The database.
            pipeline: LangGraph's; changes nothing.
            options: `PostgresOptions`.

        Raises:
            UsageError: An option is unknown or has a value it cannot have, or the URL is none.
        """
        saver = cls.__new__(cls)
        saver._start(conn_string, None, options)  # noqa: SLF001  # it is one of us
        return saver

    def _start(self, dsn: str | None, pool: Any, options: PostgresOptions) -> None:
        given = check_options(options, POSTGRES, type(self).__name__)
        if "pool" in given:
            raise UsageError(f"Pass the pool itself: {type(self).__name__}(pool).")
        if pool is not None and (taken := {"pool_size_max", "connect"} & given.keys()):
            raise UsageError(f"With a pool of yours, {' and '.join(sorted(taken))} are its own.")
        if given.get("pgbouncer") and given.get("locks") == "advisory":
            raise UsageError('pgbouncer=True implies locks="lease": a pooler keeps no session.')
        driver = PostgresDriver(dsn, pool=pool, ids=RANDOM_IDS, **pick(given, _FOR_DRIVER))
        general = pick(options, omit=("pool", *_FOR_DRIVER))
        if given.get("pgbouncer") or given.get("locks") == "lease":
            general["locks"] = "lease"
        super().__init__(driver, **general)

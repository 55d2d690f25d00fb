"""Finding out at opening whether a transaction pooler stands between us and the server.

Behind one, nothing may rest upon a session: neither advisory locks, nor settings, nor prepared
statements. Who says so (`pgbouncer=True`) is not asked; for the others there are signs.

- A pooler that is not told to ignore them refuses the settings we connect with (08P01).
- Prepared statements of one client turn up at another (42P05), or are not where they were made
  (26000).
- The server tells a client the number of its backend when it connects. A pooler answers for the
  server, and makes a number up: what the backend itself says is another one. That much is true
  of session poolers too, which do no harm.
- If so: two sessions that are open at once share a backend, or one changes it, or our settings
  are not in effect. Each of these is proof enough.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from stepwell._db._postgres_line import Line
from stepwell._db._postgres_source import RULES
from stepwell.errors import StorageError

_log = logging.getLogger("stepwell.lock")

_SIGNS: Final = frozenset({"08P01", "42P05", "26000"})


def betrays_a_pooler(error: StorageError) -> bool:
    """Is this what a session meets, while it is opened, behind a transaction pooler?"""
    return error.context.get("sqlstate") in _SIGNS


async def pooled(
    lane: Line, control: Line, sql: Mapping[str, str], backend: int, *, pinned: bool
) -> bool:
    """Does a transaction pooler stand between? Asks nothing where no pooler is.

    Args:
        lane: a line that is connected.
        control: another one.
        sql: statements by name.
        backend: what the lane's first statement said of its backend.
        pinned: our settings were made when connecting.

    Raises:
        StorageError: the server did not answer.
    """
    if backend == lane.announced_pid:
        return False
    session = lane.session
    if await _backend(control, sql) == backend:
        return True
    moved = await _backend(lane, sql) != backend
    if moved and lane.session == session:  # a line that was replaced has another, of course
        return True
    if not pinned:
        return False
    [[unkept]] = await lane.run(
        sql["settings_unkept"], list(RULES), list(RULES.values()), doing="connecting", sent=False
    )
    return bool(unkept)


async def _backend(line: Line, sql: Mapping[str, str]) -> int:
    [[pid]] = await line.run(sql["backend"], doing="connecting", sent=False)
    return int(pid)


def warn(label: str) -> None:
    """Say once per opening that a pooler was found."""
    _log.warning(
        "A transaction pooler stands before PostgreSQL at %s: the saver goes on without advisory "
        "locks and prepared statements, and the death of a worker shows when its lease is over. "
        "Open it with pgbouncer=True to say so, or with the address of the server itself.",
        label,
    )

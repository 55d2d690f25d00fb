"""SQL files: numbered migrations, and queries by name. Shared by every database.

All SQL of the package stands in `.sql` files, so that a database person can read it in one
place and try it in a shell.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from stepwell.errors import InternalError

_FILE_NAME = re.compile(r"(\d{3})_([a-z0-9_]+)\.sql")
_HEADER = re.compile(r"^-- name: *(\S+) *$", re.MULTILINE)
_QUERY_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Migration(NamedTuple):
    """One step of a schema: from `number - 1` to `number`. `sql` may hold many statements."""

    number: int
    name: str
    sql: str


def load_migrations(package_dir: Path) -> list[Migration]:
    """Read every `NNN_name.sql` of a folder, in order.

    Args:
        package_dir: a folder that holds migrations and nothing else that ends in `.sql`.

    Returns:
        The migrations; `number` counts 1, 2, 3, ... and equals the position + 1.

    Raises:
        InternalError: a file has another name, a number is missing or used twice, a file is
            empty, or there is none.
    """
    found: list[Migration] = []
    for path in sorted(package_dir.glob("*.sql")):
        parts = _FILE_NAME.fullmatch(path.name)
        if parts is None:
            raise InternalError(f"{path.name}: a migration is called NNN_lower_case.sql")
        sql = path.read_text(encoding="utf-8")
        if not _without_comments(sql):
            raise InternalError(f"{path.name}: the migration is empty")
        found.append(Migration(int(parts[1]), parts[2], sql))
    numbers = [migration.number for migration in found]
    if not found or numbers != list(range(1, len(found) + 1)):
        raise InternalError(f"{package_dir.name}: migrations are numbered 001, 002, ...: {numbers}")
    return found


def load_queries(path: Path) -> dict[str, str]:
    """Read a file of queries, each below a line `-- name: some_name`.

    Args:
        path: the file. Only comments may stand above the first name.

    Returns:
        Text by name, without the header and without a closing semicolon. Comments inside a
        query stay, so that they show up in the logs of a server.

    Raises:
        InternalError: a name is odd or used twice, a query is empty, or text stands above the
            first name.
    """
    text = path.read_text(encoding="utf-8")
    parts = _HEADER.split(text)
    if _without_comments(parts[0]):
        raise InternalError(f"{path.name}: text above the first `-- name:` line")
    queries: dict[str, str] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if not _QUERY_NAME.fullmatch(name):
            raise InternalError(f"{path.name}: {name!r} is no name for a query")
        if name in queries:
            raise InternalError(f"{path.name}: the name {name} is used twice")
        if not _without_comments(body):
            raise InternalError(f"{path.name}: the query {name} is empty")
        queries[name] = body.strip().removesuffix(";").rstrip()
    return queries


def _without_comments(sql: str) -> str:
    lines = (line.partition("--")[0].strip() for line in sql.splitlines())
    return "".join(lines).strip(";")

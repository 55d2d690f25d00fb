"""How an SQLite database is named: by a path, a `file:` URI or a URL."""

from __future__ import annotations

import os
from urllib.parse import unquote

from stepwell._db._sqlite_connection import IN_MEMORY
from stepwell.errors import UsageError


def sqlite_address(conn_string: str | os.PathLike[str]) -> tuple[str, bool]:
    """Path of the database, and whether it is a `file:` URI.

    Raises:
        UsageError: It is neither path, URI nor URL of SQLite.
    """
    if not isinstance(conn_string, str | os.PathLike):
        raise UsageError(f"A path or URL is needed, not {type(conn_string).__name__}.")
    text = str(os.fspath(conn_string))
    scheme, separator, rest = text.partition("://")
    if text.startswith("file:"):
        return text, True
    if not separator or "/" in scheme:
        return text or IN_MEMORY, False
    if scheme != "sqlite":
        raise UsageError(
            f"{scheme}:// is no URL of SQLite. Use a path, ':memory:', a file: URI, "
            "sqlite:///relative.db or sqlite:////absolute.db; for other databases, open_saver()."
        )
    if rest in ("", f"/{IN_MEMORY}"):
        return IN_MEMORY, False
    path, _, query = rest.partition("?")
    if not path.startswith("/") or len(path) == 1:
        raise UsageError(
            f"{text!r} names no file: write sqlite:///relative.db, sqlite:////absolute.db, or "
            "sqlite:// for a private database in memory."
        )
    if query:
        raise UsageError(f"{text!r}: parameters are written in a file: URI, not in this URL.")
    return unquote(path[1:]), False


__all__ = ["IN_MEMORY", "sqlite_address"]

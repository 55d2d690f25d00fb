"""A real PgBouncer in transaction mode in front of the PostgreSQL server of the tests.

The program is looked for in PATH and where Debian puts it; where it is missing, whoever asks
for the fixture is skipped with the way to install it. It has as few server connections as
make sense, so that clients really change places, and is stopped by the process that started it.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import pytest_asyncio

from tests._postgres import server_dsn

MISSING = (
    "PgBouncer is not installed: apt-get install pgbouncer (Debian, Ubuntu), "
    "dnf install pgbouncer (Fedora), brew install pgbouncer (macOS)"
)

SETTINGS = """
[databases]
* = {server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 1000
server_lifetime = 3600
logfile =
{more}
"""


def program() -> str | None:
    """Where PgBouncer is; None if it is not installed."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _server(dsn: str) -> tuple[str, str]:
    """The address of the server in PgBouncer's words, and the user in the DSN."""
    parts = urlsplit(dsn)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    words = {"host": query.get("host") or parts.hostname or "127.0.0.1"}
    words["port"] = query.get("port") or str(parts.port or 5432)
    if parts.password:
        words["password"] = parts.password
    return " ".join(
        f"{name}={value}" for name, value in words.items()
    ), parts.username or "postgres"


def _who_may_connect(dsn: str) -> str:
    """A user of this machine, not root, that reaches the server's socket."""
    folder = parse_qs(urlsplit(dsn).query).get("host", [""])[0]
    owner = Path(folder).stat().st_uid if folder.startswith("/") else 0
    return pwd.getpwuid(owner).pw_name if owner else "nobody"


@asynccontextmanager
async def pgbouncer(
    dsn: str | None = None,
    *,
    pool_size: int = 3,
    users: Sequence[str] = (),
    more: str = "",
    ready: bool = True,
) -> AsyncIterator[str]:
    """DSN of a PgBouncer in front of `dsn` (the server of this session), same user and database.

    Args:
        dsn: The server.
        pool_size: Server connections for each pair of user and database.
        users: Roles that may log in, besides the one in `dsn`.
        more: Further lines of its configuration.
        ready: Wait until it lets a client through to the server.
    """
    binary = program()
    if binary is None:
        pytest.skip(MISSING)
    dsn = dsn or server_dsn()
    server, user = _server(dsn)
    with tempfile.TemporaryDirectory(prefix="stepwell-bouncer-") as folder:
        port = _free_port()
        text = SETTINGS.format(
            server=server, port=port, folder=folder, pool_size=pool_size, more=more
        )
        arguments, log = _prepare(Path(folder), text, (user, *users))
        if os.geteuid() == 0:  # it refuses to run as root
            arguments += ["--user", _who_may_connect(dsn)]
        process = await asyncio.create_subprocess_exec(
            binary, *arguments, stdout=log, stderr=asyncio.subprocess.STDOUT
        )
        try:
            through = f"postgresql://{user}@127.0.0.1:{port}{urlsplit(dsn).path}"
            await _answers(through, process, log, ready=ready)
            yield through
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            log.close()


def _prepare(folder: Path, text: str, users: Sequence[str]) -> tuple[list[str], IO[bytes]]:
    """Write its files; its arguments, and a file for what it says."""
    folder.chmod(0o755)
    folder.joinpath("users.txt").write_text("".join(f'"{user}" ""\n' for user in users))
    folder.joinpath("bouncer.ini").write_text(text)
    return ["--quiet", f"{folder}/bouncer.ini"], folder.joinpath("log").open("w+b")


async def _answers(
    dsn: str, process: asyncio.subprocess.Process, log: IO[bytes], *, ready: bool
) -> None:
    """Wait until it lets a client through, or at least listens."""
    async with asyncio.timeout(20):
        while True:
            if process.returncode is not None:
                log.seek(0)
                raise RuntimeError(f"PgBouncer did not start: {log.read().decode()}")
            try:
                if not ready:
                    parts = urlsplit(dsn)
                    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
                    writer.close()
                    return
                connection = await asyncpg.connect(dsn, statement_cache_size=0)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)
            else:
                await connection.close()
                return


@pytest_asyncio.fixture
async def bouncer_dsn(pg_dsn):
    """DSN of a PgBouncer in transaction mode, of this test's own."""
    async with pgbouncer(pg_dsn) as dsn:
        yield dsn

"""A TCP proxy on loopback between a client and PostgreSQL, that loses what it is told to lose.

It reads along in the client's protocol as far as it must: messages are a byte of kind and a
length, the first one of a connection has no kind. A statement is known by its text, from Parse or
Query, and from Bind by the name under which it was parsed. So it can tell a commit of the
journal, whose reply is to be lost, from everything else on the wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

COMMIT = b"AS awaited"
"""Words that only the commits of the journal hold."""
CLAIM = b"w.fresh_no"
"""A word that only its claims hold."""


class Loss(StrEnum):
    """What becomes of a commit that is chosen."""

    REPLY = "reply lost"
    """The server has answered; the client sees its connection reset instead."""
    SILENCE = "reply silent"
    """The server has answered; the client hears nothing, and its connection stays open."""
    REQUEST = "request lost"
    """The server never sees it; the client's connection is reset."""
    RACE = "reset at once"
    """Passed on, and both connections are reset in the same moment: written or not, who knows."""
    LATE = "request late"
    """Held back; the client's connection is reset now, the server gets it when told to."""


class Proxy:
    """One listening socket in front of one server.

    Attributes:
        url: The server's DSN, through the proxy.
        word: What statements hold that may be lost; below they are called commits.
        commits: Commits seen so far.
        lost: What was done to commits, by kind.
        delay_s: How long each piece of data is held up, in both directions.
        partitioned: Nothing passes, in neither direction, also not in new connections, and
            nobody is told.
    """

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self.word = COMMIT
        self.commits = 0
        self.lost: Counter[Loss] = Counter()
        self.delay_s: Callable[[], float] = float
        self.choose: Callable[[int], Loss | None] = lambda _: None
        """What becomes of the commit of this number; None: it passes."""
        self.late: list[Callable[[], Awaitable[None]]] = []
        """Requests held back: calling one sends it, and waits until the server has answered."""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._open.set()
        for link in list(self._links):
            link.cut()
        for deliver in self.late:
            await deliver()
        if self._links:
            await asyncio.wait([link.task for link in self._links])

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        query = {
            k: v[0] for k, v in parse_qs(self._parts.query).items() if k not in {"host", "port"}
        }
        user = self._parts.netloc.rpartition("@")[0] or "postgres"
        netloc = f"{user}@127.0.0.1:{port}"
        return urlunsplit(self._parts._replace(netloc=netloc, query=urlencode(query)))

    def reset_all(self) -> None:
        """Reset every connection, on both sides."""
        for link in list(self._links):
            link.cut()

    def mute_all(self) -> None:
        """Every connection that is open stays open, and nothing passes on it any more; new ones
        are sound. So it looks when a router has forgotten them."""
        for link in self._links:
            link.mute()

    def partition(self, on: bool) -> None:
        """Let nothing pass any more, or again."""
        if on:
            self._open.clear()
        else:
            self._open.set()

    @property
    def partitioned(self) -> bool:
        return not self._open.is_set()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        query = parse_qs(self._parts.query)
        host = query.get("host", [""])[0] or self._parts.hostname or "127.0.0.1"
        port = int(query.get("port", ["0"])[0]) or self._parts.port or 5432
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        try:
            server = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, reader, writer, *server)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    async def pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Send one piece of data on, late, or when the partition is over."""
        delay = self.delay_s()
        if delay:
            await asyncio.sleep(delay)
        await self._open.wait()
        writer.write(data)
        await writer.drain()


class _Link:
    """One client, its connection and the one to the server."""

    def __init__(
        self,
        proxy: Proxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._from_client, self._to_client = reader, writer
        self._from_server, self._to_server = server_reader, server_writer
        self._texts: dict[bytes, bytes] = {}
        self._asked = False
        """A commit is on its way whose reply is to be lost."""
        self._begun = self._writing = False
        self._muted = False
        self._unheard = b""
        self._loss: Loss | None = None
        self.task = asyncio.ensure_future(asyncio.sleep(0))

    async def run(self) -> None:
        tasks = [asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._replies())]
        self.task = asyncio.ensure_future(asyncio.wait(tasks))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._loss is not Loss.LATE:
                self.cut()
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception) and not isinstance(
                    ended, OSError | asyncio.IncompleteReadError
                ):
                    raise ended

    def mute(self) -> None:
        self._muted = True

    def cut(self) -> None:
        """Reset both connections."""
        for writer in (self._to_client, self._to_server):
            _reset(writer)

    async def _requests(self) -> None:
        head = await self._from_client.readexactly(4)
        body = await self._from_client.readexactly(struct.unpack("!i", head)[0] - 4)
        await self._proxy.pass_on(head + body, self._to_server)
        if body[:4] == struct.pack("!i", 80877103):  # may we speak TLS? The server says no.
            await self._requests()
            return
        while True:
            kind = await self._from_client.readexactly(1)
            size = await self._from_client.readexactly(4)
            body = await self._from_client.readexactly(struct.unpack("!i", size)[0] - 4)
            message = kind + size + body
            if self._muted:
                continue
            if self._is_commit(kind, body) and await self._lose(message):
                return
            await self._proxy.pass_on(message, self._to_server)

    def _is_commit(self, kind: bytes, body: bytes) -> bool:
        """Does the commit of a batch begin with this message? Inside a transaction of several
        statements, which is how one goes through a pooler, that is the COMMIT at its end."""
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._texts[name] = text
        elif kind == b"B":
            _, name, _ = body.split(b"\0", 2)
            writes = self._proxy.word in self._texts.get(name, b"")
            self._writing |= writes
            return writes and not self._begun
        elif kind == b"Q":
            writes, self._writing = self._writing, False
            self._begun = body.startswith(b"BEGIN")
            return writes and body == b"COMMIT\0"
        return False

    async def _lose(self, message: bytes) -> bool:
        """A commit begins with this message. True: the client gets no further."""
        proxy = self._proxy
        proxy.commits += 1
        loss = proxy.choose(proxy.commits)
        if loss is None:
            return False
        proxy.lost[loss] += 1
        self._loss = loss
        if loss in (Loss.REPLY, Loss.SILENCE):
            self._asked = True
            return False
        # The whole statement: what the client sends until its Sync, or the one Query.
        whole = message
        while message[:1] not in b"QS":
            kind = await self._from_client.readexactly(1)
            size = await self._from_client.readexactly(4)
            body = await self._from_client.readexactly(struct.unpack("!i", size)[0] - 4)
            message = kind + size + body
            whole += message
        if loss is Loss.LATE:
            proxy.late.append(lambda: self._deliver(whole))
            _reset(self._to_client)
            return True
        if loss is Loss.RACE:
            self._to_server.write(whole)
            await self._to_server.drain()
        self.cut()
        return True

    async def _deliver(self, whole: bytes) -> None:
        await self.task  # nobody else reads or writes here any more
        self._to_server.write(whole)
        await self._to_server.drain()
        await self._until_ready()
        self._to_server.close()

    async def _until_ready(self) -> None:
        """Read what the server says until it waits for the next statement."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                kind = await self._from_server.readexactly(1)
                size = struct.unpack("!i", await self._from_server.readexactly(4))[0]
                await self._from_server.readexactly(size - 4)
                if kind == b"Z":
                    return

    async def _replies(self) -> None:
        while True:
            data = await self._from_server.read(65536)
            if not data:
                return
            if self._muted:
                continue
            if not self._asked:
                await self._proxy.pass_on(data, self._to_client)
                continue
            self._unheard += data
            if self._loss is Loss.REPLY and _is_whole(self._unheard):
                self.cut()  # the server is done: what it wrote is written
                return


def _is_whole(reply: bytes) -> bool:
    """Does the reply end with ReadyForQuery?"""
    place = 0
    while place + 5 <= len(reply):
        if reply[place : place + 1] == b"Z":
            return True
        place += 1 + int(struct.unpack_from("!i", reply, place + 1)[0])
    return False


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST where it is TCP: what was on its way is lost."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_INET and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def proxy(dsn: str) -> AsyncIterator[Proxy]:
    """A proxy in front of `dsn`."""
    made = Proxy(dsn)
    await made.start()
    try:
        yield made
    finally:
        await made.close()

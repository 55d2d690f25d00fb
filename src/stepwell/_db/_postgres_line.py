"""A connection of one's own that is replaced when it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from stepwell._db._postgres_errors import translate, usable
from stepwell._db._postgres_source import Source, ended, limit_ms, run

if TYPE_CHECKING:
    import asyncpg

    from stepwell._db._postgres_source import Link


class Line:
    """One dedicated connection, used by one statement at a time, in the order asked.

    Connects at first use. When its state is not certain any more (a reply is missing, the
    caller was cancelled in the middle) it is thrown away and the next use connects anew. A
    `patient` line carries a statement through although its caller was cancelled: its session
    is worth more than the caller.

    Args:
        source: where connections come from.
        reply_s: how long a reply may take; then the connection is given up as silent.
        deathwatch: the server shall notice soon that our host is gone.
        patient: see above.
        on_lost: called whenever a connection of the line has broken.
    """

    def __init__(
        self,
        source: Source,
        *,
        reply_s: float,
        deathwatch: bool = False,
        patient: bool = False,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self._source = source
        self._reply_s = reply_s
        self._deathwatch = deathwatch
        self._patient = patient
        self.on_lost = on_lost
        self._link: Link | None = None
        self._sessions = 0
        self._turn = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Is there a connection that has not been seen to break?"""
        return self._link is not None and not ended(self._link)

    @property
    def session(self) -> int | None:
        """Number of the connection in use, counted from 1; None: there is none."""
        return self._sessions if self.connected else None

    @property
    def announced_pid(self) -> int | None:
        """The backend that answered when the connection was made; a pooler makes one up."""
        return None if self._link is None else self._link.get_server_pid()

    async def run(
        self, sql: str, *args: object, doing: str, sent: bool = True, reply_s: float | None = None
    ) -> list[asyncpg.Record]:
        """Run one statement.

        Args:
            sql: its text.
            args: its parameters.
            doing: what it is for, for messages.
            sent: it writes, so that a missing reply leaves the outcome unknown.
            reply_s: how long its reply may take, if not as long as the line allows.

        Raises:
            StorageError: mapped; `.context["outcome"]` says what is known.
        """
        return (await self.ask(sql, *args, doing=doing, sent=sent, reply_s=reply_s))[1]

    async def ask(
        self, sql: str, *args: object, doing: str, sent: bool = True, reply_s: float | None = None
    ) -> tuple[int, list[asyncpg.Record]]:
        """As `run`, and say in which session the statement ran (see `session`).

        By the time the caller reads the reply, that session may have ended.
        """
        turn = self._take_turn(sql, args, doing, sent=sent, reply_s=reply_s or self._reply_s)
        if not self._patient:
            return await turn
        return await asyncio.shield(asyncio.get_running_loop().create_task(turn))

    async def _take_turn(
        self, sql: str, args: tuple[object, ...], doing: str, *, sent: bool, reply_s: float
    ) -> tuple[int, list[asyncpg.Record]]:
        async with self._turn:
            link = await self._ready()
            session = self._sessions
            pinned = self._source.pinned_kept
            try:
                return session, await run(link, sql, args, pinned=pinned, reply_s=reply_s)
            except Exception as error:
                lost = ended(link)
                if lost or not usable(error):
                    await self._drop(link)
                raise translate(error, doing, self._source.label, sent=sent, lost=lost) from error
            except BaseException:
                # Cancelled in the middle: whatever the server makes of it, not on this line.
                await self._drop(link)
                raise

    async def _ready(self) -> Link:
        if self._link is not None and ended(self._link):
            await self._drop(self._link)
        if self._link is None:
            link = await self._source.connect(
                deathwatch=self._deathwatch, statement_timeout_ms=limit_ms(self._reply_s)
            )
            self._sessions += 1
            if self.on_lost is not None:
                link.add_termination_listener(self._lost)
            self._link = link
        return self._link

    def _lost(self, _: object) -> None:
        # Called once the loop turns: a link that we gave up ourselves is not in place any more.
        if self._link is not None and ended(self._link) and self.on_lost is not None:
            self.on_lost()

    async def _drop(self, link: Link) -> None:
        self._link = None
        if self.on_lost is not None:
            self.on_lost()
        await self._source.discard(link, broken=True)

    async def close(self) -> None:
        """Hang up. The line can be used again."""
        async with self._turn:
            link, self._link = self._link, None
            if link is not None:
                await self._source.discard(link, broken=False)

    def forget(self) -> None:
        """Drop the connection without touching it."""
        self._link = None
        self._turn = asyncio.Lock()

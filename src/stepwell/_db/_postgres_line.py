"""A connection of one's own that is replaced when it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from stepwell._db._postgres_errors import translate, usable
from stepwell._db._postgres_source import Source, ended, run

if TYPE_CHECKING:
    import asyncpg

    from stepwell._db._postgres_source import Link


class Line:
    """One dedicated connection, used by one statement at a time, in the order asked.

    Connects at first use. When its state is not certain any more (a reply is missing, the
    caller was cancelled in the middle) it is thrown away and the next use connects anew. A
    `patient` line carries a statement through although its caller was cancelled: its session
    is worth more than the caller.
    """

    def __init__(
        self,
        source: Source,
        *,
        deathwatch: bool = False,
        patient: bool = False,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self._source = source
        self._deathwatch = deathwatch
        self._patient = patient
        self.on_lost = on_lost
        """Called whenever a connection of the line has broken."""
        self._link: Link | None = None
        self._turn = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Is there a connection that has not been seen to break?"""
        return self._link is not None and not ended(self._link)

    async def run(
        self, sql: str, *args: object, doing: str, sent: bool = True
    ) -> list[asyncpg.Record]:
        """Run one statement.

        Args:
            sql: its text.
            args: its parameters.
            doing: what it is for, for messages.
            sent: it writes, so that a missing reply leaves the outcome unknown.

        Raises:
            StorageError: mapped; `.context["outcome"]` says what is known.
        """
        turn = self._take_turn(sql, args, doing, sent=sent)
        if not self._patient:
            return await turn
        return await asyncio.shield(asyncio.get_running_loop().create_task(turn))

    async def _take_turn(
        self, sql: str, args: tuple[object, ...], doing: str, *, sent: bool
    ) -> list[asyncpg.Record]:
        async with self._turn:
            link = await self._ready()
            try:
                return await run(link, sql, args, pinned=self._source.pinned_kept)
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
            link = await self._source.connect(deathwatch=self._deathwatch)
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

"""The saver: what users pass as `checkpointer=`, and ask about their threads."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from stepwell._clock import SYSTEM_CLOCK, Clock
from stepwell._codec import Codec
from stepwell._ids import RANDOM_IDS, Ids
from stepwell._journal.journal import Journal
from stepwell._portal import run_sync
from stepwell.checkpoint._home import Home
from stepwell.checkpoint._names import rule_of, scope_of, thread_id_of
from stepwell.checkpoint._options import MEMORY, check_options, journal_options, observers
from stepwell.checkpoint.driver import Driver, ThreadKey

T = TypeVar("T")


class Saver:
    """Threads in one database."""

    codec: Codec

    def __init__(self, driver: Driver, options: Mapping[str, Any]) -> None:
        self.codec = Codec()
        self._home = Home(
            Journal(
                driver,
                options=journal_options(options),
                observers=observers(options.get("observe")),
            ),
            migrate=options.get("migrate", "auto"),
            name=type(self).__name__,
            warns=False,
        )
        self._scope = ""
        self._is_view = False
        self._check_thread_id = rule_of(options.get("thread_id_rule"))

    def key(self, thread_id: Any) -> ThreadKey:
        """The key of a thread in this saver's scope."""
        text = thread_id_of(thread_id)
        if self._check_thread_id is not None:
            self._check_thread_id(text)
        return ThreadKey(self._scope, text)

    def home(self) -> asyncio.AbstractEventLoop | None:
        return self._home.loop()

    async def journal(self) -> Journal:
        return await self._home.journal()

    async def at_home(self, call: Callable[[], Awaitable[T]]) -> T:
        return await self._home.call(call)

    def iterate_home(self, make: Callable[[], AsyncIterator[T]]) -> AsyncIterator[T]:
        return self._home.iterate(make)

    async def aclose(self) -> None:
        if not self._is_view:
            await self._home.close()

    def close(self) -> None:
        run_sync(self.aclose, loop=self.home(), name="close")

    async def __aenter__(self) -> Self:
        self._home.reopen()
        await self.at_home(self.journal)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        self._home.reopen()
        run_sync(
            lambda: self.at_home(self.journal), loop=self.home(), name="open", instead="async with"
        )
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

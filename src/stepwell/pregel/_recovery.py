"""Taking over runs whose process is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from stepwell._engine.arguments import RunConfig, refuse, seconds, whole
from stepwell.checkpoint._results import RecoverReport
from stepwell.pregel._base import Compiled

if TYPE_CHECKING:
    from stepwell._engine.recover import Recovery


class RecoveryVerbs(Compiled):
    """`recover` and its kin."""

    async def arecover(
        self,
        *,
        limit: int | None = None,
        concurrency: int = 8,
        attempts_max: int = 3,
        context: Any = None,
    ) -> RecoverReport:
        """Finish the runs of this graph whose process died (see `Saver.aorphans`).

        Only threads that a graph of this name wrote. One that does not fit this graph (it was
        compiled with on_mismatch="refuse", or has no name and another shape now) is skipped,
        and so is one that another process takes over first.

        Args:
            limit: How many threads at most.
            concurrency: How many of them at the same time.
            attempts_max: A run that so many workers have begun is not begun once more, but
                marked as failed: it may be what ended them. `ainvoke(None)` goes on with it.
            context: Handed to nodes as `runtime.context`.

        Returns:
            The ids of the threads, by what became of them.

        Raises:
            StorageError: The database did not answer.
            ThreadBusyError: The saver was drained (`context["code"] == "draining"`): nothing is
                recovered until it was closed and is opened again.
            UsageError: The graph has no checkpointer.
        """
        if limit is not None:
            whole("limit", limit, 0)
        saver = self._saver("arecover")
        make = self._recovery(concurrency, attempts_max, context)
        from stepwell._engine.recover import recover

        return await saver.at_home(lambda: recover(make(), limit))

    def recover(
        self,
        *,
        limit: int | None = None,
        concurrency: int = 8,
        attempts_max: int = 3,
        context: Any = None,
    ) -> RecoverReport:
        """Sync twin of `arecover`."""
        return self._sync(
            "recover",
            lambda: self.arecover(
                limit=limit, concurrency=concurrency, attempts_max=attempts_max, context=context
            ),
        )

    @asynccontextmanager
    async def sweeper(
        self,
        *,
        interval_s: float | timedelta = 5.0,
        concurrency: int = 8,
        attempts_max: int = 3,
        context: Any = None,
    ) -> AsyncIterator[None]:
        """`arecover` in the background, every `interval_s` seconds, while the block runs.

        Several processes may sweep at the same time. What goes wrong is logged, and the next
        sweep comes. At the end of the block, runs that were taken over may come to their next
        barrier (5 s at most), then they are left to others.
        """
        every = seconds("interval_s", interval_s)
        if not every:
            raise refuse("interval_s", interval_s, "more than 0 seconds")
        from stepwell._engine.recover import keep_recovering
        from stepwell._ids import RANDOM_IDS

        saver = self._saver("sweeper")
        make = self._recovery(concurrency, attempts_max, context)

        def pause() -> float:
            # Processes that were started together need not sweep together.
            return RANDOM_IDS.uniform(every * 0.8, every * 1.2)

        sweeping = asyncio.create_task(
            saver.at_home(lambda: keep_recovering(make(), pause)), name="stepwell sweeper"
        )
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.wait([sweeping])

    def _recovery(
        self, concurrency: int, attempts_max: int, context: Any
    ) -> Callable[[], Recovery]:
        from stepwell._engine.recover import Recovery

        whole("concurrency", concurrency, 1)
        whole("attempts_max", attempts_max, 1)
        program, saver = self._program, self._saver("arecover")

        def settings(thread_id: str) -> RunConfig:
            return self._settings({"configurable": {"thread_id": thread_id}})

        return lambda: Recovery(
            program, saver, settings,
            concurrency=concurrency, attempts_max=attempts_max, context=context,
        )  # fmt: skip


__all__ = ["RecoveryVerbs"]

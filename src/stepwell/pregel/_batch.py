"""Running a graph on many inputs at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from stepwell._engine.arguments import whole
from stepwell._portal import iterate_sync, run_sync
from stepwell.pregel._base import Compiled
from stepwell.pregel._configs import Config, config_list, key_list


class BatchVerbs(Compiled):
    """`batch` and its kin, for a class that has `ainvoke`."""

    async def abatch(
        self,
        inputs: Sequence[Any],
        config: Config | Sequence[Config] | None = None,
        *,
        return_exceptions: bool = False,
        **options: Any,
    ) -> list[Any]:
        """Run the graph on every input, many at the same time.

        Args:
            config: One for all, or one for each. `max_concurrency` of the first says how many
                run at the same time; all, if it does not.
            return_exceptions: Put a run's exception where its output would be. Otherwise the
                first one is raised, when the runs that were under way have been cancelled;
                their threads can be resumed.
            options: As for `ainvoke`; `idempotency_key` may also be a list, one for each input.

        Returns:
            The outputs, in the order of the inputs.

        Raises:
            ArgumentError: There are not as many configs as inputs.
        """
        outputs: list[Any] = [None] * len(inputs)
        done = self.abatch_as_completed(
            inputs, config, return_exceptions=return_exceptions, **options
        )
        async for index, output in done:
            outputs[index] = output
        return outputs

    async def abatch_as_completed(
        self,
        inputs: Sequence[Any],
        config: Config | Sequence[Config] | None = None,
        *,
        return_exceptions: bool = False,
        **options: Any,
    ) -> AsyncIterator[tuple[int, Any]]:
        """As `abatch`, but yields (index of the input, output) as runs finish.

        Leaving the iteration early cancels the runs that are under way.
        """
        configs = config_list(config, len(inputs))
        keys = key_list(options.pop("idempotency_key", None), len(inputs))
        if not inputs:
            return
        limit = (configs[0] or {}).get("max_concurrency")
        slot: AbstractAsyncContextManager[Any] = nullcontext()
        if limit is not None:
            slot = asyncio.Semaphore(whole("max_concurrency", limit, 1))

        async def one(index: int) -> tuple[int, Any]:
            async with slot:
                try:
                    return index, await self.ainvoke(  # type: ignore[attr-defined]
                        inputs[index], configs[index], idempotency_key=keys[index], **options
                    )
                except Exception as exc:
                    if not return_exceptions:
                        raise
                    return index, exc

        runs = {asyncio.ensure_future(one(index)) for index in range(len(inputs))}
        waiting = runs
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for run in done:
                    yield await run
        finally:
            for run in runs:
                run.cancel()
            # What they raise now has nobody to tell: the first failure is what the caller sees.
            await asyncio.gather(*runs, return_exceptions=True)

    def batch(
        self,
        inputs: Sequence[Any],
        config: Config | Sequence[Config] | None = None,
        *,
        return_exceptions: bool = False,
        **options: Any,
    ) -> list[Any]:
        """Sync twin of `abatch`."""
        return run_sync(
            lambda: self.abatch(inputs, config, return_exceptions=return_exceptions, **options),
            loop=self._home(),
            name="batch",
        )

    def batch_as_completed(
        self,
        inputs: Sequence[Any],
        config: Config | Sequence[Config] | None = None,
        *,
        return_exceptions: bool = False,
        **options: Any,
    ) -> Iterator[tuple[int, Any]]:
        """Sync twin of `abatch_as_completed`."""
        return iterate_sync(
            lambda: self.abatch_as_completed(
                inputs, config, return_exceptions=return_exceptions, **options
            ),
            loop=self._home(),
            name="batch_as_completed",
        )


__all__ = ["BatchVerbs"]

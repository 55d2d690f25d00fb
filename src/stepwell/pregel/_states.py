"""Looking at the states of threads, and updating them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from stepwell._engine.arguments import ArgumentError, RunConfig
from stepwell._engine.program import plain_namespace
from stepwell._portal import iterate_sync
from stepwell.config import RunnableConfig
from stepwell.pregel._base import RECURSION_LIMIT, Compiled
from stepwell.pregel._configs import Config
from stepwell.types import StateSnapshot, StateUpdate


class StateVerbs(Compiled):
    """`get_state`, `update_state` and their kin."""

    async def aget_state(self, config: Config, *, subgraphs: bool = False) -> StateSnapshot:
        """The state of a thread, or at the config's `checkpoint_id`.

        A `checkpoint_ns` in the config names a graph inside this one. With `subgraphs`, tasks
        whose node is or calls a graph show its state, else the config that names it.

        Returns:
            An empty snapshot (`values == {}`, `next == ()`) if there is no such thing.

        Raises:
            UsageError: The graph has no checkpointer.
        """
        from stepwell._engine.states import get_state

        saver, settings = self._saver("aget_state"), self._settings(config)
        program = self._addressed(settings) or self._program
        return await saver.at_home(lambda: get_state(program, saver, settings, subgraphs=subgraphs))

    async def aget_state_history(
        self,
        config: Config,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        before: Config | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[StateSnapshot]:
        """The states of a thread, newest first, over all its branches.

        Args:
            filter: Metadata that a state must have (equality on top-level keys; `source` and
                `step` are such keys).
            before: A config with a `checkpoint_id`; only older states are shown.
            limit: How many at most.
        """
        from stepwell._engine.states import history

        saver, settings = self._saver("aget_state_history"), self._settings(config)
        older = None if before is None else RunConfig(before, RECURSION_LIMIT).checkpoint_id
        states = saver.iterate_home(
            lambda: history(
                self._addressed(settings) or self._program,
                saver,
                settings,
                wanted=filter,
                before=older,
                limit=limit,
            )
        )
        async for state in states:
            yield state

    async def aupdate_state(
        self,
        config: Config,
        values: Any,
        as_node: str | None = None,
        task_id: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        lock_timeout: float | None = None,
    ) -> RunnableConfig:
        """Apply `values` as if the node `as_node` had returned them.

        Args:
            as_node: The node that updated the state last, if left out and clear.
            metadata: Stored with the new checkpoint.
            lock_timeout: Seconds to wait for a busy thread.

        Returns:
            The config of the new checkpoint.

        Raises:
            InvalidUpdateError: It is not clear which node the update is from, or it breaks a
                channel's rule.
            ThreadBusyError: A run holds the thread.
        """
        return await self.abulk_update_state(
            config,
            [[StateUpdate(values, as_node, task_id)]],
            metadata=metadata,
            lock_timeout=lock_timeout,
        )

    async def abulk_update_state(
        self,
        config: Config,
        supersteps: Sequence[Sequence[StateUpdate]],
        *,
        metadata: Mapping[str, Any] | None = None,
        lock_timeout: float | None = None,
    ) -> RunnableConfig:
        """Apply several supersteps of updates; see `aupdate_state`.

        Raises:
            ValueError: The config's `checkpoint_ns` names no graph inside this one.
        """
        saver, settings = self._saver("aupdate_state"), self._settings(config)
        from stepwell._engine.update import update_state

        program, inner = self._program, self._addressed(settings)
        if settings.checkpoint_ns and inner is None:
            msg = f"Subgraph {plain_namespace(settings.checkpoint_ns)} not found"
            raise ArgumentError(msg)
        return await saver.at_home(
            lambda: update_state(
                program, settings, supersteps,
                metadata=metadata, on_conflict="wait", inner=inner,
                lock_timeout=program.lock_timeout if lock_timeout is None else lock_timeout,
            )
        )  # fmt: skip

    def get_state(self, config: Config, *, subgraphs: bool = False) -> StateSnapshot:
        """Sync twin of `aget_state`."""
        return self._sync(
            "get_state", lambda: self.aget_state(config, subgraphs=subgraphs), runs=False
        )

    def get_state_history(
        self,
        config: Config,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        before: Config | None = None,
        limit: int | None = None,
    ) -> Iterator[StateSnapshot]:
        """Sync twin of `aget_state_history`."""
        return iterate_sync(
            lambda: self.aget_state_history(config, filter=filter, before=before, limit=limit),
            loop=self._home(),
            name="get_state_history",
            at_once=self._answers_at_once(),
        )

    def update_state(
        self,
        config: Config,
        values: Any,
        as_node: str | None = None,
        task_id: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        lock_timeout: float | None = None,
    ) -> RunnableConfig:
        """Sync twin of `aupdate_state`."""
        return self._sync(
            "update_state",
            lambda: self.aupdate_state(
                config, values, as_node, task_id, metadata=metadata, lock_timeout=lock_timeout
            ),
            runs=False,
        )

    def bulk_update_state(
        self,
        config: Config,
        supersteps: Sequence[Sequence[StateUpdate]],
        *,
        metadata: Mapping[str, Any] | None = None,
        lock_timeout: float | None = None,
    ) -> RunnableConfig:
        """Sync twin of `abulk_update_state`."""
        return self._sync(
            "bulk_update_state",
            lambda: self.abulk_update_state(
                config, supersteps, metadata=metadata, lock_timeout=lock_timeout
            ),
            runs=False,
        )


__all__ = ["StateVerbs"]

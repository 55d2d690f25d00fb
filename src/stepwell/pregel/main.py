"""A compiled graph: run it, stream it, look at its threads, update them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from copy import copy
from typing import Any, Literal, Self, TypeVar

from stepwell._context import current_task
from stepwell._engine.arguments import ArgumentError, RunConfig, refuse
from stepwell._engine.entry import DEFAULT_RECURSION_LIMIT, RunOptions, run_graph
from stepwell._engine.nested import outer_task
from stepwell._engine.program import Program, plain_namespace
from stepwell._engine.states import get_state, history
from stepwell._engine.stream import Sink
from stepwell._engine.task import TaskRun
from stepwell._engine.update import update_state
from stepwell._plan.output import state_selector
from stepwell._portal import iterate_sync, run_sync
from stepwell.checkpoint.base import Saver
from stepwell.config import RunnableConfig
from stepwell.constants import CONF, NS_SEP
from stepwell.pregel._policies import PolicyVerbs
from stepwell.pregel._shape import Shape
from stepwell.runtime import RunControl
from stepwell.types import All, Durability, StateSnapshot, StateUpdate, StreamMode

T = TypeVar("T")

_MODES = ("values", "updates", "custom", "checkpoints", "tasks", "debug")
RECURSION_LIMIT = int(os.environ.get("STEPWELL_DEFAULT_RECURSION_LIMIT", DEFAULT_RECURSION_LIMIT))

Config = RunnableConfig | Mapping[str, Any]


class Pregel(Shape, PolicyVerbs):
    """A compiled graph.

    Every verb has an async form (prefix `a`) and a sync twin that runs it on a background
    loop, or on the loop the checkpointer belongs to.
    """

    def _adopt(self, program: Program, checkpointer: Any) -> None:
        if not (checkpointer is None or isinstance(checkpointer, (bool, Saver))):
            msg = (
                "checkpointer must be a Stepwell saver (see stepwell.open_saver), True, False or "
                f"None, not {type(checkpointer).__name__}"
            )
            raise TypeError(msg)
        self.name = program.name
        self.checkpointer: Saver | bool | None = checkpointer
        """A saver; None: that of the graph around this one, if there is one, with a history per
        task; True: the same with one history per thread; False: none."""
        self.store = program.store
        self.config: RunnableConfig = {}
        """Defaults for the config of every call; see `with_config`."""
        self._program = program
        program.saver = checkpointer if isinstance(checkpointer, Saver) else None
        program.keeps_history = checkpointer is True
        program.persists = checkpointer is not False
        program.children = lambda: {
            name: graph._program  # noqa: SLF001  # of our own kind
            for name, graph in self._subgraphs().items()
        }

    def with_config(self, config: Config | None = None, **more: Any) -> Self:
        """The same graph with defaults for the config of every call.

        A call's own config wins; metadata and `configurable` are merged, tags are added up.
        """
        bound = copy(self)
        bound.config = merge_configs({**self.config}, {**(config or {}), **more})
        return bound

    def _settings(self, config: Config | None) -> RunConfig:
        merged = merge_configs({**self.config}, config) if self.config else config
        return RunConfig(merged, RECURSION_LIMIT)

    def _run_settings(self, config: Config | None) -> RunConfig:
        """The config of a run: inside a node, over what the node's own config says."""
        task = current_task.get()
        if task is None:
            return self._settings(config)
        given = merge_configs({**self.config}, config)
        return RunConfig(inherited(task.config, given), RECURSION_LIMIT)

    # -- running -----------------------------------------------------------------------------

    async def ainvoke(
        self,
        input: Any,
        config: Config | None = None,
        *,
        context: Any = None,
        stream_mode: StreamMode | Sequence[StreamMode] = "values",
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        on_conflict: Literal["wait", "reject"] | None = None,
        lock_timeout: float | None = None,
    ) -> Any:
        """Run the graph until it ends, asks a question, or fails.

        Args:
            input: New input; a `Command`; or None to go on where the thread stands.
            config: `{"configurable": {"thread_id": ...}}` names the thread; a `checkpoint_id`
                beside it, the checkpoint to go on from (a fork).
            context: Handed to nodes as `runtime.context`.
            stream_mode: "values" returns the final output; any other, the list of its chunks.
            output_keys: Which keys to return.
            durability: "sync" | "async" | "exit".
            on_conflict: When the thread is busy: "wait" | "reject".
            lock_timeout: Seconds to wait for it.

        Returns:
            The output keys' values; questions under "__interrupt__".

        Raises:
            Exception: What a node raised, as it is.
            GraphRecursionError: The supersteps are used up.
            EmptyInputError: There is nothing to run.
            ThreadBusyError: Another run holds the thread.
            StorageError: The run could not be made durable; it can be resumed.
        """
        settings = self._run_settings(config)
        options = _options(
            context=context, control=control, durability=durability, lock_timeout=lock_timeout,
            interrupt_before=interrupt_before, interrupt_after=interrupt_after,
            on_conflict=on_conflict, output_keys=output_keys,
        )  # fmt: skip
        if stream_mode != "values":
            stream = self._stream(input, settings, options, _modes(stream_mode), stream_mode)
            async with aclosing(stream):
                return [chunk async for chunk in stream]
        saver = None if outer_task(settings) else self._program.saver
        if saver is None or saver.home() is asyncio.get_running_loop():
            return await run_graph(self._program, input, settings, options)
        return await saver.at_home(lambda: run_graph(self._program, input, settings, options))

    async def astream(
        self,
        input: Any,
        config: Config | None = None,
        *,
        context: Any = None,
        stream_mode: StreamMode | Sequence[StreamMode] | None = None,
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        subgraphs: bool = False,
        on_conflict: Literal["wait", "reject"] | None = None,
        lock_timeout: float | None = None,
    ) -> AsyncIterator[Any]:
        """Run the graph and yield what happens, as it happens.

        Arguments are those of `ainvoke`; `stream_mode` is "updates" by default. One mode yields
        its chunks, a list of modes yields (mode, chunk). With `subgraphs`, chunks of the graphs
        inside the graph come too, and each is preceded by its namespace, a tuple of
        "node:task id": (namespace, chunk) or (namespace, mode, chunk). Leaving the iteration
        early cancels the run; its thread can be resumed.
        """
        settings = self._run_settings(config)
        options = _options(
            context=context, control=control, durability=durability, lock_timeout=lock_timeout,
            interrupt_before=interrupt_before, interrupt_after=interrupt_after,
            on_conflict=on_conflict, output_keys=output_keys,
        )  # fmt: skip
        if output_keys is None:
            options.output_keys = state_selector(self._program.spec)
        mode: Any = "updates" if stream_mode is None else stream_mode
        modes = _modes(mode)
        saver = None if outer_task(settings) else self._program.saver
        if saver is None or saver.home() in (None, asyncio.get_running_loop()):
            stream: AsyncIterator[Any] = self._stream(
                input, settings, options, modes, mode, subgraphs=subgraphs
            )
        else:
            stream = saver.iterate_home(
                lambda: self._stream(input, settings, options, modes, mode, subgraphs=subgraphs)
            )
        async with aclosing(stream):  # type: ignore[type-var]
            async for chunk in stream:
                yield chunk

    async def _stream(
        self,
        given: Any,
        settings: RunConfig,
        options: RunOptions,
        modes: Sequence[str],
        shape: Any,
        *,
        subgraphs: bool = False,
    ) -> AsyncGenerator[Any, None]:
        sink = options.sink = Sink(modes, subgraphs=subgraphs)
        single = isinstance(shape, str)
        run = asyncio.create_task(run_graph(self._program, given, settings, options))
        try:
            while (chunk := await sink.next()) is not None:
                ns, mode, payload = chunk
                if subgraphs:
                    yield (ns, payload) if single else chunk
                else:
                    yield payload if single else (mode, payload)
            await run
        finally:
            if not run.done():
                run.cancel()
                await asyncio.wait([run])
            if not run.cancelled():
                # Raised above already, or nobody is left to tell: the consumer went away.
                run.exception()

    def invoke(self, input: Any, config: Config | None = None, **options: Any) -> Any:
        """Sync twin of `ainvoke`."""
        return self._sync("invoke", lambda: self.ainvoke(input, config, **options))

    def stream(
        self,
        input: Any,
        config: Config | None = None,
        **options: Any,
    ) -> Iterator[Any]:
        """Sync twin of `astream`."""
        return iterate_sync(
            lambda: self.astream(input, config, **options), loop=self._home(), name="stream"
        )

    # -- states ------------------------------------------------------------------------------

    async def aget_state(self, config: Config, *, subgraphs: bool = False) -> StateSnapshot:
        """The state of a thread, or at the config's `checkpoint_id`.

        A `checkpoint_ns` in the config names a graph inside this one. With `subgraphs`, tasks
        whose node is or calls a graph show its state, else the config that names it.

        Returns:
            An empty snapshot (`values == {}`, `next == ()`) if there is no such thing.

        Raises:
            UsageError: The graph has no checkpointer.
        """
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
        return self._sync("get_state", lambda: self.aget_state(config, subgraphs=subgraphs))

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
        )

    # -- helpers -------------------------------------------------------------------------------

    def _addressed(self, settings: RunConfig) -> Program | None:
        """The graph inside this one whose namespace a config names, if it does."""
        program = self._program
        if not settings.checkpoint_ns:
            return None
        for node in plain_namespace(settings.checkpoint_ns).split(NS_SEP):
            inner = program.children().get(node)
            if inner is None:
                return None
            program = inner
        return program

    def _saver(self, what: str) -> Saver:
        saver = self._program.saver
        if saver is None:
            msg = (
                f"{what} needs a checkpointer: compile the graph with one, for instance "
                "builder.compile(checkpointer=stepwell.open_saver('sqlite:///app.db'))."
            )
            raise ArgumentError(msg)
        return saver

    def _home(self) -> asyncio.AbstractEventLoop | None:
        task = current_task.get()
        if isinstance(task, TaskRun) and task.run.rec is not None:
            return task.run.rec.home
        return None if self._program.saver is None else self._program.saver.home()

    def _sync(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        return run_sync(call, loop=self._home(), name=name)


_PLACE = ("thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map")


def inherited(outer: Mapping[str, Any], given: Mapping[str, Any]) -> RunnableConfig:
    """The config of a graph called inside a node: the node's own, and what the caller says.

    A config that names a place of its own does not inherit the node's. Metadata that tells of
    the node is not passed on, and tags that the node has are not added twice.
    """
    configurable = given.get(CONF) or {}
    base = dict(outer)
    if any(configurable.get(key) for key in _PLACE):
        base[CONF] = {}
    known = base.get("tags") or ()
    if tags := given.get("tags"):
        given = {**given, "tags": [t for t in tags if t not in known]}
    merged = merge_configs(base, given)
    merged["metadata"] = {
        k: v
        for k, v in (merged.get("metadata") or {}).items()
        if not k.startswith("langgraph_") and k not in ("thread_id", "checkpoint_ns")
    }
    return merged


def merge_configs(base: Mapping[str, Any], config: Mapping[str, Any] | None) -> RunnableConfig:
    """One config over another: metadata and `configurable` are merged, tags are added up."""
    merged: dict[str, Any] = dict(base)
    for key, value in (config or {}).items():
        known = merged.get(key)
        if key in ("metadata", "configurable"):
            merged[key] = {**(known or {}), **(value or {})}
        elif key == "tags":
            merged[key] = [*(known or ()), *(value or ())]
        elif value is not None:
            merged[key] = value
    return merged  # type: ignore[return-value]  # the keys are those of the two configs


def _options(**given: Any) -> RunOptions:
    options = RunOptions()
    for name, value in given.items():
        setattr(options, name, value)
    return options


def _modes(mode: Any) -> tuple[str, ...]:
    if not isinstance(mode, (str, list, tuple, set, frozenset)):
        raise refuse("stream_mode", mode, "a mode or a list of modes")
    modes = (mode,) if isinstance(mode, str) else tuple(mode)
    for each in modes:
        if each not in _MODES:
            msg = f"stream_mode {each!r} is not one of {', '.join(_MODES)}"
            raise ArgumentError(msg)
    return modes


__all__ = ["Pregel"]

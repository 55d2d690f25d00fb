"""A compiled graph: run it, stream it, look at its threads, update them."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, suppress
from typing import Any, Self, TypedDict, Unpack

from stepwell._context import current_task
from stepwell._engine.arguments import ArgumentError, OnConflict, RunConfig, text
from stepwell._engine.arguments import nodes as known_nodes
from stepwell._engine.entry import run_graph
from stepwell._engine.nested import outer_task
from stepwell._engine.options import RunOptions
from stepwell._engine.recall import use_cache
from stepwell._engine.stream import Sink
from stepwell._plan.output import state_selector
from stepwell._portal import iterate_sync
from stepwell.cache.base import BaseCache
from stepwell.config import RunnableConfig
from stepwell.constants import CONF
from stepwell.pregel._absent import Absent
from stepwell.pregel._assemble import Keys, Parts
from stepwell.pregel._batch import BatchVerbs
from stepwell.pregel._chunks import DEBUG_PRINTS, Envelope, Version
from stepwell.pregel._configs import Config
from stepwell.pregel._generic import ContextT, InputT, OutputT, Parametric, StateT
from stepwell.pregel._migrating import MigrationVerbs
from stepwell.pregel._node import NodeBuilder, PregelNode
from stepwell.pregel._policies import PolicyVerbs
from stepwell.pregel._recovery import RecoveryVerbs
from stepwell.pregel._schemas import Schemas
from stepwell.pregel._states import StateVerbs
from stepwell.pregel._steering import SteeringVerbs
from stepwell.runtime import RunControl
from stepwell.types import All, CachePolicy, Durability, GraphOutput, RetryPolicy, StreamMode
from stepwell.warnings import LangGraphDeprecatedSinceV10

Modes = StreamMode | Sequence[StreamMode]


class RunArguments(TypedDict, total=False):
    """Options of `invoke` and `stream`; see `ainvoke` and `astream`."""

    context: Any
    stream_mode: Modes | None
    print_mode: Modes
    output_keys: str | Sequence[str] | None
    interrupt_before: All | Sequence[str] | None
    interrupt_after: All | Sequence[str] | None
    durability: Durability | None
    control: RunControl | None
    subgraphs: bool
    debug: bool | None
    version: Version
    checkpoint_during: bool | None
    on_conflict: OnConflict | None
    lock_timeout: float | None
    idempotency_key: str | None


class Pregel(
    StateVerbs,
    MigrationVerbs,
    BatchVerbs,
    SteeringVerbs,
    PolicyVerbs,
    RecoveryVerbs,
    Schemas,
    Parametric[StateT, ContextT, InputT, OutputT],
    Absent,
):
    """A compiled graph.

    `StateGraph.compile` and `@entrypoint` make them. By hand, of nodes that subscribe to
    channels and write to channels:

        Pregel(
            nodes={"double": NodeBuilder().subscribe_only("a").do(double).write_to("b")},
            channels={"a": EphemeralValue(int), "b": LastValue(int)},
            input_channels="a",
            output_channels="b",
        )

    Every verb has an async form (prefix `a`) and a sync twin that runs it on a background
    loop, or on the loop the checkpointer belongs to.

    Args:
        nodes: By name: builders, or what they build.
        channels: By name: channels and managed values.
        auto_validate: Accepted as in LangGraph; what cannot run is always refused here.
        stream_mode: What `astream` yields if it is not told.
        stream_eager: Accepted as in LangGraph; chunks always come when they happen.
        output_channels: The one whose value is the output, or those that make up a dict.
        stream_channels: The same of snapshots and streamed values; all by default.
        interrupt_after_nodes: Nodes (or "*") to stop after.
        interrupt_before_nodes: Nodes (or "*") to stop before.
        input_channels: The one that input is written to, or those that its keys are.
        step_timeout: Seconds that a superstep may take.
        debug: Print the updates and values of every run.
        checkpointer: Where threads are kept; see `StateGraph.compile`.
        store: Handed to nodes as `store`.
        cache: Where results of nodes with a cache policy are kept.
        retry_policy: For nodes that have none.
        cache_policy: The same.
        context_schema: Type of the context that runs are given.
        config: Defaults for the config of every call.
        trigger_to_nodes: Accepted as in LangGraph; it is found out here.
        name: Stored with the graph's threads.

    Raises:
        GraphDefinitionError: A name is reserved, or names nothing.
        TypeError: A node is none, or the checkpointer is no saver.
    """

    def __init__(
        self,
        *,
        nodes: Mapping[str, PregelNode | NodeBuilder],
        channels: Mapping[str, Any] | None,
        auto_validate: bool = True,  # noqa: ARG002
        stream_mode: StreamMode = "values",
        stream_eager: bool = False,  # noqa: ARG002
        output_channels: Keys,
        stream_channels: Keys | None = None,
        interrupt_after_nodes: All | Sequence[str] = (),
        interrupt_before_nodes: All | Sequence[str] = (),
        input_channels: Keys,
        step_timeout: float | None = None,
        debug: bool | None = None,
        checkpointer: Any = None,
        store: Any = None,
        cache: BaseCache[Any] | None = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] = (),
        cache_policy: CachePolicy[Any] | None = None,
        context_schema: Any = None,
        config: RunnableConfig | None = None,
        trigger_to_nodes: Mapping[str, Sequence[str]] | None = None,  # noqa: ARG002
        name: str = "LangGraph",
    ) -> None:
        parts = Parts(
            nodes, channels, inputs=input_channels, outputs=output_channels, shown=stream_channels
        )
        for label, names in (
            ("interrupt_before_nodes", interrupt_before_nodes),
            ("interrupt_after_nodes", interrupt_after_nodes),
        ):
            known_nodes(label, names, parts.nodes)
        retry = (retry_policy,) if isinstance(retry_policy, RetryPolicy) else tuple(retry_policy)
        program = parts.program(
            text("name", name), retry=retry, cached=cache_policy, context_schema=context_schema
        )
        program.store = store
        use_cache(program, cache)
        program.interrupt_before = interrupt_before_nodes or ()
        program.interrupt_after = interrupt_after_nodes or ()
        self._adopt(program, checkpointer)
        self.config = config or {}
        self.stream_mode = stream_mode
        self.debug = bool(debug)
        self.context_schema = context_schema
        self.step_timeout = step_timeout

    def validate(self) -> Self:
        """The graph itself: what cannot run was refused when it was made."""
        return self

    # -- running -----------------------------------------------------------------------------

    async def ainvoke(
        self,
        input: Any,
        config: Config | None = None,
        *,
        context: Any = None,
        stream_mode: Modes = "values",
        print_mode: Modes = (),
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        subgraphs: bool = False,
        debug: bool | None = None,
        version: Version = "v1",
        checkpoint_during: bool | None = None,
        on_conflict: OnConflict | None = None,
        lock_timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        """Run the graph until it ends, asks a question, or fails.

        Args:
            input: New input; a `Command`; or None to go on where the thread stands.
            config: `{"configurable": {"thread_id": ...}}` names the thread; a `checkpoint_id`
                beside it, the checkpoint to go on from (a fork).
            context: Handed to nodes as `runtime.context`.
            stream_mode: "values" returns the final output; any other, the list of its chunks.
            print_mode: Modes whose chunks are printed; the result stays what it is.
            output_keys: Which keys to return.
            interrupt_before: Nodes (or "*") to stop before, instead of the graph's own.
            interrupt_after: Nodes (or "*") to stop after, instead of the graph's own.
            durability: "sync" | "async" | "exit".
            control: By which the caller can ask the run to stop.
            subgraphs: As for `astream`.
            debug: Print updates and values.
            version: "v2" returns a `GraphOutput`, its value an object of the output schema.
            checkpoint_during: Deprecated: True is durability="async", False is "exit".
            on_conflict: When the thread is busy: "wait" | "reject" | "interrupt" | "rollback".
            lock_timeout: Seconds to wait for it.
            idempotency_key: A name for this call in its thread: made again, it does not run again.

        Returns:
            The output keys' values; questions under "__interrupt__".

        Raises:
            Exception: What a node raised, as it is.
            GraphRecursionError: The supersteps are used up.
            EmptyInputError: There is nothing to run.
            ThreadBusyError: Another run holds it.
            IdempotencyConflictError: The key belongs to another input, or to a run long gone.
            RunPreemptedError: Another call stopped this run.
            StorageError: The run could not be made durable; it can be resumed.
        """
        settings = self._run_settings(config)
        options = self._options(
            checkpoint_during,
            context=context, control=control, durability=durability, lock_timeout=lock_timeout,
            interrupt_before=interrupt_before, interrupt_after=interrupt_after,
            on_conflict=on_conflict, idempotency_key=idempotency_key, output_keys=output_keys,
            split=version != "v1",
        )  # fmt: skip
        prints = DEBUG_PRINTS if debug or self.debug else print_mode
        if stream_mode == "values" and version == "v1" and not prints:
            return await self._result(input, settings, options)
        wanted = () if stream_mode == "values" else stream_mode
        envelope = self._envelope(wanted, prints, subgraphs=subgraphs, version=version)
        chunks = await self._collected(input, settings, options, envelope)
        return self._as_object(options.result) if stream_mode == "values" else chunks

    async def _result(self, given: Any, settings: RunConfig, options: RunOptions) -> Any:
        """Run the graph where its saver lives, without a stream."""
        saver = None if outer_task(settings) else self._program.saver
        if saver is None or saver.home() is asyncio.get_running_loop():
            return await run_graph(self._program, given, settings, options)
        return await saver.at_home(lambda: run_graph(self._program, given, settings, options))

    async def _collected(
        self, given: Any, settings: RunConfig, options: RunOptions, envelope: Envelope
    ) -> list[Any]:
        async with aclosing(self._chunks(given, settings, options, envelope)) as stream:
            return [chunk async for chunk in stream]

    def _as_object(self, result: Any) -> Any:
        """The value of a `GraphOutput` as an object of the output schema."""
        to_object = self._mappers.output
        if to_object is None or not isinstance(result, GraphOutput):
            return result
        if not isinstance(result.value, dict):
            return result
        return GraphOutput(to_object(result.value), result.interrupts)

    async def astream(
        self,
        input: Any,
        config: Config | None = None,
        *,
        context: Any = None,
        stream_mode: Modes | None = None,
        print_mode: Modes = (),
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: All | Sequence[str] | None = None,
        interrupt_after: All | Sequence[str] | None = None,
        durability: Durability | None = None,
        control: RunControl | None = None,
        subgraphs: bool = False,
        debug: bool | None = None,
        version: Version = "v1",
        checkpoint_during: bool | None = None,
        on_conflict: OnConflict | None = None,
        lock_timeout: float | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncIterator[Any]:
        """Run the graph and yield what happens, as it happens.

        Arguments are those of `ainvoke`, but `stream_mode` is the graph's own by default:
        "updates" for a `StateGraph`, "values" for one that is called by a node. One mode
        yields its chunks, a list of modes yields (mode, chunk). With `subgraphs`, chunks of
        the graphs inside the graph come too, and each is preceded by its namespace, a tuple of
        "node:task id": (namespace, chunk) or (namespace, mode, chunk). `version="v2"` yields
        dicts instead: {"type": mode, "ns": namespace, "data": chunk}, and for values also
        "interrupts". Leaving the iteration early cancels the run; its thread can be resumed.
        """
        settings = self._run_settings(config)
        options = self._options(
            checkpoint_during,
            context=context, control=control, durability=durability, lock_timeout=lock_timeout,
            interrupt_before=interrupt_before, interrupt_after=interrupt_after,
            on_conflict=on_conflict, idempotency_key=idempotency_key, output_keys=output_keys,
        )  # fmt: skip
        if output_keys is None:
            options.output_keys = state_selector(self._program.spec)
        if stream_mode is None:
            stream_mode = "values" if _called_by_a_node(config) else self.stream_mode
        prints = DEBUG_PRINTS if debug or self.debug else print_mode
        envelope = self._envelope(stream_mode, prints, subgraphs=subgraphs, version=version)
        async with aclosing(self._chunks(input, settings, options, envelope)) as stream:
            async for chunk in stream:
                yield chunk

    def _envelope(self, mode: Any, prints: Any, *, subgraphs: bool, version: Version) -> Envelope:
        return Envelope(mode, prints, subgraphs=subgraphs, version=version, mappers=self._mappers)

    def _options(self, checkpoint_during: bool | None, **given: Any) -> RunOptions:
        if checkpoint_during is not None:
            warnings.warn(
                "`checkpoint_during` is deprecated and will be removed. Please use `durability` "
                "instead.",
                LangGraphDeprecatedSinceV10,
                stacklevel=3,
            )
            if given["durability"] is not None:
                msg = "Cannot use both `checkpoint_during` and `durability`: use `durability`."
                raise ArgumentError(msg)
            given["durability"] = "async" if checkpoint_during else "exit"
        if given["durability"] is not None and self._program.saver is None and not _inside_a_node():
            msg = "`durability` has no effect when no checkpointer is present."
            warnings.warn(msg, stacklevel=3)
        options = RunOptions()
        for name, value in given.items():
            if value is not None:
                setattr(options, name, value)
        return options

    def _chunks(
        self, given: Any, settings: RunConfig, options: RunOptions, envelope: Envelope
    ) -> AsyncGenerator[Any, None]:
        saver = None if outer_task(settings) else self._program.saver
        if saver is None or saver.home() in (None, asyncio.get_running_loop()):
            return self._stream(given, settings, options, envelope)
        return saver.iterate_home(  # type: ignore[return-value]  # it is a generator
            lambda: self._stream(given, settings, options, envelope)
        )

    async def _stream(
        self, given: Any, settings: RunConfig, options: RunOptions, envelope: Envelope
    ) -> AsyncGenerator[Any, None]:
        sink = options.sink = Sink(envelope.modes, subgraphs=envelope.subgraphs)
        run = asyncio.create_task(run_graph(self._program, given, settings, options))
        try:
            while (chunk := await sink.next()) is not None:
                for shown in envelope.show(*chunk):
                    yield shown
            options.result = await run
        finally:
            if not run.done():
                run.cancel()
                await asyncio.wait([run])
            # Raised above already, or nobody is left to tell: the consumer went away.
            with suppress(asyncio.CancelledError):
                run.exception()
            del run  # this frame is a part of the traceback that it keeps

    def invoke(
        self, input: Any, config: Config | None = None, **options: Unpack[RunArguments]
    ) -> Any:
        """Sync twin of `ainvoke`."""
        return self._sync("invoke", lambda: self.ainvoke(input, config, **options))  # type: ignore[arg-type]

    def stream(
        self, input: Any, config: Config | None = None, **options: Unpack[RunArguments]
    ) -> Iterator[Any]:
        """Sync twin of `astream`."""
        return iterate_sync(
            lambda: self.astream(input, config, **options), loop=self._home(), name="stream"
        )


def _inside_a_node() -> bool:
    return current_task.get() is not None


def _called_by_a_node(config: Config | None) -> bool:
    """Whether a node passes its own config on, as it does to a graph that is part of it."""
    return (
        config is not None
        and bool((config.get(CONF) or {}).get("checkpoint_ns"))
        and _inside_a_node()
    )


__all__ = ["Pregel"]

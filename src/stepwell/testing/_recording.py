"""Operations on a graph that write themselves into a history."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from stepwell._portal import run_sync
from stepwell._when import Always
from stepwell.constants import CONF
from stepwell.errors import StepwellError
from stepwell.testing._history import EventLog, OpenOperation

if TYPE_CHECKING:
    from stepwell._engine.program import Program
    from stepwell.checkpoint.base import Saver
    from stepwell.graph.state import CompiledStateGraph
    from stepwell.types import StateSnapshot

Config = Mapping[str, Any]

_NOT_BEGUN = frozenset(
    (
        "empty_input", "graph_mismatch", "idempotency_conflict", "invalid_id", "not_found",
        "thread_busy", "unknown_interrupt", "usage",
    )
)  # fmt: skip
"""Codes by which a run that has shown nothing yet says that it has written nothing."""
_NOT_UPDATED = _NOT_BEGUN | {
    "codec", "corrupt_record", "invalid_update", "key_missing", "state_too_large",
    "unknown_type", "unsupported_type",
}  # fmt: skip


def _says(error: BaseException, codes: frozenset[str]) -> bool:
    """Whether an error says that its operation certainly did nothing."""
    return isinstance(error, StepwellError) and error.code in codes


class History(EventLog):
    """Every operation of every client, written down before it begins and after it ended.

    It is a file outside the database, flushed line by line, that any number of processes
    append to. So the order of its lines is an order in real time: what was acknowledged in a
    line was acknowledged before whatever a later line begins.

    `arun`, `aupdate`, `aread` and `adelete` do what graph and saver do, and write it down.
    Whatever else a client does is written down with `invoke`::

        operation = history.invoke("prune", thread="t")
        await saver.aprune(["t"])
        operation.ok()

    Args:
        path: The file; None: in memory, for tests within one process.
        sync: Whether each line is flushed to the disk.
        clock: For the times of events, which are compared with those of an `EffectLog`; None:
            the seconds since this host booted.
    """

    async def arun(
        self, graph: CompiledStateGraph, input: Any, config: Config, **options: Any
    ) -> Any:
        """Run a graph as `ainvoke` does, and write down each superstep that is acknowledged.

        Args:
            input: As of `ainvoke`.
            config: Names the thread.
            options: As of `astream`; `parts`: see `Event`.

        Returns:
            The output: the last values, with questions under "__interrupt__".

        Raises:
            BaseException: What the run raised, after it was written down.
        """
        parts = tuple(options.pop("parts", ()))
        durability = told_durability(graph, options.get("durability"))
        place = config.get(CONF, {})
        operation = self.invoke(
            "run", str(place.get("thread_id")), value=input, parts=parts, durability=durability,
            from_checkpoint=place.get("checkpoint_id"),
        )  # fmt: skip
        watch = _Watch(operation, at_the_end=durability == "exit")
        try:
            stream = graph.astream(
                input, _named(config, operation), stream_mode=["values", "checkpoints"], **options
            )
            output = await watch.follow(stream)
        except BaseException as error:
            # Once a checkpoint was shown, the error may be a node's, whatever its class.
            certain = watch.checkpoint is None and _says(error, _NOT_BEGUN)
            (operation.fail if certain else operation.unknown)(error)
            raise
        operation.ok(checkpoint=watch.checkpoint, step=watch.step)
        return output

    def run(self, graph: CompiledStateGraph, input: Any, config: Config, **options: Any) -> Any:
        """Sync twin of `arun`."""
        return _now(graph, lambda: self.arun(graph, input, config, **options), "run")

    async def aupdate(
        self, graph: CompiledStateGraph, config: Config, values: Any, **options: Any
    ) -> Any:
        """Update a state as `aupdate_state` does. `options`: its own, and `parts`."""
        parts, place = tuple(options.pop("parts", ())), config.get(CONF, {})
        operation = self.invoke(
            "update", str(place.get("thread_id")), value=values, parts=parts,
            ns=place.get("checkpoint_ns") or "", from_checkpoint=place.get("checkpoint_id"),
        )  # fmt: skip
        metadata = {**(options.pop("metadata", None) or {}), **operation.metadata}
        try:
            made = await graph.aupdate_state(config, values, metadata=metadata, **options)
        except BaseException as error:
            none = isinstance(error, StepwellError) and error.context.get("outcome") == "none"
            certain = none or _says(error, _NOT_UPDATED)
            (operation.fail if certain else operation.unknown)(error)
            raise
        operation.ok(checkpoint=made[CONF]["checkpoint_id"])
        return made

    def update(self, graph: CompiledStateGraph, config: Config, values: Any, **options: Any) -> Any:
        """Sync twin of `aupdate`."""
        return _now(graph, lambda: self.aupdate(graph, config, values, **options), "update")

    async def aread(self, graph: CompiledStateGraph, config: Config) -> StateSnapshot:
        """Read a state as `aget_state` does."""
        place = config.get(CONF, {})
        operation = self.invoke(
            "read", str(place.get("thread_id")), ns=place.get("checkpoint_ns") or "",
            from_checkpoint=place.get("checkpoint_id"),
        )  # fmt: skip
        try:
            shown = await graph.aget_state(config)
        except BaseException as error:
            operation.fail(error)
            raise
        metadata = shown.metadata or {}
        operation.ok(
            checkpoint=shown.config[CONF].get("checkpoint_id") if shown.metadata else None,
            step=metadata.get("step"),
            value=shown.values if isinstance(shown.values, dict) else None,
            next=shown.next,
            done=tuple(task.id for task in shown.tasks if task.result is not None),
            from_checkpoint=place.get("checkpoint_id"),
        )
        return shown

    def read(self, graph: CompiledStateGraph, config: Config) -> StateSnapshot:
        """Sync twin of `aread`."""
        shown: StateSnapshot = _now(graph, lambda: self.aread(graph, config), "read")
        return shown

    async def adelete(self, saver: Saver, thread_id: str) -> None:
        """Delete a thread as `adelete_thread` does."""
        operation = self.invoke("delete", thread_id)
        try:
            await saver.adelete_thread(thread_id)
        except BaseException as error:
            (operation.fail if _says(error, _NOT_BEGUN) else operation.unknown)(error)
            raise
        operation.ok()

    def delete(self, saver: Saver, thread_id: str) -> None:
        """Sync twin of `adelete`."""
        run_sync(lambda: self.adelete(saver, thread_id), loop=saver.home(), name="delete")


class _Watch:
    """Follows the stream of a run and tells what it acknowledges."""

    def __init__(self, operation: OpenOperation, *, at_the_end: bool) -> None:
        self.checkpoint: str | None = None
        self.step: int | None = None
        self._operation = operation
        self._at_the_end = at_the_end
        """Whether checkpoints are shown before they are durable, and only the last one is."""

    async def follow(self, stream: AsyncIterator[Any]) -> Any:
        output: Any = None
        asked: tuple[Any, ...] = ()
        async with aclosing(stream) as chunks:  # type: ignore[type-var]
            async for mode, chunk in chunks:
                if mode == "values":
                    asked = chunk.get("__interrupt__", asked) if isinstance(chunk, dict) else asked
                    output = chunk
                else:
                    self._acknowledge(chunk)
        if isinstance(output, dict) and asked:
            output = {**output, "__interrupt__": asked}
        return output

    def _acknowledge(self, chunk: dict[str, Any]) -> None:
        self.checkpoint = chunk["config"][CONF]["checkpoint_id"]
        self.step = chunk["metadata"]["step"]
        if not self._at_the_end:
            values = chunk["values"]
            self._operation.acknowledged(
                checkpoint=self.checkpoint,
                step=self.step,
                value=values if isinstance(values, dict) else None,
            )


def _named(config: Config, operation: OpenOperation) -> dict[str, Any]:
    """The config, with the operation's name in its metadata."""
    return {**config, "metadata": {**config.get("metadata", {}), **operation.metadata}}


def durability_of(graph: CompiledStateGraph) -> str:
    """The durability of a graph's runs, where they do not say."""
    return graph._program.durability or "async"  # noqa: SLF001  # nothing public tells


LEFT_OUT = "left out"
"""What a history calls the durability of runs that do not write every superstep."""


def told_durability(graph: CompiledStateGraph, given: str | None) -> str:
    """What a history says of a run's durability."""
    durability = given or durability_of(graph)
    return LEFT_OUT if durability != "exit" and _leaves_out(graph._program) else durability  # noqa: SLF001


def _leaves_out(program: Program) -> bool:
    """Whether a graph, or one inside it, leaves checkpoints out."""
    policies = (program.checkpoint_when, *program.checkpoint_when_by_node.values())
    if any(policy not in (None, Always()) for policy in policies):
        return True
    return any(_leaves_out(inner) for inner in program.children().values())


def _now(graph: CompiledStateGraph, call: Any, name: str) -> Any:
    saver = graph.checkpointer
    loop = None if saver is None or isinstance(saver, bool) else saver.home()
    return run_sync(call, loop=loop, name=name)


__all__ = ["LEFT_OUT", "History", "durability_of", "told_durability"]

"""What a caller may say of one run, and how a run is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepwell._context import current_task
from stepwell._engine.arguments import ArgumentError, OnConflict, nodes, refuse
from stepwell._engine.run import Breakpoints, Run
from stepwell._engine.stream import Outlet, Sink
from stepwell._engine.task import TaskRun
from stepwell.runtime import RunControl
from stepwell.types import Durability


class RunOptions:
    """What a caller may say of one run, beside its input and config."""

    # Most of it most callers leave as it is: what stands here.
    context: Any = None
    control: RunControl | None = None
    durability: Durability | None = None
    idempotency_key: str | None = None
    interrupt_before: Breakpoints | None = None
    interrupt_after: Breakpoints | None = None
    lock_timeout: float | None = None
    on_conflict: OnConflict | None = None
    output_keys: Sequence[str] | str | None = None
    sink: Sink | None = None
    split = False
    """Whether output and questions are returned apart, as a `GraphOutput`."""
    result: Any = None
    """For whoever streams: what the run returned."""


def configure_nested(run: Run, options: RunOptions) -> None:
    """Apply the options of a run inside another one: what they leave open, that one says."""
    outer = run.outer
    if outer is None:
        return
    parent = outer.run
    set_context(run, options)
    if options.context is None:
        run.context = parent.context
    configure(run, options)
    if run.control is None:
        run.control = parent.control
    if parent.watch is not None:
        run.watch = parent.watch.inside(run)
    sinks = [] if options.sink is None else [options.sink]
    if parent.publisher.sink is not None:
        sinks += [s for s in parent.publisher.sink.sinks if s.subgraphs]
    if sinks:
        run.publisher.sink = Outlet(run.ns, sinks)


def set_context(run: Run, options: RunOptions) -> None:
    """Give a run its context, the task around it, and the means to stop it."""
    mapper = run.graph.context_mapper
    run.context = (
        mapper(options.context)
        if mapper is not None and isinstance(options.context, dict)
        else options.context
    )
    outer = current_task.get()
    run.outer = outer if isinstance(outer, TaskRun) else None
    # A node may ask its own run to drain, and a graph inside a node drains with the one around.
    run.control = options.control or (run.outer and run.outer.run.control) or RunControl()


def configure(run: Run, options: RunOptions) -> None:
    """Apply what concerns whoever watches the run, and where it is to stop.

    Raises:
        ArgumentError: An option cannot be used.
    """
    if options.sink is not None:
        run.publisher.sink = Outlet(run.ns, (options.sink,))
    run.publisher.split = options.split
    known = run.spec.nodes
    if options.interrupt_before is not None:
        nodes("interrupt_before", options.interrupt_before, known)
    if options.interrupt_after is not None:
        nodes("interrupt_after", options.interrupt_after, known)
    if options.control is not None and not isinstance(options.control, RunControl):
        raise refuse("control", options.control, "a RunControl")
    if options.interrupt_before:
        run.interrupt_before = options.interrupt_before
    if options.interrupt_after:
        run.interrupt_after = options.interrupt_after
    if options.output_keys is not None:
        run.publisher.output_keys = _known_keys(run, options.output_keys)


def _known_keys(run: Run, keys: Sequence[str] | str) -> Sequence[str] | str:
    if not isinstance(keys, (str, list, tuple)):
        raise refuse("output_keys", keys, "a key or a list of keys")
    for key in (keys,) if isinstance(keys, str) else keys:
        if key not in run.spec.state_set:
            msg = f"output_keys names {key!r}, which is no key of the state: {run.spec.state_keys}"
            raise ArgumentError(msg)
    return keys


__all__ = ["RunOptions", "configure", "configure_nested", "set_context"]

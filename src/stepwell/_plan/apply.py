"""The barrier: fold the writes of a superstep into the state."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from stepwell._plan.spec import GraphSpec
from stepwell._plan.state import ThreadState
from stepwell._plan.tasks import Write
from stepwell.channels.base import BaseChannel, Edit, Op, OpKind

logger = logging.getLogger("stepwell")


class TaskWrites(NamedTuple):
    """What one task contributes to a barrier.

    `order` sorts the contributions: (0, "", i) for input and updates, then as `Task.order`.
    `triggers` are the channels the task ran on, () for writes that are no task's.
    """

    order: tuple[Any, ...]
    name: str
    triggers: tuple[str, ...]
    consumables: tuple[str, ...]
    writes: Sequence[Write]


def apply(
    spec: GraphSpec, state: ThreadState, done: Sequence[TaskWrites], *, steps: bool = True
) -> dict[str, None]:
    """Apply the contributions of one superstep to `state`, in place.

    Args:
        done: In any order; they are sorted by `order` first.
        steps: False for writes that belong to no superstep (a command's): channels that were
            not written are then left alone. So they are where no task ran on a trigger: input
            of a thread on which nothing was due.

    Returns:
        The channels that changed, in the order they did.

    Raises:
        InvalidUpdateError: The writes break a channel's rule. The state is then half applied:
            throw it away.

    Invariant: the outcome does not depend on the order of `done`.
    Source: Malewicz et al., "Pregel", SIGMOD 2010, section 2; details after LangGraph's
    `apply_writes`.
    """
    if len(done) > 1:
        done = sorted(done, key=_order)
    channels = state.channels
    changed: dict[str, None] = {}
    ran = _ran(state, done, changed)
    updated: set[str] = set()
    for name, values in _grouped(spec, state, done).items():
        channel = channels[name]
        if channel.update(values):
            changed[name] = None
            if channel.is_available():
                updated.add(name)
    if steps and ran:
        _step(spec, state, updated, changed)
    version = state.version = state.version + 1
    if changed:
        state.changed_at = version
        _settle(spec, state, updated, changed)
        versions = state.versions
        for name in changed:
            versions[name] = version
    state.updated = updated
    return changed


def _ran(state: ThreadState, done: Sequence[TaskWrites], changed: dict[str, None]) -> bool:
    """Note which triggers the tasks have seen, and use up those that are for one time. Returns
    whether any task ran on one."""
    channels, versions, seen = state.channels, state.versions, state.seen
    ran = False
    for _, name, triggers, consumables, _ in done:
        if not triggers:
            continue
        ran = True
        known = seen.get(name)
        if known is None:
            known = seen[name] = {}
        for trigger in triggers:
            if trigger in versions:
                known[trigger] = versions[trigger]
        for trigger in consumables:
            if channels[trigger].consume():
                changed[trigger] = None
    return ran


def _grouped(
    spec: GraphSpec, state: ThreadState, done: Sequence[TaskWrites]
) -> dict[str, list[Any]]:
    channels = state.channels
    grouped: dict[str, list[Any]] = {}
    for contribution in done:
        for channel, value in contribution.writes:
            if channel in grouped:
                grouped[channel].append(value)
            elif channel in channels:
                grouped[channel] = [value]
            else:
                logger.warning(
                    "Task %s of graph %s wrote to unknown channel %s, ignoring it.",
                    contribution.name, spec.name, channel,
                )  # fmt: skip
    return grouped


def _order(contribution: TaskWrites) -> tuple[Any, ...]:
    return contribution.order


def _step(spec: GraphSpec, state: ThreadState, updated: set[str], changed: dict[str, None]) -> None:
    """Tell the channels that were not written that a superstep has passed, and, if nothing
    that was written can trigger a node, that the run is about to finish."""
    channels = state.channels
    for name in tuple(state.live):
        if name in updated:
            continue
        channel = channels[name]
        if name in changed and not channel.is_available():
            continue  # it was used up in this very superstep
        if channel.update(()):
            changed[name] = None
            if channel.is_available():
                updated.add(name)
    if spec.finishing and updated.isdisjoint(spec.triggered_by):
        for name in spec.finishing:
            if channels[name].finish():
                changed[name] = None
                if channels[name].is_available():
                    updated.add(name)


def _settle(
    spec: GraphSpec, state: ThreadState, updated: set[str], changed: dict[str, None]
) -> None:
    """Bring the flat values and the set of live stepping channels up to date."""
    channels, values, live = state.channels, state.values, state.live
    state_set = spec.state_set
    reorder = False
    for name in changed:
        channel = channels[name]
        available = name in updated or channel.is_available()
        if name in state_set:
            if not available:
                values.pop(name, None)
            else:
                if name not in values:
                    reorder = True
                values[name] = channel.get()
        if channel.steps:
            if available:
                live.add(name)
            else:
                live.discard(name)
    if reorder and len(values) > 1:
        # Nodes and callers see keys in the order the schema names them.
        state.values = {k: values[k] for k in spec.state_keys if k in values}


def deltas(state: ThreadState, changed: dict[str, None]) -> dict[str, Op]:
    """What to record of the last `apply`: one operation per persisted channel that changed."""
    channels = state.channels
    return {name: channel.delta() for name in changed if (channel := channels[name]).persisted}


def compose(
    first: dict[str, Op], second: dict[str, Op], channels: dict[str, BaseChannel[Any, Any, Any]]
) -> dict[str, Op]:
    """The operations that do in one step what `first` and then `second` did.

    Invariant: fold(fold(v, first), second) == fold(v, compose(first, second)).
    """
    merged = dict(first)
    for name, op in second.items():
        before = merged.get(name)
        if before is None or op.kind not in _EXTENDS:
            merged[name] = op
        elif before.kind not in _EXTENDS:
            merged[name] = Op(OpKind.SET, channels[name].checkpoint())
        elif before.kind is OpKind.APPEND and op.kind is OpKind.APPEND:
            merged[name] = Op(OpKind.APPEND, before.operand + op.operand)
        else:
            merged[name] = Op(OpKind.EDIT, _edits(before, op))
    return merged


_EXTENDS = (OpKind.APPEND, OpKind.EDIT)
"""Operations on the value that is there; the others put another one in its place."""


def _edits(first: Op, second: Op) -> Edit:
    """One edit for two operations, of which at least one is an edit."""
    if first.kind is OpKind.APPEND:
        start: list[Any] = second.operand.before
        before = start[: len(start) - len(first.operand)]
        return Edit([(None, 0, first.operand), *second.operand.splices], before)
    more = [(None, 0, second.operand)] if second.kind is OpKind.APPEND else second.operand.splices
    return Edit([*first.operand.splices, *more], first.operand.before)


__all__ = ["TaskWrites", "apply", "compose", "deltas"]

"""The barrier: fold the writes of a superstep into the state."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from stepwell._plan.spec import GraphSpec
from stepwell._plan.state import ThreadState
from stepwell._plan.tasks import Write
from stepwell.channels.base import BaseChannel, Edit, Op, OpKind

logger = logging.getLogger("stepwell")


class Contributor(Protocol):
    """Who writes at a barrier: a `Task`, or whoever is outside of the graph.

    `order` sorts the contributions: (0, "", i) for input and updates, then as `Task.order`.
    `triggers` are the channels the task ran on, () for writes that are no task's; `consumables`
    those of them that are used up.
    """

    @property
    def name(self) -> str: ...
    @property
    def order(self) -> tuple[Any, ...]: ...
    @property
    def triggers(self) -> tuple[str, ...]: ...
    @property
    def consumables(self) -> tuple[str, ...]: ...


TaskWrites: TypeAlias = tuple[Contributor, Sequence[Write]]
"""What one task contributes to a barrier."""


class Outside:
    """Writes that are no task's: input, a command's, an update's."""

    __slots__ = ("name", "order", "triggers")

    consumables = ()

    def __init__(
        self, name: str, order: tuple[Any, ...] = (0, "", 0), triggers: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.order = order
        self.triggers = triggers


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
    changed: dict[str, None] = {}
    grouped: dict[str, list[Any]] = {}
    seen: tuple[str, ...] = ()
    seen_by = ""
    for by, writes in done:
        if (triggers := by.triggers) and (triggers is not seen or by.name != seen_by):
            seen_by, seen = by.name, triggers  # many sends to one node see the same
            _see(state, by, changed)
        for name, value in writes:
            if name in grouped:
                grouped[name].append(value)
            else:
                grouped[name] = [value]
    channels = state.channels
    updated: set[str] = set()
    for name, values in grouped.items():
        if name not in channels:
            _tell_unknown(spec, name, done)
            continue
        channel = channels[name]
        if channel.update(values):
            changed[name] = None
            if channel.is_available():
                updated.add(name)
    if steps and seen:
        if state.live:
            _step(state, updated, changed)
        if spec.finishing and updated.isdisjoint(spec.triggered_by):
            _finish(spec, state, updated, changed)
    state.version += 1
    state.updated = updated
    if changed:
        _settle(spec, state, updated, changed)
    return changed


def _see(state: ThreadState, by: Contributor, changed: dict[str, None]) -> None:
    """Note which versions of its triggers a task has seen, and use up those that are for one
    time."""
    versions = state.versions
    known = state.seen.get(by.name)
    if known is None:
        known = state.seen[by.name] = {}
    for trigger in by.triggers:
        if trigger in versions:
            known[trigger] = versions[trigger]
    for trigger in by.consumables:
        if state.channels[trigger].consume():
            changed[trigger] = None


def _tell_unknown(spec: GraphSpec, channel: str, done: Sequence[TaskWrites]) -> None:
    for by, writes in done:
        for _ in (name for name, _ in writes if name == channel):
            logger.warning(
                "Task %s of graph %s wrote to unknown channel %s, ignoring it.",
                by.name, spec.name, channel,
            )  # fmt: skip


def _order(contribution: TaskWrites) -> tuple[Any, ...]:
    return contribution[0].order


def _step(state: ThreadState, updated: set[str], changed: dict[str, None]) -> None:
    """Tell the channels that were not written that a superstep has passed."""
    channels = state.channels
    for name in state.live:
        if name in updated:
            continue
        channel = channels[name]
        if name in changed and not channel.is_available():
            continue  # it was used up in this very superstep
        if channel.update(()):
            changed[name] = None
            if channel.is_available():
                updated.add(name)


def _finish(
    spec: GraphSpec, state: ThreadState, updated: set[str], changed: dict[str, None]
) -> None:
    """Tell channels that nothing that was written can trigger a node: the run is about to
    finish."""
    for name in spec.finishing:
        channel = state.channels[name]
        if channel.finish():
            changed[name] = None
            if channel.is_available():
                updated.add(name)


def _settle(
    spec: GraphSpec, state: ThreadState, updated: set[str], changed: dict[str, None]
) -> None:
    """Give what changed its version, and bring the flat values and the set of live stepping
    channels up to date."""
    channels, versions, values = state.channels, state.versions, state.values
    version = state.changed_at = state.version
    reorder = False
    for name in changed:
        versions[name] = version
        if name in updated or channels[name].is_available():
            if name in spec.stepping:
                state.live.add(name)
            if name in spec.state_set:
                reorder = reorder or name not in values
                values[name] = channels[name].get()
        else:
            state.live.discard(name)
            values.pop(name, None)
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


__all__ = ["Contributor", "Outside", "TaskWrites", "apply", "compose", "deltas"]

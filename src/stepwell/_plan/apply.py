"""The barrier: fold the writes of a superstep into the state."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias

from stepwell._plan.spec import GraphSpec
from stepwell._plan.state import ThreadState
from stepwell._plan.tasks import Write
from stepwell.channels.base import CLEARED, MISSING, BaseChannel, Edit, Op, OpKind

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
    version = state.version = state.version + 1
    changed: dict[str, None] = {}
    updated: set[str] = set()
    seen = _see(spec, state, done, changed)
    channels: dict[str, Any] = state.channels
    versions, values, live = state.versions, state.values, state.live
    simple, stepping, shown = spec.simple, spec.stepping, spec.state_set
    once: dict[str, Any] = {}
    several: dict[str, list[Any]] = {}
    for _, writes in done:
        for name, value in writes:
            if name not in once:
                once[name] = value
            elif name in several:
                several[name].append(value)
            else:
                several[name] = [once[name], value]
    unordered = False
    for name, value in once.items():
        if name not in simple or name in several:
            if _write(spec, state, name, several.get(name) or [value], done, changed):
                updated.add(name)
            values = state.values
            continue
        # Nearly all writes come here: what `update` and `_settle` would do, without the calls.
        channels[name].value = value
        changed[name] = None
        versions[name] = version
        updated.add(name)
        if name in stepping:
            live.add(name)
        if name in shown:
            unordered = unordered or name not in values
            values[name] = value
    if unordered:
        state.values = spec.in_order(values)
    if steps and seen:
        if passed := live - updated:
            _step(spec, state, passed, changed, updated)
        if spec.finishing and updated.isdisjoint(spec.triggered_by):
            _finish(spec, state, changed, updated)
    state.updated = updated
    if changed:
        state.changed_at = version
    return changed


def take_in(spec: GraphSpec, state: ThreadState, by: Contributor, writes: Sequence[Write]) -> None:
    """Apply input to a new state: as `apply` would, but all keys at once, if their channels are
    simple and nothing is there yet. A wide state is as much work as many supersteps otherwise."""
    given = dict(writes)
    if (
        not given
        or len(given) < len(writes)
        or state.values
        or state.live
        or not spec.simple.issuperset(given)
    ):
        apply(spec, state, [(by, writes)])
        return
    version = state.version = state.changed_at = state.version + 1
    channels: dict[str, Any] = state.channels
    for name, value in given.items():
        channels[name].value = value
    state.versions.update(dict.fromkeys(given, version))
    state.updated = set(given)
    state.live = set(spec.stepping.intersection(given))
    state.values = {k: given[k] for k in spec.state_keys if k in given}


def _see(
    spec: GraphSpec, state: ThreadState, done: Sequence[TaskWrites], changed: dict[str, None]
) -> bool:
    """Note which versions of their triggers the tasks have seen, and use up those that are for one
    time; they are settled once all tasks have seen them. Returns whether any has triggers."""
    versions = state.versions
    used: list[str] = []
    seen: tuple[str, ...] = ()
    seen_by = ""
    for by, _ in done:
        triggers = by.triggers
        if not triggers or (triggers is seen and by.name == seen_by):
            continue  # many sends to one node see the same
        seen_by, seen = by.name, triggers
        known = state.seen.setdefault(seen_by, {})
        for trigger in triggers:
            if trigger in versions:
                known[trigger] = versions[trigger]
        if by.consumables:
            used += _consumed(state, by.consumables)
    for name in used:
        _settle(spec, state, name, changed)
    return bool(seen)


def _consumed(state: ThreadState, names: Iterable[str]) -> list[str]:
    return [name for name in names if state.channels[name].consume()]


def _write(
    spec: GraphSpec,
    state: ThreadState,
    name: str,
    given: list[Any],
    done: Sequence[TaskWrites],
    changed: dict[str, None],
) -> bool:
    """Give a channel the writes of a superstep. Returns whether it changed and holds something."""
    if name not in state.channels:
        _tell_unknown(spec, name, done)
        return False
    return state.channels[name].update(given) and _settle(spec, state, name, changed)


def _tell_unknown(spec: GraphSpec, channel: str, done: Sequence[TaskWrites]) -> None:
    for by, writes in done:
        for _ in (name for name, _ in writes if name == channel):
            logger.warning(
                "Task %s of graph %s wrote to unknown channel %s, ignoring it.",
                by.name, spec.name, channel,
            )  # fmt: skip


def _order(contribution: TaskWrites) -> tuple[Any, ...]:
    return contribution[0].order


def _step(
    spec: GraphSpec,
    state: ThreadState,
    names: Iterable[str],
    changed: dict[str, None],
    updated: set[str],
) -> None:
    """Tell channels that hold something and were not written that a superstep has passed."""
    channels: dict[str, Any] = state.channels
    versions = state.versions
    for name in names:
        if name in spec.simple:  # it lives for one superstep: as above, without calls
            channels[name].value = MISSING
            changed[name] = None
            versions[name] = state.version
            state.live.discard(name)
            state.values.pop(name, None)
        elif channels[name].update(()) and _settle(spec, state, name, changed):
            updated.add(name)


def _finish(
    spec: GraphSpec, state: ThreadState, changed: dict[str, None], updated: set[str]
) -> None:
    """Tell channels that nothing that was written can trigger a node: the run is about to
    finish."""
    for name in spec.finishing:
        if state.channels[name].finish() and _settle(spec, state, name, changed):
            updated.add(name)


def _settle(spec: GraphSpec, state: ThreadState, name: str, changed: dict[str, None]) -> bool:
    """Give a channel that changed its version, and bring the flat values and the set of live
    stepping channels up to date. Returns whether it holds something."""
    changed[name] = None
    state.versions[name] = state.version
    channel = state.channels[name]
    if not channel.is_available():
        state.live.discard(name)
        state.values.pop(name, None)
        return False
    if name in spec.stepping:
        state.live.add(name)
    if name in spec.state_set:
        known = name in state.values
        state.values[name] = channel.get()
        if not known:
            state.values = spec.in_order(state.values)
    return True


def deltas(spec: GraphSpec, state: ThreadState, changed: dict[str, None]) -> dict[str, Op]:
    """What to record of the last `apply`: one operation per persisted channel that changed."""
    channels: dict[str, Any] = state.channels
    simple, untracked = spec.simple, spec.untracked
    ops: dict[str, Op] = {}
    for name in changed:
        if name in untracked:
            continue
        if name not in simple:
            ops[name] = channels[name].delta()
        elif (value := channels[name].value) is None:
            ops[name] = _SIGNAL
        else:
            ops[name] = CLEARED if value is MISSING else _new(Op, (_SET, value))
    return ops


_new = tuple.__new__
_SET = OpKind.SET  # looked up once: a member of an enum is not found in no time
_SIGNAL = Op(_SET, None)


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


__all__ = ["Contributor", "Outside", "TaskWrites", "apply", "compose", "deltas", "take_in"]

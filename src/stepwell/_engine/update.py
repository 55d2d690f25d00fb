"""Updating a state by hand: another way into the same barrier and the same journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepwell._engine.arguments import ArgumentError, RunConfig, refuse
from stepwell._engine.begin import close_superstep
from stepwell._engine.ending import change
from stepwell._engine.open import Opened, claim_thread, give_back, parent_of
from stepwell._engine.pending import NULL_TASK
from stepwell._engine.program import Program
from stepwell._engine.recorder import Recorder
from stepwell._engine.run import INPUT, Run
from stepwell._engine.screened import recorder
from stepwell._engine.snapshot import Place
from stepwell._engine.task import TaskRun
from stepwell._journal.record import KIND_COMMAND, KIND_INPUT, KIND_UPDATE, Entry
from stepwell._plan.apply import Outside, TaskWrites, apply, compose, deltas
from stepwell._plan.output import input_writes
from stepwell._plan.state import ThreadState
from stepwell._plan.tasks import Task, Write, due_names, plan
from stepwell.channels.base import Op
from stepwell.checkpoint.driver import RunRow, RunStatus, Source, ThreadStatus
from stepwell.config import RunnableConfig
from stepwell.constants import END, START
from stepwell.errors import InvalidUpdateError
from stepwell.types import StateUpdate

COPY = "__copy__"
_UPDATE_TRIGGER = ("__interrupt__",)


async def update_state(
    program: Program,
    config: RunConfig,
    supersteps: Sequence[Sequence[StateUpdate | tuple[Any, ...]]],
    *,
    metadata: Mapping[str, Any] | None,
    on_conflict: str,
    lock_timeout: float | None,
    inner: Program | None = None,
) -> RunnableConfig:
    """Apply updates as if nodes had made them, one checkpoint per superstep.

    Args:
        program: The graph whose thread it is.
        config: Names the thread, and the checkpoint to update.
        supersteps: Lists of updates; a plain (values, as_node) or (values, as_node, task_id)
            is one too.
        metadata: Own metadata of the checkpoints made.
        on_conflict: When the thread is busy: "wait" or "reject".
        lock_timeout: Seconds to wait for it; None = no limit.
        inner: The graph inside `program` whose namespace the config names.

    Returns:
        The config of the last checkpoint made.

    Raises:
        ArgumentError: `supersteps` is no list of lists of updates.
        InvalidUpdateError: An update does not say, or not unambiguously, which node it is
            from, or breaks a channel's rule. Nothing of its superstep was written.
        ThreadBusyError: A run holds the thread.
    """
    if not supersteps:
        msg = "No supersteps provided: pass at least one list of StateUpdate."
        raise ArgumentError(msg)
    checked = [_updates(updates) for updates in _listed(supersteps)]
    shown = inner or program
    opened = await claim_thread(
        program, config, on_conflict=on_conflict, lock_timeout=lock_timeout,
        inner=inner, ns=shown.own_namespace(config.checkpoint_ns),
    )  # fmt: skip
    try:
        run = _run_for(shown, opened, config)
        if inner is None:
            opened.supersede(answered=False)
        run.nested = inner is not None
        for position, updates in enumerate(checked):
            last = position == len(checked) - 1
            await _superstep(run, opened, updates, metadata=metadata, last=last)
        rec = _recorder(run)
        await rec.durable()
        place = Place(opened.key.thread_id, run.ns, b"")
        return place.config(rec.checkpoint_id, run.parents)
    finally:
        await give_back(opened.handle)


def _listed(given: Any) -> Sequence[Any]:
    """Supersteps, or the updates of one.

    Raises:
        ArgumentError: It is no list.
    """
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise refuse("supersteps", given, "a list of lists of StateUpdate")
    return given


def _updates(given: Any) -> list[StateUpdate]:
    """One superstep's updates.

    Raises:
        ArgumentError: There are none, or one of them is no update.
    """
    updates = [_update(item) for item in _listed(given)]
    if not updates:
        msg = "No updates provided: pass at least one StateUpdate per superstep."
        raise ArgumentError(msg)
    return updates


def _update(given: Any) -> StateUpdate:
    if not isinstance(given, (tuple, list)) or not 2 <= len(given) <= 3:
        msg = (
            "supersteps must be a list of lists of StateUpdate(values, as_node) or of such tuples; "
            f"in the place of an update there is {given!r:.100} ({type(given).__name__})"
        )
        raise ArgumentError(msg)
    update = StateUpdate(*given)
    if update.as_node is not None and not isinstance(update.as_node, str):
        raise refuse("as_node", update.as_node, "the name of one node, or None")
    return update


def _recorder(run: Run) -> Recorder:
    if run.rec is None:
        msg = "an update needs a checkpointer"
        raise InvalidUpdateError(msg)
    return run.rec


def _run_for(program: Program, opened: Opened, config: RunConfig) -> Run:
    view = opened.view
    state = ThreadState(program.spec) if view is None else view.state
    clock, ids = opened.journal.clock, opened.journal.ids
    run = Run(program, state, config, clock=clock, ids=ids, run_id="", ns=opened.ns)
    run.rec = recorder(
        opened.handle, program, view,
        ns=opened.ns, durability="sync", strict=program.strict,
        run_row=RunRow(run=0, run_id="", status=int(RunStatus.DONE)),
    )  # fmt: skip
    run.step = -1 if view is None else view.row.step
    run.parents = {} if view is None else view.parents
    if view is not None and not opened.superseded:
        run.pending = view.pending
    return run


async def _superstep(
    run: Run,
    opened: Opened,
    updates: list[StateUpdate],
    *,
    metadata: Mapping[str, Any] | None,
    last: bool,
) -> None:
    values, as_node = updates[0].values, updates[0].as_node
    if as_node in (END, INPUT, COPY) and (as_node != END or values is None) and len(updates) > 1:
        msg = f"An update as {as_node} must be the only one of its superstep."
        raise InvalidUpdateError(msg)
    if values is None and as_node == END:
        _clear(run, metadata, last=last)
    elif as_node == INPUT:
        _as_input(run, values, metadata, last=last)
    elif as_node == COPY:
        changes = _changes(values)
        await _copy(run, opened, last=last and not changes)
        if changes:
            run.pending.outputs.clear()
            await _as_nodes(run, changes, metadata, last=last)
    else:
        await _as_nodes(run, updates, metadata, last=last)
    run.pending.outputs.clear()
    run.pending.interrupts.clear()


def _record(
    run: Run,
    done: Sequence[TaskWrites],
    entries: Sequence[Entry],
    *,
    source: Source,
    step: int,
    metadata: Mapping[str, Any] | None,
    last: bool,
    carried: dict[str, Op] | None = None,
) -> None:
    rec = _recorder(run)
    changed = apply(run.spec, run.state, done)
    run.state.updated = None  # what was due before the update still is
    ops = deltas(run.spec, run.state, changed)
    if carried:
        ops = compose(carried, ops, run.state.channels)
    due = due_names(plan(run.spec, run.state, inputs=False))
    status = ThreadStatus.IDLE if due else ThreadStatus.DONE
    rec.checkpoint(
        run.state,
        source=source,
        step=step,
        entries=entries,
        ops=ops,
        metadata=metadata,
        thread=change(run, status, RunStatus.DONE, due),
        let_go=last,
    )
    run.step = step


def _command_first(run: Run) -> tuple[list[Entry], dict[str, Op]]:
    """Apply what a command had written: its caller was told that it is there."""
    null_writes = run.pending.outputs.pop(NULL_TASK, [])
    if not null_writes:
        return [], {}
    changed = apply(run.spec, run.state, [(Outside(INPUT), null_writes)])
    carried = deltas(run.spec, run.state, changed)
    run.state.updated = None
    return [Entry(INPUT, KIND_COMMAND, (), null_writes)], carried


def _siblings_first(run: Run) -> tuple[list[TaskWrites], list[Entry]]:
    """What finished tasks of the open superstep wrote to the state, which `get_state` shows."""
    known = {
        task: [w for w in writes if w[0] in run.spec.state_set]
        for task, writes in run.pending.outputs.items()
    }
    closed, entries = close_superstep(run, run.step + 1, known)
    done: list[TaskWrites] = [(Outside(by.name, by.order), left) for by, left in closed if left]
    return done, [Entry(e.name, KIND_INPUT, (), e.writes) for e in entries if e.writes]


def _clear(run: Run, metadata: Mapping[str, Any] | None, *, last: bool) -> None:
    """Close the open superstep: finished tasks count, the others are dropped."""
    entries, carried = _command_first(run)
    done, left = close_superstep(run, run.step + 1, run.pending.outputs)
    _record(
        run, done, entries + left,
        source=Source.UPDATE, step=run.step + 1, metadata=metadata, last=last, carried=carried,
    )  # fmt: skip


def _as_input(run: Run, values: Any, metadata: Mapping[str, Any] | None, *, last: bool) -> None:
    if values is None:
        msg = "An update as __input__ needs values."
        raise InvalidUpdateError(msg)
    writes: list[Write] = input_writes(run.spec, values)
    rec = _recorder(run)
    entries, carried = _command_first(run)
    _record(
        run,
        [(Outside(INPUT), writes)],
        [*entries, Entry(INPUT, KIND_INPUT, (), writes)],
        carried=carried,
        source=Source.INPUT,
        step=run.step + 1 if rec.seq else -1,
        metadata=metadata,
        last=last,
    )


def _changes(values: Any) -> list[StateUpdate]:
    """The updates that an update as __copy__ makes to the copy, grouped by node.

    Raises:
        InvalidUpdateError: One of them is no (values, as_node).
    """
    if not isinstance(values, list):
        return []
    groups: dict[Any, list[StateUpdate]] = {}
    for item in values:
        if not isinstance(item, (list, tuple)) or len(item) < 2:
            msg = f"Invalid update item: {item!r} when copying checkpoint"
            raise InvalidUpdateError(msg)
        groups.setdefault(item[1], []).append(StateUpdate(item[0], item[1]))
    return [update for group in groups.values() for update in group]


async def _copy(run: Run, opened: Opened, *, last: bool) -> None:
    """Append the checkpoint once more, beside itself."""
    view, rec = opened.view, _recorder(run)
    if view is None:
        msg = "Cannot copy a non-existent checkpoint."
        raise InvalidUpdateError(msg)
    due = due_names(plan(run.spec, run.state, inputs=False))
    status = ThreadStatus.IDLE if due else ThreadStatus.DONE
    rec.copy(
        view.row, parent=parent_of(view.row), step=run.step + 1,
        thread=change(run, status, RunStatus.DONE, due), let_go=last,
    )  # fmt: skip
    run.step += 1


async def _as_nodes(
    run: Run, updates: Sequence[StateUpdate], metadata: Mapping[str, Any] | None, *, last: bool
) -> None:
    spec = run.spec
    entries, carried = _command_first(run)
    run.stop = run.step + 2  # what routers are told of the steps that remain
    done, shown = _siblings_first(run)
    entries += shown
    for position, update in enumerate(updates):
        name = update.as_node
        if name is None:
            if len(updates) > 1:
                msg = "as_node is required when applying multiple updates"
                raise InvalidUpdateError(msg)
            name = infer_node(run)
        if name == END:
            msg = (
                f"An update as {END} takes no values: it only closes the open superstep. Pass "
                "values=None, or the name of the node that the values come from."
            )
            raise InvalidUpdateError(msg)
        if name not in spec.nodes:
            msg = (
                f"Node {name} does not exist: an update must come from one of "
                f"{', '.join(n for n in spec.nodes if n != START)}, {END} or {INPUT}."
            )
            raise InvalidUpdateError(msg)
        node = spec.nodes[name]
        writes = await node.writer.run(update.values, TaskRun(run, Task(node, None)))
        done.append((Outside(name, (3, "", position), _UPDATE_TRIGGER), writes))
        entries.append(Entry(name, KIND_UPDATE, (), writes))
    _record(
        run, done, entries,
        source=Source.UPDATE, step=run.step + 1, metadata=metadata, last=last, carried=carried,
    )  # fmt: skip


def infer_node(run: Run) -> str:
    """The node that updated the state last.

    Raises:
        InvalidUpdateError: Several did, in the same superstep.
    """
    nodes = run.spec.nodes
    if len(nodes) == 1:
        return next(iter(nodes))
    seen = sorted(
        (version, name)
        for name, known in run.state.seen.items()
        if name in nodes
        for version in known.values()
    )
    if not seen and not run.state.interrupt_seen:
        return START
    if len(seen) == 1 or (seen and seen[-1][0] != seen[-2][0]):
        return seen[-1][1]
    msg = "Ambiguous update, specify as_node"
    raise InvalidUpdateError(msg, thread_id=run.thread_id)


__all__ = ["infer_node", "update_state"]

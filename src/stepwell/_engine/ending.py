"""How a run ends, and what its thread's row then says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import orjson

from stepwell._engine.filing import leave
from stepwell._engine.held import leave_again
from stepwell._engine.rescue import described
from stepwell._plan.apply import Outside, TaskWrites
from stepwell._plan.tasks import Task, due_names, plan
from stepwell.checkpoint.driver import RunStatus, ThreadChange, ThreadStatus
from stepwell.errors import ErrorCode, GraphRecursionError, create_error_message

if TYPE_CHECKING:
    from stepwell._engine.recorder import Recorder
    from stepwell._engine.run import Run

_new = tuple.__new__


def end(
    run: Run, status: ThreadStatus, outcome: RunStatus, error: BaseException | None = None
) -> None:
    """Append the run's last record, which lets the thread go (the root's does)."""
    rec = run.rec
    if rec is None or rec.handle.failure is not None:
        return
    if run.nested:
        hold_back(run)
        return
    with rec.handle.together():
        lost = None if rec.exits else _write_held(run)
        if lost is not None:
            status, outcome = ThreadStatus.FAILED, RunStatus.FAILED
        _close(run, rec, status, outcome, error or lost)
    if lost is None:
        return
    if error is None:
        raise lost
    error.add_note(f"Supersteps before it could not be stored: {type(lost).__name__}: {lost}")


def _write_held(run: Run) -> Exception | None:
    """Append what a policy has left out; returns why it cannot be stored."""
    if run.rec is not None:
        try:
            run.rec.write_held()
        except Exception as exc:  # noqa: BLE001  # the codec refuses it, or a filter fails
            return exc
    return None


def _close(
    run: Run,
    rec: Recorder,
    status: ThreadStatus,
    outcome: RunStatus,
    error: BaseException | None,
) -> None:
    unfinished = tuple(t.task.origin for t in run.tasks if t.writes is None)
    if not unfinished and error is not None:  # the barrier itself failed
        unfinished = tuple(t.name for t in run.tasks if t.error is None)
    if not run.tasks:
        due = plan(run.spec, run.state, inputs=False)
        unfinished = due_names([t for t in due if not _has_finished(run, t)])
        if not unfinished and status == ThreadStatus.IDLE:
            status = ThreadStatus.DONE  # stopped with nothing left to do
    row = change(run, status, outcome, unfinished, error)
    if rec.exits:
        _leave_all(run, row)
    leave_finished(run)  # one may end just as its run is cancelled
    if run.kin is not None:
        run.kin.write_held_back()
    if row is not None:
        # One that has come to no barrier leaves an older version's state as it is.
        rec.status(row._replace(state_version=rec.version), let_go=True)


def _has_finished(run: Run, task: Task) -> bool:
    """Whether a task that is due had finished before this run, which was stopped before it
    could take over what was left."""
    if run.replaying or not run.pending:
        return False
    return run.pending.output_of(task, task.id(run.checkpoint_id, run.ns, run.step)) is not None


def hold_back(run: Run, *, finished: bool = False) -> None:
    """A nested run ends: with durability="exit", keep what it left until the root ends.

    The next run in its namespace (another attempt of its task, or another call of a graph that
    keeps one history) goes on from it. Where it has finished and its task has too, nothing
    does, and nothing of it is written, as in LangGraph.

    Where a policy left checkpoints out, only one that has finished is kept, and only if its task
    alone can go on from it.
    """
    rec = run.rec
    if rec is None or rec.handle.failure is not None:
        return
    if not rec.exits and (not finished or run.graph.keeps_history):
        rec.write_held()
        leave_finished(run)  # one may end just as its run is cancelled
        return
    if not (rec.exits or rec.held_back):
        return
    run.family.at_exit[run.ns] = partial(_leave_if_needed if finished else _leave_all, run)
    if rec.spoiled:  # a barrier has failed half-way: its state is of no use
        run.family.spaces.pop(run.ns, None)
    else:
        run.family.spaces[run.ns] = run


def _leave_if_needed(run: Run) -> None:
    task = run.outer
    if task is None or task.writes is None or run.graph.keeps_history:
        _leave_all(run)


def _leave_all(run: Run, row: ThreadChange | None = None) -> None:
    """Append what was held back, although the run is not finished.

    `row` tells of it.
    """
    rec = run.rec
    if rec is None:
        return
    rec.write_held(thread=row)
    if not rec.exits:
        return
    rec.command(run.null_writes, None)  # those that no barrier has taken along
    leave_again(run)
    calls = () if run.board is None else run.board.made
    for task in (*run.tasks, *calls):
        if not task.loaded:
            leave(rec, task)


def leave_finished(run: Run) -> None:
    """File what finished tasks wrote and have not filed yet: their barrier does not come."""
    if run.rec is None or run.rec.exits:
        return
    for task in run.tasks:
        if task.writes is not None and not (task.left or task.loaded):
            leave(run.rec, task)


def complete(run: Run) -> None:
    """Nothing is due any more: append the last record, if no barrier has carried it."""
    rec = run.rec
    if rec is None or rec.ended or rec.handle.failure is not None:
        return
    run.tasks = []
    if run.nested:
        # Kept until the superstep around it is over: another attempt of the task goes on here.
        hold_back(run, finished=True)
        return
    with rec.handle.together():
        if run.kin is not None:
            run.kin.write_held_back()
        if rec.exits:
            rec.command(run.null_writes, None)  # those that no barrier has taken along
        row = change(run, ThreadStatus.DONE, RunStatus.DONE, ())
        if rec.held_back:
            rec.write_held(thread=row, let_go=True, looks=True)
        elif row is not None:
            rec.status(row, let_go=True)


def change(
    run: Run,
    status: ThreadStatus,
    outcome: RunStatus,
    unfinished: Sequence[str],
    error: BaseException | None = None,
) -> ThreadChange | None:
    """The thread row's new descriptive columns; brings the run row up to date too.

    Returns:
        None for a nested run: the thread's row tells of its root.
    """
    if run.nested:
        return None
    text = None if error is None else described(error)
    if run.rec is not None:
        rec = run.rec
        if text is not None and (screen := rec.handle.screen) is not None:
            text = screen.error(text)
        told = (int(outcome), run.barriers, text)
        row = rec.run_row
        if told != (row.status, row.supersteps, row.error):  # which is made anew field by field
            rec.run_row = row._replace(status=told[0], supersteps=told[1], error=text)
        if rec.run_row.idempotency_key is not None:
            over = outcome in (RunStatus.DONE, RunStatus.INTERRUPTED)
            rec.outcome = run.publisher.outcome() if over else None
    graph = run.graph
    return _new(
        ThreadChange,
        (
            int(status), 0 if run.rec is None else run.rec.run_row.run,
            graph.name, graph.fingerprint, graph.state_version,
            orjson.dumps(list(unfinished)).decode() if unfinished else "[]",
            sum(len(t.interrupts) for t in run.tasks), text,
        ),
    )  # fmt: skip


def hand_back(run: Run) -> None:
    """Leave a run that was taken over as it was found, running but without an owner: stopping
    it in good order is no attempt that failed."""
    rec = run.rec
    if rec is None or rec.ended or rec.handle.failure is not None:
        return
    rec.keep = False
    rec.run_row = rec.run_row._replace(attempts=rec.run_row.attempts - 1)
    end(run, ThreadStatus.RUNNING, RunStatus.RUNNING)


def finished(run: Run) -> list[TaskWrites]:
    """What those tasks of the open superstep wrote that have finished."""
    return [
        (Outside(t.name, t.task.order, t.task.triggers), t.writes) for t in run.tasks if t.writes
    ]


def release(run: Run) -> None:
    """Let go of what a run that is over still held, and of the runs inside it, so that all of it
    is freed now: tasks know their run, and an error the frames, and so the tasks, that raised it.
    """
    if run.board is not None:
        run.board.release()
    for task in run.tasks:
        task.failure = task.handled = task.error = task.calls = None
    run.tasks = []
    run.board = None
    if run.kin is not None:
        run.kin.release()


def out_of_steps(run: Run) -> GraphRecursionError:
    """Close a run that has used up its supersteps; returns the error to raise."""
    msg = create_error_message(
        message=(
            f"Recursion limit of {run.config.recursion_limit} reached without hitting a stop "
            "condition. You can increase the limit by setting the `recursion_limit` config key."
        ),
        error_code=ErrorCode.GRAPH_RECURSION_LIMIT,
    )
    error = GraphRecursionError(msg, thread_id=run.thread_id, step=run.step)
    run.tasks = []
    due = run.plan()
    if due:
        end(run, ThreadStatus.FAILED, RunStatus.FAILED, error)
    else:
        end(run, ThreadStatus.DONE, RunStatus.FAILED, error)
    return error


__all__ = [
    "change", "complete", "end", "finished", "hand_back", "leave_finished", "out_of_steps",
    "release",
]  # fmt: skip

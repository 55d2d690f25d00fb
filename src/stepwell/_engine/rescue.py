"""Error handlers: what runs, in the same superstep, in place of a task that failed.

The failure and the fact that a handler takes over are durable before it starts: a crash
after that leads back to the handler, never to the node. It runs in the branch of the task it
stands in for, so no failure can overtake another one's handler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell._engine.task import TaskRun
from stepwell._plan.tasks import HandlerTask
from stepwell.errors import GraphBubbleUp, NodeError

if TYPE_CHECKING:
    from stepwell._engine.recorder import Recorder
    from stepwell._engine.run import Run


def can_rescue(task: TaskRun) -> bool:
    """Whether an error handler takes over from a task that has ended."""
    return (
        task.failure is not None
        and task.task.node.handler is not None
        and not isinstance(task.failure, GraphBubbleUp)
    )


def take_over(task: TaskRun, error: BaseException) -> TaskRun:
    """The task that handles `error`, added to the superstep. The failed task counts as having
    written nothing."""
    run = task.run
    node = run.spec.nodes[task.task.node.handler or ""]
    planned = HandlerTask(node, task.task)
    known = planned.id(run.place_id, run.ns, run.step)
    handler = TaskRun(run, planned, run.pending.answers.get(known, ()))
    handler.error = NodeError(task.name, error)
    task.handled, task.failure, task.writes = error, None, []
    run.tasks.append(handler)
    run.rescued.append(task)
    return handler


def rescue(task: TaskRun) -> TaskRun:
    """Hand a failed task, whose failure has been recorded, over to its error handler.

    Returns:
        The handler's task, to be executed once what it starts from is durable.
    """
    run = task.run
    error = task.failure or RuntimeError("the task did not fail")
    note_task(task, error)
    handler = take_over(task, error)
    if run.watch is not None:
        handler.began = run.clock.monotonic()
        run.watch.call_started(handler)
    if run.rec is not None and not run.rec.exits:
        run.rec.handled(task.id_bytes, task.task.path_text, stored(run.rec, error))
    return handler


async def until_durable(handler: TaskRun) -> None:
    """Wait until a crash would lead back to this handler.

    Raises:
        StorageError: The failure could not be recorded.
    """
    rec = handler.run.rec
    landed = None if rec is None else rec.landed()
    if landed is not None:
        await landed


def stored(rec: Recorder, error: BaseException) -> BaseException | str:
    """The exception as it can be kept: itself, or its repr where the codec refuses it."""
    return rec.storable(error) or described(error)


def described(error: BaseException) -> str:
    """The repr of an exception as text that every database can hold, whatever it does."""
    try:
        text = repr(error)
    except Exception:  # noqa: BLE001  # user code: the error itself must reach the caller
        text = f"<{type(error).__name__} whose repr fails>"
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()[:2000]


def note_task(task: TaskRun, error: BaseException) -> None:
    """Say on an exception which task it comes from."""
    try:
        error.add_note(f"During task with name '{task.name}' and id '{task.id}'")
    except Exception:  # noqa: BLE001  # an exception class may refuse notes; the error counts
        return


def forget_rescued(run: Run) -> None:
    """Let go of errors that were handled: their tracebacks lead to the tasks that keep them."""
    for task in run.rescued:
        task.handled = None
    run.rescued = []


def resume_handlers(run: Run) -> None:
    """Put handlers in place of tasks that had failed before this run began: those do not run
    again."""
    for task in tuple(run.tasks):
        known = task.id_bytes
        if task.loaded or run.pending.handler_of(task.task, known) is None:
            continue
        handler = take_over(task, run.pending.handled[known])
        task.loaded = True
        if handler.id_bytes in run.pending.outputs:
            handler.writes, handler.loaded = run.pending.outputs[handler.id_bytes], True
        elif run.resume_map:
            handler.answer_by_id(run.resume_map)


__all__ = [
    "can_rescue", "described", "forget_rescued", "note_task", "rescue", "resume_handlers", "stored",
    "until_durable",
]  # fmt: skip

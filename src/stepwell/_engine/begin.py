"""How a run begins: new input, a resumed superstep, a fork from an old checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from stepwell._engine.ending import change
from stepwell._engine.messages import is_heard
from stepwell._engine.pending import NULL_TASK, Pending
from stepwell._engine.run import INPUT, Run
from stepwell._engine.write import goto_writes, prepare, refuse_steering, to_channel
from stepwell._journal.load import parse
from stepwell._journal.record import KIND_COMMAND, KIND_INPUT, Entry
from stepwell._plan.apply import Outside, TaskWrites, apply, compose, deltas, take_in
from stepwell._plan.output import input_writes
from stepwell._plan.tasks import Write, plan
from stepwell.checkpoint.driver import RunStatus, Source, ThreadStatus
from stepwell.constants import START
from stepwell.errors import EmptyInputError, InvalidUpdateError, UnknownInterruptError, UsageError
from stepwell.types import Command

logger = logging.getLogger("stepwell")

_INTERRUPT_ID_LENGTH = 32


def begin(run: Run, given: Any, *, addressed: bool, superseded: bool) -> None:
    """Turn the caller's input into the state the first superstep is planned from.

    Args:
        given: New input, a `Command`, or None (go on).
        addressed: The config named a checkpoint.
        superseded: That checkpoint is not the head of its namespace.

    Raises:
        EmptyInputError: There is nothing to run.
        UnknownInterruptError: The resume value does not say which question it answers.
        InvalidUpdateError: The input is LangGraph's `Command`.
    """
    run.stop = run.step + run.config.recursion_limit + 1
    is_command = isinstance(given, Command)
    if not is_command and type(given) is not dict:
        refuse_steering(given)
    resuming = run.state.started and (given is None or is_command)
    answers = is_command and given.resume is not None
    travels = addressed and not answers
    run.replaying = travels or superseded
    run.resuming = resuming
    if travels:
        run.pending.answers.clear()
    forks = resuming and travels and (run.source not in (Source.UPDATE, Source.FORK) or superseded)
    if is_command:
        _command(run, given, save=not forks)
    _apply_null_writes(run)
    if resuming:
        _resume(run, forks=forks)
    elif given is not None and (writes := input_writes(run.spec, given)):
        if not _take_in(run, given):
            new_input(run, writes)
    else:
        msg = (
            "There is nothing to resume: the thread has no checkpoint"
            if run.rec is not None
            else "Received no input, and without a checkpointer there is nothing to resume"
        )
        raise EmptyInputError(f"{msg}. Pass an input.", thread_id=run.thread_id)


def _command(run: Run, command: Command[Any], *, save: bool) -> None:
    """File a command's writes under the current checkpoint and hand out its answer."""
    if command.graph == Command.PARENT:
        msg = "There is no parent graph: this Command was passed to a root graph."
        raise InvalidUpdateError(msg)
    writes: list[Write] = [
        (channel, START if channel.startswith(to_channel("")) else value)
        for channel, value in goto_writes(command)
    ]
    writes.extend(command.update_as_tuples())
    if run.spec.prepares:
        writes = prepare(run.spec.prepares, writes)
    answer: list[Any] = []
    if command.resume is not None:
        answer = _answer(run, command.resume)
    elif not writes:
        msg = (
            "Received an empty Command: give it an update, a goto or a resume value, or pass "
            "None to go on."
        )
        raise EmptyInputError(msg, thread_id=run.thread_id)
    run.pending.outputs[NULL_TASK] = run.pending.outputs.get(NULL_TASK, []) + writes
    # A bare answer belongs to the run it was given to: one that nobody took is gone now.
    left_over = run.pending.answers.pop(NULL_TASK, [])
    if answer:
        run.pending.answers[NULL_TASK] = answer
    # On a new thread there is no checkpoint to file them under; they travel with the input.
    if run.rec is not None and save and run.rec.seq and not run.rec.exits:
        known = run.pending.outputs[NULL_TASK]
        run.rec.command(known, answer if answer or left_over else None)


def _answer(run: Run, resume: Any) -> list[Any]:
    """The resume value for whichever task asks next, [] if it is a map of answers by id."""
    if run.rec is None:
        msg = "Cannot use Command(resume=...) without checkpointer: compile the graph with one."
        raise UsageError(msg)
    waiting = run.pending.open_interrupts()
    if isinstance(resume, Mapping) and all(_is_interrupt_id(k) for k in resume):
        for answer in resume.values():
            run.rec.try_answer(answer)
        run.resume_map = resume
        return []
    if len(waiting) > 1:
        msg = (
            "When there are multiple pending interrupts, you must specify the interrupt id when "
            f"resuming: Command(resume={{id: value}}). Waiting: {', '.join(sorted(waiting))}."
        )
        raise UnknownInterruptError(msg, reason="ambiguous", pending_ids=sorted(waiting))
    return [resume]


def _is_interrupt_id(key: Any) -> bool:
    return (
        isinstance(key, str)
        and len(key) == _INTERRUPT_ID_LENGTH
        and all(c in "0123456789abcdef" for c in key)
    )


def _apply_null_writes(run: Run) -> None:
    """Apply what commands wrote to the state the superstep is planned from."""
    run.answer = list(run.pending.answers.pop(NULL_TASK, ()))
    run.null_writes = run.pending.outputs.pop(NULL_TASK, [])
    if not run.null_writes:
        return
    known = run.state.updated
    changed = apply(run.spec, run.state, [(Outside(INPUT), run.null_writes)])
    if known is None:
        run.state.updated = None
    elif run.state.updated is not None:
        run.state.updated |= known
    run.carried = deltas(run.spec, run.state, changed)


def _passes(run: Run) -> bool:
    """Whether breakpoints of what is due may be passed.

    Who resumes a run that stopped says so. A run that is taken over has not stopped yet: its
    worker died, perhaps one record before the one that tells of the breakpoint.
    """
    root = run.root
    opened = root.opened
    died = opened is not None and opened.unfinished and not opened.addressed
    return not died or root.pending.passed


def _stops_here(run: Run) -> bool:
    """Whether a run is taken over where it was about to stop behind its last superstep."""
    after, opened = run.interrupt_after, run.opened
    if not after or run.source != Source.LOOP or opened is None or opened.view is None:
        return False
    ran = {entry[0] for entry in parse(opened.view.row)["t"]}
    return run.state.at_new_breakpoint and (after == "*" or not ran.isdisjoint(after))


def _resume(run: Run, *, forks: bool) -> None:
    rec = run.rec
    if _passes(run):
        run.state.pass_breakpoints()
        run.passed_now = True
        waits = run.interrupt_before or run.interrupt_after or run.graph.children()
        if waits and not (rec is None or rec.exits or run.nested or forks or run.pending.passed):
            rec.passed()
    elif _stops_here(run):
        run.interrupt_before = "*"  # before whatever is due
    if rec is not None:
        status = change(run, ThreadStatus.RUNNING, RunStatus.RUNNING, ())
        if forks:
            run.pending.interrupts.clear()
            if not rec.exits:
                run.parent_checkpoint = rec.checkpoint_id
            rec.checkpoint(
                run.state,
                source=Source.FORK,
                step=run.step,
                entries=_null_entries(run),
                ops=run.carried,
                interrupt_seen=run.state.interrupt_seen,
                metadata=None,
                thread=status,
            )
            run.carried, run.null_writes, run.passed_now = {}, [], False
            run.source = Source.FORK
            run.step += 1
        elif status is not None and not rec.exits:
            rec.status(status)
    run.publisher.values(None)


def _null_entries(run: Run) -> list[Entry]:
    return [Entry(INPUT, KIND_COMMAND, (), run.null_writes)] if run.null_writes else []


def close_superstep(
    run: Run, step: int, known: Mapping[bytes, list[Write]]
) -> tuple[list[TaskWrites], list[Entry]]:
    """What the open superstep contributes when it is closed: finished tasks what they wrote,
    the others nothing.

    Where the writes break a channel's rule (the run failed at that very barrier, and said
    so), none of them counts: else the thread could never go on.
    """
    tasks = sorted(plan(run.spec, run.state, inputs=False), key=lambda t: t.order)
    done: list[TaskWrites] = []
    entries = []
    for task in tasks:
        name = task.id(run.checkpoint_id, run.ns, step)
        left = known.get(run.pending.handler_of(task, name) or name, [])
        done.append((task, left))
        shown = task.triggers if task.index < 0 else ()
        entries.append(Entry(task.name, task.index, shown, left))
    if any(writes for _, writes in done):
        try:
            apply(run.spec, run.state.copy(run.spec), done)
        except Exception as exc:  # noqa: BLE001  # whatever a reducer raises: it was reported
            logger.warning(
                "The open superstep of thread %r cannot be applied and is dropped: %s",
                run.thread_id,
                type(exc).__name__,
            )
            done = [(by, ()) for by, _ in done]
            entries = [e._replace(writes=()) for e in entries]
    return done, entries


def _take_in(run: Run, given: Any) -> bool:
    """Apply input together with what the hidden first node makes of it.

    These are two barriers and a superstep, but where nothing is recorded, shown, or stopped at,
    nobody can tell; for a run of a few cheap nodes they are a fifth of what it costs.

    Returns:
        Whether it was done: not, where anything is out of the ordinary.
    """
    spec, entry = run.spec, run.spec.entry
    if (
        entry is None
        or type(given) is not dict
        or run.rec is not None
        or run.interrupt_before
        or run.interrupt_after
        or run.state.started
        or not run.is_simple()
        or is_heard(run)
    ):
        return False
    try:
        writes = entry.writer.own_writes(given)
    except Exception:  # noqa: BLE001  # the node itself will raise it, and be named with it
        return False
    by = Outside(START)
    take_in(spec, run.state, by, writes)
    run.source = Source.INPUT
    run.step += 2
    run.barriers += 1
    run.publisher.values([(by, writes)])
    return True


def new_input(run: Run, writes: Sequence[Write]) -> None:
    """Apply input writes, closing whatever superstep was open.

    Writes of tasks that had finished in it are applied first, so that what `get_state` showed
    is not lost; the others are dropped.
    """
    # What finished siblings wrote to the state counts; what they would have started does not.
    done: list[TaskWrites] = []
    entries: list[Entry] = []
    if run.state.started:
        known = {
            task: [w for w in writes_ if w[0] in run.spec.state_set]
            for task, writes_ in ({} if run.replaying else run.pending.outputs).items()
        }
        done, entries = close_superstep(run, run.step, known)
    done.append((Outside(INPUT, (9, "", 0)), writes))
    entries.append(Entry(INPUT, KIND_INPUT, (), writes))
    entries = _null_entries(run) + entries
    changed = apply(run.spec, run.state, done)
    rec = run.rec
    if rec is not None:
        ops = deltas(run.spec, run.state, changed)
        if run.carried:
            ops = compose(run.carried, ops, run.state.channels)
        if not rec.exits:
            run.parent_checkpoint = rec.checkpoint_id or None
        rec.checkpoint(
            run.state,
            source=Source.INPUT,
            step=run.step,
            entries=entries,
            ops=ops,
            thread=change(run, ThreadStatus.RUNNING, RunStatus.RUNNING, ()),
        )
    if run.pending:
        run.pending = Pending()
    run.null_writes, run.carried, run.answer = [], {}, []
    run.replaying = False
    run.source = Source.INPUT
    run.step += 1


__all__ = ["begin", "close_superstep", "new_input"]

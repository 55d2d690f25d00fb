"""The ways into the engine: run a graph, on a thread or without one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from stepwell._clock import SYSTEM_CLOCK
from stepwell._engine.arguments import RunConfig, one_of
from stepwell._engine.begin import begin
from stepwell._engine.ending import complete, end, hand_back, release
from stepwell._engine.family import Replay
from stepwell._engine.halt import Halt, Stopped
from stepwell._engine.nested import outer_task, run_nested
from stepwell._engine.once import Once, is_over, needs_thread
from stepwell._engine.open import Opened, claim_thread, give_back
from stepwell._engine.options import RunOptions, configure, configure_nested, set_context
from stepwell._engine.program import Program
from stepwell._engine.recorder import Recorder
from stepwell._engine.run import Run
from stepwell._engine.screened import recorder
from stepwell._engine.task import TaskRun
from stepwell._engine.watch import Watch
from stepwell._ids import RANDOM_IDS, parse_checkpoint_id
from stepwell._plan.state import ThreadState
from stepwell.checkpoint.driver import RunRow, RunStatus, Source, ThreadStatus
from stepwell.constants import NS_END
from stepwell.errors import (
    GraphDrained,
    GraphInterrupt,
    InternalError,
    StepwellError,
    UsageError,
)
from stepwell.types import Command, Durability

T = TypeVar("T")

logger = logging.getLogger("stepwell")

DEFAULT_RECURSION_LIMIT = 10007
"""Supersteps a run may take when its config does not say."""


async def run_graph(program: Program, given: Any, config: RunConfig, options: RunOptions) -> Any:
    """Run a graph to its end, its next question, or its failure.

    Returns:
        The graph's output; with questions under "__interrupt__" if it stopped at some.

    Raises:
        Exception: What a node raised, as it is, with a note.
        StepwellError: The run could not begin, go on, or be made durable.
    """
    try:
        outer = outer_task(config)
        if options.idempotency_key is not None and (outer or program.saver is None):
            raise needs_thread(inside=outer is not None)
        if outer is not None and (
            program.saver is None or not program.persists or outer.run.rec is not None
        ):
            return await run_nested(
                program, given, config, outer, lambda run: configure_nested(run, options)
            )
        if program.saver is None:
            if program.keeps_history:
                msg = (
                    "checkpointer=True cannot be used for root graphs: it means the history that "
                    "a graph around this one lends. Compile the root with a saver."
                )
                raise UsageError(msg)
            return await _run_without_thread(program, given, config, options)
        return await _run_on_thread(program, given, config, options, outer)
    finally:
        if options.sink is not None:
            options.sink.close()


async def _run_without_thread(
    program: Program, given: Any, config: RunConfig, options: RunOptions
) -> Any:
    run = Run(
        program, ThreadState(program.spec), config,
        clock=SYSTEM_CLOCK, ids=RANDOM_IDS, run_id=config.run_id or "",
    )  # fmt: skip
    set_context(run, options)
    configure(run, options)
    try:
        begin(run, given, addressed=False, superseded=False)
        await run.loop()
        return run.publisher.result()
    finally:
        release(run)


async def _run_on_thread(
    program: Program,
    given: Any,
    config: RunConfig,
    options: RunOptions,
    outer: TaskRun | None = None,
) -> Any:
    """`outer`: the task of a graph without a saver that this one, which has one, is inside."""
    config.require_thread("Running")
    ns = ""
    if outer is not None:
        # Without a saver, tasks have no names of their own that differ from run to run.
        ns = f"{outer.name}{NS_END}{RANDOM_IDS.run_id()}"
    elif config.checkpoint_ns or config.checkpoint_map:
        # A checkpoint of a graph inside: go back to the root's that it belongs to.
        config.checkpoint_id = config.checkpoint_map.get("", config.checkpoint_id)
    if options.durability is not None:
        one_of("durability", options.durability, ("sync", "async", "exit"))
    run_id = config.run_id or RANDOM_IDS.run_id()

    async def claim(on_conflict: str) -> Opened:
        limit = program.lock_timeout if options.lock_timeout is None else options.lock_timeout
        return await claim_thread(
            program, config, on_conflict=on_conflict, lock_timeout=limit, ns=ns, run_id=run_id
        )

    on_conflict = program.on_conflict if options.on_conflict is None else options.on_conflict

    async def run(opened: Opened) -> Any:
        return await under_claim(
            opened,
            lambda: _run_claimed(
                opened, given, config, options, outer=outer, once=once, run_id=run_id
            ),
            run_id,
        )

    once: Once | None = None
    if options.idempotency_key is None or program.saver is None:
        return await run(await claim(on_conflict))
    once = Once(program, program.saver, config, given, options)
    with once.under_way(await program.saver.journal()) as alone:
        found = await once.claim(claim, on_conflict if alone else "wait")
        return await (once.replay(found) if isinstance(found, RunRow) else run(found))


async def under_claim(opened: Opened, work: Callable[[], Awaitable[T]], run_id: str) -> T:
    """Do something with a claimed thread, then let it go. `run_id`: what it is done for.

    Raises:
        StepwellError: The claim was lost, and the work cancelled.
        RunPreemptedError: Somebody asked for the thread.
    """
    halt = opened.halt = Halt(opened.handle)
    try:
        try:
            with opened.handle.call():
                return await work()
        except asyncio.CancelledError:
            if halt.undoes:
                await halt.to_the_end(_undo(opened))
            raise
        finally:
            halt.close()
            await give_back(opened.handle)
    except asyncio.CancelledError:
        # Our own cancellation, by which the claim's halt stopped the tasks: say what it was.
        cause = halt.cause(run_id if opened.rec is None else opened.rec.run_row.run_id)
        if cause is not None:
            raise cause from None
        raise
    finally:
        await halt.settled()


async def _run_claimed(
    opened: Opened,
    given: Any,
    config: RunConfig,
    options: RunOptions,
    *,
    outer: TaskRun | None,
    once: Once | None,
    run_id: str,
) -> Any:
    """What is to be done with a claimed thread: begin a run, go on with one, or tell its end."""
    program = opened.program
    again: RunRow | None = None
    if once is not None and (again := await once.find()) is not None:
        if is_over(again):
            return await once.replay(again)
        await opened.to_head()
        await once.check_open(again, opened)
        given = None
    elif opened.unfinished and (given is not None or opened.addressed):
        await _settle_open_run(program, opened, config, options)
    elif given is None and not opened.addressed:
        again = await opened.left_open(config.run_id)
    run = make_run(program, opened, config, options, again=again, run_id=run_id)
    if once is not None and again is None:
        rec = _recorder(run)
        rec.run_row = once.begins(rec.run_row)
    if outer is not None:
        configure_nested(run, options)
    result = await drive(run, given, opened, again)
    if outer is not None and _recorder(run).run_row.status == RunStatus.INTERRUPTED:
        raise GraphInterrupt(tuple(run.interrupts))
    return result


async def _undo(opened: Opened) -> None:
    """Undo what runs under a claim: the run that was made of it, or one that was taken over."""
    from stepwell._engine.rollback import standing, undo

    rec = opened.rec
    if rec is None:
        if opened.unfinished and opened.open_run is not None:
            await undo(opened, opened.open_run, None, keep=False)
    elif not rec.ended:
        before = None if opened.again else standing(opened, exits=rec.exits)
        await undo(opened, rec.run_row, before, keep=False)


def make_run(
    program: Program,
    opened: Opened,
    config: RunConfig,
    options: RunOptions,
    *,
    again: RunRow | None = None,
    shown: bool = True,
    run_id: str = "",
) -> Run:
    """A run from the opened checkpoint: a new one, or that of the row `again` once more.

    `shown`: its caller asked for it, and sees what it does.
    """
    view = opened.view
    ids = opened.journal.ids
    durability: Durability = options.durability or program.durability or "async"
    if again is None:
        row = RunRow(
            run=opened.next_run(), run_id=run_id,
            status=int(RunStatus.RUNNING), graph=program.name,
            first_parent=0 if view is None else view.row.seq,
        )  # fmt: skip
    else:
        row = again._replace(status=int(RunStatus.RUNNING), attempts=again.attempts + 1)
    if not shown and durability == "exit":
        durability = "async"
    state = ThreadState(program.spec) if view is None else view.state
    clock = opened.journal.clock
    run = Run(program, state, config, clock=clock, ids=ids, run_id=row.run_id, ns=opened.ns)
    run.barriers = row.supersteps
    set_context(run, options)
    if shown:
        configure(run, options)
    rec = recorder(
        opened.handle, program, view,
        ns=opened.ns, durability=durability, strict=program.strict, run_row=row,
        policy=program.checkpoint_when or Recorder.policy,
    )  # fmt: skip
    metadata = dict(config.metadata)
    if config.run_id is not None:
        metadata["run_id"] = config.run_id
    if metadata and again is None:
        exact, index = rec.metadata(metadata)
        rec.run_row = rec.run_row._replace(metadata=exact, meta_index=index)
    run.rec = opened.rec = rec
    opened.again = again is not None
    run.opened = opened
    opened.head = opened.handle.head_of(opened.ns)
    if view is not None:
        run.continue_from(view)
    return run


def _replay(run: Run, opened: Opened) -> None:
    """Bound what graphs inside start from: this run goes back to an old checkpoint."""
    view = opened.view
    if view is None:
        return
    bound = view.row.record_no
    if view.row.source in (Source.UPDATE, Source.FORK) and view.parent is not None:
        parent = parse_checkpoint_id(view.parent)
        bound = bound if parent is None else parent[0]
    run.family.replay = Replay(bound)


async def drive(
    run: Run, given: Any, opened: Opened, again: RunRow | None, *, swept: bool = False
) -> Any:
    """Begin a run, or go on with one, and take it to its end.

    Args:
        again: The row of the run that is gone on with, as it was found.
        swept: Nobody called for it: if it is stopped, it is left as it was found.

    Raises:
        GraphDrained: It was asked to stop.
        Exception: Whatever a node raised.
    """
    rec = _recorder(run)
    _watch(run, opened)
    if run.control is not None:
        opened.handle.drains(run.control.request_drain)
    if opened.addressed and not (isinstance(given, Command) and given.resume is not None):
        _replay(run, opened)
    begin(run, given, addressed=opened.addressed, superseded=opened.superseded)
    if again is None and not rec.exits:
        opened.supersede(answered=run.resuming)
    if run.watch is not None:
        if again is not None and again.status == RunStatus.RUNNING:
            run.watch.run_recovered(attempt=rec.run_row.attempts)
        run.watch.run_started(attempt=rec.run_row.attempts, resumed=run.resuming)
    try:
        if not (rec.exits or (rec.waits and _takes_in(run))):
            # Claim and input are durable before the first node starts.
            await rec.durable()
        await run.loop()
        complete(run)
        await rec.durable()
    except asyncio.CancelledError as exc:
        undone = opened.halt is not None and opened.halt.undoes
        if swept and not undone:
            hand_back(run)
        elif not rec.ended and not undone:
            end(run, ThreadStatus.IDLE, RunStatus.CANCELLED, exc)
        _tell(run, "cancelled", exc)
        raise
    except (GraphDrained, Stopped) as exc:
        if swept and isinstance(exc, GraphDrained):
            hand_back(run)
        else:
            end(run, ThreadStatus.IDLE, RunStatus.CANCELLED)
        await rec.durable()
        _tell(run, "cancelled")
        if isinstance(exc, Stopped) and opened.halt is not None:
            raise opened.halt.preempted(run.run_id) from None
        raise
    except BaseException as exc:
        if not rec.ended:
            end(run, ThreadStatus.FAILED, RunStatus.FAILED, exc)
        await _settle_quietly(rec, exc)
        _tell(run, "failed", exc)
        raise
    finally:
        release(run)
    _tell(run, _how(rec))
    return run.publisher.result()


def _takes_in(run: Run) -> bool:
    """Whether the first superstep only makes the input a part of the state, and nobody looks on.

    No node of the user's runs in it; with "sync" it is committed together with the input, and
    waited for.
    """
    if run.source != Source.INPUT or run.publisher.sink is not None:
        return False
    # What is hidden and is given state instead is a node that the user does not want to see; and a
    # router behind START is the user's code.
    return all(
        task.node.hidden and task.node.takes_input and not task.node.writer.branches
        for task in run.plan()
    )


def _watch(run: Run, opened: Opened) -> None:
    if observers := opened.journal.observers:
        run.watch = Watch(observers, run)


def _tell(run: Run, status: str, error: BaseException | None = None) -> None:
    if run.watch is not None:
        run.watch.run_finished(status, error)


async def _settle_quietly(rec: Recorder, error: BaseException) -> None:
    """Wait for the failure's own records; the failure itself is what the caller must see."""
    try:
        await rec.durable()
    except StepwellError as exc:
        error.add_note(f"The failure could not be recorded: {type(exc).__name__}: {exc}")


async def _settle_open_run(
    program: Program, opened: Opened, config: RunConfig, options: RunOptions
) -> None:
    """See to the run that its worker left unfinished, before anything new is applied.

    Whoever would have waited for it finishes it; whoever would have stopped or undone it, had
    its worker lived, does that.
    """
    policy = options.on_conflict or program.on_conflict
    if policy not in ("interrupt", "rollback"):
        await _finish_open_run(program, opened, config, options)
        return
    if policy == "interrupt" and opened.view and opened.view.row.source == Source.INPUT:
        # Its input is not a part of the state yet. A run that lives is not stopped before that.
        opened.handle.stopping = True
        try:
            await _finish_open_run(program, opened, config, options)
        finally:
            opened.handle.stopping = opened.halt is not None and opened.halt.demand is not None
        return
    from stepwell._engine.rollback import stop_where_it_stands, undo

    if policy == "interrupt" or opened.open_run is None:
        await stop_where_it_stands(opened, keep=True)
    else:
        opened.open_run = await undo(opened, opened.open_run, None, keep=True)
        opened.unfinished = False
    await opened.reload()


async def _finish_open_run(
    program: Program, opened: Opened, config: RunConfig, options: RunOptions
) -> None:
    """Finish the run that its worker left unfinished, before anything new is applied.

    Its nodes see the new caller's context and config, as if he had resumed it. Its outcome
    belongs to whoever started it: a failure is recorded on the thread, logged, and does not
    fail the new run.
    """
    row = opened.open_run
    if row is None:
        return
    run = make_run(program, opened, config, options, again=row, shown=False)
    rec = _recorder(run)
    rec.keep = True
    _watch(run, opened)
    if run.control is not None:
        opened.handle.drains(run.control.request_drain)
    begin(run, None, addressed=False, superseded=False)
    if run.watch is not None:
        run.watch.run_recovered(attempt=rec.run_row.attempts)
        run.watch.run_started(attempt=rec.run_row.attempts, resumed=True)
    try:
        status, error = await _go_on(run, opened)
    except BaseException as exc:
        stopped = isinstance(exc, asyncio.CancelledError | GraphDrained)
        _tell(run, "cancelled" if stopped else "failed", exc)
        raise
    finally:
        release(run)
    _tell(run, status, error)
    opened.open_run = rec.run_row
    await opened.reload()


async def _go_on(run: Run, opened: Opened) -> tuple[str, Exception | None]:
    """Run to its end what another worker has begun: how it ended, and why it failed.

    Raises:
        GraphDrained: The process shuts down; the run was handed back.
        StorageError: Its beginning could not be recorded.
    """
    rec = _recorder(run)
    await rec.durable()
    try:
        await run.loop()
        complete(run)
    except Stopped:
        end(run, ThreadStatus.IDLE, RunStatus.CANCELLED)
        return "cancelled", None
    except GraphDrained:
        hand_back(run)
        await rec.durable()
        raise
    except Exception as exc:  # noqa: BLE001  # whatever its nodes raise: it is logged here
        if not rec.ended:
            end(run, ThreadStatus.FAILED, RunStatus.FAILED, exc)
        logger.warning(
            "The unfinished run %s of thread %r failed when it was taken over: %s",
            run.run_id, opened.key.thread_id, type(exc).__name__,
        )  # fmt: skip
        return "failed", exc
    return _how(rec), None


def _how(rec: Recorder) -> str:
    return "interrupted" if rec.run_row.status == RunStatus.INTERRUPTED else "done"


def _recorder(run: Run) -> Recorder:
    if run.rec is None:
        msg = "a run on a thread has a recorder"
        raise InternalError(msg)
    return run.rec


__all__ = [
    "DEFAULT_RECURSION_LIMIT", "RunOptions", "drive", "make_run", "run_graph", "under_claim",
]  # fmt: skip

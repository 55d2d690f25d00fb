"""Undoing runs, closing those of workers that are gone, and going back to a state of the past."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from stepwell._dataclass import dataclass
from stepwell._engine.arguments import RunConfig
from stepwell._engine.goback import Target, go_back, said_of
from stepwell._engine.open import Opened, claim_thread, give_back
from stepwell._engine.snapshot import Place
from stepwell._engine.states import history
from stepwell._ids import parse_checkpoint_id
from stepwell._journal.load import chain, parent_of
from stepwell._plan.state import ThreadState
from stepwell.checkpoint.driver import (
    RunRow,
    RunStatus,
    Source,
    ThreadChange,
    ThreadStatus,
    WriteRow,
)
from stepwell.errors import InternalError, NotFoundError, UsageError

if TYPE_CHECKING:
    from stepwell._engine.program import Program
    from stepwell.checkpoint.base import Saver
    from stepwell.config import RunnableConfig
    from stepwell.types import StateSnapshot


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a thread stood before a run: its head, what the tasks that were open had left
    (None: it is still there), how its row read (None: as that of a running thread), and
    whether the run has not touched any of it, since it writes at its end only."""

    seq: int
    left: Sequence[WriteRow] | None
    described: ThreadChange | None
    untouched: bool


async def undo(opened: Opened, row: RunRow, before: Standing | None, *, keep: bool) -> RunRow:
    """Undo a run: the thread stands again where it stood before it.

    Args:
        opened: The claimed thread.
        row: The run.
        before: Where the thread stood; None: the run began under another claim.
        keep: Whether another run follows under this claim.

    Returns:
        The run's row, closed.

    Raises:
        StorageError: It could not be made durable. The thread can be taken over as it is.
    """
    handle = opened.handle
    await handle.flushed()
    closed = row._replace(status=int(RunStatus.SUPERSEDED))
    if before is None:
        seq, left = await _before_run(opened, row)
        before = Standing(seq, left, None, untouched=False)
    target = Target(
        seq=before.seq, left=before.left, stays=lambda r: r.run != row.run,
        before=before.described, untouched=before.untouched,
    )  # fmt: skip
    await go_back(opened, target, closed, keep=keep)
    await handle.flushed()
    return closed


async def stop_where_it_stands(opened: Opened, *, keep: bool) -> None:
    """Close the run of a worker that is gone. What it has finished stays.

    Raises:
        StorageError: It could not be made durable.
    """
    row, view = opened.open_run, opened.view
    if row is None:
        return
    state = ThreadState(opened.program.spec) if view is None else view.state
    described = said_of(opened, view, state, opened.left or ())._replace(run=row.run)
    if view is not None:
        described = described._replace(state_version=view.version)
    opened.open_run = closed = row._replace(status=int(RunStatus.CANCELLED))
    opened.unfinished = False
    opened.handle.append_status(run_row=closed, thread=described, let_go=not keep)
    await opened.handle.flushed()


def standing(opened: Opened, *, exits: bool) -> Standing:
    """Where a thread stood before the run that was made of it."""
    thread = opened.handle.loaded.thread
    described = None
    if thread is not None and thread.status != ThreadStatus.RUNNING:
        described = ThreadChange(
            status=thread.status, run=thread.run, graph=thread.graph,
            fingerprint=thread.fingerprint, state_version=thread.state_version,
            next_nodes=thread.next_nodes, interrupts=thread.interrupts, error=thread.error,
        )  # fmt: skip
    return Standing(opened.head, opened.left, described, untouched=exits)


async def _before_run(opened: Opened, row: RunRow) -> tuple[int, list[WriteRow]]:
    """The head before a run whose worker is gone, and what is known to have been left there.

    Rows of a run follow each other, so the head was the row before its first one. What its
    barriers have replaced of the tasks that were open then is not known any more; what they
    have not was there before the run if it bears the epoch of the row it is filed under.
    """
    page = await opened.journal.history(opened.key, opened.ns, current=True)
    rows = chain(page.rows, page.segments)
    older = [r for r in rows if r.run != row.run]
    if not older:
        return 0, []
    head = older[-1]
    return head.seq, [w for w in page.writes if w.seq == head.seq and w.epoch == head.epoch]


async def roll_back_to(
    program: Program,
    saver: Saver,
    config: RunConfig,
    *,
    where: Callable[[StateSnapshot], bool],
    lock_timeout: float | None,
) -> RunnableConfig:
    """Make the newest state that `where` is true of the head of its thread.

    Returns:
        The config of the head.

    Raises:
        NotFoundError: It is true of none.
        ThreadBusyError: A run holds the thread.
    """
    thread_id = config.require_thread("arollback")
    place = RunConfig({"configurable": {"thread_id": thread_id}}, 1)
    opened = await claim_thread(program, place, on_conflict="wait", lock_timeout=lock_timeout)
    try:
        states = history(program, saver, config, wanted=None, before=None, limit=None)
        async with aclosing(states):
            async for shown in states:
                if _is_met(where, shown):
                    break
            else:
                msg = f"`where` is true of no state of thread {thread_id!r}."
                raise NotFoundError(msg, thread_id=thread_id)
        name = await _to_state(opened, shown)
        await opened.handle.flushed()
        return Place(thread_id, "", b"").config(name)
    finally:
        await give_back(opened.handle)


def _is_met(where: Callable[[StateSnapshot], bool], shown: StateSnapshot) -> bool:
    met: object = where(shown)
    if isinstance(met, Coroutine):
        met.close()
        msg = "`where` must be a plain function: it returned a coroutine, which is true of all."
        raise UsageError(msg)
    return bool(met)


async def _to_state(opened: Opened, shown: StateSnapshot) -> str:
    """Go back to a state of the root namespace; the new head's checkpoint id."""
    name: str = shown.config["configurable"]["checkpoint_id"]
    parsed = parse_checkpoint_id(name)
    if parsed is None:
        msg = f"a snapshot with the checkpoint id {name!r}"
        raise InternalError(msg)
    record_no, seq = parsed[0], parsed[1]
    row = opened.open_run
    given_up = (
        row._replace(status=int(RunStatus.SUPERSEDED))
        if row is not None and opened.unfinished
        else None
    )
    is_head = seq == opened.handle.head_of("")
    if is_head and given_up is None:
        return name
    page = await opened.journal.history(opened.key, "", current=True)
    rows = chain(page.rows, page.segments)
    passed = any(parent_of(r) == seq and r.source == Source.LOOP for r in rows)
    target = Target(
        seq=seq, left=() if passed else None, stays=lambda r: r.record_no <= record_no,
        untouched=is_head,
    )  # fmt: skip
    return await go_back(opened, target, given_up, keep=False)


__all__ = ["roll_back_to", "standing", "stop_where_it_stands", "undo"]

"""Bringing many threads to today's state version at once."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Literal

from stepwell._engine.arguments import RunConfig
from stepwell._engine.goback import said_of
from stepwell._engine.open import Opened, check_graph, claim_thread, give_back, revive
from stepwell._engine.program import Program
from stepwell._engine.screened import recorder
from stepwell.checkpoint._looking.listing import thread_rows
from stepwell.checkpoint._results import MigrateReport
from stepwell.checkpoint.driver import (
    LoadRequest,
    RunRow,
    RunStatus,
    Source,
    ThreadChange,
    ThreadQuery,
    ThreadRow,
    ThreadStatus,
)
from stepwell.errors import CodecError, GraphMismatchError, ThreadBusyError

if TYPE_CHECKING:
    from stepwell.checkpoint.base import Saver

_RECURSION_LIMIT = 1  # nothing is run

Outcome = Literal["migrated", "waiting", "busy"]


async def migrate_states(
    program: Program, saver: Saver, *, dry_run: bool, limit: int | None
) -> MigrateReport:
    """Read every thread of the graph that is of an older version, and record what it is today.

    A thread whose superstep is open is left as it is: what its tasks have left is filed under
    the checkpoint they belong to. It is migrated when it goes on.

    Raises:
        StorageError: The database does not answer. What was migrated is, and the call can be
            made again.
    """
    journal = await saver.journal()
    found: dict[Outcome, list[str]] = {"migrated": [], "waiting": [], "busy": []}
    failed: dict[str, str] = {}
    query = ThreadQuery(saver.scope, graph=program.name, order="thread_id", descending=False)
    async with aclosing(thread_rows(journal, query)) as rows:
        async for row in rows:
            if row.state_version >= program.state_version:
                continue
            if limit is not None and len(found["migrated"]) >= limit:
                break
            name = row.key.thread_id
            try:
                outcome = await (_look(program, saver, row) if dry_run else _migrate(program, row))
            except (GraphMismatchError, CodecError) as exc:
                failed[name] = str(exc)
            else:
                found[outcome].append(name)
    return MigrateReport(
        state_version=program.state_version,
        dry_run=dry_run,
        migrated=tuple(found["migrated"]),
        waiting=tuple(found["waiting"]),
        busy=tuple(found["busy"]),
        failed=failed,
    )


async def _look(program: Program, saver: Saver, row: ThreadRow) -> Outcome:
    """What migrating a thread would do, without claiming it."""
    if row.owner is not None or row.status == ThreadStatus.RUNNING:
        return "busy"
    check_graph(program, row)
    journal = await saver.journal()
    loaded = await journal.load(LoadRequest(row.key))
    revive(program, program.codec, row.key, loaded, None)
    return "waiting" if loaded.writes else "migrated"


async def _migrate(program: Program, row: ThreadRow) -> Outcome:
    config = RunConfig({"configurable": {"thread_id": row.key.thread_id}}, _RECURSION_LIMIT)
    try:
        opened = await claim_thread(program, config, on_conflict="reject", lock_timeout=None)
    except ThreadBusyError:
        return "busy"
    try:
        if opened.unfinished:
            return "busy"
        if opened.handle.loaded.writes:
            return "waiting"
        await _record(program, opened)
        return "migrated"
    finally:
        await give_back(opened.handle)


async def _record(program: Program, opened: Opened) -> None:
    """Append a checkpoint that says what the migrations have changed."""
    view, thread = opened.view, opened.handle.loaded.thread
    if thread is None:
        return
    due = thread.next_nodes
    if view is not None:  # the row may be of today already, or of the version of its state
        due = said_of(opened, view, view.state, ()).next_nodes
    change = ThreadChange(
        status=thread.status, run=thread.run, graph=program.name,
        fingerprint=program.fingerprint, state_version=program.state_version,
        next_nodes=due, interrupts=thread.interrupts, error=thread.error,
    )  # fmt: skip
    rec = recorder(
        opened.handle, program, view, ns="", durability="sync", strict=False,
        run_row=RunRow(run=0, run_id="", status=int(RunStatus.DONE)),
    )  # fmt: skip
    if view is None:
        rec.status(change, let_go=True)
    else:
        rec.checkpoint(
            view.state, source=Source.UPDATE, step=view.row.step + 1, entries=(), ops={},
            metadata={"migrated": {"from": view.version, "to": program.state_version}},
            thread=change, let_go=True,
        )  # fmt: skip
    await rec.durable()


__all__ = ["migrate_states"]

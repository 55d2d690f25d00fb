"""Going back: a checkpoint becomes the head again, by a row appended beside it.

Nothing is deleted: the rows of what is given up stay as a branch of the thread's history. The
new row changes nothing of the state it extends, so the same tasks are due after it; they are
named after the new row, and what tasks had left under the old one is filed again under their
new names. Histories that graphs inside keep for the whole thread go back as well; a graph
inside a task that had begun is begun again, as after every fork.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from stepwell._dataclass import dataclass
from stepwell._engine.open import Opened, revive
from stepwell._engine.pending import CALL_MARK, NULL_TASK, Pending
from stepwell._engine.recorder import Recorder
from stepwell._engine.screened import recorder
from stepwell._ids import digest16
from stepwell._journal.load import chain, pending_writes
from stepwell._journal.record import FORMAT_JSON, SLOT_OUTPUT, BodyEncoder
from stepwell._plan.state import ThreadState
from stepwell._plan.tasks import PUSH, Task, due_names, handler_id, plan
from stepwell.checkpoint.driver import (
    CheckpointRow,
    LoadRequest,
    RunRow,
    Source,
    ThreadChange,
    ThreadStatus,
    WriteRow,
)
from stepwell.constants import NS_END

if TYPE_CHECKING:
    from stepwell._engine.snapshot import View

_BEFORE_ANYTHING = -2
"""The step of a row that leads back to an empty thread: the next input is its first again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to go back to.

    Args:
        seq: The checkpoint; 0 = the empty thread.
        left: The pending writes to be filed again; None: those that are filed there.
        stays: Of a row of a graph inside that keeps one history per thread: whether it is
            older than what is given up.
        before: How the thread's row described it then; None: to be found out.
        untouched: Whether it is the head, and nothing was filed there since.
    """

    seq: int
    left: Sequence[WriteRow] | None = ()
    stays: Callable[[CheckpointRow], bool]
    before: ThreadChange | None = None
    untouched: bool = False


async def go_back(opened: Opened, target: Target, run_row: RunRow | None, *, keep: bool) -> str:
    """Append the row that makes an old checkpoint the head, and all that goes with it.

    Args:
        opened: The claimed thread; everything appended under the claim must be durable.
        target: Where to.
        run_row: The run that is given up, closed; None: it is none that was.
        keep: Whether the claim outlives this.

    Returns:
        The new head's checkpoint id ("" if nothing had to be appended).
    """
    handle, journal, program = opened.handle, opened.journal, opened.program
    loaded = await journal.load(LoadRequest(opened.key, opened.ns, target.seq, current=True))
    view = revive(program, opened.codec, opened.key, loaded, target.seq, ns=opened.ns)
    left = loaded.writes if target.left is None else target.left
    state = ThreadState(program.spec) if view is None else view.state
    appends = bool(handle.head_of(opened.ns)) and not target.untouched
    described = target.before or said_of(opened, view, state, left)
    if target.before is not None and appends:
        # The new head is of today's graph, whichever graph wrote the old one.
        described = described._replace(
            graph=program.name, fingerprint=program.fingerprint,
            state_version=program.state_version,
        )  # fmt: skip
        if view is not None and view.upgrade is not None:
            due = said_of(opened, view, state, left).next_nodes
            described = described._replace(next_nodes=due)
    if run_row is not None:
        described = described._replace(run=run_row.run)
    inside = await _graphs_inside(opened, target)
    name = "" if view is None else view.name
    # Found by halves, it would be an undone run that nobody finishes undoing.
    with handle.together():
        handle.append_status(run_row=run_row, thread=described)
        for append in inside:
            append()
        if appends:
            name = _append(opened, view, state, left)
        if not keep:
            handle.append_status(run_row=run_row, thread=described, let_go=True)
    return name


def _append(opened: Opened, view: View | None, state: ThreadState, left: Sequence[WriteRow]) -> str:
    """Append the new head, and file what tasks had left under its parent; its checkpoint id."""
    program = opened.program
    made_by = RunRow(run=0 if view is None else view.row.run, run_id="", status=0)
    rec = recorder(
        opened.handle, program, view,
        ns=opened.ns, durability="sync", strict=False, run_row=made_by,
    )  # fmt: skip
    step = _beside(None if view is None else view.row)
    rec.checkpoint(state, source=Source.FORK, step=step, entries=(), ops={})
    if view is not None and left:
        names = _renamed(
            view, state, opened.ns,
            (view.name, view.row.step + 1), (rec.checkpoint_id, step + 1),
        )  # fmt: skip
        for row in left:
            if (task_id := names(row)) is not None:
                rec.write_again(_of_today(row, opened, view, rec)._replace(task_id=task_id))
    return rec.checkpoint_id


def _of_today(row: WriteRow, opened: Opened, view: View, rec: Recorder) -> WriteRow:
    """A pending write as it is to be filed under a checkpoint of today's version."""
    upgrade = view.upgrade
    if upgrade is None or row.idx != SLOT_OUTPUT or row.task_path.startswith(CALL_MARK):
        return row
    writes, version = pending_writes(row, opened.codec)
    if version < opened.program.state_version:
        writes = upgrade.writes(writes, version)
    return rec.row_of(row.task_id, row.task_path, writes, rec.encode(writes))


def said_of(
    opened: Opened, view: View | None, state: ThreadState, left: Sequence[WriteRow]
) -> ThreadChange:
    """How a thread's row reads that stands at a checkpoint and is not running."""
    program = opened.program
    pending = Pending.from_rows(left, opened.codec)
    if view is not None and view.upgrade is not None:
        view.upgrade.pending(pending, state, (view.name, view.place.ns, view.row.step + 1))
    tasks = [] if view is None else _unfinished(view, state, pending)
    asked = len(pending.open_interrupts())
    status = ThreadStatus.DONE if view is not None else ThreadStatus.IDLE
    if asked:
        status = ThreadStatus.INTERRUPTED
    elif tasks:
        status = ThreadStatus.IDLE
    thread = opened.handle.loaded.thread
    return ThreadChange(
        status=int(status),
        run=0 if thread is None else thread.run,
        graph=program.name,
        fingerprint=program.fingerprint,
        state_version=program.state_version,
        next_nodes=orjson.dumps(list(due_names(tasks))).decode(),
        interrupts=asked,
    )


def _unfinished(view: View, state: ThreadState, pending: Pending) -> list[Task]:
    step, ns = view.row.step + 1, view.place.ns
    tasks = plan(view.spec, state, inputs=False)
    return [t for t in tasks if pending.output_of(t, t.id(view.name, ns, step)) is None]


def _renamed(
    view: View, state: ThreadState, ns: str, old: tuple[str, int], new: tuple[str, int]
) -> Callable[[WriteRow], bytes | None]:
    """The new task id of a pending write; None if the graph has no such task."""
    names: dict[bytes, bytes] = {NULL_TASK: NULL_TASK}
    spec = view.spec
    was: Iterable[Task] = plan(spec, state, inputs=False)
    for before, after in zip(was, plan(spec, state, inputs=False), strict=True):
        known, renamed = before.id(old[0], ns, old[1]), after.id(new[0], ns, new[1])
        names[known] = renamed
        if (handler := before.node.handler) is not None:
            names[handler_id(known, handler)] = handler_id(renamed, handler)
    if view.upgrade is not None:
        former = view.upgrade.task_ids(state, (old[0], ns, old[1]))
        # At once: the old id of one task may be the new one of another.
        names |= {then: names[now] for then, now in former.items() if now in names}

    def find(row: WriteRow) -> bytes | None:
        if not row.task_path.startswith(CALL_MARK):
            return names.get(row.task_id)
        place, _, name = row.task_path.rpartition(":")
        parent, _, index = place[len(CALL_MARK) :].rpartition("/")
        return digest16(new[0], ns, str(new[1]), unquote(name), PUSH, parent, index)

    return find


async def _graphs_inside(opened: Opened, target: Target) -> list[Callable[[], Any]]:
    """What to append so that histories of graphs inside, one per thread, go back as well."""
    handle = opened.handle
    if not handle.has_namespaces:
        return []
    appends: list[Callable[[], Any]] = []
    body = BodyEncoder(opened.codec, untracked=frozenset()).step_body((), {})[0]
    for name in await opened.journal.namespaces(opened.key):
        if name == opened.ns or NS_END in name:
            continue  # named after a task: the tasks to come have other names
        page = await opened.journal.history(opened.key, name, current=True)
        handle.learn(page)
        rows = chain(page.rows, page.segments)
        kept = [r for r in rows if target.stays(r)]
        if len(kept) == len(rows):
            continue
        appends.append(_return_to(opened, name, kept[-1] if kept else None, body))
    return appends


def _beside(row: CheckpointRow | None) -> int:
    """The step of what goes back to a row; where that has itself gone back to nothing, so does
    this."""
    if row is None or row.step == _BEFORE_ANYTHING:
        return _BEFORE_ANYTHING
    return row.step + 1


def _return_to(
    opened: Opened, name: str, row: CheckpointRow | None, body: bytes
) -> Callable[[], Any]:
    handle = opened.handle

    def append() -> None:
        handle.append_checkpoint(
            handle.namespace(name),
            parent=0 if row is None else row.seq,
            step=_beside(row),
            source=int(Source.FORK),
            run=0 if row is None else row.run,
            format=FORMAT_JSON,
            crc=zlib.crc32(body),
            body=body,
        )

    return append


__all__ = ["Target", "go_back", "said_of"]

"""Reading states: the newest, one by id, and the history. Never claims, never locks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepwell._engine.arguments import RunConfig
from stepwell._engine.open import Children, add_contributions, check_due, revive
from stepwell._engine.pending import Pending
from stepwell._engine.program import Program
from stepwell._engine.snapshot import (
    Inside,
    Place,
    View,
    empty_snapshot,
    graphs_inside,
    row_metadata,
    snapshot,
)
from stepwell._ids import parse_checkpoint_id
from stepwell._journal.journal import Journal
from stepwell._journal.pages import Sheet, page_sizes, runs_of
from stepwell.checkpoint.driver import (
    CheckpointRow,
    LoadRequest,
    RunRow,
    ThreadKey,
    WriteRow,
)
from stepwell.config import RunnableConfig
from stepwell.types import StateSnapshot

if TYPE_CHECKING:
    from stepwell.checkpoint.base import Saver


async def get_state(
    program: Program, saver: Saver, config: RunConfig, *, subgraphs: bool = False
) -> StateSnapshot:
    """The snapshot a config names: the newest one, or that of its `checkpoint_id`.

    Args:
        program: The graph, or one inside it: the one whose namespace the config names.
        saver: Where the thread is.
        config: Thread, namespace and checkpoint.
        subgraphs: Show the states of the graphs inside tasks, not only their configs.

    Returns:
        An empty snapshot when there is no such thread or checkpoint.

    Raises:
        CorruptRecordError: A record is damaged.
        GraphMismatchError: The thread goes on at a node that the graph does not have.
    """
    thread_id = config.require_thread("get_state")
    key = saver.key(thread_id)
    nothing = empty_snapshot(_given(config))
    parsed = parse_checkpoint_id(config.checkpoint_id) if config.checkpoint_id else None
    if config.checkpoint_id and parsed is None:
        return nothing
    ns = program.own_namespace(config.checkpoint_ns)
    journal = await saver.journal()
    await journal.settled(key)
    if parsed is None:
        loaded = await journal.load(LoadRequest(key, ns))
        view = revive(program, program.codec, key, loaded, None, ns=ns)
    else:
        view = await _past(program, journal, key, ns, parsed[1])
    if view is None or (config.checkpoint_id and view.name != config.checkpoint_id):
        return nothing
    inside = await _inside(program, saver, view, subgraphs=subgraphs)
    return snapshot(program.spec, view, live=parsed is None, inside=inside)


async def _past(
    program: Program, journal: Journal, key: ThreadKey, ns: str, seq: int
) -> View | None:
    """A checkpoint by its number; None if it is not there.

    Raises:
        CorruptRecordError: A record is damaged.
        GraphMismatchError: It goes on at a node that the graph does not have.
    """
    sheet = Sheet(await journal.page(key, ns, seq, 1))
    if sheet.page.last != seq:
        return None
    rows = sheet.rows()
    runs = await runs_of(journal, key, sheet, rows)
    (view,) = _views(program, key.thread_id, ns, sheet, runs, rows, strict=True)
    return view


async def _inside(
    program: Program, saver: Saver, view: View, *, subgraphs: bool
) -> dict[str, Inside]:
    """What a snapshot shows of the graphs inside its tasks, by task id."""
    children = program.children()
    if not children:
        return {}
    found: dict[str, Inside] = {}
    for task_id, (node, config) in graphs_inside(view, children).items():
        found[task_id] = config
        if subgraphs:
            place = RunConfig(config, 1)
            found[task_id] = await get_state(children[node], saver, place, subgraphs=True)
    return found


def _given(config: RunConfig) -> RunnableConfig:
    return {"configurable": dict(config.configurable)}


async def history(
    program: Program,
    saver: Saver,
    config: RunConfig,
    *,
    wanted: Mapping[str, Any] | None,
    before: str | None,
    limit: int | None,
) -> AsyncGenerator[StateSnapshot, None]:
    """Snapshots of a thread, newest first, over all branches.

    Args:
        wanted: Metadata that a snapshot must have, compared by equality.
        before: A checkpoint id; only older ones are shown.
        limit: How many at most.

    Raises:
        CorruptRecordError: A record is damaged.
    """
    thread_id = config.require_thread("get_state_history")
    key = saver.key(thread_id)
    journal = await saver.journal()
    await journal.settled(key)
    upto, single = _upto(config.checkpoint_id, before), config.checkpoint_id is not None
    ns = program.own_namespace(config.checkpoint_ns)
    nested = bool(program.children())
    left = min(1 if limit is None else limit, 1) if single else limit
    sizes = page_sizes(None if wanted else left)
    while upto != 0 and (left is None or left > 0):
        sheet = Sheet(await journal.page(key, ns, upto, next(sizes)))
        if not sheet.page.last or (single and sheet.page.last != upto):
            return
        rows = sheet.rows()
        runs = await runs_of(journal, key, sheet, rows)
        if wanted:
            known = {r.seq: row_metadata(r, runs.get(r.run), program.codec) for r in rows}
            rows = [r for r in rows if _has(known[r.seq], wanted)]
        for view in _views(program, thread_id, ns, sheet, runs, rows[-left:] if left else rows):
            inside = await _inside(program, saver, view, subgraphs=False) if nested else None
            yield snapshot(program.spec, view, live=False, inside=inside)
        if single:
            return
        left = None if left is None else left - len(rows)
        upto = sheet.page.first - 1


def _has(metadata: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(name in metadata and metadata[name] == value for name, value in wanted.items())


def _upto(checkpoint: str | None, before: str | None) -> int | None:
    """The newest seq to look at; 0: there is nothing to look at; None: no bound."""
    bound = None
    if before is not None:
        parsed = parse_checkpoint_id(before)
        bound = 0 if parsed is None else parsed[1] - 1
    if checkpoint is None:
        return bound
    parsed = parse_checkpoint_id(checkpoint)
    return 0 if parsed is None or (bound is not None and parsed[1] > bound) else parsed[1]


def _views(
    program: Program,
    thread_id: str,
    ns: str,
    sheet: Sheet,
    runs: Mapping[int, RunRow],
    rows: Sequence[CheckpointRow],
    *,
    strict: bool = False,
) -> Iterator[View]:
    """Some checkpoints of a page, newest first, with what their tasks did.

    Raises:
        CorruptRecordError: A record is damaged, or missing.
        GraphMismatchError: `strict`, and one goes on at a node that the graph does not have.
    """
    codec, page = program.codec, sheet.page
    if page.thread is None:
        return
    place = Place(thread_id, ns, page.thread.uid)
    children = Children(codec)
    states = sheet.states({row.seq for row in rows}, children)
    filed: dict[int, list[WriteRow]] = {}
    for write in page.writes:
        filed.setdefault(write.seq, []).append(write)
    known: dict[int, dict[str, Any]] = {}
    for row in reversed(rows):
        standing = states[row.seq]
        view = View(
            program, place,
            row=row, parent=standing.parent, folded=standing.folded,
            pending=Pending.from_rows(filed.get(row.seq, ()), codec),
            run=runs.get(row.run), known=known,
        )  # fmt: skip
        for found, version in children.found.get(row.seq, ()):
            add_contributions(view, view.pending, found, version)
        if strict:
            check_due(program, standing.folded, thread_id)
        yield view


__all__ = ["get_state", "history"]

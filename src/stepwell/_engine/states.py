"""Reading states: the newest, one by id, and the history. Never claims, never locks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from stepwell._codec import Codec
from stepwell._engine.arguments import RunConfig
from stepwell._engine.open import (
    add_contributions,
    parent_of,
    past_pending,
    revive,
    shows_tasks,
    told,
)
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
from stepwell._journal.load import Contribution, Folded, add_row, chain, contributions
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import CheckpointRow, HistoryPage, LoadRequest
from stepwell.config import RunnableConfig
from stepwell.errors import CorruptRecordError
from stepwell.types import StateSnapshot


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
    seq = parsed[1] if parsed else None
    loaded = await journal.load(LoadRequest(key, ns, seq))
    view = revive(program, program.codec, key, loaded, seq, ns=ns)
    if view is None or (config.checkpoint_id and view.name != config.checkpoint_id):
        return nothing
    inside = await _inside(program, saver, view, subgraphs=subgraphs)
    if seq is None:
        return snapshot(program.spec, view, live=True, inside=inside)
    heads = dict(loaded.thread.namespaces.values()) if loaded.thread else {}
    if seq != heads.get(ns):
        page = await journal.history(key, ns, None)
        view.pending = past_pending(program, program.codec, view, page)
    return snapshot(program.spec, view, live=False, inside=inside)


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
    upto = _upto(config.checkpoint_id, before)
    if upto == 0 or (limit is not None and limit < 1):
        return
    ns = program.own_namespace(config.checkpoint_ns)
    page = await journal.history(key, ns, upto)
    if page.thread is None:
        return
    place = Place(thread_id, ns, page.thread.uid)
    rows = [r for r in chain(page.rows, page.segments) if upto is None or r.seq <= upto]
    chosen = _choose(page, rows, program.codec, wanted, limit)
    if config.checkpoint_id is not None:
        chosen = {s for s in chosen if s == upto}
    views = _views(program, place, page, rows, chosen)
    for seq in sorted(views, reverse=True):
        view = views[seq]
        inside = await _inside(program, saver, view, subgraphs=False)
        yield snapshot(program.spec, view, live=False, inside=inside)


def _upto(checkpoint: str | None, before: str | None) -> int | None:
    """The newest seq to look at; None = no bound."""
    if before is not None:
        parsed = parse_checkpoint_id(before)
        return 0 if parsed is None else parsed[1] - 1
    if checkpoint is not None:
        parsed = parse_checkpoint_id(checkpoint)
        return 0 if parsed is None else parsed[1]
    return None


def _choose(
    page: HistoryPage,
    rows: list[CheckpointRow],
    codec: Codec,
    wanted: Mapping[str, Any] | None,
    limit: int | None,
) -> set[int]:
    chosen: set[int] = set()
    for row in reversed(rows):
        if limit is not None and len(chosen) >= limit:
            break
        if wanted:
            metadata = row_metadata(row, page.runs.get(row.run), codec)
            if any(k not in metadata or metadata[k] != v for k, v in wanted.items()):
                continue
        chosen.add(row.seq)
    return chosen


def _views(
    program: Program,
    place: Place,
    page: HistoryPage,
    rows: list[CheckpointRow],
    chosen: set[int],
) -> dict[int, View]:
    """Fold every row once, oldest first, and revive the chosen ones.

    Raises:
        CorruptRecordError: A record is damaged, or missing.
    """
    codec = program.codec
    by_seq = {r.seq: r for r in rows}
    branch_points = {r.parent for r in rows if r.parent is not None}
    saved: dict[int, Folded] = {}
    kept: dict[int, Folded] = {}
    children: dict[int, list[tuple[list[Contribution], int]]] = {}
    current, at = Folded(), 0
    for row in rows:
        parent = parent_of(row)
        if parent != at:
            current = _branched(saved, row, parent)
        document = add_row(current, row)
        at = row.seq
        if parent in chosen and shows_tasks(row):
            found = told(row, contributions(document, current.snapshot(), codec))
            children.setdefault(parent, []).append((found, current.state_version))
        if row.seq in branch_points:
            saved[row.seq] = current.snapshot()
        if row.seq in chosen:
            kept[row.seq] = current.snapshot()
    views = {}
    for seq, folded in kept.items():
        row = by_seq[seq]
        view = View(
            program, place,
            row=row, parent=by_seq.get(parent_of(row)), folded=folded,
            pending=Pending.from_rows((w for w in page.writes if w.seq == seq), codec),
            run=page.runs.get(row.run),
        )  # fmt: skip
        for found, version in children.get(seq, ()):
            add_contributions(program, view, view.pending, found, version)
        views[seq] = view
    return views


def _branched(saved: Mapping[int, Folded], row: CheckpointRow, parent: int) -> Folded:
    """The state that a row extends which does not extend the one before it."""
    if not parent:
        return Folded()
    if parent not in saved:
        msg = f"Record {row.record_no} continues checkpoint {parent}, which is not there."
        raise CorruptRecordError(msg, seq=row.seq)
    return saved[parent].snapshot()


__all__ = ["get_state", "history"]

"""Reading what a database holds into the checker's plain model."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from stepwell._codec import Codec
from stepwell._ids import checkpoint_id
from stepwell._journal.journal import Journal
from stepwell._journal.load import Folded, add_row, chain, parse
from stepwell._journal.metadata import decode_metadata
from stepwell.checkpoint.base import Saver
from stepwell.checkpoint.driver import (
    CheckpointRow,
    HistoryPage,
    LoadRequest,
    RunRow,
    RunStatus,
    Source,
    ThreadKey,
    ThreadRow,
    ThreadStatus,
)
from stepwell.errors import CorruptRecordError
from stepwell.testing._stored import (
    StoredCheckpoint,
    StoredDatabase,
    StoredRun,
    StoredThread,
    StoredWrite,
)

if TYPE_CHECKING:
    from stepwell.graph.state import CompiledStateGraph

_PAGE = 1000


async def read_database(
    saver: Saver, threads: Iterable[str], graph: CompiledStateGraph | None = None
) -> StoredDatabase:
    """What a saver's database holds of some threads. To be called on the saver's loop.

    Args:
        graph: Knows what is still to run; without it the thread's row has to tell.
    """
    journal = await saver.journal()
    found: dict[str, StoredThread] = {}
    for name in threads:
        thread = await _thread(journal, saver.key(name), saver.codec, graph)
        if thread is not None:
            found[name] = thread
    return StoredDatabase(threads=found)


async def _thread(
    journal: Journal, key: ThreadKey, codec: Codec, graph: CompiledStateGraph | None
) -> StoredThread | None:
    row = (await journal.load(LoadRequest(key, current=True))).thread
    if row is None:
        return None
    names = ["", *await journal.namespaces(key)]
    checkpoints: list[StoredCheckpoint] = []
    writes: list[StoredWrite] = []
    heads: dict[str, int] = {}
    damage: list[str] = []
    for name in names:
        page = await journal.history(key, name, current=True)
        if page.thread is not None:
            row = page.thread
            heads.update({ns: head for ns, head in row.namespaces.values() if head})
        checkpoints += _checkpoints(page, name, damage)
        writes += _writes(page, name)
        await _compare_load(journal, key, name, checkpoints, damage)
    following = await _next(row, graph, damage)
    return StoredThread(
        thread_id=key.thread_id,
        epoch=row.epoch,
        record_no=row.record_no,
        status=ThreadStatus(row.status).name.lower(),
        next=following,
        heads=heads,
        checkpoints=checkpoints,
        writes=writes,
        runs=await _runs(journal, key, codec),
        damage=damage,
    )


def _checkpoints(page: HistoryPage, ns: str, damage: list[str]) -> list[StoredCheckpoint]:
    rows = list(chain(page.rows, page.segments))
    uid = b"" if page.thread is None else page.thread.uid
    states = _states(rows, ns, damage)
    return [_checkpoint(row, ns, uid, states.get(row.seq)) for row in rows]


def _states(rows: Sequence[CheckpointRow], ns: str, damage: list[str]) -> dict[int, Any]:
    """Seq -> folded state, as the library folds it."""
    states: dict[int, Folded] = {}
    for row in rows:
        parent = row.seq - 1 if row.parent is None else row.parent
        before = states.get(parent)
        if before is None and parent:
            damage.append(f"{ns!r} seq {row.seq}: the state before it cannot be folded")
            continue
        after = Folded() if before is None else before.snapshot()
        try:
            add_row(after, row)
        except CorruptRecordError as error:
            damage.append(f"{ns!r} seq {row.seq}: {error}")
            continue
        states[row.seq] = after
    return {seq: _plain(folded) for seq, folded in states.items()}


def _plain(folded: Folded) -> dict[str, Any]:
    """A copy that nothing shares: later rows extend lists in place."""
    plain: dict[str, Any] = orjson.loads(orjson.dumps(folded.values))
    return plain


def _checkpoint(
    row: CheckpointRow, ns: str, uid: bytes, state: dict[str, Any] | None
) -> StoredCheckpoint:
    name = (
        checkpoint_id(uid, ns, row.seq, row.record_no)
        if row.checkpoint_id is None
        else str(uuid.UUID(bytes=row.checkpoint_id))
    )
    return StoredCheckpoint(
        ns=ns,
        seq=row.seq,
        parent=row.seq - 1 if row.parent is None else row.parent,
        checkpoint_id=name,
        step=row.step,
        source=Source(row.source).name.lower(),
        run=row.run,
        epoch=row.epoch,
        record_no=row.record_no,
        document={} if state is None else parse(row),
        state=state,
        metadata=decode_metadata(row.metadata, Codec()),
    )


def _writes(page: HistoryPage, ns: str) -> list[StoredWrite]:
    return [
        StoredWrite(
            ns=ns,
            seq=write.seq,
            task=str(uuid.UUID(bytes=write.task_id)),
            slot=write.idx,
            path=write.task_path,
            epoch=write.epoch,
            record_no=write.record_no,
        )
        for write in page.writes
    ]


async def _compare_load(
    journal: Journal,
    key: ThreadKey,
    ns: str,
    checkpoints: Sequence[StoredCheckpoint],
    damage: list[str],
) -> None:
    """A load, which is what runs go on from, has to show what the listing shows."""
    loaded = await journal.load(LoadRequest(key, ns, current=True))
    rows = list(chain(loaded.rows, loaded.segments))
    if not rows:
        return
    listed = {row.seq: row for row in checkpoints if row.ns == ns}
    folded = Folded()
    try:
        for row in rows:
            add_row(folded, row)
    except CorruptRecordError as error:
        damage.append(f"{ns!r}: its head cannot be loaded: {error}")
        return
    known = listed.get(rows[-1].seq)
    if known is not None and known.state is not None and known.state != _plain(folded):
        damage.append(f"{ns!r} seq {rows[-1].seq}: load and history give different states")


async def _runs(journal: Journal, key: ThreadKey, codec: Codec) -> list[StoredRun]:
    rows: list[RunRow] = []
    after: int | None = None
    while True:
        page = await journal.runs(key, after=after, limit=_PAGE)
        rows += page
        if len(page) < _PAGE:
            break
        after = page[-1].run
    return [
        StoredRun(
            run=row.run,
            run_id=row.run_id,
            status=RunStatus(row.status).name.lower(),
            metadata=decode_metadata(row.metadata, codec),
        )
        for row in rows
    ]


async def _next(
    row: ThreadRow, graph: CompiledStateGraph | None, damage: list[str]
) -> tuple[str, ...] | None:
    if graph is not None:
        try:
            shown = await graph.aget_state({"configurable": {"thread_id": row.key.thread_id}})
        except Exception as error:  # noqa: BLE001  # whatever it is, it is a finding
            damage.append(f"the state cannot be read: {error!r}")
            return None
        return shown.next
    if row.status in (ThreadStatus.DONE, ThreadStatus.INTERRUPTED, ThreadStatus.FAILED):
        return tuple(orjson.loads(row.next_nodes))
    return None


__all__ = ["read_database"]

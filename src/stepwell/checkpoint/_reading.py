"""Checkpoints in the shape that LangGraph's savers give them, folded without the graph."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from stepwell._codec import Codec
from stepwell._ids import checkpoint_id, parse_checkpoint_id
from stepwell._journal.load import (
    Folded,
    Piece,
    Revived,
    add_row,
    chain,
    fold,
    parent_in,
    parse,
    pending_value,
    pending_writes,
    trail,
)
from stepwell._journal.metadata import decode_metadata
from stepwell._journal.record import (
    SLOT_ERROR,
    SLOT_HANDLED,
    SLOT_INTERRUPT,
    SLOT_OUTPUT,
    SLOT_RESUME,
)
from stepwell._journal.renames import INNER
from stepwell.checkpoint._listing import (
    OpenReader,
    Reader,
    matches,
    moment,
    thread_keys,
)
from stepwell.checkpoint._names import thread_id_of
from stepwell.checkpoint._results import CheckpointTuple
from stepwell.checkpoint.driver import (
    CheckpointRow,
    HistoryPage,
    Loaded,
    LoadRequest,
    RunRow,
    Source,
    ThreadKey,
    WriteRow,
)
from stepwell.config import RunnableConfig
from stepwell.constants import CONF
from stepwell.errors import CorruptRecordError, NotFoundError, UsageError
from stepwell.types import Interrupt

SHAPE_VERSION = 4
"""What LangGraph 1.x writes into `checkpoint["v"]` of this shape."""
_STATES_MAX = 100
"""How many whole states a listing holds at a time."""
_SLOTS = {
    SLOT_ERROR: "__error__",
    SLOT_HANDLED: "__error_source_node__",
    SLOT_INTERRUPT: "__interrupt__",
    SLOT_RESUME: "__resume__",
}


class Place(NamedTuple):
    """What a config names. `ns` None: every namespace; `checkpoint` None: the newest."""

    thread_id: str
    ns: str | None
    checkpoint: str | None


def place_of(config: Mapping[str, Any]) -> Place:
    """Read a config.

    Raises:
        UsageError: It names no thread.
        InvalidIdError: The thread id is none.
    """
    given = config.get(CONF) or {}
    if given.get("thread_id") is None:
        raise UsageError('The config names no thread: {"configurable": {"thread_id": "..."}}.')
    checkpoint = given.get("checkpoint_id")
    return Place(
        thread_id_of(given["thread_id"]),
        given.get("checkpoint_ns"),
        None if checkpoint is None else str(checkpoint),
    )


class _Namespace(NamedTuple):
    """A namespace of a thread, and what names its checkpoints."""

    thread_id: str
    name: str
    uid: bytes

    def id_of(self, row: CheckpointRow) -> str:
        if row.checkpoint_id is not None:
            return str(uuid.UUID(bytes=row.checkpoint_id))
        return checkpoint_id(self.uid, self.name, row.seq, row.record_no)

    def config(self, row: CheckpointRow) -> RunnableConfig:
        return {
            "configurable": {
                "thread_id": self.thread_id,
                "checkpoint_ns": self.name,
                "checkpoint_id": self.id_of(row),
            }
        }


class _Found(NamedTuple):
    """The chain of a checkpoint that a config names; its row is the last piece."""

    space: _Namespace
    row: CheckpointRow
    pieces: Sequence[Piece]
    loaded: Loaded


async def _find(reader: Reader, key: ThreadKey, place: Place) -> _Found | None:
    ns, seq = place.ns or "", None
    if place.checkpoint is not None:
        parsed = parse_checkpoint_id(place.checkpoint)
        if parsed is None:
            return None
        seq = parsed[1]
    loaded = await reader.journal.load(LoadRequest(key, ns, seq))
    pieces = trail(loaded, seq)
    row = pieces[-1] if pieces else None
    if loaded.thread is None or not isinstance(row, CheckpointRow):
        return None
    space = _Namespace(key.thread_id, ns, loaded.thread.uid)
    if place.checkpoint is not None and space.id_of(row) != place.checkpoint:
        return None
    return _Found(space, row, pieces, loaded)


async def get_tuple(reader: Reader, key: ThreadKey, place: Place) -> CheckpointTuple | None:
    """The checkpoint a config names, or the newest of its namespace; None if there is none."""
    found = await _find(reader, key, place)
    if found is None:
        return None
    return _tuple(
        reader.codec,
        found.space,
        found.row,
        parent=parent_in(found.pieces),
        folded=fold(found.pieces),
        writes=found.loaded.writes,
        run=found.loaded.runs.get(found.row.run),
    )


async def stored_values(reader: Reader, key: ThreadKey, place: Place) -> dict[str, Any]:
    """The values of the checkpoint a config names, as they are stored: plain JSON, in which
    what JSON cannot say is tagged. What leads from node to node is left out.

    Raises:
        NotFoundError: There is no such checkpoint.
    """
    found = await _find(reader, key, place)
    if found is None:
        what = (
            "no checkpoint" if place.checkpoint is None else f"no checkpoint {place.checkpoint!r}"
        )
        where = f" in the namespace {place.ns!r}" if place.ns else ""
        msg = f"Thread {key.thread_id!r} has {what}{where}."
        raise NotFoundError(msg, thread_id=key.thread_id, ns=place.ns or "")
    values = fold(found.pieces).values
    return {name: value for name, value in values.items() if not name.startswith(INNER)}


class Which(NamedTuple):
    """Which checkpoints a listing gives: those with this metadata, with a smaller record
    number, and so many at most."""

    wanted: Mapping[str, Any] | None
    before: int | None
    limit: int | None


async def list_tuples(
    opened: OpenReader, key: ThreadKey, place: Place, which: Which
) -> AsyncIterator[CheckpointTuple]:
    """Checkpoints of a thread, newest first, over all branches."""
    reader = await opened()
    async with aclosing(_tuples(reader, key, place, which)) as found:
        async for item in found:
            yield item


async def list_all_tuples(
    opened: OpenReader, scope: str, which: Which
) -> AsyncIterator[CheckpointTuple]:
    """Checkpoints of all threads; the thread written last comes first."""
    reader = await opened()
    left = which.limit
    async with aclosing(thread_keys(reader.journal, scope)) as keys:
        async for key in keys:
            if left is not None and left <= 0:
                return
            place = Place(key.thread_id, None, None)
            async with aclosing(_tuples(reader, key, place, which._replace(limit=left))) as found:
                async for item in found:
                    yield item
                    left = None if left is None else left - 1


async def _tuples(
    reader: Reader, key: ThreadKey, place: Place, which: Which
) -> AsyncGenerator[CheckpointTuple, None]:
    chosen = [
        (row, history)
        for row, history in await _rows(reader, key, place, which.before)
        if matches(history.metadata(row), which.wanted)
    ]
    if which.limit is not None:
        del chosen[which.limit :]
    for first in range(0, len(chosen), _STATES_MAX):
        some = chosen[first : first + _STATES_MAX]
        states = {
            history: history.states({row.seq for row, of in some if of is history})
            for history in {history for _, history in some}
        }
        for row, history in some:
            yield history.tuple(row, states[history][row.seq])


async def _rows(
    reader: Reader, key: ThreadKey, place: Place, before: int | None
) -> list[tuple[CheckpointRow, _History]]:
    """The rows that a config and `before` allow, newest first."""
    found: list[tuple[CheckpointRow, _History]] = []
    names = ["", *await reader.journal.namespaces(key)] if place.ns is None else [place.ns]
    for name in names:
        page = await reader.journal.history(key, name)
        if page.thread is None:
            return []
        history = _History(_Namespace(key.thread_id, name, page.thread.uid), page, reader.codec)
        for row in history.rows.values():
            named = place.checkpoint is None or history.space.id_of(row) == place.checkpoint
            if named and (before is None or row.record_no < before):
                found.append((row, history))
    found.sort(key=lambda item: item[0].record_no, reverse=True)
    return found


def record_no_of(config: Mapping[str, Any]) -> int:
    """The record number of the checkpoint that a config names.

    Raises:
        UsageError: It names none.
    """
    name = (config.get(CONF) or {}).get("checkpoint_id")
    parsed = None if name is None else parse_checkpoint_id(str(name))
    if parsed is None:
        raise UsageError(f"before= must name a checkpoint of Stepwell, not {name!r}.")
    return parsed[0]


class _History:
    """All rows of one namespace."""

    def __init__(self, space: _Namespace, page: HistoryPage, codec: Codec) -> None:
        self.space = space
        self.rows = {row.seq: row for row in chain(page.rows, page.segments)}
        self._page = page
        self._codec = codec

    def metadata(self, row: CheckpointRow) -> dict[str, Any]:
        return _metadata(row, self._page.runs.get(row.run), self._codec)

    def states(self, wanted: set[int]) -> dict[int, Folded]:
        """The states after the rows named; earlier rows are folded once on the way."""
        branched = {row.parent for row in self.rows.values() if row.parent}
        kept: dict[int, Folded] = {}
        folded, at = Folded(), 0
        for row in sorted(self.rows.values(), key=lambda r: r.seq):
            parent = row.seq - 1 if row.parent is None else row.parent
            if parent != at:
                folded = _branch(kept, parent, row)
            add_row(folded, row)
            at = row.seq
            if at in wanted or at in branched:
                kept[at] = folded.snapshot()
        return kept

    def tuple(self, row: CheckpointRow, folded: Folded) -> CheckpointTuple:
        parent = row.seq - 1 if row.parent is None else row.parent
        return _tuple(
            self._codec,
            self.space,
            row,
            parent=self.rows.get(parent),
            folded=folded,
            writes=[w for w in self._page.writes if w.seq == row.seq],
            run=self._page.runs.get(row.run),
        )


def _branch(kept: Mapping[int, Folded], parent: int, row: CheckpointRow) -> Folded:
    if not parent:
        return Folded()
    if parent not in kept:
        raise CorruptRecordError(
            f"Record {row.record_no} continues checkpoint {parent}, which is not there.",
            seq=row.seq,
        )
    return kept[parent].snapshot()


def _tuple(
    codec: Codec,
    space: _Namespace,
    row: CheckpointRow,
    *,
    parent: CheckpointRow | None,
    folded: Folded,
    writes: Sequence[WriteRow],
    run: RunRow | None,
) -> CheckpointTuple:
    created = row.created_at
    values = Revived(folded, codec).values
    return CheckpointTuple(
        config=space.config(row),
        checkpoint={
            "v": SHAPE_VERSION,
            "id": space.id_of(row),
            "ts": None if created is None else moment(created).isoformat(),
            "channel_values": values,
            "channel_versions": dict(folded.versions),
            "versions_seen": {node: dict(seen) for node, seen in folded.seen.items()},
            "updated_channels": sorted(name for name in parse(row)["c"] if name in values),
        },
        metadata=_metadata(row, run, codec),
        parent_config=None if parent is None else space.config(parent),
        pending_writes=[w for each in writes for w in _writes(each, codec)],
    )


def _metadata(row: CheckpointRow, run: RunRow | None, codec: Codec) -> dict[str, Any]:
    """The run's metadata, the row's own, and what the row itself says."""
    return {
        **decode_metadata(None if run is None else run.metadata, codec),
        **decode_metadata(row.metadata, codec),
        "source": Source(row.source).name.lower(),
        "step": row.step,
        "parents": {},
    }


def _writes(row: WriteRow, codec: Codec) -> Iterable[tuple[str, str, Any]]:
    task = str(uuid.UUID(bytes=row.task_id))
    if row.idx == SLOT_OUTPUT:
        for channel, value in pending_writes(row, codec)[0]:
            yield task, channel, value
        return
    value = pending_value(row, codec)
    if row.idx == SLOT_INTERRUPT:
        value = [Interrupt(asked, name, response_schema=schema) for asked, name, schema in value]
    yield task, row.channel or _SLOTS.get(row.idx, str(row.idx)), value

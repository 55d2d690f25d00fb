"""Checkpoints in the shape that LangGraph's savers give them, folded without the graph."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from itertools import repeat
from typing import Any, NamedTuple

from stepwell._codec import Codec
from stepwell._ids import checkpoint_id, parse_checkpoint_id
from stepwell._journal.load import (
    Folded,
    Piece,
    Revived,
    fold,
    parent_in,
    parse,
    pending_value,
    pending_writes,
    trail,
)
from stepwell._journal.metadata import decode_metadata
from stepwell._journal.pages import Sheet, Standing, page_sizes, runs_of
from stepwell._journal.record import (
    SLOT_ERROR,
    SLOT_HANDLED,
    SLOT_INTERRUPT,
    SLOT_OUTPUT,
    SLOT_RESUME,
)
from stepwell._journal.renames import INNER
from stepwell.checkpoint._looking.listing import (
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
    Loaded,
    LoadRequest,
    RunRow,
    Source,
    ThreadKey,
    WriteRow,
)
from stepwell.config import RunnableConfig
from stepwell.constants import CONF
from stepwell.errors import NotFoundError, UsageError
from stepwell.types import Interrupt

SHAPE_VERSION = 4
"""What LangGraph 1.x writes into `checkpoint["v"]` of this shape."""
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
    names = ["", *await reader.journal.namespaces(key)] if place.ns is None else [place.ns]
    spaces = [_Listed(reader, key, name, place.checkpoint, which) for name in names]
    for space in spaces:
        await space.fill()
    left = which.limit
    while (left is None or left > 0) and (space := max(spaces, key=_newest)).rows:
        yield space.take()
        left = None if left is None else left - 1
        await space.fill()


def _newest(space: _Listed) -> int:
    return space.rows[-1].record_no if space.rows else 0


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


class _Listed:
    """The checkpoints of one namespace that a listing gives, read page by page."""

    __slots__ = ("_checkpoint", "_key", "_name", "_page", "_reader", "_runs", "_sizes", "_space",
                 "_states", "_upto", "_which", "rows")  # fmt: skip

    def __init__(
        self, reader: Reader, key: ThreadKey, name: str, checkpoint: str | None, which: Which
    ) -> None:
        self._reader = reader
        self._key = key
        self._name = name
        self._checkpoint = checkpoint
        self._which = which
        self._sizes = page_sizes(None if which.wanted else which.limit)
        self._upto: int | None = None
        if checkpoint is not None:
            parsed = parse_checkpoint_id(checkpoint)
            self._upto = 0 if parsed is None else parsed[1]
            self._sizes = repeat(1)
        self._states: dict[int, Standing] = {}
        self.rows: list[CheckpointRow] = []
        """What was read and not given yet, oldest first."""

    async def fill(self) -> None:
        """See to it that there is something to give, if there is anything."""
        while not self.rows and self._upto != 0 and self._which.limit != 0:
            journal, size = self._reader.journal, next(self._sizes)
            page = await journal.page(self._key, self._name, self._upto, size)
            if page.thread is None or not page.last:
                self._upto = 0
                return
            self._space = _Namespace(self._key.thread_id, self._name, page.thread.uid)
            self._upto = 0 if self._checkpoint is not None else page.first - 1
            await self._choose(Sheet(page))

    async def _choose(self, sheet: Sheet) -> None:
        """Keep what is asked for of a page, and fold it."""
        which, codec = self._which, self._reader.codec
        self._page = sheet.page
        rows = [r for r in sheet.rows() if which.before is None or r.record_no < which.before]
        if self._checkpoint is not None:
            rows = [r for r in rows if self._space.id_of(r) == self._checkpoint]
        self._runs = await runs_of(self._reader.journal, self._key, sheet, rows)
        rows = [
            r for r in rows if matches(_metadata(r, self._runs.get(r.run), codec), which.wanted)
        ]
        self.rows = rows[-which.limit :] if which.limit else rows
        self._states = sheet.states({row.seq for row in self.rows})

    def take(self) -> CheckpointTuple:
        """The newest of them."""
        row = self.rows.pop()
        standing = self._states.pop(row.seq)
        return _tuple(
            self._reader.codec,
            self._space,
            row,
            parent=standing.parent,
            folded=standing.folded,
            writes=[w for w in self._page.writes if w.seq == row.seq],
            run=self._runs.get(row.run),
        )


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

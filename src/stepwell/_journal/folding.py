"""Folding: rows that are no longer young become segments, and segments larger ones.

It needs no claim and is off the way of commits: rows never change, so it goes on beside the
writer of a thread. Whatever it was about to do when it is cancelled, or when another layout comes
first, is simply not done; the next time it is found again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from stepwell._journal.folded import Folded
from stepwell._journal.layouts import (
    FOLD_BYTES,
    FOLD_ROWS,
    LAZY,
    Limits,
    Part,
    next_part,
)
from stepwell._journal.load import fold, parent_of, trail
from stepwell._journal.merging import merge_segments, mergeable
from stepwell._journal.options import Surroundings
from stepwell._journal.segments import header_after, pack_segment, stretches
from stepwell._journal.unusual import stored_bytes
from stepwell.checkpoint.driver import (
    CheckpointRow,
    Driver,
    HistoryPage,
    Layout,
    LoadRequest,
    Relayout,
    SegmentRow,
    ThreadKey,
)
from stepwell.errors import CorruptRecordError, StorageError

_log = logging.getLogger("stepwell.journal")

_RACES_MAX: Final = 5
"""How often another layout may come first before a namespace is left for later."""
_ON_LOOP_BYTES_MAX: Final = 256 << 10
"""Merging more than this is done in a thread."""
_QUEUE_MAX: Final = 1024
_LAST_WISH_S: Final = 0.5
"""How long folding goes on when the journal is closed."""


class _RaceError(Exception):
    """Another layout came first."""


class Gain(NamedTuple):
    """What folding did: rows that became part of segments, segments that became larger ones,
    segments made, and by how many bytes the namespace shrank."""

    rows: int = 0
    merged: int = 0
    segments: int = 0
    bytes: int = 0

    def plus(self, other: Gain) -> Gain:
        """Both together."""
        return Gain(*(a + b for a, b in zip(self, other, strict=True)))


class Growth:
    """How much of a thread is not folded, as far as one claim knows: what it loaded, and what
    it has made durable. Costs a look into a dict per checkpoint."""

    __slots__ = ("_due", "_weights")

    def __init__(self, ns: int, rows: int, due: Callable[[int], None]) -> None:
        """`rows`: how many of namespace `ns` are not folded."""
        self._due = due
        self._weights: dict[int, int] = {ns: rows}

    def add(self, ns: int, size: int) -> None:
        """A checkpoint of so many bytes is durable."""
        weights = self._weights
        weights[ns] = weight = weights.get(ns, 0) + 1 + size * FOLD_ROWS // FOLD_BYTES
        if weight >= FOLD_ROWS:
            weights[ns] = 0
            self._due(ns)


class Folder:
    """Folds one namespace after the other, in the background of a journal."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self._queue: dict[tuple[ThreadKey, str], None] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def submit(self, key: ThreadKey, ns_name: str) -> None:
        """A namespace has grown. What does not fit into the queue is found again later."""
        if self._closed or not self._around.options.folds or len(self._queue) >= _QUEUE_MAX:
            return
        self._queue[key, ns_name] = None
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        driver = self._around.driver
        while self._queue:
            key, ns_name = next(iter(self._queue))
            del self._queue[key, ns_name]
            try:
                await fold_namespace(driver, key, ns_name, LAZY)
            except StorageError as error:
                # Nothing was lost, and the rows will be found again.
                _log.info("Thread %r could not be folded now: %s", key.thread_id, error)
            except CorruptRecordError as error:
                _log.warning("Thread %r cannot be folded: %s", key.thread_id, error)

    async def idle(self) -> None:
        """Wait until nothing is queued or under way."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def stop(self) -> None:
        """Go on for a moment, so that processes that live shortly fold too; then end."""
        self._closed = True
        task = self._task
        if task is None or task.done():
            return
        await asyncio.wait([task], timeout=_LAST_WISH_S)
        task.cancel()
        await asyncio.wait([task])

    def forget(self) -> None:
        """Do nothing any more, without touching the task: its loop may be gone."""
        self._closed = True
        self._queue.clear()


async def fold_namespace(driver: Driver, key: ThreadKey, ns_name: str, limits: Limits) -> Gain:
    """Fold and merge until nothing is worth it any more.

    Raises:
        StorageError: The database did not answer; what is done is done.
        CorruptRecordError: A record is damaged; it is left as it is.
    """
    gain, races, left = Gain(), 0, set[int]()
    while races < _RACES_MAX:
        layout = await driver.layout(key, ns_name)
        if layout.thread is None or not (layout.rows or layout.segments):
            break
        head = layout.thread.namespaces.get(layout.ns, ("", 0))[1]
        part = next_part(layout, head, limits, left)
        if part is None:
            break
        try:
            change, made = await _packed(driver, key, ns_name, layout, part)
        except _RaceError:
            races += 1
            continue
        if change is None:
            left.add(part.first)
        elif await driver.write_segments(change):
            gain = gain.plus(made)
        else:
            races += 1
        await asyncio.sleep(0)
    return gain


async def _packed(
    driver: Driver, key: ThreadKey, ns_name: str, layout: Layout, part: Part
) -> tuple[Relayout | None, Gain]:
    """The change that stores a part anew; None if that would be of no use.

    Raises:
        _RaceError: It was stored anew since the layout was read.
    """
    page = await driver.history(key, ns_name, part.last, since=part.first, current=True)
    if part.merges:
        return await _merged(key, layout.ns, part, page)
    if page.thread is None or page.segments:
        raise _RaceError
    rows = page.rows
    if [row.seq for row in rows] != list(range(part.first, part.last + 1)):
        raise _RaceError
    before = await _before(driver, key, ns_name, layout, parent_of(rows[0]))
    segments = pack_all(rows, before)
    if not segments:
        return None, Gain()
    rows_gone = [row.seq for row in rows if row.seq <= segments[-1].seq_to]
    shrunk = _stored(page, rows_gone) - sum(len(s.body) + len(s.detail) for s in segments)
    change = Relayout(
        key, layout.ns, page.thread.layout_no, rows_gone=rows_gone, segments=segments, bytes=-shrunk
    )  # fmt: skip
    return change, Gain(len(rows_gone), 0, len(segments), shrunk)


async def _merged(
    key: ThreadKey, ns: int, part: Part, page: HistoryPage
) -> tuple[Relayout | None, Gain]:
    """The change that makes one segment of several; None if that would be of no use.

    Raises:
        _RaceError: They were stored anew since the layout was read.
    """
    segments = page.segments
    if page.thread is None or page.rows or not segments:
        raise _RaceError
    if (segments[0].seq_from, segments[-1].seq_to) != (part.first, part.last):
        raise _RaceError
    some = segments[: mergeable(segments)]
    if len(some) < 2:
        return None, Gain()
    if sum(len(s.body) + len(s.detail) for s in some) > _ON_LOOP_BYTES_MAX:
        made = await asyncio.to_thread(merge_segments, some)
    else:
        made = merge_segments(some)
    shrunk = sum(map(stored_bytes, some)) - len(made.body) - len(made.detail)
    change = Relayout(
        key, ns, page.thread.layout_no, segments_gone=[s.seq_from for s in some],
        segments=[made], bytes=-shrunk,
    )  # fmt: skip
    return change, Gain(0, len(some), 1, shrunk)


def pack_all(rows: Sequence[CheckpointRow], before: Folded) -> list[SegmentRow]:
    """Segments that hold a linear stretch of rows, as far as it can be folded."""
    segments: list[SegmentRow] = []
    expected = rows[0].seq
    for stretch in stretches(rows):
        if stretch[0].seq != expected:
            break  # a row that cannot be read here stands between
        segments.append(pack_segment(stretch, before))
        before = header_after(segments[-1])
        expected = stretch[-1].seq + 1
    return segments


def _stored(page: HistoryPage, rows_gone: Sequence[int]) -> int:
    gone = set(rows_gone)
    return sum(stored_bytes(row) for row in page.rows if row.seq in gone)


async def _before(
    driver: Driver, key: ThreadKey, ns_name: str, layout: Layout, parent: int
) -> Folded:
    """The state that a row with this parent extends; of the values nothing is needed."""
    if parent == 0:
        return Folded()
    if any(segment.seq_to == parent for segment in layout.segments):
        page = await driver.history(key, ns_name, parent, since=parent, current=True)
        if page.segments and page.segments[-1].seq_to == parent:
            return header_after(page.segments[-1])
    [loaded] = await driver.load([LoadRequest(key, ns_name, parent, current=True)])
    return fold(trail(loaded, parent)).header()


__all__ = ["Folder", "Gain", "Growth", "fold_namespace", "pack_all"]

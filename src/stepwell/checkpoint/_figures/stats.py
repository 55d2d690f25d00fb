"""How much is stored, for whom: counters of the thread rows, and bytes by channel.

tallies (one query) -> Stats
deep: rows of many threads, or slices of one -> operations -> bytes by graph and channel
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final

import orjson

from stepwell._dataclass import dataclass
from stepwell._journal.copying import batches, is_large, thread_pages
from stepwell._journal.journal import Journal
from stepwell._journal.load import chain, parse
from stepwell._journal.renames import INNER
from stepwell.checkpoint._looking.listing import moment, thread_rows
from stepwell.checkpoint._results import _Record
from stepwell.checkpoint._upkeep.rotating import unsealed
from stepwell.checkpoint.driver import (
    Capability,
    CheckpointRow,
    Layout,
    RowKind,
    Tally,
    ThreadKey,
    ThreadQuery,
    ThreadStatus,
)

STATUSES: Final = tuple(status.name.lower() for status in ThreadStatus)
_SLICE_BYTES: Final = 1 << 20
"""Stored bytes that one read of a deep count takes in, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphStats(_Record):
    """What the threads of one graph come to.

    Attributes:
        graph: Its name; None: threads that no graph has written yet.
        threads: How many.
        by_status: Threads by status; every status is there.
        runs: Runs they have had.
        checkpoints: Checkpoints they have.
        bytes: What the stored records take, as the threads' counters say.
        by_channel: Bytes of what was written to each channel, as JSON, before anything is folded
            or compressed; None unless `deep`.
    """

    graph: str | None
    threads: int
    by_status: dict[str, int]
    runs: int
    checkpoints: int
    bytes: int
    by_channel: dict[str, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats(_Record):
    """How much a scope holds.

    Attributes:
        threads: How many there are.
        by_status: Threads by status; every status is there.
        runs: Runs that these threads have had.
        checkpoints: Checkpoints that are kept.
        bytes: What the stored records take, as the threads' counters say.
        interrupts: Questions that wait for an answer.
        graphs: The same by graph, the largest first.
        by_channel: As in `GraphStats`, over all graphs, the largest first; None unless `deep`.
        created_first: When the oldest thread was made; None: there is none.
        updated_last: When a thread was last written.
        database_bytes: What the database takes on its disk, all scopes and indexes included;
            None where that cannot be told.
    """

    threads: int = 0
    by_status: dict[str, int]
    runs: int = 0
    checkpoints: int = 0
    bytes: int = 0
    interrupts: int = 0
    graphs: tuple[GraphStats, ...] = ()
    by_channel: dict[str, int] | None = None
    created_first: datetime | None = None
    updated_last: datetime | None = None
    database_bytes: int | None = None


def stats_of(
    tallies: Sequence[Tally],
    database_bytes: int | None,
    channels: Mapping[str | None, Counter[str]] | None,
) -> Stats:
    """Add up what a driver has counted. `channels`: bytes by graph and channel, if known."""
    graphs = []
    for graph in {tally.graph for tally in tallies}:
        mine = [tally for tally in tallies if tally.graph == graph]
        known = None if channels is None else ordered(channels.get(graph, Counter()))
        graphs.append(
            GraphStats(
                graph=graph,
                threads=sum(t.threads for t in mine),
                by_status=by_status(mine),
                runs=sum(t.runs for t in mine),
                checkpoints=sum(t.checkpoints for t in mine),
                bytes=sum(t.bytes for t in mine),
                by_channel=known,
            )
        )
    graphs.sort(key=lambda g: (-g.bytes, g.graph or ""))
    total = None if channels is None else ordered(sum(channels.values(), Counter()))
    return Stats(
        threads=sum(t.threads for t in tallies),
        by_status=by_status(tallies),
        runs=sum(t.runs for t in tallies),
        checkpoints=sum(t.checkpoints for t in tallies),
        bytes=sum(t.bytes for t in tallies),
        interrupts=sum(t.interrupts for t in tallies),
        graphs=tuple(graphs),
        by_channel=total,
        created_first=moment(min(t.created_first for t in tallies)) if tallies else None,
        updated_last=moment(max(t.updated_last for t in tallies)) if tallies else None,
        database_bytes=database_bytes,
    )


def by_status(tallies: Iterable[Tally]) -> dict[str, int]:
    """Threads by the name of their status; every status is there."""
    found = Counter(dict.fromkeys(STATUSES, 0))
    for tally in tallies:
        found[STATUSES[tally.status]] += tally.threads
    return dict(found)


def ordered(counts: Counter[str]) -> dict[str, int]:
    """The largest first; what is equal, by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


# --- bytes by channel ---------------------------------------------------------------------------


async def bytes_by_channel(journal: Journal, scope: str) -> dict[str | None, Counter[str]]:
    """Read everything once and add up what was written to each channel: small threads many at a
    time, where the driver can; large ones a slice at a time.

    Raises:
        CorruptRecordError: A record is damaged.
    """
    found: defaultdict[str | None, Counter[str]] = defaultdict(Counter)
    if Capability.ONLINE_BACKUP not in journal.driver.capabilities:
        async with aclosing(thread_rows(journal, ThreadQuery(scope=scope))) as threads:
            async for thread in threads:
                await _count_large(journal, thread.key, found[thread.graph])
        return found
    async with (
        unsealed(journal.driver).snapshot() as snapshot,
        aclosing(thread_pages(snapshot, scope)) as pages,
    ):
        async for page in pages:
            for group in batches(page):
                if is_large(group[0]):
                    await _count_large(journal, group[0].key, found[group[0].graph])
                    continue
                keys = [thread.key for thread in group]
                stored = await snapshot.rows(RowKind.CHECKPOINTS, keys)
                folded = await snapshot.rows(RowKind.SEGMENTS, keys)
                for thread, rows, segments in zip(group, stored, folded, strict=True):
                    for row in chain(rows, segments):
                        _count(row, found[thread.graph])
                await asyncio.sleep(0)  # runs of this process have their turn
    return found


async def _count_large(journal: Journal, key: ThreadKey, counts: Counter[str]) -> None:
    for name in ("", *await journal.namespaces(key)):
        async with aclosing(_slices(journal, key, name)) as slices:
            async for rows in slices:
                for row in rows:
                    _count(row, counts)
                await asyncio.sleep(0)


def _count(row: CheckpointRow, counts: Counter[str]) -> None:
    for channel, op in parse(row)["c"].items():
        if not channel.startswith(INNER):
            counts[channel] += len(orjson.dumps(op))


async def _slices(
    journal: Journal, key: ThreadKey, ns_name: str
) -> AsyncGenerator[list[CheckpointRow], None]:
    """All rows of a namespace, those in segments too, each in one slice."""
    driver = journal.driver
    for since, upto in _ranges(await driver.layout(key, ns_name)):
        page = await driver.history(key, ns_name, upto, since=since)
        rows = chain(page.rows, page.segments)
        yield [row for row in rows if since <= row.seq <= upto]


def _ranges(layout: Layout) -> Iterator[tuple[int, int]]:
    """Stretches of seqs that hold everything, about `_SLICE_BYTES` of it each."""
    pieces = [(row.seq, row.seq, row.bytes) for row in layout.rows]
    pieces += [(segment.seq_from, segment.seq_to, segment.bytes) for segment in layout.segments]
    since: int | None = None
    size = upto = 0
    for first, last, length in sorted(pieces):
        if since is None:
            since, size = first, 0
        upto = last
        size += length
        if size >= _SLICE_BYTES:
            yield since, upto
            since = None
    if since is not None:
        yield since, upto


__all__ = [
    "STATUSES", "GraphStats", "Stats", "by_status", "bytes_by_channel", "ordered", "stats_of",
]  # fmt: skip

"""Reading chains and histories: a few statements in one snapshot, however many are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final, Protocol
from uuid import UUID

from stepwell._dataclass import dataclass
from stepwell._db.postgres import Postgres
from stepwell.checkpoint.driver import (
    NAMESPACES_MAX,
    CheckpointRow,
    HistoryPage,
    Layout,
    Loaded,
    LoadRequest,
    RowPlace,
    RunRow,
    SegmentPlace,
    SegmentRow,
    ThreadKey,
    ThreadRow,
    WriteRow,
)
from stepwell.checkpoint.postgres._rows import (
    checkpoint_row,
    exact,
    key_of,
    run_row,
    segment_row,
    text_of,
    thread_row,
    write_row,
)

_NEWEST: Final = 1 << 32
"""Larger than every number of a namespace."""


class Link(Protocol):
    """What is used of a connection."""

    async def fetch(self, query: str, *args: Any) -> Sequence[Any]:
        """Run a statement."""


@dataclass(slots=True)
class _Thread:
    """What is known of a thread before its rows are read."""

    row: ThreadRow
    forked: bool
    folded: bool
    pending: bool

    def space(self, ns_name: str) -> tuple[int, int] | None:
        """Number and head of a namespace."""
        for number, (name, head) in self.row.namespaces.items():
            if name == ns_name:
                return number, head
        return None


@dataclass(slots=True)
class _Chain:
    """One request on its way: the stretches to read, and what they held."""

    key: UUID
    thread: ThreadRow | None = None
    ns: int = 0
    at: int = 0
    """The checkpoint asked for; 0: before the first."""
    folded: bool = False
    pending: bool = False
    whole: int | None = None
    """Detail is wanted of segments that hold this seq or end behind it; None: of the one in which
    a stretch ends."""
    writes_from: int = 0
    """Pending writes are wanted from this seq up to `at`."""
    stretches: list[tuple[int, int]] = field(default_factory=list)
    rows: list[CheckpointRow] = field(default_factory=list)
    segments: list[SegmentRow] = field(default_factory=list)
    writes: list[WriteRow] = field(default_factory=list)
    runs: dict[int, RunRow] = field(default_factory=dict)

    def run_numbers(self) -> set[int]:
        """Runs that the rows name, and segments that are wanted whole, and the newest."""
        numbers = {row.run for row in self.rows}
        for segment in self.segments:
            if self.whole is not None or segment.seq_to >= self.at:
                numbers.update(range(segment.run_from, segment.run_to + 1))
        if self.thread is not None:
            numbers |= {self.thread.run, self.thread.runs}
        return numbers - {0}

    def lacks_its_end(self) -> bool:
        """Whether the checkpoint asked for is not there."""
        last = max([0, *(r.seq for r in self.rows[-1:]), *(s.seq_to for s in self.segments[-1:])])
        return last < self.at

    def empty(self) -> None:
        """Forget what was read."""
        self.rows, self.segments, self.writes = [], [], []


async def load(db: Postgres, requests: Sequence[LoadRequest], *, primary: bool) -> list[Loaded]:
    """Read each chain; all in one snapshot.

    Args:
        db: the database.
        requests: chains, in any order and number.
        primary: not from a replica, which may lag.
    """
    chains = [_Chain(key_of(request.key)) for request in requests]
    async with db.snapshot(primary=primary) as link:
        asked = [
            (chain.key, request.ns_name) for chain, request in zip(chains, requests, strict=True)
        ]
        found = await threads(db.sql, link, asked)
        forked: dict[int, _Chain] = {}
        for i, (request, chain) in enumerate(zip(requests, chains, strict=True)):
            thread = found.get(chain.key)
            if thread is None:
                continue
            chain.thread = thread.row
            space = thread.space(request.ns_name)
            if space is None:
                continue
            chain.ns, head = space
            at = head if request.seq is None else request.seq
            if not 0 <= at <= head:
                continue
            chain.at = chain.writes_from = at
            chain.folded, chain.pending = thread.folded, thread.pending
            if at and thread.forked:
                forked[i] = chain
            elif at:
                chain.stretches = [(1, at)]
        await _legs(db.sql, link, forked)
        await _fill(db.sql, link, chains)
    for chain in chains:
        if chain.lacks_its_end():
            chain.empty()  # it was pruned, and what is there are not its ancestors
    return [
        Loaded(
            thread=chain.thread,
            ns=chain.ns,
            rows=chain.rows,
            segments=chain.segments,
            writes=chain.writes,
            runs=chain.runs,
        )
        for chain in chains
    ]


async def history(
    db: Postgres,
    key: ThreadKey,
    ns_name: str,
    since: int,
    upto: int | None,
    *,
    primary: bool = False,
) -> HistoryPage:
    """Read every row of a namespace between two seqs, over all branches, in one snapshot."""
    chain = _Chain(key_of(key), whole=0, writes_from=since if since > 1 else 0)
    async with db.snapshot(primary=primary) as link:
        thread = (await threads(db.sql, link, [(chain.key, ns_name)])).get(chain.key)
        if thread is None:
            return HistoryPage(thread=None)
        chain.thread = thread.row
        space = thread.space(ns_name)
        if space is not None:
            chain.ns, head = space
            chain.at = head if upto is None else max(0, min(upto, head))
            chain.stretches = [(since, chain.at)] if chain.at >= since else []
            chain.folded, chain.pending = thread.folded, thread.pending
        await _fill(db.sql, link, [chain])
    return HistoryPage(
        thread=chain.thread,
        ns=chain.ns,
        rows=chain.rows,
        segments=chain.segments,
        writes=chain.writes,
        runs=chain.runs,
    )


async def layout(db: Postgres, key: ThreadKey, ns_name: str) -> Layout:
    """How a namespace is stored, in one snapshot."""
    name = key_of(key)
    async with db.snapshot(primary=True) as link:
        thread = (await threads(db.sql, link, [(name, ns_name)])).get(name)
        if thread is None:
            return Layout(thread=None)
        space = thread.space(ns_name)
        if space is None:
            return Layout(thread=thread.row)
        rows = await link.fetch(db.sql["row_places"], name, space[0])
        folded = await link.fetch(db.sql["segment_places"], name, space[0])
    return Layout(
        thread=thread.row,
        ns=space[0],
        rows=[RowPlace._make(row) for row in rows],
        segments=[SegmentPlace._make(row) for row in folded],
    )


async def threads(
    sql: Mapping[str, str], link: Link, asked: Sequence[tuple[UUID, str]]
) -> dict[UUID, _Thread]:
    """The threads named, each with its newest namespaces and those that were asked for."""
    keys = list(dict.fromkeys(key for key, _ in asked))
    places = {key: i for i, key in enumerate(keys, 1)}
    wanted = {(places[key], name) for key, name in asked if name}
    found: dict[UUID, _Thread] = {}
    for record in await link.fetch(
        sql["load_threads"], keys, NAMESPACES_MAX + 1,
        [i for i, _ in wanted], [exact(name) for _, name in wanted],
    ):  # fmt: skip
        i, *columns, numbers, names, heads, forked, folded, pending = record
        texts = [text_of(name) or "" for name in names or ()]
        spaces = sorted(zip(numbers or (), texts, heads or (), strict=True), reverse=True)
        kept = {
            number: (name, head)
            for place, (number, name, head) in enumerate(spaces)
            if place < NAMESPACES_MAX or (i, name) in wanted
        }
        row = thread_row(columns, kept, more=len(spaces) > NAMESPACES_MAX)
        found[keys[i - 1]] = _Thread(row, forked, folded, pending)
    return found


async def namespaces(
    db: Postgres, key: ThreadKey, after: int | None, limit: int
) -> list[tuple[int, str, int]]:
    """One page of a thread's namespaces, newest first."""
    last = _NEWEST if after is None else after
    rows = await db.read(db.sql["namespaces"], key_of(key), last, limit)
    return [(number, text_of(name) or "", head) for number, name, head in rows]


async def _legs(sql: Mapping[str, str], link: Link, forked: Mapping[int, _Chain]) -> None:
    """Find the stretches of chains in threads that have forks."""
    if not forked:
        return
    columns = zip(*((i, c.key, c.ns, c.at) for i, c in forked.items()), strict=True)
    for i, low, high in await link.fetch(sql["legs"], *columns):
        forked[i].stretches.append((low, high))


async def _fill(sql: Mapping[str, str], link: Link, chains: Sequence[_Chain]) -> None:
    """Read what stands in the stretches of `chains`. Empty questions are not asked."""
    stretches = [
        (i, chain.key, chain.ns, low, high)
        for i, chain in enumerate(chains)
        for low, high in chain.stretches
    ]
    if stretches:
        columns = list(zip(*stretches, strict=True))
        for record in await link.fetch(sql["rows"], *columns):
            chains[record[0]].rows.append(checkpoint_row(record[1:]))
    folded = [
        (*s, s[4] if chains[s[0]].whole is None else chains[s[0]].whole)
        for s in stretches
        if chains[s[0]].folded
    ]
    if folded:
        columns = list(zip(*folded, strict=True))
        for record in await link.fetch(sql["segments"], *columns):
            chains[record[0]].segments.append(segment_row(record[1:]))
    filed = [(i, c.key, c.ns, c.writes_from, c.at) for i, c in enumerate(chains) if c.pending]
    if filed:
        columns = list(zip(*filed, strict=True))
        for record in await link.fetch(sql["writes"], *columns):
            chains[record[0]].writes.append(write_row(record[1:]))
    runs = [(i, c.key, run) for i, c in enumerate(chains) for run in sorted(c.run_numbers())]
    if runs:
        columns = list(zip(*runs, strict=True))
        for record in await link.fetch(sql["runs_named"], *columns):
            run = run_row(record[1:])
            chains[record[0]].runs[run.run] = run

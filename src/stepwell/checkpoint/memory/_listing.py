"""Pages of a listing of threads in memory, without looking at every thread for each of them.

The first page is picked out of all threads. Whoever asks for another one while nothing has
changed is going through them all: then they are put in order once, and each page costs what it
shows.
"""

from __future__ import annotations

import heapq
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from stepwell.checkpoint.driver import ThreadKey, ThreadQuery
from stepwell.checkpoint.memory._rows import Thread

Place = tuple[float, str]
"""Where a thread stands in a listing: the cursor of its row."""


class _Asked(NamedTuple):
    """What was asked for last, of one scope in one order."""

    version: int
    ordered: tuple[list[Place], list[Thread]] | None
    """All threads in ascending order; None: they were asked for once only."""


class Listings:
    """Pages of the threads of one driver.

    Args:
        threads: The driver's.
    """

    __slots__ = ("_asked", "_population", "_threads", "written")

    def __init__(self, threads: Mapping[ThreadKey, Thread]) -> None:
        self._threads = threads
        self._asked: dict[tuple[str, str], _Asked] = {}
        self._population = 0
        self.written = 0
        """Counted up by the driver with every write."""

    def changed(self) -> None:
        """A thread came or went: what is kept here must not outlive it."""
        self._population += 1
        self.written += 1
        self._asked.clear()

    def page(self, query: ThreadQuery) -> list[Thread]:
        """The threads of one page, in its order."""
        version = self.written if query.order == "updated" else self._population
        name = query.scope, query.order
        asked = self._asked.get(name)
        if asked is None or asked.version != version:
            self._asked[name] = _Asked(version, None)
            return _picked(query, self._of(query.scope))
        ordered = asked.ordered
        if ordered is None:
            threads = sorted(self._of(query.scope), key=lambda t: place_of(t, query.order))
            ordered = [place_of(thread, query.order) for thread in threads], threads
            self._asked[name] = _Asked(version, ordered)
        return _cut(query, *ordered)

    def _of(self, scope: str) -> Iterator[Thread]:
        return (thread for thread in self._threads.values() if thread.key.scope == scope)


def place_of(thread: Thread, order: str) -> Place:
    """Where a thread stands: the cursor of its row."""
    if order == "updated":
        return thread.updated_at, thread.key.thread_id
    if order == "created":
        return thread.created_at, thread.key.thread_id
    return 0, thread.key.thread_id


def _filter(query: ThreadQuery) -> Callable[[Thread], bool]:
    """Whether a thread is asked for at all."""
    wanted = None if query.metadata is None else json.loads(query.metadata)
    return lambda thread: (
        (query.status is None or thread.change.status == query.status)
        and (query.graph is None or thread.change.graph == query.graph)
        and (query.updated_before is None or thread.updated_at < query.updated_before)
        and (query.updated_after is None or thread.updated_at > query.updated_after)
        and (not wanted or thread.has(wanted))
    )


def _picked(query: ThreadQuery, threads: Iterable[Thread]) -> list[Thread]:
    """Out of all of them, in no order."""

    def place(thread: Thread) -> Place:
        return place_of(thread, query.order)

    def behind(thread: Thread) -> bool:
        if query.after is None:
            return True
        here = place(thread)
        return here != query.after and (here < query.after) == query.descending

    fits = _filter(query)
    pick = heapq.nlargest if query.descending else heapq.nsmallest
    return pick(query.limit, (t for t in threads if fits(t) and behind(t)), key=place)


def _cut(query: ThreadQuery, places: list[Place], threads: list[Thread]) -> list[Thread]:
    """Out of all of them in ascending order."""
    if query.descending:
        first = len(places) if query.after is None else bisect_left(places, query.after)
        order = range(first - 1, -1, -1)
    else:
        first = 0 if query.after is None else bisect_right(places, query.after)
        order = range(first, len(places))
    fits = _filter(query)
    page: list[Thread] = []
    for position in order:
        if len(page) >= query.limit:
            break
        if fits(threads[position]):
            page.append(threads[position])
    return page


__all__ = ["Listings", "place_of"]

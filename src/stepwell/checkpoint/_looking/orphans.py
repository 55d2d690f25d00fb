"""Threads whose run was cut off: they say that they run, but their owner is gone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from stepwell._journal.journal import Journal
from stepwell.checkpoint._looking.listing import PAGE, OpenReader, standing_of, thread_info
from stepwell.checkpoint._results import ThreadInfo
from stepwell.checkpoint.driver import ThreadQuery, ThreadRow, ThreadStatus


async def orphan_rows(
    journal: Journal, scope: str, graph: str | None
) -> AsyncGenerator[ThreadRow, None]:
    """Rows of a scope's orphans, by thread id; a page of running threads is looked at a time."""
    query = ThreadQuery(
        scope=scope, status=int(ThreadStatus.RUNNING), graph=graph,
        order="thread_id", descending=False, limit=PAGE,
    )  # fmt: skip
    while True:
        page = await journal.threads(query)
        for row, gone in zip(page, await journal.orphans(page), strict=True):
            if gone:
                yield row
        if len(page) < PAGE:
            return
        query = query._replace(after=standing_of(page[-1], query.order))


async def list_orphans(
    opened: OpenReader, scope: str, *, graph: str | None, limit: int | None
) -> AsyncIterator[ThreadInfo]:
    """Orphans of a scope, at most `limit`."""
    reader = await opened()
    left = limit
    if left is not None and left <= 0:
        return
    async with aclosing(orphan_rows(reader.journal, scope, graph)) as rows:
        async for row in rows:
            yield replace(await thread_info(reader, row, "thread_id"), orphaned=True)
            if left is not None:
                left -= 1
                if not left:
                    return


__all__ = ["list_orphans", "orphan_rows"]

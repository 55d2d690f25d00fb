"""The verbs that count: stats, report, health."""

from __future__ import annotations

from typing import Literal

from stepwell.cli._codes import FINE, PROBLEM
from stepwell.cli._options import OPTIONS, Options, opened
from stepwell.cli._output import chosen, listing, one, write
from stepwell.errors import UsageError


async def stats(*, by: Literal["graph", "channel"] | None = None, common: Options = OPTIONS) -> int:
    """Show how much there is: by status and graph.

    Args:
        by: A list by graph, or by channel (which reads every record).
    """
    async with opened(common) as saver:
        found = await saver.astats(deep=by == "channel")
    told = found.to_dict()
    if by == "graph":
        columns = ["graph", "threads", "runs", "checkpoints", "bytes"]
        listing(told["graphs"], columns, common.format)
    elif by == "channel":
        sizes = sorted((found.by_channel or {}).items(), key=lambda item: -item[1])
        rows = [{"channel": name, "bytes": size} for name, size in sizes]
        listing(rows, ["channel", "bytes"], common.format)
    else:
        one(told, common.format)
    return FINE


async def report(*, html: bool = False, shallow: bool = False, common: Options = OPTIONS) -> int:
    """Write a report: totals, storage, growth, what failed, what waits.

    Args:
        html: As a page of HTML.
        shallow: Leave out what each channel takes, which reads every record.
    """
    async with opened(common) as saver:
        made = await saver.areport(deep=not shallow)
    if html:
        write(made.to_html())
    elif chosen(common.format) == "table":
        write(made.to_text())
    elif common.format == "csv":
        raise UsageError("A report is text, json or --html.")
    else:
        write(made.to_json())
    return FINE


async def health(*, common: Options = OPTIONS) -> int:
    """Show how the database is; exit code 1 if something failed."""
    async with opened(common) as saver:
        found = await saver.ahealth()
    told = found.to_dict()
    if chosen(common.format) in ("json", "jsonl"):
        one(told, common.format)
    else:
        columns = ["name", "status", "value", "warn", "fail", "message"]
        listing(told["checks"], columns, common.format)
    return PROBLEM if found.verdict == "fail" else FINE


COUNTING = (stats, report, health)

__all__ = ["COUNTING"]

"""The verbs that count and measure: stats, report, health, bench."""

from __future__ import annotations

from typing import Literal

from stepwell.cli._codes import FINE, PROBLEM
from stepwell.cli._options import OPTIONS, Options, address_of, opened, refuse_missing_file
from stepwell.cli._output import chosen, listing, note, one, write
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
        listing(told["checks"], columns, common.format, spare=["fail", "warn", "value"])
    return PROBLEM if found.verdict == "fail" else FINE


async def bench(
    *, runs: int = 50, threads: int = 64, turns: int = 200, common: Options = OPTIONS
) -> int:
    """Measure durable work where the database is. Writes only into a scratch place beside it (a
    folder, or a schema of its own), which is removed again.

    Args:
        runs: Runs of one client, one after the other.
        threads: Clients that run at once.
        turns: Turns of a conversation.
    """
    from stepwell.testing import abench  # engine and workloads, which no other verb needs

    if common.scope:
        raise UsageError("No threads of the database are measured: leave --scope out.")
    refuse_missing_file(common)
    url, options = address_of(common, migrate="auto")
    note("Works in a scratch place beside the database, and removes it; your threads stay as is.")
    result = await abench(
        url,
        runs=runs,
        threads=threads,
        turns=turns,
        progress=lambda name: note(f"  {name} ..."),
        **options,
    )
    if chosen(common.format) == "table":
        write(result.to_text())
    else:
        one(result.to_dict(), common.format)
    return FINE


COUNTING = (stats, report, health, bench)

__all__ = ["COUNTING"]

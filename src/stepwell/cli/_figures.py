"""The verbs that count: stats, report, health."""

from __future__ import annotations

from typing import Any, Literal

from stepwell.cli import FINE, PROBLEM
from stepwell.cli._options import COMMON, Common, opened
from stepwell.cli._output import chosen, listing, one, write
from stepwell.errors import UsageError


async def stats(*, by: Literal["graph", "channel"] | None = None, common: Common = COMMON) -> int:
    """Show how much there is: by status and graph.

    Args:
        by: A list by graph, or by channel (which reads every record).
    """
    async with opened(common) as saver:
        told = (await saver.astats(deep=by == "channel")).to_dict()
    if by is None:
        one(told, common.format)
        return FINE
    found = told["graphs" if by == "graph" else "channels"]
    rows = _rows(found, by)
    listing(rows, list(dict.fromkeys(name for row in rows for name in row)), common.format)
    return FINE


def _rows(found: Any, by: str) -> list[dict[str, Any]]:
    """A list of records, or a mapping of names to records or numbers, as rows."""
    if not isinstance(found, dict):
        return [dict(each) for each in found or ()]
    return [
        {by: name, **(each if isinstance(each, dict) else {"bytes": each})}
        for name, each in found.items()
    ]


async def report(*, html: bool = False, shallow: bool = False, common: Common = COMMON) -> int:
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


async def health(*, common: Common = COMMON) -> int:
    """Show how the database is; exit code 1 if something failed."""
    async with opened(common) as saver:
        found = await saver.ahealth()
    told = found.to_dict()
    if chosen(common.format) in ("json", "jsonl"):
        one(told, common.format)
    else:
        rows = _rows(told["checks"], "check")
        listing(rows, list(dict.fromkeys(n for row in rows for n in row)), common.format)
    return PROBLEM if found.verdict == "fail" else FINE


COUNTING = (stats, report, health)

__all__ = ["COUNTING"]

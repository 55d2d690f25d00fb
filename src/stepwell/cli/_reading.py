"""The verbs that only read."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from stepwell.checkpoint.base import CheckpointTuple, Saver, ThreadInfo
from stepwell.cli._codes import FINE, PROBLEM
from stepwell.cli._options import OPTIONS, PAGE, Options, Page, absent_of, opened, told_of
from stepwell.cli._output import chosen, confirmed, console, listing, note, one, shown
from stepwell.errors import NotFoundError, StepwellError, UsageError
from stepwell.version import __version__

_DAY_S: Final = 86400.0
Status = Literal["idle", "running", "interrupted", "failed", "done"]


async def threads(
    *,
    status: Status | None = None,
    graph: str | None = None,
    order: Literal["updated", "created", "thread_id"] = "updated",
    page: Page = PAGE,
    common: Options = OPTIONS,
) -> int:
    """List threads, the one written last first.

    Args:
        status: Only those.
        graph: Only those that this graph wrote last.
        order: What to sort by.
    """
    async with opened(common) as saver:
        rows = [
            info.to_dict()
            async for info in saver.alist_threads(
                status=status, graph=graph, order=order, descending=order != "thread_id",
                limit=page.limit, after=page.after,
            )
        ]  # fmt: skip
    columns = ["thread_id", "status", "graph", "checkpoints", "bytes", "updated_at", "next"]
    listing(rows, columns, common.format, spare=["bytes", "checkpoints"])
    _more(rows, page, common)
    return FINE


async def show(
    thread_id: str, /, *, at: str | None = None, ns: str = "", common: Options = OPTIONS
) -> int:
    """Show a thread and one of its checkpoints, the newest by default.

    Args:
        thread_id: Which thread.
        at: Id of the checkpoint.
        ns: Namespace of the checkpoint: of a graph inside.
    """
    async with opened(common) as saver:
        info = await _thread(saver, thread_id)
        found = await saver.aget_tuple(_config(thread_id, at, ns))
    record: dict[str, Any] = {
        name: value
        for name, value in info.to_dict().items()
        if name not in ("metadata", "cursor", "interrupts")
    }
    if found is None and at is None and ns:
        raise NotFoundError(f"Thread {thread_id!r} has no namespace {ns!r}.", thread_id=thread_id)
    if found is None and at is not None:
        raise NotFoundError(f"Thread {thread_id!r} has no checkpoint {at!r}.", thread_id=thread_id)
    if found is not None:
        at_that_time = _checkpoint(found)
        record["checkpoint_created_at"] = at_that_time.pop("created_at")
        record |= at_that_time | {
            "values": _values(found),
            "pending": [list(write) for write in found.pending_writes or ()],
        }
    one(record, common.format)
    return FINE


async def history(
    thread_id: str, /, *, ns: str = "", page: Page = PAGE, common: Options = OPTIONS
) -> int:
    """List the checkpoints of a thread, newest first, over all branches.

    Args:
        thread_id: Which thread.
        ns: Namespace: of a graph inside.
    """
    before = None if page.after is None else _config(thread_id, page.after, ns)
    async with opened(common) as saver:
        await _thread(saver, thread_id)
        rows = [
            {**_checkpoint(found), "values": _values(found), "cursor": _id(found)}
            async for found in saver.alist(
                _config(thread_id, None, ns), before=before, limit=page.limit
            )
        ]
    if ns and not rows and before is None and page.limit:
        raise NotFoundError(f"Thread {thread_id!r} has no namespace {ns!r}.", thread_id=thread_id)
    columns = ["checkpoint_id", "step", "source", "created_at", "parent_id"]
    listing(rows, columns, common.format, spare=["parent_id"])
    _more(rows, page, common)
    return FINE


async def diff(
    thread_id: str, a: str, b: str, /, *, ns: str = "", common: Options = OPTIONS
) -> int:
    """Show what leads from one checkpoint of a thread to another, as a JSON patch (RFC 6902).

    Args:
        thread_id: Which thread.
        a: Id of a checkpoint.
        b: Id of another one.
        ns: Namespace: of a graph inside.
    """
    async with opened(common) as saver:
        patch = await saver.adiff(_config(thread_id, a, ns), _config(thread_id, b, ns))
    listing(patch, ["op", "path", "value"], common.format)
    return FINE


async def tree(thread_id: str, /, *, ns: str = "", common: Options = OPTIONS) -> int:
    """Show the branches of a thread.

    Args:
        thread_id: Which thread.
        ns: Namespace: of a graph inside.
    """
    async with opened(common) as saver:
        await _thread(saver, thread_id)
        found = [item async for item in saver.alist(_config(thread_id, None, ns))]
    if ns and not found:
        raise NotFoundError(f"Thread {thread_id!r} has no namespace {ns!r}.", thread_id=thread_id)
    found.reverse()
    rows = [_checkpoint(item) for item in found]
    if chosen(common.format) != "table":
        listing(rows, ["checkpoint_id", "parent_id", "step", "source"], common.format)
        return FINE
    children: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        children.setdefault(row["parent_id"], []).append(row)
    known = {row["checkpoint_id"] for row in rows}
    drawing = Tree(shown(thread_id))
    for parent in [p for p in children if p not in known]:
        _grow(drawing, children, parent)
    console().print(drawing)
    return FINE


def _grow(trunk: Tree, children: Mapping[Any, Sequence[Mapping[str, Any]]], parent: Any) -> None:
    """A line of checkpoints stays at one level; where it forks, each branch has its own."""
    work = [(trunk, parent)]
    while work:
        branch, parent = work.pop()
        below = children.get(parent, ())
        while len(below) == 1:
            branch.add(_leaf(below[0]))
            below = children.get(below[0]["checkpoint_id"], ())
        work += [(branch.add(_leaf(row)), row["checkpoint_id"]) for row in below]


def _leaf(row: Mapping[str, Any]) -> Text:
    return shown(f"{row['checkpoint_id']}  step {row['step']}  {row['source']}")


async def verify(
    *thread_ids: str,
    shallow: bool = False,
    repair: bool = False,
    heads: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    common: Options = OPTIONS,
) -> int:
    """Check what is stored; with --repair, mend what can be mended (writes).

    Args:
        thread_ids: Only these threads; default: all.
        shallow: Checksums and places only, no folding.
        repair: Delete what belongs to nothing, fold damaged segments anew.
        heads: With --repair: take threads back to the newest checkpoint that can be read.
        dry_run: With --repair: only check.
        yes: Do not ask.
    """
    how: bool | Literal["heads"] = False
    if heads and not repair:
        raise UsageError("--heads says how to mend: it goes with --repair.")
    if repair and not dry_run:
        if not confirmed("Mend what can be mended?", yes=yes):
            return PROBLEM
        how = "heads" if heads else True
    async with opened(common) as saver:
        absent = await absent_of(saver, thread_ids)
        report = await saver.averify(thread_ids=thread_ids or None, deep=not shallow, repair=how)
    told = report.to_dict()
    if chosen(common.format) in ("table", "csv", "jsonl"):
        columns = ["kind", "thread_id", "checkpoint_ns", "seq", "repaired", "message"]
        if report.problems or common.format in ("csv", "jsonl"):
            listing(told["problems"], columns, common.format)
        note(
            f"{report.threads} threads, {report.checkpoints} checkpoints, {report.segments} "
            f"segments, {report.writes} pending writes: {len(report.problems)} problems."
        )
    else:
        one(told | {"ok": report.ok}, common.format)
    missing = told_of(absent)
    return missing if report.ok else PROBLEM


async def doctor(*, common: Options = OPTIONS) -> int:
    """Look whether everything is in place: versions, schema, orphans."""
    checks: list[dict[str, Any]] = []

    def say(name: str, verdict: str, message: str) -> None:
        checks.append({"check": name, "verdict": verdict, "message": message})

    say("stepwell", "ok", f"{__version__} on Python {platform.python_version()}")
    try:
        async with opened(common) as saver:
            driver = (await saver.journal()).driver
            say("database", "ok", f"{driver.name}: it opens, and its schema is current")
            able = ", ".join(sorted(driver.capabilities)) or "nothing beyond the required"
            say("capabilities", "ok", able)
            counts = (await saver.astats()).by_status
            told = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
            say("threads", "ok", told or "none")
            orphans = [info.thread_id async for info in saver.aorphans(limit=100)]
            message = "none" if not orphans else f"{len(orphans)}, such as {orphans[0]!r}"
            say("orphans", "warn" if orphans else "ok", message)
    except StepwellError as error:
        say("database", "fail", str(error))
    listing(checks, ["check", "verdict", "message"], common.format)
    return PROBLEM if any(check["verdict"] == "fail" for check in checks) else FINE


async def top(
    *, interval_s: float = 2.0, once: bool = False, limit: int = 20, common: Options = OPTIONS
) -> int:
    """Show the threads that are running, again and again. Ctrl-C ends it.

    Args:
        interval_s: Seconds between looks.
        once: Look once.
        limit: How many at most.
    """
    if not 0.1 <= interval_s <= _DAY_S:
        raise UsageError(
            f"--interval-s is a number of seconds from 0.1 to {_DAY_S:.0f}, not {interval_s}."
        )
    columns = [
        "thread_id",
        "graph",
        "run_id",
        "owner",
        "lease_expires_at",
        "orphaned",
        "updated_at",
    ]
    async with opened(common) as saver:
        if once or chosen(common.format) != "table" or not sys.stdout.isatty():
            listing(await _running(saver, limit), columns, common.format)
            return FINE
        with (
            Live(console=console(), auto_refresh=False) as live,
            contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError),
        ):
            while True:
                table = Table(*columns, box=None)
                for row in await _running(saver, limit):
                    table.add_row(*(shown(str(row[column] or "")) for column in columns))
                live.update(table, refresh=True)
                await asyncio.sleep(interval_s)
    return FINE


async def _running(saver: Saver, limit: int) -> list[dict[str, Any]]:
    return [info.to_dict() async for info in saver.alist_threads(status="running", limit=limit)]


async def _thread(saver: Saver, thread_id: str) -> ThreadInfo:
    info = await saver.aget_thread(thread_id)
    if info is None:
        raise NotFoundError(f"There is no thread {thread_id!r}.", thread_id=thread_id)
    return info


def _config(thread_id: str, at: str | None, ns: str) -> dict[str, Any]:
    named = {"thread_id": thread_id, "checkpoint_ns": ns}
    return {"configurable": named if at is None else {**named, "checkpoint_id": at}}


def _id(found: CheckpointTuple) -> str:
    return str(found.checkpoint["id"])


def _checkpoint(found: CheckpointTuple) -> dict[str, Any]:
    parent = found.parent_config
    configurable = None if parent is None else parent["configurable"]
    metadata = found.metadata
    return {
        "checkpoint_id": _id(found),
        "checkpoint_ns": found.config["configurable"]["checkpoint_ns"],
        "parent_id": None if configurable is None else configurable["checkpoint_id"],
        "step": metadata.get("step"),
        "source": metadata.get("source"),
        "created_at": found.checkpoint["ts"],
        "metadata": metadata,
    }


def _values(found: CheckpointTuple) -> dict[str, Any]:
    """The values of the user's channels."""
    values: Mapping[str, Any] = found.checkpoint["channel_values"]
    return {k: v for k, v in values.items() if not k.startswith(("branch:", "__"))}


def _more(rows: Sequence[Mapping[str, Any]], page: Page, common: Options) -> None:
    if chosen(common.format) == "table" and rows and len(rows) >= page.limit:
        note(f"There may be more: --after {shlex.quote(rows[-1]['cursor'])}")


READING = (threads, show, history, diff, tree, verify, doctor, top)

__all__ = ["READING"]

"""The verbs that write."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from cyclopts import Parameter

from stepwell.checkpoint._upkeep.retention import Retention
from stepwell.checkpoint.base import Saver
from stepwell.cli._codes import FINE, PROBLEM
from stepwell.cli._migrations import latest, pending_sql
from stepwell.cli._options import (
    OPTIONS,
    Options,
    absent_of,
    missing_file,
    opened,
    saver_of,
    told_of,
)
from stepwell.cli._output import bar, confirmed, must_be_asked, one, write
from stepwell.errors import NotFoundError, SchemaVersionError, UsageError
from stepwell.types import Command

_SPANS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
As = Annotated[str | None, Parameter(name="--as")]


async def fork(thread_id: str, /, *, at: str, new: As = None, common: Options = OPTIONS) -> int:
    """Copy a thread as it was at a checkpoint (writes).

    Args:
        thread_id: Which thread.
        at: Id of the checkpoint.
        new: Id of the copy; default: that of the thread with "-fork" behind it.
    """
    target = new or f"{thread_id}-fork"
    async with opened(common) as saver:
        await saver.acopy_thread(thread_id, target, at=at)
        info = await saver.aget_thread(target)
    one({} if info is None else info.to_dict(), common.format)
    return FINE


async def resume(
    thread_id: str, /, *, graph: str, answer: str | None = None, common: Options = OPTIONS
) -> int:
    """Run a thread on: an orphan, or one that waits for an answer (writes).

    Args:
        thread_id: Which thread.
        graph: Where its graph is: module:name, a StateGraph or what its compile() returned.
        answer: JSON: the answer to the question that the thread waits with.
    """
    input_: Any = None if answer is None else Command(resume=_json(answer))
    async with opened(common) as saver:
        if await saver.aget_thread(thread_id) is None:
            raise NotFoundError(f"There is no thread {thread_id!r}.", thread_id=thread_id)
        runnable = _graph(graph, saver)
        config = {"configurable": {"thread_id": thread_id}}
        await runnable.ainvoke(input_, config)
        info = await saver.aget_thread(thread_id)
    one({} if info is None else info.to_dict(), common.format)
    return FINE


async def delete(
    *thread_ids: str, dry_run: bool = False, yes: bool = False, common: Options = OPTIONS
) -> int:
    """Delete threads with all they hold (writes).

    Args:
        thread_ids: Which.
        dry_run: Only say what would be deleted.
        yes: Do not ask.
    """
    if not thread_ids:
        raise UsageError("Name the threads to be deleted.")
    async with opened(common) as saver:
        infos = [await saver.aget_thread(thread_id) for thread_id in thread_ids]
        found = [info for info in infos if info is not None]
        told = {
            "threads": len(found),
            "checkpoints": sum(info.checkpoints for info in found),
            "bytes": sum(info.bytes for info in found),
            "dry_run": dry_run,
        }
        if not dry_run and found:
            if not confirmed(f"Delete {len(found)} threads?", yes=yes):
                return PROBLEM
            for info in found:
                await saver.adelete_thread(info.thread_id)
    one(told, common.format)
    return told_of([i for i, info in zip(thread_ids, infos, strict=True) if info is None])


async def prune(
    *thread_ids: str,
    keep_last: int | None = None,
    max_age: str | None = None,
    thread_ttl: str | None = None,
    status: Sequence[Literal["idle", "interrupted", "failed", "done"]] = ("done", "failed"),
    dry_run: bool = False,
    yes: bool = False,
    common: Options = OPTIONS,
) -> int:
    """Delete what a policy does not keep (writes). Running threads are left alone.

    Args:
        thread_ids: Only these threads; default: all of the scope.
        keep_last: Keep so many checkpoints of each namespace.
        max_age: Keep checkpoints that are younger: 90s, 15m, 12h, 30d, 8w.
        thread_ttl: Whole threads that were not written for so long go.
        status: Of threads that may go.
        dry_run: Only say what would be deleted.
        yes: Do not ask.
    """
    policy = Retention(
        keep_last=keep_last,
        max_age=_span("--max-age", max_age),
        thread_ttl=_span("--thread-ttl", thread_ttl),
        statuses=tuple(status),
    )
    if keep_last is None and max_age is None and thread_ttl is None:
        raise UsageError("Say what may go: --keep-last, --max-age or --thread-ttl.")
    async with opened(common) as saver:
        if not (dry_run or yes):
            must_be_asked()  # before looking at every thread
            planned = await saver.aprune(thread_ids or None, policy, dry_run=True)
            question = f"Delete {planned.threads} threads and {planned.checkpoints} checkpoints?"
            if not confirmed(question, yes=yes):
                return PROBLEM
        absent = await absent_of(saver, thread_ids)
        report = await saver.aprune(thread_ids or None, policy, dry_run=dry_run)
    one(report.to_dict() | {"dry_run": dry_run}, common.format)
    return told_of(absent)


async def archive(
    target: str,
    /,
    *thread_ids: str,
    thread_ttl: str | None = None,
    delete: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    common: Options = OPTIONS,
) -> int:
    """Write threads to compressed files (writes the target; with --delete also the database).

    Args:
        target: A folder, or the URL of an object store.
        thread_ids: Only these threads; default: those that are done or have failed.
        thread_ttl: Only those that were not written for so long: 12h, 30d.
        delete: Delete them from the database once their file was read back.
        dry_run: With --delete: leave the database as it is.
        yes: Do not ask.
    """
    ttl = _span("--thread-ttl", thread_ttl)
    if delete and not dry_run and not confirmed("Delete archived threads?", yes=yes):
        return PROBLEM
    async with opened(common) as saver:
        absent = await absent_of(saver, thread_ids)
        report = await saver.aarchive(
            target,
            thread_ids=thread_ids or None,
            policy=None if ttl is None else Retention(thread_ttl=ttl),
            delete=delete and not dry_run,
        )
    told = report.to_dict()
    one(told | {"skipped": report.skipped - len(absent)}, common.format)
    return told_of(absent)


async def backup(target: str, /, *, common: Options = OPTIONS) -> int:
    """Copy the whole database into another one (writes the target).

    Args:
        target: URL or path of an empty database, or of a backup that was cut off.
    """
    async with opened(common) as saver:
        with bar() as told:
            report = await saver.abackup(target, progress=told)
    one(report.to_dict(), common.format)
    return FINE


async def restore(source: str, /, *, common: Options = OPTIONS) -> int:
    """Copy a whole database, such as a backup, into this one, which is empty (writes).

    Args:
        source: URL or path.
    """
    if common.scope:
        raise UsageError("A whole database is restored: leave --scope out.")
    # It opens at first use: what is to be gone on with opens for nothing else.
    async with aclosing(saver_of(common, migrate="auto")) as saver:
        with bar() as told:
            report = await saver.arestore(source, progress=told)
    one(report.to_dict(), common.format)
    return FINE


async def migrate(*, check: bool = False, sql: bool = False, common: Options = OPTIONS) -> int:
    """Create the schema, or bring it up to date (writes, unless --check or --sql).

    Args:
        check: Only look; exit code 1 if something is to be done.
        sql: Only print the statements that would be executed.
    """
    found, needed = await _versions(common)
    if sql:
        if not needed:
            raise UsageError("A database in memory has no schema, so there are no statements.")
        write(pending_sql(common.dsn or "", found))
        return FINE
    if not check and found != needed:
        async with opened(common, migrate="auto"):
            found = needed
    one({"version": found, "needed": needed, "current": found == needed}, common.format)
    return FINE if found == needed else PROBLEM


async def _versions(common: Options) -> tuple[int, int]:
    """Version of the schema that is there (0: none), and that this release needs."""
    if missing_file(common.dsn):
        return 0, latest("sqlite")
    try:
        async with opened(common) as saver:
            needed = latest((await saver.journal()).driver.name)
            return needed, needed
    except SchemaVersionError as error:
        found, needed = int(error.context["found"]), int(error.context["needed"])
        if found > needed:
            raise
        return found, needed


def _span(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    number, unit = (text[:-1], text[-1]) if text[-1:] in _SPANS else (text, "s")
    try:
        return float(number) * _SPANS[unit]
    except ValueError:
        raise UsageError(f"{name} is a number of s, m, h, d or w, not {text!r}.") from None


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"--answer is no JSON ({error}); a text is written '\"so\"'.") from None


def _graph(place: str, saver: Saver) -> Any:
    """A graph by the name of its module and its own, run on `saver`.

    Raises:
        UsageError: There is no such module or name, or it is no graph.
    """
    from stepwell.graph.state import CompiledStateGraph, StateGraph  # what no other verb needs

    module, separator, name = place.partition(":")
    if not separator:
        raise UsageError(f"--graph is module:name, not {place!r}.")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--graph {place}: {error}") from error
    finally:
        sys.path.pop(0)
    if isinstance(found, StateGraph):
        return found.compile(checkpointer=saver)
    if isinstance(found, CompiledStateGraph):
        return found.copy({"checkpointer": saver})
    raise UsageError(f"--graph {place} is a {type(found).__name__}, no graph.")


WRITING = (fork, resume, delete, prune, archive, backup, restore, migrate)

__all__ = ["WRITING"]

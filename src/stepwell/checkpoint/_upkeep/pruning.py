"""One pass of retention: looked at a page at a time, done thread by thread.

    listed rows -> those in which something may go -> their rows as they are now, with namespaces
        -> nothing goes | the thread goes | each namespace is read, and what a rule lets go goes

A page of threads costs its listing, and one more call if any of them remains; only namespaces in
which something may go are read. What is done is done under a claim, in transactions of bounded
size, to a thread that still is what was looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final, NamedTuple

from stepwell._journal.folding import fold_namespace
from stepwell._journal.handle import ThreadHandle
from stepwell._journal.journal import Journal
from stepwell._journal.layouts import FOLD_ROWS, LAZY
from stepwell._journal.pruning import Pruning, is_dead, plan_pruning
from stepwell.checkpoint._looking import listing
from stepwell.checkpoint._results import PruneReport
from stepwell.checkpoint._upkeep.retention import Retention
from stepwell.checkpoint.driver import ThreadKey, ThreadRow, ThreadStatus
from stepwell.constants import NS_SEP
from stepwell.errors import StaleWriterError, ThreadBusyError
from stepwell.observe import Pruned

_RACES_MAX: Final = 10
"""How often another layout may come first before a namespace is left for the next pass."""


_SKIPPED: Final = PruneReport(skipped=1)


class Pass(NamedTuple):
    """What a pass works by.

    `now`: unix time that ages are counted from. `heads_stay`: the newest checkpoint of every
    namespace stays, also where nothing leads to it any more.
    """

    policy: Retention
    now: float
    batch_rows: int
    dry_run: bool
    heads_stay: bool = False


class _Totals:
    """What has been done to one thread so far."""

    __slots__ = ("bytes", "checkpoints")

    def __init__(self) -> None:
        self.checkpoints = self.bytes = 0


async def prune_threads(
    reader: listing.Reader, keys: Sequence[ThreadKey], work: Pass
) -> AsyncGenerator[tuple[ThreadRow, PruneReport], None]:
    """Do to threads what the policy says, or say what would be done: each row as it was looked
    at, and what became of it. Those that are not there are left out.

    Args:
        reader: The saver's.
        keys: A page of threads: all of their rows are held.
        work: What to do.

    Raises:
        CorruptRecordError: A record is damaged; that namespace was left as it is.
        StorageError: The database did not answer; what is done is done.
    """
    if not keys:
        return
    rows = [row for row in await reader.journal.thread_rows(keys) if row is not None]
    gone = await _expired(reader, rows, work)
    for row in rows:
        report = await _prune_thread(reader, row, work, goes=row.key in gone)
        if report == _SKIPPED and not work.dry_run and not _busy(row):
            # Others of the page came first: it may have been written since it was looked at.
            (again,) = await reader.journal.thread_rows([row.key])
            if again is not None and again.record_no != row.record_no:
                goes = bool(await _expired(reader, [again], work))
                yield again, await _prune_thread(reader, again, work, goes=goes)
                continue
        yield row, report


async def _prune_thread(
    reader: listing.Reader, row: ThreadRow, work: Pass, *, goes: bool
) -> PruneReport:
    began = reader.clock.monotonic()
    if _busy(row):
        return PruneReport(skipped=1) if _concerned(row, work) else PruneReport()
    if goes:
        report = await _delete(reader, row, work)
    elif not work.policy.prunes or _has_few(row, work):
        return PruneReport()
    else:
        report = await _prune(reader, row, work)
    if not work.dry_run and (report.threads or report.checkpoints):
        tell_pruned(reader.journal, row.key, report, reader.clock.monotonic() - began)
    return report


def unconcerned(row: ThreadRow, work: Pass) -> bool:
    """Whether a listed row tells that the policy has no use for its thread.

    A listed row does not name the namespaces. Its root has all the checkpoints that the thread
    has if these are as many as the root ever had; where as many are missing there as tasks that
    nothing leads to any more have left, fewer than the policy keeps, those stay a while longer.
    """
    if not _concerned(row, work):
        return True
    if _busy(row) or work.policy.expired(row, work.now):
        return False
    if _is_young(row, work):
        return True
    few = row.checkpoints <= _staying(work)
    return few and (work.heads_stay or row.checkpoints in (0, row.namespaces[0][1]))


def _is_young(row: ThreadRow, work: Pass) -> bool:
    """Whether a thread is younger than the age from which checkpoints may go: all it has stays."""
    age = work.policy.max_age_s
    return age is not None and row.created_at >= work.now - age


def _staying(work: Pass) -> int:
    """So many of the newest of a namespace stay, whatever their age."""
    return work.policy.keep_last or 1


def _has_few(row: ThreadRow, work: Pass) -> bool:
    """Whether the row of a thread, read with its namespaces, tells that none of these has more
    checkpoints than stay, nor any that nothing leads to any more."""
    if _is_young(row, work):
        return True
    last = _staying(work)
    if row.checkpoints <= last and (work.heads_stay or not row.checkpoints):
        return True
    if row.more_namespaces:
        return False
    heads = [head for _, head in row.namespaces.values()]
    if len(heads) == 1:
        return row.checkpoints <= last
    # None has ever gone: so each has as many as its head says, and what led to it is there.
    return sum(heads) == row.checkpoints and 0 < min(heads) <= max(heads) <= last


def tell_pruned(journal: Journal, key: ThreadKey, report: PruneReport, duration_s: float) -> None:
    """Tell observers what was taken away of a thread."""
    if journal.observers:
        journal.observers(
            Pruned(
                thread_id=key.thread_id,
                threads=report.threads,
                checkpoints=report.checkpoints,
                bytes=report.bytes,
                duration_s=duration_s,
            )
        )


def _busy(row: ThreadRow) -> bool:
    held = row.owner is not None and row.lease_left_s is not None and row.lease_left_s > 0
    return held or row.status == ThreadStatus.RUNNING


def _concerned(row: ThreadRow, work: Pass) -> bool:
    """Whether the policy could have a use for a thread that is left alone."""
    return work.policy.prunes or work.policy.expired(row, work.now)


async def _expired(reader: listing.Reader, rows: Sequence[ThreadRow], work: Pass) -> set[ThreadKey]:
    """The threads that are to go as a whole."""
    policy = work.policy
    found = [row for row in rows if not _busy(row) and policy.expired(row, work.now)]
    if policy.where is None or not found:
        return {row.key for row in found}
    infos = await listing.thread_infos(reader, found, "updated")
    return {row.key for row, info in zip(found, infos, strict=True) if policy.where(info)}


async def _claim(reader: listing.Reader, row: ThreadRow) -> ThreadHandle | None:
    """The claim of a thread that still is what was looked at; None if it is not, or is busy."""
    try:
        handle = await reader.journal.acquire(row.key, wait=False, load_seq=0)
    except ThreadBusyError:
        return None
    found = handle.loaded.thread
    if found is not None and (found.uid, found.record_no) == (row.uid, row.record_no):
        return handle
    try:
        if handle.record_no == 0:
            await handle.delete()  # it was deleted meanwhile, and made again by claiming it
    finally:
        await handle.release()
    return None


async def _delete(reader: listing.Reader, row: ThreadRow, work: Pass) -> PruneReport:
    gone = PruneReport(threads=1, checkpoints=row.checkpoints, bytes=row.bytes)
    if work.dry_run:
        return gone
    handle = await _claim(reader, row)
    if handle is None:
        return PruneReport(skipped=1)
    try:
        deleted = await handle.delete()
    finally:
        await handle.release()
    return gone if deleted else PruneReport(skipped=1)


async def _prune(reader: listing.Reader, row: ThreadRow, work: Pass) -> PruneReport:
    planned = await _look(reader, row, work)
    checkpoints = sum(plan.checkpoints for _, plan in planned)
    if not checkpoints or work.dry_run:
        return PruneReport(checkpoints=checkpoints, bytes=sum(plan.bytes for _, plan in planned))
    handle = await _claim(reader, row)
    if handle is None:
        return PruneReport(skipped=1)
    totals = _Totals()
    skipped = 0
    try:
        for _ in range(_RACES_MAX):
            if await _carry_out(handle, planned, totals):
                break
            # Somebody folded meanwhile: what is left to do has another form now.
            planned = await _look(reader, row, work)
        else:
            skipped = 1
    except StaleWriterError:
        skipped = 1
    finally:
        await handle.release()
    driver = reader.journal.driver
    for name, plan in planned:
        if sum(len(change.rows) for change in plan.changes) >= FOLD_ROWS:
            await fold_namespace(driver, row.key, name, LAZY)
    return PruneReport(checkpoints=totals.checkpoints, bytes=totals.bytes, skipped=skipped)


async def _carry_out(
    handle: ThreadHandle, planned: Sequence[tuple[str, Pruning]], totals: _Totals
) -> bool:
    """Send the changes one after the other; False if another layout came first."""
    layout_no: int | None = None
    for _, plan in planned:
        for change in plan.changes:
            # Each plan counts on from the layout it read: those before it have moved that on.
            layout_no = change.layout_no if layout_no is None else layout_no + 1
            if not await handle.prune(change._replace(layout_no=layout_no)):
                return False
            totals.checkpoints -= change.checkpoints
            totals.bytes -= change.bytes
            await asyncio.sleep(0)
    return True


async def _look(reader: listing.Reader, row: ThreadRow, work: Pass) -> list[tuple[str, Pruning]]:
    """What is to be done to each namespace; those around others come first.

    If the thread is folded meanwhile, the first of these changes will be refused.
    """
    journal, key = reader.journal, row.key
    if row.more_namespaces:
        names = ["", *await journal.namespaces(key)]
    else:
        names = [name for name, _ in row.namespaces.values()]
    names.sort(key=lambda name: (name.count(NS_SEP) + 1) if name else 0)
    oldest: dict[str, int | None] = {}
    planned: list[tuple[str, Pruning]] = []
    for name in names:
        page = await journal.history(key, name, current=True)
        if page.thread is None:
            return []
        rules = work.policy.rules(row, name, page, work.now, reader.codec)
        dead = bool(name) and not work.heads_stay and is_dead(name, page, oldest)
        if dead:
            # It is behind all that is kept of what led to it: its own newest count for nothing.
            rules = rules._replace(keep_last=None)
        plan = plan_pruning(key, page, rules, batch_rows=work.batch_rows, dead=dead)
        oldest[name] = plan.oldest_kept
        if plan.changes:
            planned.append((name, plan))
    return planned


__all__ = ["Pass", "prune_threads", "tell_pruned", "unconcerned"]

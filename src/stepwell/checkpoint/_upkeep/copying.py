"""Copying a thread: its records once more, under another id."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stepwell._ids import checkpoint_id, parse_checkpoint_id
from stepwell._journal.handle import ThreadHandle
from stepwell._journal.journal import Journal
from stepwell._journal.load import chain, parse
from stepwell.checkpoint.driver import (
    CheckpointRow,
    LoadRequest,
    RunRow,
    RunStatus,
    ThreadChange,
    ThreadKey,
    ThreadRow,
    ThreadStatus,
    WriteRow,
)
from stepwell.errors import NotFoundError, ThreadBusyError, UsageError

_READS_MAX = 5
"""How often a thread that is being written meanwhile is read before giving up."""


class Numbering:
    """The numbers that rows have in a copy: without a gap, although pruning leaves gaps.

    Where nothing was pruned the numbers and the ids stay what they are. An id leads to its row
    by the number in it; so a row that gets another number gets another id too, unless tasks
    that are under way depend on it.
    """

    def __init__(self, whole: Whole) -> None:
        self._new: dict[tuple[str, int], int] = {}
        self._last: dict[str, int] = {}
        nested = len(whole.namespaces) > 1
        self._needed = {(ns, row.seq) for ns, row in whole.checkpoints if nested}
        self._needed |= {(ns, write.seq) for ns, write in whole.writes}

    def add(self, ns: str, row: CheckpointRow) -> tuple[int | None, bool]:
        """Number the next row: the number of its parent, and whether it keeps its id."""
        seq = self._last[ns] = self._last.get(ns, 0) + 1
        parent = row.parent if row.parent is None else self.of(ns, row.parent)
        self._new[ns, row.seq] = seq
        return parent, seq == row.seq or (ns, row.seq) in self._needed

    def of(self, ns: str, seq: int) -> int:
        """The new number of a row; 0, for "nothing", where it is not there any more."""
        return self._new.get((ns, seq), 0)


class Whole(NamedTuple):
    """Everything a thread holds, read while nobody wrote it."""

    thread: ThreadRow
    namespaces: Sequence[str]
    """In the order of their numbers; the root's name is empty."""
    checkpoints: Sequence[tuple[str, CheckpointRow]]
    """With the names of their namespaces."""
    writes: Sequence[tuple[str, WriteRow]]
    runs: Mapping[int, RunRow]

    def id_of(self, ns: str, row: CheckpointRow) -> bytes:
        """The checkpoint's id, which its copy keeps: task ids are derived from it."""
        if row.checkpoint_id is not None:
            return row.checkpoint_id
        return uuid.UUID(checkpoint_id(self.thread.uid, ns, row.seq, row.record_no)).bytes

    def until(self, checkpoint: str) -> Whole:
        """The thread as it was when a checkpoint of the root was made.

        Raises:
            NotFoundError: It has no such checkpoint.
        """
        parsed = parse_checkpoint_id(checkpoint)
        row = next(
            (r for ns, r in self.checkpoints if not ns and parsed and r.seq == parsed[1]), None
        )
        if row is None or str(uuid.UUID(bytes=self.id_of("", row))) != checkpoint:
            msg = f"Thread {self.thread.key.thread_id!r} has no checkpoint {checkpoint!r}."
            raise NotFoundError(msg, thread_id=self.thread.key.thread_id)
        if row.seq == self.thread.namespaces[0][1]:
            return self
        kept = [c for c in self.checkpoints if c[1].record_no <= row.record_no]
        newest = max(c[1].run for c in kept)
        return self._replace(
            thread=self.thread._replace(
                status=int(ThreadStatus.IDLE),
                run=row.run,
                next_nodes="[]",
                interrupts=0,
                error=None,
            ),
            checkpoints=kept,
            runs={n: run for n, run in self.runs.items() if n <= newest},
            writes=[w for w in self.writes if w[1].record_no <= row.record_no],
        )


async def read_whole(journal: Journal, key: ThreadKey) -> Whole:
    """Read a thread without locking it.

    Raises:
        NotFoundError: There is none.
        ThreadBusyError: It was written during each of several attempts.
    """
    for _ in range(_READS_MAX):
        whole = await _read_once(journal, key)
        if whole is not None:
            return whole
    msg = f"Thread {key.thread_id!r} is being written all the time; copy it when its run is over."
    raise ThreadBusyError(msg, thread_id=key.thread_id)


async def _read_once(journal: Journal, key: ThreadKey) -> Whole | None:
    """None: it was written meanwhile."""
    page = await journal.history(key, "")
    thread = page.thread
    if thread is None:
        msg = f"There is no thread {key.thread_id!r} to be copied."
        raise NotFoundError(msg, thread_id=key.thread_id)
    names = ["", *reversed(await journal.namespaces(key))]
    checkpoints: list[tuple[str, CheckpointRow]] = []
    writes: list[tuple[str, WriteRow]] = []
    for name in names:
        if name:
            page = await journal.history(key, name)
            if not _same(page.thread, thread):
                return None  # there may be thousands, and all would be read in vain
        checkpoints += [(name, row) for row in chain(page.rows, page.segments)]
        writes += [(name, row) for row in page.writes]
    sealed = [row for _, row in checkpoints if row.key_id is not None]
    if sealed:
        parse(sealed[0])  # bound to its thread: a copy could not be opened
    runs = await _all_runs(journal, key)
    if not _same((await journal.load(LoadRequest(key, "", 0))).thread, thread):
        return None
    return Whole(thread, names, checkpoints, writes, runs)


def _same(now: ThreadRow | None, before: ThreadRow) -> bool:
    """Whether nothing was written to a thread since, and none of its rows moved."""
    return now is not None and (now.uid, now.record_no, now.layout_no) == (
        before.uid, before.record_no, before.layout_no,
    )  # fmt: skip


async def _all_runs(journal: Journal, key: ThreadKey) -> dict[int, RunRow]:
    """Every run by its number, oldest first: also those that made no checkpoint."""
    runs: list[RunRow] = []
    while page := await journal.runs(key, after=runs[-1].run if runs else None):
        runs += page
    return {run.run: run for run in reversed(runs)}


async def write_copy(handle: ThreadHandle, whole: Whole) -> None:
    """Write the records of a thread to a new one, each under its number, in one commit: a process
    that dies meanwhile leaves no part of a copy that would pass for a thread.

    Raises:
        UsageError: The target holds something.
        StorageError: It could not be written; nothing of it is left.
    """
    if handle.record_no:
        msg = (
            f"Thread {handle.key.thread_id!r} exists already: copy to another id, or delete it "
            "first."
        )
        raise UsageError(msg, thread_id=handle.key.thread_id)
    try:
        with handle.together():
            _append(handle, whole)
        await handle.flushed()
    except BaseException:
        await handle.delete()
        raise


def _append(handle: ThreadHandle, whole: Whole) -> None:
    for name in whole.namespaces:
        handle.namespace(name)
    records: list[tuple[str, CheckpointRow | WriteRow]] = [*whole.checkpoints, *whole.writes]
    records.sort(key=lambda record: record[1].record_no)
    runs = {number: _ended(run) for number, run in whole.runs.items()}
    numbers = Numbering(whole)
    for name, row in records:
        while handle.record_no < row.record_no - 1:
            # Ids sort by record number: what left no row keeps its number too. Among it are
            # the records of runs that made no checkpoint.
            handle.append_status(run_row=_next_run(runs, records, row.record_no))
        if isinstance(row, CheckpointRow):
            while any(number < row.run for number in runs):  # they are numbered without a gap
                handle.append_status(run_row=runs.pop(min(runs)))
            run = runs.pop(row.run, None)
            parent, same = numbers.add(name, row)
            handle.append_checkpoint(
                handle.namespace(name), parent=parent, step=row.step, source=row.source,
                run=row.run, format=row.format, crc=row.crc, body=row.body, metadata=row.metadata,
                meta_index=row.meta_index, key_id=row.key_id,
                checkpoint_id=whole.id_of(name, row) if same else None, run_row=run,
            )  # fmt: skip
        else:
            handle.append_write(
                handle.namespace(name), numbers.of(name, row.seq), task_id=row.task_id, idx=row.idx,
                task_path=row.task_path, channel=row.channel, format=row.format, crc=row.crc,
                body=row.body, key_id=row.key_id,
            )  # fmt: skip
    thread = whole.thread
    running = thread.status == ThreadStatus.RUNNING
    change = ThreadChange(
        status=int(ThreadStatus.IDLE) if running else thread.status,
        run=thread.run, graph=thread.graph, fingerprint=thread.fingerprint,
        state_version=thread.state_version, next_nodes=thread.next_nodes,
        interrupts=thread.interrupts, error=thread.error,
    )  # fmt: skip
    for run in runs.values():
        handle.append_status(run_row=run)
    handle.append_status(thread=change, let_go=True)


def _next_run(
    runs: dict[int, RunRow], records: Sequence[tuple[str, CheckpointRow | WriteRow]], before: int
) -> RunRow | None:
    """The next run to be written, if it began before the first checkpoint of another one that
    comes with, or after, the record `before`."""
    if not runs:
        return None
    first = min(runs)
    for _, row in records:
        if isinstance(row, CheckpointRow) and row.record_no >= before and row.run:
            return runs.pop(first) if first < row.run else None
    return runs.pop(first)


def _ended(run: RunRow) -> RunRow:
    """A run of a copy: nobody runs it, and its idempotency key stays with the original."""
    running = run.status == RunStatus.RUNNING
    return run._replace(
        status=int(RunStatus.CANCELLED) if running else run.status, idempotency_key=None
    )


__all__ = ["Whole", "read_whole", "write_copy"]

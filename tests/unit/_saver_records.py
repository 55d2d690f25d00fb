"""Threads written without a graph: records through the journal of a saver."""

from __future__ import annotations

import zlib
from contextlib import asynccontextmanager

import orjson

from stepwell._journal.metadata import wanted_index
from stepwell.checkpoint.driver import RunRow, RunStatus, Source, ThreadChange, ThreadStatus


def body(ops, entries=()):
    """The body of a checkpoint from operations on channels, such as {"x": ["s", 1]}."""
    return orjson.dumps({"t": list(entries), "c": ops})


def checkpoint(handle, ops, *, step=0, parent=None, run=1, ns="", source=Source.LOOP, **more):
    """Append a checkpoint; returns where it was put."""
    data = body(ops)
    return handle.append_checkpoint(
        handle.namespace(ns),
        parent=parent,
        step=step,
        source=source,
        run=run,
        format=1,
        crc=zlib.crc32(data),
        body=data,
        **more,
    )


def write(handle, seq, *, task=b"t" * 16, idx=0, document, ns=0):
    """File what a task left under checkpoint `seq`."""
    data = orjson.dumps(document)
    return handle.append_write(
        ns, seq, task_id=task, idx=idx, task_path="", channel=None, format=1,
        crc=zlib.crc32(data), body=data,
    )  # fmt: skip


def metadata(value, *, tagged=False):
    """Metadata as it is stored."""
    return orjson.dumps({"v": value, **({"t": 1} if tagged else {})})


@asynccontextmanager
async def claimed(saver, thread_id):
    """A claim of a thread, released at the end with everything written."""
    journal = await saver.journal()
    handle = await journal.acquire(saver.key(thread_id))
    try:
        yield handle
        await handle.flushed()
    finally:
        await handle.release()


async def make_thread(
    saver,
    thread_id,
    *,
    status=ThreadStatus.DONE,
    run_status=RunStatus.DONE,
    value=0,
    known=None,
    graph="g",
    **change,
):
    """A thread with one run that set channel x once; on a thread that is there, one run more."""
    async with claimed(saver, thread_id) as handle:
        row = handle.loaded.thread
        run = 1 if row is None else row.runs + 1
        checkpoint(
            handle,
            {"x": ["s", value]},
            run=run,
            run_row=RunRow(
                run=run,
                run_id=f"run-{thread_id}-{run}",
                status=run_status,
                graph=graph,
                metadata=None if known is None else metadata(known),
                meta_index=wanted_index(known),
            ),
            thread=ThreadChange(status=status, run=run, graph=graph, **change),
        )


async def every(iterator):
    """All items of an async iterator."""
    return [item async for item in iterator]

"""Invariants of what is stored: acknowledged, unforked, fenced, folded, whole (I1-I4, I8).

Each is a pure function from a `Case` to the violations it finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from stepwell.testing._case import THINS_OUT, Case, Violation
from stepwell.testing._history import NOT_COMPARABLE, Event
from stepwell.testing._naive import MISSING, UnreadableError, combined, written
from stepwell.testing._stored import StoredCheckpoint, StoredThread, StoredWrite

_EMPTY: tuple[Any, ...] = (None, [], {}, "", 0, False)


def acknowledged_is_there(case: Case) -> Iterator[Violation]:
    """I1: every acknowledged superstep is in the final chain."""
    for event in case.acknowledged:
        if case.voided(event):
            continue
        thread = case.database.threads.get(event.thread or "")
        if thread is None:
            yield _lost(event, "the thread is gone")
            continue
        row = thread.by_id.get((event.ns, event.checkpoint or ""))
        if row is None:
            if not case.voided(event, THINS_OUT):
                yield _lost(event, "it is not in the database")
        elif event.step is not None and row.step != event.step:
            yield _lost(event, f"that is superstep {row.step}")
        elif event.epoch is not None and row.epoch != event.epoch:
            yield _lost(event, f"it was acknowledged under epoch {event.epoch}, not {row.epoch}")
        else:
            yield from _on_chain(case, thread, row)


def _lost(event: Event, why: str) -> Violation:
    what = f"superstep {event.step} (checkpoint {event.checkpoint}, namespace {event.ns!r})"
    return Violation(
        invariant="I1", thread=event.thread, message=f"acknowledged {what} is lost: {why}"
    )


def _on_chain(case: Case, thread: StoredThread, row: StoredCheckpoint) -> Iterator[Violation]:
    """The head descends from it, or left its chain where somebody asked for a branch."""
    final = thread.chain(row.ns)
    if row in final:
        return
    # The head was there once. So what came next on the final chain is where it was left.
    leaves = next((each for each in final if each.seq > row.seq), None)
    if leaves is None or not case.may_branch(thread, leaves):
        where = "no head leads to it" if leaves is None else f"the chain leaves at {leaves.seq}"
        yield Violation(
            invariant="I1",
            thread=thread.thread_id,
            message=f"acknowledged seq {row.seq} of {row.ns!r} is off the final chain: {where}",
        )


def acknowledged_in_order(case: Case) -> Iterator[Violation]:
    """I1: what one run acknowledges comes in the order in which it was written."""
    last: dict[tuple[str, str, str], tuple[int, str]] = {}
    for event in case.acknowledged:
        thread = case.database.threads.get(event.thread or "")
        row = None if thread is None else thread.by_id.get((event.ns, event.checkpoint or ""))
        if row is None or not event.op or event.thread is None:
            continue
        place = (event.thread, event.ns, event.op)
        before = last.get(place)
        if before is not None and row.seq < before[0]:
            yield Violation(
                invariant="I1",
                thread=event.thread,
                message=f"seq {row.seq} of {event.ns!r} was acknowledged after seq {before[0]}",
            )
        last[place] = (row.seq, row.checkpoint_id)


def chain_is_not_forked(case: Case) -> Iterator[Violation]:
    """I2: each checkpoint has at most one child that nobody branched off on purpose."""
    for thread in case.threads():
        for (ns, seq), children in thread.children.items():
            plain = [row.seq for row in children if not case.may_branch(thread, row)]
            if len(plain) > 1:
                yield Violation(
                    invariant="I2",
                    thread=thread.thread_id,
                    message=f"seqs {plain} of {ns!r} all go on from seq {seq}",
                )


def epochs_do_not_fall(case: Case) -> Iterator[Violation]:
    """I3: epochs never fall, neither along a chain nor in the order of records."""
    for thread in case.threads():
        for ns in thread.heads:
            for before, row in pairwise(thread.chain(ns)):
                if row.epoch < before.epoch:
                    yield _fenced(
                        thread, f"seq {row.seq} of {ns!r} has an older epoch than {before.seq}"
                    )
        rows: list[StoredCheckpoint | StoredWrite] = [*thread.checkpoints, *thread.writes]
        records = [(row.record_no, row.epoch) for row in rows]
        records.sort(key=lambda record: record[0])
        for (earlier, epoch), (later, newer) in pairwise(records):
            if later == earlier:
                yield _fenced(thread, f"record {later} is there twice")
            elif newer < epoch:
                yield _fenced(
                    thread,
                    f"record {later} was written under epoch {newer}, after record {earlier} of "
                    f"epoch {epoch}",
                )
        newest = max((epoch for _, epoch in records), default=0)
        if newest > thread.epoch:
            yield _fenced(thread, f"a record has epoch {newest}, the thread only {thread.epoch}")
        if records and records[-1][0] > thread.record_no:
            yield _fenced(
                thread, f"record {records[-1][0]} is there, the thread counts {thread.record_no}"
            )


def _fenced(thread: StoredThread, message: str) -> Violation:
    return Violation(invariant="I3", thread=thread.thread_id, message=message)


def state_is_the_fold(case: Case) -> Iterator[Violation]:
    """I4: each state is what its recorded changes add up to, read with other eyes."""
    for thread in case.threads():
        for ns in {row.ns for row in thread.checkpoints}:
            states = case.states(thread, ns)
            for row in (r for r in thread.checkpoints if r.ns == ns and r.state is not None):
                state = states[row.seq]
                if isinstance(state, UnreadableError):
                    if not case.may_miss_rows(thread.thread_id):
                        yield _unfaithful(thread, row, f"its records do not fold: {state}")
                elif row.state != state:
                    wrong = _differing(row.state or {}, state)
                    yield _unfaithful(thread, row, f"channels {wrong} differ from the records")


def state_is_what_was_written(case: Case) -> Iterator[Violation]:
    """I4: each changed channel is what the writes of the superstep make of it."""
    for thread in case.threads() if case.rules else ():
        states = case.states(thread, "")
        for row in (r for r in thread.checkpoints if r.ns == "" and "z" not in r.document):
            before, state = states.get(row.parent), states[row.seq]
            if isinstance(before, UnreadableError | None) or isinstance(state, UnreadableError):
                continue
            for channel, rule in case.rules.items():
                writes = list(written(row.document, channel)) if row.document else []
                if not writes:
                    continue
                value = combined(before.get(channel, MISSING), writes, rule)
                if value is not MISSING and value != state.get(channel):
                    yield _unfaithful(
                        thread, row,
                        f"writes to {channel!r} make {value!r}, recorded is {state.get(channel)!r}",
                    )  # fmt: skip


def told_state_is_stored(case: Case) -> Iterator[Violation]:
    """I4: what a client was shown is what is stored."""
    for event in case.events:
        if event.what != "ok" or not isinstance(event.value, dict) or event.checkpoint is None:
            continue
        if event.verb == "read" and event.next and event.from_checkpoint is None:
            continue  # it shows what finished siblings wrote, too
        thread = case.database.threads.get(event.thread or "")
        row = None if thread is None else thread.by_id.get((event.ns, event.checkpoint))
        if thread is None or row is None:
            continue
        state = case.states(thread, event.ns)[row.seq]
        if isinstance(state, UnreadableError):
            continue
        wrong = _differing(event.value, {k: v for k, v in state.items() if k in event.value})
        if wrong:
            yield _unfaithful(
                thread, row, f"a {event.verb} was told other values of channels {wrong}"
            )


def _differing(one: Any, other: Any) -> list[str]:
    return sorted(
        key
        for key in {*one, *other}
        if one.get(key) != other.get(key)
        and not _hidden(one.get(key))
        and not (key not in other and one.get(key) in _EMPTY)
    )


def _hidden(value: Any) -> bool:
    return NOT_COMPARABLE in value if isinstance(value, dict) else False


def _unfaithful(thread: StoredThread, row: StoredCheckpoint, why: str) -> Violation:
    return Violation(
        invariant="I4", thread=thread.thread_id, message=f"seq {row.seq} of {row.ns!r}: {why}"
    )


def nothing_is_missing(case: Case) -> Iterator[Violation]:
    """I8: no checkpoint without its writes, its run and its parents; nothing without a place."""
    for thread in case.threads():
        thin = case.may_miss_rows(thread.thread_id)
        for problem in (*thread.damage, *_gaps(thread, thin=thin), *_homeless(thread, thin=thin)):
            yield Violation(invariant="I8", thread=thread.thread_id, message=problem)


def _gaps(thread: StoredThread, *, thin: bool) -> Iterator[str]:
    for ns, head in thread.heads.items():
        rows = sorted((r for r in thread.checkpoints if r.ns == ns), key=lambda r: r.seq)
        seqs = [row.seq for row in rows]
        if head not in seqs:
            yield f"the head of {ns!r} is seq {head}, which is not there"
        if not thin and seqs != list(range(1, len(seqs) + 1)):
            yield f"{ns!r} has the seqs {seqs}"
        if seqs and seqs[-1] > head:
            yield f"{ns!r} has seq {seqs[-1]} behind its head {head}"
        for before, row in pairwise(rows):
            if row.record_no <= before.record_no:
                yield f"seq {row.seq} of {ns!r} was written before seq {before.seq}"


def _homeless(thread: StoredThread, *, thin: bool) -> Iterator[str]:
    for row in thread.checkpoints:
        place = f"seq {row.seq} of {row.ns!r}"
        if row.ns not in thread.heads:
            yield f"{place} belongs to no namespace of the thread"
        if row.parent >= row.seq or row.parent < 0:
            yield f"{place} goes on from seq {row.parent}"
        elif row.parent and (row.ns, row.parent) not in thread.by_seq and not thin:
            yield f"{place} goes on from seq {row.parent}, which is not there"
        if row.run and row.run not in thread.runs_by_number:
            yield f"{place} belongs to run {row.run}, which is not there"
        if row.source in ("loop", "input") and row.document and not row.document.get("t"):
            yield f"{place} has no writes"
    for write in thread.writes:
        if write.seq and (write.ns, write.seq) not in thread.by_seq:
            yield (
                f"a write of task {write.task} is filed under seq {write.seq} of {write.ns!r}, "
                "which is not there"
            )


__all__ = [
    "acknowledged_in_order", "acknowledged_is_there", "chain_is_not_forked",
    "epochs_do_not_fall", "nothing_is_missing", "state_is_the_fold",
    "state_is_what_was_written", "told_state_is_stored",
]  # fmt: skip

"""Invariants of what ran and what was told: rework, ends, reads, unknown outcomes (I5-I7, I9, I10).

Each is a pure function from a `Case` to the violations it finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from stepwell.testing._case import Case, Violation
from stepwell.testing._effects import Effect
from stepwell.testing._history import Event, Operation
from stepwell.testing._naive import UnreadableError, all_scalars, left_to_do, own_scalars
from stepwell.testing._stored import StoredCheckpoint, StoredThread

_RESULT = 0
"""The slot of a task's result."""


def durable_results_stay(case: Case) -> Iterator[Violation]:
    """I5: a task with a durable result never runs again."""
    for thread in case.threads():
        if case.was_deleted(thread.thread_id):
            continue
        results = {w.task: w.epoch for w in thread.writes if w.slot == _RESULT}
        for effect in (e for e in case.effects if e.thread == thread.thread_id):
            known = results.get(effect.task)
            if known is not None and effect.epoch > known:
                yield from _again(case, effect, f"its result was durable under epoch {known}")
            elif (barrier := _barrier(thread, effect)) is not None:
                yield from _again(
                    case, effect, f"its superstep was over under epoch {barrier.epoch}"
                )


def _barrier(thread: StoredThread, effect: Effect) -> StoredCheckpoint | None:
    """The record that ended an effect's superstep under an older epoch than the effect's."""
    if effect.checkpoint is None:  # steps rise along a chain
        return next(
            (
                row
                for row in thread.chain(effect.ns)
                if row.source == "loop" and row.step >= effect.step and row.epoch < effect.epoch
            ),
            None,
        )
    start = thread.by_id.get((effect.ns, effect.checkpoint))
    if start is None:
        return None
    for child in thread.children.get((start.ns, start.seq), ()):
        if child.source == "loop" and child.epoch < effect.epoch:
            return child
    return None


def seen_results_stay(case: Case) -> Iterator[Violation]:
    """I5: a task does not run again once somebody was told that it had finished.

    A worker that lost the thread meanwhile may still run it, under its older epoch.
    """
    told = _first_told(case)
    newest: dict[str, int] = {}
    for effect in case.effects:
        epoch = max(newest.get(effect.thread, 0), effect.epoch)
        newest[effect.thread] = epoch
        seen = told.get((effect.thread, effect.task))
        if seen is None and effect.checkpoint is not None:
            seen = told.get((effect.thread, f"after {effect.ns} {effect.checkpoint}"))
        if seen is None or case.was_deleted(effect.thread):
            continue
        when, place = seen
        if effect.at > when and effect.epoch == epoch:
            yield from _again(case, effect, f"event {place} of the history told that it was over")


def _first_told(case: Case) -> dict[tuple[str, str], tuple[float, int]]:
    """(thread, task or superstep) -> when its end was told first, and in which event."""
    told: dict[tuple[str, str], tuple[float, int]] = {}
    for event in case.events:
        if event.what != "ok" or event.thread is None:
            continue
        names = list(event.done)
        if event.task is not None:
            names.append(event.task)
        thread = case.database.threads.get(event.thread)
        row = None if thread is None else thread.by_id.get((event.ns, event.checkpoint or ""))
        if thread is not None and row is not None and row.source == "loop" and row.parent:
            before = thread.by_seq.get((row.ns, row.parent))
            if before is not None:
                names.append(f"after {row.ns} {before.checkpoint_id}")
        for name in names:
            told.setdefault((event.thread, name), (event.at, event.n))
    return told


def _again(case: Case, effect: Effect, why: str) -> Iterator[Violation]:
    if case.travels(effect.thread):  # somebody went back on purpose: tasks may run again
        return
    yield Violation(
        invariant="I5",
        thread=effect.thread,
        message=(
            f"task {effect.task} of superstep {effect.step} ran again under epoch {effect.epoch}: "
            f"{why}"
        ),
    )


def rework_is_bounded(case: Case) -> Iterator[Violation]:
    """I6: a takeover repeats at most the tasks in flight, and what ran ahead of the disk.

    Not with "exit", nor where the graph says itself which supersteps are stored.
    """
    for thread in {effect.thread for effect in case.effects}:
        modes = case.durabilities(thread)
        if not modes or modes - {"sync", "async"}:
            continue
        if case.travels(thread) or case.was_deleted(thread):
            continue
        allowed = 1 if modes == {"sync"} else case.ahead_max + 1
        yield from _rework(case, thread, allowed)


def _rework(case: Case, thread: str, allowed: int) -> Iterator[Violation]:
    ran: dict[tuple[str, int], set[int]] = {}
    repeated: dict[tuple[int, str], set[int]] = {}
    for effect in (e for e in case.effects if e.thread == thread):
        epochs = ran.setdefault((effect.ns, effect.step), set())
        if epochs and min(epochs) < effect.epoch and effect.epoch not in epochs:
            repeated.setdefault((effect.epoch, effect.ns), set()).add(effect.step)
        epochs.add(effect.epoch)
    for (epoch, ns), steps in repeated.items():
        if len(steps) > allowed:
            yield Violation(
                invariant="I6",
                thread=thread,
                message=(
                    f"epoch {epoch} repeated the supersteps {sorted(steps)} of {ns!r}; "
                    f"{allowed} may be lost with a process"
                ),
            )


def nothing_is_left_undone(case: Case) -> Iterator[Violation]:
    """I7: `next` is empty only if nothing is left to do."""
    for thread in case.threads():
        head = thread.head()
        if head is None:
            continue
        if thread.next == () and (why := _unfinished(case, thread, head)) is not None:
            yield Violation(
                invariant="I7",
                thread=thread.thread_id,
                message=f"next is empty at seq {head.seq}, but {why}",
            )
    for event in case.events:
        if event.verb != "read" or event.what != "ok" or event.next != ():
            continue
        thread_ = case.database.threads.get(event.thread or "")
        row = None if thread_ is None else thread_.by_id.get((event.ns, event.checkpoint or ""))
        if thread_ is None or row is None or event.ns:
            continue
        if (why := _due(case, thread_, row)) is not None:
            yield Violation(
                invariant="I7",
                thread=event.thread,
                message=f"event {event.n} was shown an empty next at seq {row.seq}, but {why}",
            )


def _unfinished(case: Case, thread: StoredThread, head: StoredCheckpoint) -> str | None:
    why = _due(case, thread, head)
    if why is not None:
        return why
    # With "exit", what a caller's command had started is forgotten with the run.
    for effect in () if "exit" in case.durabilities(thread.thread_id) else case.effects:
        if effect.thread == thread.thread_id and effect.checkpoint == head.checkpoint_id:
            return f"task {effect.task} had been started from there"
    return None


def _due(case: Case, thread: StoredThread, row: StoredCheckpoint) -> str | None:
    state = case.states(thread, row.ns).get(row.seq)
    if state is None or isinstance(state, UnreadableError):
        return None
    due = left_to_do(state)
    return f"{sorted(due)} are due" if due else None


def reads_see_what_was_acknowledged(case: Case) -> Iterator[Violation]:
    """I9: a read that begins after an acknowledgement sees it, or something newer."""
    newest: dict[tuple[str, str], tuple[int, Event]] = {}
    expected: dict[str, tuple[int, Event]] = {}
    for event in case.events:
        if event.thread is None:
            continue
        place = (event.thread, event.ns)
        if event.verb == "read":
            if event.what == "invoke" and place in newest and event.from_checkpoint is None:
                expected[event.op] = newest[place]
            elif event.what == "ok" and event.op in expected:
                yield from _stale(case, event, *expected.pop(event.op))
        elif event.what == "ok" and event.checkpoint is not None:
            seq = _seq(case, event)
            if seq is not None and seq > newest.get(place, (0, event))[0]:
                newest[place] = (seq, event)


def _stale(case: Case, event: Event, seq: int, acknowledged: Event) -> Iterator[Violation]:
    if case.voided(acknowledged):
        return
    seen = _seq(case, event)
    if event.checkpoint is not None and seen is None and case.may_miss_rows(event.thread or ""):
        return
    if seen is None or seen < seq:
        yield Violation(
            invariant="I9",
            thread=event.thread,
            message=(
                f"event {event.n} read {'nothing' if seen is None else f'seq {seen}'}, but seq "
                f"{seq} had been acknowledged in event {acknowledged.n}"
            ),
        )


def _seq(case: Case, event: Event) -> int | None:
    thread = case.database.threads.get(event.thread or "")
    row = None if thread is None else thread.by_id.get((event.ns, event.checkpoint or ""))
    return None if row is None else row.seq


def operations_are_whole(case: Case) -> Iterator[Violation]:
    """I10: an operation appears once and wholly, or, unless acknowledged, not at all."""
    for each in case.operations:
        thread = case.database.threads.get(each.begin.thread or "")
        if case.voided(each.begin):
            continue
        rows = () if thread is None else thread.checkpoints
        thin = case.may_miss_rows(each.begin.thread or "")
        for problem in _split(each, rows, thin=thin):
            yield Violation(invariant="I10", thread=each.begin.thread, message=problem)
    for thread in case.threads():
        yield from _inputs_once(case, thread)


def _split(each: Operation, rows: Sequence[StoredCheckpoint], *, thin: bool) -> Iterator[str]:
    parts = each.begin.parts
    if not parts:
        return
    what = f"{each.begin.verb} {each.begin.op} ({each.outcome})"
    scalars = [(row, all_scalars(row)) for row in rows]
    holding = [[row.seq for row, found in scalars if part in found] for part in parts]
    there = [part for part, seqs in zip(parts, holding, strict=True) if seqs]
    if each.outcome == "fail" and there:
        yield f"{what} wrote {there} although it was said to have failed"
    elif thin:
        return
    elif there and len(there) < len(parts):
        yield f"{what} appears in part: {there} of {list(parts)}"
    elif not there and each.outcome == "ok":
        yield f"{what} left nothing behind"
    firsts = {min(seqs) for seqs in holding if seqs}
    if len(firsts) > 1:
        yield f"{what} is spread over seqs {sorted(firsts)}"
    for part in parts:
        own = [row.seq for row in rows if part in own_scalars(row) and row.source != "fork"]
        if len(own) > 1:
            yield f"{what} was applied more than once: seqs {own}"
            break


def _inputs_once(case: Case, thread: StoredThread) -> Iterator[Violation]:
    """A run's input makes one record, an update's as many as it has supersteps."""
    made: Counter[tuple[str, str]] = Counter()
    for row in thread.checkpoints:
        writer = case.writer(thread, row) if row.ns == "" else None
        if writer is None or row.source not in ("input", "update"):
            continue
        made[writer.begin.op, row.source] += 1
        if writer.outcome == "fail":
            yield Violation(
                invariant="I10",
                thread=thread.thread_id,
                message=f"seq {row.seq} is of {writer.begin.verb} {writer.begin.op}, which failed",
            )
    for (op, source), count in made.items():
        if count > 1 and source == "input":
            yield Violation(
                invariant="I10",
                thread=thread.thread_id,
                message=f"the input of {case.by_op[op].begin.verb} {op} was applied {count} times",
            )


__all__ = [
    "durable_results_stay", "nothing_is_left_undone", "operations_are_whole",
    "reads_see_what_was_acknowledged", "rework_is_bounded", "seen_results_stay",
]  # fmt: skip

"""Planted bugs: what a broken engine or database would leave behind, made out of a clean case.

Each takes the clean case of `_cases` and returns one that shows exactly one mistake.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stepwell.testing._case import Case
from stepwell.testing._effects import Effect
from stepwell.testing._history import Event
from stepwell.testing._stored import StoredCheckpoint, StoredDatabase, StoredThread

Mutation = Callable[[Case], Case]
PLANTED: dict[str, tuple[set[str], Mutation]] = {}
"""Name -> (invariants of which at least one has to speak, what makes the mistake)."""


def planted(*invariants: str) -> Callable[[Mutation], Mutation]:
    def note(mutation: Mutation) -> Mutation:
        PLANTED[mutation.__name__] = (set(invariants), mutation)
        return mutation

    return note


# -- tools


def fresh(case: Case, **changes: Any) -> Case:
    """A case with nothing worked out yet."""
    fields = {
        name: getattr(case, name)
        for name in ("events", "database", "effects", "rules", "ahead_max")
    }
    return Case(**{**fields, **changes})


def with_thread(case: Case, name: str, **changes: Any) -> Case:
    thread = case.database.threads[name]
    threads = {**case.database.threads, name: replace(thread, **changes)}
    return fresh(case, database=StoredDatabase(threads=threads))


def with_row(case: Case, name: str, seq: int, **changes: Any) -> Case:
    thread = case.database.threads[name]
    rows = [replace(r, **changes) if r.seq == seq else r for r in thread.checkpoints]
    return with_thread(case, name, checkpoints=rows)


def row_of(case: Case, name: str, seq: int) -> StoredCheckpoint:
    return case.database.threads[name].by_seq["", seq]


def with_events(case: Case, change: Callable[[Event], Event | None]) -> Case:
    return fresh(case, events=[e for e in map(change, case.events) if e is not None])


def changed_event(case: Case, wanted: Callable[[Event], bool], **changes: Any) -> Case:
    """The first event that is wanted, changed."""
    found = next(event for event in case.events if wanted(event))
    return with_events(case, lambda e: replace(e, **changes) if e is found else e)


def with_document(case: Case, name: str, seq: int, change: Callable[[Any], None]) -> Case:
    document = copy.deepcopy(row_of(case, name, seq).document)
    change(document)
    return with_row(case, name, seq, document=document)


def without_rows(case: Case, name: str, first: int) -> Case:
    """The thread as if it had been lost from seq `first` on."""
    thread = case.database.threads[name]
    rows = [r for r in thread.checkpoints if r.seq < first]
    return with_thread(case, name, checkpoints=rows, heads={"": first - 1}, next=("lost",))


def again(case: Case, thread: str, node: str, epoch: int = 1) -> Case:
    """One more execution of a task that `node` told of, `epoch` claims later."""
    old = [e for e in case.effects if e.thread == thread and e.node == node][-1]
    late = max(e.at for e in (*case.effects, *case.events)) + 1
    return fresh(
        case, effects=[*case.effects, replace(old, epoch=old.epoch + epoch, at=late, nonce="again")]
    )


def thread_of(case: Case, name: str) -> StoredThread:
    return case.database.threads[name]


# -- I1


@planted("I1")
def the_newest_acknowledged_steps_are_lost(case: Case) -> Case:
    return without_rows(case, "resumed", 5)


@planted("I1")
def the_whole_thread_is_lost(case: Case) -> Case:
    threads = {k: v for k, v in case.database.threads.items() if k != "plain"}
    return fresh(case, database=StoredDatabase(threads=threads))


@planted("I1", "I8")
def an_acknowledged_step_in_the_middle_is_lost(case: Case) -> Case:
    rows = [r for r in thread_of(case, "plain").checkpoints if r.seq != 5]
    return with_thread(case, "plain", checkpoints=rows)


@planted("I1")
def the_head_went_back(case: Case) -> Case:
    return with_thread(case, "plain", heads={"": 14}, next=("join",))


@planted("I1")
def another_step_has_the_acknowledged_name(case: Case) -> Case:
    return with_row(case, "plain", 6, step=99)


@planted("I1")
def acknowledged_before_it_was_written(case: Case) -> Case:
    """Acknowledgements of one run come in another order than its records."""
    steps = [e for e in case.events if e.verb == "superstep" and e.thread == "resumed"][3:]
    first, second = steps[1], steps[2]
    swapped = {first.n: replace(second, n=first.n), second.n: replace(first, n=second.n)}
    return with_events(case, lambda e: swapped.get(e.n, e))


@planted("I1")
def acknowledged_but_never_written(case: Case) -> Case:
    return changed_event(
        case, lambda e: e.verb == "superstep", checkpoint="00000000-0000-8fff-8000-00ff00000000"
    )


# -- I2


@planted("I2")
def two_runs_went_on_from_one_step(case: Case) -> Case:
    """The second run loaded before the first had committed: its input forks the chain."""
    return with_row(case, "plain", 11, parent=9)


@planted("I2")
def two_workers_went_on_with_one_run(case: Case) -> Case:
    return with_row(case, "resumed", 5, parent=3)


@planted("I2")
def an_update_and_a_run_fork_the_chain(case: Case) -> Case:
    return with_row(case, "plain", 10, parent=8)


# -- I3


@planted("I3")
def the_epoch_falls(case: Case) -> Case:
    return with_row(case, "resumed", 5, epoch=row_of(case, "resumed", 1).epoch)


@planted("I3")
def a_zombie_wrote_after_the_takeover(case: Case) -> Case:
    """A pending write of the old epoch, behind the first record of the new one."""
    thread = thread_of(case, "resumed")
    killed = thread_of(case, "killed").writes[0]
    late = replace(
        killed, task="zombie", epoch=row_of(case, "resumed", 1).epoch, seq=6,
        record_no=thread.record_no,
    )  # fmt: skip
    rows = [replace(r, record_no=r.record_no - 1) if r.seq == 6 else r for r in thread.checkpoints]
    return with_thread(case, "resumed", writes=[late], checkpoints=rows)


@planted("I3")
def written_under_an_epoch_that_nobody_claimed(case: Case) -> Case:
    return with_thread(case, "plain", epoch=row_of(case, "plain", 16).epoch - 1)


@planted("I3")
def a_record_is_there_twice(case: Case) -> Case:
    thread = thread_of(case, "plain")
    head = row_of(case, "plain", 16)
    twin = replace(head, seq=17, parent=16, checkpoint_id="twin")
    return with_thread(case, "plain", checkpoints=[*thread.checkpoints, twin], heads={"": 17})


@planted("I1")
def acknowledged_under_another_epoch(case: Case) -> Case:
    return changed_event(
        case,
        lambda e: e.verb == "superstep" and e.thread == "resumed" and e.step == 3,
        epoch=row_of(case, "resumed", 1).epoch,
    )


# -- I4


@planted("I4")
def a_state_is_not_what_its_records_say(case: Case) -> Case:
    state = {**(row_of(case, "plain", 9).state or {}), "n": 77}
    return with_row(case, "plain", 9, state=state)


@planted("I4")
def a_list_was_appended_twice(case: Case) -> Case:
    def twice(document: Any) -> None:
        document["c"]["log"] = ["a", [*document["c"]["log"][1], *document["c"]["log"][1]]]
        for entry in document["t"]:
            for write in entry[3]:
                if write == ["log"]:
                    write.append(document["c"]["log"][1][:1])

    spoilt = with_document(case, "plain", 5, twice)
    states = spoilt.states(thread_of(spoilt, "plain"), "")
    rows = [replace(r, state=states[r.seq]) for r in thread_of(spoilt, "plain").checkpoints]
    quiet = with_thread(spoilt, "plain", checkpoints=rows)
    return with_events(quiet, lambda e: replace(e, value=None))  # nobody was shown the state


@planted("I4")
def a_write_of_a_task_is_not_in_the_state(case: Case) -> Case:
    """Of three parallel tasks the state has two."""

    def drop(document: Any) -> None:
        document["c"]["parts"] = ["w", document["c"]["parts"][1][:2]]

    spoilt = with_document(case, "plain", 4, drop)
    states = spoilt.states(thread_of(spoilt, "plain"), "")
    rows = [replace(r, state=states[r.seq]) for r in thread_of(spoilt, "plain").checkpoints]
    quiet = with_thread(spoilt, "plain", checkpoints=rows)
    return with_events(quiet, lambda e: replace(e, value=None))


@planted("I4")
def a_client_was_shown_another_state(case: Case) -> Case:
    found = next(e for e in case.events if e.verb == "read" and e.what == "ok")
    return changed_event(case, lambda e: e is found, value={**found.value, "n": 3})


@planted("I4")
def a_record_belongs_on_another_state(case: Case) -> Case:
    def splice(document: Any) -> None:
        document["c"]["n"] = ["p", 0, 0, "5", 1]

    return with_document(case, "plain", 6, splice)


# -- I5


@planted("I5")
def a_finished_task_ran_again_after_its_barrier(case: Case) -> Case:
    return again(case, "resumed", "count", epoch=2)


@planted("I5")
def a_task_with_a_pending_result_ran_again(case: Case) -> Case:
    write = thread_of(case, "killed").writes[0]
    old = next(e for e in case.effects if e.task == write.task)
    return fresh(case, effects=[*case.effects, replace(old, epoch=old.epoch + 1, nonce="again")])


@planted("I5")
def a_task_that_was_seen_finished_ran_again(case: Case) -> Case:
    """Its pending write is gone with the barrier; that it was finished is in the history."""
    read = next(e for e in case.events if e.verb == "read" and e.thread == "resumed" and e.done)
    old = next(e for e in case.effects if e.task == read.done[0])
    retold = replace(old, epoch=old.epoch + 1, at=read.at + 0.001, nonce="again", checkpoint=None)
    return fresh(case, effects=[*case.effects, retold])


@planted("I5")
def a_finished_task_ran_again_under_the_same_epoch(case: Case) -> Case:
    return again(case, "plain", "join", epoch=1)


# -- I6


@planted("I6")
def a_takeover_repeated_two_supersteps(case: Case) -> Case:
    """With durability="sync" one superstep may be lost with a process, no more."""
    more = [
        Effect(thread="killed", step=step, task=f"task {step}", epoch=epoch, nonce=f"{step}{epoch}")
        for epoch in (1 << 53, (1 << 53) + 1)
        for step in (3, 4)
    ]
    return fresh(case, effects=[*case.effects, *more])


@planted("I6")
def a_takeover_repeated_more_than_may_run_ahead(case: Case) -> Case:
    def run_ahead(event: Event) -> Event:
        begins = event.verb == "run" and event.what == "invoke" and event.thread == "killed"
        return replace(event, durability="async") if begins else event

    more = [
        Effect(thread="killed", step=step, task=f"task {step}", epoch=epoch, nonce=f"{step}{epoch}")
        for epoch in (1 << 53, (1 << 53) + 1)
        for step in range(3, 21)
    ]
    return with_events(fresh(case, effects=[*case.effects, *more]), run_ahead)


# -- I7


@planted("I7")
def a_killed_thread_looks_done(case: Case) -> Case:
    return with_thread(case, "killed", next=(), status="done")


@planted("I7")
def a_client_was_told_that_nothing_is_left(case: Case) -> Case:
    return changed_event(
        case, lambda e: e.verb == "read" and e.what == "ok" and e.thread == "killed", next=()
    )


@planted("I7")
def a_thread_looks_done_while_its_next_task_had_begun(case: Case) -> Case:
    head = row_of(case, "resumed", 6)
    started = Effect(
        thread="resumed", step=5, task="next", epoch=head.epoch, nonce="x",
        checkpoint=head.checkpoint_id,
    )  # fmt: skip
    return fresh(case, effects=[*case.effects, started])


# -- I8


@planted("I8")
def a_parent_is_missing(case: Case) -> Case:
    return with_row(case, "forked", 10, parent=9_000)


@planted("I8")
def a_write_was_left_behind_without_its_checkpoint(case: Case) -> Case:
    write = replace(thread_of(case, "killed").writes[0], seq=9)
    return with_thread(case, "killed", writes=[write])


@planted("I8")
def a_checkpoint_lost_its_writes(case: Case) -> Case:
    return with_document(case, "plain", 3, lambda document: document["t"].clear())


@planted("I8")
def rows_are_left_behind_the_head(case: Case) -> Case:
    thread = thread_of(case, "killed")
    stray = replace(row_of(case, "killed", 3), seq=5, parent=3, checkpoint_id="x", record_no=5)
    return with_thread(case, "killed", checkpoints=[*thread.checkpoints, stray], record_no=9)


@planted("I8")
def a_run_is_missing(case: Case) -> Case:
    runs = [r for r in thread_of(case, "plain").runs if r.run != 2]
    return with_thread(case, "plain", runs=runs)


@planted("I8")
def records_were_written_in_another_order(case: Case) -> Case:
    five, six = row_of(case, "plain", 5), row_of(case, "plain", 6)
    once = with_row(case, "plain", 5, record_no=six.record_no)
    return with_row(once, "plain", 6, record_no=five.record_no)


# -- I9


@planted("I9")
def a_read_did_not_see_what_was_acknowledged(case: Case) -> Case:
    found = next(e for e in case.events if e.verb == "read" and e.what == "ok")
    return changed_event(
        case, lambda e: e is found, checkpoint=row_of(case, "plain", 8).checkpoint_id, step=6,
        next=("ask",), value=None,
    )  # fmt: skip


@planted("I9")
def a_read_saw_nothing_at_all(case: Case) -> Case:
    found = next(e for e in case.events if e.verb == "read" and e.what == "ok")
    return changed_event(case, lambda e: e is found, checkpoint=None, value=None)


# -- I10


@planted("I10")
def half_of_an_update_is_there(case: Case) -> Case:
    def halve(document: Any) -> None:
        for entry in document["t"]:
            entry[3] = [w for w in entry[3] if w[0] != "log"]
        document["c"].pop("log")

    spoilt = with_document(case, "plain", 10, halve)
    return _told_unknown(spoilt, "update")


@planted("I10")
def a_failed_update_is_there(case: Case) -> Case:
    return changed_event(
        case, lambda e: e.verb == "update" and e.what == "ok", what="fail", checkpoint=None
    )


@planted("I10")
def an_acknowledged_update_is_nowhere(case: Case) -> Case:
    found = next(e for e in case.events if e.verb == "update" and e.what == "invoke")
    return changed_event(case, lambda e: e is found, parts=("nowhere-1", "nowhere-2"))


@planted("I10")
def an_input_was_applied_twice(case: Case) -> Case:
    """A retry whose first attempt had landed: the second run began with the same input."""
    first, second = row_of(case, "plain", 1), row_of(case, "plain", 11)
    return with_row(case, "plain", 11, document=first.document, run=first.run, state=second.state)


@planted("I10")
def an_update_is_spread_over_two_supersteps(case: Case) -> Case:
    def keep(channel: str) -> Callable[[Any], None]:
        def change(document: Any) -> None:
            for entry in document["t"]:
                entry[3] = [w for w in entry[3] if w[0] == channel]
            document["c"] = {channel: document["c"][channel]}

        return change

    body = copy.deepcopy(row_of(case, "plain", 10).document)
    first = with_document(case, "plain", 10, keep("tag"))
    keep("log")(body)
    return with_row(first, "plain", 11, document=body, source="update")


def _told_unknown(case: Case, verb: str) -> Case:
    return changed_event(
        case, lambda e: e.verb == verb and e.what == "ok", what="unknown", checkpoint=None
    )

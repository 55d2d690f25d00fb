"""Where Stepwell means to differ from LangGraph, and what it does instead.

Each entry names the case, the reason, and an assertion of Stepwell's own behaviour. An entry
whose case no longer differs fails the run, so the table cannot grow stale.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

EAGER = sys.version_info >= (3, 12)
"""Where LangGraph runs an async task at once up to its first wait; before, at the next turn."""


@dataclass(frozen=True)
class Difference:
    """`check(stepwell, langgraph)` asserts what Stepwell does; both are normalised."""

    why: str
    check: Callable[[Any, Any], None]
    here: bool = True
    """Whether it shows on this Python."""
    forms: tuple[str, ...] = ("async", "sync")
    """Of the case, those in which it shows."""


def difference(label: str) -> Difference | None:
    """What a case in a form, "case-form", differs by on purpose."""
    case, _, form = label.rpartition("-")
    known = DIFFERENCES.get(case)
    return known if known is not None and known.here and form in known.forms else None


def _runs_its_calls_once(mine: Any, theirs: Any) -> None:
    assert mine == {"run": [2, 4], "seen": [["double", 1], ["double", 2]]}
    assert theirs["run"] == mine["run"]
    assert theirs["seen"] == [["double", 1]] * 3 + [["double", 2]]


def _names_are_tasks_own(mine: Any, theirs: Any) -> None:
    assert [next(iter(c)) for _, c in mine] == ["one", "two", "wf"]
    assert [next(iter(c)) for _, c in theirs] == ["two", "two", "wf"]


def _async_runs_in_sync(mine: Any, theirs: Any) -> None:
    assert mine == [1, 1]
    assert theirs == ["raised TypeError", "raised RuntimeError"]


def _task_groups_ask(mine: Any, theirs: Any) -> None:
    assert [i["value"] for i in mine["__interrupt__"]] == ["q"]
    assert theirs == "raised ExceptionGroup"


def _collected_questions_are_asked(mine: Any, theirs: Any) -> None:
    assert [i["value"] for i in mine["stop"]["__interrupt__"]] == ["q"]
    assert (mine["state"]["next"], mine["on"]) == (("wf",), [["q", "r"], 2])
    assert theirs["stop"] == theirs["on"] == ["GraphInterrupt", 2]


def _clear_error(mine: Any, theirs: Any) -> None:
    errors = list(mine.values()) if isinstance(mine, dict) else [mine]
    assert set(errors) == {"raised EmptyInputError"}


def _siblings_first(mine: Any, theirs: Any) -> None:
    assert mine["shown"] == theirs["shown"] == {"log": ["one", "done"]}
    assert mine["new"]["log"] == ["one", "done", "two", "done"]
    assert mine["on"] == {"log": ["one", "done", "two", ["ask", "r"], "done", "z"]}
    assert theirs["new"]["log"] == ["one", "two", "done"]


def _siblings_first_and_no_more(mine: Any, theirs: Any) -> None:
    assert mine["next"] == theirs["next"] == ("ask",)
    assert theirs["log"] == ["one", "two", ["ask", "r"], "done", "after"]
    assert mine["log"] == ["one", "done", "two", ["ask", "r"], "done", "after"]
    assert [s["next"] for s in mine["history"]] == [s["next"] for s in theirs["history"]]


def _siblings_before_the_update(mine: Any, theirs: Any) -> None:
    assert mine["shown"] == theirs["shown"] == {"log": ["one", "done"]}
    assert mine["updated"] == {"log": ["one", "done", "two"]}
    assert theirs["updated"] == {"log": ["one", "two"]}


def _no_update_of_a_failure(mine: Any, theirs: Any) -> None:
    assert mine == ["raised ValueError"]
    assert theirs == [{"ask": None}, "raised ValueError"]


def _join_is_kept(mine: Any, theirs: Any) -> None:
    assert mine == {"next": ("ask",), "ran": ["b", "__metadata__", "ask", "z"]}
    assert theirs["ran"] == ["b", "__metadata__", "ask"]


def _written_before_the_call(mine: Any, theirs: Any) -> None:
    (begun, written, called), rest = mine[:3], mine[3:]
    assert (written[1], called[1]["name"]) == ("outer", "inner")
    assert theirs == [begun, called, written, *rest]


def _it_runs(mine: Any, theirs: Any) -> None:
    assert mine == [{"log": ["b"]}] * 3
    assert theirs == [{"log": ["b"]}, "raised AttributeError", {"log": ["b"]}]


def _new_result(mine: Any, theirs: Any) -> None:
    assert mine["again"] == theirs["again"] == mine["shown"] == ["in", "u", "work 1"]
    assert theirs["shown"] == ["in", "u", "work 0"]
    assert mine["on"] == ["in", "u", ["ask", "r"], "work 1"]


def _passes_through(mine: Any, theirs: Any) -> None:
    assert theirs == {"log": ["swallowed GraphInterrupt"]}
    assert mine["log"] == []
    assert [i["value"] for i in mine["__interrupt__"]] == ["q"]


def _an_answer_answers_one_question(mine: Any, theirs: Any) -> None:
    """q1 is asked, answered; q2 is asked; None as input asks q2 again; then it is answered."""
    asked = [[i["value"] for i in run.get("__interrupt__", [])] for run in mine["runs"]]
    assert asked == [["q1"], ["q2"], ["q2"], []]
    assert mine["runs"][-1] == {"log": [["ask", "r1", "r2"]]}
    assert theirs["runs"][2] == {"log": [["ask", "r1", "r1"]]}


def _commanded_work_is_kept(mine: Any, theirs: Any) -> None:
    assert mine == {"log": ["in", "other"]}
    assert theirs == {"log": ["in"]}


def _tuples(mine: Any, theirs: Any) -> None:
    assert mine == {"pair": (1, 2), "nested": {"k": [(3,)]}}
    assert theirs == {"pair": [1, 2], "nested": {"k": [[3]]}}


def _still_readable(mine: Any, theirs: Any) -> None:
    assert theirs == "the thread cannot be read"
    assert mine["next"], "what could not be applied is still to do"


def _node_of_the_router_is_still_to_run(mine: Any, theirs: Any) -> None:
    assert theirs["state"]["next"] == ()
    assert mine["raised"] == theirs["raised"]
    assert mine["state"]["next"] == ("a",)
    assert mine["state"]["tasks"][0]["error"] == "KeyError('router')"


def _definition_errors(mine: Any, theirs: Any) -> None:
    assert mine.keys() == theirs.keys()
    assert mine["no action"] == mine["not callable"] == "step 0: ValueError"
    assert theirs["no action"] == "step 0: RuntimeError"
    assert theirs["not callable"] == "step 0: TypeError"
    assert {k: v for k, v in mine.items() if k.startswith(("lambda", "sequence"))} == {
        k: v for k, v in theirs.items() if k.startswith(("lambda", "sequence"))
    }


def _sizes(mine: Any, theirs: Any) -> None:
    assert theirs == ["TypeError", "ValueError", "ValueError", ["3", "5"]]
    assert mine == [[], [], ["1", "2", "3", "4"], ["3", "5"]]


def _copies(mine: Any, theirs: Any) -> None:
    assert mine == {"list": [1]}
    assert theirs == {"list": [1, 2, 3]}


def _created_once(mine: Any, theirs: Any) -> None:
    assert mine == {"kept": True, "updated": True}
    assert theirs == {"kept": False, "updated": True}


def _own_store(mine: Any, theirs: Any) -> None:
    assert mine == {"log": ["own"] * 4}
    assert theirs == {"log": [None] * 4}


def _no_empty_namespaces(mine: Any, theirs: Any) -> None:
    assert mine == []
    assert theirs == [("deleted",), ("read",)]


def _compiles_again(mine: Any, theirs: Any) -> None:
    assert theirs == "refused: True"
    assert mine == {"log": [["handled", "f", "ValueError('no')", 0]]}


def _question_is_shown(mine: Any, theirs: Any) -> None:
    assert (mine, theirs) == (["what?"], [])


def _handler_that_finished_does_not_run_again(mine: Any, theirs: Any) -> None:
    assert mine["on"] == theirs["on"]
    assert (mine["next"], theirs["next"]) == (("other",), ("f", "other"))
    assert mine["runs"] == ["f", "handler", "other", "other"]
    assert theirs["runs"] == ["f", "handler", "other", "handler", "other"]


def _error_itself(mine: Any, theirs: Any) -> None:
    assert mine == ["ValueError: no", "ValueError: no"]
    assert theirs == ["ValueError: no", "str: ValueError('no')"]


def _only_the_handler_writes(mine: Any, theirs: Any) -> None:
    assert mine == {"log": [["handled", "f", "KeyError('router')", 0]]}
    assert theirs["log"][0] == "f"


def _goes_on_inside(mine: Any, theirs: Any) -> None:
    assert mine["result"] == theirs["result"]
    assert mine["ran"] == ["x", "bad", "bad", "y"]
    assert theirs["ran"] == ["x", "bad", "x", "bad", "y"]


def _one_after_the_other(mine: Any, theirs: Any) -> None:
    # What LangGraph's copies see of each other depends on their timing.
    assert mine == [[0], [0], [0, 1], [0], [0, 1], [0, 1, 2]]


def _equal_inputs_have_one_key(mine: Any, theirs: Any) -> None:
    assert (mine, theirs) == (3, 4)


def _runs_are_named(mine: Any, theirs: Any) -> None:
    assert [step for _, step in mine] == [step for _, step in theirs] == [1, 0, -1]
    assert {run for run, _ in theirs} == {None}
    assert len({run for run, _ in mine}) == 1
    assert None not in {run for run, _ in mine}


def _handled_and_shown(mine: Any, theirs: Any) -> None:
    def ids(seen: Any) -> Any:
        chunks, values = seen
        return (
            [chunk[1]["id"] for chunk in chunks if chunk[0] == "messages"],
            [m["id"] for m in values["messages"]],
        )

    assert ids(mine) == (["p", "h"], ["h1", "h"])
    assert ids(theirs) == (["p"], ["h1", "p", "h"])


def _handled_questions_are_answered(mine: Any, theirs: Any) -> None:
    assert mine == (["second"], {"log": [2]})
    assert theirs == (["second"], "raised RuntimeError")


def _handler_may_command_the_parent(mine: Any, theirs: Any) -> None:
    assert mine == {"log": ["f", "z"]}
    assert theirs == "ParentCommand"


def _retry_goes_on_inside(mine: Any, theirs: Any) -> None:
    assert mine["not kept"] == theirs["not kept"]
    assert mine["kept"] == [{"log": ["first", "second"]}, ["first", *["second"] * 3]]
    assert theirs["kept"] == [{"log": ["first", "second"]}, ["first", "second"] * 3]


_READABLE = "A thread can be read whatever happened to it; what failed is still in `next`."
_EMPTY = "Nothing to run is said clearly; LangGraph fails on a variable of its own."


def _empty_contexts(mine: Any, theirs: Any) -> None:
    for key, seen in theirs.items():
        if seen != mine[key]:
            assert key[1] == "missing", key
            assert seen == {"log": [["NoneType", "None"]]}
            assert mine[key] == {"log": [["dict", "{}"]]}


def _no_sentinel(mine: Any, theirs: Any) -> None:
    assert (mine, theirs) == ({}, {"unset": "<object>"})


def _copied(mine: Any, theirs: Any) -> None:
    assert mine == ["done", [{"log": ["a"]}] * 2]
    assert theirs[0] == "not implemented"


def _deleted(mine: Any, theirs: Any) -> None:
    assert mine == ["done", {}]
    assert theirs == ["not implemented", {"log": ["a"]}]


DIFFERENCES: dict[str, Difference] = {
    "following_checkpoint_of_an_empty_channel": Difference(
        "A channel without a value has none in the next checkpoint; LangGraph puts its mark for "
        "a missing value there.",
        _no_sentinel,
    ),
    "threads_are_copied": Difference(
        "Every saver copies threads; none of LangGraph's does.", _copied
    ),
    "threads_of_runs_are_deleted": Difference(
        "Every saver deletes what runs made; none of LangGraph's does.", _deleted
    ),
    "calls_when_their_caller_is_retried": Difference(
        "A task that has finished is not run again by the next attempt of its caller.",
        _runs_its_calls_once,
    ),
    "calls_of_one_function_by_two_names": Difference(
        "A name given to a task is the task's; LangGraph renames the function.",
        _names_are_tasks_own,
    ),
    "async_functions_in_sync_runs": Difference(
        "There is one implementation, and it is asynchronous: sync verbs run async functions.",
        _async_runs_in_sync,
    ),
    "questions_that_a_caller_collects": Difference(
        "A question that a caller took for a result is asked all the same.",
        _collected_questions_are_asked,
    ),
    "questions_of_a_task_group": Difference(
        "A question is asked from inside an `asyncio.TaskGroup` too.", _task_groups_ask
    ),
    "config_run_ids_are_stored": Difference(
        "The run that made a checkpoint can be told from its metadata.", _runs_are_named
    ),
    "messages_of_error_handlers": Difference(
        "A node that failed has written nothing, and what its handler says is shown.",
        _handled_and_shown,
    ),
    "empty_command": Difference(_EMPTY, _clear_error),
    "resume_with_none_is_empty": Difference(_EMPTY, _clear_error),
    "new_input_while_a_sibling_had_finished": Difference(
        "Writes that `get_state` has shown are not lost by new input.", _siblings_first
    ),
    "new_input_does_not_start_what_a_sibling_triggered": Difference(
        "As above; but the new run starts at START, and nowhere else.", _siblings_first_and_no_more
    ),
    "interrupt_passes_except_exception": Difference(
        "A question cannot be swallowed by `except Exception`.", _passes_through
    ),
    "half_answered_then_none": Difference(
        "An answer belongs to the question it was given to; LangGraph gives it to the next one.",
        _an_answer_answers_one_question,
    ),
    "update_while_a_sibling_had_finished": Difference(
        "As above, where somebody updates the state.", _siblings_before_the_update
    ),
    "update_as_end_keeps_what_a_command_did": Difference(
        "Clearing what is pending keeps what has finished, whoever started it.",
        _commanded_work_is_kept,
    ),
    "tuples_survive_storage": Difference("Types are stored faithfully.", _tuples),
    "state_after_two_writers": Difference(_READABLE, _still_readable),
    "state_of_a_thread_that_does_not_validate": Difference(_READABLE, _still_readable),
    "router_that_raises": Difference(
        "A thread whose router failed does not look finished; its node runs again.",
        _node_of_the_router_is_still_to_run,
    ),
    "store_sizes_of_what_has_none": Difference(
        "What has no size, or is not there, does not match; the search does not fail.", _sizes
    ),
    "store_what_is_read_is_a_copy": Difference(
        "What is stored changes by a put, not by changing what was put or read.", _copies
    ),
    "store_created_once": Difference(
        "A document is created once; LangGraph's own PostgreSQL store says so too.", _created_once
    ),
    "store_of_a_graph_inside_one_without": Difference(
        "A graph that was compiled with a store has one, also inside a graph that has none.",
        _own_store,
    ),
    "store_namespaces_that_became_empty": Difference(
        "A namespace without items is not listed; LangGraph's own databases agree.",
        _no_empty_namespaces,
    ),
    "contexts_are_coerced": Difference(
        "An empty dict as context is an empty dict; LangGraph makes None of it.", _empty_contexts
    ),
    "join_that_is_half_full_in_exit_mode": Difference(
        "What a join waits for is what was recorded; LangGraph loses the join.",
        _join_is_kept,
        here=not EAGER,
    ),
    "entrypoint_injection": Difference(
        "What is written before a call comes before what tells of the call.",
        _written_before_the_call,
        here=EAGER,
        forms=("async",),
    ),
    "graph_that_keeps_nothing_inside_a_sync_run": Difference(
        "It runs; LangGraph waits for a checkpoint that is never written.", _it_runs
    ),
    "task_that_runs_again_leaves_its_new_result": Difference(
        "The run's own last result counts, not the one that it replaced.", _new_result
    ),
    "updates_of_a_task_that_fails_after_its_answer": Difference(
        "A task that failed has no update to show.", _no_update_of_a_failure
    ),
    "refused_nodes": Difference(
        "Whatever is wrong with a graph is a GraphDefinitionError, a ValueError.",
        _definition_errors,
    ),
    "compile_twice_with_a_default_handler": Difference(
        "Compiling does not change the description of the graph.", _compiles_again
    ),
    "question_after_one_whose_failure_is_handled": Difference(
        "A question that was answered waits no longer, also if its node then failed.",
        _handled_questions_are_answered,
    ),
    "question_of_a_handler_is_shown": Difference(
        "A question that waits is shown with the node it stands in for.", _question_is_shown
    ),
    "finished_handler_and_a_failed_sibling": Difference(
        "What has finished and is durable does not run again.",
        _handler_that_finished_does_not_run_again,
    ),
    "error_given_to_a_handler_that_goes_on": Difference(
        "`NodeError.error` is an exception, also after a reload.", _error_itself
    ),
    "router_of_a_guarded_node_fails": Difference(
        "A node that failed writes nothing; its handler does.", _only_the_handler_writes
    ),
    "sub_retried": Difference(
        "What has finished inside a node that is tried again is not run again.", _goes_on_inside
    ),
    "sub_with_one_history_in_parallel": Difference(
        "Runs that share one history follow each other; none of them is lost.",
        _one_after_the_other,
    ),
    "key_of_an_equal_input": Difference(
        "Keys are digests of the codec's encoding, not of a pickle.", _equal_inputs_have_one_key
    ),
    "handler_commands_the_parent": Difference(
        "A handler may command the parent graph like the node it stands in for.",
        _handler_may_command_the_parent,
    ),
    "retry_of_a_subgraph": Difference(
        "Another attempt goes on where the kept graph inside stood: finished nodes do not run "
        "again.",
        _retry_goes_on_inside,
    ),
}

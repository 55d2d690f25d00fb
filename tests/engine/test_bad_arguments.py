"""What callers get wrong, and what they are told: what happened, to what, what to do."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest

from stepwell._engine.arguments import ArgumentError
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.errors import (
    GraphDefinitionError,
    InvalidIdError,
    InvalidUpdateError,
    NotFoundError,
    UsageError,
)
from stepwell.graph import END, START, StateGraph
from stepwell.types import StateUpdate

THREAD: Any = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    """One number."""

    x: int


async def keep(state: State) -> dict[str, Any]:
    return {}


def graph(**options: Any) -> Any:
    return StateGraph(State).add_node("n", keep).add_edge(START, "n").compile(**options)


@pytest.mark.parametrize(
    "update", [({"x": 1}, "n", None), ({"x": 1}, "n"), StateUpdate({"x": 1}, "n")]
)
async def test_a_plain_tuple_is_an_update(update: Any) -> None:
    """LangGraph unpacks updates, so tuples do as well as StateUpdate."""
    made = graph(checkpointer=InMemorySaver())
    await made.abulk_update_state(THREAD, [[update]])
    assert (await made.aget_state(THREAD)).values == {"x": 1}


@pytest.mark.parametrize(
    "supersteps",
    [[[{"x": 1}]], [StateUpdate({"x": 1}, "n")], "x", [{"x": 1}], [["ab"]], {"x": 1}, [5],
     [[({"x": 1},)]]],
)  # fmt: skip
async def test_supersteps_of_another_shape_are_refused(supersteps: Any) -> None:
    """Nothing is written, and the message says what shape is wanted."""
    made = graph(checkpointer=InMemorySaver())
    with pytest.raises(ArgumentError, match="a list of lists of StateUpdate"):
        await made.abulk_update_state(THREAD, supersteps)
    assert (await made.aget_state(THREAD)).created_at is None


async def test_as_node_is_one_name() -> None:
    made = graph(checkpointer=InMemorySaver())
    with pytest.raises(ArgumentError, match=r"as_node must be the name of one node.*\['n'\]"):
        await made.aupdate_state(THREAD, {"x": 1}, as_node=["n"])


async def test_an_update_as_end_takes_no_values() -> None:
    made = graph(checkpointer=InMemorySaver())
    with pytest.raises(InvalidUpdateError, match="as __end__ takes no values"):
        await made.aupdate_state(THREAD, {"x": 2}, as_node=END)


@pytest.mark.parametrize("given", [[], 5, "str"])
async def test_bad_input_is_told_what_input_is(given: Any) -> None:
    with pytest.raises(InvalidUpdateError, match="input must be a dict of the state's keys"):
        await graph().ainvoke(given)


async def test_a_thread_id_with_nul_is_told_so() -> None:
    made = graph(checkpointer=InMemorySaver())
    with pytest.raises(InvalidIdError, match=r"contains NUL .* at position 1"):
        await made.ainvoke({"x": 1}, {"configurable": {"thread_id": "a\0b"}})


async def test_an_answer_that_is_not_in_the_path_map() -> None:
    """A KeyError as in LangGraph, and one that says what was asked, and what would do."""

    def choose(state: State) -> str:
        return "yes"

    builder = StateGraph(State).add_node("n", keep).add_edge(START, "n")
    builder.add_conditional_edges("n", choose, {"y": "n", "no": END})
    with pytest.raises(KeyError) as caught:
        await builder.compile().ainvoke({"x": 1})
    assert isinstance(caught.value, NotFoundError)
    assert str(caught.value) == (
        "Router 'choose' of node 'n' returned 'yes', which is not in its path_map. "
        "It knows 'y', 'no', and takes Sends."
    )


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"retry_policy": "x"}, "retry_policy must be a RetryPolicy or a list of them, not 'x'"),
        ({"retry_policy": [5]}, "retry_policy must be a RetryPolicy or a list of them, not 5"),
        ({"cache_policy": "x"}, "cache_policy must be a CachePolicy or None, not 'x'"),
        ({"defer": "x"}, "defer must be True or False, not 'x'"),
        ({"timeout": "x"}, "timeout must be seconds as a number or timedelta, .* not 'x'"),
        ({"timeout": []}, "timeout must be seconds as a number or timedelta"),
        ({"metadata": "x"}, "metadata must be a mapping, not 'x'"),
    ],
)
def test_options_of_nodes_are_checked_when_they_are_given(option: Any, said: str) -> None:
    """Not when a node fails, or never."""
    with pytest.raises(GraphDefinitionError, match=said):
        StateGraph(State).add_node("n", keep, **option)


def test_a_store_is_something_of_a_store() -> None:
    with pytest.raises(GraphDefinitionError, match="store must be a store"):
        graph(store="x")


@pytest.mark.parametrize("given", [keep, "abc", 5])
def test_a_sequence_is_a_list(given: Any) -> None:
    with pytest.raises(GraphDefinitionError, match="must be a list of functions"):
        StateGraph(State).add_sequence(given)


IDS: dict[str, Any] = {
    "compact": {}, "prune": {}, "verify": {}, "archive": {"target": "archives"},
    "delete_for_runs": {},
}  # fmt: skip


@pytest.mark.parametrize("verb", IDS)
@pytest.mark.parametrize(
    "given", ["abc", b"abc", 3, iter(["abc"])], ids=["text", "bytes", "number", "iterator"]
)
def test_one_id_is_no_list_of_ids(verb: str, given: Any) -> None:
    """Its letters are not taken for threads, and the message shows what was meant."""
    saver = InMemorySaver()
    name = "run_ids" if verb == "delete_for_runs" else "thread_ids"
    hint = r": for one of them, \w+=\['abc'\]" if given == "abc" else ""
    with pytest.raises(TypeError, match=rf"{name} must be a list of ids, not .*{hint}\.$"):
        getattr(saver, verb)(**{name: given}, **IDS[verb])


@pytest.mark.parametrize("verb", [verb for verb in IDS if verb != "delete_for_runs"])
def test_what_is_in_a_list_of_ids_is_an_id(verb: str) -> None:
    """None is not taken for a thread of that name."""
    for given in (None, ["a"], 1.5):
        with pytest.raises(InvalidIdError, match="thread_id must be a str"):
            getattr(InMemorySaver(), verb)(thread_ids=[given], **IDS[verb])


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"status": ["done"]}, "status must be one of"),
    ({"metadata": "abc"}, "metadata= must be a mapping"),
    ({"limit": -1}, "limit must be a whole number"),
    ({"limit": float("nan")}, "limit must be a whole number"),
    ({"updated_before": "2020"}, "aware datetime or unix seconds, not '2020'"),
    ({"updated_after": float("nan")}, "aware datetime or unix seconds, not nan"),
    ({"order": "x"}, "order must be one of"),
    ({"after": "zz"}, "no cursor of this listing"),
    ({"graph": 3}, "graph must be the name of one, not 3"),
    ({"descending": "no"}, "descending must be True or False"),
]


@pytest.mark.parametrize(("mistake", "said"), MISTAKES, ids=repr)
def test_a_listing_that_blocks_says_what_is_wrong(mistake: dict[str, Any], said: str) -> None:
    """The error of the first step reaches whoever iterates, outside of a loop as well."""
    with pytest.raises(UsageError, match=said):
        list(InMemorySaver().list_threads(**mistake))


@pytest.mark.parametrize("since", [float("nan"), float("inf"), "today", True])
def test_a_report_since_no_moment_is_refused(since: Any) -> None:
    with pytest.raises(UsageError, match="since must be an aware datetime or unix seconds"):
        InMemorySaver().report(since=since)

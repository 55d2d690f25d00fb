"""`add_messages`, `ui_message_reducer` and LangGraph's, on the same random conversations."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("langgraph", reason="langgraph, the engine compared with, is not installed")

from stepwell.graph import message as ours
from stepwell.graph import ui as our_ui
from stepwell.graph._message_reducer import MessageReducer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    theirs = importlib.import_module("langgraph.graph.message")
    their_ui = importlib.import_module("langgraph.graph.ui")
    lc: Any = importlib.import_module("langchain_core.messages")

pytestmark = pytest.mark.compat

ids = st.sampled_from(["a", "b", "c", "d", None])
known_ids = st.sampled_from(["a", "b", "c", "d"])
KINDS = {"user": lc.HumanMessage, "assistant": lc.AIMessage, "system": lc.SystemMessage}
said = st.tuples(st.sampled_from(sorted(KINDS)), st.text(max_size=2), ids)
removed = st.tuples(st.just("remove"), st.just(""), st.one_of(known_ids, st.just("__remove_all__")))
one = st.one_of(said, said, removed)
many = st.lists(one, max_size=6)
writes = st.lists(st.one_of(many, one), min_size=1, max_size=4)


def as_object(item: Any) -> Any:
    role, content, name = item
    return lc.RemoveMessage(id=name) if role == "remove" else KINDS[role](content, id=name)


def as_dict(item: Any) -> Any:
    role, content, name = item
    if role == "remove":
        return ours.RemoveMessage(id=name)
    return {"role": role, "content": content} | ({} if name is None else {"id": name})


def made(write: Any, how: Any) -> Any:
    return [how(item) for item in write] if isinstance(write, list) else how(write)


def shown(messages: list[Any]) -> list[Any]:
    """Role, content and id of each; an id that was drawn is only said to be one."""
    rows = []
    for m in messages:
        if isinstance(m, dict):
            role, content, name = m["role"], m["content"], m["id"]
        else:
            role = {"human": "user", "ai": "assistant"}.get(m.type, m.type)
            content, name = m.content, m.id
        rows.append((role, content, name if len(name) == 1 or name[0] == "_" else "drawn"))
    return rows


def outcome(merge: Any, conversation: list[Any], how: Any) -> Any:
    state: Any = []
    for write in conversation:
        try:
            state = merge(state, made(write, how))
        except ValueError as error:
            return str(error), shown(state)
    return shown(state)


@given(writes)
def test_objects_are_merged_as_by_langgraph(conversation: list[Any]) -> None:
    expected = outcome(theirs.add_messages, conversation, as_object)
    assert outcome(ours.add_messages, conversation, as_object) == expected


@given(writes)
def test_dicts_are_merged_as_langgraph_merges_objects(conversation: list[Any]) -> None:
    expected = outcome(theirs.add_messages, conversation, as_object)
    assert outcome(ours.add_messages, conversation, as_dict) == expected


@given(writes)
def test_splices_lead_from_one_list_to_the_next(conversation: list[Any]) -> None:
    """What is recorded of a merge, applied to the list before, gives the list after."""
    reducer, state = MessageReducer(), []
    for write in conversation:
        try:
            merged = reducer.merge_splices(state, made(write, as_dict))
        except ValueError:
            return
        if merged.splices is not None:
            after = list(state)
            for position, cut, items in merged.splices:
                start = len(after) if position is None else position
                after[start : start + cut] = items
            assert after == merged.items
        state = merged.items


PLAIN: list[Any] = [
    "hi", ("user", "hi"), ("human", "hi"), ("ai", "hi"), ("assistant", "hi"), ("system", "hi"),
    {"role": "user", "content": "hi"}, {"type": "human", "content": "hi", "id": "1"},
    {"role": "ai", "content": ""}, {"role": "tool", "content": "r", "tool_call_id": "c"},
    {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "n"},
    {"lc": 1, "type": "constructor", "id": ["x", "HumanMessage"], "kwargs": {"content": "hi"}},
    ["user", "hi"],
]  # fmt: skip
BAD: list[Any] = [
    {"role": "user"}, {"content": "hi"}, {"role": "nobody", "content": "hi"}, {}, ("user",),
    ("nobody", "hi"), ("user", "hi", "there"), 1, object(), {"type": "remove"},
]  # fmt: skip


@pytest.mark.parametrize("plain", PLAIN, ids=repr)
def test_plain_messages_say_what_langgraph_makes_of_them(plain: Any) -> None:
    (their,), (mine,) = theirs.add_messages([], [plain]), ours.add_messages([], [plain])
    assert isinstance(mine, dict)
    again = lc.convert_to_messages([mine])[0]
    assert again.id == mine["id"]
    assert again == their.model_copy(update={"id": mine["id"]})


ATTRIBUTES = (
    "content", "type", "name", "tool_calls", "invalid_tool_calls", "additional_kwargs",
    "response_metadata", "tool_call_id",
)  # fmt: skip


@pytest.mark.parametrize("plain", PLAIN, ids=repr)
def test_plain_messages_are_read_as_langgraphs_are(plain: Any) -> None:
    """Code that reads attributes of messages reads the same."""
    (their,), (mine,) = theirs.add_messages([], [plain]), ours.add_messages([], [plain])
    for name in ATTRIBUTES:
        if hasattr(their, name):
            assert getattr(mine, name) == getattr(their, name), name
    assert mine.id == mine["id"]
    assert (mine.role, mine.content) == (mine.get("role", mine.role), mine["content"])
    with pytest.raises(AttributeError, match="no 'color'"):
        mine.color  # noqa: B018
    mine.content = "changed"
    assert mine["content"] == "changed"


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: repr(bad).split(" at ")[0])
def test_what_is_no_message_is_refused_as_by_langgraph(bad: Any) -> None:
    with pytest.raises(Exception) as their:
        theirs.add_messages([], [bad])
    with pytest.raises((ValueError, NotImplementedError)) as mine:
        ours.add_messages([], [bad])
    assert isinstance(mine.value, their.type) or issubclass(their.type, ValueError)


@pytest.mark.parametrize("sides", [(None, []), ([], None), (None, "hi"), ("hi", None)])
def test_one_list_alone_is_refused(sides: Any) -> None:
    for add in (theirs.add_messages, ours.add_messages):
        with pytest.raises(ValueError, match="Must specify non-null arguments"):
            add(*sides)


def test_a_chunk_becomes_the_message_it_stands_for() -> None:
    chunk = lc.AIMessageChunk(content="hi", id="1")
    (their,), (mine,) = theirs.add_messages([], [chunk]), ours.add_messages([], chunk)
    assert type(mine) is type(their) is lc.AIMessage
    assert mine == their


def test_the_lists_given_stay_as_they_are() -> None:
    left, right = [{"role": "user", "content": "1", "id": "a"}], [{"role": "user", "content": "2"}]
    merged = ours.add_messages(left, right)
    assert (len(left), right) == (1, [{"role": "user", "content": "2"}])
    assert merged[1].keys() == {"role", "content", "id"}


def test_a_conversation_has_one_form() -> None:
    """Plain messages become objects as soon as one of the conversation is an object."""
    human = {"role": "user", "content": "hi", "id": "1"}
    for merged in (
        ours.add_messages([human], lc.AIMessage("yo", id="2")),
        ours.add_messages(
            [lc.HumanMessage("hi", id="1")], {"role": "ai", "content": "yo", "id": "2"}
        ),
        ours.add_messages([], [human, lc.AIMessage("yo", id="2")]),
    ):
        assert merged == [lc.HumanMessage("hi", id="1"), lc.AIMessage("yo", id="2")]


def test_the_format_of_openai() -> None:
    content = [
        {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "1234"}},
    ]
    given = [{"role": "user", "content": content, "id": "1"}]
    their = theirs.add_messages(format="langchain-openai")([], given)
    reducer = ours.add_messages(format="langchain-openai")
    mine = reducer([], given)
    assert [(type(m), m.content) for m in mine] == [(type(m), m.content) for m in their]
    assert mine[0].id == "1", "LangGraph loses the id here, and then nothing can be replaced"
    assert [m.id for m in reducer(mine, [lc.HumanMessage("new", id="1")])] == ["1"]
    for add in (theirs.add_messages, ours.add_messages):
        with pytest.raises(ValueError, match="Unrecognized"):
            add([], [], format="other")


part = st.builds(
    lambda name, props, merge: {
        "type": "ui", "id": name, "name": "n", "props": props, "metadata": {"merge": merge},
    },
    known_ids,
    st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3), max_size=2),
    st.booleans(),
)  # fmt: skip
gone = known_ids.map(lambda name: {"type": "remove-ui", "id": name})
parts = st.lists(
    st.one_of(part, gone, st.lists(st.one_of(part, part, gone), max_size=5)), max_size=5
)


@given(parts)
def test_parts_of_interfaces_are_merged_as_by_langgraph(writes: list[Any]) -> None:
    def all_of(merge: Any) -> Any:
        state: Any = []
        for write in writes:
            try:
                state = merge(state, write)
            except ValueError as error:
                return str(error), state
        return state

    assert all_of(our_ui.ui_message_reducer) == all_of(their_ui.ui_message_reducer)

"""LangChain's messages in states: stored under fixed names, revived without importing anything."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell._codec import Codec
from stepwell.checkpoint.base import Saver
from stepwell.contrib.langchain import messages_handler
from stepwell.errors import UnsupportedTypeError
from stepwell.graph import START, MessagesState, StateGraph
from stepwell.graph.message import RemoveMessage

lc = pytest.importorskip("langchain_core.messages", reason="langchain-core is not installed")

THREAD: Any = {"configurable": {"thread_id": "t"}}
MESSAGES: list[Any] = [
    lc.HumanMessage("hi", id="1", name="ada"),
    lc.AIMessage(
        [{"type": "text", "text": "let me see"}],
        id="2",
        tool_calls=[{"name": "look", "args": {"at": [1, 2.5]}, "id": "c1"}],
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        additional_kwargs={"k": "v"},
        response_metadata={"model": "m"},
    ),
    lc.ToolMessage("seen", id="3", tool_call_id="c1", artifact={"raw": (1, b"2")}),
    lc.SystemMessage("be brief", id="4"),
    lc.ChatMessage("x", role="other", id="5"),
    lc.FunctionMessage("y", name="f", id="6"),
]


class Anything(TypedDict, total=False):
    """A message in a key that knows nothing of messages."""

    value: Any


async def test_messages_come_back_as_they_were(saver: Saver) -> None:
    """Types, fields and equality, from a state that does not name the classes."""
    graph = StateGraph(MessagesState).add_node("node", lambda _: {"messages": MESSAGES[1:]})
    app = graph.add_edge(START, "node").compile(saver)
    await app.ainvoke({"messages": MESSAGES[0]}, THREAD)
    loaded = (await app.aget_state(THREAD)).values["messages"]
    assert loaded == MESSAGES
    assert [type(m) for m in loaded] == [type(m) for m in MESSAGES]
    assert loaded[2].artifact == {"raw": (1, b"2")}
    assert loaded[1].model_copy(update={"content": "x"}).pretty_repr()


async def test_a_message_in_any_key_and_in_any_place(saver: Saver) -> None:
    graph = StateGraph(Anything).add_node("node", lambda s: {"value": {"deep": [s["value"]]}})
    app = graph.add_edge(START, "node").compile(saver)
    await app.ainvoke({"value": lc.AIMessageChunk(content="chunk", id="1")}, THREAD)
    value = (await app.aget_state(THREAD)).values["value"]
    assert value == {"deep": [lc.AIMessageChunk(content="chunk", id="1")]}


def _plain_objects() -> list[Any]:
    """One of each class of LangChain that only holds what it is given."""
    from langchain_core import agents, prompt_values
    from langchain_core.documents.base import Blob, Document

    action = agents.AgentAction("tool", {"q": "a"}, "log")
    return [
        Document("text", id="d", metadata={"score": 0.5, "at": (1, 2)}),
        Blob(data=b"raw", mimetype="text/plain", metadata={"source": "s"}),
        prompt_values.StringPromptValue(text="q"),
        prompt_values.ChatPromptValue(messages=[lc.HumanMessage("hi", id="1")]),
        prompt_values.ChatPromptValueConcrete(messages=[lc.HumanMessage("hi", id="1")]),
        prompt_values.ImagePromptValue(image_url={"url": "u", "detail": "low"}),
        action,
        agents.AgentActionMessageLog(
            tool="tool", tool_input="a", log="log", message_log=[lc.AIMessage("x", id="2")]
        ),
        agents.AgentStep(action=action, observation=(1, "seen")),
        agents.AgentFinish({"output": 1}, "log"),
    ]


async def test_documents_prompts_and_actions_come_back_as_they_were(saver: Saver) -> None:
    """From a list that names no class, and from the artifact of a tool's message."""
    objects = _plain_objects()
    found = lc.ToolMessage("seen", id="3", tool_call_id="c1", artifact=objects)
    graph = StateGraph(Anything).add_node("node", lambda _: {"value": [*objects, found]})
    app = graph.add_edge(START, "node").compile(saver)
    await app.ainvoke({}, THREAD)
    loaded = (await app.aget_state(THREAD)).values["value"]
    assert loaded == [*objects, found]
    assert [type(o) for o in loaded[-1].artifact] == [type(o) for o in objects]


def test_documents_are_stored_under_the_name_that_a_schema_gives_them() -> None:
    """So threads written before the table knew them, by graphs that name them, read on."""
    for each in _plain_objects():
        class_of = type(each)
        key = f"$:{class_of.__module__}:{class_of.__name__}".encode()
        assert key in Codec().encode(each).data


async def test_appending_an_object_costs_what_it_holds(saver: Saver) -> None:
    graph = StateGraph(MessagesState)
    graph.add_node("node", lambda _: {"messages": [lc.AIMessage("new", id="new")]})
    app = graph.add_edge(START, "node").compile(saver)
    talk = [lc.HumanMessage(f"number {i}", id=str(i)) for i in range(200)]
    await app.aupdate_state(THREAD, {"messages": talk}, as_node=START)
    for write, expected in (
        (None, [*talk, lc.AIMessage("new", id="new")]),
        (RemoveMessage("7"), [*talk[:7], *talk[8:], lc.AIMessage("new", id="new")]),
        (
            lc.HumanMessage("changed", id="8"),
            [
                *talk[:7],
                lc.HumanMessage("changed", id="8"),
                *talk[9:],
                lc.AIMessage("new", id="new"),
            ],
        ),
    ):
        before = (await saver.aget_thread("t")).bytes  # type: ignore[union-attr]
        if write is None:
            await app.ainvoke(None, THREAD)
        else:
            await app.aupdate_state(THREAD, {"messages": write}, as_node="node")
        assert (await saver.aget_thread("t")).bytes - before < 1000  # type: ignore[union-attr]
        assert (await app.aget_state(THREAD)).values["messages"] == expected


async def test_a_subclass_has_to_be_registered(saver: Saver) -> None:
    class Mine(lc.HumanMessage):  # type: ignore[misc]
        """A class of the user's own."""

    graph = StateGraph(MessagesState).add_node("node", lambda _: {"messages": Mine("x")})
    app = graph.add_edge(START, "node").compile(saver)
    with pytest.raises(UnsupportedTypeError, match="Mine"):
        await app.ainvoke({"messages": []}, THREAD)


def test_objects_that_the_schema_names_are_stored_under_the_same_name() -> None:
    """So a thread goes on when somebody annotates its state."""

    class State(TypedDict):
        messages: Annotated[list[lc.AnyMessage], None]  # type: ignore[name-defined]

    codec = StateGraph(MessagesState).add_node("n", lambda _: None).add_edge(START, "n").compile()
    named = StateGraph(State).add_node("n", lambda _: None).add_edge(START, "n").compile()
    one, other = (
        app._program.codec.encode(lc.HumanMessage("x", id="1")).data for app in (codec, named)
    )
    assert one == other
    assert b'"$:langchain_core.messages:HumanMessage"' in one


WITHOUT = """
import sys
from stepwell import open_saver
from stepwell.graph import START, MessagesState, StateGraph
from stepwell.graph.message import RemoveMessage

config = {"configurable": {"thread_id": "t"}}
graph = StateGraph(MessagesState).add_node("node", lambda _: None).add_edge(START, "node")
with open_saver(sys.argv[1]) as saver:
    app = graph.compile(saver)
    kinds = [type(m).__name__ for m in app.get_state(config).values["messages"]]
    app.update_state(config, {"messages": [RemoveMessage("1")]}, "node")
    left = [m.type_id for m in app.get_state(config).values["messages"]]
print(kinds, left, "langchain_core" in sys.modules)
"""


DOCUMENTS = """
import sys
from typing import Any, TypedDict
from stepwell import open_saver
from stepwell.graph import START, StateGraph

class Anything(TypedDict, total=False):
    value: Any

config = {"configurable": {"thread_id": "t"}}
graph = StateGraph(Anything).add_node("node", lambda s: {"value": s["value"][::-1]})
graph.add_edge(START, "node")
with open_saver(sys.argv[1]) as saver:
    app = graph.compile(saver)
    found = app.get_state(config).values["value"]
    print([v.type_id.split(":")[1] for v in found], end=" ")
    app.invoke({"value": found}, config)
print("langchain_core" in sys.modules)
"""


def test_a_process_without_langchain_hands_documents_on(tmp_path: Path) -> None:
    """It reads them as Opaque, writes them back, and imports nothing for it."""
    url = f"sqlite:///{tmp_path}/m.db"
    objects = _plain_objects()
    graph = StateGraph(Anything).add_node("node", lambda _: {"value": objects})
    graph.add_edge(START, "node")
    with open_saver(url) as saver:
        graph.compile(saver).invoke({}, THREAD)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DOCUMENTS), url],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == f"{[type(o).__name__ for o in objects]} False", done.stderr
    with open_saver(url) as saver:
        assert graph.compile(saver).get_state(THREAD).values["value"] == objects[::-1]


def test_a_process_without_langchain_reads_edits_and_imports_nothing(tmp_path: Path) -> None:
    """What is read names classes; it never makes a process import them."""
    url = f"sqlite:///{tmp_path}/m.db"
    graph = StateGraph(MessagesState).add_node("node", lambda _: {"messages": MESSAGES[1]})
    graph.add_edge(START, "node")
    with open_saver(url) as saver:
        graph.compile(saver).invoke({"messages": MESSAGES[0]}, THREAD)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WITHOUT), url],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    expected = "['Opaque', 'Opaque'] ['langchain_core.messages:AIMessage'] False"
    assert done.stdout.strip() == expected, done.stderr
    with open_saver(url) as saver:
        assert graph.compile(saver).get_state(THREAD).values["messages"] == [MESSAGES[1]]


async def test_a_handler_for_models_that_find_no_config() -> None:
    """In an executor of the node's own there is neither a config nor a context."""
    models = pytest.importorskip("langchain_core.language_models.fake_chat_models")

    async def node(state: MessagesState) -> Any:
        model = models.GenericFakeChatModel(messages=iter([lc.AIMessage("a b", id="m")] * 2))
        handler = messages_handler()
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as pool:
            await loop.run_in_executor(pool, model.invoke, "unheard")
            said = await loop.run_in_executor(
                pool, lambda: model.invoke("heard", {"callbacks": [handler]})
            )
        return {"messages": said}

    graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
    chunks = [c async for c in graph.astream({"messages": []}, stream_mode="messages")]
    assert [m.content for m, _ in chunks] == ["a", " ", "b"]
    assert {told["langgraph_node"] for _, told in chunks} == {"node"}


def test_a_handler_outside_of_a_node_is_refused() -> None:
    with pytest.raises(RuntimeError, match="outside of a running node"):
        messages_handler()

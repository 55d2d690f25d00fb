"""Conversations: `add_messages` as a reducer, and `stream_mode="messages"`.

Messages are LangChain's on both engines: what Stepwell makes of plain ones has tests of its own.
"""

import operator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    BaseMessage,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
)
from pydantic import BaseModel

from tests.compat.engines import Api
from tests.compat.shapes import both, build, chain, record, warns

KEYS = (
    "langgraph_step", "langgraph_node", "langgraph_triggers", "langgraph_path",
    "langgraph_checkpoint_ns", "thread_id", "tags", "m_run", "m_node", "m_model",
)  # fmt: skip


def told(chunks: list[Any]) -> list[Any]:
    """Chunks of the mode "messages" with the part of their metadata that both engines have."""
    shown = []
    for chunk in chunks:
        if isinstance(chunk, tuple) and isinstance(chunk[-1], tuple) and len(chunk[-1]) == 2:
            *rest, (message, metadata) = chunk
        elif isinstance(chunk, tuple) and isinstance(chunk[0], BaseMessage):
            rest, (message, metadata) = [], chunk
        else:
            shown.append(chunk)
            continue
        kept = {k: metadata[k] for k in KEYS if k in metadata}
        if "thread_id" not in kept:
            # Tasks of two runs without a thread have the same ids here, and not there.
            kept["langgraph_checkpoint_ns"] = kept["langgraph_checkpoint_ns"].partition(":")[0]
        shown.append((*rest, message, kept))
    return shown


async def streamed(api: Api, graph: Any, given: Any, config: Any = None, mode: Any = "messages"):
    return told(await api.stream(graph, given, config, mode))


def model(*answers: Any, **options: Any) -> Any:
    return GenericFakeChatModel(messages=iter(answers), **options)


def talk(api: Api, *nodes: Any, **options: Any) -> Any:
    named = {f"n{i}": api.node(node) for i, node in enumerate(nodes)}
    return chain(api, api.MessagesState, named, **options)


GIVEN = {"messages": [HumanMessage("hi", id="h1")]}


@both
async def case_messages_are_merged_by_id(api: Api) -> Any:
    graph = talk(
        api,
        lambda s: {"messages": [AIMessage("one", id="a1"), AIMessage("two", id="a2")]},
        lambda s: {"messages": AIMessage("one again", id="a1")},
        lambda s: {"messages": [RemoveMessage(id="h1"), HumanMessage("bye", id="h2")]},
        checkpointer=api.saver(),
    )
    result = await api.invoke(graph, GIVEN, api.thread())
    return {"result": result, **await record(api, graph, api.thread())}


@both
async def case_all_messages_are_removed(api: Api) -> Any:
    graph = talk(
        api,
        lambda s: {
            "messages": [
                AIMessage("lost", id="a0"),
                RemoveMessage(id=api.REMOVE_ALL_MESSAGES),
                AIMessage("fresh", id="a1"),
            ]
        },
        checkpointer=api.saver(),
    )
    return [await api.invoke(graph, GIVEN, api.thread()), await api.state(graph, api.thread())]


@both
async def case_unknown_id_is_removed(api: Api) -> Any:
    graph = talk(api, lambda s: {"messages": RemoveMessage(id="x")}, checkpointer=api.saver())
    raised = await api.raised(api.invoke(graph, GIVEN, api.thread()))
    return raised.says("doesn't exist ('x')")


@both
async def case_no_message(api: Api) -> Any:
    out = {}
    for label, bad in {"role": {"content": "x"}, "unknown": ("nobody", "x")}.items():
        graph = talk(api, lambda s, bad=bad: {"messages": bad})
        out[label] = await api.raised(api.invoke(graph, GIVEN))
    return out


@both
async def case_plain_messages_where_the_schema_says_objects(api: Api) -> Any:
    class State(TypedDict):
        messages: Annotated[list[AnyMessage], api.add_messages]

    nodes = {
        "a": api.node(lambda s: {"messages": [("ai", s["messages"][0].content + "!")]}),
        "b": api.node(lambda s: {"messages": {"role": "user", "content": "b", "id": "b"}}),
    }
    graph = chain(api, State, nodes, checkpointer=api.saver())
    result = await api.invoke(graph, {"messages": "hi"}, api.thread())
    state = await api.state(graph, api.thread())
    return [result, state.values]


@both
async def case_plain_messages_beside_objects(api: Api) -> Any:
    graph = talk(api, lambda s: {"messages": AIMessage("yo", id="2")}, checkpointer=api.saver())
    given = {"messages": [{"role": "user", "content": "hi", "id": "1"}]}
    return await api.invoke(graph, given, api.thread())


@both
async def case_update_state_of_a_conversation(api: Api) -> Any:
    graph = talk(api, lambda s: {"messages": AIMessage("yo", id="2")}, checkpointer=api.saver())
    await api.invoke(graph, GIVEN, api.thread())
    await api.update(graph, api.thread(), {"messages": [RemoveMessage(id="h1")]}, "n0")
    await api.update(graph, api.thread(), {"messages": AIMessage("you", id="2")}, "n0")
    return await record(api, graph, api.thread())


@both
@warns
async def case_messages_of_a_graph_of_messages(api: Api) -> Any:
    graph = api.MessageGraph()
    graph.add_node("a", api.node(lambda messages: [AIMessage(f"{len(messages)}", id="a")]))
    graph.add_edge(api.START, "a")
    graph.add_edge("a", api.END)
    return await api.invoke(graph.compile(), [HumanMessage("hi", id="h")])


def saying(api: Api) -> Any:
    tool = ToolMessage("t", id="t", tool_call_id="c")
    return {
        "list": lambda s: {"messages": [AIMessage("a", id="a"), tool]},
        "one": lambda s: {"messages": AIMessage("b", id="b")},
        "known": lambda s: {"messages": [s["messages"][0], RemoveMessage(id="a")]},
        "again": lambda s: {"messages": AIMessage("b again", id="b")},
        "command": lambda s: api.Command(update={"messages": [AIMessage("c", id="c")]}),
        "commands": lambda s: [
            api.Command(update={"messages": [AIMessage("d", id="d")]}),
            {"messages": AIMessage("e", id="e")},
        ],
        "nothing": lambda s: None,
        "same": lambda s: {"messages": [AIMessage("f", id="f"), AIMessage("f", id="f")]},
        "no id": lambda s: {"messages": AIMessage("g")},
    }  # fmt: skip


@both
async def case_messages_that_nodes_return_are_streamed(api: Api) -> Any:
    nodes = {k: api.node(v) for k, v in saying(api).items()}
    graph = chain(api, api.MessagesState, nodes, checkpointer=api.saver())
    config = api.thread(metadata={"m_run": 1})
    return await streamed(api, graph, GIVEN, config, ["messages", "updates"])


@both
async def case_messages_alone_and_without_a_checkpointer(api: Api) -> Any:
    def graph() -> Any:
        return talk(api, lambda s: {"messages": AIMessage("yo", id="2")})

    return [
        await streamed(api, graph(), GIVEN),
        await streamed(api, graph(), GIVEN, None, ["messages"]),
        await api.invoke(graph(), GIVEN, None, stream_mode=["values"]),
    ]


@both
async def case_metadata_of_nodes_in_chunks_of_messages(api: Api) -> Any:
    graph = api.StateGraph(api.MessagesState)
    say = api.node(lambda s: {"messages": AIMessage("yo", id="2")})
    graph.add_node("say", say, metadata={"m_node": "x"})
    graph.add_edge(api.START, "say")
    config = {"metadata": {"m_run": "r"}, "tags": ["mine"]}
    return await streamed(api, graph.compile(), GIVEN, config)


@both
async def case_messages_of_a_hidden_run(api: Api) -> Any:
    graph = talk(api, lambda s: {"messages": AIMessage("yo", id="2")})
    return await streamed(api, graph, GIVEN, {"tags": ["langsmith:hidden"]})


@both
async def case_messages_in_any_key_of_the_state(api: Api) -> Any:
    class State(TypedDict):
        last: Any
        all: Annotated[list, operator.add]

    node = api.node(
        lambda s: {"last": AIMessage("x", id="1"), "all": [AIMessage("y", id="2"), "z"]}
    )
    return await streamed(api, chain(api, State, {"a": node}), {"last": None, "all": []})


@both
async def case_messages_in_states_that_are_objects(api: Api) -> Any:
    class Model(BaseModel):
        messages: Annotated[list, api.add_messages] = []

    @dataclass
    class Record:
        messages: Annotated[list, api.add_messages] = field(default_factory=list)

    out = {}
    for schema in (Model, Record):
        node = api.node(
            lambda s, schema=schema: schema(messages=[s.messages[0], AIMessage("x", id="1")])
        )
        out[schema.__name__] = await streamed(api, chain(api, schema, {"a": node}), GIVEN)
    return out


@both
async def case_messages_of_sends(api: Api) -> Any:
    graph = api.StateGraph(api.MessagesState)
    graph.add_node("say", api.node(lambda s: {"messages": [s["seen"], AIMessage("x", id="x")]}))
    seen = HumanMessage("seen", id="s")
    graph.add_conditional_edges(api.START, lambda s: [api.Send("say", {"seen": seen})], ["say"])
    return await streamed(api, graph.compile(), GIVEN)


@both
async def case_push_message(api: Api) -> Any:
    def push(state: Any) -> Any:
        api.push_message(AIMessage("pushed", id="p1"))
        api.push_message(AIMessage("only shown", id="p2"), state_key=None)
        api.push_message(AIMessageChunk(content="a chunk", id="p3"))
        return {"messages": [AIMessage("returned", id="r1"), AIMessage("shown", id="p2")]}

    def bare(state: Any) -> Any:
        try:
            api.push_message(AIMessage("no id"))
        except ValueError as error:
            return {"messages": AIMessage(str(error)[:22], id="e")}

    graph = talk(api, push, bare, checkpointer=api.saver())
    return {
        "chunks": await streamed(
            api, graph, GIVEN, api.thread("1"), ["messages", "updates", "values"]
        ),
        "silent": await api.invoke(graph, GIVEN, api.thread("2")),
    }


@both
async def case_what_a_model_streams(api: Api) -> Any:
    llm = model(AIMessage("hello there", id="m1"), "good bye")
    graph = talk(
        api,
        lambda s: {"messages": llm.invoke(s["messages"])},
        lambda s: {"messages": [llm.invoke(s["messages"])]},
        checkpointer=api.saver(),
    )
    config = api.thread(tags=["mine"], metadata={"m_run": 1})
    chunks = await streamed(api, graph, GIVEN, config, ["messages", "updates"])
    # The id that LangChain draws for a run of a model is shown with a prefix.
    return [without_run_ids(c) for c in chunks]


def without_run_ids(chunk: Any) -> Any:
    if isinstance(chunk, BaseMessage):
        drawn = (chunk.id or "").startswith("lc_run-")
        return chunk.model_copy(update={"id": "drawn"}) if drawn else chunk
    if isinstance(chunk, dict):
        return {k: without_run_ids(v) for k, v in chunk.items()}
    if isinstance(chunk, (list, tuple)):
        return type(chunk)(map(without_run_ids, chunk))
    return chunk


async def case_what_a_model_streams_asynchronously(api: Api) -> Any:
    llm = model(AIMessage("hello there", id="m1"))

    async def ask(state: Any) -> Any:
        return {"messages": await llm.ainvoke(state["messages"])}

    async def listen(state: Any) -> Any:
        said = [c async for c in model(AIMessage("one two", id="m2")).astream("x")]
        return {"messages": AIMessage("".join(c.content for c in said), id="m2")}

    graph = chain(api, api.MessagesState, {"ask": ask, "listen": listen})
    return await streamed(api, graph, GIVEN)


@both
async def case_a_model_that_is_given_a_config(api: Api) -> Any:
    llm = model(AIMessage("a b", id="m1"), AIMessage("c d", id="m2"))

    def ask(state: Any, config: api.RunnableConfig) -> Any:
        more = {**config, "metadata": {**config["metadata"], "m_model": "x"}}
        return {"messages": [llm.invoke("x", config), llm.invoke("y", more)]}

    return await streamed(api, talk(api, ask), GIVEN)


@both
async def case_models_that_are_not_to_be_heard(api: Api) -> Any:
    quiet = model(AIMessage("a b", id="m1"), AIMessage("c d", id="m2")).with_config(
        tags=["nostream"]
    )

    def ask(state: Any) -> Any:
        quiet.invoke("x")
        return {"messages": quiet.invoke("y")}

    return [
        await streamed(api, talk(api, ask), GIVEN),
        await streamed(
            api,
            talk(api, lambda s: {"messages": model(AIMessage("e f", id="m3")).invoke("z")}),
            GIVEN,
            {"tags": ["nostream"]},
        ),
    ]


@both
async def case_a_model_whose_answer_is_not_returned(api: Api) -> Any:
    def ask(state: Any) -> Any:
        said = model(AIMessage("a b", id="m1")).invoke("x")
        return {"messages": AIMessage(said.content.upper(), id="other")}

    return await streamed(api, talk(api, ask), GIVEN)


@both
async def case_a_model_in_a_node_that_fails(api: Api) -> Any:
    def ask(state: Any) -> Any:
        model(AIMessage("a b", id="m1")).invoke("x")
        raise ValueError("after")

    return await streamed(api, talk(api, ask), GIVEN)


@both
async def case_messages_of_a_resumed_run(api: Api) -> Any:
    """What finished before the question was asked is not shown again."""
    asked = api.node(lambda s: {"messages": AIMessage(api.interrupt("q"), id="a")})
    say = api.node(lambda s: {"messages": AIMessage("said", id="b")})
    graph = build(
        api,
        api.MessagesState,
        {"ask": asked, "say": say, "last": api.node(lambda s: None)},
        [(api.START, "say"), ("say", "ask"), ("ask", "last")],
        checkpointer=api.saver(),
    )
    first = await streamed(api, graph, GIVEN, api.thread())
    then = await streamed(api, graph, api.Command(resume="answer"), api.thread())
    return [first, then]


def nested(api: Api, inner_node: Any) -> Any:
    """A graph with a graph as a node, between two nodes of its own."""
    inner = chain(api, api.MessagesState, {"inside": inner_node})
    nodes = {
        "before": api.node(lambda s: {"messages": AIMessage("before", id="b")}),
        "graph": inner,
        "after": api.node(lambda s: {"messages": AIMessage("after", id="a")}),
    }
    return chain(api, api.MessagesState, nodes, checkpointer=api.saver())


@both
async def case_messages_of_graphs_in_graphs(api: Api) -> Any:
    out = {}
    for subgraphs in (False, True):
        say = api.node(lambda s: {"messages": [AIMessage("inside", id="i")]})
        out[subgraphs] = told(
            await api.stream(
                nested(api, say), GIVEN, api.thread(), ["messages", "updates"], subgraphs=subgraphs
            )
        )
    return out


@both
async def case_models_in_graphs_in_graphs(api: Api) -> Any:
    out = {}
    for subgraphs in (False, True):
        llm = model(AIMessage("x y", id="m1"))
        ask = api.node(lambda s, llm=llm: {"messages": llm.invoke(s["messages"])})
        out[subgraphs] = told(
            await api.stream(nested(api, ask), GIVEN, api.thread(), "messages", subgraphs=subgraphs)
        )
    return out


async def case_a_graph_that_a_node_calls(api: Api) -> Any:
    """With the node's config and without, and heard by the node itself."""
    out = {}
    for how in ("bare", "config", "heard"):
        llm = model(AIMessage("x y", id="m1"))

        async def inside(state: Any, llm: Any = llm) -> Any:
            return {"messages": await llm.ainvoke(state["messages"])}

        inner = chain(api, api.MessagesState, {"inside": inside})
        heard: list[Any] = []

        async def call(
            state: Any, config: api.RunnableConfig, inner=inner, heard=heard, how=how
        ) -> Any:
            if how == "bare":
                await inner.ainvoke(state)
            elif how == "config":
                await inner.ainvoke(state, config)
            else:
                async for chunk in inner.astream(state, stream_mode="messages"):
                    heard.append(chunk[0].content)
            return {"messages": AIMessage("called", id="c")}

        graph = chain(api, api.MessagesState, {"call": call}, checkpointer=api.saver())
        for subgraphs in (False, True):
            chunks = await api.stream(
                graph, GIVEN, api.thread(f"{subgraphs}"), "messages", subgraphs=subgraphs
            )
            out[how, subgraphs] = [told(chunks), list(heard)]
            llm.messages = iter([AIMessage("x y", id="m1")])
            heard.clear()
    return out


@both
async def case_messages_for_the_graph_around(api: Api) -> Any:
    def inside(state: Any) -> Any:
        update = {"messages": [AIMessage("for the parent", id="p")]}
        return api.Command(graph=api.Command.PARENT, update=update, goto="after")

    graph = api.StateGraph(api.MessagesState)
    graph.add_node("graph", chain(api, api.MessagesState, {"inside": api.node(inside)}))
    graph.add_node("after", api.node(lambda s: {"messages": [s["messages"][-1]]}))
    graph.add_edge(api.START, "graph")
    app = graph.compile(checkpointer=api.saver())
    return [
        told(await api.stream(app, GIVEN, api.thread(f"{s}"), ["messages", "updates"], subgraphs=s))
        for s in (False, True)
    ]


@both
async def case_parts_of_an_interface(api: Api) -> Any:
    parts = api.module("graph.ui")

    class State(api.MessagesState):
        ui: Annotated[list[parts.AnyUIMessage], parts.ui_message_reducer]

    def show(state: Any) -> Any:
        said = AIMessage("look", id="a")
        parts.push_ui_message("chart", {"x": 1}, id="c", message=said)
        parts.push_ui_message("chart", {"y": 2}, id="c", merge=True, metadata={"m": 1})
        parts.push_ui_message("table", {}, id="t", message={"id": "d"})
        parts.push_ui_message("drawn", {}, state_key=None)
        return {"messages": said}

    def hide(state: Any) -> Any:
        parts.delete_ui_message("t")

    nodes = {"show": api.node(show), "hide": api.node(hide)}
    graph = chain(api, State, nodes, checkpointer=api.saver())
    config = api.thread(tags=["mine"], run_name="name")
    seen = await api.stream(graph, {"messages": []}, config, ["custom", "updates", "values"])
    return {"seen": seen, **await record(api, graph, api.thread())}


@both
async def case_unknown_part_of_an_interface(api: Api) -> Any:
    parts = api.module("graph.ui")

    class State(TypedDict):
        ui: Annotated[list[parts.AnyUIMessage], parts.ui_message_reducer]

    graph = chain(api, State, {"hide": api.node(lambda s: parts.delete_ui_message("x") and None)})
    return await api.raised(api.invoke(graph, {"ui": []}))


@both
async def case_messages_of_a_workflow(api: Api) -> Any:
    func = api.module("func")

    @func.task
    def says(x: Any) -> Any:
        return AIMessage("from task", id="t1")

    @func.task
    def asks(x: Any) -> Any:
        return model(AIMessage("a b", id="m1")).invoke("x")

    @func.task
    def pushes(x: Any) -> Any:
        api.push_message(AIMessage("pushed", id="p"), state_key=None)
        api.push_message(AIMessage("pushed to a key that is not there", id="q"))
        return [AIMessage("listed", id="l"), "no message"]

    @func.entrypoint(checkpointer=api.saver())
    def work(x: Any) -> Any:
        said = [says(x).result(), asks(x).result(), *pushes(x).result()]
        model(AIMessage("c d", id="m2")).invoke("x")
        return [*said, AIMessage("new", id="n")]

    return await streamed(api, work, {"x": 1}, api.thread(), ["messages", "updates"])


@both
async def case_messages_in_the_form_of_version_v2(api: Api) -> Any:
    graph = talk(api, lambda s: {"messages": AIMessage("yo", id="2")}, checkpointer=api.saver())
    parts = await api.stream(graph, GIVEN, api.thread(), ["messages", "values"], version="v2")
    return [
        {**part, "data": told([part["data"]])} if part["type"] == "messages" else part
        for part in parts
    ]


@both
async def case_messages_of_nodes_that_were_cached(api: Api) -> Any:
    node = api.node(lambda s: {"messages": AIMessage("yo", id="2")})
    graph = api.StateGraph(api.MessagesState)
    graph.add_node("node", node, cache_policy=api.CachePolicy())
    graph.add_edge(api.START, "node")
    app = graph.compile(cache=api.InMemoryCache())
    return [await streamed(api, app, GIVEN, None, ["messages", "updates"]) for _ in range(2)]


@both
async def case_messages_of_error_handlers(api: Api) -> Any:
    def fail(state: Any) -> Any:
        api.push_message(AIMessage("before it failed", id="p"))
        raise ValueError("on purpose")

    def handle(state: Any) -> Any:
        return {"messages": AIMessage("handled", id="h")}

    graph = api.StateGraph(api.MessagesState)
    graph.add_node("fail", api.node(fail), error_handler=api.node(handle))
    graph.add_edge(api.START, "fail")
    app = graph.compile(checkpointer=api.saver())
    return [
        await streamed(api, app, GIVEN, api.thread(), ["messages", "updates", "values"]),
        (await api.state(app, api.thread())).values,
    ]


@both
async def case_callbacks_of_the_caller_reach_models(api: Api) -> Any:
    """Whether a node hands its config on or not; and nodes find them in their config."""

    class Ears(BaseCallbackHandler):
        run_inline = True

        def __init__(self) -> None:
            self.heard: list[Any] = []

        def on_chat_model_start(self, serialized: Any, messages: Any, **more: Any) -> None:
            self.heard.append(more["metadata"]["langgraph_node"])

    def bare(state: Any) -> Any:
        model(AIMessage("a b", id="m1")).invoke("x")

    def given(state: Any, config: api.RunnableConfig) -> Any:
        model(AIMessage("a b", id="m2")).invoke("x", config)

    ears = Ears()
    graph = talk(api, bare, given)
    await api.invoke(graph, GIVEN, {"callbacks": [ears]})
    return ears.heard


@both
async def case_text_of_a_message_in_the_state(api: Api) -> Any:
    """What LangChain calls the text of a message is a kind of str."""

    class Said(TypedDict):
        said: str

    def say(state: Any) -> Any:
        return {"said": AIMessage("one two").text}

    graph = chain(api, Said, {"a": api.node(say)}, checkpointer=api.saver())
    return [
        await api.invoke(graph, {"said": ""}, api.thread()),
        (await api.state(graph, api.thread())).values,
    ]

"""What programs written for LangGraph rely on without naming it: warnings, ids, old imports."""

import importlib
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import httpx
import requests
from langchain_core.messages import AIMessage, HumanMessage

from tests.compat.engines import Api
from tests.compat.shapes import Log, both, chain, warns


def told(act: Callable[[], Any]) -> list[str]:
    """Warnings of an act, by class and the words that both engines share."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
    return [
        f"{w.category.__name__}: {str(w.message).replace('langgraph', 'stepwell')}" for w in caught
    ]


@warns
async def case_config_parameter_of_another_type(api: Api) -> Any:
    """It is not filled, which is said when the node is added."""

    def as_dict(state: Any, config: dict) -> Any:
        return {}

    def as_any(state: Any, config: Any = None) -> Any:
        return {"log": [config]}

    def right(state: Any, config: api.RunnableConfig) -> Any:
        return {}

    def optional(state: Any, config: api.RunnableConfig | None = None) -> Any:
        return {}

    def bare(state: Any, config) -> Any:
        return {}

    nodes = {"dict": as_dict, "any": as_any, "right": right, "optional": optional, "bare": bare}
    graph = api.StateGraph(Log)
    said = {name: told(lambda n=name, f=node: graph.add_node(n, f)) for name, node in nodes.items()}
    return said, await api.invoke(chain(api, Log, {"any": api.node(as_any)}), {"log": []})


@warns  # where it is the first to import them
async def case_old_place_of_types(api: Api) -> Any:
    name = api.module("pregel.types").__name__
    sys.modules.pop(name, None)
    return told(lambda: importlib.import_module(name))


async def case_http_errors_that_are_retried(api: Api) -> Any:
    retried = api.module("types").default_retry_on
    refused = requests.HTTPError("refused")
    busy = requests.HTTPError("busy")
    busy.response = requests.Response()
    busy.response.status_code = 503
    sent = httpx.Request("GET", "http://localhost")
    missing = httpx.HTTPStatusError("?", request=sent, response=httpx.Response(404))
    down = httpx.HTTPStatusError("?", request=sent, response=httpx.Response(500))
    errors = (
        refused, busy, missing, down, requests.ConnectionError("x"), requests.Timeout("x"),
        httpx.ConnectError("x"), httpx.ReadTimeout("x"), TimeoutError("x"),
    )  # fmt: skip
    return [(type(error).__name__, retried(error)) for error in errors]


@both
async def case_ids_of_a_server_are_metadata(api: Api) -> Any:
    """Some ids of `configurable` are shown as metadata: in the config of nodes, beside messages."""
    ids = {"assistant_id": "as", "graph_id": "g", "task_id": "ta", "run_id": "r", "user": "u"}
    asked = sorted({*ids, "thread_id"})
    seen = []

    def look(state: Any, config: api.RunnableConfig) -> Any:
        seen.append([config["metadata"].get(key) for key in asked])
        return {"messages": [AIMessage("x", id="1")]}

    graph = chain(api, api.MessagesState, {"look": api.node(look)}, checkpointer=api.saver())
    config = api.thread(metadata={"m_run": 1, "graph_id": "mine"})
    config["configurable"].update(ids)
    chunks = await api.stream(graph, {"messages": []}, config, "messages")
    shown = [[chunk[1].get(key) for key in asked] for chunk in chunks]
    stored = (await api.state(graph, api.thread())).metadata
    kept = {key: stored.get(key) for key in asked if key not in ("thread_id", "user")}
    return seen, shown, kept


def append(state: list, writes: list) -> list:
    lists = [write if isinstance(write, list) else [write] for write in writes]
    return [*state, *(m for messages in lists for m in messages)]


@both
async def case_ids_in_a_delta_channel_with_a_reducer_of_ones_own(api: Api) -> Any:
    """Message objects are given ids; what is no message is left alone."""
    channel = api.module("channels.delta").DeltaChannel(append)

    class Talk(TypedDict):
        messages: Annotated[list, channel]

    def answer(state: Any) -> Any:
        return {"messages": [AIMessage("hello"), AIMessage("kept", id="a1"), "text", 3]}

    graph = chain(api, Talk, {"answer": api.node(answer)}, checkpointer=api.saver())
    given = {"messages": [HumanMessage("hi"), HumanMessage("", id="h1")]}
    await api.invoke(graph, given, api.thread())
    await api.update(graph, api.thread(), {"messages": HumanMessage("alone")})
    kept = [(await api.state(graph, api.thread())).values["messages"] for _ in range(2)]
    said = [
        (m.content, bool(m.id), m.id in ("a1", "h1")) if hasattr(m, "content") else m
        for m in kept[0]
    ]
    ids = [[getattr(m, "id", None) for m in messages] for messages in kept]
    return said, ids[0] == ids[1]


@both
async def case_history_of_a_question_whose_node_then_failed(api: Api) -> Any:
    """The answered question stays in the record of its checkpoint, whoever handled the failure."""

    def ask(state: Any) -> Any:
        raise ValueError(api.interrupt("q"))

    def handle(state: Any, error: api.NodeError) -> Any:
        return {"log": ["handled"]}

    graph = api.StateGraph(Log)
    graph.add_node("ask", api.node(ask), error_handler=api.node(handle))
    graph.add_edge(api.START, "ask")
    compiled = graph.compile(checkpointer=api.saver())
    await api.invoke(compiled, {"log": []}, api.thread())
    await api.invoke(compiled, api.Command(resume="no"), api.thread())
    history = await api.history(compiled, api.thread())
    return [(s.next, [i.value for t in s.tasks for i in t.interrupts]) for s in history]


@both
async def case_question_after_one_whose_failure_is_handled(api: Api) -> Any:
    """The first question was answered: only the handler's waits, and a bare answer is enough."""

    def ask(state: Any) -> Any:
        raise ValueError(api.interrupt("first"))

    def handle(state: Any, error: api.NodeError) -> Any:
        return {"log": [api.interrupt("second")]}

    graph = api.StateGraph(Log)
    graph.add_node("ask", api.node(ask), error_handler=api.node(handle))
    graph.add_edge(api.START, "ask")
    compiled = graph.compile(checkpointer=api.saver())
    await api.invoke(compiled, {"log": []}, api.thread())
    asked = await api.invoke(compiled, api.Command(resume=1), api.thread())
    answered = api.invoke(compiled, api.Command(resume=2), api.thread())
    return [i.value for i in asked["__interrupt__"]], await api.raised_or(answered)


@both
async def case_runs_that_are_hidden(api: Api) -> Any:
    """With the tag of hidden nodes in its config, a run shows its values and what nodes say."""

    def say(state: Any, writer) -> Any:
        writer("said")
        return {"log": ["said"]}

    def ask(state: Any) -> Any:
        return {"log": [api.interrupt("q")]}

    nodes = {"say": api.node(say), "ask": api.node(ask)}
    graph = chain(api, Log, nodes, checkpointer=api.saver())
    config = api.thread(tags=[api.module("constants").TAG_HIDDEN])
    modes = ["values", "updates", "custom", "tasks", "checkpoints", "debug"]
    out = [await api.stream(graph, {"log": []}, config, modes)]
    out.append(await api.stream(graph, api.Command(resume="r"), config, modes))
    for where in ("*", ["say"]):
        config = api.thread(str(where), tags=config["tags"])
        out.append(await api.stream(graph, {"log": []}, config, "updates", interrupt_before=where))
    return out


async def case_sync_verbs_of_a_thread_in_memory(api: Api) -> Any:
    """In a coroutine, between awaited runs, as notebooks and servers have it."""
    inside: list[Any] = []

    async def look(state: Any) -> Any:
        inside.append(graph.get_state(api.thread()).values)
        return {"log": ["look"]}

    saver = api.InMemorySaver()
    graph = chain(api, Log, {"a": None, "look": look, "z": None}, checkpointer=saver)
    out: list[Any] = [graph.get_state(api.thread()).values, list(saver.list(api.thread()))]
    out.append(await graph.ainvoke({"log": ["in"]}, api.thread()))
    history = list(graph.get_state_history(api.thread()))
    out.append([graph.get_state(api.thread()), history])
    made = graph.update_state(history[2].config, {"log": ["changed"]})
    graph.bulk_update_state(api.thread(), [[api.StateUpdate({"log": ["more"]}, "a")]])
    out.append(await graph.ainvoke(None, api.thread()))
    kept = saver.get_tuple(made)
    out.append([kept.config == made, kept.metadata, saver.get(made)["channel_values"]["log"]])
    return [*out, len(list(saver.list(api.thread()))), inside]

"""Programs that were only half ported: LangGraph's own objects in a graph of Stepwell."""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

import pytest

import stepwell.types
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.errors import GraphDefinitionError, InvalidUpdateError, of_langgraph
from stepwell.graph import START, StateGraph

theirs = pytest.importorskip("langgraph.types")

COMMAND = r"this is LangGraph's Command \(langgraph.types\); import it from stepwell.types"
SEND = r"this is LangGraph's Send \(langgraph.types\); import it from stepwell.types"


class State(TypedDict, total=False):
    """One number."""

    x: int


async def keep(state: State) -> dict[str, Any]:
    return {}


def returning(value: Any, schema: Any = State) -> Any:
    async def node(state: Any) -> Any:
        return value

    builder = StateGraph(schema).add_node("n", node).add_node("m", keep)
    return builder.add_edge(START, "n").compile()


def test_what_is_langgraphs() -> None:
    assert of_langgraph(stepwell.types.Command()) == of_langgraph({}) == of_langgraph(State) == ""
    assert of_langgraph(theirs.RetryPolicy).endswith("import it from stepwell.types")


@pytest.mark.parametrize("schema", [State, int])
async def test_their_command_from_a_node_is_refused(schema: Any) -> None:
    """It would pass for an object of the state's type that sets none of its keys."""
    with pytest.raises(InvalidUpdateError, match="Node 'n' returned .*" + COMMAND):
        await returning(theirs.Command(goto="m", update={"x": 2}), schema).ainvoke({"x": 1})


async def test_their_command_in_a_list_is_refused() -> None:
    with pytest.raises(InvalidUpdateError, match=COMMAND):
        await returning([theirs.Command(goto="m")]).ainvoke({"x": 1})


@pytest.mark.parametrize("several", [False, True])
async def test_their_send_in_a_goto_is_refused(several: bool) -> None:
    send = theirs.Send("m", {})
    command = stepwell.types.Command(goto=[send] if several else send)
    with pytest.raises(InvalidUpdateError, match=SEND):
        await returning(command).ainvoke({"x": 1})


@pytest.mark.parametrize("path_map", [None, ["n"]])
async def test_their_send_from_a_router_is_refused(path_map: Any) -> None:
    builder = StateGraph(State).add_node("n", keep)
    builder.add_conditional_edges(START, lambda state: [theirs.Send("n", {"x": 1})], path_map)
    with pytest.raises(InvalidUpdateError, match=SEND):
        await builder.compile().ainvoke({"x": 1})


async def test_their_command_as_input_is_refused() -> None:
    builder = StateGraph(State).add_node("n", keep).add_edge(START, "n")
    made = builder.compile(InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "t"}}
    await made.ainvoke({"x": 1}, thread)
    with pytest.raises(InvalidUpdateError, match=COMMAND):
        await made.ainvoke(theirs.Command(resume=1), thread)


def test_their_saver_and_cache_are_refused_by_name() -> None:
    memory = pytest.importorskip("langgraph.checkpoint.memory")
    caches = pytest.importorskip("langgraph.cache.memory")
    builder = StateGraph(State).add_node("n", keep).add_edge(START, "n")
    with pytest.raises(TypeError, match=r"import it from stepwell\.checkpoint\.memory"):
        builder.compile(memory.InMemorySaver())
    with pytest.raises(TypeError, match=r"import it from stepwell\.cache\.memory"):
        builder.compile(cache=caches.InMemoryCache())


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("retry_policy", "RetryPolicy"),
        ("cache_policy", "CachePolicy"),
        ("timeout", "TimeoutPolicy"),
    ],
)
def test_their_policies_are_refused(option: str, name: str) -> None:
    policy = getattr(theirs, name)()
    with pytest.raises(GraphDefinitionError, match=f"this is LangGraph's {name} "):
        StateGraph(State).add_node("n", keep, **{option: policy})


def test_their_managed_values_and_channels_are_refused() -> None:
    """Some of their classes would pass for a reducer, and their channels for nothing at all."""
    managed = pytest.importorskip("langgraph.managed")
    channels = pytest.importorskip("langgraph.channels")
    for kind, place in (
        (managed.RemainingSteps, "managed"),
        (managed.IsLastStep, "managed"),
        (Annotated[int, channels.EphemeralValue], "channels"),
        (Annotated[int, channels.EphemeralValue(int)], "channels"),
    ):
        schema: Any = TypedDict("schema", {"x": kind})  # type: ignore[misc]  # made in a loop
        with pytest.raises(GraphDefinitionError, match=f"State key 'x' .*from stepwell.{place}"):
            StateGraph(schema)


def test_their_graph_as_a_node_is_warned_of() -> None:
    graphs = pytest.importorskip("langgraph.graph")
    inner = graphs.StateGraph(State).add_node("n", keep).add_edge(START, "n").compile()
    with pytest.warns(UserWarning, match="called as a black box") as caught:
        StateGraph(State).add_node("inner", inner)
    assert len(caught) == 1
    assert caught[0].filename == __file__

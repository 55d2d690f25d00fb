"""TypedDict, dataclass and pydantic states; input, output and node schemas."""

import dataclasses
import operator
from typing import Annotated, Any, TypedDict

import pydantic

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, both, brief, build, chain, record


@dataclasses.dataclass
class Data:
    name: str
    log: Annotated[list, operator.add] = dataclasses.field(default_factory=list)
    n: int = 7


class Model(pydantic.BaseModel):
    name: str
    log: Annotated[list, operator.add] = pydantic.Field(default_factory=list)
    n: int = 7
    maybe: str | None = None


class Partial(TypedDict, total=False):
    name: str
    n: int


@both
async def case_typed_dict_total_false(api: Api) -> Any:
    nodes = {
        "a": api.node(lambda state: {"name": repr(state)}),
        "b": api.node(lambda state: {"n": len(state)}),
    }
    graph = chain(api, Partial, nodes, checkpointer=api.saver())
    out = {
        "nothing": await api.invoke(graph, {}, api.thread()),
        "some": await api.invoke(graph, {"n": 1}, api.thread("u")),
    }
    return out | await record(api, graph, api.thread())


@both
async def case_dataclass_state(api: Api) -> Any:
    def look(state: Data) -> Any:
        return {"log": [[type(state).__name__, state.name, state.n, *state.log]]}

    nodes = {
        "a": api.node(look),
        "b": api.node(lambda state: {"n": state.n + 1}),
        "c": api.node(look),
    }
    graph = chain(api, Data, nodes, checkpointer=api.saver())
    out = {
        "dict in": await api.stream(
            graph, {"name": "x"}, api.thread(), ["values", "updates", "tasks"]
        ),
        "object in": await api.invoke(graph, Data("y", n=1), api.thread("u")),
    }
    return out | await record(api, graph, api.thread())


@both
async def case_dataclass_returned_by_a_node(api: Api) -> Any:
    def a(state: Data) -> Any:
        return Data("from a", ["a"], 3)

    graph = chain(api, Data, {"a": api.node(a)}, checkpointer=api.saver())
    return await api.stream(
        graph, {"name": "x", "log": ["in"]}, api.thread(), ["values", "updates"]
    )


@both
async def case_dataclass_missing_field(api: Api) -> Any:
    graph = chain(api, Data, {"a": api.node(lambda state: {"n": 1})}, checkpointer=api.saver())
    return await api.raised(api.invoke(graph, {"n": 3}, api.thread()))


@both
async def case_pydantic_state(api: Api) -> Any:
    def look(state: Model) -> Any:
        return {"log": [[type(state).__name__, state.name, state.n, state.maybe, *state.log]]}

    nodes = {
        "a": api.node(look),
        "b": api.node(lambda state: {"n": state.n + 1}),
        "c": api.node(look),
    }
    graph = chain(api, Model, nodes, checkpointer=api.saver())
    out = {
        "dict in": await api.stream(
            graph, {"name": "x"}, api.thread(), ["values", "updates", "tasks"]
        ),
        "object in": await api.invoke(graph, Model(name="y", n=1), api.thread("u")),
    }
    return out | await record(api, graph, api.thread())


@both
async def case_pydantic_coerces_and_refuses(api: Api) -> Any:
    def look(state: Model) -> Any:
        return {"log": [[state.n, type(state.n).__name__]]}

    graph = chain(api, Model, {"a": api.node(look)}, checkpointer=api.saver())
    raised = await api.raised(api.invoke(graph, {"name": "x", "n": "no number"}, api.thread("u")))
    return {
        "coerced": await api.invoke(graph, {"name": "x", "n": "12"}, api.thread()),
        "refused": raised,
        "missing": await api.raised(api.invoke(graph, {"n": 1}, api.thread("v"))),
    }


@both
async def case_state_of_a_thread_that_does_not_validate(api: Api) -> Any:
    def look(state: Model) -> Any:
        return {"log": [state.n]}

    graph = chain(api, Model, {"a": api.node(look)}, checkpointer=api.saver())
    await api.raised(api.invoke(graph, {"name": "x", "n": "no number"}, api.thread()))
    try:
        return brief(await api.state(graph, api.thread()))
    except ValueError:
        return "the thread cannot be read"


@both
async def case_pydantic_returned_by_a_node(api: Api) -> Any:
    def a(state: Model) -> Any:
        return Model(name="from a", log=["a"])

    graph = chain(api, Model, {"a": api.node(a)}, checkpointer=api.saver())
    given = {"name": "x", "log": ["in"], "n": 1, "maybe": "m"}
    return await api.stream(graph, given, api.thread(), ["values", "updates"])


@both
async def case_pydantic_update_is_not_validated_in_the_state(api: Api) -> Any:
    graph = chain(
        api, Model, {"a": api.node(lambda state: {"n": "text"}), "b": api.node(lambda s: {"n": 1})},
        checkpointer=api.saver(),
    )  # fmt: skip
    return await api.raised(api.invoke(graph, {"name": "x"}, api.thread()))


@both
async def case_input_and_output_schema(api: Api) -> Any:
    class In(TypedDict):
        question: str

    class Out(TypedDict):
        answer: str

    class Whole(In, Out):
        notes: Annotated[list, operator.add]

    def think(state: In) -> Any:
        return {"notes": [sorted(state)]}

    def speak(state: Whole) -> Any:
        return {"answer": f"{state['question']}!", "notes": [sorted(state)]}

    graph = api.StateGraph(Whole, input_schema=In, output_schema=Out)
    graph.add_node("think", api.node(think))
    graph.add_node("speak", api.node(speak))
    graph.add_edge(api.START, "think")
    graph.add_edge("think", "speak")
    compiled = graph.compile(checkpointer=api.saver())
    given = {"question": "why", "notes": ["not part of the input"]}
    return {
        "result": await api.invoke(compiled, given, api.thread()),
        "stream": await api.stream(compiled, given, api.thread("u"), ALL_MODES),
        "record": await record(api, compiled, api.thread()),
    }


@both
async def case_narrow_node_input_by_argument(api: Api) -> Any:
    class Narrow(TypedDict):
        n: int

    class Whole(TypedDict):
        log: Annotated[list, operator.add]
        n: int

    graph = api.StateGraph(Whole)
    graph.add_node("a", api.node(lambda state: {"log": [sorted(state)]}), input_schema=Narrow)
    graph.add_node("b", api.node(lambda state: {"log": [sorted(state)]}))
    graph.add_edge(api.START, "a")
    graph.add_edge("a", "b")
    compiled = graph.compile(checkpointer=api.saver())
    return await api.stream(compiled, {"log": [], "n": 1}, api.thread(), ["values", "tasks"])


@both
async def case_pydantic_node_input_over_a_typed_dict(api: Api) -> Any:
    class Narrow(pydantic.BaseModel):
        n: int

    class Whole(TypedDict):
        log: Annotated[list, operator.add]
        n: int

    def a(state: Narrow) -> Any:
        return {"log": [[type(state).__name__, state.n]]}

    graph = chain(api, Whole, {"a": api.node(a)}, checkpointer=api.saver())
    return {
        "fine": await api.stream(graph, {"log": [], "n": "3"}, api.thread(), ["values", "tasks"]),
        "refused": await api.raised(api.invoke(graph, {"log": [], "n": "x"}, api.thread("u"))),
    }


@both
async def case_send_to_a_pydantic_node(api: Api) -> Any:
    class Packet(pydantic.BaseModel):
        n: int

    def work(packet: Packet) -> Any:
        return {"log": [[type(packet).__name__, packet.n if hasattr(packet, "n") else packet]]}

    class Whole(TypedDict):
        log: Annotated[list, operator.add]

    graph = build(
        api, Whole, {"w": api.node(work)}, [],
        [(api.START, lambda s: [api.Send("w", Packet(n=1)), api.Send("w", {"n": 2})], ["w"])],
        checkpointer=api.saver(),
    )  # fmt: skip
    return await api.invoke(graph, {"log": []}, api.thread())


@both
async def case_dataclass_router_and_update_state(api: Api) -> Any:
    def route(state: Data) -> Any:
        return "b" if state.n > 5 else api.END

    nodes = {
        "a": api.node(lambda state: {"log": ["a"]}),
        "b": api.node(lambda state: {"log": ["b"]}),
    }
    graph = build(
        api,
        Data,
        nodes,
        [(api.START, "a")],
        [("a", route, ["b", api.END])],
        checkpointer=api.saver(),
    )
    out = {"result": await api.invoke(graph, {"name": "x", "n": 1}, api.thread())}
    await api.update(graph, api.thread(), {"n": 9}, "a")
    out["updated"] = await api.state(graph, api.thread())
    out["on"] = await api.invoke(graph, None, api.thread())
    return out

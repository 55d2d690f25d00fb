"""`version="v2"`: typed stream parts, and a typed output."""

import dataclasses
import operator
from typing import Annotated, Any

from pydantic import BaseModel
from typing_extensions import TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, Log, both, build, chain, logger


class Model(BaseModel):
    log: Annotated[list, operator.add] = []
    n: int = 0


@dataclasses.dataclass
class Record:
    log: Annotated[list, operator.add] = dataclasses.field(default_factory=list)
    n: int = 0


class Short(BaseModel):
    n: int


class Full(TypedDict):
    log: Annotated[list, operator.add]
    n: int


SCHEMAS = {"dict": Full, "model": Model, "dataclass": Record}


def counting(api: Api, schema: Any, **options: Any) -> Any:
    nodes = {"a": api.node(lambda s: {"log": ["a"], "n": 1}), "b": api.node(lambda s: {"n": 2})}
    return chain(api, schema, nodes, **options)


def asking(api: Api, schema: Any, **options: Any) -> Any:
    def ask(state: Any) -> Any:
        return {"log": [api.interrupt("q")]}

    s = api.START
    nodes = {"ask": api.node(ask), "z": logger(api, "z")}
    return build(api, schema, nodes, [(s, "ask"), ("ask", "z")], **options)


@both
async def case_v2_each_mode(api: Api) -> Any:
    out = {}
    for mode in (*ALL_MODES, ["values"], ALL_MODES, ("values", "updates")):
        graph = counting(api, Full, checkpointer=api.saver())
        given = {"log": ["in"], "n": 0}
        out[str(mode)] = await api.stream(graph, given, api.thread(), mode, version="v2")
    return out


@both
async def case_v2_default_mode(api: Api) -> Any:
    return await api.stream(counting(api, Full), {"log": [], "n": 0}, None, version="v2")


@both
async def case_v2_values_are_objects_of_the_schema(api: Api) -> Any:
    out = {}
    for name, schema in SCHEMAS.items():
        for mode in ("values", "updates", "checkpoints", "debug"):
            graph = counting(api, schema, checkpointer=api.saver())
            out[f"{name} {mode}"] = await api.stream(
                graph, {"log": ["in"]}, api.thread(), mode, version="v2"
            )
    return out


@both
async def case_v2_invoke(api: Api) -> Any:
    out = {}
    for name, schema in SCHEMAS.items():
        graph = counting(api, schema)
        result = await api.invoke(graph, {"log": ["in"]}, None, version="v2")
        shown = (type(result).__name__, type(result.value).__name__, result.value)
        out[name] = (*shown, result.interrupts)
        out[f"{name} updates"] = await api.invoke(
            graph, {"log": ["in"]}, None, version="v2", stream_mode="updates"
        )
    return out


@both
async def case_v2_output_schema(api: Api) -> Any:
    graph = api.StateGraph(Full, output_schema=Short)
    graph.add_node("a", api.node(lambda s: {"n": 5}))
    graph.add_edge(api.START, "a")
    compiled = graph.compile()
    result = await api.invoke(compiled, {"log": [], "n": 0}, None, version="v2")
    return [result.value, result.value.n, await api.invoke(compiled, {"log": [], "n": 0})]


@both
async def case_v2_interrupts(api: Api) -> Any:
    out = {}
    for name, schema in SCHEMAS.items():
        graph = asking(api, schema, checkpointer=api.saver())
        for mode in ("values", "updates", ["values", "updates", "tasks"]):
            config = api.thread(f"{name} {mode}")
            out[f"{name} {mode}"] = await api.stream(
                graph, {"log": ["in"]}, config, mode, version="v2"
            )
            out[f"{name} {mode} on"] = await api.stream(
                graph, api.Command(resume="r"), config, mode, version="v2"
            )
        stop = await api.invoke(graph, {"log": ["in"]}, api.thread(name), version="v2")
        out[f"{name} invoke"] = (stop.value, stop.interrupts)
        on = await api.invoke(graph, api.Command(resume="r"), api.thread(name), version="v2")
        out[f"{name} invoke on"] = (on.value, on.interrupts)
    return out


@both
async def case_v2_breakpoints(api: Api) -> Any:
    graph = counting(api, Full, checkpointer=api.saver(), interrupt_before=["b"])
    stop = await api.invoke(graph, {"log": ["in"], "n": 0}, api.thread(), version="v2")
    on = await api.stream(graph, None, api.thread(), ["values", "updates"], version="v2")
    return {"stop": (stop.value, stop.interrupts), "on": on}


@both
async def case_v2_output_reads_like_a_dict(api: Api) -> Any:
    import warnings

    graph = asking(api, Full, checkpointer=api.saver())
    result = await api.invoke(graph, {"log": ["in"], "n": 0}, api.thread(), version="v2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = [result["log"], result["__interrupt__"], "n" in result, "x" in result]
        read.append("__interrupt__" in result)
    return read


@both
async def case_v2_of_a_bare_state(api: Api) -> Any:
    graph = chain(api, Annotated[list, operator.add], {"a": api.node(lambda s: ["a"])})
    result = await api.invoke(graph, ["in"], None, version="v2")
    return [result.value, await api.stream(graph, ["in"], None, "values", version="v2")]


@both
async def case_v2_output_keys(api: Api) -> Any:
    out = []
    for keys in ("n", ["n"]):
        graph = counting(api, Full)
        given = {"log": [], "n": 0}
        out.append(await api.stream(graph, given, None, "values", version="v2", output_keys=keys))
        result = await api.invoke(graph, given, None, version="v2", output_keys=keys)
        out.append(result.value)
    return out


@both
async def case_v2_custom_chunks(api: Api) -> Any:
    def write(state: Any, writer) -> Any:
        writer({"progress": 1})
        return {"log": ["w"]}

    graph = chain(api, Log, {"w": api.node(write)})
    return await api.stream(graph, {"log": []}, None, ["custom", "updates"], version="v2")


@both
async def case_bare_state_asks(api: Api) -> Any:
    def ask(state: Any) -> Any:
        return [api.interrupt("q")]

    graph = chain(
        api, Annotated[list, operator.add], {"a": api.node(ask)}, checkpointer=api.saver()
    )
    stop = await api.invoke(graph, ["in"], api.thread())
    return [stop, await api.invoke(graph, api.Command(resume="r"), api.thread())]

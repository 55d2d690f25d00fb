"""Reducers, `Overwrite` and channels named in a schema."""

import operator
from typing import Annotated, Any, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import both, build, chain, record


def writer(api: Api, update: Any) -> Any:
    return api.node(lambda state: update)


def merge(left: dict, right: dict) -> dict:
    return {**left, **right}


class Many(TypedDict):
    items: Annotated[list, operator.add]
    total: Annotated[int, operator.add]
    text: Annotated[str, operator.add]
    table: Annotated[dict, operator.or_]
    merged: Annotated[dict, merge]
    seen: Annotated[set, operator.or_]
    highest: Annotated[int, lambda a, b: max(a, b)]  # noqa: PLW0108  # a builtin has no signature
    last: str


@both
async def case_reducers_of_many_kinds(api: Api) -> Any:
    nodes = {
        "a": writer(api, {
            "items": [1], "total": 2, "text": "a", "table": {"k": 1}, "merged": {"m": [1]},
            "seen": {1}, "highest": 3, "last": "a",
        }),
        "b": writer(api, {
            "items": [2], "total": 5, "text": "b", "table": {"k": 2, "l": 3}, "merged": {"n": None},
            "seen": {2}, "highest": 1, "last": "b",
        }),
    }  # fmt: skip
    graph = chain(api, Many, nodes, checkpointer=api.saver())
    out = {"empty input": await api.stream(graph, {}, api.thread(), ["values", "updates"])}
    out["record"] = await record(api, graph, api.thread())
    full = {"items": [0], "total": 1, "text": ">", "table": {"i": 0}, "seen": {0}, "last": "in"}
    out["full input"] = await api.invoke(graph, full, api.thread("u"))
    out["second turn"] = await api.invoke(graph, full, api.thread("u"))
    return out


@both
async def case_reducers_in_one_superstep(api: Api) -> Any:
    nodes = {
        "b": writer(api, {"items": ["b"], "text": "b", "table": {"k": "b"}, "highest": 2}),
        "a": writer(api, {"items": ["a"], "text": "a", "table": {"k": "a"}, "highest": 7}),
        "c": writer(api, {"items": ["c"], "text": "c", "seen": {1}}),
    }
    graph = build(api, Many, nodes, [(api.START, n) for n in nodes], checkpointer=api.saver())
    out = {"result": await api.invoke(graph, {"items": ["in"]}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_reducer_without_a_default_starts_with_the_first_write(api: Api) -> Any:
    def join(left: Any, right: Any) -> Any:
        return f"({left}+{right})"

    class NoDefault:
        def __init__(self, needed: Any) -> None:
            raise AssertionError("never made")

    class Shape(TypedDict):
        value: Annotated[NoDefault, join]
        optional: Annotated[str | None, join]

    nodes = {n: writer(api, {"value": n, "optional": n}) for n in ("a", "b")}
    graph = chain(api, Shape, nodes, checkpointer=api.saver())
    return {
        "given": await api.invoke(graph, {"value": "in", "optional": "in"}, api.thread()),
        "not given": await api.invoke(graph, {}, api.thread("u")),
    }


@both
async def case_lambda_reducer_keeps_the_last_three(api: Api) -> Any:
    class Window(TypedDict):
        items: Annotated[list, lambda old, new: (old + new)[-3:]]

    graph = chain(
        api, Window, {n: writer(api, {"items": [n, n]}) for n in ("a", "b")},
        checkpointer=api.saver(),
    )  # fmt: skip
    out = [await api.invoke(graph, {"items": ["in"]}, api.thread()) for _ in range(2)]
    return {"runs": out} | await record(api, graph, api.thread())


@both
async def case_overwrite_replaces(api: Api) -> Any:
    nodes = {
        "a": writer(api, {"items": ["a"]}),
        "b": writer(api, {"items": api.Overwrite(["fresh"]), "total": api.Overwrite(100)}),
        "c": writer(api, {"items": ["c"], "total": 1}),
    }
    graph = chain(api, Many, nodes, checkpointer=api.saver())
    stream = await api.stream(
        graph, {"items": ["in"], "total": 3}, api.thread(), ["values", "checkpoints"]
    )
    return {"stream": stream} | {"state": (await api.state(graph, api.thread())).values}


@both
async def case_overwrite_as_a_plain_dict(api: Api) -> Any:
    nodes = {
        "a": writer(api, {"items": ["a"]}),
        "b": writer(api, {"items": {"__overwrite__": ["fresh"]}}),
    }
    graph = chain(api, Many, nodes, checkpointer=api.saver())
    return await api.invoke(graph, {"items": ["in"]}, api.thread())


@both
async def case_overwrite_voids_the_siblings(api: Api) -> Any:
    nodes = {
        "a": writer(api, {"items": ["a"]}),
        "b": writer(api, {"items": api.Overwrite(["fresh"])}),
        "c": writer(api, {"items": ["c"]}),
    }
    graph = build(api, Many, nodes, [(api.START, n) for n in nodes], checkpointer=api.saver())
    return await api.invoke(graph, {"items": ["in"]}, api.thread())


@both
async def case_two_overwrites_in_one_superstep(api: Api) -> Any:
    nodes = {n: writer(api, {"items": api.Overwrite([n])}) for n in ("a", "b")}
    graph = build(api, Many, nodes, [(api.START, n) for n in nodes], checkpointer=api.saver())
    raised = await api.raised(api.invoke(graph, {"items": ["in"]}, api.thread()))
    return {"raised": raised, "history": await api.history(graph, api.thread())}


@both
async def case_overwrite_in_the_input_and_in_an_update(api: Api) -> Any:
    graph = chain(api, Many, {"a": writer(api, {"items": ["a"]})}, checkpointer=api.saver())
    await api.invoke(graph, {"items": ["in"]}, api.thread())
    out = {"input": await api.invoke(graph, {"items": api.Overwrite(["new"])}, api.thread())}
    await api.update(graph, api.thread(), {"items": api.Overwrite(["edited"])})
    return out | {"update": (await api.state(graph, api.thread())).values}


@both
async def case_reducer_that_raises(api: Api) -> Any:
    graph = chain(api, Many, {"a": writer(api, {"items": 5})}, checkpointer=api.saver())
    raised = await api.raised(api.invoke(graph, {"items": ["in"]}, api.thread()))
    return {"raised": raised, "history": await api.history(graph, api.thread())}


@both
async def case_bad_input_for_a_reducer(api: Api) -> Any:
    graph = chain(api, Many, {"a": writer(api, {"items": ["a"]})}, checkpointer=api.saver())
    raised = await api.raised(api.invoke(graph, {"items": 5}, api.thread()))
    good = await api.invoke(graph, {"items": ["good"]}, api.thread())
    return {"raised": raised, "good afterwards": good}


@both
async def case_ephemeral_value(api: Api) -> Any:
    class Shape(TypedDict):
        keep: str
        gone: Annotated[str, api.EphemeralValue(str)]

    def look(state: Any) -> Any:
        return {"keep": ",".join(sorted(state))}

    nodes = {"a": writer(api, {"gone": "x"}), "b": api.node(look), "c": api.node(look)}
    graph = chain(api, Shape, nodes, checkpointer=api.saver())
    out = {
        "stream": await api.stream(
            graph, {"keep": "k", "gone": "g"}, api.thread(), ["values", "tasks"]
        )
    }
    return out | await record(api, graph, api.thread())


@both
async def case_topic_channels(api: Api) -> Any:
    class Shape(TypedDict):
        each: Annotated[list, api.Topic(str)]
        ever: Annotated[list, api.Topic(str, accumulate=True)]
        note: str

    def look(state: Any) -> Any:
        return {"note": repr({k: state[k] for k in sorted(state)})}

    nodes = {
        "a": writer(api, {"each": "a", "ever": ["a1", "a2"]}),
        "b": writer(api, {"each": ["b1", "b2"], "ever": "b"}),
        "look": api.node(look),
        "after": api.node(look),
    }
    s = api.START
    edges = [(s, "a"), (s, "b"), (["a", "b"], "look"), ("look", "after")]
    graph = build(api, Shape, nodes, edges, checkpointer=api.saver())
    out = {"stream": await api.stream(graph, {"each": "in"}, api.thread(), ["values"])}
    return out | await record(api, graph, api.thread())


@both
async def case_untracked_value_is_not_stored(api: Api) -> Any:
    class Shape(TypedDict):
        log: Annotated[list, operator.add]
        secret: Annotated[str, api.UntrackedValue(str)]

    def ask(state: Any) -> Any:
        return {"log": [state.get("secret", "none"), api.interrupt("?")]}

    def look(state: Any) -> Any:
        return {"log": [state.get("secret", "none")]}

    graph = chain(
        api, Shape, {"look": api.node(look), "ask": api.node(ask), "end": api.node(look)},
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"stop": await api.invoke(graph, {"log": [], "secret": "s3"}, api.thread())}
    out["state"] = await api.state(graph, api.thread())
    out["on"] = await api.invoke(graph, api.Command(resume="r"), api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_any_value_allows_many_writers(api: Api) -> Any:
    class Shape(TypedDict):
        same: Annotated[str, api.AnyValue(str)]
        note: str

    nodes = {
        "a": writer(api, {"same": "x"}),
        "b": writer(api, {"same": "x"}),
        "look": api.node(lambda state: {"note": repr(state.get("same"))}),
        "after": api.node(lambda state: {"note": repr(state.get("same"))}),
    }
    s = api.START
    edges = [(s, "a"), (s, "b"), (["a", "b"], "look"), ("look", "after")]
    graph = build(api, Shape, nodes, edges, checkpointer=api.saver())
    out = {"stream": await api.stream(graph, {}, api.thread(), ["values"])}
    return out | await record(api, graph, api.thread())


@both
async def case_explicit_last_value_and_binop(api: Api) -> Any:
    class Shape(TypedDict):
        one: Annotated[str, api.LastValue(str)]
        many: Annotated[list, api.BinaryOperatorAggregate(list, operator.add)]

    nodes = {n: writer(api, {"one": n, "many": [n]}) for n in ("a", "b")}
    graph = chain(api, Shape, nodes, checkpointer=api.saver())
    out = {"result": await api.invoke(graph, {"one": "in"}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_root_state_that_is_no_mapping(api: Api) -> Any:
    nodes = {"a": api.node(lambda state: [*state, "a"]), "b": api.node(lambda state: [*state, "b"])}
    graph = chain(api, list, nodes, checkpointer=api.saver())
    out = {"stream": await api.stream(graph, ["in"], api.thread(), ["values", "updates", "tasks"])}
    return out | await record(api, graph, api.thread())


@both
async def case_root_state_with_a_reducer(api: Api) -> Any:
    nodes = {n: api.node(lambda state, n=n: [n]) for n in ("a", "b")}
    graph = build(
        api, Annotated[list, operator.add], nodes, [(api.START, "a"), (api.START, "b")],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = {"result": await api.invoke(graph, ["in"], api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_tuples_survive_storage(api: Api) -> Any:
    class Shape(TypedDict):
        pair: tuple
        nested: Any

    graph = chain(
        api, Shape, {"a": writer(api, {"pair": (1, 2), "nested": {"k": [(3,)]}})},
        checkpointer=api.saver(),
    )  # fmt: skip
    await api.invoke(graph, {"pair": ()}, api.thread())
    return (await api.state(graph, api.thread())).values


@both
async def case_values_of_many_types_survive_storage(api: Api) -> Any:
    import datetime as dt
    import decimal
    import uuid

    values = {
        "set": {1, 2}, "frozen": frozenset({"a"}), "bytes": b"\0\xff", "big": 2**60, "float": 1.5,
        "date": dt.date(2024, 1, 2), "when": dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
        "span": dt.timedelta(seconds=3), "decimal": decimal.Decimal("1.20"), "none": None,
        "uuid": uuid.UUID(int=5), "int keys": {1: "one", 2: "two"}, "unicode": "é\u2028\U0001f600",
    }  # fmt: skip

    class Shape(TypedDict):
        value: Any
        kinds: Any

    def look(state: Any) -> Any:
        return {"kinds": {k: type(v).__name__ for k, v in state["value"].items()}}

    def ask(state: Any) -> Any:
        return {"kinds": api.interrupt("reload") and look(state)["kinds"]}

    graph = chain(
        api, Shape, {"a": writer(api, {"value": values}), "ask": api.node(ask)},
        checkpointer=api.saver(),
    )  # fmt: skip
    await api.invoke(graph, {}, api.thread())
    out = await api.invoke(graph, api.Command(resume=1), api.thread())
    return {k: (out["kinds"][k], repr(v)) for k, v in out["value"].items()}

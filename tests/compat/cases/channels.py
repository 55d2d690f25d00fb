"""Channels and managed values of the user's own in graphs, and channels of batches."""

import operator
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage

from tests.compat.engines import Api
from tests.compat.shapes import both, build, chain, record


@both
async def case_channel_of_the_users_own(api: Api) -> Any:
    """It counts how often it is told that a superstep passes, and stores what it likes."""

    class Steps(api.BaseChannel):
        def __init__(self, typ: Any, key: str = "") -> None:
            super().__init__(typ, key)
            self.value = [0, 0]

        ValueType = property(lambda self: self.typ)
        UpdateType = property(lambda self: self.typ)

        def from_checkpoint(self, checkpoint: Any) -> Any:
            fresh = type(self)(self.typ, self.key)
            if isinstance(checkpoint, (list, tuple)):
                fresh.value = list(checkpoint)
            return fresh

        def get(self) -> Any:
            return tuple(self.value)

        def checkpoint(self) -> Any:
            return list(self.value)

        def update(self, values: Sequence[Any]) -> bool:
            self.value = [self.value[0] + 1, self.value[1] + sum(values)]
            return True

        def finish(self) -> bool:
            self.value = [self.value[0] + 100, self.value[1]]
            return True

    class State(TypedDict):
        log: Annotated[list, operator.add]
        steps: Annotated[tuple, Steps]

    nodes = {
        "a": api.node(lambda s: {"log": [str(s["steps"])], "steps": 5}),
        "b": api.node(lambda s: {"log": [str(s["steps"])]}),
        "c": api.node(lambda s: {"log": [str(s["steps"])], "steps": 7}),
    }
    graph = chain(api, State, nodes, checkpointer=api.saver())
    result = await api.invoke(graph, {"log": []}, api.thread())
    state = await api.state(graph, api.thread())
    return [result, state.values]


def extend(state: list, writes: Sequence[list]) -> list:
    return [*state, *(item for write in writes for item in write)]


@both
async def case_delta_channel(api: Api) -> Any:
    class State(TypedDict):
        log: Annotated[list, api.DeltaChannel(extend, snapshot_frequency=2)]
        seen: Annotated[
            dict, api.DeltaChannel(lambda d, ws: {**d, **{k: v for w in ws for k, v in w.items()}})
        ]

    nodes = {
        "a": api.node(lambda s: {"log": ["a"], "seen": {"a": len(s["log"])}}),
        "b": api.node(lambda s: {"log": ["b"]}),
        "c": api.node(lambda s: {"log": api.Overwrite(["c"])}),
        "d": api.node(lambda s: {"log": ["d"], "seen": {"a": -1}}),
    }
    graph = chain(api, State, nodes, checkpointer=api.saver())
    result = await api.invoke(graph, {"log": ["in"]}, api.thread())
    await api.update(graph, api.thread(), {"log": ["by hand"]}, "d")
    again = await api.invoke(graph, {"log": ["again"]}, api.thread())
    return [result, again, (await api.state(graph, api.thread())).values]


@both
async def case_delta_channel_that_nobody_wrote(api: Api) -> Any:
    class State(TypedDict):
        log: Annotated[list, api.DeltaChannel(extend)]
        n: int

    graph = chain(api, State, {"a": api.node(lambda s: {"n": len(s["log"])})})
    return await api.invoke(graph, {"n": 1})


async def case_two_writes_to_a_delta_channel(api: Api) -> Any:
    class State(TypedDict):
        log: Annotated[list, api.DeltaChannel(extend)]

    def graph(*writes: Any) -> Any:
        nodes = {f"n{i}": api.node(lambda s, w=w: {"log": w}) for i, w in enumerate(writes)}
        return build(api, State, nodes, [(api.START, n) for n in nodes], checkpointer=api.saver())

    overwrites = graph(api.Overwrite(["x"]), api.Overwrite(["y"]))
    return {
        "both": await api.invoke(graph(["a"], ["b"]), {"log": ["in"]}, api.thread()),
        "overwrite": await api.invoke(
            graph(["a"], api.Overwrite(["x"])), {"log": ["in"]}, api.thread()
        ),
        "overwrites": await api.raised(api.invoke(overwrites, {"log": []}, api.thread())),
    }


@both
async def case_conversation_in_a_delta_channel(api: Api) -> Any:
    reducer = api.module("graph.message")._messages_delta_reducer

    class State(TypedDict):
        messages: Annotated[list, api.DeltaChannel(reducer)]

    nodes = {
        "a": api.node(lambda s: {"messages": [AIMessage("one", id="1"), AIMessage("two", id="2")]}),
        "b": api.node(lambda s: {"messages": [RemoveMessage(id="1"), AIMessage("2", id="2")]}),
        "c": api.node(lambda s: {"messages": [RemoveMessage(id="gone"), AIMessage("1", id="1")]}),
    }
    graph = chain(api, State, nodes, checkpointer=api.saver())
    await api.invoke(graph, {"messages": [HumanMessage("in", id="0")]}, api.thread())
    return await record(api, graph, api.thread())


@both
async def case_managed_value_of_the_users_own(api: Api) -> Any:
    base = api.module("managed.base")

    class Place(base.ManagedValue):
        @staticmethod
        def get(scratchpad: Any) -> Any:
            return [scratchpad.step, scratchpad.stop]

    class State(TypedDict):
        log: Annotated[list, operator.add]
        place: Annotated[list, Place]
        last: api.IsLastStep
        left: api.RemainingSteps

    def look(state: Any) -> Any:
        return {"log": [state["place"], state["last"], state["left"]]}

    graph = chain(api, State, {"a": api.node(look), "b": api.node(look)})
    return await api.invoke(graph, {"log": []}, {"recursion_limit": 3})


@both
async def case_shapes_of_messages_in_a_delta_channel(api: Api) -> Any:
    """Whatever has no id, or an empty one, has one in the state, and keeps it; so has what an
    `Overwrite` brings."""
    reducer = api.module("graph.message")._messages_delta_reducer
    spoken = {"role": "user", "content": "hello", "id": ""}
    shapes = [
        lambda: [HumanMessage("hello")], lambda: [HumanMessage("hello", id="")],
        lambda: [dict(spoken)], lambda: dict(spoken), lambda: ("user", "hello"), lambda: "hello",
        lambda: api.Overwrite([HumanMessage("hello")]), lambda: api.Overwrite(["hello"]),
        lambda: api.Overwrite([("user", "hello")]), lambda: api.Overwrite([dict(spoken)]),
        lambda: {"__overwrite__": [("user", "hello")]},
    ]  # fmt: skip

    class State(TypedDict):
        messages: Annotated[list, api.DeltaChannel(reducer)]

    def message(found: Any) -> Any:
        known = found if isinstance(found, dict) else vars(found)
        return known["content"], bool(known["id"])

    seen = []
    for n, shape in enumerate(shapes):
        graph = chain(
            api, State, {"a": api.node(lambda s, shape=shape: {"messages": shape()})},
            checkpointer=api.saver(),
        )  # fmt: skip
        for given in ([HumanMessage("in", id="0")], shape()):
            await api.invoke(graph, {"messages": given}, api.thread(f"t{n}"))
        first, second = [
            (await api.state(graph, api.thread(f"t{n}"))).values["messages"] for _ in range(2)
        ]
        seen.append(
            ([message(m) for m in first], [a == b for a, b in zip(first, second, strict=True)])
        )
    return seen

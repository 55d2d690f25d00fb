"""One small program for each kind of record, each of which puts one secret into it."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import register
from stepwell.cache.memory import InMemoryCache
from stepwell.checkpoint.base import Saver
from stepwell.func import entrypoint, task
from stepwell.graph import START, StateGraph
from stepwell.graph.message import add_messages
from stepwell.types import CachePolicy, Command, Overwrite, Send, interrupt

SECRET = "canary-7f3a-canary"
CONFIG: dict[str, Any] = {"configurable": {"thread_id": "t"}}
Kind = Callable[[Saver], Awaitable[None]]


class State(TypedDict, total=False):
    """`secret` and `log` are what may hold the secret; `n` counts."""

    secret: Any
    log: Annotated[list[Any], operator.add]
    messages: Annotated[list[Any], add_messages]
    n: int


@register
@dataclass
class Work:
    """An argument of a Send that is no dict."""

    secret: Any
    n: int = 0


def build(saver: Saver, *nodes: Callable[..., Any], **options: Any) -> Any:
    """Nodes in a row."""
    builder = StateGraph(State).add_sequence([(n.__name__, n) for n in nodes])
    return builder.add_edge(START, nodes[0].__name__).compile(saver, **options)


async def _quiet(state: State) -> dict[str, Any]:
    return {"n": 1}


async def given(saver: Saver) -> None:
    await build(saver, _quiet).ainvoke({"secret": SECRET, "n": 0}, CONFIG)


async def written(saver: Saver) -> None:
    async def tell(state: State) -> dict[str, Any]:
        return {"secret": {"deep": [SECRET]}}

    assert (await build(saver, tell, _quiet).ainvoke({"n": 0}, CONFIG))["secret"]


async def appended(saver: Saver) -> None:
    """To a list, by several nodes at once, again and again."""

    async def tell(state: State) -> dict[str, Any]:
        return {"log": [SECRET]}

    async def also(state: State) -> dict[str, Any]:
        return {"log": ["plain"]}

    builder = StateGraph(State).add_node("tell", tell).add_node("also", also)
    graph = builder.add_edge(START, "tell").add_edge(START, "also").compile(saver)
    for _ in range(3):
        out = await graph.ainvoke({"log": ["plain"]}, CONFIG)
        assert SECRET in out["log"]


async def overwritten(saver: Saver) -> None:
    async def tell(state: State) -> dict[str, Any]:
        return {"log": Overwrite([SECRET])}

    await build(saver, tell, _quiet).ainvoke({"log": ["plain"]}, CONFIG)


async def messages(saver: Saver) -> None:
    """Said, and then edited: an edit is recorded as one."""

    async def say(state: State) -> dict[str, Any]:
        return {"messages": [{"role": "ai", "content": SECRET, "id": "1"}]}

    async def edit(state: State) -> dict[str, Any]:
        return {"messages": [{"role": "ai", "content": f"no, {SECRET}", "id": "1"}]}

    await build(saver, say, edit).ainvoke({"messages": [{"role": "user", "content": "hi"}]}, CONFIG)


async def in_place(saver: Saver) -> None:
    """A list is changed behind the engine's back, and found changed."""

    async def begin(state: State) -> dict[str, Any]:
        return {"secret": ["plain"]}

    async def change(state: State) -> dict[str, Any]:
        state["secret"].append(SECRET)
        return {"n": 1}

    await build(saver, begin, change).ainvoke({"n": 0}, CONFIG)


async def pending(saver: Saver) -> None:
    """One of two tasks has finished, the other waits for an answer."""

    async def tell(state: State) -> dict[str, Any]:
        return {"secret": SECRET, "log": [SECRET]}

    async def ask(state: State) -> dict[str, Any]:
        interrupt("plain")
        return {}

    builder = StateGraph(State).add_node("tell", tell).add_node("ask", ask)
    graph = builder.add_edge(START, "tell").add_edge(START, "ask").compile(saver)
    await graph.ainvoke({"n": 0}, CONFIG)


async def sent(saver: Saver) -> None:
    """Arguments of sends: dicts and objects."""

    async def work(arg: Any) -> dict[str, Any]:
        assert (arg["secret"] if isinstance(arg, dict) else arg.secret) == SECRET
        return {"n": 1}

    def route(state: State) -> list[Send]:
        return [Send("work", {"secret": SECRET, "n": 1}), Send("work", Work(SECRET))]

    builder = StateGraph(State).add_node("start", _quiet).add_node("work", work)
    builder.add_edge(START, "start").add_conditional_edges("start", route, ["work"])
    graph = builder.compile(saver)
    with pytest.raises(Exception, match="only one"):  # both write n
        await graph.ainvoke({"n": 0}, CONFIG)


async def asked(saver: Saver) -> None:
    async def ask(state: State) -> dict[str, Any]:
        interrupt({"q": SECRET})
        return {}

    out = await build(saver, ask).ainvoke({"n": 0}, CONFIG, idempotency_key="k")
    assert out["__interrupt__"][0].value == {"q": SECRET}


async def answered(saver: Saver) -> None:
    """Two questions: the first answer is kept while the second is asked."""

    async def ask(state: State) -> dict[str, Any]:
        first = interrupt("one")
        assert first == SECRET
        interrupt("two")
        return {}

    graph = build(saver, ask)
    await graph.ainvoke({"n": 0}, CONFIG)
    await graph.ainvoke(Command(resume=SECRET), CONFIG)


async def commanded(saver: Saver) -> None:
    """What a command writes before the next superstep."""

    async def ask(state: State) -> dict[str, Any]:
        return {"n": interrupt("one")}

    graph = build(saver, ask)
    await graph.ainvoke({"n": 0}, CONFIG)
    await graph.ainvoke(Command(resume=1, update={"secret": SECRET}), CONFIG, idempotency_key="k")


async def failed(saver: Saver) -> None:
    async def fail(state: State) -> dict[str, Any]:
        raise ValueError(SECRET)

    with pytest.raises(ValueError, match=SECRET):
        await build(saver, fail).ainvoke({"n": 0}, CONFIG)


async def handled(saver: Saver) -> None:
    """A failure that an error handler takes over."""

    async def fail(state: State) -> dict[str, Any]:
        raise ValueError(SECRET)

    async def mend(state: State, error: Any = None) -> dict[str, Any]:
        return {"n": 1}

    builder = StateGraph(State).add_node("fail", fail, error_handler=mend)
    await builder.add_edge(START, "fail").compile(saver).ainvoke({"n": 0}, CONFIG)


async def metadata(saver: Saver) -> None:
    """Of a run, and of a checkpoint made by hand."""
    graph = build(saver, _quiet)
    await graph.ainvoke({"n": 0}, {**CONFIG, "metadata": {"who": SECRET}})
    await graph.aupdate_state(CONFIG, {"n": 2}, as_node="_quiet", metadata={"why": SECRET})


async def by_hand(saver: Saver) -> None:
    graph = build(saver, _quiet)
    await graph.ainvoke({"n": 0}, CONFIG)
    await graph.aupdate_state(CONFIG, {"secret": SECRET, "log": [SECRET]}, as_node="_quiet")


async def results(saver: Saver) -> None:
    """Of task calls, of the workflow, and what it saves."""

    @task
    async def look() -> dict[str, Any]:
        return {"secret": SECRET}

    @task
    async def count() -> int:
        return 1

    @entrypoint(checkpointer=saver)
    async def flow(arg: dict[str, Any]) -> dict[str, Any]:
        found = await look()
        await count()
        interrupt("plain")
        return found

    await flow.ainvoke({"secret": SECRET}, CONFIG)
    # What was kept of the first result may lack the secret; what was not kept is made anew.
    out = await flow.ainvoke(Command(resume=1), CONFIG, idempotency_key="k")
    assert out.get("secret") in (None, "***", SECRET)


async def inside(saver: Saver) -> None:
    """A graph inside a node, with its own namespace."""

    async def tell(state: State) -> dict[str, Any]:
        return {"secret": SECRET}

    async def ask(state: State) -> dict[str, Any]:
        interrupt("plain")
        return {}

    inner = StateGraph(State).add_sequence([("tell", tell), ("ask", ask)])
    compiled = inner.add_edge(START, "tell").compile()
    outer = StateGraph(State).add_node("inner", compiled).add_edge(START, "inner")
    await outer.compile(saver).ainvoke({"n": 0, "secret": SECRET}, CONFIG)


async def output(saver: Saver) -> None:
    """What the row of a run with a key keeps."""

    async def tell(state: State) -> dict[str, Any]:
        return {"secret": SECRET}

    async def ask(state: State) -> dict[str, Any]:
        interrupt("plain")
        return {}

    builder = StateGraph(State).add_node("tell", tell).add_node("ask", ask)
    graph = builder.add_edge(START, "tell").add_edge(START, "ask").compile(saver)
    await graph.ainvoke({"secret": SECRET, "n": 0}, CONFIG, idempotency_key="k")


async def at_exit(saver: Saver) -> None:
    """durability="exit": one record of the whole run."""

    async def tell(state: State) -> dict[str, Any]:
        return {"secret": SECRET, "log": [SECRET]}

    graph = build(saver, tell, _quiet)
    await graph.ainvoke({"secret": SECRET, "n": 0}, CONFIG, durability="exit")


async def long(saver: Saver) -> None:
    """So many checkpoints that they fold by themselves."""

    async def tell(state: State) -> dict[str, Any]:
        return {"n": state["n"] + 1, "secret": f"{SECRET} {state['n']}", "log": [SECRET]}

    builder = StateGraph(State).add_node("tell", tell).add_edge(START, "tell")
    builder.add_conditional_edges("tell", lambda s: "tell" if s["n"] < 130 else "__end__")
    await builder.compile(saver).ainvoke({"n": 0}, {**CONFIG, "recursion_limit": 500})
    await (await saver.journal()).folded()


async def cached(saver: Saver, cache: Any = None) -> Any:
    """A result that a cache would keep."""

    async def tell(state: State) -> dict[str, Any]:
        return {"secret": SECRET, "n": 1}

    kept = InMemoryCache() if cache is None else cache
    builder = StateGraph(State).add_node("tell", tell, cache_policy=CachePolicy())
    graph = builder.add_edge(START, "tell").compile(saver, cache=kept)
    await graph.ainvoke({"n": 0}, CONFIG)
    return graph


KINDS: tuple[Kind, ...] = (
    given, written, appended, overwritten, messages, in_place, pending, sent, asked, answered,
    commanded, failed, handled, metadata, by_hand, results, inside, output, at_exit, long, cached,
)  # fmt: skip

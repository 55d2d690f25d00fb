"""A value that cannot be stored: the error names the place as whoever wrote the graph knows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest

from stepwell.checkpoint.base import Saver
from stepwell.errors import UnsupportedTypeError
from stepwell.func import entrypoint, task
from stepwell.graph import START, StateGraph
from stepwell.types import Command, Send, interrupt

THREAD: Any = {"configurable": {"thread_id": "t"}}


@dataclass
class Ticket:
    """A class that no schema names and nobody registered."""

    number: int = 1


TICKET = Ticket()


class State(TypedDict, total=False):
    """One key of any type."""

    value: Any


def build(node: Callable[[Any], Any], saver: Saver) -> Any:
    graph = StateGraph(State).add_node("node", node).add_node("worker", lambda _: None)
    return graph.add_edge(START, "node").compile(saver)


async def refusal(app: Any, given: Any, config: Any = THREAD) -> UnsupportedTypeError:
    with pytest.raises(UnsupportedTypeError) as caught:
        await app.ainvoke(given, config)
    for inner in ("__interrupt__", "__resume__", "__start__", "__pregel", "__metadata__"):
        assert inner not in str(caught.value)
    return caught.value


def says(error: UnsupportedTypeError, where: str, path: str, advice: str) -> None:
    assert str(error).startswith(f"{where} holds, at {path}, an instance of ")
    assert str(error).endswith(f"(stepwell.register(Ticket)), or {advice}.")
    assert error.path == path


async def test_a_question(saver: Saver) -> None:
    error = await refusal(build(lambda _: interrupt({"about": TICKET}), saver), {})
    advice = "convert the value to a supported type before it is asked"
    says(error, "The question that node 'node' asks", "$['about']", advice)
    assert error.channel == "__interrupt__"


@pytest.mark.parametrize("by_id", [False, True])
async def test_an_answer(saver: Saver, by_id: bool) -> None:
    app = build(lambda _: {"value": str(interrupt("?"))}, saver)
    asked = (await app.ainvoke({}, THREAD))["__interrupt__"][0].id
    answer = [TICKET]
    error = await refusal(app, Command(resume={asked: answer} if by_id else answer))
    says(error, "The answer", "$[0]", "convert the value to a supported type before it is given")
    assert (await app.ainvoke(Command(resume="yes"), THREAD))["value"] == "yes"


@pytest.mark.parametrize("goto", [Send("worker", [TICKET]), [Send("worker", [TICKET])]])
async def test_the_argument_of_a_send(saver: Saver, goto: Any) -> None:
    error = await refusal(build(lambda _: Command(goto=goto), saver), {})
    advice = (
        "annotate the input of node 'worker' with it, or convert the value to a supported type "
        "before it is sent"
    )
    says(error, "The argument of Send to 'worker'", "$[0]", advice)


async def test_the_input(saver: Saver) -> None:
    error = await refusal(build(lambda _: None, saver), {"value": TICKET})
    advice = (
        "name it in the schema of the input, or convert the value to a supported type before it "
        "is passed in"
    )
    says(error, "The input", "$['value']", advice)


async def test_metadata(saver: Saver) -> None:
    config = {**THREAD, "metadata": {"ticket": TICKET}}
    error = await refusal(build(lambda _: None, saver), {}, config)
    advice = "convert the value to a supported type before it is put there"
    says(error, 'config["metadata"]', "$['ticket']", advice)


async def test_a_key_of_the_state(saver: Saver) -> None:
    """Whoever writes it: a node, a caller's command or update_state."""
    advice = (
        "name it in the state schema, or convert the value to a supported type before it is written"
    )
    app = build(lambda _: {"value": TICKET}, saver)
    says(await refusal(app, {}), "Channel 'value'", "$", advice)
    with pytest.raises(UnsupportedTypeError) as caught:
        await app.aupdate_state(THREAD, {"value": TICKET}, as_node="worker")
    says(caught.value, "Channel 'value'", "$", advice)


async def test_results_of_functions(saver: Saver) -> None:
    @task
    async def work() -> Any:
        return TICKET

    @entrypoint(saver)
    async def calling(_: Any) -> None:
        await work()

    @entrypoint(saver)
    async def returning(_: Any) -> Any:
        return TICKET

    @entrypoint(saver)
    async def saving(_: Any) -> Any:
        return entrypoint.final(value=1, save=TICKET)

    way = "name it in the return annotation, or convert the value to a supported type before it is "
    for number, (function, where, last) in enumerate(
        [
            (calling, "What the task returns", "returned"),
            (returning, "What the entrypoint returns", "returned"),
            (saving, "What the entrypoint saves", "saved"),
        ]
    ):
        config = {"configurable": {"thread_id": str(number)}}
        says(await refusal(function, 1, config), where, "$", way + last)


async def test_the_return_annotation_is_enough(saver: Saver) -> None:
    """What the advice says of functions holds."""

    @task
    async def work() -> Ticket:
        return TICKET

    @entrypoint(saver)
    async def calling(_: Any) -> Ticket:
        return await work()

    assert await calling.ainvoke(1, THREAD) == TICKET


async def test_the_annotation_of_a_worker_is_enough(saver: Saver) -> None:
    """What the advice says of Sends holds."""
    got = []

    def worker(ticket: Ticket) -> None:
        got.append(ticket)

    graph = StateGraph(State).add_node("worker", worker)
    graph.add_conditional_edges(START, lambda _: [Send("worker", TICKET)], ["worker"])
    await graph.compile(saver).ainvoke({"value": 1}, THREAD)
    assert got == [TICKET]

"""Any value built from the supported types comes back equal and of the same type, from every
driver: through checkpoints, pending writes, Send arguments and answers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stepwell
from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.graph import START, StateGraph
from stepwell.types import Command, Send, interrupt
from tests._postgres import execute, fresh_name, server_dsn
from tests.property import strategies

for cls in strategies.CLASSES:
    stepwell.register(cls)

_numbers = itertools.count()


class State(TypedDict, total=False):
    """Anything."""

    value: Any
    passed: Any
    answer: Any


@pytest.fixture(
    scope="module",
    params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)],
)
def saver(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Saver]:
    """One saver per driver for all examples, used through the sync facade."""
    if request.param == "memory":
        with open_saver("memory://") as opened:
            yield opened
    elif request.param == "sqlite":
        path: Path = tmp_path_factory.mktemp("values") / "values.db"
        with open_saver(f"sqlite:///{path}") as opened:
            yield opened
    else:
        schema = fresh_name()
        with open_saver(server_dsn(), schema=schema) as opened:
            yield opened
        asyncio.run(execute(f'DROP SCHEMA "{schema}" CASCADE'))


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    value=strategies.supported_values(),
    packet=strategies.supported_values(),
    question=strategies.supported_values(),
    answer=st.one_of(strategies.supported_values(), strategies.forgeries()),
)
def test_values_come_back_as_they_were(
    saver: Saver, value: Any, packet: Any, question: Any, answer: Any
) -> None:
    """What a node returned, was sent, asked and was told is the same after a reload."""
    if answer is None or answer == {}:
        answer = "an answer"  # None and an empty map are no answers, as in LangGraph
    got: list[Any] = []

    async def give(state: State) -> Any:
        return {"value": value}

    async def take(arg: Any) -> Any:
        got.append(arg)
        return {"passed": arg, "answer": interrupt(question)}

    graph = StateGraph(State)
    graph.add_node("give", give)
    graph.add_node("take", take)
    graph.add_edge(START, "give")
    graph.add_conditional_edges("give", lambda _: Send("take", packet))
    compiled = graph.compile(saver)
    config = {"configurable": {"thread_id": f"v{next(_numbers)}"}}
    compiled.invoke({}, config)
    waiting = compiled.get_state(config)
    assert strategies.same(waiting.values["value"], value)
    assert strategies.same(waiting.interrupts[0].value, question)
    compiled.invoke(Command(resume={waiting.interrupts[0].id: answer}), config)
    state = compiled.get_state(config)
    assert strategies.same(state.values, {"value": value, "passed": packet, "answer": answer})
    assert all(strategies.same(arg, packet) for arg in got)

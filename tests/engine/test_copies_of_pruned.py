"""Copies of threads in which pruning has left gaps."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from stepwell import Retention
from stepwell.checkpoint.base import Saver
from stepwell.graph import START, StateGraph
from stepwell.types import Command, interrupt


class Log(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


async def answer(state: Log) -> dict[str, Any]:
    return {"log": [interrupt("well?")]} if state["log"][-1] == "ask" else {"log": ["answered"]}


def build(saver: Saver) -> Any:
    return StateGraph(Log).add_node(answer).add_edge(START, "answer").compile(saver)


def of(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


async def states(graph: Any, thread: str) -> list[Any]:
    return [s async for s in graph.aget_state_history(of(thread))]


async def test_every_checkpoint_of_the_copy_is_found_by_its_id(saver: Saver) -> None:
    """Also where a fork has left its line, and the copy goes on like the original."""
    graph = build(saver)
    for word in ("a", "b", "c"):
        await graph.ainvoke({"log": [word]}, of("old"))
    fork = (await states(graph, "old"))[2]
    await graph.aupdate_state(fork.config, {"log": ["fork"]}, as_node="answer")
    await saver.aprune(policy=Retention(keep_last=2))
    await saver.acopy_thread("old", "new")

    old, new = await states(graph, "old"), await states(graph, "new")
    assert [(s.values, s.next) for s in new] == [(s.values, s.next) for s in old]
    for state in new:
        assert (await graph.aget_state(state.config)).values == state.values
    configs = [s.config for s in new]
    assert all(s.parent_config in configs for s in new[:-1])
    assert (await saver.averify()).ok
    ends = [await graph.ainvoke({"log": ["more"]}, of(thread)) for thread in ("old", "new")]
    assert ends[0] == ends[1]


async def test_a_question_that_waits_can_be_answered_in_the_copy(saver: Saver) -> None:
    graph = build(saver)
    for word in ("a", "b", "ask"):
        await graph.ainvoke({"log": [word]}, of("old"))
    await saver.aprune(policy=Retention(keep_last=1))
    await saver.acopy_thread("old", "new")
    assert len(await states(graph, "new")) < 5
    done = await graph.ainvoke(Command(resume="well enough"), of("new"))
    assert done["log"][-2:] == ["ask", "well enough"]
    assert (await graph.aget_state(of("old"))).interrupts

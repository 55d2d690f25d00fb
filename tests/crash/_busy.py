"""A process whose run holds a thread until the test lets it go on, or something stops it."""

from __future__ import annotations

import asyncio
import json
import operator
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

from stepwell import open_saver
from stepwell._journal import core
from stepwell.checkpoint.base import Saver
from stepwell.errors import StepwellError
from stepwell.func import entrypoint, task
from stepwell.graph import START, StateGraph

LEASE_TTL_S = 3.0
CIRCLE_S = 4.0
"""In place of the 30 s that a wait may take while another thread is held."""


class State(TypedDict, total=False):
    """What was asked, and what was done about it."""

    ask: str
    log: Annotated[list[str], operator.add]


def say(**event: Any) -> None:
    """Tell the test."""
    print(json.dumps(event), flush=True)


async def wait_for(file: str) -> None:
    """Wait until the test lets it go on."""
    while not Path(file).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.01)


def build(saver: Saver, gate: str) -> Any:
    """first -> second -> third; the second waits at the gate if the input is "slow"."""

    async def first(state: State) -> State:
        return {"log": [f"first {state['ask']}"]}

    async def second(state: State) -> State:
        if state["ask"] == "slow":
            say(reached="second")
            await wait_for(gate)
        return {"log": [f"second {state['ask']}"]}

    async def third(state: State) -> State:
        return {"log": [f"third {state['ask']}"]}

    graph = StateGraph(State).add_sequence([("first", first), ("second", second), ("third", third)])
    return graph.add_edge(START, "first").compile(saver, durability="sync")


def build_nested(saver: Saver, gate: str) -> Any:
    """The same graph inside a node."""
    graph = StateGraph(State).add_node("inside", build(None, gate))  # type: ignore[arg-type]
    return graph.add_edge(START, "inside").compile(saver, durability="sync")


def build_workflow(saver: Saver, gate: str) -> Any:
    """The same as tasks of a workflow."""

    @task
    async def step(name: str, ask: str) -> str:
        if (name, ask) == ("second", "slow"):
            say(reached="second")
            await wait_for(gate)
        return f"{name} {ask}"

    @entrypoint(saver, durability="sync")
    async def work(given: State) -> State:
        return {"log": [await step(name, given["ask"]) for name in ("first", "second", "third")]}

    return work


def build_crossing(saver: Saver, gate: str, other: str, policy: Any) -> Any:
    """A node that runs a graph on another thread, once the gate is open."""
    plain = build(saver, gate)

    async def crossing(_: State) -> State:
        say(reached="crossing")
        await wait_for(gate)
        config = {"configurable": {"thread_id": other}}
        try:
            await plain.ainvoke({"ask": "in"}, config, on_conflict=policy)
        except StepwellError as error:
            return {"log": [error.context.get("code", error.code)]}
        return {"log": ["crossed"]}

    graph = StateGraph(State).add_node("crossing", crossing).add_edge(START, "crossing")
    return graph.compile(saver, durability="sync", on_mismatch="accept")


KINDS = {"graph": build, "nested": build_nested, "workflow": build_workflow}


async def main(url: str, gate: str, thread: str, kind: str, *more: str) -> None:
    core._NESTED_WAIT_MAX_S = CIRCLE_S
    config = {"configurable": {"thread_id": thread}}
    async with open_saver(url, lease_ttl_s=LEASE_TTL_S) as saver:
        graph = build_crossing(saver, gate, *more) if more else KINDS[kind](saver, gate)
        try:
            result = await graph.ainvoke({"ask": "slow"}, config)
        except StepwellError as error:
            by = getattr(error, "by_run_id", None)
            say(error=error.code, policy=getattr(error, "policy", None), by=by, text=str(error))
        else:
            say(result=result)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

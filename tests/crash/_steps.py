"""One call of a graph whose questions are two levels down, made by a process of its own."""

from __future__ import annotations

import asyncio
import operator
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

import orjson

from stepwell import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.graph import START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from stepwell.types import Command, Send, interrupt

CONFIG: Any = {"configurable": {"thread_id": "steps"}}
SENT = 3


class State(TypedDict, total=False):
    """What was said, and to whom."""

    name: str
    log: Annotated[list[str], operator.add]


class Name(TypedDict, total=False):
    """What a graph inside is given."""

    name: str


class Told(TypedDict):
    """What a graph inside returns."""

    log: Annotated[list[str], operator.add]


def build(saver: Saver, effects: Path, durability: Any, *, dies: bool = False) -> Any:
    """SENT x (a -> (x -> ask -> y) -> b) -> last. `dies`: y of the first kills its process."""

    def node(label: str, *, asks: bool = False) -> Any:
        async def run(state: State) -> dict[str, Any]:
            with effects.open("a") as file:
                file.write(f"{label} {state.get('name')}\n")
            if asks:
                return {"log": [f"{state['name']}: {interrupt(state['name'])}"]}
            if dies and label == "y":
                await asyncio.sleep(0.5)  # what is on its way with "async" arrives
                os.kill(os.getpid(), signal.SIGKILL)
            return {"log": []}

        return run

    def inside(*nodes: tuple[str, Any]) -> CompiledStateGraph:
        graph = StateGraph(State, input_schema=Name, output_schema=Told)
        return graph.add_sequence(list(nodes)).add_edge(START, nodes[0][0]).compile()

    inner = inside(("x", node("x")), ("ask", node("ask", asks=True)), ("y", node("y")))
    graph = StateGraph(State).add_node("last", node("last"))
    graph.add_node("outer", inside(("a", node("a")), ("inner", inner), ("b", node("b"))))
    graph.add_conditional_edges(
        START, lambda s: [Send("outer", {"name": f"n{i}"}) for i in range(SENT)], ["outer"]
    )
    return graph.add_edge("outer", "last").compile(saver, durability=durability)


async def main(url: str, effects: str, durability: str, step: str) -> None:
    """`step`: "start", "die" (start, and die inside), or a JSON object of answers by id."""
    async with open_saver(url, lease_ttl_s=4.0) as saver:
        if step in ("start", "die"):
            given: Any = {"log": ["in"]}
        else:
            given = Command(resume=orjson.loads(step))
        graph = build(saver, Path(effects), durability, dies="die" in step)
        result = await graph.ainvoke(given, CONFIG)
    asked = {q.value: q.id for q in result.get("__interrupt__", ())}
    print(orjson.dumps({"asked": asked, "log": result["log"]}).decode())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))

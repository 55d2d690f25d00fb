"""Event loops of the user's own make the tasks of branches."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

import pytest

from stepwell.graph import START, StateGraph


class State(TypedDict, total=False):
    a: int
    b: int


class Counting(asyncio.SelectorEventLoop):
    made = 0

    def create_task(self, *args: Any, **kwargs: Any) -> asyncio.Task[Any]:
        self.made += 1
        return super().create_task(*args, **kwargs)


async def made_for(branches: list[str], loop: Any) -> int:
    """How many tasks a superstep of some branches made in that loop."""
    graph = StateGraph(State)
    for name in branches:
        graph.add_node(f"to_{name}", lambda _, name=name: {name: 1})
        graph.add_edge(START, f"to_{name}")
    before = loop.made
    assert await graph.compile().ainvoke({}) == dict.fromkeys(branches, 1)
    return int(loop.made - before)


@pytest.mark.parametrize("by_factory", [False, True])
def test_a_loop_hears_of_each_branch(by_factory: bool) -> None:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop if by_factory else Counting) as run:
        loop: Any = run.get_loop()
        if by_factory:
            loop.made = 0

            def factory(loop: Any, work: Any, **kwargs: Any) -> asyncio.Task[Any]:
                loop.made += 1
                return asyncio.Task(work, loop=loop, **kwargs)

            loop.set_task_factory(factory)
        one, two = (run.run(made_for(names, loop)) for names in (["a"], ["a", "b"]))
    assert two - one == 2

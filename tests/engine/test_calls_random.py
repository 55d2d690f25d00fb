"""Trees of calls drawn at random: nothing waits for ever, nothing is left over."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from anyio import to_thread

from stepwell.func import entrypoint, task
from stepwell.pregel.main import Pregel

TREES = 60


class Tree:
    """A call, and the calls that it makes."""

    def __init__(self, chance: random.Random, depth: int) -> None:
        many = chance.choice([0, 1, 2, 3]) if depth else 0
        self.calls = [Tree(chance, depth - 1) for _ in range(many)]
        self.sync = chance.random() < 0.4
        self.how = chance.choice(["one by one", "together", "without waiting"])
        self.fails = chance.random() < 0.06

    def result(self) -> Any:
        """What the call returns if nothing in it fails."""
        return [] if self.how == "without waiting" else [c.result() for c in self.calls]


def workflow() -> Pregel:
    """Runs a tree: sync tasks block on their futures, async ones await them."""

    @task
    async def runs_async(tree: Tree) -> Any:
        if tree.fails:
            raise ConnectionError
        if tree.how == "one by one":
            return [await start(c) for c in tree.calls]
        futures = [start(c) for c in tree.calls]
        return await asyncio.gather(*futures) if tree.how == "together" else []

    @task
    def runs_sync(tree: Tree) -> Any:
        if tree.fails:
            raise ConnectionError
        if tree.how == "one by one":
            return [start(c).result(timeout=60) for c in tree.calls]
        futures = [start(c) for c in tree.calls]
        return [f.result(timeout=60) for f in futures] if tree.how == "together" else []

    def start(tree: Tree) -> Any:
        return (runs_sync if tree.sync else runs_async)(tree)

    @entrypoint()
    async def flow(tree: Tree) -> Any:
        return await start(tree)

    return flow


async def test_trees_of_calls_end_whatever_happens(seed: int) -> None:
    """With any limit, with failures and cancellations at any point: every run ends, gives the
    result that it must, leaves no task behind and returns every worker thread it lent."""
    chance = random.Random(seed)
    limiter = to_thread.current_default_thread_limiter()
    before = limiter.total_tokens
    for number in range(TREES):
        tree = Tree(chance, 3)
        config: dict[str, Any] = {"configurable": {"thread_id": str(number)}}
        limit = chance.choice([None, 1, 1, 2, 3])
        if limit is not None:
            config["max_concurrency"] = limit
        run = asyncio.create_task(workflow_of_a_tree(tree, config))
        if chance.random() < 0.2:
            await asyncio.sleep(chance.random() * 0.01)
            run.cancel()
        done, _ = await asyncio.wait([run], timeout=60)
        assert done, "a run did not end"
        if not run.cancelled():
            error = run.exception()
            assert isinstance(error, ConnectionError) if error else run.result() == tree.result()
        left = [t for t in asyncio.all_tasks() if "_drive" in repr(t.get_coro())]
        assert not left, left
    for _ in range(500):  # threads of cancelled runs end a little later
        if limiter.total_tokens == before:
            break
        await asyncio.sleep(0.01)
    assert limiter.total_tokens == before


async def workflow_of_a_tree(tree: Tree, config: Any) -> Any:
    """One run in a workflow of its own."""
    flow = workflow()
    return await flow.ainvoke(tree, config)

"""Runs of ten nodes while the database suffers, and what must be true of them afterwards.

Threads are run by two savers, which are two workers to each other: while one holds a thread the
other waits for it, suspects it whenever its lock session is down, and would take it over if it
were allowed to. Nothing here dies, so everything must come out as if nothing had happened:

- every call returns what a calm database would have given it, and none is fenced;
- every node ran once for each run, and not once more;
- every superstep is in the history once, in one unbroken chain.
"""

from __future__ import annotations

import asyncio
import itertools
import operator
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, TypedDict

from stepwell.checkpoint.base import Saver
from stepwell.config import RunnableConfig
from stepwell.errors import StaleWriterError, StorageUnavailableError
from stepwell.graph import END, START, StateGraph
from stepwell.graph.state import CompiledStateGraph
from stepwell.observe import Event, LeaseLost, StorageRetried
from tests.torture._figures import Figures

NODES = 10
LANES = [["n0"], ["n1"], ["n2"], ["n3", "n4"], ["n5"], ["n6"], ["n7", "n8"], ["n9"]]
"""The supersteps of a run; where two nodes run at once, the first one is recorded by itself."""
TRAIL = [name for lane in LANES for name in lane]


class Walk(TypedDict, total=False):
    """Where a run has been."""

    trail: Annotated[list[str], operator.add]
    steps: Annotated[int, operator.add]


class Observed:
    """What the savers tell while the database suffers."""

    def __init__(self) -> None:
        self.lost: list[LeaseLost] = []
        self.retries: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        if isinstance(event, LeaseLost):
            self.lost.append(event)
        elif isinstance(event, StorageRetried):
            self.retries[event.verb] += 1


@asynccontextmanager
async def patiently(*savers: Saver) -> AsyncIterator[tuple[Saver, ...]]:
    """Open savers although the database is away now and then, and close them afterwards.

    Runs wait for a database; opening does not, so that a wrong address is an error at once.
    """
    async with AsyncExitStack() as stack:
        for saver in savers:
            async with asyncio.timeout(60):
                await _until_open(stack, saver)
        yield savers


async def _until_open(stack: AsyncExitStack, saver: Saver) -> None:
    while True:
        try:
            await stack.enter_async_context(saver)
        except StorageUnavailableError:
            await asyncio.sleep(0.05)
        else:
            return


class TenNodes:
    """Runs of one round, on threads that two savers share.

    Args:
        seed: What pauses, durabilities and the choice of the saver are drawn from.
        name: What the names of its threads begin with.
        pause_s: How long a node takes at most, so that a run spans the rhythm of the faults.
    """

    def __init__(self, seed: int, *, pause_s: float = 0.02, name: str = "t") -> None:
        self.name = name
        self.random = random.Random(seed)
        self.pause_s = pause_s
        self.starts: Counter[tuple[str, str]] = Counter()
        self.runs: Counter[str] = Counter()
        self.finished = 0
        self.observed = Observed()
        self.figures = Figures()

    def build(self, saver: Saver) -> CompiledStateGraph:
        graph = StateGraph(Walk)
        for name in TRAIL:
            graph.add_node(name, self._node(name))
        previous = [START]
        for lane in LANES:
            for name in lane:
                graph.add_edge(previous if len(previous) > 1 else previous[0], name)
            previous = lane
        graph.add_edge(previous[0], END)
        return graph.compile(saver)

    def _node(self, name: str) -> Any:
        async def node(state: Walk, config: RunnableConfig) -> Walk:
            self.starts[config["configurable"]["thread_id"], name] += 1
            await asyncio.sleep(self.random.uniform(0, self.pause_s))
            return {"trail": [name], "steps": 1}

        return node

    async def run(self, savers: Sequence[Saver], runs: int, *, threads: int) -> None:
        """`runs` runs at once, spread over `threads` threads and over the savers."""
        graphs = [self.build(saver) for saver in savers]
        await asyncio.gather(
            *(self._one(graphs[n % len(graphs)], f"{self.name}{n % threads}") for n in range(runs))
        )

    async def _one(self, graph: CompiledStateGraph, thread: str) -> None:
        self.runs[thread] += 1
        durability = self.random.choice(["sync", "async"])
        config = {"configurable": {"thread_id": thread}}
        try:
            state = await graph.ainvoke({"trail": [], "steps": 0}, config, durability=durability)
        except StaleWriterError as error:
            self.figures.failures.append(f"{thread}: a healthy run was fenced: {error}")
        except Exception as error:  # whatever it is, the run did not finish
            self.figures.failures.append(f"{thread}: {type(error).__name__}: {error}")
        else:
            self.finished += 1
            if len(state["trail"]) % NODES or state["steps"] != len(state["trail"]):
                self.figures.failures.append(f"{thread}: returned {state}")

    async def check(self, saver: Saver) -> Figures:
        """Hold what is stored, through a saver in calm weather, against what ran."""
        figures, graph = self.figures, self.build(saver)
        figures.counts["runs finished"] += self.finished
        figures.counts["calls repeated"] += sum(self.observed.retries.values())
        figures.failures += [f"a healthy claim was lost: {event}" for event in self.observed.lost]
        for thread, runs in self.runs.items():
            config = {"configurable": {"thread_id": thread}}
            history = [state async for state in graph.aget_state_history(config)][::-1]
            figures.failures += [f"{thread}: {says}" for says in _broken(history, runs)]
            for name in TRAIL:
                if self.starts[thread, name] != runs:
                    says = f"{thread}: {name} ran {self.starts[thread, name]} times in {runs} runs"
                    figures.failures.append(says)
        return figures


def _broken(history: Sequence[Any], runs: int) -> list[str]:
    """What is wrong with a history, oldest first, of so many runs."""
    if not history:
        return ["nothing is stored"]
    broken = []
    last = history[-1]
    if sorted(last.values["trail"]) != sorted(TRAIL * runs) or last.values["steps"] != NODES * runs:
        broken.append(f"ends with {last.values}")
    if last.next:
        broken.append(f"looks unfinished: {last.next}")
    # The input, the checkpoint behind it, and one for each superstep.
    expected = runs * (len(LANES) + 2)
    if len(history) != expected:
        broken.append(f"has {len(history)} checkpoints, not {expected}")
    steps = [state.metadata["step"] for state in history]
    if steps != list(range(-1, len(history) - 1)):
        broken.append(f"has the steps {steps}")
    for earlier, later in itertools.pairwise(history):
        parent = later.parent_config and later.parent_config["configurable"]["checkpoint_id"]
        if parent != earlier.config["configurable"]["checkpoint_id"]:
            broken.append(f"breaks before step {later.metadata['step']}")
    return broken

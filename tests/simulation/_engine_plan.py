"""Random graphs for the simulation, and the naive model that says what they must do.

A graph's state is a `log` of words and their number. Every task adds one word. So from a
checkpoint and its parent one can tell what ran between them, and what has to run next:
`Design.next_after` says it in ten lines, without channels, versions or triggers.
"""

from __future__ import annotations

import operator
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypedDict

from stepwell.graph import END, START, StateGraph
from stepwell.runtime import Runtime
from stepwell.types import Command, RetryPolicy, Send, interrupt

KINDS = ("plain", "plain", "slow", "flaky", "stubborn", "ask", "nested", "nested ask", "goto")
RETRY = RetryPolicy(initial_interval=0.01, max_attempts=3, retry_on=lambda e: isinstance(e, Boom))


class Boom(Exception):
    """What a node raises on purpose."""


class State(TypedDict, total=False):
    """What the tasks have said, and how many they were."""

    log: Annotated[list[str], operator.add]
    total: Annotated[int, operator.add]


class Inner(TypedDict, total=False):
    """The state of a graph inside a node."""

    items: Annotated[list[str], operator.add]


class Around(Protocol):
    """What nodes ask of the simulation that they run in."""

    async def enter(self, name: str, runtime: Runtime[Any]) -> int:
        """A node begins. Returns how often it has begun for this task, counted from 1."""

    async def pause(self, *, long: bool = False) -> None:
        """A node waits for something."""


@dataclass(frozen=True)
class Node:
    """One node, where its result leads, and how: "edges", "route" or "send"."""

    name: str
    kind: str
    targets: tuple[str, ...]
    how: str


@dataclass(frozen=True)
class Design:
    """A graph without loops: every node leads to later ones, or to the end."""

    nodes: tuple[Node, ...]
    first: tuple[str, ...]
    after_worker: str

    def node(self, name: str) -> Node:
        return next(n for n in self.nodes if n.name == name)

    def next_after(self, ran: list[str], known: int, *, by_hand: bool = False) -> Counter[str]:
        """What is due when these have run.

        `known`: the length of the log that routers see, which is as their own node left it.
        `by_hand`: the last one is an update in a node's name, which takes no `goto`.
        """
        due: set[str] = set()
        sent: Counter[str] = Counter()
        for n, name in enumerate(ran):
            if name == "__start__":
                due |= set(self.first)
            elif name == "w":
                due.add(self.after_worker)
            else:
                node = self.node(name)
                if node.how == "send":
                    sent["w"] += sends(known)
                elif not (by_hand and node.kind == "goto" and n == len(ran) - 1):
                    due |= set(chosen(node, known) if node.how == "route" else node.targets)
        due.discard(END)
        return Counter(due) + sent


def sends(known: int) -> int:
    """How many workers a fan-out starts."""
    return known % 3 + 1


def chosen(node: Node, known: int) -> tuple[str, ...]:
    """The way a router takes."""
    return (node.targets[known % len(node.targets)],)


def word_of(task: str, word: str) -> bool:
    """Whether a word of the log is what a task of this node says."""
    if task == "__start__":
        return word.startswith("in")
    return word == task or word.startswith((f"{task}=", f"{task}(", f"{task}#"))


def draw(rng: random.Random) -> Design:
    """A graph of two to five nodes."""
    names = [f"n{i}" for i in range(rng.randrange(2, 6))]
    nodes = []
    for i, name in enumerate(names):
        later = names[i + 1 :]
        targets = tuple(sorted(rng.sample(later, min(len(later), rng.randrange(1, 3))))) or (END,)
        how = rng.choice(("edges", "edges", "route", "send")) if later else "edges"
        kind = rng.choice(KINDS)
        if kind == "goto":
            how, targets = "edges", targets[:1]
        nodes.append(Node(name, kind, targets, how))
    first = tuple(names[: rng.randrange(1, 3)])
    return Design(tuple(nodes), first, rng.choice((END, names[-1])))


def build(design: Design, around: Around) -> Any:
    """The graph, not compiled."""
    graph = StateGraph(State)
    for node in design.nodes:
        graph.add_node(
            node.name,
            _body(node, around),
            retry_policy=RETRY if node.kind == "flaky" else None,
            destinations=node.targets if node.kind == "goto" else None,
        )
        if node.kind == "goto":
            continue
        if node.how == "edges":
            for target in node.targets:
                graph.add_edge(node.name, target)
        else:
            graph.add_conditional_edges(node.name, _router(node), [*node.targets, "w"])
    graph.add_node("w", _worker(around))
    graph.add_edge("w", design.after_worker)
    for name in design.first:
        graph.add_edge(START, name)
    return graph


def _router(node: Node) -> Callable[[Any], Any]:
    def route(state: State) -> Any:
        known = len(state["log"])
        if node.how == "route":
            return list(chosen(node, known))
        return [Send("w", {"number": n}) for n in range(sends(known))]

    return route


def _worker(around: Around) -> Callable[..., Awaitable[Any]]:
    async def worker(state: dict[str, int], runtime: Runtime[Any]) -> Any:
        await around.enter("w", runtime)
        await around.pause()
        return {"log": [f"w#{state['number']}"], "total": 1}

    return worker


def _body(node: Node, around: Around) -> Callable[..., Awaitable[Any]]:
    name, kind = node.name, node.kind
    inner = _inside(name, around, asks=kind == "nested ask") if "nested" in kind else None

    async def run(state: State, runtime: Runtime[Any]) -> Any:
        begun = await around.enter(name, runtime)
        await around.pause(long=kind == "slow")
        word = name
        if (kind == "flaky" and begun % 3) or (kind == "stubborn" and begun == 1):
            raise Boom(name)
        if kind == "ask":
            word = f"{name}={interrupt(name)}"
            await around.pause()
        if inner is not None:
            found = await inner.ainvoke({"items": ["in"]})
            word = f"{name}({'.'.join(found['items'])})"
        update = {"log": [word], "total": 1}
        return Command(goto=list(node.targets), update=update) if kind == "goto" else update

    return run


def _inside(outer: str, around: Around, *, asks: bool) -> Any:
    async def one(_: Inner, runtime: Runtime[Any]) -> Any:
        await around.enter(f"{outer}.one", runtime)
        await around.pause()
        return {"items": ["one"]}

    async def two(_: Inner, runtime: Runtime[Any]) -> Any:
        await around.enter(f"{outer}.two", runtime)
        return {"items": [f"two={interrupt('two')}" if asks else "two"]}

    graph = StateGraph(Inner)
    graph.add_sequence([("one", one), ("two", two)])
    graph.add_edge(START, "one")
    return graph.compile()

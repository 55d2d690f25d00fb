"""Random small graphs, as data: a `Plan` is drawn from a seed, and built on either engine.

A plan can be cut down (`smaller`) and still be run; what is done to its graph follows from the
numbers in `operations`, see random_runs.py.
"""

from __future__ import annotations

import asyncio
import operator
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypedDict

from tests.compat.engines import Api

BOUND = 10
"""Loops end once this many nodes have run in a turn."""
END = "__end__"
START = "__start__"


class Inner(TypedDict):
    """The state of a graph that is a node: it shares `last` with the one around it."""

    inner: Annotated[list, operator.add]
    last: Annotated[str, lambda old, new: new]


class State(TypedDict):
    log: Annotated[list, operator.add]
    count: Annotated[int, operator.add]
    table: Annotated[dict, operator.or_]
    last: Annotated[str, lambda old, new: new]


KINDS = (
    "plain", "plain", "plain", "talk", "ask", "ask2", "command", "command", "nothing",
    "flaky", "askflaky", "overwrite", "graph", "graph",
)  # fmt: skip
INNER = ("plain", "plain", "talk", "ask", "ask", "parent")
FAILING = ("fail", "fail", "flaky", "askflaky")


@dataclass(frozen=True)
class Node:
    """`kind`: plain, ask, ask2, fail (its first run), flaky (and tried again), askflaky (fails
    once it was answered, and is tried again), command, overwrite, talk, nothing, graph.

    `fails`: how many attempts of a flaky node fail; its policy allows two a run. `inner`: what
    the nodes of a graph do, one after the other: plain, talk, ask, parent (commands the graph
    around it); `keeps`: its checkpointer.
    """

    name: str
    kind: str = "plain"
    deferred: bool = False
    goto: tuple[tuple[str, int], ...] = ()
    fails: int = 0
    inner: tuple[str, ...] = ()
    keeps: bool | None = None


@dataclass(frozen=True)
class Branch:
    """A router takes the option number `count` (modulo); an option is (node, sends) pairs."""

    source: str
    options: tuple[tuple[tuple[str, int], ...], ...]


@dataclass(frozen=True)
class Plan:
    nodes: tuple[Node, ...]
    edges: tuple[tuple[tuple[str, ...], str], ...]
    branches: tuple[Branch, ...]
    operations: tuple[int, ...]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    """Breakpoints the graph is compiled with; ("*",) is every node."""
    patience: int = 1
    """How many times as long as usual a node waits for its siblings before it fails."""

    @property
    def waits(self) -> bool:
        """Whether there is such a node."""
        return any(n.kind in ("fail", "flaky", "askflaky") and n.fails != 1 for n in self.nodes)


# --- drawing ----------------------------------------------------------------------------------


def draw(seed: int) -> Plan:
    rng = random.Random(seed)
    names = [f"n{i}" for i in range(rng.randint(3, 7))]
    failing = rng.choice(names) if rng.random() < 0.4 else None
    nodes = [_node(rng, name, names, name == failing) for name in names]
    before = after = ()
    if rng.random() < 0.15:
        before = _breakpoints(rng, names)
    if rng.random() < 0.15:
        after = _breakpoints(rng, names)
    edges: list[tuple[tuple[str, ...], str]] = [
        ((START,), name) for name in rng.sample(names[:3], rng.randint(1, 2))
    ]
    branches = []
    for i, name in enumerate(names):
        later = names[i + 1 :]
        if later and rng.random() < 0.7:
            for target in rng.sample(later, min(len(later), rng.choice((1, 1, 2)))):
                edges.append(((name,), target))
        if rng.random() < 0.4:
            # A node that counts nothing must not multiply: its loops end by the limit alone.
            quiet = nodes[i].kind in ("nothing", "graph")
            branches.append(Branch(name, _options(rng, names, sends=not quiet)))
    if len(names) > 3 and rng.random() < 0.6:
        sources = tuple(rng.sample(names[:-1], rng.choice((2, 2, 3))))
        edges.append((sources, names[-1]))
    if rng.random() < 0.25:
        branches.append(Branch(START, _options(rng, names)))
    operations = tuple(rng.getrandbits(30) for _ in range(rng.randint(3, 8)))
    edges = list(dict.fromkeys(edges))
    return Plan(tuple(nodes), tuple(edges), tuple(branches), operations, before, after)


def _breakpoints(rng: random.Random, names: list[str]) -> tuple[str, ...]:
    return ("*",) if rng.random() < 0.1 else tuple(rng.sample(names, rng.choice((1, 1, 2))))


def _node(rng: random.Random, name: str, names: list[str], fails: bool) -> Node:
    kind = rng.choice(FAILING) if fails else rng.choice(KINDS)
    goto = _option(rng, names) if kind in ("command", "graph") else ()
    inner: tuple[str, ...] = ()
    if kind == "graph":
        inner = tuple(rng.choice(INNER) for _ in range(rng.choice((1, 2, 2, 3))))
        goto = tuple((target, 0) for target, _ in goto)
    keeps = False if rng.random() < 0.1 and "ask" not in inner else None
    # Only one node may fail a run: of two that fail at once, it is chance who is first.
    flaky = rng.choice((1, 2, 3)) if fails else 1
    count = flaky if kind in ("flaky", "askflaky") else 0
    return Node(name, kind, rng.random() < 0.12, goto, count, inner, keeps if inner else None)


def _option(
    rng: random.Random, names: list[str], *, sends: bool = True
) -> tuple[tuple[str, int], ...]:
    chosen = rng.sample(names, rng.choice((0, 1, 1, 2)))
    return tuple((name, rng.choice((0, 0, 1, 2)) if sends else 0) for name in chosen)


def _options(
    rng: random.Random, names: list[str], *, sends: bool = True
) -> tuple[tuple[tuple[str, int], ...], ...]:
    return tuple(_option(rng, names, sends=sends) for _ in range(rng.randint(1, 3)))


def smaller(plan: Plan) -> Iterator[Plan]:
    """Plans with one thing less."""
    for i in range(len(plan.operations)):
        yield replace(plan, operations=plan.operations[:i] + plan.operations[i + 1 :])
    for i in range(len(plan.branches)):
        yield replace(plan, branches=plan.branches[:i] + plan.branches[i + 1 :])
    for i in range(len(plan.edges)):
        yield replace(plan, edges=plan.edges[:i] + plan.edges[i + 1 :])
    for node in plan.nodes:
        yield _without(plan, node.name)
    for i, node in enumerate(plan.nodes):
        for k in range(len(node.inner) if len(node.inner) > 1 else 0):
            fewer = replace(node, inner=node.inner[:k] + node.inner[k + 1 :])
            yield replace(plan, nodes=(*plan.nodes[:i], fewer, *plan.nodes[i + 1 :]))
        if node.kind != "plain" or node.deferred:
            plain = Node(node.name)
            yield replace(plan, nodes=(*plan.nodes[:i], plain, *plan.nodes[i + 1 :]))
    if plan.before:
        yield replace(plan, before=())
    if plan.after:
        yield replace(plan, after=())


def _without(plan: Plan, name: str) -> Plan:
    def kept(option: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
        return tuple(o for o in option if o[0] != name)

    nodes = tuple(replace(n, goto=kept(n.goto)) for n in plan.nodes if n.name != name)
    edges = tuple(e for e in plan.edges if name not in e[0] and e[1] != name)
    branches = tuple(
        Branch(b.source, tuple(kept(o) for o in b.options))
        for b in plan.branches
        if b.source != name
    )
    before, after = (tuple(n for n in names if n != name) for names in (plan.before, plan.after))
    return Plan(nodes, edges, branches, plan.operations, before, after, plan.patience)


# --- building ---------------------------------------------------------------------------------


def targets(api: Api, option: tuple[tuple[str, int], ...]) -> Any:
    chosen: list[Any] = []
    for name, sends in option:
        chosen.extend([api.Send(name, {"item": i}) for i in range(sends)] or [name])
    return chosen or END


def body(api: Api, node: Node, pause: float) -> Any:
    failed: list[bool] = []

    async def fail(times: int) -> None:
        if len(failed) < times:
            failed.append(True)
            if node.fails != 1:  # it will not be tried again: let its siblings finish first
                await asyncio.sleep(pause)
            raise (ConnectionError if node.fails else ValueError)(f"{node.name} fails")

    async def run(state: Any) -> Any:
        label = f"{node.name}.{state['item']}" if "item" in state else node.name
        seen = len(state.get("log", ()))
        if node.kind == "nothing":
            return None
        if node.kind in ("fail", "flaky"):
            await fail(node.fails or 1)
        questions = {"ask": 1, "askflaky": 1, "ask2": 2}.get(node.kind, 0)
        answers = [api.interrupt(f"{label} asks {i}") for i in range(questions)]
        if node.kind == "askflaky":
            await fail(node.fails)
        if node.kind == "talk":
            api.get_stream_writer()(f"{label} talks")
        if node.kind == "overwrite":
            return {"log": api.Overwrite([label]), "count": 1}
        update = {"log": [[label, *answers]], "count": 1, "table": {node.name: seen}, "last": label}
        if node.kind != "command":
            return update
        goto = targets(api, node.goto) if state.get("count", BOUND) < BOUND else END
        return api.Command(update=update, goto=goto)

    run.__name__ = node.name
    return run


def nested(api: Api, node: Node) -> Any:
    """The graph that a node is."""

    def step(number: int, kind: str) -> Any:
        async def run(state: Any) -> Any:
            label = f"{node.name}/{number}"
            if kind == "ask":
                label += f" {api.interrupt(f'{label} asks')}"
            if kind == "talk":
                api.get_stream_writer()(f"{label} talks")
            update = {"inner": [label], "last": label}
            if kind != "parent":
                return update
            goto = targets(api, node.goto)
            return api.Command(graph=api.Command.PARENT, update={"last": label}, goto=goto)

        return run

    graph = api.StateGraph(Inner)
    for number, kind in enumerate(node.inner):
        graph.add_node(f"i{number}", step(number, kind))
        graph.add_edge(f"i{number - 1}" if number else START, f"i{number}")
    return graph.compile(checkpointer=node.keeps)


def router(api: Api, branch: Branch, number: int) -> Any:
    def route(state: Any) -> Any:
        count = state.get("count", 0)
        if count >= BOUND:
            return END
        return targets(api, branch.options[count % len(branch.options)])

    route.__name__ = f"route{number}"
    return route


def build(api: Api, plan: Plan, saver: Any) -> Any:
    graph = api.StateGraph(State)
    policy = api.RetryPolicy(
        max_attempts=2, initial_interval=0.001, jitter=False, retry_on=ConnectionError
    )
    pause = plan.patience * (0.15 if any(node.inner for node in plan.nodes) else 0.03)
    for node in plan.nodes:
        retry = policy if node.fails else None
        action = nested(api, node) if node.inner else body(api, node, pause)
        graph.add_node(node.name, action, defer=node.deferred, retry_policy=retry)
    for sources, target in plan.edges:
        graph.add_edge(sources[0] if len(sources) == 1 else list(sources), target)
    everything = [*(n.name for n in plan.nodes), END]
    for number, branch in enumerate(plan.branches):
        if branch.options:
            graph.add_conditional_edges(branch.source, router(api, branch, number), everything)
    before, after = (
        names[0] if names == ("*",) else list(names) for names in (plan.before, plan.after)
    )
    return graph.compile(checkpointer=saver, interrupt_before=before, interrupt_after=after)

"""Random small graphs and what is done to them, as data; and the run of both engines in step.

Everything follows from numbers: a `Plan` is drawn from a seed, and every operation is drawn,
from its own number, among those that make sense where the thread stands. So a plan that fails
can be cut down (`smaller`) and still be run.
"""

from __future__ import annotations

import asyncio
import itertools
import operator
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypedDict

from tests.compat.engines import Api, Raised
from tests.compat.normal import IDS, Normaliser

BOUND = 10
"""Loops end once this many nodes have run in a turn."""
END = "__end__"
START = "__start__"


class State(TypedDict):
    log: Annotated[list, operator.add]
    count: Annotated[int, operator.add]
    table: Annotated[dict, operator.or_]
    last: Annotated[str, lambda old, new: new]


@dataclass(frozen=True)
class Node:
    """`kind`: plain, ask, ask2, fail (its first run), command, nothing."""

    name: str
    kind: str = "plain"
    deferred: bool = False
    goto: tuple[tuple[str, int], ...] = ()


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


# --- drawing ----------------------------------------------------------------------------------


def draw(seed: int) -> Plan:
    rng = random.Random(seed)
    names = [f"n{i}" for i in range(rng.randint(3, 7))]
    failing = rng.choice(names) if rng.random() < 0.4 else None
    nodes = [_node(rng, name, names, name == failing) for name in names]
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
            quiet = nodes[i].kind == "nothing"
            branches.append(Branch(name, _options(rng, names, sends=not quiet)))
    if len(names) > 3 and rng.random() < 0.6:
        sources = tuple(rng.sample(names[:-1], rng.choice((2, 2, 3))))
        edges.append((sources, names[-1]))
    if rng.random() < 0.25:
        branches.append(Branch(START, _options(rng, names)))
    operations = tuple(rng.getrandbits(30) for _ in range(rng.randint(3, 8)))
    return Plan(tuple(nodes), tuple(dict.fromkeys(edges)), tuple(branches), operations)


def _node(rng: random.Random, name: str, names: list[str], fails: bool) -> Node:
    kinds = ("plain", "plain", "plain", "ask", "ask2", "command", "nothing")
    kind = "fail" if fails else rng.choice(kinds)
    goto = _option(rng, names) if kind == "command" else ()
    return Node(name, kind, rng.random() < 0.12, goto)


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
        if node.kind != "plain" or node.deferred:
            plain = Node(node.name)
            yield replace(plan, nodes=(*plan.nodes[:i], plain, *plan.nodes[i + 1 :]))


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
    return Plan(nodes, edges, branches, plan.operations)


# --- building ---------------------------------------------------------------------------------


def targets(api: Api, option: tuple[tuple[str, int], ...]) -> Any:
    chosen: list[Any] = []
    for name, sends in option:
        chosen.extend([api.Send(name, {"item": i}) for i in range(sends)] or [name])
    return chosen or END


def body(api: Api, node: Node) -> Any:
    failed: list[bool] = []

    async def run(state: Any) -> Any:
        label = f"{node.name}.{state['item']}" if "item" in state else node.name
        seen = len(state.get("log", ()))
        if node.kind == "nothing":
            return None
        if node.kind == "fail" and not failed:
            failed.append(True)
            await asyncio.sleep(0.02)  # so that its siblings have finished
            raise ValueError(f"{label} fails once")
        questions = {"ask": 1, "ask2": 2}.get(node.kind, 0)
        answers = [api.interrupt(f"{label} asks {i}") for i in range(questions)]
        update = {"log": [[label, *answers]], "count": 1, "table": {node.name: seen}, "last": label}
        if node.kind != "command":
            return update
        goto = targets(api, node.goto) if state.get("count", BOUND) < BOUND else END
        return api.Command(update=update, goto=goto)

    run.__name__ = node.name
    return run


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
    for node in plan.nodes:
        graph.add_node(node.name, body(api, node), defer=node.deferred)
    for sources, target in plan.edges:
        graph.add_edge(sources[0] if len(sources) == 1 else list(sources), target)
    everything = [*(n.name for n in plan.nodes), END]
    for number, branch in enumerate(plan.branches):
        if branch.options:
            graph.add_conditional_edges(branch.source, router(api, branch, number), everything)
    return graph.compile(checkpointer=saver)


# --- running ----------------------------------------------------------------------------------


@dataclass
class Seen:
    """What a plan turned out to exercise."""

    forks: int = 0
    sends: int = 0
    interrupts: int = 0
    failures: int = 0
    operations: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Operation:
    kind: str
    index: int = 0
    node: str | None = None

    def __str__(self) -> str:
        node = f" {self.node}" if self.node else ""
        return f"{self.kind}{node}{f' #{self.index}' if self.index else ''}"


@dataclass
class Past:
    """What went before and makes some operations no comparison.

    Until a command's work is done, LangGraph's snapshots do not show what the command started,
    and clearing loses it (`pending`); and which node ran last depends, in LangGraph, on how many
    commands were saved with one checkpoint (`blurred`, until a new turn begins). An answer
    without an id, given to the first of two questions, is given to later questions too when
    LangGraph goes on (`half_answered`): a difference by intention.
    """

    pending: bool = False
    blurred: bool = False
    half_answered: bool = False

    def note(self, op: Operation, before: Any, result: Any) -> None:
        stopped = not isinstance(result, list) or any(
            isinstance(chunk, Raised) or "__interrupt__" in chunk[1] for chunk in result
        )
        if op.kind in ("command", "send"):
            self.blurred |= self.pending or bool(before.next)
            self.pending |= stopped
        elif op.kind in ("input", "break before", "break after"):
            self.blurred = self.pending = False
        elif not stopped:
            self.pending = False
        self.half_answered = stopped and (self.half_answered or op.kind == "resume value")


def choose(number: int, plan: Plan, state: Any, history: list[Any], past: Past) -> Operation:
    """An operation that makes sense where the reference stands."""
    rng = random.Random(number)
    node = rng.choice(plan.nodes).name if plan.nodes else None
    place = rng.randrange(len(history)) if history else 0
    if not history:
        return Operation(
            rng.choice(("input", "input", "input", "update as", "break before")), node=node
        )
    kinds = ["fork"] if past.half_answered else ["fork", "command", "send"]
    if node not in _finished(state):
        kinds.append("update as")
    if node not in _finished(history[place]):
        kinds.append("update at")
    if not past.blurred and not _finished(state):
        kinds.append("update")
    if not _finished(state) and not past.pending:
        # New input would lose what it wrote: a difference by intention.
        kinds += ["input"] * 3 + ["break before", "break after"]
    if state.interrupts:
        kinds += ["resume all"] * 6 + ["resume one"] * 4
    if len(state.interrupts) == 1 and not past.pending:
        kinds.append("resume value")
    if state.next:
        kinds += [] if past.half_answered else ["none"] * 4
        kinds += [] if past.pending else ["clear"]
    return Operation(rng.choice(kinds), place, node)


def _finished(snapshot: Any) -> set[str]:
    return {t.name for t in snapshot.tasks if t.result is not None}


class Engine:
    """One engine working through a plan."""

    def __init__(self, package: str, plan: Plan) -> None:
        self.api = Api(package)
        self.graph = build(self.api, plan, self.api.saver())
        self.normal = Normaliser()
        self.config = self.api.thread(recursion_limit=18)
        self.turn = 0

    async def look(self) -> tuple[Any, list[Any]]:
        state = await self.api.state(self.graph, self.config)
        return state, await self.api.history(self.graph, self.config)

    async def do(self, op: Operation) -> Any:
        try:
            return await self._do(op)
        except Exception as error:
            return Raised(error)

    async def _do(self, op: Operation) -> Any:
        self.turn += 1
        api, mark = self.api, [f"{op.kind} {self.turn}"]
        given = {"log": mark, "count": api.Overwrite(0)}
        node = op.node or END
        state, history = await self.look()
        if op.kind == "input":
            return await self._run(given)
        if op.kind == "none":
            return await self._run(None)
        if op.kind.startswith("break"):
            return await self._run(given, **{f"interrupt_{op.kind.split()[1]}": [node]})
        if op.kind == "resume all":
            return await self._run(
                api.Command(resume={i.id: f"A{self.turn}" for i in state.interrupts})
            )
        if op.kind == "resume one":
            one = state.interrupts[op.index % len(state.interrupts)]
            return await self._run(api.Command(resume={one.id: f"A{self.turn}"}))
        if op.kind == "resume value":
            return await self._run(api.Command(resume=f"A{self.turn}"))
        if op.kind == "command":
            return await self._run(api.Command(update={"log": mark}, goto=node))
        if op.kind == "send":
            return await self._run(api.Command(goto=[api.Send(node, {"item": 7})]))
        if op.kind == "clear":
            return await api.update(self.graph, self.config, None, END)
        old = history[op.index].config if history else self.config
        if op.kind == "fork":
            return await self._run(None, {**old, "recursion_limit": 18})
        if op.kind == "update at":
            await api.update(self.graph, old, {"log": mark, "count": 1}, node)
            return await self._run(None)
        as_node = node if op.kind == "update as" else None
        return await api.update(self.graph, self.config, {"log": mark, "count": 1}, as_node)

    async def _run(self, input: Any, config: Any = None, **options: Any) -> Any:
        chunks = await self.api.stream(
            self.graph, input, config or self.config, ["values", "updates"], **options
        )
        return in_order(chunks)


def in_order(chunks: list[Any]) -> list[Any]:
    """Which of the parallel tasks is done first is nobody's promise: sort their updates."""
    out: list[Any] = []
    for of_a_task, group in itertools.groupby(chunks, _is_of_a_task):
        same = list(group)
        out.extend(sorted(same, key=lambda c: IDS.sub("", repr(c))) if of_a_task else same)
    return out


def _is_of_a_task(chunk: Any) -> bool:
    if not isinstance(chunk, tuple):
        return False
    mode, payload = chunk
    return mode == "updates" or "__interrupt__" in payload


class Mismatch(Exception):
    """The engines disagree: after which operation, and on what."""

    def __init__(self, operation: str, reference: Any, subject: Any) -> None:
        super().__init__(operation)
        self.operation = operation
        self.reference = reference
        self.subject = subject


async def run(plan: Plan, subject: str = "stepwell", reference: str = "langgraph") -> Seen:
    """Work through the plan on both engines.

    Raises:
        Mismatch: They disagree.
    """
    seen, past = Seen(), Past()
    first, second = Engine(reference, plan), Engine(subject, plan)
    try:
        state, history = await first.look()
        for number in plan.operations:
            op = choose(number, plan, state, history, past)
            before = state
            seen.operations.append(str(op))
            expected, actual = await first.do(op), await second.do(op)
            past.note(op, before, expected)
            state, history = await first.look()
            try:
                mine: Any = await second.look()
            except Exception as error:
                mine = Raised(error)
            one = first.normal([expected, state, history])
            two = second.normal([actual, *(mine if isinstance(mine, tuple) else [mine])])
            _count(seen, op, expected, state, history)
            if one != two:
                raise Mismatch(" | ".join(seen.operations), one, two)
    finally:
        await first.api.close()
        await second.api.close()
    return seen


def _count(seen: Seen, op: Operation, result: Any, state: Any, history: list[Any]) -> None:
    seen.forks += op.kind in ("fork", "update at")
    seen.interrupts += bool(state.interrupts)
    seen.sends += any(t.path[0] == "__pregel_push" for s in history[:3] for t in s.tasks)
    seen.failures += isinstance(result, list) and any(
        isinstance(c, Raised) and c.family == "ValueError" for c in result
    )

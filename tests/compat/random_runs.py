"""What is done to a random graph, on both engines in step, and compared after every step.

An operation follows from its number and from where the reference stands, so a plan can be cut
down and still be run. Where the engines differ by intention, what follows is no comparison any
more: such operations are left out, and `STEERED` says on account of which entry of the table
of differences.
"""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.compat.engines import Api, Raised
from tests.compat.normal import IDS, Normaliser
from tests.compat.random_graphs import END, Plan, build

STEERED = {
    "open superstep": "new_input_while_a_sibling_had_finished",
    "open update": "update_while_a_sibling_had_finished",
    "command pending": "update_as_end_keeps_what_a_command_did",
    "half answered": "half_answered_then_none",
    "unreadable": "state_after_two_writers",
    "run again at the head": "task_that_runs_again_leaves_its_new_result",
    "joins at exit": "join_that_is_half_full_in_exit_mode",
    "sync without a saver": "graph_that_keeps_nothing_inside_a_sync_run",
    "failed update": "updates_of_a_task_that_fails_after_its_answer",
}
"""Why an operation is left out (or a plan ends): the difference by intention behind it."""

MODES = ["values", "updates", "tasks", "checkpoints", "debug", "custom"]
LIMIT = 18


@dataclass
class Seen:
    """What a plan turned out to exercise."""

    what: Counter[str] = field(default_factory=Counter)
    steered: Counter[str] = field(default_factory=Counter)
    operations: list[str] = field(default_factory=list)


WANTED = (
    "forks", "sends", "interrupts", "failures", "retries", "updates", "commands", "breakpoints",
    "deferred", "overwrites", "exit", "graphs inside",
)  # fmt: skip
"""What a run of some size must have met."""


@dataclass(frozen=True)
class Operation:
    kind: str
    index: int = 0
    node: str | None = None
    other: str | None = None
    durability: str | None = None

    def __str__(self) -> str:
        parts = [self.kind, self.node, f"#{self.index}" if self.index else None, self.durability]
        return " ".join(p for p in parts if p)


@dataclass
class Past:
    """What went before and makes some operations no comparison."""

    pending: bool = False
    """A command's update or goto waits for its superstep to end."""
    ended: bool = False
    """A task has finished meanwhile, perhaps one that the command started."""
    half_answered: bool = False
    """A bare answer went to the first of two questions of a task that asks on."""
    asks_on: bool = False
    """A task asks three times: LangGraph takes that answer for the last question, once the
    second one is answered by its id."""

    def note(self, op: Operation, before: Any, after: Any, result: Any) -> None:
        open_ = bool(after.next) and not (op.kind.startswith(("update", "bulk", "copy", "clear")))
        moved = before.config != after.config
        commands = "command" in op.kind or op.kind in ("send", "resume and update")
        stays = not moved or (open_ and op.kind == "fork command")
        self.pending = stays and (commands or self.pending)
        self.ended = self.pending and (any(map(_is_result, _chunks(result))) or self.ended)
        bare = op.kind in ("resume value", "resume and update")
        self.half_answered = open_ and (bare or (self.half_answered and not moved))


def _is_result(chunk: Any) -> bool:
    """Whether a chunk tells that a task has finished."""
    if not isinstance(chunk, tuple) or chunk[0] != "tasks" or "triggers" in chunk[1]:
        return False
    return not chunk[1]["error"] and not chunk[1]["interrupts"]


def finished(snapshot: Any) -> bool:
    """Whether a task has left a result behind while the superstep is open."""
    return any(t.result is not None for t in snapshot.tasks)


def choose(number: int, plan: Plan, state: Any, history: list[Any], past: Past) -> Operation:
    """An operation that makes sense where the reference stands."""
    rng = random.Random(number)
    names = [n.name for n in plan.nodes] or [END]
    node, other = rng.choice(names), rng.choice(names)
    place = rng.randrange(len(history)) if history else 0
    durability = rng.choice((None, None, None, "sync", "async", "exit"))
    if not history:
        kind = rng.choice(("input", "input", "input", "input", "update as", "break before"))
        return Operation(kind, 0, node, other, durability)
    kinds = ["fork"] * 2 + ["fork input", "fork command", "copy", "copy and change", "update at"]
    kinds += ["input"] * 3 + ["break before", "break after", "command", "command", "send"]
    kinds += ["update", "update as", "update as", "update as input", "bulk"]
    if state.interrupts:
        kinds += ["resume all"] * 8 + ["resume one"] * 6
    if len(state.interrupts) == 1:
        kinds += ["resume value"] * 3 + ["resume and update"]
    if state.next:
        kinds += ["none"] * 6 + ["clear"]
    return Operation(rng.choice(kinds), place, node, other, durability)


def steered(op: Operation, state: Any, history: list[Any], past: Past) -> str | None:
    """The intended difference that this operation would run into."""
    at_head = not op.kind.startswith(("fork", "copy", "update at")) or op.index == 0
    new_input = op.kind in ("input", "break before", "break after", "fork input")
    # What a command has started is not among the tasks that LangGraph shows.
    if new_input and at_head and (finished(state) or past.pending):
        return "open superstep"
    updates = op.kind.startswith(("update", "bulk"))
    if updates and at_head and op.kind != "update as input" and finished(state):
        return "open update"
    if past.pending and at_head and (updates or op.kind in ("clear", "copy")):
        return "command pending"
    if op.kind.startswith("fork") and op.index == 0 and (finished(state) or past.ended):
        return "run again at the head"
    goes_on = op.kind in ("none", "command", "send") or op.index == 0
    if past.half_answered and (goes_on or (past.asks_on and op.kind.startswith("resume"))):
        return "half answered"
    return None


class Engine:
    """One engine working through a plan."""

    def __init__(self, package: str, plan: Plan, place: dict[str, Any] | None = None) -> None:
        self.api = Api(package)
        self.saver = self.api.saver() if place is None else self.api.stored(**place)
        self.graph = build(self.api, plan, self.saver)
        self.normal = Normaliser()
        self.config = self.api.thread(recursion_limit=LIMIT)
        self.turn = 0

    async def look(self) -> tuple[Any, list[Any]]:
        state = await self.graph.aget_state(self.config, subgraphs=True)
        return state, await self.api.history(self.graph, self.config)

    async def do(self, op: Operation) -> Any:
        try:
            return await self._do(op)
        except Exception as error:
            return Raised(error)

    async def _do(self, op: Operation) -> Any:
        self.turn += 1
        state, history = await self.look()
        old = history[op.index].config if history else self.config
        if op.kind.startswith(("update", "bulk", "copy", "clear")):
            return await self._update(op, old)
        here = {**old, "recursion_limit": LIMIT} if op.kind.startswith("fork") else self.config
        options: dict[str, Any] = {}
        if op.kind.startswith("break"):
            options[f"interrupt_{op.kind.split()[1]}"] = [op.node]
        if op.durability is not None:
            options["durability"] = op.durability
        return await self._run(self._input(op, state), here, **options)

    def _input(self, op: Operation, state: Any) -> Any:
        api, mark, answer = self.api, [f"{op.kind} {self.turn}"], f"A{self.turn}"
        match op.kind:
            case "none" | "fork":
                return None
            case "command" | "fork command":
                return api.Command(update={"log": mark}, goto=op.node)
            case "send":
                return api.Command(goto=[api.Send(op.node, {"item": 7})])
            case "resume all":
                return api.Command(resume={i.id: answer for i in state.interrupts})
            case "resume one":
                one = state.interrupts[op.index % len(state.interrupts)]
                return api.Command(resume={one.id: answer})
            case "resume value":
                return api.Command(resume=answer)
            case "resume and update":
                # No goto: of two tasks that ask at once, it is chance who takes the answer.
                return api.Command(resume=answer, update={"log": mark})
        return {"log": mark, "count": api.Overwrite(0)}

    async def _update(self, op: Operation, old: Any) -> Any:
        api, graph, given = self.api, self.graph, {"log": [f"{op.kind} {self.turn}"], "count": 1}
        match op.kind:
            case "update":
                return await api.update(graph, self.config, given)
            case "update as":
                return await api.update(graph, self.config, given, op.node)
            case "update as input":
                return await api.update(graph, self.config, given, "__input__")
            case "clear":
                return await api.update(graph, self.config, None, END)
            case "bulk":
                one, two = (api.StateUpdate(given, name) for name in (op.node, op.other))
                return await api.bulk_update(graph, self.config, [[one, two], [two]])
            case "copy":
                made = await api.update(graph, old, None, "__copy__")
            case "copy and change":
                made = await api.update(graph, old, [api.StateUpdate(given, op.node)], "__copy__")
            case _:
                made = await api.update(graph, old, given, op.node)
        return [made, await self._run(None, self.config)]

    async def _run(self, input: Any, config: Any, **options: Any) -> Any:
        chunks = await self.api.stream(self.graph, input, config, MODES, subgraphs=True, **options)
        return by_namespace(chunks)


def by_namespace(chunks: list[Any]) -> list[Any]:
    """The chunks of the graph itself; then those of each graph inside it, which run beside each
    other, so that only the order in each of them is anybody's promise."""
    outer: list[Any] = []
    inner: dict[Any, list[Any]] = {}
    for chunk in chunks:
        if isinstance(chunk, Raised):
            outer.append(chunk)
        elif chunk[0]:
            inner.setdefault(chunk[0], []).append(chunk[1:])
        else:
            outer.append(chunk[1:])
    place = places(outer)
    nested = [(ns, in_order(found, place)) for ns, found in inner.items()]
    nested.sort(key=lambda n: IDS.sub(place, repr(n)))
    result = in_order(without_updates_of_failed(outer), place)
    # An error stays the last chunk.
    end = result[-1:] if result and isinstance(result[-1], Raised) else []
    return [*result[: len(result) - len(end)], *(("graph", n) for n in nested), *end]


def places(chunks: list[Any]) -> Callable[[re.Match[str]], str]:
    """Names ids by the order in which tasks begin, which is the same on both engines."""
    known: dict[str, str] = {}
    tasks = [c[1] for c in chunks if isinstance(c, tuple) and c[0] == "tasks"]
    for begun in (task for task in tasks if "triggers" in task):
        known.setdefault(begun["id"], f"<{len(known):04}>")
    for ended in (task for task in tasks if "triggers" not in task):
        for asked in ended["interrupts"]:
            known[asked["id"]] = known.get(ended["id"], "") + str(asked["value"])
    return lambda found: known.get(found[0], "")


def without_updates_of_failed(chunks: list[Any]) -> list[Any]:
    """LangGraph shows `{node: None}` for a task that failed after it was answered."""
    if not chunks or not isinstance(chunks[-1], Raised):
        return chunks
    failed = {c[1]["name"] for c in chunks[:-1] if c[0] == "tasks" and c[1].get("error")}
    spurious = [("updates", {name: None}) for name in failed]
    return [c for c in chunks if isinstance(c, Raised) or c not in spurious]


def in_order(chunks: list[Any], place: Callable[[re.Match[str]], str]) -> list[Any]:
    """Which of the parallel tasks is done first is nobody's promise: sort their updates."""

    def key(chunk: Any) -> str:
        shown = chunk[1]["payload"] if chunk[0] == "debug" else chunk[1]
        return f"{chunk[0]} {IDS.sub(place, repr(shown))}"

    out: list[Any] = []
    for of_a_task, group in itertools.groupby(chunks, _is_of_a_task):
        same = list(group)
        out.extend(sorted(same, key=key) if of_a_task else same)
    return out


def _is_of_a_task(chunk: Any) -> bool:
    if not isinstance(chunk, tuple):
        return False
    mode, payload = chunk
    if mode == "debug":
        return bool(payload["type"] == "task_result")
    ended = mode == "tasks" and "triggers" not in payload
    return ended or mode in ("updates", "custom") or "__interrupt__" in payload


class Mismatch(Exception):
    """The engines disagree: after which operation, and on what."""

    def __init__(self, operation: str, reference: Any, subject: Any) -> None:
        super().__init__(operation)
        self.operation = operation
        self.reference = reference
        self.subject = subject


async def run(
    plan: Plan,
    subject: str = "stepwell",
    reference: str = "langgraph",
    place: dict[str, Any] | None = None,
) -> Seen:
    """Work through the plan on both engines; the subject stores at `place` (None: in memory),
    which is what `open_saver` is given.

    Raises:
        Mismatch: They disagree.
    """
    seen, past = Seen(), Past(asks_on=any(n.inner.count("ask") > 2 for n in plan.nodes))
    first, second = Engine(reference, plan), Engine(subject, plan, place)
    try:
        state, history = await first.look()
        for number in plan.operations:
            op = choose(number, plan, state, history, past)
            if (why := steered(op, state, history, past)) is not None:
                seen.steered[why] += 1
                continue
            if op.durability == "exit" and any(len(sources) > 1 for sources, _ in plan.edges):
                op = replace(op, durability=None)
                seen.steered["joins at exit"] += 1
            if op.durability == "sync" and any(node.keeps is False for node in plan.nodes):
                op = replace(op, durability=None)
                seen.steered["sync without a saver"] += 1
            before = state
            seen.operations.append(str(op))
            expected, actual = await first.do(op), await second.do(op)
            if _unreadable(expected):
                seen.steered["unreadable"] += 1
                if first.normal(_ending(expected)) != second.normal(_ending(actual)):
                    raise Mismatch(" | ".join(seen.operations), expected, actual)
                break
            try:
                state, history = await first.look()
            except Exception as error:
                # What its finished tasks wrote cannot be applied: LangGraph cannot be asked.
                if Raised(error).family != "InvalidUpdateError":
                    raise
                seen.steered["unreadable"] += 1
                await second.look()
                break
            past.note(op, before, state, expected)
            try:
                mine: Any = await second.look()
            except Exception as error:
                mine = Raised(error)
            one = first.normal([expected, state, history])
            two = second.normal([actual, *(mine if isinstance(mine, tuple) else [mine])])
            _count(seen, plan, op, expected, state, history)
            if one != two:
                raise Mismatch(" | ".join(seen.operations), one, two)
    finally:
        await first.api.close()
        await second.api.close()
    return seen


def _chunks(result: Any) -> list[Any]:
    return result if isinstance(result, list) else [result]


def _ending(result: Any) -> Any:
    return _chunks(result)[-1]


def _unreadable(result: Any) -> bool:
    """Whether a barrier was refused: LangGraph cannot read such a thread any more."""
    last = _ending(result)
    last = _ending(last) if isinstance(last, list) else last
    return isinstance(last, Raised) and last.family == "InvalidUpdateError"


def _count(
    seen: Seen, plan: Plan, op: Operation, result: Any, state: Any, history: list[Any]
) -> None:
    what, updates = seen.what, ("update", "bulk", "copy", "clear")
    what["forks"] += op.kind.startswith(("fork", "copy", "update at"))
    what["interrupts"] += bool(state.interrupts)
    what["sends"] += any(t.path[0] == "__pregel_push" for s in history[:3] for t in s.tasks)
    what["failures"] += any(
        isinstance(c, Raised) and c.family in ("ValueError", "ConnectionError")
        for c in _chunks(result)
    )
    what["updates"] += op.kind.startswith(updates)
    what["commands"] += "command" in op.kind or op.kind == "send"
    what["breakpoints"] += "break" in op.kind or bool(plan.before or plan.after)
    what["exit"] += op.durability == "exit" and not op.kind.startswith(updates)
    ran = {t.name for s in history for t in s.tasks if t.result is not None}
    for node in plan.nodes:
        if node.name in ran:
            what["deferred"] += node.deferred
            what["overwrites"] += node.kind == "overwrite"
            what["retries"] += bool(node.fails)
            what["graphs inside"] += bool(node.inner)

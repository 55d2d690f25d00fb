"""What must be true of the threads when a simulation is over."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from stepwell.checkpoint.driver import ThreadKey
from stepwell.errors import EmptyInputError
from stepwell.types import Command
from tests.simulation._engine_plan import Boom, word_of

if TYPE_CHECKING:
    from tests.simulation._engine_chaos import Node, World

_TRIES = 40
EMPTY_AGAIN = -2
"""The step of a thread whose first run was undone."""


async def check_row(world: World, node: Node, thread: int, *, ended: bool = False) -> None:
    """The thread's row says of its status and of what is due what its newest checkpoint says."""
    from tests.simulation._engine_chaos import config_of

    state = await node.graph.aget_state(config_of(thread))
    found = await node.saver.aget_thread(f"t{thread}")
    if found is None or state.created_at is None:
        return
    where = f"t{thread}: the row says {found.status} {found.next} of {state.next}"
    if found.status == "running" and not ended:
        return  # its run was cut off; whoever goes on with it will see
    if found.status == "done" and state.next:
        world.problems.append(where)
    empty = state.metadata["step"] == EMPTY_AGAIN and found.status == "idle"
    if not state.next and found.status not in ("done", "failed") and not empty:
        world.problems.append(where)
    if Counter(found.next) != Counter(state.next):
        world.problems.append(where)


async def finish(world: World, node: Node, thread: int) -> None:
    """Bring a thread to its end: whatever happened to it, it can go on."""
    from tests.simulation._engine_chaos import config_of

    config = config_of(thread)
    for _ in range(_TRIES):
        state = await node.graph.aget_state(config)
        if state.created_at is None or not (state.next or await _cut_off(node, thread)):
            return
        answers = {question.id: "last" for question in state.interrupts}
        given: Any = Command(resume=answers) if answers else None
        try:
            await node.graph.ainvoke(given, config, durability="sync")
        except Boom:
            continue
        except EmptyInputError as error:
            world.problems.append(f"t{thread} has work left, and cannot go on: {error}")
            return
    world.problems.append(f"t{thread} never comes to an end")


async def _cut_off(node: Node, thread: int) -> bool:
    """Whether the row says that a run is under way, although there is none."""
    found = await node.saver.aget_thread(f"t{thread}")
    return found is not None and found.status == "running"


async def verify(world: World, node: Node, thread: int) -> None:
    """Hold a finished thread against the model, checkpoint by checkpoint."""
    from tests.simulation._engine_chaos import config_of

    stored = world.database.rows._threads.get(ThreadKey("", f"t{thread}"))
    history = [state async for state in node.graph.aget_state_history(config_of(thread))]
    by_name = {_name(state.config): state for state in history}
    for acked in world.acked:
        if acked.thread != thread:
            continue
        found = by_name.get(acked.checkpoint)
        if found is None:
            world.problems.append(f"t{thread}: {acked} is lost")
        elif found.values.get("log", []) != acked.log:
            world.problems.append(f"t{thread}: {acked} has become {found.values}")
    said = {word for state in history for word in state.values.get("log", ())}
    lost = world.inputs.get(thread, set()) - said
    if lost:
        world.problems.append(f"t{thread}: acknowledged inputs are lost: {lost}")
    if stored is None:
        return
    if stored.owner is not None and not world.plan.kill and not world.plan.fault:
        world.problems.append(f"t{thread}: still owned")
    for space in (stored.root, *(stored.spaces or {}).values()):
        epochs = [row.epoch for row in space.rows]
        if epochs != sorted(epochs):
            world.problems.append(f"t{thread}: epochs fall: {epochs}")
        numbers = [row.record_no for row in space.rows]
        if numbers != sorted(set(numbers)):
            world.problems.append(f"t{thread}: record numbers do not rise: {numbers}")
    for state in history:
        parent = None if state.parent_config is None else by_name.get(_name(state.parent_config))
        _check_step(world, thread, state, parent)


def _name(config: Any) -> str:
    return config["configurable"]["checkpoint_id"]


def _check_step(world: World, thread: int, state: Any, parent: Any) -> None:
    """One checkpoint is the fold of its parent and of what ran between them."""
    step, source = state.metadata["step"], state.metadata["source"]
    where = f"t{thread} {source} {step}"
    log = state.values.get("log", [])
    before = [] if parent is None else parent.values.get("log", [])
    if state.values.get("total", 0) != len(log):
        world.problems.append(f"{where}: total {state.values['total']} of {log}")
    if log[: len(before)] != before:
        world.problems.append(f"{where}: {log} does not extend {before}")
        return
    added = log[len(before) :]
    open_tasks = [] if parent is None else list(parent.next)
    if source == "input":
        # What had finished of an open superstep counts; what it would have started does not.
        if _without(open_tasks, added) or state.next != ("__start__",):
            world.problems.append(f"{where}: added {added}, next is {state.next}")
    elif source == "fork":
        if added or Counter(state.next) != Counter(open_tasks):
            world.problems.append(f"{where}: added {added}, due {state.next}, not {open_tasks}")
    elif source == "update":
        as_node = added[-1].split("#")[0] if added else ""
        # What had finished of the open superstep counts here too, and starts nothing.
        due = world.design.next_after([as_node], len(before) + 1, by_hand=True)
        if _without(open_tasks, added[:-1]) or Counter(state.next) != due:
            world.problems.append(f"{where}: added {added}, next is {state.next}, not {due}")
    elif not added and _begins_again(parent):
        # An answer that came when its question was undone begins the graph, as in LangGraph.
        if Counter(state.next) != Counter(world.design.first):
            world.problems.append(f"{where}: the beginning is {state.next}")
    else:
        steps = step + 2 if parent is None else step - parent.metadata["step"]
        due = Counter(state.next)
        problem = _replay(world, open_tasks, len(before), added, due, steps)
        if problem and steps > 1:  # durability="exit" counts a fork, and writes no record of it
            problem = _replay(world, open_tasks, len(before), added, due, steps - 1)
        if problem:
            world.problems.append(f"{where}: {open_tasks} were due, {added} came: {problem}")


def _begins_again(parent: Any) -> bool:
    """Whether the thread was empty once more before this record, or before the input it takes."""
    if parent is None:
        return False
    first = parent.metadata["step"] == -1 and parent.parent_config is not None
    return first or parent.metadata["step"] == EMPTY_AGAIN


def _replay(
    world: World, open_tasks: list[str], known: int, added: list[str], due: Counter[str], steps: int
) -> str:
    """Run the model over the words of one record: one superstep, or with durability="exit"
    several. Returns what does not fit."""
    words, ran = list(added), open_tasks
    fresh = next((n for n, word in enumerate(words) if word.startswith("in")), None)
    if steps > 1 and fresh is not None and open_tasks != ["__start__"]:
        if _without(open_tasks, words[:fresh]):
            return f"{words[:fresh]} came before the input"
        known, words, ran, steps = known + fresh, words[fresh:], ["__start__"], steps - 1
    for _ in range(steps):
        now, words = words[: len(ran)], words[len(ran) :]
        if len(now) < len(ran) or _without(ran, now):
            return f"{now} from {ran}"
        ran = sorted(world.design.next_after(ran, known + 1).elements())
        known += len(now)
    if words:
        return f"{words} are too many"
    return "" if Counter(ran) == due else f"next is {due}, not {ran}"


def _without(tasks: list[str], words: list[str]) -> list[str]:
    """These words without one that each of the tasks has said."""
    left = list(words)
    for task in tasks:
        word = next((w for w in left if word_of(task, w)), None)
        if word is not None:
            left.remove(word)
    return left

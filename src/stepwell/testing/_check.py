"""The checker: holds what a database contains against what was promised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stepwell._engine.recorder import AHEAD_MAX
from stepwell._portal import run_sync
from stepwell.channels.binop import BinaryOperatorAggregate
from stepwell.channels.last_value import LastValue
from stepwell.checkpoint.base import Saver
from stepwell.testing._case import Case, Violation
from stepwell.testing._contents import read_database
from stepwell.testing._effects import Effect, EffectLog
from stepwell.testing._history import Event
from stepwell.testing._invariants_chains import (
    acknowledged_in_order,
    acknowledged_is_there,
    chain_is_not_forked,
    epochs_do_not_fall,
    nothing_is_missing,
    state_is_the_fold,
    state_is_what_was_written,
    told_state_is_stored,
)
from stepwell.testing._invariants_runs import (
    durable_results_stay,
    nothing_is_left_undone,
    operations_are_whole,
    reads_see_what_was_acknowledged,
    rework_is_bounded,
    seen_results_stay,
)
from stepwell.testing._naive import Rule
from stepwell.testing._recording import History

if TYPE_CHECKING:
    from stepwell.graph.state import CompiledStateGraph

INVARIANTS: tuple[Callable[[Case], Iterator[Violation]], ...] = (
    acknowledged_is_there,  # I1
    acknowledged_in_order,
    chain_is_not_forked,  # I2
    epochs_do_not_fall,  # I3
    state_is_the_fold,  # I4
    state_is_what_was_written,
    told_state_is_stored,
    durable_results_stay,  # I5
    seen_results_stay,
    rework_is_bounded,  # I6
    nothing_is_left_undone,  # I7
    nothing_is_missing,  # I8
    reads_see_what_was_acknowledged,  # I9
    operations_are_whole,  # I10
)


def check_case(case: Case) -> list[Violation]:
    """Every invariant on one case; nothing is read."""
    return [violation for invariant in INVARIANTS for violation in invariant(case)]


async def acheck_history(
    history: History | Iterable[Event],
    saver: Saver,
    *,
    effects: EffectLog | Iterable[Effect] | None = None,
    graph: CompiledStateGraph | None = None,
    threads: Iterable[str] = (),
) -> list[Violation]:
    """Hold what a saver's database contains against a history.

    Checked are the threads that the history or the effect log names. Call it when nobody
    writes: what is appended while it reads may look like a violation.

    Args:
        history: What clients asked for and were told.
        saver: Reads the database.
        effects: What nodes said of themselves; without it, nothing is said of rework.
        graph: The graph that ran. It knows the reducers and what is still to run; without it
            only what is stored is compared with itself.
        threads: More threads to look at.

    Returns:
        What is broken, in the order of the invariants I1 to I10; [] if nothing is.

    Raises:
        StorageError: The database cannot be read.
    """
    events = history.events() if isinstance(history, History) else list(history)
    did = effects.effects() if isinstance(effects, EffectLog) else list(effects or ())
    names = {e.thread for e in events if e.thread is not None} | {e.thread for e in did}
    wanted = sorted(names | set(threads))
    database = await saver.at_home(lambda: read_database(saver, wanted, graph))
    case = Case(events=events, database=database, effects=did, rules=rules_of(graph),
                ahead_max=AHEAD_MAX)  # fmt: skip
    return check_case(case)


def check_history(
    history: History | Iterable[Event],
    saver: Saver,
    *,
    effects: EffectLog | Iterable[Effect] | None = None,
    graph: CompiledStateGraph | None = None,
    threads: Iterable[str] = (),
) -> list[Violation]:
    """Sync twin of `acheck_history`."""
    return run_sync(
        lambda: acheck_history(history, saver, effects=effects, graph=graph, threads=threads),
        loop=saver.home(),
        name="check_history",
        instead="await acheck_history(...)",
    )


def rules_of(graph: CompiledStateGraph | None) -> Mapping[str, Rule | None]:
    """How writes combine, for the channels whose rule can be followed from outside."""
    found: dict[str, Rule | None] = {}
    for name, channel in ({} if graph is None else graph.channels).items():
        if type(channel) is LastValue and not name.startswith("__"):
            found[name] = None
        elif type(channel) is BinaryOperatorAggregate and _is_plain(channel.operator):
            found[name] = channel.operator
    return found


def _is_plain(reducer: Any) -> bool:
    """A reducer that makes of stored writes what it makes of the values themselves."""
    return not any(hasattr(reducer, name) for name in ("merge_splices", "prepare", "revive"))


__all__ = ["acheck_history", "check_case", "check_history", "rules_of"]

"""Clients that do not let each other finish: runs that interrupt and undo those before them, calls
with idempotency keys, recovery and cancellation, under all that can go wrong.

What the oracle adds: what a run has returned is never undone, what was undone is not there, no
input goes in twice, and a key returns what it returned.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from stepwell.errors import IdempotencyConflictError, RunPreemptedError
from tests.simulation._engine_chaos import EXPECTED, Node, Verb, World, config_of
from tests.simulation._journal_faults import Plan

CONTEST = Plan(processes=2, threads=2, workers=3, runs=4, fault=0.12, cut_off=0.01, cancel=0.1)


@dataclass
class Contest(World):
    """A world whose clients are in each other's way."""

    expected: ClassVar[tuple[type[Exception], ...]] = (
        *EXPECTED, RunPreemptedError, IdempotencyConflictError,
    )  # fmt: skip
    undone: dict[int, set[str]] = field(default_factory=dict)
    """Words of runs whose callers were told that they were undone, by thread."""
    kept: dict[int, set[str]] = field(default_factory=dict)
    """Words of runs that have returned, and of updates."""
    keyed: dict[tuple[int, str], tuple[str, list[str] | None]] = field(default_factory=dict)
    """By thread and key: the input's word, and the log that was returned first."""

    def verbs(self) -> tuple[Verb, ...]:
        return VERBS

    def options(self) -> dict[str, Any]:
        policies = ("wait", "reject", "interrupt", "rollback", "rollback", "rollback")
        return super().options() | {"on_conflict": self.rng.choice(policies)}

    async def run(self, node: Node, thread: int) -> str:
        """New input; it may be undone."""
        word = self.word()
        found = await self.call(node, thread, word)
        return "asked" if "__interrupt__" in found else "done"

    async def call(self, node: Node, thread: int, word: str, **more: Any) -> dict[str, Any]:
        given = {"log": [word], "total": 1}
        try:
            found = await node.graph.ainvoke(given, config_of(thread), **self.options(), **more)
        except RunPreemptedError as error:
            self.did[f"preempted: {error.policy}"] += 1
            if error.policy == "rollback" and not more:
                self.undone.setdefault(thread, set()).add(word)
            raise
        await node.alive()
        self.kept.setdefault(thread, set()).add(word)
        if found["log"].count(word) != 1:
            self.problems.append(f"{word} went in once, and what came out is {found}")
        return found

    async def key(self, node: Node, thread: int) -> str:
        """An input under a key, that others send too."""
        key = f"k{self.rng.randrange(3)}"
        word, known = self.keyed.setdefault((thread, key), (self.word(), None))
        found = await self.call(node, thread, word, idempotency_key=key)
        word, known = self.keyed[thread, key]
        if known not in (None, found["log"]):
            self.problems.append(f"{key} of {thread} returned {known}, then {found['log']}")
        self.keyed[thread, key] = (word, found["log"])
        return "asked" if "__interrupt__" in found else "done"

    async def update(self, node: Node, thread: int) -> str:
        words = self.words
        how = await super().update(node, thread)
        if how == "done":
            self.kept.setdefault(thread, set()).update(
                word for acked in self.acked if acked.by == "update" and acked.thread == thread
                for word in acked.log if word.endswith(f"#u{words}")
            )  # fmt: skip
        return how

    async def recover(self, node: Node, thread: int) -> str:  # a verb's signature
        """Finish what dead processes have left."""
        report = await node.graph.arecover()
        return "something" if report.recovered or report.failed else "nothing"

    async def stop(self, node: Node, thread: int) -> str:
        """Stop whoever runs."""
        return str(await node.graph.acancel(config_of(thread), timeout=5.0))

    async def verify_ends(self, node: Node, thread: int) -> None:
        state = await node.graph.aget_state(config_of(thread))
        log = state.values.get("log", [])
        if gone := self.kept.get(thread, set()) - set(log):
            self.problems.append(f"t{thread}: returned, and undone: {gone}; there is {log}")
        if left := self.undone.get(thread, set()) & set(log):
            self.problems.append(f"t{thread}: undone, and still there: {left}; there is {log}")
        given = [word for word in log if word.startswith("in")]
        if len(given) != len(set(given)):
            self.problems.append(f"t{thread}: an input went in twice: {log}")


VERBS: tuple[Verb, ...] = (
    Contest.run, Contest.run, Contest.key, Contest.key, World.stream, World.go_on, World.answer,
    Contest.update, Contest.recover, Contest.stop,
)  # fmt: skip

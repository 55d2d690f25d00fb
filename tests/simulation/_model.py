"""A thread as a list of dicts would keep it: what runs, updates, forks and losses must come to.

The graph is `__start__ -> a -> (ask | boom | b) -> b`; the newest input says which way. The
model knows it as a table of what follows, and nothing of channels, deltas, epochs or leases.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

MODES = ("plain", "ask", "boom", "hang")
NODES = ("a", "ask", "boom", "b")


def mode_of(log: list[str]) -> str:
    """What the newest input asked for."""
    return next((word[3:] for word in reversed(log) if word.startswith("in:")), "plain")


def way(log: list[str]) -> str:
    """Where `a` leads."""
    mode = mode_of(log)
    return mode if mode in ("ask", "boom") else "b"


@dataclass
class Check:
    """One checkpoint."""

    parent: int | None
    """Its place in the list."""
    source: str
    step: int
    log: list[str]
    next: tuple[str, ...]
    color: str | None = None
    """Metadata of its run."""
    given: str = ""
    """The input that waits to be applied, of a checkpoint whose next is `__start__`."""


@dataclass
class Thread:
    """The checkpoints in the order in which they were made; the newest is the head."""

    checks: list[Check] = field(default_factory=list)
    asks: bool = False
    """Whether the question is open."""
    status: str = "idle"
    color: str | None = None
    """Metadata of the run that is open."""

    @property
    def head(self) -> Check:
        return self.checks[-1]

    def copy(self) -> Thread:
        return copy.deepcopy(self)

    def _add(self, source: str, log: list[str], next_: tuple[str, ...], **fields: object) -> None:
        parent = len(self.checks) - 1 if self.checks else None
        step = self.head.step + 1 if self.checks else -1
        check = Check(parent, source, step, list(log), next_, self.color)
        for name, value in fields.items():
            setattr(check, name, value)
        self.checks.append(check)

    def _run(self, answer: str | None = None, until: str | None = None) -> str:
        """Supersteps until nothing is due: "done", or "asked", "Boom", or about to run `until`."""
        self.asks = False
        while True:
            head = self.head
            if not head.next:
                self.status = "done"
                return "done"
            [node] = head.next
            if node == until:
                self.status = "running"
                return "hangs"
            if node == "__start__":
                self._add("loop", [*head.log, f"in:{head.given}"], ("a",))
            elif node == "a":
                log = [*head.log, "a"]
                self._add("loop", log, (way(log),))
            elif node == "ask":
                if answer is None:
                    self.asks, self.status = True, "interrupted"
                    return "asked"
                self._add("loop", [*head.log, f"ask={answer}"], ("b",))
                answer = None
            elif node == "boom":
                if "fixed" not in head.log:
                    self.status = "failed"
                    return "Boom"
                self._add("loop", [*head.log, "boom"], ("b",))
            else:
                self._add("loop", [*head.log, "b"], ())

    def finish_open(self) -> None:
        """Whoever takes over an unfinished run ends it before anything new begins."""
        if self.status == "running":
            self._run()

    # -- what clients do

    def input(self, mode: str, color: str, until: str | None = None) -> str:
        self.finish_open()
        self.color = color
        log = self.head.log if self.checks else []
        self._add("input", log, ("__start__",), given=mode)
        return self._run(until=until)

    def go_on(self) -> str:
        if not self.checks:
            return "EmptyInputError"
        if self.status != "running":
            self.color = None
        return self._run()

    def answer(self, value: str) -> str:
        self.color = None
        return self._run(answer=value)

    def update(self, as_node: str) -> None:
        self.color = None
        log = [*(self.head.log if self.checks else []), "fixed"]
        leads = {"a": (way(log),), "ask": ("b",), "boom": ("b",), "b": ()}[as_node]
        self._add("update", log, leads)
        if len(self.checks) == 1:
            self.head.step = 0
        self.asks, self.status = False, "idle" if leads else "done"

    def fork(self, place: int) -> str:
        self.finish_open()
        self.color = None
        check = self.checks[place]
        at_head = place == len(self.checks) - 1
        if not at_head or check.source not in ("update", "fork"):
            self._add(
                "fork", check.log, check.next, parent=place, step=check.step + 1,
                given=check.given,
            )  # fmt: skip
        return self._run()

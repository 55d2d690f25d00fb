"""What one round of a torture may use, and what it has to tell."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLACES = frozenset({"memory", "sqlite", "postgres"})


@dataclass(kw_only=True)
class Budget:
    """How much one round may do, where, and in which folder.

    `cases` bounds a round by number (the tests of a commit), else `seconds` does. `places` are
    the databases to use; a round uses all of them that it knows.
    """

    folder: Path
    seconds: float = 30.0
    cases: int | None = None
    places: frozenset[str] = PLACES
    started: float = field(default_factory=time.monotonic)

    def left_s(self) -> float:
        """Seconds until this round should end; negative when it should have ended."""
        return self.started + self.seconds - time.monotonic()

    def more(self, done: int) -> bool:
        """Whether to begin another case after `done` of them. The first is always begun."""
        if self.cases is not None:
            return done < self.cases
        return done == 0 or self.left_s() > 0


@dataclass
class Figures:
    """What a round did. A round fails if `failures` has an entry, or if it raises.

    Args:
        cases: how many times the thing was tried (kills, images, faults, dropped replies...).
        failures: each broken promise, in words that name the thread, step or file.
        stages: where the cases fell, e.g. "step 5-9": 12. Shown, so that nobody has to believe
            that the instants were spread.
        counts: other numbers to add up over rounds ("acknowledged", "takeovers").
        worst: numbers of which the greatest counts ("takeover_s").
    """

    cases: int = 0
    failures: list[str] = field(default_factory=list)
    stages: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    worst: dict[str, float] = field(default_factory=dict)

    def at_worst(self, name: str, value: float) -> None:
        """Note a number of which only the greatest matters."""
        self.worst[name] = round(max(value, self.worst.get(name, value)), 3)

    def add(self, other: Figures) -> Figures:
        """Take the figures of another round, or of a part of this one, in; gives itself back."""
        self.cases += other.cases
        self.failures += other.failures
        self.stages.update(other.stages)
        self.counts.update(other.counts)
        for name, value in other.worst.items():
            self.at_worst(name, value)
        return self

    def line(self) -> str:
        """One line for people."""
        parts = [f"{self.cases} cases, {len(self.failures)} failed"]
        parts += [f"{name} {count}" for name, count in sorted(self.counts.items())]
        parts += [f"worst {name} {value:g}" for name, value in sorted(self.worst.items())]
        text = ", ".join(parts)
        if self.stages:
            spread = ", ".join(f"{name} {count}" for name, count in sorted(self.stages.items()))
            text += f"; at: {spread}"
        return text

    def as_json(self) -> dict[str, Any]:
        return {
            "cases": self.cases,
            "failures": self.failures,
            "stages": dict(self.stages),
            "counts": dict(self.counts),
            "worst": self.worst,
        }

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Figures:
        return cls(
            told["cases"], list(told["failures"]), Counter(told["stages"]),
            Counter(told["counts"]), dict(told["worst"]),
        )  # fmt: skip

"""What somebody asks of the run that holds a thread, and how it is written on the row."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Policy = Literal["cancel", "interrupt", "rollback"]

_STOPPING: Final = frozenset(("cancel", "interrupt", "rollback"))


class Demand(NamedTuple):
    """A request to stop.

    `token`: the run that asks for the thread ("interrupt", "rollback"), or why it is asked
    ("cancel").
    """

    policy: Policy
    token: str

    @property
    def text(self) -> str:
        """As it stands in the row."""
        return f"{self.policy}:{self.token}"

    @property
    def replaces(self) -> bool:
        """Whether it takes the place of a request that is there already: to undo a run is more
        than to stop it."""
        return self.policy == "rollback"


def parse_demand(text: str) -> Demand | None:
    """The demand that a row holds; None if it is none that this release knows."""
    policy, _, token = text.partition(":")
    return Demand(policy, token) if policy in _STOPPING else None  # type: ignore[arg-type]


def outranks(new: str, known: str) -> bool:
    """Whether an owner that was asked one thing has to hear another."""
    return new.startswith("rollback:") and not known.startswith("rollback:")


__all__ = ["Demand", "Policy", "outranks", "parse_demand"]

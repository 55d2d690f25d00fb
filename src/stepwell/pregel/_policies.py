"""What a compiled graph lets its owner say of all its nodes."""

from __future__ import annotations

from stepwell._engine.arguments import seconds
from stepwell.pregel._base import Compiled


class PolicyVerbs(Compiled):
    """The part of a compiled graph that concerns limits."""

    @property
    def step_timeout(self) -> float | None:
        """Seconds that a superstep may take, None for no limit. Beyond it, tasks that still run
        are cancelled and the run fails with `TimeoutError`; it can be resumed."""
        return self._program.step_timeout

    @step_timeout.setter
    def step_timeout(self, limit: float | None) -> None:
        self._change(step_timeout=seconds("step_timeout", limit))


__all__ = ["PolicyVerbs"]

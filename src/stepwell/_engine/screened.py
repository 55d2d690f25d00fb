"""Recorders of runs on a saver that keeps something off the disk, and of all others."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any

from stepwell._engine.holding import HoldingRecorder
from stepwell._engine.recorder import Recorder
from stepwell._journal.screened import ScreenedEncoder
from stepwell._when import Always, CheckpointWhen

if TYPE_CHECKING:
    from stepwell._engine.program import Program
    from stepwell._engine.snapshot import View
    from stepwell._journal.handle import ThreadHandle
    from stepwell._journal.screen import Screen
    from stepwell._plan.state import ThreadState


class _Screening(Recorder):
    """What makes a recorder hide what the screen of its thread's handle says."""

    __slots__ = ()

    def hide(self, screen: Screen, program: Program, view: View | None) -> Recorder:
        """Hide it from now on."""
        self._encoder = ScreenedEncoder(
            screen, program.codec,
            untracked=program.spec.untracked, state_version=program.state_version,
            stored=program.spec.blank if view is None else view.stored,
        )  # fmt: skip
        return self

    def checkpoint(self, state: ThreadState, **options: Any) -> None:
        if isinstance(self._encoder, ScreenedEncoder):
            self._encoder.channels = state.channels
        super().checkpoint(state, **options)

    def metadata(self, metadata: Mapping[str, Any]) -> tuple[bytes, str]:
        screen = self.handle.screen
        return super().metadata(metadata if screen is None else screen.metadata(metadata))


class ScreenedRecorder(_Screening):
    """A recorder whose records hide something."""

    __slots__ = ()


class ScreenedHoldingRecorder(_Screening, HoldingRecorder):
    """The same, of one that leaves checkpoints out."""

    __slots__ = ()


def recorder(
    handle: ThreadHandle,
    program: Program,
    view: View | None,
    *,
    policy: CheckpointWhen | None = None,
    around: Recorder | None = None,
    **options: Any,
) -> Recorder:
    """The recorder of one run: see `Recorder` for the arguments.

    Args:
        policy: Which supersteps get a row, of a run that may leave some out; None: all of them.
        around: The recorder of the run around it.
    """
    screen = handle.screen
    if (
        options["durability"] == "exit"
        or (around is not None and around.holds)
        or not isinstance(policy, (Always, NoneType))
        or (policy is not None and program.checkpoint_when_by_node)
    ):
        kind = HoldingRecorder if screen is None else ScreenedHoldingRecorder
        made: Recorder = kind(handle, program, view, policy=policy, around=around, **options)
    else:
        made = (Recorder if screen is None else ScreenedRecorder)(handle, program, view, **options)
    return made.hide(screen, program, view) if isinstance(made, _Screening) and screen else made


__all__ = ["recorder"]

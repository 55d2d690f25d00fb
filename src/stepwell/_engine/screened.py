"""Recorders of runs on a saver that keeps something off the disk, and of all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepwell._engine.recorder import Recorder
from stepwell._journal.metadata import encode_metadata
from stepwell._journal.screened import ScreenedEncoder

if TYPE_CHECKING:
    from stepwell._engine.program import Program
    from stepwell._engine.snapshot import View
    from stepwell._journal.handle import ThreadHandle
    from stepwell._journal.screen import Screen
    from stepwell._plan.state import ThreadState


class ScreenedRecorder(Recorder):
    """A recorder whose records hide what the screen of its thread's handle says."""

    __slots__ = ("_screen", "_shown")

    def __init__(
        self,
        screen: Screen,
        handle: ThreadHandle,
        program: Program,
        view: View | None,
        **options: Any,
    ) -> None:
        super().__init__(handle, program, view, **options)
        self._screen = screen
        self._encoder = self._shown = ScreenedEncoder(
            screen, program.codec,
            untracked=program.spec.untracked, state_version=program.state_version,
            stored={} if view is None else view.stored,
        )  # fmt: skip

    def checkpoint(self, state: ThreadState, **options: Any) -> None:
        self._shown.channels = state.channels
        super().checkpoint(state, **options)

    def exit_checkpoint(self, state: ThreadState, **options: Any) -> None:
        self._shown.channels = state.channels
        super().exit_checkpoint(state, **options)

    def metadata(self, metadata: Mapping[str, Any]) -> tuple[bytes, str]:
        return encode_metadata(self._screen.metadata(metadata), self._codec)


def recorder(handle: ThreadHandle, program: Program, view: View | None, **options: Any) -> Recorder:
    """The recorder of one run: see `Recorder` for the arguments."""
    if handle.screen is None:
        return Recorder(handle, program, view, **options)
    return ScreenedRecorder(handle.screen, handle, program, view, **options)


__all__ = ["recorder"]

"""Progress of a run on a terminal (one line that is redrawn), or as plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from typing import Any, TextIO

BAR = 30


class Progress:
    """Draws what a run streams.

    Args:
        total: Tasks of the fan-out, if known already.
        stream: Where to draw.
    """

    def __init__(self, total: int = 0, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._moving = self._stream.isatty()
        self._total = total
        self._done = 0
        self._kept = 0
        self._drawn = False

    def show(self, mode: str, chunk: Mapping[str, Any]) -> None:
        """Take one chunk of the modes "updates" and "custom"."""
        if mode == "custom":
            self._draw(chunk["file"])
            return
        kept = bool(chunk.get("__metadata__", {}).get("cached"))
        for node, update in chunk.items():
            if node == "analyse":
                self._done += 1
                self._kept += kept
                if kept:
                    continue
                if self._done == self._total:
                    self._finish()
                else:
                    self._tenth()
            elif node == "discover":
                self._total = len(update["files"])
                self.say(f"discover: {self._total} files")
            elif node == "__interrupt__":
                self.say("review: waits for a person")
            elif node != "__metadata__":
                self.say(f"{node}: done")

    def say(self, line: str) -> None:
        """Print a line of its own."""
        self._clear()
        print(f"  {line}", file=self._stream, flush=True)

    def _finish(self) -> None:
        kept = f", {self._kept} of them before this process began" if self._kept else ""
        self.say(f"analyse: {self._done} of {self._total} files{kept}")

    def _tenth(self) -> None:
        if self._moving:
            return
        before, now = (10 * done // max(self._total, 1) for done in (self._done - 1, self._done))
        if now > before:
            self.say(f"analyse: {self._done} of {self._total} files")

    def _draw(self, file: str) -> None:
        if not self._moving:
            return
        filled = BAR * self._done // max(self._total, 1)
        bar = "#" * filled + "." * (BAR - filled)
        text = f"  [{bar}] {self._done}/{self._total} {file}"
        room = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r\x1b[2K{text[:room]}")
        self._stream.flush()
        self._drawn = True

    def _clear(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[2K")
            self._drawn = False

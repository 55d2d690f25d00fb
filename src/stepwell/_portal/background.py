"""The one background event loop of a process."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from contextlib import suppress

_EXIT_MAX_S = 2.0


class _Background:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._stopping = False
        self.thread = threading.Thread(target=self._serve, name="stepwell-loop", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while not self._stopping:
            # A task that exits the interpreter stops its loop; the others have to go on, and
            # who waits for that task is told by its result.
            with suppress(SystemExit, KeyboardInterrupt):
                self.loop.run_forever()
        self.loop.close()

    async def _wind_down(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=_EXIT_MAX_S / 2)
        await self.loop.shutdown_asyncgens()
        self._stopping = True
        self.loop.stop()

    def stop(self) -> None:
        """Cancel what runs and end the thread; give up after two seconds."""
        asyncio.run_coroutine_threadsafe(self._wind_down(), self.loop)
        self.thread.join(_EXIT_MAX_S)


_starting = threading.Lock()
_background: _Background | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The one background loop of this process; started at the first call."""
    global _background  # noqa: PLW0603  # there is one, by definition
    with _starting:
        if _background is None:
            _background = _Background()
        return _background.loop


def is_background(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this is the background loop."""
    return _background is not None and loop is _background.loop


def _stop_at_exit() -> None:
    global _background
    background, _background = _background, None
    if background is not None:
        background.stop()


def _after_fork_in_child() -> None:
    global _background, _starting  # noqa: PLW0603
    _starting = threading.Lock()
    if _background is not None:
        # Its thread was not forked. Closing the loop here would take the parent's wake-up
        # pipe out of the selector that both processes share.
        keep_forever(_background.loop)
        _background = None


def keep_forever(thing: object) -> None:
    """Make `thing` immortal: in a forked child its finaliser would harm the parent."""
    import ctypes  # costs milliseconds, and is needed in few processes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


atexit.register(_stop_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

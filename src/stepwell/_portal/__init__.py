"""How the synchronous calls reach the asynchronous code, and one event loop another.

There is one implementation, and it is asynchronous. A synchronous call runs it on the loop
that the saver or store concerned belongs to, or on the one background loop of this process. The
caller's context variables are visible there, and its cancellation or Ctrl-C is passed on.
"""

from stepwell._portal.background import background_loop, keep_forever
from stepwell._portal.crossing import iterate_on, note_runner, run_on
from stepwell._portal.home import Home, Openable
from stepwell._portal.sync import iterate_sync, run_sync

__all__ = [
    "Home", "Openable", "background_loop", "iterate_on", "iterate_sync", "keep_forever",
    "note_runner", "run_on", "run_sync",
]  # fmt: skip

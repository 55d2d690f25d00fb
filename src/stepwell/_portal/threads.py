"""Worker threads for synchronous functions: begun in the order in which they were handed over.

All threads take from one queue, so that of two functions handed over together the first also begins
first, and short ones end in that order: chunks of a stream come as the caller would expect. How
many run at once is for anyio's limiter of the loop to say; a caller that waits inside a
thread raises it meanwhile (`crossing`), and therefore the pool itself must not be a limit.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from anyio import to_thread

T = TypeVar("T")

_THREADS_MAX = 100_000


def _new_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS_MAX, thread_name_prefix="stepwell worker")


class _Pool:
    """The threads of this process; they begin as they are needed, and wait for more work."""

    threads = _new_pool()

    @classmethod
    def renew(cls) -> None:
        """Start anew in a forked process, which has none of the threads."""
        cls.threads = _new_pool()


if hasattr(os, "register_at_fork"):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_Pool.renew)


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Call a function in a worker thread, with the context variables of the caller.

    Cancelling does not stop a function that has begun; what it returns is then dropped.

    Raises:
        RuntimeError: The function raised StopIteration, which no coroutine can pass on.
    """
    context = copy_context()

    def call() -> T:
        try:
            return context.run(function, *args)
        except StopIteration as exc:
            msg = f"{getattr(function, '__name__', function)} raised StopIteration"
            raise RuntimeError(msg) from exc

    async with to_thread.current_default_thread_limiter():
        return await asyncio.get_running_loop().run_in_executor(_Pool.threads, call)


__all__ = ["in_thread"]

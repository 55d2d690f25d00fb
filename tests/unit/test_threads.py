"""Worker threads for synchronous functions."""

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from anyio import to_thread

from stepwell._portal import threads
from stepwell._portal.threads import in_thread


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # a limiter tells nobody
        await asyncio.sleep(0.001)


async def test_functions_begin_in_the_order_in_which_they_were_handed_over(monkeypatch):
    """One queue for all threads: with a single thread the order of the calls is seen."""
    with ThreadPoolExecutor(1) as single:
        monkeypatch.setattr(threads._Pool, "threads", single)
        begun: list[int] = []
        await asyncio.gather(*(in_thread(begun.append, i) for i in range(20)))
    assert begun == list(range(20))


async def test_results_errors_and_context_cross_over():
    """What a function returns or raises comes back; it sees the caller's context variables."""
    seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")
    seen.set("mine")

    def fail() -> None:
        raise KeyError("no")

    def stop() -> None:
        raise StopIteration("end")

    assert await in_thread(seen.get) == "mine"
    assert await in_thread(threading.get_ident) != threading.get_ident()
    with pytest.raises(KeyError):
        await in_thread(fail)
    with pytest.raises(RuntimeError, match="stop raised StopIteration"):
        await in_thread(stop)


async def test_the_limiter_of_the_loop_says_how_many_run_at_once(monkeypatch):
    """No more run than it has room for; one more does, once it is given more."""
    limiter = to_thread.current_default_thread_limiter()
    monkeypatch.setattr(limiter, "total_tokens", 2)
    gate, running = threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        running.release()
        gate.wait(60)

    calls = [asyncio.ensure_future(in_thread(wait)) for _ in range(3)]
    await until(lambda: limiter.borrowed_tokens == 2)
    assert limiter.statistics().tasks_waiting == 1
    limiter.total_tokens = 3
    await until(lambda: limiter.borrowed_tokens == 3)
    gate.set()
    await asyncio.gather(*calls)
    assert [running.acquire(blocking=False) for _ in range(4)] == [True, True, True, False]


async def test_cancelling_gives_the_room_back():
    """The caller goes on at once, and so can others."""
    gate = threading.Event()
    call = asyncio.ensure_future(in_thread(gate.wait, 30))
    limiter = to_thread.current_default_thread_limiter()
    await until(lambda: limiter.borrowed_tokens == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not limiter.borrowed_tokens
    assert await in_thread(abs, -1) == 1
    gate.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    """The pool of the parent has no threads there: it is made anew."""
    assert asyncio.run(in_thread(abs, -1)) == 1
    child = os.fork()
    if not child:
        try:
            os._exit(0 if asyncio.run(asyncio.wait_for(in_thread(abs, -2), 60)) == 2 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

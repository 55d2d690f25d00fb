"""The portal: calls and iterators that cross from one thread or loop to another."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest

from stepwell._portal import (
    background_loop,
    iterate_on,
    iterate_sync,
    note_runner,
    run_on,
    run_sync,
    sync,
)
from stepwell.errors import UsageError

variable = contextvars.ContextVar("variable", default="unset")


@pytest.fixture(autouse=True)
def _ctrl_c():
    """A job that a shell put into the background starts with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class LoopThread:
    """An event loop that runs in a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stop()
        if not self.loop.is_closed():
            self.loop.close()

    def stop(self):
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()


@pytest.fixture
def other():
    with LoopThread() as running:
        yield running


@pytest.fixture
def not_warned(monkeypatch):
    monkeypatch.setattr(sync, "_warned", False)


async def here():
    return asyncio.get_running_loop(), threading.get_ident()


async def never_ends():
    await asyncio.Event().wait()


def python(program: str, *arguments: str, timeout: float = 30) -> str:
    """What a program prints that runs alone, with every warning an error."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    # Debug mode tells which steps of the loop were slow; here they may be.
    complaints = [x for x in done.stderr.splitlines() if not x.startswith("Executing <")]
    assert (done.returncode, complaints) == (0, []), done.stderr
    return done.stdout


# --- synchronous calls --------------------------------------------------------------------------


def test_calls_run_on_one_background_loop_in_another_thread():
    first = run_sync(here, loop=None, name="call")
    assert run_sync(here, loop=None, name="call") == first
    assert first[0] is background_loop()
    assert first[1] != threading.get_ident()


def test_threads_that_call_at_the_same_time_share_the_background_loop():
    arrived, found = [], []

    async def meet():
        arrived.append(1)
        while len(arrived) < 3:  # noqa: ASYNC110  # all three are under way at once
            await asyncio.sleep(0.001)
        return asyncio.get_running_loop()

    threads = [
        threading.Thread(target=lambda: found.append(run_sync(meet, loop=None, name="call")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [background_loop()] * 3


def test_what_the_coroutine_raises_reaches_the_caller_as_it_is():
    error = LookupError("planted")

    async def fail():
        raise error

    with pytest.raises(LookupError) as caught:
        run_sync(fail, loop=None, name="call")
    assert caught.value is error


@pytest.mark.parametrize("nested", [False, True])
def test_sys_exit_reaches_the_caller_and_the_background_loop_goes_on(nested):
    async def leave():
        sys.exit(3)

    async def outer():
        await (asyncio.create_task(leave()) if nested else leave())

    with pytest.raises(SystemExit) as caught:
        run_sync(outer, loop=None, name="call")
    assert caught.value.code == 3
    assert run_sync(here, loop=None, name="call")[0] is background_loop()


def test_context_variables_of_the_caller_are_visible():
    async def read():
        return variable.get()

    variable.set("mine")
    assert run_sync(read, loop=None, name="call") == "mine"

    async def items():
        yield variable.get()

    assert list(iterate_sync(items, loop=None, name="items")) == ["mine"]


def test_a_loop_that_is_given_does_the_work(other):
    assert run_sync(here, loop=other.loop, name="call") == (other.loop, other.thread.ident)


def test_a_closed_loop_counts_as_none():
    closed = asyncio.new_event_loop()
    closed.close()
    assert run_sync(here, loop=closed, name="call")[0] is background_loop()


def test_a_loop_that_nobody_runs_is_refused_after_a_while(monkeypatch):
    monkeypatch.setattr("stepwell._portal.crossing._LOOK_EVERY_S", 0.01)
    standing = asyncio.new_event_loop()
    ran = []

    async def work():
        ran.append(1)

    with pytest.raises(UsageError, match="nobody runs"):
        run_sync(work, loop=standing, name="call")
    standing.run_until_complete(asyncio.sleep(0))
    assert ran == []  # what was refused is not done later either
    standing.close()


def test_a_standing_loop_is_run_by_the_thread_that_runs_it_otherwise():
    """`run_until_complete`, a synchronous call, `run_until_complete`: one after the other."""
    mine = asyncio.new_event_loop()

    async def first():
        note_runner(asyncio.get_running_loop())

    mine.run_until_complete(first())
    assert run_sync(here, loop=mine, name="call") == (mine, threading.get_ident())
    assert list(iterate_sync(lambda: ticks(3), loop=mine, name="items")) == [0, 1, 2]
    items = iterate_sync(lambda: ticks(3), loop=mine, name="items")
    assert next(items) == 0
    items.close()
    with pytest.raises(LookupError):
        run_sync(fail, loop=mine, name="call")
    with pytest.raises(KeyboardInterrupt):
        run_sync(interrupted, loop=mine, name="call")
    assert mine.run_until_complete(here())[0] is mine
    mine.close()


async def fail():
    raise LookupError("planted")


async def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    await never_ends()


def test_a_loop_that_is_closed_under_a_call_does_not_leave_its_caller_waiting(monkeypatch):
    monkeypatch.setattr("stepwell._portal.crossing._LOOK_EVERY_S", 0.01)
    with LoopThread() as other:
        begun, held = threading.Event(), []

        async def stay():
            held.append(asyncio.current_task())  # or the collector would end it early
            begun.set()
            await never_ends()

        def close():
            begun.wait(60)
            other.stop()
            other.loop.close()

        closer = threading.Thread(target=close)
        closer.start()
        with pytest.raises(UsageError, match="was closed"):
            run_sync(stay, loop=other.loop, name="call")
        closer.join()
        held[0]._log_destroy_pending = False


def test_ctrl_c_cancels_the_call_and_waits_until_it_has_stopped():
    stopped = []

    async def work():
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await never_ends()
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            stopped.append(True)
            raise

    with pytest.raises(KeyboardInterrupt):
        run_sync(work, loop=None, name="call")
    assert stopped == [True]


def test_ctrl_c_between_items_and_in_one_closes_the_iterator():
    closed = []

    async def items():
        try:
            yield 1
            os.kill(os.getpid(), signal.SIGINT)
            await never_ends()
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        list(iterate_sync(items, loop=None, name="items"))
    assert closed == [True]


def test_a_thread_that_the_loop_waits_for_can_drop_a_generator_that_another_has_begun():
    """The collector may run in a thread that is just starting, and the loop waits for its start."""
    items = iterate_sync(lambda: ticks(3), loop=None, name="items")
    assert next(items) == 0

    async def wait_for_the_closer():
        closer = threading.Thread(target=items.close, daemon=True)
        closer.start()
        closer.join(60)
        return closer.is_alive()

    assert run_sync(wait_for_the_closer, loop=None, name="call") is False


# --- inside a running loop ----------------------------------------------------------------------


async def test_inside_a_running_loop_it_works_with_one_warning(not_warned):
    with pytest.warns(RuntimeWarning, match=r"\.acall\(") as told:
        assert run_sync(here, loop=None, name="call")[0] is background_loop()
    assert [each.filename for each in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_sync(here, loop=None, name="call")
        assert list(iterate_sync(lambda: ticks(2), loop=None, name="items")) == [0, 1]


async def test_on_the_very_loop_it_names_the_async_form():
    loop = asyncio.get_running_loop()
    with pytest.raises(UsageError, match=r"await \.\.\. \.acall\("):
        run_sync(here, loop=loop, name="call")
    with pytest.raises(UsageError, match=r"async for .* \.aitems\("):
        iterate_sync(lambda: ticks(1), loop=loop, name="items")


def test_on_the_background_loop_itself_it_is_refused(other):
    async def inner():
        with pytest.raises(UsageError, match="background loop"):
            run_sync(here, loop=other.loop, name="call")
        with pytest.raises(UsageError, match="wait for itself"):
            run_sync(here, loop=None, name="call")
        return "refused"

    assert run_sync(inner, loop=None, name="call") == "refused"


# --- synchronous iteration ----------------------------------------------------------------------


async def ticks(count, log=None):
    for number in range(count):
        if log is not None:
            log.append(number)
        yield number


def test_an_iterator_gives_its_items_and_ends():
    items = iterate_sync(lambda: ticks(3), loop=None, name="items")
    assert list(items) == [0, 1, 2]
    assert list(items) == []


def test_an_iterator_does_nothing_that_was_not_asked_for():
    log = []
    items = iterate_sync(lambda: ticks(5, log), loop=None, name="items")
    assert log == []
    assert [next(items), next(items)] == [0, 1]
    run_sync(lambda: asyncio.sleep(0.01), loop=None, name="call")
    assert log == [0, 1]
    items.close()


def test_closing_the_generator_closes_the_iterator_and_waits_for_it():
    closed = []

    async def slow_to_close():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0.02)
            closed.append(True)

    items = iterate_sync(slow_to_close, loop=None, name="items")
    assert next(items) == 1
    items.close()
    assert closed == [True]


def test_what_an_iterator_raises_comes_after_its_items():
    async def broken():
        yield 1
        raise LookupError("planted")

    items = iterate_sync(broken, loop=None, name="items")
    assert next(items) == 1
    with pytest.raises(LookupError, match="planted"):
        next(items)


def test_what_closing_raises_reaches_who_closes():
    async def broken():
        try:
            yield 1
        finally:
            raise LookupError("planted")

    items = iterate_sync(broken, loop=None, name="items")
    next(items)
    with pytest.raises(LookupError, match="planted"):
        items.close()


def test_all_steps_run_in_one_task():
    async def held_open():
        async with asyncio.timeout(60):  # belongs to the task that entered it
            yield asyncio.current_task()
            yield asyncio.current_task()

    first, second = iterate_sync(held_open, loop=None, name="items")
    assert first is second


def test_an_iterator_without_aclose_will_do():
    class Plain:
        def __init__(self):
            self.left = 2

        def __aiter__(self):
            return self

        async def __anext__(self):
            self.left -= 1
            if self.left < 0:
                raise StopAsyncIteration
            return self.left

    assert list(iterate_sync(Plain, loop=None, name="items")) == [1, 0]


def test_a_generator_forgotten_on_the_loop_it_waits_for_does_not_block_it(other):
    closed = threading.Event()

    async def items():
        try:
            yield 1
        finally:
            closed.set()

    held = [iterate_sync(items, loop=other.loop, name="items")]
    assert next(held[0]) == 1

    async def forget():
        held.clear()  # the last reference: the generator is closed here

    run_sync(forget, loop=other.loop, name="call")
    assert closed.wait(60)


# --- from loop to loop --------------------------------------------------------------------------


async def test_a_call_on_another_loop_leaves_this_one_free(other):
    counted = 0

    async def count():
        nonlocal counted
        while True:
            counted += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await run_on(other.loop, lambda: asyncio.sleep(0.02))
    counting.cancel()
    assert counted > 10
    variable.set("of this task")

    async def read():
        return variable.get(), asyncio.get_running_loop()

    assert await run_on(other.loop, read) == ("of this task", other.loop)


async def test_cancelling_the_caller_cancels_the_call_and_waits_for_it(other):
    begun, stopped = threading.Event(), []

    async def work():
        begun.set()
        try:
            await never_ends()
        finally:
            await asyncio.sleep(0.02)
            stopped.append(True)

    caller = asyncio.create_task(run_on(other.loop, work))
    await asyncio.to_thread(begun.wait, 10)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert stopped == [True]


async def test_a_call_that_is_cancelled_before_its_first_step_ends(other):
    """Its loop learns of the call and of its end in one turn, and runs nothing of it."""
    begun = []

    async def work():
        begun.append(1)

    async def items():
        begun.append(1)
        yield 1

    for wait in (lambda: run_on(other.loop, work), lambda: anext(iterate_on(other.loop, items))):
        busy, go_on = threading.Event(), threading.Event()

        def hold(busy=busy, go_on=go_on):
            busy.set()
            go_on.wait(60)

        other.loop.call_soon_threadsafe(hold)
        await asyncio.to_thread(busy.wait, 10)
        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 60)
    assert not begun


async def test_a_call_that_is_cancelled_over_there_is_cancelled_here(other):
    async def work():
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    with pytest.raises(asyncio.CancelledError):
        await run_on(other.loop, work)


async def test_cancelling_is_not_lost_when_the_call_ends_all_the_same(other):
    begun = threading.Event()

    async def stubborn():
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await never_ends()
        return "done"

    caller = asyncio.create_task(run_on(other.loop, stubborn))
    await asyncio.to_thread(begun.wait, 10)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_timeout_here_ends_the_call_there(other):
    stopped = threading.Event()

    async def work():
        try:
            await never_ends()
        finally:
            stopped.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await run_on(other.loop, work)
    assert stopped.is_set()


async def test_a_loop_closed_meanwhile_is_a_usage_error():
    closed = asyncio.new_event_loop()
    closed.close()
    with pytest.raises(UsageError, match="closed"):
        await run_on(closed, here)


async def test_a_loop_that_nobody_runs_is_refused_here_too(monkeypatch):
    """Not even by the thread that runs it otherwise: this thread has another one to run."""
    monkeypatch.setattr("stepwell._portal.crossing._LOOK_EVERY_S", 0.01)
    standing = asyncio.new_event_loop()
    note_runner(standing)
    with pytest.raises(UsageError, match="nobody runs"):
        await run_on(standing, here)
    with pytest.raises(UsageError, match="nobody runs"):
        _ = [x async for x in iterate_on(standing, lambda: ticks(1))]
    with pytest.raises(UsageError, match="nobody runs"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that it blocks this loop
        run_sync(here, loop=standing, name="call")
    standing.close()


async def test_iterating_on_another_loop(other):
    closed = []

    async def items():
        try:
            for _ in range(3):
                yield asyncio.get_running_loop()
        finally:
            await asyncio.sleep(0.01)
            closed.append(True)

    assert [x async for x in iterate_on(other.loop, items)] == [other.loop] * 3
    assert closed == [True]

    async with contextlib.aclosing(iterate_on(other.loop, items)) as some:
        async for _ in some:
            break
    assert closed == [True, True]


async def test_an_error_of_an_iterator_on_another_loop_reaches_this_one(other):
    async def broken():
        yield 1
        raise LookupError("planted")

    with pytest.raises(LookupError, match="planted"):
        _ = [x async for x in iterate_on(other.loop, broken)]


async def test_cancelling_who_waits_for_an_item_closes_the_iterator(other):
    asked, closed = threading.Event(), []

    async def items():
        try:
            asked.set()
            await never_ends()
            yield 1
        finally:
            closed.append(True)

    async def consume():
        async for _ in iterate_on(other.loop, items):
            pass

    consumer = asyncio.create_task(consume())
    await asyncio.to_thread(asked.wait, 10)
    consumer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await consumer
    assert closed == [True]


# --- processes ----------------------------------------------------------------------------------

FORK = """
import asyncio, os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: a fork with threads
from stepwell._portal import background_loop, run_sync

async def add(a, b):
    await asyncio.sleep(0)
    return a + b

assert run_sync(lambda: add(1, 2), loop=None, name="add") == 3
before = background_loop()
child = os.fork()
assert run_sync(lambda: add(2, 2), loop=None, name="add") == 4
assert (background_loop() is before) == bool(child)
if child:
    assert os.waitpid(child, 0)[1] == 0
    # The child has ended as a program does, with all its finalisers: our loop still wakes up.
    assert run_sync(lambda: add(3, 2), loop=None, name="add") == 5
    print("parent")
"""


def test_a_forked_child_starts_a_background_loop_of_its_own():
    assert python(FORK) == "parent\n"


EXIT = """
import asyncio, threading
from stepwell._portal import run_sync

async def stubborn():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if hang:
                continue
            print("cancelled")
            raise

def leave_running():
    try:
        run_sync(stubborn, loop=None, name="stubborn")
    except asyncio.CancelledError:
        pass

import sys
hang = sys.argv[1] == "hang"
threading.Thread(target=leave_running, daemon=True).start()
run_sync(lambda: asyncio.sleep(0.05), loop=None, name="sleep")
"""


def test_at_exit_what_runs_is_cancelled_and_the_loop_is_closed():
    assert python(EXIT, "polite") == "cancelled\n"


def test_exit_does_not_wait_for_a_call_that_will_not_stop():
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", EXIT, "hang"],
        check=False,
        timeout=200,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0
    assert time.monotonic() - began < 150

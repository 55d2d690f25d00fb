"""Who holds a thread inside this process, and who waits for it, first come first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from stepwell._journal.demand import Demand
from stepwell.checkpoint.driver import ThreadKey
from stepwell.errors import ThreadBusyError


class Turn:
    """The right to claim, and then to hold, one thread among the tasks of this process."""

    __slots__ = ("awaits", "key", "passed_on", "run_id")

    def __init__(self, key: ThreadKey) -> None:
        self.key = key
        self.passed_on = False
        self.run_id: str | None = None
        self.awaits: list[ThreadKey] = []
        """Threads that a context which holds this one is waiting for."""


class _Line:
    __slots__ = ("demands", "turn", "waiting")

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.demands: list[Demand] = []
        """What those who wait ask of whoever is before them."""
        self.waiting: deque[asyncio.Future[Turn]] = deque()


class Lineups:
    """One line per thread that is held or waited for."""

    __slots__ = ("_lines", "_loop")

    def __init__(self) -> None:
        self._lines: dict[ThreadKey, _Line] = {}
        self._loop = asyncio.get_running_loop()

    def holder(self, key: ThreadKey) -> Turn | None:
        """Whose turn it is."""
        line = self._lines.get(key)
        return None if line is None else line.turn

    def try_take(self, key: ThreadKey) -> Turn | None:
        """The turn, if nobody has it; else None."""
        if key in self._lines:
            return None
        turn = Turn(key)
        self._lines[key] = _Line(turn)
        return turn

    def demand(self, key: ThreadKey) -> Demand | None:
        """What those who wait in line ask of every run that has the thread before them: the
        demand that asks most, of equal ones the oldest."""
        line = self._lines.get(key)
        if line is None or not line.demands:
            return None
        return max(line.demands, key=lambda demand: demand.replaces)

    async def take(self, key: ThreadKey, demand: Demand | None = None) -> Turn:
        """Wait in line for the turn. A waiter that is cancelled leaves the line."""
        turn = self.try_take(key)
        if turn is not None:
            return turn
        line = self._lines[key]
        if demand is None:
            return await self._wait(line)
        line.demands.append(demand)
        try:
            return await self._wait(line)
        finally:
            line.demands.remove(demand)

    async def _wait(self, line: _Line) -> Turn:
        future: asyncio.Future[Turn] = self._loop.create_future()
        line.waiting.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.pass_on(future.result())  # it came at the same moment
            elif future in line.waiting:
                line.waiting.remove(future)
            raise

    def pass_on(self, turn: Turn) -> None:
        """Give the turn to the next in line. Repeating it is harmless."""
        if turn.passed_on:
            return
        turn.passed_on = True
        line = self._lines[turn.key]
        while line.waiting:
            future = line.waiting.popleft()
            if not future.done():
                line.turn = Turn(turn.key)
                future.set_result(line.turn)
                return
        del self._lines[turn.key]

    def refuse_all(self, error: BaseException) -> None:
        """Nobody who waits in line will get a turn."""
        for line in self._lines.values():
            for future in line.waiting:
                if not future.done():
                    future.set_exception(error)
                    future.exception()
            line.waiting.clear()

    def would_wait_for_itself(self, key: ThreadKey, mine: Iterable[Turn]) -> bool:
        """Does whoever holds `key` wait, directly or through others, for one of `mine`?

        The turns that a waiting context holds name what it waits for, so the graph of waits
        is walked from holder to holder.
        """
        targets = set(mine)
        seen: set[ThreadKey] = set()
        todo = [key]
        while todo:
            line = self._lines.get(todo.pop())
            if line is None or line.turn.key in seen:
                continue
            if line.turn in targets:
                return True
            seen.add(line.turn.key)
            todo += line.turn.awaits
        return False


def reentrant(turn: Turn, worker: bytes) -> ThreadBusyError:
    """The refusal of a thread that the calling run, or one around it, holds itself."""
    msg = (
        f"Thread {turn.key.thread_id!r} is held by the run that asks for it: it would wait for "
        "itself. Use another thread, or a subgraph."
    )
    return busy_here(turn, worker, msg, "reentrant")


def busy_here(turn: Turn, worker: bytes, message: str, code: str) -> ThreadBusyError:
    """The refusal of a thread that another task of this process holds."""
    return ThreadBusyError(
        message,
        owner=worker.hex(),
        run_id=turn.run_id,
        retry_after_s=1.0,
        thread_id=turn.key.thread_id,
        code=code,
    )

"""What a root run and the runs inside it share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from stepwell._engine.ending import release
from stepwell._journal.pages import Sheet
from stepwell.constants import NS_END, NS_SEP

if TYPE_CHECKING:
    from stepwell._engine.open import Opened
    from stepwell._engine.run import Run

_PAGE: Final = 20
"""How many checkpoints are looked at in one go."""


class Replay:
    """A root run that goes on from an old checkpoint: graphs inside it go back as well.

    The first time each of them is called, it starts from its newest checkpoint that is older
    than the root's; after that, from its newest. Source of the rule: LangGraph's ReplayState.

    Args:
        bound: The `record_no` of the root's checkpoint.
    """

    __slots__ = ("_bound", "_visited")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._visited: set[str] = set()

    def first_visit(self, ns: str) -> bool:
        """Whether no call of the same graph, in whatever task, has asked before."""
        name = ns.rsplit(NS_END, 1)[0]
        if name in self._visited:
            return False
        self._visited.add(name)
        return True

    async def seq(self, opened: Opened, ns: str) -> int:
        """The newest checkpoint of a namespace that is older than the root's; 0 = none."""
        upto: int | None = None
        while upto != 0:
            page = await opened.journal.page(opened.key, ns, upto, _PAGE, current=True)
            older = [row.seq for row in Sheet(page).rows() if row.record_no < self._bound]
            if older:
                return older[-1]
            upto = max(page.first - 1, 0)
        return 0


class Family:
    """Made when the first graph is called inside a run; costs nothing before."""

    __slots__ = ("_turns", "at_exit", "replay", "spaces")

    def __init__(self) -> None:
        self.spaces: dict[str, Run] = {}
        """The last runs of namespaces that may be run in again and whose records are held back:
        the next one continues from them."""
        self.at_exit: dict[str, Callable[[], None]] = {}
        """What runs that ended unfinished have to write when the root writes its own record."""
        self.replay: Replay | None = None
        self._turns: dict[str, asyncio.Lock] = {}

    def turn(self, ns: str) -> asyncio.Lock:
        """Runs in a namespace that outlives them follow each other."""
        return self._turns.setdefault(ns, asyncio.Lock())

    def forget_below(self, ns: str) -> None:
        """The tasks of a superstep are over: what ran inside them is of no use any more.

        Namespaces without task ids outlive their tasks.
        """
        prefix = f"{ns}{NS_SEP}" if ns else ""
        for held in (self.spaces, self.at_exit):
            for name in [n for n in held if n.startswith(prefix) and NS_END in n]:
                del held[name]

    def release(self) -> None:
        """The root is over, and so are the runs that were kept for another one."""
        held, self.spaces = self.spaces, {}
        for run in held.values():
            release(run)

    def write_now(self, ns: str) -> None:
        """Append what the last run in a namespace left, if it is not appended yet."""
        del self.spaces[ns]
        self.at_exit.pop(ns)()

    def write_held_back(self) -> None:
        """Append what nested runs left."""
        writers, self.at_exit = self.at_exit, {}
        for write in writers.values():
            write()


__all__ = ["Family", "Replay"]

"""Several tenants on one saver, and each alone: none of them may be able to tell."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any, TypedDict

from stepwell import Retention, open_saver
from stepwell._context import current_task
from stepwell.checkpoint.base import Saver
from stepwell.errors import StepwellError, StorageUnavailableError
from stepwell.graph import START, StateGraph
from stepwell.types import Command, interrupt

TENANTS = (
    "", "a", "ab", "a%", "a_", "_", "%", "A", "a ", "a'b", 'a"b', "a\\", "é", "e\u0301",
    "a\n", "\u1e9e",
)  # fmt: skip
"""Names that a pattern, a prefix, a fold of case or of accents would take for each other."""
THREADS = ("t", "t%", "t_", "tt")
VERBS = (
    "run", "run", "keyed", "ask", "answer", "crash", "recover", "update", "delete", "prune", "copy",
    "compact", "ttl", "delete_for_runs", "rollback",
)  # fmt: skip

Act = tuple[str, str, int]
"""Verb, thread, and a number that makes it this one."""


class State(TypedDict, total=False):
    """Who said what, and what the node is to do about it."""

    log: Annotated[list[str], operator.add]
    act: str


class Tenant:
    """One scope of a saver, with a graph that runs in it."""

    def __init__(self, saver: Saver, name: str) -> None:
        self.saver = saver
        self.name = name
        self.compacted = False

        async def say(state: State) -> dict[str, Any]:
            return {"log": [f"{name}!"]}

        async def act(state: State) -> dict[str, Any]:
            if state.get("act") == "crash":
                # As the death of the process would: the claim is gone, nothing more is written.
                current_task.get().held[0].outbox.fail(StorageUnavailableError("gone"))
                await asyncio.Event().wait()
            if state.get("act") == "ask":
                return {"log": [f"{name} was told {interrupt(name)}"]}
            return {}

        builder = StateGraph(State).add_sequence([("say", say), ("act", act)])
        self.graph: Any = builder.add_edge(START, "say").compile(self.saver, name="talk")

    async def act(self, act: Act) -> str:
        """Do something; what came of it."""
        verb, thread, number = act
        try:
            return repr(await getattr(self, f"_{verb}")(thread, number))
        except (StepwellError, ValueError) as error:
            return type(error).__name__

    def _config(self, thread: str, number: int = 0) -> dict[str, Any]:
        return {
            "configurable": {"thread_id": thread},
            "metadata": {"n": number % 3},
            "run_id": f"r{number % 5}",
        }

    async def _say(self, thread: str, number: int, act: str, **options: Any) -> Any:
        given = {"log": [f"{self.name} {number}"], "act": act}
        return await self.graph.ainvoke(
            given, self._config(thread, number), durability="sync", **options
        )

    async def _run(self, thread: str, number: int) -> Any:
        return (await self._say(thread, number, "go"))["log"]

    async def _keyed(self, thread: str, number: int) -> Any:
        return (await self._say(thread, number % 2, "go", idempotency_key=f"k{number % 2}"))["log"]

    async def _ask(self, thread: str, number: int) -> Any:
        return [i.value for i in (await self._say(thread, number, "ask"))["__interrupt__"]]

    async def _answer(self, thread: str, number: int) -> Any:
        done = await self.graph.ainvoke(Command(resume=number), self._config(thread, number))
        return {**done, "__interrupt__": [i.value for i in done.get("__interrupt__", ())]}

    async def _crash(self, thread: str, number: int) -> Any:
        return await self._say(thread, number, "crash")

    async def _recover(self, thread: str, number: int) -> Any:
        report = await self.graph.arecover()
        return sorted(report.recovered), sorted(report.failed)

    async def _update(self, thread: str, number: int) -> None:
        await self.graph.aupdate_state(
            self._config(thread), {"log": [f"{self.name} by hand {number}"]}, as_node="say"
        )

    async def _delete(self, thread: str, number: int) -> None:
        await self.saver.adelete_thread(thread)

    async def _prune(self, thread: str, number: int) -> Any:
        return await self.saver.aprune(policy=Retention(keep_last=1 + number % 3))

    async def _copy(self, thread: str, number: int) -> None:
        await self.saver.acopy_thread(thread, THREADS[number % len(THREADS)])

    async def _compact(self, thread: str, number: int) -> int:
        self.compacted = True
        return (await self.saver.acompact()).threads

    async def _ttl(self, thread: str, number: int) -> None:
        await self.saver.aset_ttl(thread, 60 * (1 + number))

    async def _delete_for_runs(self, thread: str, number: int) -> None:
        await self.saver.adelete_for_runs([f"r{number % 5}", f"r{(number + 1) % 5}"])

    async def _rollback(self, thread: str, number: int) -> None:
        await self.graph.arollback(
            self._config(thread), where=lambda s: len(s.values.get("log", [])) <= number % 4
        )

    async def everything(self) -> dict[str, Any]:
        """All that the tenant can see by whatever verb, but for what is drawn by lot."""
        saver, found = self.saver, {}
        for info in [i async for i in saver.alist_threads(order="thread_id", descending=False)]:
            name = info.thread_id
            assert await saver.aget_thread(name) is not None
            config = {"configurable": {"thread_id": name}}
            tuples = [t async for t in saver.alist(config)]
            states = [s async for s in self.graph.aget_state_history(config)]
            newest = await saver.aget_tuple(config)
            found[name] = (
                info.status, info.next, info.interrupts, info.checkpoints,
                # How well a segment is compressed depends on ids and times, which differ.
                info.bytes > 0 if self.compacted else info.bytes,
                dict(info.metadata),
                [(r.run_id, r.status, r.idempotency_key) async for r in saver.alist_runs(name)],
                [(t.checkpoint["channel_values"], t.metadata["step"]) for t in tuples],
                [(s.values, s.next, [i.value for i in s.interrupts]) for s in states],
                None if newest is None else newest.checkpoint["channel_values"],
            )  # fmt: skip
        found["%runs"] = sorted(
            [(r.thread_id, r.run_id, r.status) async for r in saver.alist_runs()]
        )
        found["%found"] = sorted(
            [t.thread_id async for t in saver.alist_threads(metadata={"n": 1})]
        )
        found["%orphans"] = [t.thread_id async for t in saver.aorphans()]
        found["%listed"] = len([t async for t in saver.alist(None)])
        return found


async def check(saver: Saver, names: Sequence[str], acts: Sequence[tuple[int, Act]]) -> None:
    """Do `acts` on one saver for all tenants, and for each of them on a saver of its own.

    Args:
        saver: Where all of them live.
        names: Their scopes.
        acts: Who (by number) does what, in this order.
    """
    async with AsyncExitStack() as savers:
        together, apart = [], []
        for name in names:
            lone = await savers.enter_async_context(open_saver("memory://"))
            together.append(Tenant(saver.scoped(name), name))
            apart.append(Tenant(lone, name))
        for at, (who, act) in enumerate(acts):
            ours, alone = await together[who].act(act), await apart[who].act(act)
            assert ours == alone, (at, names[who], act, ours, alone)
        for ours, alone in zip(together, apart, strict=True):
            assert ours.saver.scope == ours.name
            assert await ours.everything() == await alone.everything(), ours.name
        other = saver.scoped("nobody was ever here")
        assert [t async for t in other.alist_threads()] == []

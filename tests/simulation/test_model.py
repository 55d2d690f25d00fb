"""Random operations of clients on memory, SQLite and PostgreSQL at once, compared with each
other and with a model made of lists: after each of them all must stand at the same place."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from stepwell.errors import EmptyInputError, StaleWriterError
from stepwell.types import Command
from tests._postgres import execute, fresh_name
from tests.simulation._model import MODES, NODES, Thread
from tests.simulation._model_places import Boom, Memory, Place, Postgres, Sqlite, SteppedClock

EXAMPLES = int(os.environ.get("STEPWELL_MODEL_EXAMPLES", "40"))
THREADS = st.sampled_from(["t0", "t1", "t0%", "T0"])
COLORS = st.sampled_from(["red", "blue"])
NUMBERS = st.integers(0, 1000)


class Clients(RuleBasedStateMachine):
    """The same operations everywhere; `with_postgres` adds a server to memory and a file."""

    with_postgres = False

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="stepwell-model-"))
        self.clock = SteppedClock()
        self.model: dict[str, Thread] = {}
        self.places: list[Place] = []
        self.runner.run(self._open())

    async def _open(self) -> None:
        self.places = [Memory(self.clock), Sqlite(self.clock, self.folder)]
        if self.with_postgres:
            self.schema = fresh_name("model")
            self.places.append(Postgres(self.clock, self.schema))
        for place in self.places:
            await place.open()

    def teardown(self) -> None:
        async def end() -> None:
            for thread in self.model:
                for place in self.places:
                    await self._history(place, thread)
            for place in self.places:
                await place.close()
            if self.with_postgres:
                await execute(f'DROP SCHEMA "{self.schema}" CASCADE')

        try:
            self.runner.run(end())
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)

    # -- tools

    def everywhere(self, call: Any, expected: Any) -> None:
        """Make the same call on every place; each answer must be the expected one."""

        async def run() -> None:
            for place in self.places:
                try:
                    found = await call(place)
                except (Boom, EmptyInputError, StaleWriterError) as error:
                    found = type(error).__name__
                assert found == expected, f"{place.name}: {found} instead of {expected}"

        self.runner.run(run())

    async def _run(self, place: Place, given: Any, config: Any) -> str:
        found = await place.graph.ainvoke(given, config, durability="sync")
        return "asked" if "__interrupt__" in found else "done"

    async def _ids(self, place: Place, thread: str) -> list[str]:
        """Checkpoint ids, oldest first."""
        found = [c.checkpoint["id"] async for c in place.saver.alist(config_of(thread))]
        return found[::-1]

    def existing(self, number: int) -> str | None:
        names = sorted(name for name, thread in self.model.items() if thread.checks)
        return names[number % len(names)] if names else None

    # -- what clients do

    @rule(thread=THREADS, mode=st.sampled_from(MODES), color=COLORS)
    def run_new_input(self, thread: str, mode: str, color: str) -> None:
        expected = self.model.setdefault(thread, Thread()).input(mode, color)
        config = {**config_of(thread), "metadata": {"color": color}}
        self.everywhere(lambda p: self._run(p, {"log": [f"in:{mode}"]}, config), expected)

    @rule(thread=THREADS)
    def go_on(self, thread: str) -> None:
        expected = self.model.get(thread, Thread()).go_on()
        self.everywhere(lambda p: self._run(p, None, config_of(thread)), expected)

    @rule(number=NUMBERS, value=st.sampled_from(["yes", "no"]))
    def answer(self, number: int, value: str) -> None:
        waiting = sorted(name for name, thread in self.model.items() if thread.asks)
        if not waiting:
            return
        thread = waiting[number % len(waiting)]
        expected = self.model[thread].answer(value)
        self.everywhere(lambda p: self._run(p, Command(resume=value), config_of(thread)), expected)

    @rule(thread=THREADS, as_node=st.sampled_from(NODES))
    def update(self, thread: str, as_node: str) -> None:
        self.model.setdefault(thread, Thread()).update(as_node)

        async def call(place: Place) -> None:
            values = {"log": ["fixed"]}
            await place.graph.aupdate_state(config_of(thread), values, as_node=as_node)

        self.everywhere(call, None)

    @rule(number=NUMBERS, back=st.integers(0, 6))
    def fork(self, number: int, back: int) -> None:
        thread = self.existing(number)
        if thread is None:
            return
        place_no = max(len(self.model[thread].checks) - 1 - back, 0)
        expected = self.model[thread].fork(place_no)

        async def call(place: Place) -> str:
            name = (await self._ids(place, thread))[place_no]
            return await self._run(place, None, config_of(thread, name))

        self.everywhere(call, expected)

    @rule(thread=THREADS)
    def delete(self, thread: str) -> None:
        self.model.pop(thread, None)
        self.everywhere(lambda p: p.saver.adelete_thread(thread), None)

    @rule(number=NUMBERS, copied=THREADS)
    def copy(self, number: int, copied: str) -> None:
        source = self.existing(number)
        if source is None or copied in self.model or self.model[source].status == "running":
            return
        self.model[copied] = self.model[source].copy()
        self.everywhere(lambda p: p.saver.acopy_thread(source, copied), None)

    @rule(number=NUMBERS, color=st.sampled_from(["red", "blue", None]), before=NUMBERS)
    def list_some(self, number: int, color: str | None, before: int) -> None:
        """`alist` with filter, before and limit gives what a loop over the model gives."""
        thread = self.existing(number)
        if thread is None:
            return
        checks = self.model[thread].checks
        bound, limit = before % (len(checks) + 1), before % 4 or None
        wanted = [n for n in range(len(checks)) if n < bound or bound == len(checks)]
        wanted = [n for n in wanted if color is None or checks[n].color == color][::-1]

        async def call(place: Place) -> list[int]:
            ids = await self._ids(place, thread)
            older = None if bound == len(ids) else config_of(thread, ids[bound])
            found = place.saver.alist(
                config_of(thread),
                filter=None if color is None else {"color": color},
                before=older,
                limit=limit,
            )
            return [ids.index(c.checkpoint["id"]) async for c in found]

        self.everywhere(call, wanted[:limit])

    @rule(number=NUMBERS)
    def show_history(self, number: int) -> None:
        thread = self.existing(number)
        if thread is not None:
            self.everywhere(lambda p: self._history(p, thread), None)

    # -- what goes wrong

    @rule(thread=THREADS, color=COLORS, how=st.sampled_from(["crash", "steal", "cancel", "expire"]))
    def lose_a_running_run(self, thread: str, color: str, how: str) -> None:
        """While a node runs, its process dies, somebody takes its thread, its caller goes away,
        or only its lease runs out, which harms nobody."""
        model = self.model.setdefault(thread, Thread())
        model.input("hang", color, until="a")
        if how == "cancel":
            model.status = "idle"
        elif how == "expire":
            model.go_on()
        ended = {
            "crash": "cancelled", "steal": "StaleWriterError", "cancel": "cancelled",
            "expire": "done",
        }[how]  # fmt: skip
        self.everywhere(lambda p: self._lose(p, thread, color, how), ended)

    async def _lose(self, place: Place, thread: str, color: str, how: str) -> str:
        config = {**config_of(thread), "metadata": {"color": color}}
        state = await place.graph.aget_state(config)
        if state.next:  # or an open run of this kind would be the first to hang
            info = await place.saver.aget_thread(thread)
            if info is not None and info.status == "running":
                await place.graph.ainvoke(None, config_of(thread), durability="sync")
        place.gate.clear()
        place.hangs.clear()
        run = asyncio.ensure_future(self._run(place, {"log": ["in:hang"]}, config))
        begins = asyncio.ensure_future(place.hangs.wait())
        await asyncio.wait([run, begins], return_when=asyncio.FIRST_COMPLETED)
        begins.cancel()
        if how == "crash":
            await place.crash()
        elif how != "cancel":
            await (place.steal if how == "steal" else place.expire)(thread)
        if how in ("crash", "cancel"):
            run.cancel()
        place.gate.set()
        await asyncio.wait([run])
        if how == "crash":
            await place.open()
            await place.expire(thread)
        return "cancelled" if run.cancelled() else run.result()

    @rule(hours=st.sampled_from([-1, 1]))
    def step_the_clock(self, hours: int) -> None:
        self.clock.off += 3600 * hours

    # -- what must be the same

    @invariant()
    def all_stand_where_the_model_stands(self) -> None:
        async def check() -> None:
            for place in self.places:
                found = sorted([t.thread_id async for t in place.saver.alist_threads()])
                assert found == sorted(self.model), place.name
                for thread, model in self.model.items():
                    await self._stands(place, thread, model)

        self.runner.run(check())

    async def _stands(self, place: Place, thread: str, model: Thread) -> None:
        state = await place.graph.aget_state(config_of(thread))
        info = await place.saver.aget_thread(thread)
        where = f"{place.name} {thread}"
        assert info is not None, where
        head = model.head
        assert (state.values.get("log", []), state.next) == (head.log, head.next), where
        assert bool(state.interrupts) == model.asks, where
        assert (state.metadata["source"], state.metadata["step"]) == (head.source, head.step), where
        assert info.status == model.status, where
        if model.status != "running":
            assert info.next == head.next, where

    async def _history(self, place: Place, thread: str) -> None:
        """Every checkpoint ever made, with its parent, as the model has it."""
        states = [s async for s in place.graph.aget_state_history(config_of(thread))][::-1]
        ids = [s.config["configurable"]["checkpoint_id"] for s in states]
        found = [
            (
                ids.index(s.parent_config["configurable"]["checkpoint_id"])
                if s.parent_config
                else None,
                s.metadata["source"], s.metadata["step"], s.values.get("log", []), s.next,
                s.metadata.get("color"),
            )
            for s in states
        ]  # fmt: skip
        expected = [
            (c.parent, c.source, c.step, c.log, c.next, c.color) for c in self.model[thread].checks
        ]
        assert found == expected, f"{place.name} {thread}"


class ClientsWithPostgres(Clients):
    with_postgres = True


def config_of(thread: str, checkpoint: str | None = None) -> dict[str, Any]:
    configurable = {"thread_id": thread, "checkpoint_ns": ""}
    if checkpoint is not None:
        configurable["checkpoint_id"] = checkpoint
    return {"configurable": configurable}


def examples(count: int) -> settings:
    return settings(
        max_examples=count, stateful_step_count=30, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@pytest.mark.timeout(900)
def test_memory_and_sqlite_are_what_the_model_is():
    run_state_machine_as_test(Clients, settings=examples(EXAMPLES))


@pytest.mark.postgres
@pytest.mark.timeout(900)
def test_postgres_is_what_the_model_is():
    run_state_machine_as_test(ClientsWithPostgres, settings=examples(max(EXAMPLES // 4, 1)))

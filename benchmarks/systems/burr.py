"""Burr: a state machine of actions, with its own asynchronous persisters."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from burr.core import ApplicationBuilder, Condition, State, action, default

from benchmarks.systems._sizes import afresh

SCHEMA = "bench_burr"
Run = Callable[..., Awaitable[int]]


def _step(name: str) -> Any:
    @action(reads=["n"], writes=["n"])
    async def step(state: State) -> State:
        return state.update(n=state["n"] + 1)

    step.__name__ = name
    return step


class Burr:
    """Every action is persisted when it has run, one row each."""

    places = ("none", "memory", "sqlite", "postgres")
    alone = False
    packages = ("apache-burr", "aiosqlite", "asyncpg")
    imports = "import burr.core"

    @asynccontextmanager
    async def opened(self, place: str, folder: str, *, fresh: bool = True) -> AsyncIterator[Any]:
        if place == "none":
            yield None
        elif place == "memory":
            from burr.core.persistence import AsyncInMemoryPersister

            yield AsyncInMemoryPersister()
        elif place == "sqlite":
            from burr.integrations.persisters.b_aiosqlite import AsyncSQLitePersister

            async with AsyncSQLitePersister.from_values(db_path=f"{folder}/burr.db") as persister:
                await persister.connection.execute("PRAGMA journal_mode=WAL")
                await persister.connection.execute("PRAGMA synchronous=FULL")
                await persister.initialize()
                yield persister
        else:
            from burr.integrations.persisters.b_asyncpg import AsyncPostgreSQLPersister

            if fresh:
                await afresh(SCHEMA, make=True)
            async with _pooled(AsyncPostgreSQLPersister) as persister:
                await persister.initialize()
                yield persister
            AsyncPostgreSQLPersister._pool = None  # it is kept by the class, and closed

    def chain(self, persister: Any, length: int, keys: int = 1) -> Run:
        names = [f"n{i}" for i in range(length)]
        actions = {name: _step(name) for name in names}
        given = {"n": 0} | {f"k{i}": "some text" for i in range(keys - 1)}
        ways = list(itertools.pairwise(names))
        return self._runner(persister, actions, ways, given, (names[0], names[-1]))

    def loop(self, persister: Any, steps: int) -> Run:
        @action(reads=["n"], writes=[])
        async def end(state: State) -> State:
            return state

        more = Condition.expr(f"n < {steps}")
        actions = {"step": _step("step"), "end": end}
        ways = [("step", "step", more), ("step", "end", default)]
        return self._runner(persister, actions, ways, {"n": 0}, ("step", "end"))

    def enduring(self, persister: Any, steps: int, tick: Callable[[int], None]) -> Run:
        @action(reads=["n"], writes=["n"])
        async def work(state: State) -> State:
            tick(state["n"] + 1)
            return state.update(n=state["n"] + 1)

        @action(reads=["n"], writes=[])
        async def end(state: State) -> State:
            return state

        ways = [("work", "work", Condition.expr(f"n < {steps}")), ("work", "end", default)]

        async def run(thread: str, again: bool) -> int:
            builder = ApplicationBuilder().with_actions(work=work, end=end).with_transitions(*ways)
            builder = builder.with_identifiers(app_id=thread, partition_key="bench")
            builder = builder.with_state_persister(persister).initialize_from(
                persister, resume_at_next_action=True, default_state={"n": 0},
                default_entrypoint="work",
            )  # fmt: skip
            application = await builder.abuild()
            *_, state = await application.arun(halt_after=["end"])
            return state["n"]

        return run

    def _runner(
        self, persister: Any, actions: dict[str, Any], ways: list[Any], given: dict[str, Any],
        ends: tuple[str, str],
    ) -> Run:  # fmt: skip
        async def run(thread: str) -> int:
            builder = ApplicationBuilder().with_actions(**actions).with_transitions(*ways)
            builder = builder.with_identifiers(app_id=thread, partition_key="bench")
            if persister is not None:
                builder = builder.with_state_persister(persister)
            builder = builder.with_state(**given).with_entrypoint(ends[0])
            application = await builder.abuild()
            *_, state = await application.arun(halt_after=[ends[1]])
            return state["n"]

        return run


def _pooled(persister: Any) -> Any:
    """Its persister takes the parts of a DSN."""
    url = urlsplit(os.environ["STEPWELL_BENCH_PG_DSN"])
    host = parse_qs(url.query).get("host", [url.hostname or "localhost"])[0]
    return persister.from_values(
        db_name=url.path.lstrip("/") or "postgres", user=unquote(url.username or "postgres"),
        password=unquote(url.password or ""), host=unquote(host), port=url.port or 5432,
        use_pool=True, server_settings={"search_path": SCHEMA},
    )  # fmt: skip


__all__ = ["Burr"]

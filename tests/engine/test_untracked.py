"""`UntrackedValue`: what such a channel holds is in no record, whoever brings it."""

from __future__ import annotations

import asyncio
import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import open_saver
from stepwell.cache.sqlite import SqliteCache
from stepwell.channels import UntrackedValue
from stepwell.checkpoint.base import Saver
from stepwell.graph import START, StateGraph
from stepwell.graph.message import add_messages
from stepwell.types import interrupt
from tests.engine import _secret_kinds as kinds
from tests.engine._canary import holds
from tests.engine._secret_kinds import CONFIG, SECRET

BROUGHT = (
    kinds.given, kinds.written, kinds.in_place, kinds.sent, kinds.commanded, kinds.inside,
    kinds.output,
)  # fmt: skip
"""Those that put the secret into the key `secret` and nowhere else."""


class State(TypedDict, total=False):
    """As that of the kinds, but what `secret` holds is not tracked."""

    secret: Annotated[Any, UntrackedValue]
    log: Annotated[list[Any], operator.add]
    messages: Annotated[list[Any], add_messages]
    n: int


@pytest.mark.parametrize("kind", BROUGHT)
async def test_no_record_holds_it(
    saver: Saver, kind: kinds.Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Input, writes, arguments of sends, commands, a graph inside, the output of a keyed run."""
    monkeypatch.setattr(kinds, "State", State)
    await kind(saver)
    assert not await holds(saver, SECRET)
    monkeypatch.undo()
    await kind(saver.scoped("tracked"))
    assert await holds(saver, SECRET)


async def test_the_run_sees_it_and_the_next_one_does_not(saver: Saver) -> None:
    """Also the first node, to which it comes with the input; nothing is recorded anew for it."""
    seen: list[Any] = []

    async def look(state: State) -> dict[str, Any]:
        seen.append(state.get("secret"))
        return {"n": state["n"] + 1}

    async def ask(state: State) -> dict[str, Any]:
        seen.append(state.get("secret"))
        return {"log": [interrupt("?")]}

    builder = StateGraph(State).add_sequence([look, ask]).add_edge(START, "look")
    for durability in ("sync", "async", "exit"):
        thread = {"configurable": {"thread_id": durability}}
        seen.clear()
        graph = builder.compile(saver, durability=durability)
        await graph.ainvoke({"secret": [SECRET], "n": 0}, thread)
        assert seen == [[SECRET], [SECRET]]
        assert "secret" not in (await graph.aget_state(thread)).values
        states = [s async for s in graph.aget_state_history(thread)]
        assert [s.values.get("n") for s in states][:1] == [1]
    assert not await holds(saver, SECRET)


@pytest.mark.parametrize("tracked", [True, False])
def test_caches_keep_no_result_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracked: bool
) -> None:
    if not tracked:
        monkeypatch.setattr(kinds, "State", State)
    cache = SqliteCache(path=str(tmp_path / "cache.db"))

    async def twice() -> None:
        async with open_saver("memory://") as saver:
            await kinds.cached(saver, cache)
            graph = await kinds.cached(saver, cache)  # found, or made anew
            assert (await graph.ainvoke({"n": 0}, CONFIG))["secret"] == SECRET

    try:
        asyncio.run(twice())
    finally:
        cache.close()
    kept = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert (SECRET.encode() in kept) is tracked

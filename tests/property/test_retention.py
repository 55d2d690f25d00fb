"""Random threads with forks and graphs inside, folded and pruned at random moments: every
checkpoint that is left says what it said, in every namespace."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell import Retention, open_saver
from stepwell.checkpoint.base import CheckpointTuple, Saver
from tests.torture._upkeep import build, config_of, miscounted

ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.integers(1, 9)),
        st.tuples(st.just("fork"), st.integers(0, 200)),
        st.tuples(st.just("update"), st.integers(0, 200)),
        st.tuples(st.just("fold"), st.none()),
        st.tuples(st.just("prune"), st.tuples(st.integers(1, 30), st.integers(1, 60))),
        st.tuples(st.just("keep"), st.integers(2, 7)),
    ),
    min_size=2,
    max_size=9,
)


async def everything(saver: Saver) -> dict[tuple[str, str], CheckpointTuple]:
    """Every checkpoint of all namespaces, by namespace and id."""
    found = {}
    async for item in saver.alist({"configurable": {"thread_id": "t"}}):
        place = item.config["configurable"]
        found[place["checkpoint_ns"], place["checkpoint_id"]] = item
    return found


def shown(item: CheckpointTuple) -> Any:
    """What must not change; the parent may be one further back."""
    checkpoint = {k: v for k, v in item.checkpoint.items() if k != "updated_channels"}
    return item.config, checkpoint, item.metadata, item.pending_writes


async def act(saver: Saver, graph: Any, what: str, how: Any) -> None:
    """One thing that happens to the thread."""
    if what in ("run", "fork", "update"):
        states = [s async for s in graph.aget_state_history(config_of("t"))]
        state = states[0 if what == "run" else how % len(states)]
        size = len(state.values.get("log", []))
        config = {**config_of("t"), "configurable": dict(state.config["configurable"])}
        if what == "update":
            await graph.aupdate_state(config, {"goal": size}, as_node="add")
        else:
            goal = size + (how if what == "run" else 1 + how % 7)
            await graph.ainvoke({"goal": goal}, config_of("t") if what == "run" else config)
        return
    before = await everything(saver)
    if what == "fold":
        await saver.acompact()
        assert await everything(saver) == before
        return
    if what == "prune":
        policy, batch = Retention(keep_last=how[0]), how[1]
    else:
        policy, batch = Retention(keep=lambda c: c.step % how == 0), 5
    planned = await saver.aprune(policy=policy, batch_rows=batch, dry_run=True)
    assert await saver.aprune(policy=policy, batch_rows=batch) == planned
    after = await everything(saver)
    assert after.keys() <= before.keys()
    assert len(before) - len(after) == planned.checkpoints
    for place, item in after.items():
        assert shown(item) == shown(before[place])
        parent = item.parent_config
        assert parent is None or (place[0], parent["configurable"]["checkpoint_id"]) in after
    assert (await saver.aprune(policy=policy)).checkpoints == 0


@given(acts=ACTS)
@settings(max_examples=25, deadline=None)
def test_what_is_left_says_what_it_said(acts: list[tuple[str, Any]]) -> None:
    """Whatever came before, and whatever comes after."""

    async def run() -> None:
        async with open_saver("memory://") as saver:
            graph = build(saver)
            await graph.ainvoke({"goal": 14}, config_of("t"))
            for what, how in acts:
                await act(saver, graph, what, how)
            assert await miscounted(saver, "t") == []
            log = (await graph.aget_state(config_of("t"))).values["log"]
            assert log == [n * 7 % 101 for n in range(len(log))]

    asyncio.run(run())

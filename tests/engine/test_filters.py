"""`with_filter`: what a filter hides is nowhere in what is stored, whatever record it is in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepwell import KEEP, OMIT, Retention, open_saver
from stepwell.cache.sqlite import SqliteCache
from stepwell.checkpoint.base import Saver
from stepwell.errors import UnsupportedTypeError, UsageError
from stepwell.func import entrypoint, task
from stepwell.graph import START, StateGraph
from stepwell.types import Command, Send, interrupt
from tests.engine import _secret_kinds as kinds
from tests.engine._canary import holds
from tests.engine._secret_kinds import CONFIG, KINDS, SECRET, State, build

EVERYWHERE = (
    "secret", "log", "messages", "__interrupt__", "__resume__", "__error__", "__metadata__",
)  # fmt: skip
STANDS: dict[str, Any] = {"log": ["***"], "messages": [], "__metadata__": {"who": "***"}}


def hides(channel: str, value: Any) -> Any:
    """Whatever has the secret in it."""
    return OMIT if SECRET in repr(value) else KEEP


def masks(channel: str, value: Any) -> Any:
    """The same, with something in its place."""
    return STANDS.get(channel, "***") if SECRET in repr(value) else KEEP


def filters(saver: Saver) -> dict[str, Saver]:
    return {
        "omit": saver.with_filter(omit=EVERYWHERE),
        "redact": saver.with_filter(redact={n: STANDS.get(n, "***") for n in EVERYWHERE}),
        "where": saver.with_filter(where=hides),
        "mask": saver.with_filter(where=masks),
    }


async def test_no_record_of_any_kind_holds_what_is_hidden(
    saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither as it was written, nor folded, nor after pruning; without a filter it is found."""
    for kind in KINDS:
        for how, view in filters(saver).items():
            scope = f"{kind.__name__} {how}"
            await kind(view.scoped(scope))
            assert [t.thread_id async for t in saver.scoped(scope).alist_threads()] == ["t"]
            if saver_is_small(saver):
                assert not await holds(saver, SECRET), scope
    assert not await holds(saver, SECRET)
    for kind in KINDS:
        for how in filters(saver):
            view = saver.scoped(f"{kind.__name__} {how}")
            await view.acompact()
            await view.aprune(policy=Retention(keep_last=2))
    assert not await holds(saver, SECRET)
    for kind in KINDS:  # else all that would prove nothing
        if kind is kinds.cached:
            continue  # it has a test of its own
        monkeypatch.setattr(kinds, "SECRET", f"control-{kind.__name__}")
        await kind(saver.scoped(kind.__name__))
        assert await holds(saver, kinds.SECRET), kind


def saver_is_small(saver: Saver) -> bool:
    """Whether looking at everything after each step says at once where it goes wrong."""
    return type(saver).__name__ == "InMemorySaver"


def full(values: dict[str, Any]) -> dict[str, Any]:
    """Without lists that are empty, which is what reduced channels begin with."""
    return {k: v for k, v in values.items() if v != []}


async def steps(state: State) -> dict[str, Any]:
    return {"log": [state["secret"]], "n": state["n"] + 1}


async def test_the_run_sees_what_a_load_does_not(saver: Saver) -> None:
    """Omitted channels are empty, redacted ones replaced; the next run goes on from that."""
    seen: list[Any] = []

    async def look(state: State) -> dict[str, Any]:
        seen.append((state.get("secret"), state.get("log")))
        return {"log": ["looked"]}

    async def again(state: State) -> dict[str, Any]:
        return await look(state)

    view = saver.with_filter(omit=["secret"], redact={"log": ["***"]})
    graph = build(view, look, steps, again)
    out = await graph.ainvoke({"secret": SECRET, "log": ["given"], "n": 0}, CONFIG)
    assert full(out) == {"secret": SECRET, "log": ["given", "looked", SECRET, "looked"], "n": 1}
    assert seen == [(SECRET, ["given"]), (SECRET, ["given", "looked", SECRET])]
    for reader in (view, saver):
        values = (await build(reader, look, steps, again).aget_state(CONFIG)).values
        assert full(values) == {"log": ["***"], "n": 1}
    out = await graph.ainvoke({"secret": "other", "log": ["more"], "n": 0}, CONFIG)
    assert out["log"] == ["***", "more", "looked", "other", "looked"]


async def test_a_resumed_run_sees_what_was_stored(saver: Saver) -> None:
    """The input after a breakpoint, and the arguments of a send; what is not hidden stays."""
    seen: list[Any] = []

    async def work(arg: Any) -> dict[str, Any]:
        seen.append(arg)
        return {"log": [arg.get("n")]}

    def route(state: State) -> list[Send]:
        return [Send("work", {"secret": SECRET, "n": n}) for n in (1, 2)]

    builder = StateGraph(State).add_node("work", work)
    builder.add_conditional_edges(START, route, ["work"])
    view = saver.with_filter(omit=["secret"])
    graph = builder.compile(view, interrupt_before=["work"])
    await graph.ainvoke({"secret": SECRET, "n": 0}, CONFIG)
    assert seen == []
    out = await graph.ainvoke(None, CONFIG)
    assert seen == [{"n": 1}, {"n": 2}]
    assert full(out) == {"log": [1, 2], "n": 0}


async def test_where_decides_value_by_value(saver: Saver) -> None:
    """A channel may be hidden for a while: what comes after is stored again, exactly."""

    async def add(state: State) -> dict[str, Any]:
        return {"log": [state["n"]], "n": state["n"] + 1}

    def where(channel: str, value: Any) -> Any:
        asked.append(channel)
        if channel == "log" and isinstance(value, list) and 3 <= len(value) <= 5:
            return ["hidden"]
        return OMIT if channel == "n" and value == 2 else KEEP

    asked: list[str] = []
    builder = StateGraph(State).add_node("add", add).add_edge(START, "add")
    builder.add_conditional_edges("add", lambda s: "add" if s["n"] < 8 else "__end__")
    graph = builder.compile(saver.with_filter(where=where))
    assert (await graph.ainvoke({"n": 0}, CONFIG))["log"] == list(range(8))
    history = [s async for s in graph.aget_state_history(CONFIG)]
    assert [s.values.get("log") for s in history][:8] == [
        list(range(8)), list(range(7)), list(range(6)), ["hidden"], ["hidden"], ["hidden"],
        [0, 1], [0],
    ]  # fmt: skip
    assert [s.values.get("n") for s in history][:8] == [8, 7, 6, 5, 4, 3, None, 1]
    assert set(asked) >= {"log", "n", START}
    assert not any(name.startswith("branch:") for name in asked)


async def test_questions_answers_and_errors(saver: Saver) -> None:
    """A question keeps its id and can be answered; an error says that its text is not stored."""

    async def ask(state: State) -> dict[str, Any]:
        answer = interrupt({"q": SECRET})
        raise ValueError(f"{answer} is no answer")

    view = saver.with_filter(omit=["__interrupt__", "__resume__", "__error__"])
    graph = build(view, ask)
    await graph.ainvoke({"n": 0}, CONFIG)
    [question] = (await graph.aget_state(CONFIG)).interrupts
    assert (question.value, bool(question.id)) == (None, True)
    with pytest.raises(ValueError, match=SECRET):
        await graph.ainvoke(Command(resume={question.id: SECRET}), CONFIG)
    info = await saver.aget_thread("t")
    assert info is not None
    assert (info.status, info.error) == ("failed", "(not stored)")
    assert (await graph.aget_state(CONFIG)).tasks[0].error == "(not stored)"
    assert not await holds(saver, SECRET)


async def test_a_hidden_result_is_made_anew(saver: Saver) -> None:
    """There is nothing to hand out again; calls keep their order even so."""
    ran: list[str] = []

    @task
    async def first() -> str:
        ran.append("first")
        return SECRET

    @task
    async def second() -> str:
        ran.append("second")
        return "plain"

    @entrypoint(checkpointer=saver.with_filter(where=hides))
    async def flow(n: int) -> list[str]:
        found = [await first(), await second()]
        interrupt("?")
        return found

    await flow.ainvoke(1, CONFIG)
    assert await flow.ainvoke(Command(resume=1), CONFIG) == [SECRET, "plain"]
    assert ran == ["first", "second", "first"]


async def test_views_compose(saver: Saver) -> None:
    """Filters add up, in this or that order of scopes; a later one sees what the first left."""
    asked: list[Any] = []

    def where(channel: str, value: Any) -> Any:
        asked.append((channel, value))
        return KEEP

    view = saver.with_filter(redact={"secret": "***"}).scoped("a").with_filter(omit=["log"])
    both = view.with_filter(where=where)
    assert both.scope == "a"
    graph = build(both, steps)
    await graph.ainvoke({"secret": SECRET, "n": 0}, CONFIG)
    assert full((await graph.aget_state(CONFIG)).values) == {"secret": "***", "n": 1}
    assert SECRET not in repr(asked)
    assert await saver.aget_tuple(CONFIG) is None
    async with both:
        pass
    assert await saver.scoped("a").aget_tuple(CONFIG) is not None


def kept_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize("shared", [False, True])
async def test_caches_keep_nothing_of_what_is_hidden_in_part(tmp_path: Path, shared: bool) -> None:
    """Whoever found it would not have what the node returned."""
    cache = SqliteCache(path=str(tmp_path / "cache.db"))
    try:
        async with open_saver("memory://") as saver:
            await kinds.cached(saver if shared else saver.with_filter(omit=["secret"]), cache)
    finally:
        cache.close()
    assert (SECRET.encode() in kept_in(tmp_path)) is shared


async def test_a_key_does_not_tell_inputs_apart_by_what_is_hidden(saver: Saver) -> None:
    """Not even a digest of it is kept."""
    graph = build(saver.with_filter(omit=["secret"]), steps)
    first = await graph.ainvoke({"secret": "a", "n": 0}, CONFIG, idempotency_key="k")
    again = await graph.ainvoke({"secret": "b", "n": 0}, CONFIG, idempotency_key="k")
    assert full(first) == {"secret": "a", "log": ["a"], "n": 1}
    assert full(again) == {"log": ["a"], "n": 1}


async def test_what_cannot_be_stored_in_its_place_is_refused(saver: Saver) -> None:
    graph = build(saver.with_filter(redact={"secret": object()}), steps)
    with pytest.raises(UnsupportedTypeError, match="secret"):
        await graph.ainvoke({"secret": SECRET, "n": 0}, CONFIG)
    bad = build(saver.with_filter(redact={"__metadata__": "***"}), steps)
    with pytest.raises(UsageError, match="__metadata__"):
        await bad.ainvoke({"n": 0, "secret": 1}, {**CONFIG, "metadata": {"a": 1}})
    assert not await holds(saver, SECRET)


async def test_a_filter_that_fails_fails_the_run_and_leaks_nothing(saver: Saver) -> None:
    def where(channel: str, value: Any) -> Any:
        if SECRET in repr(value):
            raise RuntimeError("the filter is broken")
        return KEEP

    async def tell(state: State) -> dict[str, Any]:
        return {"secret": SECRET}

    async def fail(state: State) -> dict[str, Any]:
        raise ValueError(SECRET)

    view = saver.with_filter(where=where)
    with pytest.raises(RuntimeError, match="broken"):
        await build(view, tell).ainvoke({"n": 0}, CONFIG)
    with pytest.raises(ValueError, match=SECRET):
        await build(view.scoped("a"), fail).ainvoke({"n": 0}, CONFIG)
    info = await saver.scoped("a").aget_thread("t")
    assert info is not None
    assert info.error == "(not stored)"
    assert not await holds(saver, SECRET)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"omit": "secret"}, {"omit": [1]}, {"omit": 7}, {"redact": ["a"]}, {"redact": {1: 2}},
        {"where": "a"}, {"omit": ["a"], "redact": {"a": 1}},
    ],
)  # fmt: skip
def test_what_is_no_filter(options: dict[str, Any]) -> None:
    with open_saver("memory://") as saver, pytest.raises(UsageError):
        saver.with_filter(**options)


async def test_without_a_filter_the_encoder_is_the_plain_one(saver: Saver) -> None:
    """Nothing is asked, so nothing is paid."""
    from stepwell._engine.recorder import Recorder
    from stepwell._engine.screened import recorder
    from stepwell._journal.record import BodyEncoder

    made: list[Any] = []
    plain = Recorder.checkpoint

    def note(self: Recorder, *args: Any, **options: Any) -> None:
        made.append((type(self), type(self._encoder)))
        plain(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "checkpoint", note)
        await build(saver, steps).ainvoke({"secret": 1, "n": 0}, CONFIG)
    assert set(made) == {(Recorder, BodyEncoder)}
    assert recorder

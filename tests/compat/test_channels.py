"""Every channel and LangGraph's of its name, under the same sequence of operations."""

from __future__ import annotations

import importlib
import inspect
import operator
import typing
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("langgraph", reason="langgraph, the engine compared with, is not installed")

import stepwell.channels as ours
from stepwell.graph.message import _messages_delta_reducer as our_delta
from stepwell.types import Overwrite as OurOverwrite

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    theirs = importlib.import_module("langgraph.channels")
    TheirOverwrite: Any = importlib.import_module("langgraph.types").Overwrite
    their_delta: Any = importlib.import_module("langgraph.graph.message")._messages_delta_reducer
    lc: Any = importlib.import_module("langchain_core.messages")

pytestmark = pytest.mark.compat


def extend(state: list[Any], writes: Sequence[Any]) -> list[Any]:
    return [*state, *(item for write in writes for item in write)]


def joined(one: Any, other: Any) -> Any:
    return f"{one}+{other}"


Make = Callable[[Any], Any]
KINDS: dict[str, Make] = {
    "last": lambda c: c.LastValue(int),
    "last after finish": lambda c: c.LastValueAfterFinish(int),
    "any": lambda c: c.AnyValue(int),
    "ephemeral": lambda c: c.EphemeralValue(int),
    "ephemeral unguarded": lambda c: c.EphemeralValue(int, guard=False),
    "untracked": lambda c: c.UntrackedValue(int),
    "untracked unguarded": lambda c: c.UntrackedValue(int, False),
    "topic": lambda c: c.Topic(int),
    "accumulating topic": lambda c: c.Topic(int, accumulate=True),
    "barrier": lambda c: c.NamedBarrierValue(int, {0, 1, 2}),
    "barrier after finish": lambda c: c.NamedBarrierValueAfterFinish(int, {0, 1, 2}),
    "sum": lambda c: c.BinaryOperatorAggregate(int, operator.add),
    "list": lambda c: c.BinaryOperatorAggregate(list, operator.add),
    "abstract list": lambda c: c.BinaryOperatorAggregate(Sequence, operator.add),
    "annotated list": lambda c: c.BinaryOperatorAggregate(
        typing.Annotated[list[int], "note"], operator.add
    ),
    "no empty instance": lambda c: c.BinaryOperatorAggregate(inspect.Parameter, joined),
    "delta": lambda c: c.DeltaChannel(extend),
    "typed delta": lambda c: c.DeltaChannel(extend, Sequence, snapshot_frequency=3),
}
WRITES = {
    "topic": st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=2)),
    "list": st.lists(st.integers(0, 3), max_size=3),
    "": st.integers(0, 3),
}
OVERWRITES = (
    "sum",
    "list",
    "abstract list",
    "annotated list",
    "no empty instance",
    "delta",
    "typed delta",
)


def writes_of(kind: str) -> st.SearchStrategy[Any]:
    of_lists = "list" in kind or "delta" in kind
    plain = WRITES["list" if of_lists else "topic" if "topic" in kind else ""]
    if kind not in OVERWRITES:
        return plain
    value = st.one_of(plain, st.none()) if "delta" in kind else plain
    return st.one_of(plain, plain, st.tuples(st.sampled_from(["object", "dict", "json"]), value))


def operations(kind: str) -> st.SearchStrategy[list[Any]]:
    update = st.tuples(st.just("update"), st.lists(writes_of(kind), max_size=3))
    other = st.sampled_from(["consume", "finish", "copy", "reload", "update nothing"])
    return st.lists(st.one_of(update, update, st.tuples(other, st.none())), max_size=8)


def as_write(value: Any, overwrite: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    form, inner = value
    return {
        "object": overwrite(inner),
        "dict": {"__overwrite__": inner},
        "json": {"type": "__overwrite__", "value": inner},
    }[form]


def look(channel: Any) -> Any:
    try:
        value = channel.get()
    except Exception as error:
        return type(error).__name__
    return [plain(value), channel.is_available()]


def plain(value: Any) -> Any:
    """A copy that two engines can be compared in."""
    if type(value).__name__ == "Overwrite":
        return ["overwrite", value.value]
    return list(value) if isinstance(value, list) else value


def stored(channel: Any, kind: str) -> Any:
    """The stored form; names of a barrier are sorted here, and a set there."""
    form = channel.checkpoint()
    if "barrier after" in kind:
        return [sorted(form[0]), form[1]]
    if "barrier" in kind:
        return sorted(form)
    if "<object" in repr(form) or repr(form) == "MISSING":
        return "nothing"
    return plain(form)


def observe(channel: Any, kind: str, steps: list[Any], overwrite: Any) -> list[Any]:
    seen: list[Any] = [look(channel)]
    for what, values in steps:
        try:
            if what == "update":
                done: Any = channel.update([as_write(v, overwrite) for v in values])
            elif what == "update nothing":
                done = channel.update([])
            elif what == "reload":
                # LangGraph's delta channel is read back from its writes, not from this.
                channel, done = (
                    (channel if "delta" in kind else channel.from_checkpoint(channel.checkpoint())),
                    None,
                )
            elif what == "copy":
                fresh = channel.copy()
                done = [fresh == channel, fresh.key == channel.key, look(fresh)]
                channel = fresh
            else:
                done = getattr(channel, what)()
        except Exception as error:
            seen.append(type(error).__name__)
            return seen  # a superstep that fails is dropped with its channels
        seen.append([what, done, look(channel), "delta" in kind or stored(channel, kind)])
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_does_what_langgraphs_does(kind: str) -> None:
    @given(operations(kind))
    def run(steps: list[Any]) -> None:
        mine, their = KINDS[kind](ours), KINDS[kind](theirs)
        assert observe(mine, kind, steps, OurOverwrite) == observe(
            their, kind, steps, TheirOverwrite
        )

    run()


@pytest.mark.parametrize("kind", KINDS)
def test_types_and_key_are_langgraphs(kind: str) -> None:
    mine, their = KINDS[kind](ours), KINDS[kind](theirs)
    assert (mine.ValueType, mine.UpdateType, mine.key) == (
        their.ValueType,
        their.UpdateType,
        their.key,
    )
    mine.key = their.key = "k"
    assert mine.copy().key == mine.from_checkpoint(mine.checkpoint()).key == "k"


def test_equality_is_langgraphs() -> None:
    """Between any two kinds, also of other options, and with a lambda for a reducer."""
    more: dict[str, Make] = {
        **KINDS,
        "lambda": lambda c: c.BinaryOperatorAggregate(list, lambda a, b: a),
        "other sum": lambda c: c.BinaryOperatorAggregate(int, operator.mul),
        "other barrier": lambda c: c.NamedBarrierValue(int, {1}),
        "lambda delta": lambda c: c.DeltaChannel(lambda a, b: a),
        "other last": lambda c: c.LastValue(str),
    }
    for one in more.values():
        for other in more.values():
            assert (one(ours) == other(ours)) == (one(theirs) == other(theirs))
    assert ours.LastValue(int) != 1


NAMES = [n for n in theirs.__all__ if n != "BaseChannel"]


@pytest.mark.parametrize("name", NAMES)
def test_constructors_take_what_langgraphs_take(name: str) -> None:
    mine = inspect.signature(getattr(ours, name)).parameters
    for key, parameter in inspect.signature(getattr(theirs, name)).parameters.items():
        assert (mine[key].kind, mine[key].default) == (parameter.kind, parameter.default)


@pytest.mark.parametrize("name", theirs.__all__)
def test_names_are_in_the_modules_where_langgraph_has_them(name: str) -> None:
    module = getattr(theirs, name).__module__.replace("langgraph", "stepwell", 1)
    assert getattr(importlib.import_module(module), name) is getattr(ours, name)


def test_a_channel_of_somebody_is_no_channel_without_its_methods() -> None:
    for channels in (ours, theirs):
        with pytest.raises(TypeError):
            channels.BaseChannel(int)


@pytest.mark.parametrize("frequency", [0, -1])
def test_a_delta_channel_wants_a_positive_frequency(frequency: int) -> None:
    for channels in (ours, theirs):
        with pytest.raises(ValueError, match="snapshot_frequency"):
            channels.DeltaChannel(extend, snapshot_frequency=frequency)


@given(
    st.lists(
        st.one_of(st.lists(st.integers(0, 3), max_size=2), st.just("overwrite"), st.just("none"))
    )
)
def test_delta_channels_replay_writes_as_langgraphs(values: list[Any]) -> None:
    shown = []
    for channels, overwrite in ((ours, OurOverwrite), (theirs, TheirOverwrite)):
        channel = channels.DeltaChannel(extend)
        channel = channel.from_checkpoint(channel.checkpoint())
        made = {"overwrite": overwrite([9]), "none": overwrite(None)}
        channel.replay_writes([("t", "c", made[v] if isinstance(v, str) else v) for v in values])
        shown.append(channel.get())
    assert shown[0] == shown[1]


KNOWN = st.sampled_from(["a", "b", "c"])
one = st.one_of(
    st.builds(lambda i, text: ("say", i, text), KNOWN, st.text(max_size=2)),
    st.builds(lambda i: ("remove", i, ""), KNOWN),
)


@given(st.lists(st.lists(st.one_of(one, st.lists(one, max_size=4)), max_size=3), max_size=4))
def test_conversations_in_a_delta_channel(steps: list[Any]) -> None:
    """LangGraph's batch reducer of messages."""

    def made(item: Any) -> Any:
        if isinstance(item, list):
            return [made(i) for i in item]
        what, name, text = item
        return lc.RemoveMessage(id=name) if what == "remove" else lc.HumanMessage(text, id=name)

    mine: Any = []
    their: Any = []
    for writes in steps:
        mine, their = our_delta(mine, made(writes)), their_delta(their, made(writes))
        assert [(m.id, m.content) for m in mine] == [(m.id, m.content) for m in their]

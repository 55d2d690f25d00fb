"""The planner and the journal agree: folding what was recorded gives the state, always."""

from __future__ import annotations

import operator
import zlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stepwell._engine.write import WriteRule, to_channel
from stepwell._journal.load import Folded, Revived, add_row, contributions
from stepwell._journal.record import BodyEncoder, Entry
from stepwell._plan.apply import Outside, apply, compose, deltas
from stepwell._plan.spec import GraphSpec, NodeSpec
from stepwell._plan.state import ThreadState
from stepwell._plan.tasks import plan
from stepwell.channels import (
    AnyValue,
    BinaryOperatorAggregate,
    DeltaChannel,
    EphemeralValue,
    LastValue,
    LastValueAfterFinish,
    NamedBarrierValue,
    Topic,
    UntrackedValue,
)
from stepwell.channels.base import OpKind
from stepwell.checkpoint.driver import CheckpointRow
from stepwell.constants import START, TASKS
from stepwell.graph._message_delta import MessageDelta
from stepwell.graph.message import REMOVE_ALL_MESSAGES, MessageReducer, RemoveMessage
from stepwell.types import Overwrite, Send
from tests.property.strategies import same, sample_codec, supported_values

NODES = ("a", "b", "c", "late")
KEYS = (
    "last",
    "listed",
    "total",
    "merged",
    "talk",
    "batch",
    "heap",
    "topic",
    "once",
    "any",
    "secret",
)


def extended(state: list[Any], writes: list[Any]) -> list[Any]:
    """A reducer of batches that nobody knows."""
    return [*state, *(item for write in writes for item in write)]


def make_spec() -> GraphSpec:
    """A graph with every kind of channel; its nodes may write anything."""
    channels: dict[str, Any] = {
        "last": LastValue(Any, key="last"),
        "listed": BinaryOperatorAggregate(list, operator.add, key="listed"),
        "total": BinaryOperatorAggregate(int, operator.add, key="total"),
        "merged": BinaryOperatorAggregate(dict, operator.or_, key="merged"),
        "talk": BinaryOperatorAggregate(list, MessageReducer(), key="talk"),
        "batch": DeltaChannel(MessageDelta(), list, key="batch"),
        "heap": DeltaChannel(extended, list, key="heap"),
        "topic": Topic(Any, accumulate=True, key="topic"),
        "once": EphemeralValue(Any, guard=False, key="once"),
        "any": AnyValue(Any, key="any"),
        "secret": UntrackedValue(Any, guard=False, key="secret"),
        TASKS: Topic(Send, key=TASKS),
        START: EphemeralValue(Any, key=START),
        "join:a+b:c": NamedBarrierValue(str, ("a", "b"), key="join:a+b:c"),
    }
    nodes = {}
    for name in NODES:
        node = nodes[name] = NodeSpec(name)
        node.triggers = (to_channel(name),)
        node.reads = KEYS
        node.writer = WriteRule(name, KEYS)
        channels[to_channel(name)] = (
            LastValueAfterFinish(Any, key=to_channel(name))
            if name == "late"
            else EphemeralValue(Any, guard=False, key=to_channel(name))
        )
    nodes["c"].triggers = (*nodes["c"].triggers, "join:a+b:c")
    return GraphSpec("g", nodes=nodes, channels=channels, state_keys=KEYS, output_keys=KEYS)


small = st.integers(-5, 5)
said = st.builds(
    lambda name, content: {"role": "user", "content": content, "id": name},
    st.sampled_from("abcdefgh"),
    st.one_of(st.text(max_size=3), st.tuples(small, small)),
)
write = st.one_of(
    st.tuples(st.just("listed"), st.lists(supported_values(), max_size=3)),
    st.tuples(st.just("listed"), st.builds(Overwrite, st.lists(small, max_size=2))),
    st.tuples(st.just("total"), small),
    st.tuples(st.just("merged"), st.dictionaries(st.text(max_size=3), small, max_size=3)),
    st.tuples(st.just("talk"), st.lists(said, max_size=4)),
    st.tuples(st.just("talk"), st.sampled_from("abcdefgh").map(lambda i: [RemoveMessage(i)])),
    st.just(
        ("talk", [RemoveMessage(REMOVE_ALL_MESSAGES), {"role": "ai", "content": "", "id": "z"}])
    ),
    st.tuples(st.just("batch"), st.lists(said, max_size=3)),
    st.tuples(st.just("batch"), st.sampled_from("abcdefgh").map(RemoveMessage)),
    st.tuples(st.just("heap"), st.lists(supported_values(), max_size=3)),
    st.tuples(st.just("topic"), st.one_of(small, st.lists(small, max_size=3))),
    st.tuples(st.just("once"), supported_values()),
    st.tuples(st.just("any"), small),
    st.tuples(st.just("secret"), st.text()),
    st.tuples(st.just(TASKS), st.builds(Send, st.sampled_from(NODES), supported_values())),
    *(st.tuples(st.just(to_channel(n)), st.none()) for n in NODES),
    st.just(("join:a+b:c", "a")),
    st.just(("join:a+b:c", "b")),
)
step = st.tuples(
    st.lists(st.lists(write, max_size=4), min_size=1, max_size=4),
    st.one_of(st.none(), supported_values()),
)


def _possible(writes: list[Any], there: set[str]) -> list[Any]:
    """Without removals that nobody is left for: they are an error, which is not tested here."""
    kept = []
    for channel, value in writes:
        if channel == "talk":
            for message in value:
                if type(message) is not RemoveMessage:
                    there.add(message["id"])
                elif message.id == REMOVE_ALL_MESSAGES:
                    there.clear()
            if any(type(m) is RemoveMessage and m.id not in there for m in value[:1]) and (
                value[0].id != REMOVE_ALL_MESSAGES
            ):
                continue
            there -= {m.id for m in value if type(m) is RemoveMessage}
        kept.append((channel, value))
    return kept


def contribute(state: ThreadState, spec: GraphSpec, drawn: Any) -> tuple[list[Any], list[Entry]]:
    """Let the tasks that are due write what was drawn; the first also writes `last`."""
    writes, last = drawn
    tasks = plan(spec, state) or []
    done, entries = [], []
    for position, own in enumerate(writes):
        made = [("last", last), *own] if position == 0 and last is not None else list(own)
        # Two Overwrites in one step are an error, which is not what is tested here.
        if sum(isinstance(v, Overwrite) for _, v in made) > 1 or (
            position and any(isinstance(v, Overwrite) for _, v in made)
        ):
            made = [w for w in made if not isinstance(w[1], Overwrite)]
        if position < len(tasks):
            task = tasks[position]
            pull = task.index < 0
            done.append((task, made))
            entries.append(Entry(task.name, task.index, task.triggers if pull else (), made))
        else:
            done.append((Outside("a", (0, "", position), ("__interrupt__",)), made))
            entries.append(Entry("a", -2, (), made))
    order = sorted(range(len(done)), key=lambda i: done[i][0].order)
    there = {m["id"] for m in state.values.get("talk", ())}
    for i in order:
        done[i][1][:] = _possible(done[i][1], there)  # the entry holds the same list
    return [done[i] for i in order], [entries[i] for i in order]


def row_of(seq: int, body: bytes) -> CheckpointRow:
    return CheckpointRow(0, seq, None, seq, 1, 1, 1, seq, 1, zlib.crc32(body), body)


def stored(state: ThreadState, spec: GraphSpec) -> dict[str, Any]:
    """What a load must give back, per persisted channel."""
    return {k: state.channels[k].checkpoint() for k in spec.channels if state.channels[k].persisted}


@given(st.lists(step, min_size=1, max_size=6))
def test_folding_the_records_gives_the_state(steps: list[Any]) -> None:
    """fold(records) == state in values, types, versions and what is due, after every step."""
    spec, codec = make_spec(), sample_codec()
    state, folded = ThreadState(spec), Folded()
    encoder = BodyEncoder(codec, untracked=spec.untracked)
    for seq, drawn in enumerate(steps, 1):
        done, entries = contribute(state, spec, drawn)
        changed = apply(spec, state, done)
        ops = deltas(spec, state, changed)
        body, mended = encoder.step_body(entries, ops, check=state.channels)
        assert mended == []  # nobody changed anything in place
        document = add_row(folded, row_of(seq, body))
        copy = folded.snapshot()
        loaded = ThreadState(
            spec,
            Revived(copy, codec).values,
            version=copy.version,
            versions=dict(copy.versions),
            seen=copy.seen,
        )
        assert same(stored(loaded, spec), stored(state, spec))
        known = {k: v for k, v in state.versions.items() if spec.channels[k].persisted}
        assert loaded.versions == known
        assert [(t.name, t.index) for t in plan(spec, loaded)] == [
            (t.name, t.index) for t in _unordered(spec, state)
        ]
        shown = [(c.name, c.kind, c.writes) for c in contributions(document, copy, codec)]
        made = [
            (e.name, e.kind, [w for w in e.writes if spec.channels[w[0]].persisted])
            for e in entries
        ]
        assert same(shown, made)


@given(st.lists(st.tuples(step, st.booleans()), min_size=1, max_size=6), st.booleans())
def test_the_short_way_writes_the_bytes_of_the_long_one(steps: list[Any], encoded: bool) -> None:
    """The body of a superstep of one task, joined from pieces, is the one that is built as a
    document, also where it is time to look for changes in place; and both leave the encoder
    knowing the same."""
    spec, codec = make_spec(), sample_codec()
    state = ThreadState(spec)
    short, long = (BodyEncoder(codec, untracked=spec.untracked) for _ in range(2))
    for drawn, looks in steps:
        done, entries = contribute(state, spec, drawn)
        if encoded:
            entries = [e._replace(encoded=long.writes(e.writes)) for e in entries]
        ops = deltas(spec, state, apply(spec, state, done))
        check = state.channels if looks else None
        wanted = long.step_body(entries, ops, check=check)
        twice = len(entries) != 1 or len({c for c, _ in entries[0].writes}) < len(entries[0].writes)
        found = short.plain_body(entries, ops, looks=looks)
        assert (found is None) <= (twice or (looks and bool(long.tracks)))
        assert (found or short.step_body(entries, ops, check=check)) == wanted
        assert known_of(short) == known_of(long)


def known_of(encoder: BodyEncoder) -> dict[str, tuple[int, int, bytes | None]]:
    return {name: (t.crc, t.size, t.data) for name, t in encoder.tracks.items()}


def _unordered(spec: GraphSpec, state: ThreadState) -> list[Any]:
    """The plan as somebody sees it who does not know the last barrier."""
    known, state.updated = state.updated, None
    tasks = plan(spec, state)
    state.updated = known
    return tasks


@given(st.lists(step, min_size=1, max_size=4), st.randoms())
def test_the_barrier_does_not_depend_on_the_order_of_completion(steps: list[Any], rnd: Any) -> None:
    """Any permutation of the contributions leads to the same state."""
    spec = make_spec()
    one, other = ThreadState(spec), ThreadState(spec)
    for drawn in steps:
        done, _ = contribute(one, spec, drawn)
        shuffled = list(done)
        rnd.shuffle(shuffled)
        apply(spec, one, done)
        apply(spec, other, shuffled)
        assert same(stored(one, spec), stored(other, spec))
        assert one.versions == other.versions
        assert one.seen == other.seen


@given(st.lists(step, min_size=2, max_size=5))
def test_composed_operations_do_what_the_single_ones_do(steps: list[Any]) -> None:
    """Applying compose(a, b) to the stored value gives what a and then b give."""
    spec, codec = make_spec(), sample_codec()
    state = ThreadState(spec)
    total: dict[str, Any] = {}
    for drawn in steps:
        done, _ = contribute(state, spec, drawn)
        total = compose(total, deltas(spec, state, apply(spec, state, done)), state.channels)
    body, _ = BodyEncoder(codec, untracked=spec.untracked).step_body([], total)
    folded = Folded()
    add_row(folded, row_of(1, body))
    loaded = ThreadState(spec, Revived(folded, codec).values)
    assert same(stored(loaded, spec), stored(state, spec))
    assert all(op.kind in OpKind for op in total.values())

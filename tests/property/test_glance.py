"""Looking at a stored state shows what making its channels and planning would."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell._plan.glance import due_at, values_at
from stepwell._plan.state import ThreadState
from stepwell._plan.tasks import plan
from stepwell.channels import EphemeralValue, Topic
from stepwell.constants import TASKS
from stepwell.graph import START, StateGraph
from stepwell.graph.message import add_messages
from stepwell.types import Send


class State(TypedDict, total=False):
    """A key of every kind."""

    n: int
    log: Annotated[list[int], operator.add]
    messages: Annotated[list[Any], add_messages]
    signal: Annotated[str, EphemeralValue(str)]
    topic: Annotated[list[int], Topic(int, accumulate=True)]


def node(state: State) -> dict[str, Any]:
    return {}


GRAPH = StateGraph(State)
for name in "abcd":
    GRAPH.add_node(name, node, defer=name == "d")
GRAPH.add_edge(START, "a").add_edge(["a", "b"], "c").add_edge("c", "d")
SPEC = GRAPH.compile()._program.spec

STORED = {
    "n": st.none() | st.integers(),
    "log": st.lists(st.integers()),
    "messages": st.just([]),
    "signal": st.text() | st.none(),
    "topic": st.lists(st.integers()),
    START: st.just({"n": 1}),
    TASKS: st.lists(st.sampled_from([Send("a", 1), Send("b", {"n": 2})])),
}
for channel in SPEC.channels:
    if channel.startswith("branch:to:"):
        STORED[channel] = st.none()
    elif channel.startswith("join:"):
        STORED[channel] = st.frozensets(st.sampled_from("ab"))
for channel in ("branch:to:d",):
    STORED[channel] = st.tuples(st.none(), st.booleans())
VERSIONS = st.dictionaries(st.sampled_from(sorted(SPEC.channels)), st.integers(1, 4))


@given(
    stored=st.fixed_dictionaries({}, optional=STORED),
    versions=VERSIONS,
    seen=st.dictionaries(st.sampled_from(["__start__", *"abcd"]), VERSIONS),
)
@settings(max_examples=300, deadline=None)
def test_a_glance_shows_what_a_state_would(
    stored: dict[str, Any], versions: dict[str, int], seen: dict[str, dict[str, int]]
) -> None:
    state = ThreadState(SPEC, stored, versions=versions, seen=seen)
    shown = values_at(SPEC, stored)
    assert list(shown.items()) == list(state.values.items())
    tasks = plan(SPEC, state, inputs=False)
    due = due_at(SPEC, stored, versions, seen)
    assert [(t.name, t.index, t.order) for t in due] == [(t.name, t.index, t.order) for t in tasks]

"""Input is taken in at once where nobody can tell: a run without a saver or a stream is the run
that it is with them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell._plan.apply import Outside, apply, take_in
from stepwell._plan.state import ThreadState
from stepwell.channels import EphemeralValue, LastValue, UntrackedValue
from stepwell.checkpoint.memory import InMemorySaver
from stepwell.errors import GraphRecursionError, InvalidUpdateError
from stepwell.graph import END, START, StateGraph
from stepwell.managed import RemainingSteps

THREAD = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    """A list that grows, a value, and how many supersteps are left."""

    seen: Annotated[list[Any], operator.add]
    n: int
    left: RemainingSteps


class Doubled(LastValue[int]):
    """Shows twice what was written."""

    def get(self) -> int:
        return super().get() * 2


class Counted(LastValue[int]):
    """Adds one to whatever is written."""

    def update(self, values: Sequence[int]) -> bool:
        return super().update([value + 1 for value in values])


KINDS: dict[str, Any] = {
    "n": int,
    "text": str,
    "most": Annotated[int, max],
    "list": Annotated[list[int], operator.add],
    "once": Annotated[int, EphemeralValue(int)],
    "hidden": Annotated[int, UntrackedValue(int)],
    "doubled": Annotated[int, Doubled(int)],
}


class Kinds(TypedDict):
    """One of each."""

    doubled: Annotated[int, Doubled(int)]
    counted: Annotated[int, Counted(int)]


def look(state: State, config: Any) -> dict[str, Any]:
    assert config is not None
    return {"seen": [(config["metadata"]["langgraph_step"], list(state), state["left"])]}


look.__annotations__["config"] = "RunnableConfig"


def builder() -> StateGraph:
    graph = StateGraph(State).add_node("one", look).add_node("two", look)
    return graph.add_edge(START, "one").add_edge("one", "two").add_edge("two", END)


async def outcomes(given: Any, config: dict[str, Any]) -> list[Any]:
    """What becomes of an input: without a saver, with one, and streamed."""

    async def streamed() -> Any:
        chunks = [c async for c in builder().compile().astream(given, config, stream_mode="values")]
        return chunks[-1] if chunks else None

    kept = builder().compile(checkpointer=InMemorySaver())
    found = []
    for run in (
        lambda: builder().compile().ainvoke(given, config),
        lambda: kept.ainvoke(given, {**config, **THREAD}),
        streamed,
    ):
        try:
            found.append(await run())
        except Exception as exc:  # compared
            found.append((type(exc), str(exc)))
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, 25])
@pytest.mark.parametrize(
    "given", [{"n": 1}, {"n": 1, "seen": [0], "other": 2}, {}, {"seen": 5}, ["n"], "n"]
)
async def test_a_run_is_the_same_whoever_looks_on(given: Any, limit: int) -> None:
    plain, kept, streamed = await outcomes(given, {"recursion_limit": limit})
    assert plain == kept == streamed


async def test_supersteps_are_numbered_as_if_the_hidden_one_had_run() -> None:
    result = await builder().compile().ainvoke({"n": 1}, {"recursion_limit": 25})
    assert [step for step, _, _ in result["seen"]] == [1, 2]


async def test_what_cannot_be_taken_in_names_the_first_node() -> None:
    with pytest.raises(InvalidUpdateError, match="the input must be a dict") as caught:
        await builder().compile().ainvoke("text")
    assert any("__start__" in note for note in caught.value.__notes__)


async def test_the_limit_holds_without_a_saver() -> None:
    with pytest.raises(GraphRecursionError):
        await builder().compile().ainvoke({"n": 1}, {"recursion_limit": 1})


async def test_a_channel_with_a_rule_of_its_own_is_asked() -> None:
    """The barrier writes into our channels itself, but not into what derives from them."""

    graph = StateGraph(Kinds).add_node("same", lambda state: state).add_edge(START, "same")
    assert await graph.compile().ainvoke({"doubled": 1, "counted": 1}) == {
        "doubled": 4,
        "counted": 3,
    }


@given(writes=st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 9))))
def test_taking_in_all_keys_at_once_is_applying_them(writes: list[tuple[str, Any]]) -> None:
    schema = TypedDict("schema", KINDS)  # type: ignore[misc]
    graph = StateGraph(schema).add_node("node", lambda _: {}).add_edge(START, "node").compile()
    spec = graph._program.spec
    made = [(k, [v] if k == "list" else v) for k, v in writes] + [("branch:to:node", None)]
    states, errors = [], []
    for take in (lambda s: take_in(spec, s, Outside(START), made),
                 lambda s: apply(spec, s, [(Outside(START), made)])):  # fmt: skip
        state = ThreadState(spec)
        try:
            take(state)
        except InvalidUpdateError as error:
            errors.append(str(error))
        states.append(
            [{k: c.checkpoint() for k, c in state.channels.items()}]
            + [getattr(state, name) for name in ThreadState.__slots__ if name != "channels"]
            + [list(state.values), list(state.versions)]
        )
    assert states[0] == states[1]
    assert len(errors) in (0, 2)
    assert len(set(errors)) <= 1

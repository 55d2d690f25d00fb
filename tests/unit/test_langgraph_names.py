"""Names and values of the floor that all others stand on, beside LangGraph's own."""

from __future__ import annotations

import dataclasses
import importlib
import typing
import warnings
from datetime import timedelta
from typing import Any, TypedDict

import pytest

import stepwell
from stepwell import constants, errors, runtime, types
from stepwell import warnings as our_warnings

pytest.importorskip("langgraph", reason="langgraph, the package compared with, is not installed")


def theirs(module: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"langgraph.{module}")


@pytest.fixture(scope="module")
def lg_types() -> Any:
    return theirs("types")


def both_say(lg_types: Any, make: Any) -> Any:
    """What `make(types module)` gives on both, which must be equal."""
    mine, other = make(types), make(lg_types)
    assert mine == other
    return mine


VALUES = [
    lambda t: repr(t.Send("n", {"a": 1})),
    lambda t: repr(t.Send("n", 1, timeout=2)),
    lambda t: t.Send("n", 1) == t.Send("n", 1),
    lambda t: t.Send("n", 1) == t.Send("n", 1, timeout=2),
    lambda t: hash(t.Send("n", 1)) == hash(t.Send("n", 1)),
    lambda t: t.Send("n", 1) == "n",
    lambda t: repr(t.Command()),
    lambda t: repr(t.Command(goto="x", update={"a": [1]}, resume=0)),
    lambda t: repr(t.Command(goto=["x", t.Send("y", 1)], graph=t.Command.PARENT)),
    lambda t: t.Command(goto="x") == t.Command(goto="x"),
    lambda t: hash(t.Command(goto="x")) == hash(t.Command(goto="x")),
    lambda t: repr(t.Interrupt("v", "i")),
    lambda t: repr(t.Interrupt("v")),
    lambda t: t.Interrupt("v", "i") == t.Interrupt("v", "i"),
    lambda t: repr(t.Interrupt(value="v", id="i", response_schema={"type": "string"})),
    lambda t: repr(t.Overwrite([1])),
    lambda t: t.Overwrite([1]) == t.Overwrite([1]),
    lambda t: repr(t.StateUpdate({"a": 1})),
    lambda t: t.StateUpdate._fields,
    lambda t: t.PregelTask._fields,
    lambda t: t.PregelTask._field_defaults,
    lambda t: t.StateSnapshot._fields,
    lambda t: t.CacheKey._fields,
    lambda t: t.RetryPolicy()[:5],
    lambda t: t.RetryPolicy._fields,
    lambda t: repr(t.TimeoutPolicy(run_timeout=1.0)),
    lambda t: repr(t.TimeoutPolicy.coerce(timedelta(seconds=2))),
    lambda t: t.TimeoutPolicy.coerce(None),
    lambda t: t.TimeoutPolicy.coerce(t.TimeoutPolicy()),
    lambda t: t.omit_payload("secret"),
    lambda t: repr(t.TracePolicy()),
    lambda t: repr(t.GraphOutput({"a": 1})),
    lambda t: [f.name for f in dataclasses.fields(t.PregelExecutableTask)],
    lambda t: typing.get_args(t.StreamMode),
    lambda t: typing.get_args(t.Durability),
    lambda t: [t.ensure_valid_checkpointer(c) for c in (None, True, False)],
]


@pytest.mark.parametrize("make", VALUES)
def test_values_look_and_compare_as_langgraphs_do(lg_types: Any, make: Any) -> None:
    both_say(lg_types, make)


PARTS = [
    "TaskPayload", "TaskResultPayload", "CheckpointTask", "CheckpointPayload", "ValuesStreamPart",
    "UpdatesStreamPart", "MessagesStreamPart", "CustomStreamPart", "CheckpointStreamPart",
    "TasksStreamPart", "DebugStreamPart",
]  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_stream_parts_have_langgraphs_keys(lg_types: Any, name: str) -> None:
    mine, other = getattr(types, name), getattr(lg_types, name)
    assert list(mine.__annotations__) == list(other.__annotations__)
    # Where annotations are texts, Python does not see what is not required.
    optional = {key for key, kind in other.__annotations__.items() if "NotRequired" in str(kind)}
    assert mine.__required_keys__ == other.__required_keys__ - optional


def test_stream_part_takes_the_state_and_then_the_output() -> None:
    class State(TypedDict):
        a: int

    class Output(TypedDict):
        b: int

    part = types.StreamPart[State, Output]
    assert types.CheckpointStreamPart[State] in typing.get_args(part)
    assert types.ValuesStreamPart[Output] in typing.get_args(part)
    assert types.ValuesStreamPart[State] not in typing.get_args(part)


def test_annotations_of_stream_parts_resolve() -> None:
    for name in PARTS:
        assert typing.get_type_hints(getattr(types, name))


def test_the_module_of_types_lacks_nothing(lg_types: Any) -> None:
    assert {n for n in lg_types.__all__ if not hasattr(types, n)} == set()


@pytest.mark.parametrize("module", ["errors", "constants", "runtime", "warnings", "typing"])
def test_modules_have_every_public_name(module: str) -> None:
    mine = importlib.import_module(f"stepwell.{module}")
    assert [n for n in theirs(module).__all__ if not hasattr(mine, n)] == []


def test_errors_that_langgraph_lets_users_catch_are_of_the_same_kind() -> None:
    other = theirs("errors")
    for name in other.__all__:
        mine, lg = getattr(errors, name), getattr(other, name)
        if not (isinstance(mine, type) and issubclass(mine, BaseException)):
            continue
        bases = {c.__name__ for c in lg.__mro__} - {"Exception", lg.__name__}
        assert bases <= {c.__name__ for c in mine.__mro__}, name


def test_constants_have_the_same_values() -> None:
    other = theirs("constants")
    assert {n: getattr(constants, n) for n in other.__all__} == {
        n: getattr(other, n) for n in other.__all__
    }


@pytest.mark.parametrize("name", ["Send", "Interrupt"])
def test_old_home_of_types_still_serves_them_with_a_warning(name: str) -> None:
    with pytest.warns(our_warnings.LangGraphDeprecatedSinceV10, match=f"stepwell.types.*{name}"):
        assert getattr(constants, name) is getattr(types, name)


@pytest.mark.parametrize("name", sorted(constants._OLD))
def test_old_constants_have_langgraphs_values(name: str) -> None:
    private = theirs("_internal._constants")
    with pytest.warns(our_warnings.LangGraphDeprecatedSinceV10):
        assert getattr(constants, name) == getattr(private, name)


def test_unknown_constant_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'NOPE'"):
        constants.NOPE  # noqa: B018


def test_interrupt_id_has_an_old_name() -> None:
    question = types.Interrupt("v", "the id")
    with pytest.warns(our_warnings.LangGraphDeprecatedSinceV10, match="interrupt_id"):
        assert question.interrupt_id == "the id"


def test_interrupt_of_a_namespace_has_an_id_of_its_own() -> None:
    one, two = types.Interrupt.from_ns("v", "a:1"), types.Interrupt.from_ns("v", "b:1")
    assert len(one.id) == 32
    assert one.id != two.id
    assert types.Interrupt("v", ns=["a:1"]).id == one.id
    assert types.Interrupt("v", "mine", ns=["a:1"]).id == "mine"


def test_interrupt_refuses_an_argument_nobody_ever_took() -> None:
    with pytest.raises(TypeError, match="nonsense"):
        types.Interrupt("v", nonsense=1)


def test_graph_output_reads_like_the_dict_of_old() -> None:
    question = types.Interrupt("v", "i")
    output = types.GraphOutput({"a": 1}, (question,))
    with pytest.warns(our_warnings.LangGraphDeprecatedSinceV11, match="result.value"):
        assert output["a"] == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", our_warnings.LangGraphDeprecatedSinceV11)
        assert output["__interrupt__"] == (question,)
        assert "a" in output
        assert "__interrupt__" in output
        assert "b" not in output
        with pytest.raises(KeyError):
            output["b"]


def test_graph_output_of_an_object_reads_its_attributes() -> None:
    output = types.GraphOutput(timedelta(seconds=5))
    with pytest.warns(our_warnings.LangGraphDeprecatedSinceV11, match="key in result"):
        assert "days" in output
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", our_warnings.LangGraphDeprecatedSinceV11)
        assert output["seconds"] == 5
        assert "__interrupt__" not in output
        with pytest.raises(KeyError):
            output["nothing"]


def test_ensure_valid_checkpointer_takes_savers_and_nothing_else() -> None:
    from stepwell.checkpoint.memory import InMemorySaver

    saver = InMemorySaver()
    assert types.ensure_valid_checkpointer(saver) is saver
    for wrong in ("sqlite", 1, object(), InMemorySaver):
        with pytest.raises(TypeError, match="Invalid checkpointer"):
            types.ensure_valid_checkpointer(wrong)


def test_runtime_merges_and_patches_as_langgraphs_does() -> None:
    other = theirs("runtime")
    for module in (runtime, other):
        info = module.ExecutionInfo("c", "ns", "t")
        base = module.Runtime(context={"a": 1}, store="s", execution_info=info)
        merged = base.merge(module.Runtime(store="other", previous=0))
        assert (merged.context, merged.store, merged.previous) == ({"a": 1}, "other", 0)
        assert merged.execution_info is info
        assert base.patch_execution_info(node_attempt=2).execution_info.node_attempt == 2
        assert base.override(store=None).store is None
        with pytest.raises(RuntimeError, match="Cannot patch execution_info"):
            module.DEFAULT_RUNTIME.patch_execution_info(node_attempt=2)


def test_server_info_comes_from_configurable_keys() -> None:
    class User:
        identity = "me"

    assert runtime.server_info({}) is None
    assert runtime.server_info({"langgraph_auth_user": "no user"}) is None
    user = User()
    told = runtime.server_info({"assistant_id": 7, "langgraph_auth_user": user})
    assert told == runtime.ServerInfo("7", "", user)


def test_deprecations_say_since_when_and_until_when() -> None:
    other = theirs("warnings")
    for name in other.__all__:
        if name == "LangGraphDeprecationWarning":
            made = [getattr(m, name)("Old.", since=(0, 6)) for m in (our_warnings, other)]
        else:
            made = [getattr(m, name)("Old.") for m in (our_warnings, other)]
        assert str(made[0]) == str(made[1])
        assert made[0].expected_removal == made[1].expected_removal


def test_node_interrupt_warns() -> None:
    with pytest.warns(our_warnings.LangGraphDeprecatedSinceV10, match="NodeInterrupt"):
        question = errors.NodeInterrupt("v", "i")
    assert question.args == ([types.Interrupt("v", "i")],)
    assert not isinstance(question, Exception)


def test_node_timeout_error_needs_the_limit_that_was_passed() -> None:
    error = errors.NodeTimeoutError("n", 2.0, kind="idle", idle_timeout=1.5)
    assert (error.timeout, error.idle_timeout, error.run_timeout) == (1.5, 1.5, None)
    for wrong in ({"kind": "idle"}, {"kind": "run", "idle_timeout": 1.0}, {"kind": "other"}):
        with pytest.raises(ValueError, match="timeout"):
            errors.NodeTimeoutError("n", 2.0, **wrong)


def test_version_is_one() -> None:
    from stepwell import version

    assert version.__version__ == stepwell.__version__

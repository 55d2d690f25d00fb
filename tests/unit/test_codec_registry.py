"""The allow-list: ids, conflicts, parents, and the classes a schema names."""

from __future__ import annotations

import enum
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass
from datetime import datetime
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)

import attrs
import pydantic
import pytest
import typing_extensions

import stepwell._codec
from stepwell._codec import GLOBAL, Codec, Opaque, Registry, register, register_schema, registry
from stepwell.errors import UnsupportedTypeError, UsageError


@dataclass
class A:
    x: int = 0


@dataclass
class B(A):
    pass


class Plain:
    pass


@pytest.fixture
def clean_global():
    """Registrations in the global registry, undone."""
    before = dict(GLOBAL._by_class), dict(GLOBAL._by_id)
    yield
    GLOBAL._by_class, GLOBAL._by_id = before


def test_the_default_id_is_module_and_qualname():
    registry = Registry()
    registry.register(A)
    assert registry.by_id(f"{__name__}:A") is registry.by_class(A)
    assert Codec(registry).encode(A()).data == f'{{"$:{__name__}:A":{{"x":0}}}}'.encode()


def test_subclasses_are_not_covered_by_their_base():
    registry = Registry()
    registry.register(A)
    assert registry.by_class(B) is None
    with pytest.raises(UnsupportedTypeError, match="A can be does not cover its subclasses"):
        Codec(registry).encode(B())


def test_one_id_for_two_classes_is_refused():
    registry = Registry()
    registry.register(A, "id")
    with pytest.raises(UsageError, match="'id'"):
        registry.register(B, "id")
    with pytest.raises(UsageError, match="'id'"):
        registry.register(B, "other", aliases=["id"])
    registry.register(B, "b", aliases=["old"])
    with pytest.raises(UsageError, match="'old'"):
        registry.register(A, "old")
    assert registry.by_id("other") is None, "a refused registration leaves nothing behind"


def test_an_id_of_the_parent_is_taken_too():
    parent = Registry()
    parent.register(A, "id")
    with pytest.raises(UsageError):
        Registry(parent).register(B, "id")


def test_two_local_classes_of_one_name_are_two_classes():
    def make() -> type:
        @dataclass
        class Local:
            x: int

        return Local

    registry = Registry()
    registry.register(make())
    with pytest.raises(UsageError):
        registry.register(make())


def test_a_class_statement_that_runs_again_replaces_its_class():
    """A notebook cell, or a module that is reloaded."""
    registry = Registry()
    old, new = (dataclass(type("Cell", (), {"__module__": "__main__"})) for _ in range(2))
    registry.register(old)
    stored = Codec(registry).encode(old())
    registry.register(new)
    assert type(Codec(registry).decode(*stored)) is new
    with pytest.raises(UnsupportedTypeError):
        Codec(registry).encode(old())


def test_a_class_statement_that_runs_again_replaces_a_registered_class_for_its_graph():
    """The older class was given to `register`; the newer one stands in the schema of a graph."""
    parent = Registry()
    old, new = (dataclass(type("Cell", (), {"__module__": "__main__"})) for _ in range(2))
    parent.register(old)
    child = Registry(parent)
    child.register(new)
    stored = Codec(child).encode(new())
    assert type(Codec(child).decode(*stored)) is new
    assert type(Codec(parent).decode(*stored)) is old


def test_registering_again_is_harmless_under_the_same_id_only():
    registry = Registry()
    registry.register(A)
    registry.register(A, aliases=["former"])
    assert registry.by_id("former") is not None
    with pytest.raises(UsageError, match="aliases"):
        registry.register(A, "other")


def test_aliases_are_read_and_never_written():
    registry = Registry()
    registry.register(A, "new", aliases=("old", "older"))
    codec = Codec(registry)
    assert codec.decode(b'{"$:older":{"x":3}}', tagged=True) == A(3)
    assert codec.encode(A(3)).data == b'{"$:new":{"x":3}}'


def test_a_child_registry_sees_its_parent_and_not_the_reverse():
    parent = Registry()
    child = Registry(parent)
    parent.register(A)
    child.register(B)
    codec = Codec(child)
    assert codec.decode(*codec.encode([A(1), B(2)])) == [A(1), B(2)]
    assert type(Codec(parent).decode(*codec.encode(B(2)))) is Opaque


def test_a_registration_made_later_counts_for_codecs_made_earlier():
    registry = Registry()
    codec = Codec(Registry(registry))
    registry.register(A)
    assert codec.decode(*codec.encode(A(1))) == A(1)


@pytest.mark.parametrize(
    "options",
    [
        {"type_id": ""},
        {"type_id": "a\nb"},
        {"type_id": "\ud800"},
        {"type_id": "stepwell:Send"},
        {"type_id": "stepwell:NotThereYet"},
        {"aliases": ["stepwell:Send"]},
        {"aliases": "text"},
        {"encode": str},
        {"decode": str},
    ],
    ids=repr,
)
def test_bad_options_are_refused(options):
    with pytest.raises(UsageError):
        Registry().register(A, **options)


def test_what_is_no_class_or_of_no_known_kind_is_refused():
    for value in (A(), "A", list[int], A | None):
        with pytest.raises(UsageError):
            Registry().register(value)
    with pytest.raises(UsageError, match="encode="):
        Registry().register(Plain)


def test_built_in_types_need_no_registration_and_take_no_options():
    Registry().register(datetime)
    with pytest.raises(UsageError, match="without registration"):
        Registry().register(datetime, "d")


@pytest.mark.usefixtures("clean_global")
def test_register_works_as_a_call_and_as_a_decorator():
    @register
    @dataclass
    class One:
        x: int

    @register(type_id="two", aliases=["zwei"])
    class Two(enum.Enum):
        X = 1

    @register(encode=lambda _three: 3, decode=lambda _state: Three())
    class Three:
        def __eq__(self, other: object) -> bool:
            return type(other) is Three

        __hash__ = None

    assert register(A) is A
    value = [One(1), Two.X, Three(), A(2)]
    codec = Codec()
    assert codec.decode(*codec.encode(value)) == value
    assert Codec(Registry(GLOBAL)).decode(*codec.encode(value)) == value


def test_a_hook_may_change_what_it_is_handed():
    """The tree is shared: by the checkpoints of a history, say."""

    class Stack:
        def __init__(self, items: list[int]) -> None:
            self.items = items

    def take_apart(state: dict[str, list[int]]) -> Stack:
        items = state.pop("items")
        items.append(len(items))
        return Stack(items)

    known = Registry()
    known.register(Stack, "stack", encode=vars, decode=take_apart)
    codec = Codec(known)
    tree, _ = codec.lower([Stack([1]), {"in": Stack([1, 2])}])
    before = repr(tree)
    for _ in range(2):
        first, second = codec.revive(tree)
        assert (first.items, second["in"].items) == ([1, 1], [1, 2, 2])
    assert repr(tree) == before


# --- schemas ---------------------------------------------------------------------------------

T = TypeVar("T")


class Colour(enum.Enum):
    RED = 1


class Deep(NamedTuple):
    colour: Colour


@dataclass
class Middle:
    deep: list[Deep]
    back: Middle | None = None
    start: InitVar[A | None] = None


@attrs.define
class Attr:
    middle: dict[str, Middle]


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    attr: Attr | None
    own: list[Model] = []


class Alone(pydantic.BaseModel):
    x: int


class Inherited(TypedDict):
    base: Annotated[list[Model], lambda a, b: a + b]


class State(Inherited, total=False):
    alone: NotRequired[Sequence[tuple[Alone, ...]]]
    plain: Plain
    missing: NoSuchName  # noqa: F821
    half: dict[A, NoSuchName]  # noqa: F821


REACHABLE = {Model, Attr, Middle, Deep, Colour, Alone, A}


def classes(schema: Any) -> set[type]:
    registry = Registry()
    register_schema(registry, schema)
    return set(registry._by_class)


def test_a_typed_dict_registers_all_that_can_be_reached_and_can_be_stored():
    assert classes(State) == REACHABLE


class Special(str):
    __slots__ = ()


class Failure(Exception):
    pass


@dataclass
class Box(Generic[T]):
    inside: T


class Sub(Box[Alone]):
    pass


UserId = NewType("UserId", Special)
Bounded = TypeVar("Bounded", bound=A)
Choice = TypeVar("Choice", A, Deep)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (Deep, {Deep, Colour}),
        (A, {A}),
        (B, {B}),
        (Colour, {Colour}),
        (list[A], {A}),
        (A | None, {A}),
        (Union[A, Deep], {A, Deep, Colour}),  # noqa: UP007
        (Optional[A], {A}),  # noqa: UP045
        (dict[A, list[Colour]], {A, Colour}),
        (tuple[A, ...], {A}),
        (Annotated[A, Plain()], {A}),
        (Literal[Colour.RED, "x"], {Colour}),
        (UserId, {Special}),
        (Special, {Special}),
        (Failure, {Failure}),
        (Box[A], {Box, A}),
        (Sub, {Sub, Alone}),
        (Bounded, {A}),
        (Choice, {A, Deep, Colour}),
        (Callable[[A], Colour], {A, Colour}),
        (ClassVar[A], {A}),
        (Plain, set()),
        (Any, set()),
        (dict, set()),
        (int, set()),
        (None, set()),
        ("text", set()),
        (typing_extensions.TypedDict("Other", {"a": A}), {A}),
        (typing_extensions.TypeAliasType("Alias", list[A]), {A}),
        (typing_extensions.Required[A], {A}),
    ],
    ids=lambda v: "" if isinstance(v, set) else getattr(v, "__name__", str(type(v))),
)  # fmt: skip
def test_annotations_of_every_form_are_followed(schema, expected):
    assert classes(schema) - {Box} == expected - {Box}


Tree = typing_extensions.TypeAliasType("Tree", "list[Tree] | dict[str, A]")


def test_a_recursive_alias_ends():
    assert classes(dict[str, Tree]) == {A}


def test_what_is_named_beside_an_unknown_name_is_found():
    parts = {"a": dict[A, "NoSuchName"], "b": "NoSuchName | Colour"}  # noqa: F821
    half = TypedDict("half", parts)  # its annotations are no texts
    assert classes(half) == {A}


def test_an_alias_that_cannot_be_evaluated_names_nothing():
    """`type X = Missing` is evaluated only when somebody asks for its value."""

    class TypeAliasType:
        __module__ = __name__

        @property
        def __value__(self) -> Any:
            raise NameError

    assert classes(dict[A, TypeAliasType()]) == {A}


def test_classes_known_to_the_parent_keep_their_id():
    parent = Registry()
    parent.register(A, "a")
    child = Registry(parent)
    register_schema(child, State)
    assert Codec(child).encode(A()).data == b'{"$:a":{"x":0}}'
    assert A not in child._by_class


def test_a_schema_may_be_registered_twice():
    registry = Registry()
    register_schema(registry, State)
    register_schema(registry, State)
    assert set(registry._by_class) == REACHABLE


def test_values_of_a_schema_come_back():
    registry = Registry()
    register_schema(registry, State)
    codec = Codec(registry)
    value = {
        "base": [Model(attr=Attr({"m": Middle([Deep(Colour.RED)])}))],
        "alone": [(Alone(x=1),)],
    }
    assert codec.decode(*codec.encode(value)) == value


def test_no_module_is_imported_to_resolve_a_schema():
    before = set(sys.modules)
    classes(State)
    assert set(sys.modules) - before <= {"stepwell._codec.schema"}


def test_the_package_exports_what_it_documents():
    for name in stepwell._codec.__all__:
        assert hasattr(stepwell._codec, name)


def test_threads_that_ask_first_at_once_are_told_of_the_same_entry(monkeypatch):
    """What every registry knows is learned at the first question; values are encoded in several
    threads."""
    root, inside, go = registry._Root(), threading.Event(), threading.Event()
    make, told = root._entry, []

    def entry(cls, *arguments):
        made = make(cls, *arguments)
        if cls is ValueError and threading.current_thread() is first:
            inside.set()
            assert go.wait(30)
        return made

    def ask():
        told.append(root.by_class(ValueError))

    monkeypatch.setattr(root, "_entry", entry)
    first = threading.Thread(target=ask)
    first.start()
    assert inside.wait(30)
    ask()
    go.set()
    first.join(30)
    assert len(told) == 2
    for entry in (*told, root.by_class(ValueError), root.by_id("builtins:ValueError")):
        assert entry is told[0]

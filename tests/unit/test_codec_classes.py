"""Users' classes: what is stored of an instance, how it is revived, how a class may change."""

from __future__ import annotations

import enum
import functools
from collections import OrderedDict
from dataclasses import dataclass, field, make_dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import attrs
import orjson
import pydantic
import pytest

from stepwell._codec import Codec, Opaque, Registry
from stepwell.errors import UnknownTypeError, UnsupportedTypeError
from tests.property.strategies import same

T = TypeVar("T")


def codec(*classes: type, **ids: type) -> Codec:
    """A codec for classes under their own ids, and for others under the names given."""
    registry = Registry()
    for cls in classes:
        registry.register(cls)
    for name, cls in ids.items():
        registry.register(cls, name)
    return Codec(registry)


def copied(value: Any, *more: type) -> Any:
    known = codec(type(value), *more)
    return known.decode(*known.encode(value))


@dataclass
class Open:
    a: Any
    b: Any = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    a: int
    b: tuple[int, ...] = ()


@dataclass
class Derived:
    given: int
    doubled: int = field(init=False)
    unset: int = field(init=False)
    constant: int = field(init=False, default=7)
    built: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.doubled = self.given * 2
        self.note = "not a field"

    @functools.cached_property
    def slow(self) -> object:
        return object()


@dataclass
class Guarded:
    """Its constructor, setter and property would all object to what is stored."""

    value: int

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self, "_locked", False):
            raise AttributeError(name)
        object.__setattr__(self, name, value)


@dataclass
class Base:
    a: int


@dataclass(slots=True)
class Child(Base):
    b: int


@dataclass
class Crate(Generic[T]):
    inside: T


@attrs.define
class Slotted:
    a: int
    b: list[int] = attrs.field(factory=list)
    _private: int = 3
    c: int = attrs.field(default=attrs.Factory(lambda self: self.a + 1, takes_self=True))


@attrs.frozen
class Frozen:
    a: int = attrs.field(converter=int, validator=attrs.validators.ge(0))


@attrs.define(slots=False)
class Unslotted:
    a: int


@attrs.define(slots=False)
class Lazy(Generic[T]):
    a: T

    @functools.cached_property
    def slow(self) -> object:
        return object()


@attrs.define
class Partly:
    a: int
    later: int = attrs.field(init=False)


@dataclass
class Backed:
    """Keeps its field under another name, behind a property of the field's name."""

    size: int

    @property  # type: ignore[no-redef]
    def size(self) -> int:
        return self._size

    @size.setter
    def size(self, value: int) -> None:
        self._size = value


class Pair(NamedTuple):
    left: Any
    right: Any = "default"


class MorePair(Pair):
    """A subclass without __slots__, so its instances have attributes too."""


class Model(pydantic.BaseModel):
    a: int
    b: list[Any] = pydantic.Field(default_factory=list)
    alias: int = pydantic.Field(default=1, validation_alias="other")
    _seen: Any = pydantic.PrivateAttr(default=0)
    _never: Any = pydantic.PrivateAttr()

    @functools.cached_property
    def slow(self) -> object:
        return object()


class Derive(pydantic.BaseModel):
    a: int
    twice: int = pydantic.Field(default_factory=lambda given: given["a"] * 2)


class Loose(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", frozen=True)
    a: int = 1


class Strict(pydantic.BaseModel):
    a: int = pydantic.Field(ge=0)


class Root(pydantic.RootModel[list[int]]):
    pass


class Outer(pydantic.BaseModel):
    inner: Model
    pair: Pair


class Numbers(enum.Enum):
    ONE = 1
    UN = 1  # noqa: PIE796  # another name of the same member
    LIST = [1, 2]  # an unhashable value


class Bits(enum.Flag):
    A = 1
    B = 2


class Conforming(enum.Flag, boundary=enum.CONFORM):
    A = 1


class Ejecting(enum.IntFlag, boundary=enum.EJECT):
    A = 1


class IntBits(enum.IntFlag, boundary=enum.KEEP):
    A = 1


class Tag(str):
    __slots__ = ()


class Weight(float):
    pass


class Count(int):
    pass


class Blob(bytes):
    pass


class Items(list[Any]):
    pass


class Table(dict[Any, Any]):
    def __setitem__(self, key: Any, value: Any) -> None:
        raise AssertionError("reviving must not run the class's own code")


class Fixed(tuple[Any, ...]):
    __slots__ = ()


class Bunch(set[Any]):
    pass


class Refused(RuntimeError):
    def __init__(self, *, reason: str) -> None:
        super().__init__(f"refused: {reason}")
        self.reason = reason


class NotThere(FileNotFoundError):
    pass


def test_dataclasses_come_back():
    for value in (Open(1, [(1,)]), Closed(a=1, b=(2,)), Child(1, 2), Guarded(1), Crate[int](3)):
        assert same(copied(value), value)


def test_a_dataclass_keeps_init_false_fields_unset_ones_and_further_attributes():
    value = Derived(4)
    assert value.slow is value.slow
    revived = copied(value)
    assert (revived.given, revived.doubled, revived.constant, revived.built) == (4, 8, 7, [])
    assert revived.note == "not a field"
    assert not hasattr(revived, "unset")
    assert "slow" not in vars(revived), "a cached property is computed again"


def test_stored_values_that_the_constructor_would_refuse_come_back():
    for cls in (Guarded, Strict, Frozen):
        known = codec(cls)
        good, tagged = known.encode(cls(a=1) if cls is not Guarded else cls(1))
        bad = good.replace(b":1}", b":-1}")
        value = known.decode(bad, tagged)
        assert type(value) is cls
        assert -1 in (getattr(value, "a", None), getattr(value, "value", None))


def test_attrs_classes_come_back():
    for value in (Slotted(1, [2]), Frozen(a="1"), Unslotted(1)):
        assert same(copied(value), value)
    assert copied(Slotted(1, private=9))._private == 9
    assert not hasattr(copied(Partly(1)), "later")
    lazy = Lazy[int](1)
    assert lazy.slow is lazy.slow
    assert vars(copied(lazy)) == {"a": 1}


def test_a_field_behind_a_property_comes_back_through_the_name_it_is_kept_under():
    revived = copied(Backed(3))
    assert (revived.size, vars(revived)) == (3, {"_size": 3})


def test_named_tuples_come_back_with_the_attributes_of_a_subclass():
    assert same(copied(Pair((1,), {2})), Pair((1,), {2}))
    value = MorePair(1)
    value.extra = {1}
    revived = copied(value)
    assert type(revived) is MorePair
    assert (tuple(revived), revived.extra) == ((1, "default"), {1})


def test_pydantic_models_come_back_with_private_extra_and_set_fields():
    value = Model(a=1, b=[(1,)])
    value._seen = {1}
    assert value.slow is value.slow
    revived = copied(value)
    assert revived == value
    assert revived.model_fields_set == {"a", "b"}
    assert same(revived.b, [(1,)])
    assert revived._seen == {1}
    assert "slow" not in vars(revived)
    assert not hasattr(revived, "_never")
    loose = Loose(x=(1,), **{"$y": 2})
    assert copied(loose) == loose
    assert copied(loose).model_extra == {"x": (1,), "$y": 2}
    assert copied(Root([1])) == Root([1])
    outer = Outer(inner=Model(a=1), pair=Pair(1))
    assert same(copied(outer, Model, Pair), outer)


def test_enum_members_come_back_as_the_members():
    for member in (*Numbers, *Bits, *IntBits):
        assert copied(member) is member
    assert copied(Numbers.UN) is Numbers.ONE
    assert copied(Bits.A | Bits.B) == Bits.A | Bits.B
    assert copied(Bits(0)) == Bits(0)
    assert copied(IntBits(9)) == IntBits(9)


@pytest.mark.parametrize(
    "value",
    [Tag("t"), Weight(1.5), Weight("nan"), Count(2**70), Blob(b"b"), Items([(1,)]), Fixed((1,))],
    ids=lambda value: type(value).__name__,
)
def test_registered_subclasses_of_built_in_types_come_back(value):
    revived = copied(value)
    assert type(revived) is type(value)
    assert revived == value or revived != revived


def test_subclasses_of_containers_keep_their_attributes_and_run_no_code_of_their_own():
    table = Table({(1,): 2})
    table.owner = "me"
    revived = copied(table)
    assert (type(revived), dict(revived), revived.owner) == (Table, {(1,): 2}, "me")
    bunch = Bunch({1, (2,)})
    assert (type(copied(bunch)), copied(bunch)) == (Bunch, {1, (2,)})


def test_registered_exceptions_come_back_without_their_constructor():
    revived = copied(Refused(reason="late"))
    assert type(revived) is Refused
    assert (str(revived), revived.reason) == ("refused: late", "late")
    gone = copied(NotThere(2, "gone", "f"))
    assert (type(gone), gone.errno, gone.filename) == (NotThere, 2, "f")


def test_hooks_serve_any_class():
    class Money:
        def __init__(self, cents: int) -> None:
            self.cents = cents

    registry = Registry()
    registry.register(
        Money, "money", encode=lambda m: (m.cents, {"x"}), decode=lambda s: Money(s[0])
    )
    known = Codec(registry)
    data, tagged = known.encode([Money(5)])
    assert data == b'[{"$:money":{"$tuple":[5,{"$set":["x"]}]}}]'
    assert known.decode(data, tagged)[0].cents == 5


def test_documents_of_classes_are_named_by_their_id_only():
    data, _ = codec(thing=Open).encode(Open(1, []))
    assert data == b'{"$:thing":{"a":1,"b":[]}}'
    assert codec(thing=Pair).encode(Pair(1)).data == b'{"$:thing":{"left":1,"right":"default"}}'
    assert codec(thing=Numbers).encode(Numbers.ONE).data == b'{"$:thing":"ONE"}'
    assert codec(thing=Model).encode(Model(a=1, b=[], other=1)).data == (
        b'{"$:thing":{"fields":{"a":1,"b":[],"alias":1},"private":{"_seen":0}}}'
    )


# --- a class that changed since --------------------------------------------------------------


def read(state: Any, cls: type, **options: Any) -> Any:
    """What a stored state is for the class of today."""
    registry = Registry()
    registry.register(cls, "c")
    return Codec(registry, **options).decode(orjson.dumps({"$:c": state}), tagged=True)


def test_a_field_that_was_added_takes_its_default():
    assert read({"a": 1}, Open) == Open(1, [])
    assert read({"a": 1}, Slotted) == Slotted(1)
    assert read({"left": 1}, Pair) == Pair(1)
    assert read({"fields": {"a": 1}}, Model) == Model(a=1)
    assert read({"fields": {"a": 2}}, Derive) == Derive(a=2, twice=4).model_copy()
    slotted = make_dataclass(
        "S", [("a", int), ("n", int, field(init=False, default=5))], slots=True
    )
    assert read({"a": 1}, slotted).n == 5


def test_defaults_are_not_shared_between_instances():
    assert read({"a": 1}, Open).b is not read({"a": 1}, Open).b


def test_a_field_that_was_removed_stays_with_instances_that_have_room_for_it():
    assert vars(read({"a": 1, "b": [], "old": (2)}, Open)) == {"a": 1, "b": [], "old": 2}
    assert read({"a": 1, "b": {"$tuple": []}, "old": 2}, Closed) == Closed(a=1)
    assert read({"left": 1, "right": 2, "old": 3}, Pair) == Pair(1, 2)
    assert read({"fields": {"a": 1, "b": [], "alias": 1, "old": 2}}, Strict).a == 1


@pytest.mark.parametrize(
    ("state", "cls"),
    [
        ({"b": []}, Open),
        ({"b": {"$tuple": []}}, Closed),
        ({"right": 1}, Pair),
        ({"fields": {"b": []}}, Model),
        ({"b": [1]}, Slotted),
        ("GONE", Numbers),
        (64, Bits),
        (64, Conforming),
        (64, Ejecting),
    ],
    ids=[
        "dataclass",
        "slots",
        "named tuple",
        "pydantic",
        "attrs",
        "enum",
        "flag",
        "conforming flag",
        "ejecting flag",
    ],
)
def test_a_state_that_fits_no_instance_of_today_stays_opaque_and_unchanged(state, cls):
    value = read(state, cls)
    assert value == Opaque("c", state)
    assert Codec(Registry()).encode(value).data == orjson.dumps({"$:c": state})
    with pytest.raises(UnknownTypeError, match="'c'"):
        read(state, cls, keep_unknown=False)


def test_an_unknown_class_is_opaque_or_an_error():
    stored = codec(Open).encode({"k": [Open(1)]}, channel="k")
    value = Codec(Registry()).decode(*stored)
    assert type(value["k"][0]) is Opaque
    assert value["k"][0].type_id == f"{__name__}:Open"
    assert value["k"][0].value == {"a": 1, "b": []}
    with pytest.raises(UnknownTypeError, match=r"channel 'k'.*Open") as caught:
        Codec(Registry(), keep_unknown=False).decode(*stored, channel="k")
    assert (caught.value.channel, caught.value.type_name) == ("k", f"{__name__}:Open")


def test_opaque_values_may_be_keys_and_members_of_sets():
    data, tagged = codec(Closed).encode({"s": {Closed(a=1), Closed(a=2)}, "d": {Closed(a=1): 1}})
    stranger = Codec(Registry())
    assert stranger.encode(stranger.decode(data, tagged)) == (data, tagged)
    assert Opaque("x", 1) != Opaque("x", True)
    assert Opaque("x", 1) != Opaque("y", 1)
    assert Opaque("x", 1) != 1


@pytest.mark.parametrize(
    "value", [(1,), object(), {1: 2}, float, [Tag("t")]], ids=lambda v: type(v).__name__
)
def test_an_opaque_made_of_something_else_than_json_is_refused(value):
    with pytest.raises(UnsupportedTypeError):
        Codec().encode(Opaque("x", value))


def test_an_ordered_dict_subclass_needs_hooks():
    class Sorted(OrderedDict[str, int]):
        pass

    with pytest.raises(UnsupportedTypeError, match=r"OrderedDict can be does not cover"):
        Codec().encode(Sorted())

"""Dataclasses whose code is generated late are what the standard library makes at once."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
import pickle
import threading
from dataclasses import InitVar, field
from typing import Any, ClassVar, Generic, TypeVar

import orjson
import pytest

from stepwell import _dataclass

T = TypeVar("T")
FLAGS = [
    {"frozen": frozen, "slots": slots, "kw_only": kw_only, **rest}
    for frozen, slots, kw_only in itertools.product((False, True), repeat=3)
    for rest in ({}, {"eq": False}, {"repr": False}, {"unsafe_hash": True})
]


def shapes(decorate) -> list[type]:
    """One class of each kind, made with a decorator."""

    @decorate
    class Plain:
        """Documented."""

        a: int
        b: str = "b"

    @decorate
    class Factories:
        """Documented."""

        made: list[int] = field(default_factory=list)
        hidden: int = field(default=4, repr=False, compare=False)
        named: int = field(default=5, kw_only=True)
        kept: int = field(default=6, init=False)
        given: InitVar[int] = 1
        shared: ClassVar[int] = 7

        def __post_init__(self, given: int) -> None:
            self.made.append(given)

    @decorate
    class Child(Plain):
        """Documented."""

        c: int = 3
        b: str = "other"

    @decorate
    class Equal:  # noqa: PLW1641  # so it has none
        """Documented."""

        a: int = 0

        def __eq__(self, other: object) -> bool:
            return True

    @decorate
    class Of(Generic[T]):
        """Documented."""

        a: Any = None

    @decorate
    class Empty:
        """Documented."""

    return [Plain, Factories, Child, Equal, Of, Empty]


def outcome(act) -> Any:
    """What a call returns, or which error it raises."""
    try:
        return act()
    except Exception as exc:
        return type(exc).__name__, str(exc)


def look(cls: type, first: str) -> dict[str, Any]:
    """All that can be seen of a class and an instance, after looking at `first`."""
    getattr(cls, first, None)
    arguments = {"a": 1} if "a" in cls.__annotations__ or cls.__name__ == "Child" else {}
    one, same, other = cls(**arguments), cls(**arguments), cls(**dict.fromkeys(arguments, 2))
    names = [f.name for f in dataclasses.fields(one)] if first != "__init__" else []
    return {
        "signature": str(inspect.signature(cls)),
        "positional": outcome(lambda: dataclasses.asdict(cls(9))),
        "missing": outcome(lambda: dataclasses.asdict(cls())),
        "unknown": outcome(lambda: cls(absent=1)),
        "repr": outcome(lambda: repr(one)) if cls.__repr__ is not object.__repr__ else None,
        "qualname": (cls.__qualname__, cls.__init__.__qualname__, cls.__module__, cls.__doc__),
        "equal": (one == same, one == other, one == 4, one != same),
        "hashed": outcome(lambda: hash(one) == hash(same)),
        "kind of hash": cls.__hash__ is None,
        "match": cls.__match_args__,
        "slots": (cls.__dict__.get("__slots__"), hasattr(one, "__dict__")),
        "set": [outcome(lambda n=n: setattr(one, n, 5)) for n in names],
        "deleted": [outcome(lambda n=n: delattr(one, n)) for n in names],
        "params": {
            name: getattr(cls.__dataclass_params__, name)
            for name in ("init", "repr", "eq", "order", "unsafe_hash", "frozen")
        },
        "fields": [
            (f.name, f.type, f.kw_only, f.init, f.repr, f.compare, f.default)
            for f in dataclasses.fields(cls)
        ],
        "attributes": [outcome(lambda n=n: repr(getattr(cls, n))[:14]) for n in ("b", "shared")],
        "replaced": outcome(lambda: dataclasses.asdict(dataclasses.replace(same, **arguments))),
        "replaced by copy": outcome(
            lambda: (
                dataclasses.asdict(copy.replace(same, **arguments))
                if hasattr(copy, "replace")
                else None
            )
        ),
        "copied": outcome(lambda: dataclasses.asdict(copy.deepcopy(same))),
        "is one": (dataclasses.is_dataclass(cls), dataclasses.is_dataclass(same)),
        "json": outcome(lambda: orjson.dumps(same)),
    }


LOOKS = ["__init__", "__dataclass_fields__", "__eq__"]


@pytest.mark.parametrize("first", LOOKS)
@pytest.mark.parametrize("flags", FLAGS, ids=lambda f: "-".join(k for k, v in f.items() if v))
def test_a_class_is_what_the_standard_library_makes_of_it(flags, first):
    ours, theirs = _dataclass.dataclass(**flags), dataclasses.dataclass(**flags)
    for mine, other in zip(shapes(ours), shapes(theirs), strict=True):
        assert look(mine, first) == look(other, first), mine


def test_what_a_class_writes_itself_stays():
    @_dataclass.dataclass
    class Written:
        """Documented."""

        a: int = 0

        def __eq__(self, other: object) -> bool:
            return isinstance(other, type(self))

        def __hash__(self) -> int:
            return 11

        def __repr__(self) -> str:
            return "as written"

    assert (Written(1) == Written(2), hash(Written()), repr(Written())) == (True, 11, "as written")


def test_the_code_of_a_class_is_generated_when_it_is_asked_for():
    @_dataclass.dataclass(frozen=True, slots=True)
    class Late:
        """Documented."""

        a: int

    assert all(type(vars(Late)[n]).__name__ == "_Late" for n in ("__init__", "__eq__", "__repr__"))
    assert Late(1).a == 1
    assert inspect.isfunction(vars(Late)["__init__"])
    assert type(vars(Late)["__eq__"]).__name__ == "_Late", "nobody has compared yet"
    assert Late(1) == Late(1)
    assert all(inspect.isfunction(vars(Late)[n]) for n in ("__eq__", "__repr__", "__hash__"))


@_dataclass.dataclass(frozen=True, slots=True, kw_only=True)
class Pickled:
    """Documented."""

    a: int
    b: tuple[int, ...] = ()


def test_frozen_ones_with_slots_are_copied_and_pickled():
    one = Pickled(a=1, b=(2,))
    assert pickle.loads(pickle.dumps(one)) == one
    assert copy.copy(one) == one


def test_a_subclass_of_a_frozen_one_may_have_attributes_of_its_own():
    class Child(Pickled):
        pass

    child = Child(a=1)
    child.more = 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        child.a = 2
    assert (child.a, child.more) == (1, 5)


@pytest.mark.parametrize("slots", [False, True])
def test_a_subclass_reaches_the_methods_that_it_overrides(slots):
    @_dataclass.dataclass(frozen=True, slots=slots, kw_only=True)
    class Late:
        """Documented."""

        a: int

    class Child(Late):
        def __init__(self, half: int) -> None:
            super().__init__(a=half * 2)

        def __repr__(self) -> str:
            return f"<{super().__repr__()}>"

        def __eq__(self, other: object) -> bool:
            return not super().__eq__(other)

        def __hash__(self) -> int:
            return super().__hash__() + 1

    one = Child(1)
    assert one.a == 2
    assert (repr(one)[:2], repr(one)[-2:]) == ("<t", ")>"), repr(one)
    assert hash(one) == hash(Late(a=2)) + 1
    assert one != Child(1)


def test_the_standard_librarys_may_descend_from_ours():
    @dataclasses.dataclass(frozen=True)
    class Child(Pickled):
        c: int

    assert Child(3, a=1) == Child(a=1, c=3)
    with pytest.raises(TypeError, match="cannot inherit non-frozen"):
        dataclasses.dataclass(type("Thawed", (Pickled,), {}))


def test_threads_that_ask_at_once_all_get_it():
    for _ in range(50):

        @_dataclass.dataclass(frozen=True, slots=True)
        class Raced:
            """Documented."""

            a: int

        gate, made = threading.Barrier(4), []

        def first(gate=gate, made=made, raced=Raced):
            gate.wait()
            made.append(raced(1) == raced(1))

        threads = [threading.Thread(target=first) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == [True] * 4

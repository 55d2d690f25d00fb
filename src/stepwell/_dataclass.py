"""`@dataclass` as the standard library's, but its code is generated when it is first needed.

`dataclasses.dataclass` writes the source of half a dozen methods for each class and compiles it,
up to a millisecond each. The package has a hundred such classes, of which a program uses a few, so
this was a third of what importing it took. Here a class gets descriptors in place of what is
generated; the first look at one has the standard library make the real thing, from a copy of the
class body, and puts it there.

To type checkers this *is* `dataclasses.dataclass`.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

_OF_THE_FIELDS = (
    "__dataclass_fields__", "__dataclass_params__", "__match_args__",
    *(("__replace__",) if sys.version_info >= (3, 13) else ()),
)  # fmt: skip
_OF_THE_VALUES = ("__repr__", "__eq__", "__hash__")
_LEFT_OUT = frozenset(("__dict__", "__weakref__"))
"""What a class has of its own accord, and a copy gets anew."""

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type | None = None, /, **options: bool) -> Any:
        """Make a class a dataclass; see the module.

        Takes `init`, `repr`, `eq`, `unsafe_hash`, `frozen`, `kw_only` and `slots`, as the
        standard library's decorator does.
        """

        def decorated(cls: type) -> type:
            return _Plan(**options).carried_out(cls)

        return decorated(cls) if cls else decorated


class _Plan:
    """What a class was asked to become, and the body it was written with."""

    __slots__ = ("body", "cls", "eq", "frozen", "init", "kw_only", "repr", "slots", "unsafe_hash")

    def __init__(
        self,
        *,
        init: bool = True,
        repr: bool = True,  # noqa: A002  # the standard library's names
        eq: bool = True,
        unsafe_hash: bool = False,
        frozen: bool = False,
        kw_only: bool = False,
        slots: bool = False,
    ) -> None:
        self.init = init
        self.repr = repr
        self.eq = eq
        self.unsafe_hash = unsafe_hash
        self.frozen = frozen
        self.kw_only = kw_only
        self.slots = slots

    def carried_out(self, cls: type) -> type:
        """The dataclass; with slots it is another class than the one given."""
        self.body = {k: v for k, v in cls.__dict__.items() if k not in _LEFT_OUT}
        names = [n for n, kind in self.body.get("__annotations__", {}).items() if _is_field(kind)]
        self.cls = cls = (_with_slots if self.slots else _without_marks)(cls, self.body, names)
        self._promise()
        if self.frozen:
            _freeze(cls, frozenset(names), slots=self.slots)
        return cls

    def _promise(self) -> None:
        """Put descriptors where generated code belongs, unless the class has its own."""
        wanted = {"__init__": self.init, "__repr__": self.repr, "__eq__": self.eq}
        late = [name for name, is_wanted in wanted.items() if is_wanted and name not in self.body]
        # Beside an `__eq__` that was written, Python has put a `__hash__` that is None.
        if self.body.get("__hash__") is None:
            if self.unsafe_hash or (self.eq and self.frozen):
                late.append("__hash__")
            elif self.eq:
                self.cls.__hash__ = None  # type: ignore[assignment]  # as their values may change
        for name in (*_OF_THE_FIELDS, *late):
            setattr(self.cls, name, _Late(self, name))

    def make(self, name: str) -> None:
        """Have the standard library generate the method of that name, and those of its kind."""
        to_begin_with = name in _OF_THE_FIELDS or name == "__init__"
        copied = _again(self.cls, {"__doc__": "", **self.body})
        made: Any = dataclasses.dataclass(
            init=self.init and to_begin_with,
            repr=self.repr and not to_begin_with,
            eq=self.eq and not to_begin_with,
            unsafe_hash=self.unsafe_hash and not to_begin_with,
            frozen=self.frozen,
            kw_only=self.kw_only,
            slots=self.slots,
        )(copied)
        if to_begin_with:
            told = made.__dataclass_params__
            told.repr, told.eq, told.unsafe_hash = self.repr, self.eq, self.unsafe_hash
        for each in (*_OF_THE_FIELDS, "__init__") if to_begin_with else _OF_THE_VALUES:
            if isinstance(vars(self.cls).get(each), _Late):
                setattr(self.cls, each, vars(made)[each])


class _Late:
    """Stands where generated code will be; the first look at it brings that code."""

    __slots__ = ("name", "plan")

    def __init__(self, plan: _Plan, name: str) -> None:
        self.plan = plan
        self.name = name

    def __get__(self, instance: object, owner: type) -> Any:
        self.plan.make(self.name)
        # Not what `instance` or `owner` has by that name: with `super()`, that is another one.
        made = vars(self.plan.cls)[self.name]
        bind = getattr(type(made), "__get__", None)
        return made if bind is None else bind(made, instance, owner)


def _is_field(annotation: Any) -> bool:
    """Whether a name annotated so is an attribute of instances."""
    text = str(annotation).removeprefix("typing.").removeprefix("dataclasses.")
    return not text.startswith(("ClassVar", "InitVar"))


def _without_marks(cls: type, body: dict[str, Any], names: list[str]) -> type:
    """Leave of `name: kind = field(...)` the default, if that names one."""
    for name in names:
        if isinstance(mark := body.get(name), dataclasses.Field):
            if mark.default is dataclasses.MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, mark.default)
    return cls


def _with_slots(cls: type, body: dict[str, Any], names: list[str]) -> type:
    """The class again, with slots: they have to be known when a class is made."""
    taken = {slot for base in cls.__mro__[1:-1] for slot in vars(base).get("__slots__", ())}
    rest = {name: value for name, value in body.items() if name not in names}
    return _again(cls, {**rest, "__slots__": tuple(n for n in names if n not in taken)})


def _again(cls: type, body: dict[str, Any]) -> type:
    """A class of the same name and descent with another body."""
    return type(cls)(cls.__name__, cls.__bases__, {"__qualname__": cls.__qualname__, **body})


def _freeze(cls: Any, names: frozenset[str], *, slots: bool) -> None:
    """Refuse to set and to delete attributes. Subclasses that are no dataclasses may have more."""

    def set_attribute(self: object, name: str, value: object) -> None:
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def delete_attribute(self: object, name: str) -> None:
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    cls.__setattr__ = set_attribute
    cls.__delattr__ = delete_attribute
    if slots:  # copies and pickles set attributes, unless the class says how it is done
        cls.__getstate__ = _state
        cls.__setstate__ = _set_state


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)

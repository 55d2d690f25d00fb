"""Which names of the inventory, and which of their arguments, cases use on Stepwell's side.

While a case runs, the public methods of Stepwell's public classes are wrapped; a call that does
not come from Stepwell itself is noted with the names of the arguments that it gives another
value than the default. Names taken from a module are noted by `Api`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MemberDescriptorType, ModuleType
from typing import Any

from stepwell._codec import GLOBAL
from tests.compat import inventory

OURS = "stepwell"


@dataclass
class Touched:
    """What cases did: objects they named, and (class, member) or functions they called."""

    named: dict[int, Any] = field(default_factory=dict)
    called: dict[tuple[Any, str], set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, other: Touched) -> None:
        self.named.update(other.named)
        for key, arguments in other.called.items():
            self.called[key] |= arguments

    def name(self, value: Any) -> None:
        self.named[id(value)] = value

    def call(self, owner: Any, member: str, arguments: set[str]) -> None:
        self.called[owner, member] |= arguments


CURRENT: list[Touched] = []
"""The record of the case that runs, if one does."""


def given(signature: inspect.Signature, args: Any, kwargs: Any) -> set[str]:
    """Names of the arguments that are not at their default."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return set()
    found: set[str] = set()
    for name, value in bound.arguments.items():
        parameter = signature.parameters[name]
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            found |= set(value)
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL and not _same(
            value, parameter.default
        ):
            found.add(name)
    return found


def _same(value: Any, default: Any) -> bool:
    if value is default:
        return True
    plain = (str, int, float, bool, tuple, type(None))
    return isinstance(value, plain) and type(value) is type(default) and value == default


def _from_outside() -> bool:
    """Whether the caller of the wrapper is no module of Stepwell."""
    return not sys._getframe(2).f_globals.get("__name__", "").startswith(f"{OURS}.")


def recording(function: Callable[..., Any], owner: type | None, name: str) -> Callable[..., Any]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return function
    bare = owner is None or isinstance(inspect.getattr_static(owner, name, None), staticmethod)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if CURRENT and _from_outside():
            who: Any = function if owner is None else owner
            if not bare and args:
                who = args[0] if isinstance(args[0], type) else type(args[0])
            CURRENT[-1].call(who, name, given(signature, args, kwargs) - {"self", "cls"})
        return function(*args, **kwargs)

    return call


def named(value: Any) -> Any:
    """Note that a case took a name; functions are handed out wrapped."""
    if not CURRENT:
        return value
    CURRENT[-1].name(value)
    return recording(value, None, "") if inspect.isfunction(value) else value


def seen(value: Any) -> None:
    """Note that a case was given an object: that names its class, and an error's bases."""
    if CURRENT:
        for cls in type(value).__mro__:
            if cls.__module__.startswith(f"{OURS}."):
                CURRENT[-1].name(cls)


class Names:
    """A module of which every name that is taken is noted."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return named(getattr(self._module, name))


def module(name: str) -> ModuleType | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a place is an old one
            return importlib.import_module(f"{OURS}.{name}")
    except ImportError:  # not built, or it needs a package that is not installed
        return None


@functools.cache
def resolved() -> dict[str, Any]:
    """What Stepwell has of the inventory: name -> object; members of classes as functions."""
    found: dict[str, Any] = {}
    for name, entry in inventory.load().items():
        place, _, last = name.rpartition(".")
        if entry["kind"] in ("method", "property"):
            cls = found.get(place)
            member = inspect.getattr_static(cls, last, None) if isinstance(cls, type) else None
            if member is not None:
                found[name] = getattr(member, "__func__", member)
            continue
        home = module(place)
        if home is not None and hasattr(home, last):
            found[name] = getattr(home, last)
    return found


def classes() -> list[type]:
    found: dict[type, None] = {}
    for value in resolved().values():
        if isinstance(value, type):
            for cls in value.__mro__:
                if cls.__module__.startswith(f"{OURS}.") and not issubclass(cls, BaseException):
                    found[cls] = None
    return list(found)


@functools.cache
def _properties() -> frozenset[str]:
    """Names of properties in the inventory, without their classes."""
    entries = inventory.load().items()
    return frozenset(n.rpartition(".")[2] for n, e in entries if e["kind"] == "property")


def _wrapped(cls: type) -> Iterator[tuple[str, Any]]:
    for name, value in list(vars(cls).items()):
        constructs = name == "__init__" or (name == "__new__" and issubclass(cls, tuple))
        if name.startswith("_") and not constructs and name != "__call__":
            continue
        if inspect.isfunction(value):
            yield name, recording(value, cls, name)
        elif isinstance(value, (staticmethod, classmethod)):
            yield name, type(value)(recording(value.__func__, cls, name))
        elif isinstance(value, property) and value.fget is not None:
            yield name, property(recording(value.fget, cls, name), value.fset, value.fdel)
        elif isinstance(value, MemberDescriptorType) and name in _properties():
            # A property there, an attribute with a slot here.
            get = recording(value.__get__, cls, name)
            yield name, property(get, value.__set__, value.__delete__)


@functools.cache
def _plan() -> list[tuple[type, str, Any, Any]]:
    GLOBAL.by_class(object)  # it looks at Stepwell's own classes when it is first asked
    return [(cls, n, vars(cls)[n], w) for cls in classes() for n, w in _wrapped(cls)]


@contextmanager
def record() -> Iterator[Touched]:
    """Note what is used in the block."""
    touched = Touched()
    for cls, name, _, wrapper in _plan():
        setattr(cls, name, wrapper)
    CURRENT.append(touched)
    try:
        yield touched
    finally:
        CURRENT.pop()
        for cls, name, original, _ in _plan():
            setattr(cls, name, original)


def arguments_of(touched: Touched, name: str, entry: dict[str, Any]) -> set[str] | None:
    """The arguments a name was called with; None if no case called (or, for what cannot be
    called, named) it."""
    have = resolved()
    value = have.get(name)
    if value is None:
        return None
    if entry["kind"] in ("method", "property"):
        place, _, last = name.rpartition(".")
        cls = have[place]
        if getattr(cls, "_is_protocol", False):
            # Objects that satisfy it are not made here: cases ask whether they do.
            return set() if id(cls) in touched.named else None
        calls = [
            a for (who, member), a in touched.called.items()
            if member == last and isinstance(who, type) and cls in who.__mro__
        ]  # fmt: skip
        return set().union(*calls) if calls else None
    if isinstance(value, type):
        calls = [
            a for (who, member), a in touched.called.items()
            if member in ("__init__", "__new__") and isinstance(who, type) and value in who.__mro__
        ]  # fmt: skip
        if calls:
            return set().union(*calls)
    if (value, "") in touched.called if _hashable(value) else False:
        return touched.called[value, ""]
    seen = id(value) in touched.named
    return set() if seen and not inspect.isfunction(value) else None


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True

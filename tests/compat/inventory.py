"""What LangGraph exports, read off the installed package.

    python -m tests.compat.inventory        writes inventory.json

A name is `module.name`; a member of a class is `module.Class.member`, listed where the class is
defined or first exported. The committed file is what the table of names speaks about; a test
compares it with the installed package, so that a name LangGraph adds is noticed.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import sys
import typing
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import typing_extensions

INVENTORY = Path(__file__).parent / "inventory.json"

OTHER_DISTRIBUTIONS = ("langgraph.prebuilt", "langgraph.utils")
"""`prebuilt` is a package of its own (agents over LangChain models); `utils` only re-exports."""

OURS = "langgraph"
GRAPH = "CompiledStateGraph"
WHOLE = ("pregel.protocol.", "pregel.remote.", "pregel.Pregel", "stream.")
"""Classes that the table speaks about as a whole."""


def public_modules() -> list[str]:
    """By files: `checkpoint`, `store` and `cache` have no `__init__` that a walk would enter."""
    found = set()
    for root in map(Path, importlib.import_module(OURS).__path__):
        for file in root.rglob("*.py"):
            parts = file.relative_to(root).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            name = ".".join((OURS, *parts))
            private = any(part.startswith("_") for part in parts)
            if parts and not private and not name.startswith(OTHER_DISTRIBUTIONS):
                found.add(name)
    return sorted(found)


def exported(module: ModuleType) -> list[str]:
    """`__all__`; without one, what the module itself defines."""
    declared = getattr(module, "__all__", None)
    if declared is not None:
        return sorted(declared)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and getattr(value, "__module__", None) == module.__name__
        and (inspect.isclass(value) or inspect.isfunction(value))
    )


def kind_of(value: Any) -> str:
    if inspect.isclass(value):
        if typing_extensions.is_typeddict(value):
            return "typed dict"
        if issubclass(value, BaseException):
            return "exception"
        if getattr(value, "_is_protocol", False):
            return "protocol"
        if issubclass(value, enum.Enum):
            return "enum"
        return "class"
    if inspect.isroutine(value):
        return "function"
    return "value"


def parameters(function: Any) -> list[str]:
    """Names that an argument can be given by; `*` before those that have no default."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        p.name if p.default is not inspect.Parameter.empty else f"*{p.name}"
        for p in signature.parameters.values()
        if p.kind not in kinds and p.name not in ("self", "cls")
    ]


def members(cls: type) -> dict[str, dict[str, Any]]:
    """Public methods and properties that a class is the first of LangGraph's to have.

    Of a compiled graph all are listed, LangChain's too: people know no other class of graph.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in dir(cls):
        owners = [c for c in cls.__mro__ if name in vars(c)]
        if name.startswith("_") or not owners:
            continue
        owner = owners[0]
        first = [c for c in owners if c.__module__.startswith("langgraph")][-1:]
        if first != [cls] and cls.__name__ != GRAPH:
            continue
        home = owner.__module__
        if not home.startswith(("langgraph", "langchain_core.runnables")):
            continue
        value = inspect.getattr_static(cls, name)
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if isinstance(value, property):
            entry: dict[str, Any] = {"kind": "property"}
        elif inspect.isfunction(value):
            entry = {"kind": "method", "parameters": parameters(value)}
        else:
            continue
        if home.startswith("langchain_core"):
            entry["inherited"] = "langchain"
        found[name] = entry
    return found


def quiet(module: str) -> ModuleType | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(module)
        except ImportError:  # it needs a package that LangGraph does not bring
            return None


def read() -> dict[str, dict[str, Any]]:
    """Every name, without the package's own: `types.Command`, `graph.StateGraph.compile`."""
    names: dict[str, dict[str, Any]] = {}
    homes: dict[int, str] = {}
    modules = {m: quiet(m) for m in public_modules()}
    # A package's own `__init__` first: that is where people import from.
    for full in sorted(modules, key=lambda m: (m.count("."), m)):
        module = modules[full]
        if module is None:
            continue
        for name in exported(module):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = getattr(module, name, None)
            key = f"{full.removeprefix(OURS + '.')}.{name}"
            entry: dict[str, Any] = {"kind": kind_of(value)}
            if isinstance(value, ModuleType):
                continue
            if entry["kind"] in ("class", "function", "protocol", "exception"):
                if id(value) in homes:
                    entry["same as"] = homes[id(value)]
                    names[key] = entry
                    continue
                homes[id(value)] = key
                entry["parameters"] = parameters(value)
            names[key] = entry
            if entry["kind"] in ("class", "protocol") and not key.startswith(WHOLE):
                for member, about in members(value).items():
                    names[f"{key}.{member}"] = about
    return dict(sorted(names.items()))


def load() -> dict[str, dict[str, Any]]:
    return typing.cast("dict[str, dict[str, Any]]", json.loads(INVENTORY.read_text()))


def write() -> None:
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in read().items())
    INVENTORY.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    write()
    print(f"{INVENTORY}: {len(load())} names", file=sys.stderr)

"""Find the graph that a node is, or calls."""

from __future__ import annotations

import dis
import functools
import logging
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from stepwell.pregel.main import Pregel

logger = logging.getLogger("stepwell")

_OPAQUE: Final = frozenset(
    (int, float, complex, bool, str, bytes, bytearray, list, tuple, dict, set, frozenset,
     type(None))
)  # fmt: skip
"""Types whose values are not searched. Compared exactly: a subclass may carry attributes."""


class Nestable:
    """Base of what counts as a graph inside a node."""


def subgraph_of(node_callable: Any) -> Pregel | None:
    """The first graph that a node is, or that its function can reach by name.

    Searched are the node itself, the steps of a chain of runnables, and what a function
    captures or names: its closure, its globals, attributes of either. Graphs compiled with
    `checkpointer=False` keep no state of their own and do not count. As in LangGraph, graphs
    inside containers, behind `functools.partial` or behind attributes of `self` are not found;
    unlike there, globals that only an inner function names are.

    Args:
        node_callable: What was given to `add_node`.
    """
    queue = [(node_callable, True)]
    seen: set[int] = set()
    for candidate, is_step in queue:
        if id(candidate) in seen:
            continue
        seen.add(id(candidate))
        if isinstance(candidate, Nestable):
            if _attribute(candidate, "checkpointer") is not False:
                return candidate  # type: ignore[return-value]  # nothing else is nestable
        elif steps := _steps(candidate):
            queue.extend((step, True) for step in steps)
        elif is_step:
            queue.extend((_owner(value), False) for value in reached_values(_behind(candidate)))
    return None


def _steps(candidate: Any) -> list[Any] | tuple[Any, ...] | None:
    """The parts of a chain of runnables, recognised by shape."""
    if _attribute(candidate, "ainvoke") is None and _attribute(candidate, "invoke") is None:
        return None
    steps = _attribute(candidate, "steps") or _attribute(candidate, "deps")
    return steps if isinstance(steps, (list, tuple)) else None


def _behind(candidate: Any) -> Any:
    """The function in a runnable that wraps one."""
    if callable(candidate):
        return candidate
    own = _attribute(candidate, "__dict__") or {}
    return own.get("func") or own.get("afunc") or candidate


def _owner(value: Any) -> Any:
    """`graph` for a captured `graph.ainvoke`; anything else is itself."""
    owner = _attribute(value, "__self__")
    return value if owner is None else owner


def reached_values(function: Any) -> list[Any]:
    """What a function takes from outside: captured values, globals, attributes of both.

    It may hold more than the function uses when it runs, never less.
    """
    function = _unwrapped(function)
    if not isinstance(function, FunctionType):
        return []
    cells = dict(_cells(function))
    code = function.__code__
    scope = function.__globals__
    codes = list(_codes(code))
    globals_ = {name: scope[name] for c in codes for name in c.co_names if name in scope}
    found = list(cells.values())
    if any(type(v) not in _OPAQUE for v in (*cells.values(), *globals_.values())):
        for nested in codes:
            found.extend(_loaded(nested, globals_, cells))
    return found


def _unwrapped(function: Any) -> Any:
    """The plain function behind a method or one layer of decoration."""
    function = getattr(function, "__func__", function)
    wrapped = getattr(function, "__wrapped__", None)
    if callable(wrapped) and not isinstance(function, functools.partial):
        function = getattr(wrapped, "__func__", wrapped)
    return function


def _cells(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:
            continue  # a recursive function that is not bound yet


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and those nested in it: inner functions, lambdas, comprehensions."""
    waiting = [code]
    for each in waiting:
        yield each
        waiting.extend(c for c in each.co_consts if isinstance(c, CodeType))


def _loaded(code: CodeType, globals_: Mapping[str, Any], cells: Mapping[str, Any]) -> Iterator[Any]:
    """Values along every path `name.attribute.attribute` that the code loads."""
    value: Any = None
    for instruction in dis.get_instructions(code):
        match instruction.opname:
            case "LOAD_GLOBAL":
                value = globals_.get(instruction.argval)
            case "LOAD_DEREF":
                value = cells.get(instruction.argval)
            case "LOAD_ATTR" | "LOAD_METHOD":
                value = _attribute(value, instruction.argval)
            case _:
                value = None  # the path ends: `a, b.c` is not `a.c`
        if value is not None:
            yield value


def _attribute(value: Any, name: str) -> Any:
    try:
        return getattr(value, name, None)
    except Exception:  # a property may raise anything; the search goes on
        logger.debug("looking for subgraphs: attribute %r cannot be read", name, exc_info=True)
        return None


__all__ = ["Nestable", "reached_values", "subgraph_of"]

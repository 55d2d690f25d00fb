"""Compile a user's callable once: how it is called, and what is injected into it."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from stepwell.errors import GraphDefinitionError

if TYPE_CHECKING:
    from stepwell._engine.task import TaskRun

Call: TypeAlias = "Callable[[Any, TaskRun], Awaitable[Any]]"
CallNow: TypeAlias = "Callable[[Any, TaskRun], Any]"

_INJECTED: Final[dict[str, tuple[tuple[str, ...], Callable[[TaskRun], Any]]]] = {
    "config": (("RunnableConfig",), lambda task: task.config),
    "writer": (("StreamWriter", "Callable"), lambda task: task.stream_writer),
    "store": (("Store",), lambda task: task.runtime.store),
    "previous": ((), lambda task: task.runtime.previous),
    "runtime": ((), lambda task: task.runtime),
    "error": (("NodeError",), lambda task: task.error),
}
"""Parameter name -> (words of which the annotation must hold one, if it has any; source)."""


class NotCallableError(GraphDefinitionError, TypeError):
    """What is to be called is no callable; a TypeError, as in LangGraph."""


class Bound:
    """A callable, compiled.

    `call(value, task)` awaits it (a sync function runs in a worker thread); `now` is set for
    a sync function that the caller wants inline on the loop (routers).
    """

    __slots__ = ("call", "is_async", "name", "now")

    def __init__(self, name: str, call: Call, now: CallNow | None, *, is_async: bool) -> None:
        self.name = name
        self.call = call
        self.now = now
        self.is_async = is_async


def callable_name(fn: Any) -> str | None:
    """The name a callable goes by, None if it has none of its own."""
    name = getattr(fn, "__name__", None)
    if name is None and isinstance(fn, functools.partial):
        return callable_name(fn.func)
    if name is None and hasattr(fn, "get_name"):
        return str(fn.get_name())
    return name if name is not None else type(fn).__name__


def identity_of(action: Any) -> str:
    """Module and qualified name of a node's function; "" if it has none."""
    name = getattr(action, "__qualname__", None) or getattr(action, "__name__", None)
    module = getattr(action, "__module__", None)
    return f"{module}.{name}" if isinstance(name, str) and module else ""


def _is_async(fn: Any) -> bool:
    while isinstance(fn, functools.partial):
        fn = fn.func
    if inspect.iscoroutinefunction(fn):
        return True
    call = getattr(fn, "__call__", None)  # noqa: B004  # the bound method, not callability
    return inspect.iscoroutinefunction(call)


def _wants(parameter: inspect.Parameter, words: tuple[str, ...]) -> bool:
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        return parameter.name != "error"
    if not words:
        return True
    text = annotation if isinstance(annotation, str) else repr(annotation)
    return any(word in text for word in words)


def injections(fn: Any, *, takes_input: bool = True) -> list[tuple[str, Callable[[TaskRun], Any]]]:
    """The parameters that the engine fills, with where their values come from.

    With `takes_input` the first positional parameter is the node's input and never injected.
    """
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (ValueError, TypeError):
        return []  # a builtin without a signature takes its input and nothing else
    found = []
    for position, parameter in enumerate(parameters):
        rule = _INJECTED.get(parameter.name)
        if rule is None or parameter.kind not in (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        ):
            continue
        if takes_input and position == 0 and parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        if _wants(parameter, rule[0]):
            found.append((parameter.name, rule[1]))
        elif parameter.name == "config" and takes_input:
            warnings.warn(
                "The 'config' parameter should be typed as 'RunnableConfig' or 'RunnableConfig | "
                f"None', not '{parameter.annotation}'. ",
                UserWarning,
                stacklevel=4,
            )
    return found


def bind(fn: Any, name: str | None = None) -> Bound:
    """Compile a node function, router or runnable-like object (one with `ainvoke`).

    Raises:
        GraphDefinitionError: It is not callable.
    """
    label = name or callable_name(fn) or "node"
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        msg = f"Node {label!r} is a generator function; return an update, or stream with a writer."
        raise GraphDefinitionError(msg, node=label)
    if not callable(fn):
        if hasattr(fn, "ainvoke"):
            return _bind_runnable(fn, label)
        msg = f"Node {label!r} must be a function or another callable, not {type(fn).__name__}"
        raise NotCallableError(msg, node=label)
    injected = injections(fn)
    if _is_async(fn):
        return _bind_async(fn, label, injected)
    return _bind_sync(fn, label, injected)


def _bind_async(fn: Any, label: str, injected: list[tuple[str, Callable[[TaskRun], Any]]]) -> Bound:
    if not injected:

        def call(value: Any, task: TaskRun) -> Awaitable[Any]:  # noqa: ARG001
            return fn(value)  # type: ignore[no-any-return]
    else:

        def call(value: Any, task: TaskRun) -> Awaitable[Any]:
            return fn(value, **{k: source(task) for k, source in injected})  # type: ignore[no-any-return]

    return Bound(label, call, None, is_async=True)


def _bind_sync(fn: Any, label: str, injected: list[tuple[str, Callable[[TaskRun], Any]]]) -> Bound:
    from stepwell._portal.threads import in_thread

    def now(value: Any, task: TaskRun) -> Any:
        return fn(value, **{k: source(task) for k, source in injected}) if injected else fn(value)

    async def call(value: Any, task: TaskRun) -> Any:
        result = await in_thread(now, value, task)
        # A lambda or partial around an async function shows only when it is called.
        return await result if inspect.isawaitable(result) else result

    return Bound(label, call, now, is_async=False)


def bind_call(fn: Any, name: str) -> Bound:
    """Compile a function that is called with arguments of the caller's own: (args, kwargs).

    Parameters that the engine knows are filled unless the caller gave them.
    """
    from stepwell._portal.threads import in_thread

    injected = injections(fn, takes_input=False)
    positions: dict[str, int] = {}
    if injected:
        positions = {
            p.name: i
            for i, p in enumerate(inspect.signature(fn).parameters.values())
            if p.kind is p.POSITIONAL_OR_KEYWORD
        }

    def now(given: Any, task: TaskRun) -> Any:
        args, kwargs = given
        filled = {
            k: source(task)
            for k, source in injected
            if k not in kwargs and positions.get(k, len(args)) >= len(args)
        }
        return fn(*args, **kwargs, **filled)

    if _is_async(fn):
        return Bound(name, now, None, is_async=True)

    async def call(given: Any, task: TaskRun) -> Any:
        result = await in_thread(now, given, task)
        return await result if inspect.isawaitable(result) else result

    return Bound(name, call, now, is_async=False)


def _bind_runnable(runnable: Any, label: str) -> Bound:
    def call(value: Any, task: TaskRun) -> Awaitable[Any]:
        return runnable.ainvoke(value, task.config)  # type: ignore[no-any-return]

    return Bound(label, call, None, is_async=True)


__all__ = [
    "Bound", "NotCallableError", "bind", "bind_call", "callable_name", "identity_of", "injections",
]  # fmt: skip

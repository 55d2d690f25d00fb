"""The functional API: a workflow is a function, and what must not run twice is a task.

`@entrypoint` makes a graph of one node out of a function; `@task` makes a function whose
calls are recorded, so that a workflow that is executed again gets the results they had.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload
from warnings import warn

from stepwell._codec import GLOBAL, Registry, register_schema
from stepwell._context import current_task
from stepwell._dataclass import dataclass
from stepwell._engine.arguments import OnConflict, flag, run_defaults, seconds, text, whole
from stepwell._engine.binding import bind, callable_name, identity_of
from stepwell._engine.calls import CallSpec, start_call
from stepwell._engine.futures import SyncAsyncFuture
from stepwell._engine.program import Program
from stepwell._engine.recall import Caching, cache_namespace, use_cache
from stepwell._engine.retry import NodePolicy
from stepwell._engine.task import TaskRun
from stepwell._engine.timed import sync_timeout
from stepwell._plan.migrations import Migrations
from stepwell._plan.spec import PREVIOUS, GraphSpec, NodeSpec
from stepwell._when import checkpoint_policy
from stepwell.cache.base import BaseCache
from stepwell.channels.ephemeral_value import EphemeralValue
from stepwell.channels.last_value import LastValue
from stepwell.constants import END, START
from stepwell.errors import GraphDefinitionError
from stepwell.graph._described import NodeDef
from stepwell.graph._schema import mapper_of
from stepwell.pregel._assemble import fingerprint
from stepwell.pregel.main import Pregel
from stepwell.types import CachePolicy, CheckpointWhen, Durability, RetryPolicy, TimeoutPolicy
from stepwell.warnings import LangGraphDeprecatedSinceV05, LangGraphDeprecatedSinceV10

if TYPE_CHECKING:
    from stepwell._plan.tasks import Write

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")
ContextT = TypeVar("ContextT")

Retries = RetryPolicy | Sequence[RetryPolicy] | None
Timeout = float | timedelta | TimeoutPolicy | None


class _TaskFunction(Generic[P, T]):
    """What `@task` makes of a function: calling it starts a task and returns its future."""

    def __init__(
        self,
        func: Callable[P, Awaitable[T]] | Callable[P, T],
        *,
        retry_policy: Sequence[RetryPolicy] = (),
        cache_policy: CachePolicy[Any] | None = None,
        timeout: TimeoutPolicy | None = None,
        name: str | None = None,
    ) -> None:
        self.func = func
        self.retry_policy = tuple(retry_policy)
        self.cache_policy = cache_policy
        self.timeout = timeout
        functools.update_wrapper(self, func)
        own = name or callable_name(func) or type(func).__name__
        if name is not None or not hasattr(func, "__name__"):
            self.__name__ = own
        policy = NodePolicy(self.retry_policy, timeout) if self.retry_policy or timeout else None
        self._spec = CallSpec(func, own, policy, _result_type(func), identity_of(func))
        if cache_policy is not None:
            self._spec.cache = Caching(cache_policy, self._spec.kept_in)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> SyncAsyncFuture[T]:
        """Start the task.

        Returns:
            A future: awaitable in async code; in a sync function `result()` waits for it.

        Raises:
            RuntimeError: Called outside of a run.
            TaskOrderError: When the caller was executed before, it made another call here.
        """
        running = current_task.get()
        if not isinstance(running, TaskRun):
            msg = (
                f"Task {self._spec.name!r} was called outside of a run: call tasks inside an "
                "entrypoint or a node of a graph."
            )
            raise RuntimeError(msg)  # noqa: TRY004  # as LangGraph does: the place is wrong, no type
        # On the loop it is a future of asyncio, which does what this annotation promises there.
        return start_call(running, self._spec, (args, kwargs))  # type: ignore[return-value]

    def clear_cache(self, cache: BaseCache[Any]) -> None:
        """Forget the results of this task in a cache, if it has a cache policy."""
        if self.cache_policy is not None:
            cache.clear((self._spec.kept_in,))

    async def aclear_cache(self, cache: BaseCache[Any]) -> None:
        """Async twin of `clear_cache`."""
        if self.cache_policy is not None:
            await cache.aclear((self._spec.kept_in,))


@overload
def task(
    func: None = None,
    /,
    *,
    name: str | None = None,
    retry_policy: Retries = None,
    cache_policy: CachePolicy[Any] | None = None,
    timeout: Timeout = None,
    **deprecated: Any,
) -> Callable[[Callable[P, Awaitable[T]] | Callable[P, T]], _TaskFunction[P, T]]: ...


@overload
def task(func: Callable[P, Awaitable[T]], /) -> _TaskFunction[P, T]: ...


@overload
def task(func: Callable[P, T], /) -> _TaskFunction[P, T]: ...


def task(
    func: Any = None,
    /,
    *,
    name: str | None = None,
    retry_policy: Retries = None,
    cache_policy: CachePolicy[Any] | None = None,
    timeout: Timeout = None,
    **deprecated: Any,
) -> Any:
    """Make a task of a function, sync or async: `@task` or `@task(name=...)`.

    Calling it inside an entrypoint or a node starts it beside whatever else runs and returns a
    future. With a checkpointer its result is recorded before the caller gets it. When the
    caller is executed again (after a question, a failure, a crash), its n-th call returns what
    the n-th call returned before, and the function does not run again. Therefore the calls
    must come in the same order every time.

    Args:
        name: What it is called in streams; the function's name by default.
        retry_policy: When it is tried again; by default as the entrypoint is.
        cache_policy: When a call whose arguments were seen before need not run again, in any
            thread; needs a workflow or graph with a cache.
        timeout: Limit of one attempt, in seconds (async functions only).

    Raises:
        ValueError: A timeout for a sync function, or one that is not positive.
    """
    retry_policy = _renamed(deprecated, "retry", "retry_policy", retry_policy)
    _no_more(deprecated, "task")
    limit = TimeoutPolicy.coerce(timeout)

    def decorate(fn: Any) -> _TaskFunction[Any, Any]:
        made = _TaskFunction[Any, Any](
            fn, retry_policy=_policies(retry_policy), cache_policy=cache_policy, timeout=limit,
            name=_task_name(name, fn),
        )  # fmt: skip
        if limit is not None and not made._spec.body.is_async:  # noqa: SLF001
            raise sync_timeout(made._spec.name, "Task")  # noqa: SLF001
        return made

    return decorate if func is None else decorate(func)


def _task_name(name: str | None, fn: Any) -> str | None:
    if not callable(fn):
        msg = f"@task takes a function, not {fn!r:.100} ({type(fn).__name__})"
        raise GraphDefinitionError(msg)
    return None if name is None else text("name", name)


class entrypoint(Generic[ContextT]):  # noqa: N801  # LangGraph's name
    """Make a workflow of a function, sync or async, of one parameter: its input.

    The result is a compiled graph of one node. The value the function returns is the output
    and, with a checkpointer, what the next run on the thread is given as `previous`.
    Parameters named `config`, `previous`, `runtime`, `store` and `writer` are filled in.

    Args:
        checkpointer: Where threads are kept; without one a run leaves nothing behind.
        store: Handed over as `store` and `runtime.store`.
        cache: Where results of what has a cache policy are kept.
        context_schema: What a dict given as `context` becomes.
        cache_policy: When a run whose input was seen before need not happen again; also for
            tasks that do not say.
        retry_policy: When the workflow is tried again; also for tasks that do not say.
        timeout: Limit of one attempt, in seconds (async functions only).
        on_conflict: What a run does when its thread is busy: "wait" | "reject" |
            "interrupt" | "rollback".
        lock_timeout: Seconds to wait for a busy thread; None for ever, 0 not at all.
        durability: Default of the runs: "async" | "sync" | "exit".
        checkpoint_when: Which supersteps of graphs that it calls get a row, where these do not
            say. It is one superstep itself, whose end always does, and so do results of tasks.
        state_version: Version of the saved value's meaning; a thread of a newer one is refused.
        on_mismatch: What to do when another graph wrote the thread.
        strict: In-place changes of the saved value are errors.
    """

    @dataclass(frozen=True, slots=True, kw_only=True)
    class final(Generic[R, S]):  # noqa: N801  # LangGraph's name
        """Returned by a workflow whose output is not what its next run gets as `previous`."""

        value: R
        """The output."""
        save: S
        """What is kept for the next run."""

    def __init__(
        self,
        checkpointer: Any = None,
        store: Any = None,
        cache: BaseCache[Any] | None = None,
        context_schema: type[ContextT] | None = None,
        cache_policy: CachePolicy[Any] | None = None,
        retry_policy: Retries = None,
        *,
        timeout: Timeout = None,
        on_conflict: OnConflict = "wait",
        lock_timeout: float | None = None,
        durability: Durability | None = None,
        checkpoint_when: CheckpointWhen | None = None,
        state_version: int = 0,
        on_mismatch: Literal["accept", "warn", "refuse"] = "warn",
        strict: bool = False,
        **deprecated: Any,
    ) -> None:
        context_schema = _renamed(
            deprecated, "config_schema", "context_schema", context_schema,
            LangGraphDeprecatedSinceV10,
        )  # fmt: skip
        self.checkpointer = checkpointer
        self.store = store
        self.cache = cache
        self.context_schema = context_schema
        self.cache_policy = cache_policy
        self.retry_policy = _renamed(deprecated, "retry", "retry_policy", retry_policy)
        _no_more(deprecated, "entrypoint")
        self.timeout = TimeoutPolicy.coerce(timeout)
        run_defaults(on_conflict, on_mismatch, durability)
        self.on_conflict = on_conflict
        self.lock_timeout = seconds("lock_timeout", lock_timeout)
        self.durability = durability
        self.checkpoint_when = checkpoint_policy(checkpoint_when)
        self.state_version = whole("state_version", state_version, 0)
        self.on_mismatch = on_mismatch
        self.strict = flag("strict", strict)

    def __call__(self, func: Callable[..., Any]) -> Pregel:
        """The workflow, ready to run.

        Raises:
            NotImplementedError: The function is a generator.
            ValueError: It has no parameter, or is sync and has a timeout.
            TypeError: The checkpointer is no saver, or `final` is annotated with one type.
        """
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            msg = "Generators are not supported in the Functional API."
            error = NotImplementedError(msg)  # LangGraph's choice: nothing is left for later
            raise error
        program = self._assemble(func)
        program.store = self.store
        program.retry = _policies(self.retry_policy)
        program.cache_policy = self.cache_policy
        use_cache(program, self.cache)
        program.on_conflict = self.on_conflict
        program.lock_timeout = self.lock_timeout
        program.durability = self.durability
        program.checkpoint_when = self.checkpoint_when
        program.migrations = Migrations({}, self.state_version)
        program.on_mismatch = self.on_mismatch
        program.strict = self.strict
        return _Workflow(program, self.checkpointer, self.context_schema)

    def _assemble(self, func: Callable[..., Any]) -> Program:
        name = text("name", callable_name(func) or "workflow")
        taken, returned, saved = _types(func)
        node = NodeSpec(name)
        node.body = bind(func, name)
        if self.timeout is not None and not node.body.is_async:
            raise sync_timeout(name)
        node.triggers = (START,)
        node.takes_input = True
        node.described = NodeDef(
            bound=node.body, input_schema=taken, metadata={}, defer=False, retry=(), timeout=None,
            destinations={}, action=func,
        )  # fmt: skip
        node.writer = _ResultRule()
        if self.cache_policy is not None:
            node.cache = Caching(self.cache_policy, cache_namespace(identity_of(func), name))
        retry = _policies(self.retry_policy)
        if retry or self.timeout is not None:
            node.policy = NodePolicy(retry, self.timeout)
        spec = GraphSpec(
            "LangGraph",
            nodes={name: node},
            channels={
                START: EphemeralValue(taken, key=START),
                END: LastValue(returned, key=END),
                PREVIOUS: LastValue(saved, key=PREVIOUS),
            },
            state_keys=[END],
            output_keys=[END],
            bare=True,
        )
        registry = Registry(GLOBAL)
        for schema in (taken, returned, saved, self.context_schema):
            if schema is not None:
                register_schema(registry, schema)
        program = Program(spec, registry)
        program.context_mapper = mapper_of(self.context_schema, [])
        program.fingerprint = fingerprint(spec)
        return program


class _Workflow(Pregel):
    """A compiled entrypoint."""

    def __init__(self, program: Program, checkpointer: Any, context_schema: Any) -> None:
        self.context_schema = context_schema
        self.stream_mode = "updates"
        self._adopt(program, checkpointer)


class _ResultRule:
    """What a workflow's return value writes: the output, and what its next run is given."""

    branches = ()

    def own_writes(self, output: Any) -> list[Write]:
        if isinstance(output, entrypoint.final):
            return [(END, output.value), (PREVIOUS, output.save)]
        return [(END, output), (PREVIOUS, output)]

    async def run(self, output: Any, _: TaskRun) -> list[Write]:
        return self.own_writes(output)


def _types(func: Any) -> tuple[Any, Any, Any]:
    """Annotations of a workflow's input, its output, and what it saves.

    Raises:
        ValueError: It has no parameter.
        TypeError: Its `final` names one type instead of two.
    """
    parameters = list(inspect.signature(func).parameters)
    if not parameters:
        msg = "Entrypoint function must have at least one parameter"
        raise GraphDefinitionError(msg)
    hints = _hints(func)
    taken, returned = hints.get(parameters[0], Any), hints.get("return", Any)
    if returned is entrypoint.final:
        return taken, Any, Any
    if typing.get_origin(returned) is entrypoint.final:
        return taken, *typing.get_args(returned)
    return taken, returned, returned


def _hints(func: Any) -> dict[str, Any]:
    """A function's annotations; those that do not resolve say nothing."""
    while isinstance(func, functools.partial):
        func = func.func
    if not (inspect.isfunction(func) or inspect.ismethod(func)):
        func = getattr(func, "__call__", func)  # noqa: B004  # the method, not callability
    try:
        return typing.get_type_hints(func)
    except (NameError, TypeError, AttributeError):
        known = inspect.get_annotations(func) if inspect.isfunction(func) else {}
        return {k: v for k, v in known.items() if not isinstance(v, str)}


def _result_type(func: Any) -> Any:
    return _hints(func).get("return")


def _policies(given: Retries) -> tuple[RetryPolicy, ...]:
    return (given,) if isinstance(given, RetryPolicy) else tuple(given or ())


def _renamed(
    given: dict[str, Any],
    old: str,
    new: str,
    value: Any,
    category: type[Warning] = LangGraphDeprecatedSinceV05,
) -> Any:
    """The value of an option, which may have been given by its former name."""
    if old not in given:
        return value
    warn(
        f"`{old}` is deprecated and will be removed. Please use `{new}` instead.",
        category=category, stacklevel=3,
    )  # fmt: skip
    former = given.pop(old)
    return former if value is None else value


def _no_more(given: dict[str, Any], what: str) -> None:
    if given:
        msg = f"{what}() got an unexpected keyword argument {next(iter(given))!r}"
        raise TypeError(msg)


__all__ = ["entrypoint", "task"]

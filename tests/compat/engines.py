"""The two engines under one face, so that a case is written once.

A case asks its `api` for names (`api.StateGraph`, `api.Send`, ...) and for verbs
(`await api.invoke(...)`, `await api.history(...)`). The verbs call the async methods of the
graph, or, in the sync form, the sync ones: a case then never really waits, and is driven
without an event loop.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import warnings
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from tests.compat.touched import Names, named

MODULES = {
    "graph": ["StateGraph", "START", "END", "MessageGraph", "MessagesState", "add_messages"],
    "graph.message": ["REMOVE_ALL_MESSAGES", "push_message"],
    "types": [
        "CachePolicy", "Command", "Interrupt", "Overwrite", "RetryPolicy", "Send", "StateSnapshot",
        "StateUpdate", "TimeoutPolicy", "TracePolicy", "interrupt", "omit_payload",
    ],
    "channels": [
        "AnyValue", "BaseChannel", "BinaryOperatorAggregate", "DeltaChannel", "EphemeralValue",
        "LastValue",
        "NamedBarrierValue", "Topic", "UntrackedValue",
    ],
    "config": ["RunnableConfig", "get_config", "get_store", "get_stream_writer"],
    "runtime": ["RunControl", "Runtime", "get_runtime"],
    "checkpoint.memory": ["InMemorySaver"],
    "cache.base": ["BaseCache"],
    "cache.memory": ["InMemoryCache"],
    "cache.sqlite": ["SqliteCache"],
    "errors": [
        "EmptyInputError", "GraphRecursionError", "InvalidUpdateError", "GraphDrained",
        "GraphInterrupt", "NodeCancelledError", "NodeError", "NodeTimeoutError",
    ],
    "store.memory": ["InMemoryStore"],
    "store.sqlite": ["AsyncSqliteStore", "SqliteStore"],
    "store.base.batch": ["AsyncBatchedBaseStore"],
    "store.base": [
        "BaseStore", "Embeddings", "GetOp", "Item", "ListNamespacesOp", "MatchCondition", "PutOp",
        "SearchOp", "ensure_embeddings", "get_text_at_path", "tokenize_path",
        "validate_op_namespace",
    ],
    "func": ["entrypoint", "task"],
    "managed": ["IsLastStep", "RemainingSteps"],
}  # fmt: skip

DRAWING = ["CurveStyle", "Edge", "Graph", "MermaidDrawMethod", "Node", "NodeStyles"]
"""LangGraph takes these from LangChain."""

ERROR_FAMILIES = (
    "InvalidUpdateError", "GraphRecursionError", "EmptyInputError",
    "NodeTimeoutError", "NodeCancelledError", "GraphDrained", "RecursionError", "ValueError",
    "TypeError", "KeyError", "IndexError", "LookupError", "ZeroDivisionError", "RuntimeError",
    "NotImplementedError", "AttributeError", "ConnectionError", "CancelledError",
    "TimeoutError", "OSError", "Exception",
)  # fmt: skip
"""An error is shown as the first of these among its classes: what a caller would catch."""

LANGGRAPH_NOISE = (
    (".*", DeprecationWarning),
    (".*", PendingDeprecationWarning),
    (".*allowed_objects.*", Warning),
    (".*LangGraph.*", Warning),
)


@dataclass
class Raised:
    """What a verb that was expected to fail failed with."""

    error: BaseException

    @property
    def family(self) -> str:
        names = {c.__name__ for c in type(self.error).__mro__}
        found = [n for n in ERROR_FAMILIES if n in names]
        return type(self.error).__name__ if not found or found[0] == "Exception" else found[0]

    def says(self, *parts: str) -> list[str]:
        """The family, and which of `parts` the message holds."""
        return [self.family, *(p for p in parts if p.lower() in str(self.error).lower())]


class Api:
    """One engine in one form. Fresh for every run of a case."""

    def __init__(self, package: str, *, sync: bool = False, durability: str | None = None) -> None:
        self.package = package
        self.make_saver: Callable[[], Any] | None = None
        """What makes a saver; None: one in memory."""
        self.durability = durability
        """That of every run that does not say its own and has a saver."""
        self.sync = sync
        self._savers: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        if name == "RunnableConfig" and self.package == "langgraph":
            return load("langchain_core.runnables").RunnableConfig
        if name in DRAWING:
            langgraph = self.package == "langgraph"
            return getattr(
                load("langchain_core.runnables.graph" if langgraph else "stepwell.drawing"), name
            )
        for module, names in MODULES.items():
            if name in names:
                return self._taken(getattr(load(f"{self.package}.{module}"), name))
        raise AttributeError(name)

    def module(self, name: str) -> Any:
        """A module of the engine's package, for names that few cases use."""
        module = load(f"{self.package}.{name}")
        return Names(module) if self.package == "stepwell" else module

    def _taken(self, value: Any) -> Any:
        return named(value) if self.package == "stepwell" else value

    # --- what graphs are made of --------------------------------------------------------------

    def node(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A plain function as the form wants it: as it is, or as a coroutine function."""
        if self.sync:
            return function

        @functools.wraps(function)
        async def run(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return run

    def saver(self) -> Any:
        saver = self.InMemorySaver() if self.make_saver is None else self.make_saver()
        self._savers.append(saver)
        return saver

    def stored(self, *, url: str, **options: Any) -> Any:
        """A saver of Stepwell's that is opened by its URL."""
        saver = load("stepwell").open_saver(url, **options)
        self._savers.append(saver)
        return saver

    @staticmethod
    def thread(name: str = "t", /, **top: Any) -> dict[str, Any]:
        return {"configurable": {"thread_id": name}, **top}

    # --- verbs --------------------------------------------------------------------------------

    def _durable(self, graph: Any, options: dict[str, Any]) -> None:
        if self.durability is not None and getattr(graph, "checkpointer", None) not in (None, True):
            options.setdefault("durability", self.durability)

    async def invoke(self, graph: Any, input: Any, config: Any = None, /, **options: Any) -> Any:
        self._durable(graph, options)
        if self.sync:
            return graph.invoke(input, config, **options)
        return await graph.ainvoke(input, config, **options)

    async def stream(
        self, graph: Any, input: Any, config: Any = None, mode: Any = None, /, **options: Any
    ) -> list[Any]:
        """All chunks; a failure of the run is the last of them."""
        self._durable(graph, options)
        seen: list[Any] = []
        try:
            if self.sync:
                seen.extend(graph.stream(input, config, stream_mode=mode, **options))
            else:
                async for chunk in graph.astream(input, config, stream_mode=mode, **options):
                    seen.append(copied(chunk))
        except Exception as error:
            seen.append(Raised(error))
        return seen

    async def state(self, graph: Any, config: Any, /, **options: Any) -> Any:
        if self.sync:
            return graph.get_state(config, **options)
        return await graph.aget_state(config, **options)

    async def history(self, graph: Any, config: Any, /, **options: Any) -> list[Any]:
        if self.sync:
            return list(graph.get_state_history(config, **options))
        return [s async for s in graph.aget_state_history(config, **options)]

    async def update(self, graph: Any, config: Any, values: Any, as_node: str | None = None) -> Any:
        if self.sync:
            return graph.update_state(config, values, as_node)
        return await graph.aupdate_state(config, values, as_node)

    async def bulk_update(self, graph: Any, config: Any, supersteps: Any) -> Any:
        if self.sync:
            return graph.bulk_update_state(config, supersteps)
        return await graph.abulk_update_state(config, supersteps)

    async def raised(self, doing: Coroutine[Any, Any, Any]) -> Raised:
        """The error of a verb that has to fail."""
        try:
            result = await doing
        except Exception as error:
            return Raised(error)
        raise AssertionError(f"{self.package}: expected an error, got {result!r}")

    async def raised_or(self, doing: Coroutine[Any, Any, Any]) -> Any:
        """What a verb gives, whichever way it ends."""
        try:
            return await doing
        except Exception as error:
            return Raised(error)

    def refused(self, doing: Callable[[], Any]) -> Raised:
        """The error of a call that has to fail (building, compiling)."""
        try:
            result = doing()
        except Exception as error:
            return Raised(error)
        raise AssertionError(f"{self.package}: expected an error, got {result!r}")

    # --- end ----------------------------------------------------------------------------------

    async def close(self) -> None:
        for saver in self._savers:
            name = "close" if self.sync else "aclose"
            closing = getattr(saver, name, None)
            if closing is not None:
                done = closing()
                if done is not None:
                    await done


def copied(chunk: Any) -> Any:
    """A copy of the containers of a chunk: engines may go on using what they handed out."""
    if isinstance(chunk, dict):
        return {k: copied(v) for k, v in chunk.items()}
    if type(chunk) in (list, tuple):
        return type(chunk)(copied(v) for v in chunk)
    return chunk


@functools.cache
def load(module: str) -> Any:
    with warnings.catch_warnings():
        if module.startswith("lang"):
            warnings.simplefilter("ignore")
        return importlib.import_module(module)


def drive(case: Callable[[Api], Coroutine[Any, Any, Any]], api: Api) -> Any:
    """Run a case to its end and give back what it observed."""

    async def main() -> Any:
        try:
            return await case(api)
        finally:
            await api.close()

    if not api.sync:
        return asyncio.run(main())
    coroutine = main()
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise AssertionError(f"the sync form of {case.__name__} waited for something")

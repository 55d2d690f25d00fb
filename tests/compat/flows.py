"""What the cases of the functional API share.

The body of a workflow or task is written once, as a coroutine function; in the sync form it
becomes a plain function, and what it awaits (`got`) waits in its thread.
"""

import functools
from collections.abc import Callable
from typing import Any

from tests.compat.engines import Api


def body(api: Api, function: Callable[..., Any]) -> Callable[..., Any]:
    """A coroutine function as the form wants it."""
    if not api.sync:
        return function

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        coroutine = function(*args, **kwargs)
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("a sync body waited for something")

    return run


def task(api: Api, function: Callable[..., Any], **options: Any) -> Any:
    return api.task(**options)(body(api, function))


def flow(api: Api, function: Callable[..., Any], *, saved: bool = True, **options: Any) -> Any:
    if saved:
        options["checkpointer"] = api.saver()
    return api.entrypoint(**options)(body(api, function))


async def got(api: Api, future: Any) -> Any:
    """The result of a call."""
    return future.result() if api.sync else await future


class Tasks:
    """Tasks that note what they do."""

    def __init__(self, api: Api) -> None:
        self.seen: list[Any] = []
        seen = self.seen

        async def double(x: Any) -> Any:
            seen.append(["double", x])
            return x * 2

        async def fail(x: Any) -> Any:
            seen.append(["fail", x])
            raise ZeroDivisionError(f"boom {x}")

        async def ask(question: Any) -> Any:
            seen.append(["ask", question])
            return [question, api.interrupt(question)]

        async def nothing() -> None:
            seen.append(["nothing"])

        self.double = task(api, double)
        self.fail = task(api, fail)
        self.ask = task(api, ask)
        self.nothing = task(api, nothing)


async def recorded(api: Api, graph: Any, config: Any) -> dict[str, Any]:
    return {"state": await api.state(graph, config), "history": await api.history(graph, config)}


def quick(api: Api, attempts: int = 3) -> Any:
    return api.RetryPolicy(
        initial_interval=0.001, jitter=False, max_attempts=attempts, retry_on=Exception
    )


def path(api: Api) -> Any:
    config = api.get_config()
    return [
        str(config["metadata"]["langgraph_path"]),
        [p.split(":")[0] for p in config["configurable"]["checkpoint_ns"].split("|")],
    ]

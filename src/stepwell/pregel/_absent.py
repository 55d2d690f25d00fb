"""What a LangGraph graph inherits from LangChain and a Stepwell graph does not have."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from stepwell.errors import UsageError

_STEPS = "add them as nodes of one graph: StateGraph.add_sequence"
_EVENTS = (
    "astream(stream_mode=[...], subgraphs=True, version='v2') tells all that a graph does as "
    "typed parts"
)

INSTEAD: Final = {
    "pipe": _STEPS,
    "bind": "functools.partial(graph.ainvoke, ...), or graph.with_config(...)",
    "bind_tools": "call the model in a node",
    "with_retry": "add_node(..., retry_policy=RetryPolicy(...)) retries the node that failed",
    "with_fallbacks": "add_node(..., error_handler=...), or a conditional edge",
    "with_listeners": "observe= of the saver (stepwell.observe), or astream",
    "with_alisteners": "observe= of the saver (stepwell.observe), or astream",
    "with_types": "input_schema= and output_schema= of StateGraph",
    "map": "abatch runs a graph on a list of inputs; Send fans out inside a graph",
    "pick": "output_keys= of ainvoke, or an output_schema",
    "assign": "a node of the graph",
    "as_tool": "an async function that calls graph.ainvoke",
    "transform": "astream",
    "atransform": "astream",
    "astream_log": _EVENTS,
    "stream_events": _EVENTS,
    "astream_events": _EVENTS,
    "configurable_fields": "context= of a run (context_schema of StateGraph)",
    "configurable_alternatives": "context= of a run (context_schema of StateGraph)",
    "get_prompts": "the graph's own code: graph.builder",
}
"""Name -> what to use instead."""


class Absent:
    """Says, for verbs of LangChain's runnables, what there is instead."""

    def __getattr__(self, name: str) -> Any:
        instead = INSTEAD.get(name)
        kind = type(self).__name__
        msg = f"{kind!r} object has no attribute {name!r}"
        if instead is not None:
            msg = f"{msg}: Stepwell's graphs are no LangChain runnables. Instead: {instead}."
        raise AttributeError(msg, name=name, obj=self)

    def __or__(self, other: object) -> NoReturn:
        raise _no_pipe()

    def __ror__(self, other: object) -> NoReturn:
        raise _no_pipe()


def _no_pipe() -> UsageError:
    return UsageError(f"Graphs are not joined with `|`; {_STEPS}.")


__all__ = ["INSTEAD", "Absent"]

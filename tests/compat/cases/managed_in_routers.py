"""Managed values are shown to routers as they are to nodes."""

from typing import Any, TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import both


@both
async def case_managed_values_in_routers(api: Api) -> Any:
    class Steps(TypedDict):
        n: int
        left: api.RemainingSteps  # type: ignore[name-defined]
        last: api.IsLastStep  # type: ignore[name-defined]

    seen: list[Any] = []

    def route(state: Any) -> Any:
        seen.append((state["left"], state["last"]))
        return api.END if state["left"] <= 2 else "node"

    graph = api.StateGraph(Steps)
    graph.add_node("node", api.node(lambda s: {"n": s["n"] + 1}))
    graph.add_conditional_edges(api.START, route)
    graph.add_conditional_edges("node", route)
    compiled = graph.compile(checkpointer=api.saver())
    out = await api.invoke(compiled, {"n": 0}, api.thread(recursion_limit=6))
    await api.update(compiled, api.thread(), {"n": 7}, "node")
    return out, seen

"""Error handlers: what they are given, what they write, what runs again after a failure."""

from typing import Any

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, Log, both, brief, logger, record

MODES = ["values", "updates", "custom", "tasks"]


def text(error: Any) -> str:
    """An error as its repr; LangGraph hands out the repr itself after a reload."""
    return error if isinstance(error, str) else repr(error)


def failing(api: Api, error: Any = None, runs: list[str] | None = None, name: str = "f") -> Any:
    def fail(state: Any) -> Any:
        if runs is not None:
            runs.append(name)
        raise error or ValueError("no")

    return api.node(fail)


def handling(api: Api, runs: list[str] | None = None, fails: int = 0, **also: Any) -> Any:
    """A handler that logs what it was given, after failing some times."""

    def handle(state: Any, error: api.NodeError) -> Any:
        if runs is not None:
            runs.append("handler")
            if runs.count("handler") <= fails:
                raise RuntimeError("handler")
        return {"log": [["handled", error.node, text(error.error), len(state["log"])]], **also}

    return api.node(handle)


def guarded(api: Api, node: Any, handler: Any, /, *more: Any, **options: Any) -> Any:
    """START -> f -> z, where f has a handler; `more` are nodes beside f that lead to z too."""
    graph = api.StateGraph(Log)
    graph.add_node("f", node, error_handler=handler)
    graph.add_node("z", logger(api, "z"))
    graph.add_edge(api.START, "f")
    graph.add_edge("f", "z")
    for name, action in more:
        graph.add_node(name, action)
        graph.add_edge(api.START, name)
    return graph.compile(**options)


@both
async def case_handler_stands_in(api: Api) -> Any:
    graph = guarded(api, failing(api), handling(api), checkpointer=api.saver())
    out = {"stream": await api.stream(graph, {"log": []}, api.thread(), ALL_MODES)}
    return out | await record(api, graph, api.thread())


@both
async def case_handler_without_a_checkpointer(api: Api) -> Any:
    graph = guarded(api, failing(api), handling(api))
    return await api.stream(graph, {"log": []}, None, MODES)


@both
async def case_handler_is_not_asked_when_nothing_fails(api: Api) -> Any:
    graph = guarded(api, logger(api, "f"), handling(api), checkpointer=api.saver())
    out = {"stream": await api.stream(graph, {"log": []}, api.thread(), MODES)}
    return out | await record(api, graph, api.thread())


@both
async def case_handler_command(api: Api) -> Any:
    def handle(state: Any, error: api.NodeError) -> Any:
        return api.Command(update={"log": [f"instead of {error.node}"]}, goto="z")

    graph = guarded(api, failing(api), api.node(handle), checkpointer=api.saver())
    out = {"stream": await api.stream(graph, {"log": []}, api.thread(), ALL_MODES)}
    return out | await record(api, graph, api.thread())


@both
async def case_handler_goes_back_to_the_node(api: Api) -> Any:
    runs: list[str] = []

    def fail(state: Any) -> Any:
        runs.append("f")
        if len(runs) < 3:
            raise ValueError(len(runs))
        return {"log": ["f"]}

    def handle(state: Any, error: api.NodeError) -> Any:
        return api.Command(update={"log": [text(error.error)]}, goto="f")

    graph = guarded(api, api.node(fail), api.node(handle), checkpointer=api.saver())
    return await api.invoke(graph, {"log": []}, api.thread()), runs


@both
async def case_handler_returns_nothing(api: Api) -> Any:
    graph = guarded(api, failing(api), api.node(lambda state, error: None))
    return await api.stream(graph, {"log": ["in"]}, None, MODES)


@both
async def case_handler_without_the_error_parameter(api: Api) -> Any:
    graph = guarded(api, failing(api), logger(api, "handled"))
    return await api.invoke(graph, {"log": ["in"]})


@both
async def case_error_parameter_of_a_regular_node(api: Api) -> Any:
    def look(state: Any, error: api.NodeError) -> Any:
        return {"log": [repr(error)]}

    return await api.invoke(guarded(api, api.node(look), handling(api)), {"log": []})


@both
async def case_note_on_the_error_of_a_handler(api: Api) -> Any:
    def handle(state: Any, error: api.NodeError) -> Any:
        return {"log": [error.error.__notes__, type(error.error).__name__]}

    return await api.invoke(guarded(api, failing(api), api.node(handle)), {"log": []})


@both
async def case_handler_after_retries(api: Api) -> Any:
    runs: list[str] = []
    policy = api.RetryPolicy(initial_interval=0.0001, max_attempts=3, jitter=False)
    graph = api.StateGraph(Log)
    graph.add_node(
        "f", failing(api, ConnectionError("down"), runs), retry_policy=policy,
        error_handler=handling(api, runs),
    )  # fmt: skip
    graph.add_edge(api.START, "f")
    return await api.stream(graph.compile(), {"log": []}, None, MODES), runs


@both
async def case_handler_of_a_custom_error(api: Api) -> Any:
    class Odd(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(a)
            self.b = b

        def __repr__(self) -> str:
            return f"Odd({self.args[0]}, {self.b})"

    def handle(state: Any, error: api.NodeError) -> Any:
        return {"log": [error.error.b, isinstance(error.error, Odd)]}

    graph = guarded(api, failing(api, Odd(1, 2)), api.node(handle), checkpointer=api.saver())
    out = {"run": await api.invoke(graph, {"log": []}, api.thread())}
    return out | await record(api, graph, api.thread())


@both
async def case_handler_that_fails(api: Api) -> Any:
    runs: list[str] = []
    graph = guarded(api, failing(api, None, runs), handling(api, runs, 1), checkpointer=api.saver())
    out = {"stream": await api.stream(graph, {"log": []}, api.thread(), ALL_MODES)}
    out["state"] = brief(await api.state(graph, api.thread()))
    out["on"] = await api.stream(graph, None, api.thread(), ALL_MODES)
    return out | {"runs": runs} | await record(api, graph, api.thread())


@both
async def case_handler_that_fails_twice(api: Api) -> Any:
    runs: list[str] = []
    graph = guarded(api, failing(api, None, runs), handling(api, runs, 2), checkpointer=api.saver())
    out: dict[str, Any] = {"1": await api.raised(api.invoke(graph, {"log": []}, api.thread()))}
    out["2"] = await api.raised(api.invoke(graph, None, api.thread()))
    out["state"] = brief(await api.state(graph, api.thread()))
    out["3"] = await api.invoke(graph, None, api.thread())
    return out | {"runs": runs}


@both
async def case_handler_that_fails_without_a_checkpointer(api: Api) -> Any:
    runs: list[str] = []
    graph = guarded(api, failing(api, None, runs), handling(api, runs, 1))
    return await api.stream(graph, {"log": []}, None, MODES), runs


@both
async def case_handler_that_fails_with_exit_durability(api: Api) -> Any:
    runs: list[str] = []
    graph = guarded(api, failing(api, None, runs), handling(api, runs, 1), checkpointer=api.saver())
    out: dict[str, Any] = {
        "1": await api.raised(api.invoke(graph, {"log": []}, api.thread(), durability="exit"))
    }
    out["state"] = brief(await api.state(graph, api.thread()))
    out["on"] = await api.invoke(graph, None, api.thread(), durability="exit")
    return out | {"runs": runs, "end": brief(await api.state(graph, api.thread()))}


@both
async def case_handler_is_retried(api: Api) -> Any:
    runs: list[str] = []

    def handle(state: Any, error: api.NodeError) -> Any:
        runs.append("handler")
        if len(runs) < 3:
            raise ConnectionError("down")
        return {"log": [len(runs), error.node]}

    graph = api.StateGraph(Log)
    graph.set_node_defaults(
        retry_policy=api.RetryPolicy(
            initial_interval=0.0001, jitter=False, retry_on=ConnectionError
        ),
        error_handler=api.node(handle),
    )
    graph.add_node("f", failing(api))
    graph.add_edge(api.START, "f")
    return await api.invoke(graph.compile(), {"log": []}), runs


@both
async def case_default_handler(api: Api) -> Any:
    graph = api.StateGraph(Log)
    graph.set_node_defaults(error_handler=handling(api))
    graph.add_node("f", failing(api))
    graph.add_node("g", failing(api), error_handler=logger(api, "own"))
    graph.add_edge(api.START, "f")
    graph.add_edge(api.START, "g")
    compiled = graph.compile(checkpointer=api.saver())
    out = {"run": await api.invoke(compiled, {"log": []}, api.thread())}
    return out | await record(api, compiled, api.thread())


@both
async def case_default_handler_does_not_catch_handlers(api: Api) -> Any:
    runs: list[str] = []
    graph = api.StateGraph(Log)
    graph.set_node_defaults(error_handler=handling(api, runs))
    graph.add_node("f", failing(api), error_handler=failing(api, KeyError("handler")))
    graph.add_edge(api.START, "f")
    return await api.raised(api.invoke(graph.compile(), {"log": []})), runs


@both
async def case_default_handler_set_after_the_nodes(api: Api) -> Any:
    graph = api.StateGraph(Log)
    graph.add_node("f", failing(api))
    graph.add_edge(api.START, "f")
    graph.set_node_defaults(error_handler=handling(api))
    return await api.stream(graph.compile(), {"log": []}, None, MODES)


@both
async def case_compile_twice_with_a_default_handler(api: Api) -> Any:
    graph = api.StateGraph(Log)
    graph.set_node_defaults(error_handler=handling(api))
    graph.add_node("f", failing(api))
    graph.add_edge(api.START, "f")
    graph.compile()
    try:
        return await api.invoke(graph.compile(), {"log": []})
    except ValueError as error:
        return f"refused: {'already exists' in str(error)}"


@both
async def case_handler_names_are_taken(api: Api) -> Any:
    def own() -> Any:
        graph = api.StateGraph(Log)
        graph.add_node("__error_handler__f", logger(api, "x"))
        graph.add_node("f", failing(api), error_handler=handling(api))

    def default() -> Any:
        graph = api.StateGraph(Log)
        graph.set_node_defaults(error_handler=handling(api))
        graph.add_node("__default_error_handler__", logger(api, "x"))
        graph.add_edge(api.START, "__default_error_handler__")
        graph.compile()

    return [api.refused(own).says("already exists"), api.refused(default).says("already exists")]


@both
async def case_handler_asks_a_question(api: Api) -> Any:
    runs: list[str] = []

    def handle(state: Any, error: api.NodeError) -> Any:
        runs.append("handler")
        return {"log": [api.interrupt(f"what of {error.node}?"), text(error.error)]}

    graph = guarded(api, failing(api, None, runs), api.node(handle), checkpointer=api.saver())
    out: dict[str, Any] = {"1": await api.stream(graph, {"log": []}, api.thread(), ALL_MODES)}
    out["next"] = (await api.state(graph, api.thread())).next
    resume = api.Command(resume="drop it")
    out["2"] = await api.stream(graph, resume, api.thread(), ALL_MODES)
    return out | {"runs": runs, "end": brief(await api.state(graph, api.thread()))}


@both
async def case_question_of_a_handler_is_shown(api: Api) -> Any:
    def handle(state: Any, error: api.NodeError) -> Any:
        return {"log": [api.interrupt("what?")]}

    graph = guarded(api, failing(api), api.node(handle), checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    return [i.value for i in (await api.state(graph, api.thread())).interrupts]


@both
async def case_handler_asks_twice(api: Api) -> Any:
    def handle(state: Any, error: api.NodeError) -> Any:
        return {"log": [api.interrupt("q1"), api.interrupt("q2")]}

    graph = guarded(api, failing(api), api.node(handle), checkpointer=api.saver())
    out = [await api.invoke(graph, {"log": []}, api.thread())]
    for answer in ("a1", "a2"):
        out.append(await api.invoke(graph, api.Command(resume=answer), api.thread()))
    return out


@both
async def case_handler_answered_by_id(api: Api) -> Any:
    def handle(state: Any, error: api.NodeError) -> Any:
        return {"log": [api.interrupt("q")]}

    graph = guarded(api, failing(api), api.node(handle), checkpointer=api.saver())
    asked = await api.invoke(graph, {"log": []}, api.thread())
    answer = api.Command(resume={asked["__interrupt__"][0].id: "by id"})
    return await api.invoke(graph, answer, api.thread())


@both
async def case_interrupts_are_not_handled(api: Api) -> Any:
    runs: list[str] = []

    def ask(state: Any) -> Any:
        return {"log": [api.interrupt("q")]}

    graph = guarded(api, api.node(ask), handling(api, runs), checkpointer=api.saver())
    out = [await api.invoke(graph, {"log": []}, api.thread())]
    out.append(await api.invoke(graph, api.Command(resume="r"), api.thread()))
    return out, runs


@both
async def case_failure_after_an_answer_is_handled(api: Api) -> Any:
    def ask(state: Any) -> Any:
        raise ValueError(api.interrupt("q"))

    graph = guarded(api, api.node(ask), handling(api), checkpointer=api.saver())
    out: dict[str, Any] = {"1": await api.invoke(graph, {"log": []}, api.thread())}
    modes = ["values", "tasks"]  # LangGraph's updates say {"f": None} of the failed node
    out["2"] = await api.stream(graph, api.Command(resume="r"), api.thread(), modes)
    return out | {"end": brief(await api.state(graph, api.thread()))}

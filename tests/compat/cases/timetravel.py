"""Fork and replay: running from an older checkpoint."""

from typing import Any

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, Log, LogCount, both, build, chain, record


async def at(api: Api, graph: Any, next: tuple[str, ...]) -> Any:
    """Config of the newest checkpoint from which `next` is still to run."""
    found = [s.config for s in await api.history(graph, api.thread()) if s.next == next]
    return found[0]


@both
async def case_replay_from_the_middle(api: Api) -> Any:
    ran: list[str] = []

    def step(name: str) -> Any:
        def run(state: Any) -> Any:
            ran.append(name)
            return {"log": [f"{name}{len(ran)}"]}

        return api.node(run)

    graph = chain(api, Log, {n: step(n) for n in "abc"}, checkpointer=api.saver())
    out = {"first": await api.invoke(graph, {"log": ["in"]}, api.thread())}
    old = await at(api, graph, ("b",))
    out["replay"] = await api.stream(graph, None, old, ALL_MODES)
    return out | {"ran": ran} | await record(api, graph, api.thread())


@both
async def case_replay_twice_makes_two_branches(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    old = await at(api, graph, ("b",))
    out = [await api.invoke(graph, None, old) for _ in range(2)]
    return {"runs": out} | await record(api, graph, api.thread())


@both
async def case_replay_from_the_input_checkpoint(api: Api) -> Any:
    graph = chain(api, Log, ["a"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    old = await at(api, graph, (api.START,))
    out = {"run": await api.stream(graph, None, old, ["values", "updates"])}
    return out | await record(api, graph, api.thread())


@both
async def case_run_from_the_last_checkpoint_by_id(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    head = (await api.state(graph, api.thread())).config
    out = {"run": await api.stream(graph, None, head, ["values", "updates"])}
    return out | await record(api, graph, api.thread())


@both
async def case_fork_with_new_input(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["one"]}, api.thread())
    old = await at(api, graph, ("b",))
    out = {"run": await api.stream(graph, {"log": ["two"]}, old, ["values", "updates"])}
    return out | await record(api, graph, api.thread())


@both
async def case_fork_by_update(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    old = await at(api, graph, ("b",))
    out = {"config": await api.update(graph, old, {"log": ["edited"]})}
    out["state"] = await api.state(graph, api.thread())
    out["on"] = await api.stream(graph, None, out["config"], ["values", "updates", "checkpoints"])
    return out | await record(api, graph, api.thread())


@both
async def case_fork_by_update_then_run_the_thread(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    old = await at(api, graph, ("c",))
    await api.update(graph, old, {"log": ["as a"]}, "a")
    out = {"on": await api.stream(graph, None, api.thread(), ["values", "updates"])}
    return out | await record(api, graph, api.thread())


@both
async def case_old_branch_is_still_there(api: Api) -> Any:
    graph = chain(api, LogCount, ["a", "b"], checkpointer=api.saver())
    await api.invoke(graph, {"log": [], "n": 1}, api.thread())
    head = (await api.state(graph, api.thread())).config
    await api.update(graph, await at(api, graph, ("b",)), {"n": 99}, "a")
    await api.invoke(graph, None, api.thread())
    out = {"old head": await api.state(graph, head)}
    out["new turn from the old head"] = await api.invoke(graph, {"log": ["again"]}, head)
    return out | await record(api, graph, api.thread())


@both
async def case_fork_of_a_fork(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    for label in ("x", "y"):
        old = await at(api, graph, ("b",))
        await api.update(graph, old, {"log": [label]}, "a")
        await api.invoke(graph, None, api.thread())
    return await record(api, graph, api.thread())


@both
async def case_replay_asks_again(api: Api) -> Any:
    def ask(state: Any) -> Any:
        return {"log": [api.interrupt("q")]}

    graph = chain(api, Log, {"a": None, "ask": api.node(ask), "z": None}, checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    await api.invoke(graph, api.Command(resume="one"), api.thread())
    old = await at(api, graph, ("ask",))
    out = {"replay": await api.stream(graph, None, old, ["values", "updates"])}
    out["state"] = await api.state(graph, api.thread())
    out["answer"] = await api.stream(
        graph, api.Command(resume="two"), api.thread(), ["values", "updates"]
    )
    return out | await record(api, graph, api.thread())


@both
async def case_resume_an_old_question_by_checkpoint(api: Api) -> Any:
    def ask(state: Any) -> Any:
        return {"log": [api.interrupt("q")]}

    graph = chain(api, Log, {"a": None, "ask": api.node(ask), "z": None}, checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    old = (await api.state(graph, api.thread())).config
    out = {"head": await api.invoke(graph, api.Command(resume="one"), old)}
    out["past"] = await api.stream(graph, api.Command(resume="two"), old, ["values", "updates"])
    return out | await record(api, graph, api.thread())


@both
async def case_replay_a_map_reduce(api: Api) -> Any:
    nodes = {"w": api.node(lambda s: {"log": [s["i"]]}), "z": None}
    graph = build(
        api, LogCount, nodes, [("w", "z")],
        [(api.START, lambda s: [api.Send("w", {"i": i}) for i in range(s["n"])], ["w"])],
        checkpointer=api.saver(),
    )  # fmt: skip
    await api.invoke(graph, {"log": [], "n": 2}, api.thread())
    old = await at(api, graph, ("w", "w"))
    out = {"replay": await api.invoke(graph, None, old)}
    return out | await record(api, graph, api.thread())


async def case_replay_with_a_join_half_done(api: Api) -> Any:
    s = api.START
    graph = build(
        api, Log, ["a", "b1", "b2", "z"], [(s, "a"), (s, "b1"), ("b1", "b2"), (["a", "b2"], "z")],
        checkpointer=api.saver(),
    )  # fmt: skip
    await api.invoke(graph, {"log": []}, api.thread())
    old = await at(api, graph, ("b2",))
    out = {"replay": await api.invoke(graph, None, old)}
    return out | await record(api, graph, api.thread())


@both
async def case_replay_stops_at_a_breakpoint(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver(), interrupt_before=["c"])
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    await api.invoke(graph, None, api.thread())
    old = await at(api, graph, ("b",))
    out = {"replay": await api.stream(graph, None, old, ["values", "updates"])}
    out["state"] = await api.state(graph, api.thread())
    out["on"] = await api.invoke(graph, None, api.thread())
    return out | await record(api, graph, api.thread())


async def case_command_goto_at_an_old_checkpoint(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    old = await at(api, graph, ("b",))
    command = api.Command(update={"log": ["u"]}, goto="c")
    out = {"run": await api.stream(graph, command, old, ["values", "updates"])}
    return out | await record(api, graph, api.thread())


@both
async def case_unknown_checkpoint_id(api: Api) -> Any:
    graph = chain(api, Log, ["a"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    ghost = api.thread()
    ghost["configurable"]["checkpoint_id"] = "1efffffe-ffff-6fff-8fff-ffffffffffff"
    return {
        "values": (await api.state(graph, ghost)).values,
        "next": (await api.state(graph, ghost)).next,
    }


@both
async def case_failed_step_replayed(api: Api) -> Any:
    runs: list[int] = []

    def flaky(state: Any) -> Any:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("first")
        return {"log": [len(runs)]}

    graph = chain(api, Log, {"a": None, "f": api.node(flaky), "z": None}, checkpointer=api.saver())
    out = {"raised": await api.raised(api.invoke(graph, {"log": []}, api.thread()))}
    out["on"] = await api.invoke(graph, None, api.thread())
    old = await at(api, graph, ("f",))
    out["replay"] = await api.invoke(graph, None, old)
    return out | await record(api, graph, api.thread())


async def case_task_that_runs_again_leaves_its_new_result(api: Api) -> Any:
    """Addressed at the head, which is an update, a command runs finished tasks again; then the
    other one asks, and what the first left is seen after the resume."""
    runs = []

    def work(state: Any) -> Any:
        runs.append(len(runs))
        return {"log": [f"work {runs[-1]}"]}

    def ask(state: Any) -> Any:
        return {"log": [["ask", api.interrupt("q")]]}

    nodes = {"in": None, "work": api.node(work), "ask": api.node(ask)}
    edges = [(api.START, "in"), ("in", "work"), ("in", "ask")]
    graph = build(api, Log, nodes, edges, checkpointer=api.saver())
    head = await api.update(graph, api.thread(), {"log": ["in"]}, "in")
    await api.invoke(graph, None, api.thread())
    command = api.Command(update={"log": ["u"]})
    again = await api.invoke(graph, command, head)
    shown = (await api.state(graph, api.thread())).values
    on = await api.invoke(graph, api.Command(resume="r"), api.thread())
    return {"again": again["log"], "shown": shown["log"], "on": on["log"], "runs": runs}

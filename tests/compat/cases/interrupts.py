"""`interrupt()`: one, several, in parallel; resumed by value and by id."""

import asyncio
import operator
from typing import Annotated, Any

from tests.compat.engines import Api
from tests.compat.shapes import ALL_MODES, Log, both, build, chain, logger, record


def asker(api: Api, name: str, *questions: Any) -> Any:
    def ask(state: Any) -> Any:
        return {"log": [[name, *[api.interrupt(q) for q in questions]]]}

    return api.node(ask)


def two_askers(api: Api, **options: Any) -> Any:
    s = api.START
    nodes = {"a": asker(api, "a", "qa"), "b": asker(api, "b", "qb"), "c": None, "z": None}
    edges = [(s, "a"), (s, "b"), (s, "c"), (["a", "b", "c"], "z")]
    return build(api, Log, nodes, edges, checkpointer=api.saver(), **options)


@both
async def case_one_interrupt(api: Api) -> Any:
    graph = chain(
        api,
        Log,
        {"a": None, "ask": asker(api, "ask", {"q": 1}), "z": None},
        checkpointer=api.saver(),
    )
    out = {"stop": await api.invoke(graph, {"log": ["in"]}, api.thread())}
    out["state"] = await api.state(graph, api.thread())
    out["on"] = await api.invoke(graph, api.Command(resume="yes"), api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_interrupt_all_modes(api: Api) -> Any:
    graph = chain(api, Log, {"ask": asker(api, "ask", "q"), "z": None}, checkpointer=api.saver())
    out = {"stop": await api.stream(graph, {"log": []}, api.thread(), ALL_MODES)}
    out["on"] = await api.stream(graph, api.Command(resume=1), api.thread(), ALL_MODES)
    return out


@both
async def case_interrupt_single_modes(api: Api) -> Any:
    out = {}
    for mode in ALL_MODES:
        graph = chain(
            api, Log, {"ask": asker(api, "ask", "q"), "z": None}, checkpointer=api.saver()
        )
        out[mode] = await api.stream(graph, {"log": []}, api.thread(), mode)
        out[f"{mode} on"] = await api.stream(graph, api.Command(resume=1), api.thread(), mode)
    return out


@both
async def case_several_interrupts_in_one_node(api: Api) -> Any:
    graph = chain(
        api, Log, {"ask": asker(api, "ask", "q1", "q2", "q3"), "z": None}, checkpointer=api.saver()
    )
    out = [await api.invoke(graph, {"log": []}, api.thread())]
    states = []
    for answer in (1, "two", [3]):
        states.append(await api.state(graph, api.thread()))
        out.append(await api.invoke(graph, api.Command(resume=answer), api.thread()))
    return {"runs": out, "states": states} | await record(api, graph, api.thread())


@both
async def case_interrupted_again_without_an_answer(api: Api) -> Any:
    graph = chain(api, Log, {"ask": asker(api, "ask", "q"), "z": None}, checkpointer=api.saver())
    out = [await api.invoke(graph, {"log": []}, api.thread())]
    out.append(await api.invoke(graph, None, api.thread()))
    out.append(await api.invoke(graph, None, api.thread()))
    out.append(await api.invoke(graph, api.Command(resume="r"), api.thread()))
    return {"runs": out} | await record(api, graph, api.thread())


@both
async def case_half_answered_then_none(api: Api) -> Any:
    graph = chain(api, Log, {"ask": asker(api, "ask", "q1", "q2")}, checkpointer=api.saver())
    out = [await api.invoke(graph, {"log": []}, api.thread())]
    out.append(await api.invoke(graph, api.Command(resume="r1"), api.thread()))
    out.append(await api.invoke(graph, None, api.thread()))
    out.append(await api.invoke(graph, api.Command(resume="r2"), api.thread()))
    return {"runs": out} | await record(api, graph, api.thread())


async def case_parallel_interrupts_by_id(api: Api) -> Any:
    graph = two_askers(api)
    first = await api.invoke(graph, {"log": []}, api.thread())
    out = {"stop": first, "stopped": await api.state(graph, api.thread())}
    answers = {i.id: f"to {i.value}" for i in first["__interrupt__"]}
    out["on"] = await api.stream(
        graph, api.Command(resume=answers), api.thread(), ["values", "updates"]
    )
    return out | await record(api, graph, api.thread())


async def case_parallel_interrupts_one_after_the_other(api: Api) -> Any:
    graph = two_askers(api)
    first = await api.invoke(graph, {"log": []}, api.thread())
    by_value = {i.value: i.id for i in first["__interrupt__"]}
    out = {"stop": first}
    out["b"] = await api.invoke(graph, api.Command(resume={by_value["qb"]: "B"}), api.thread())
    out["between"] = await api.state(graph, api.thread())
    out["a"] = await api.invoke(graph, api.Command(resume="A"), api.thread())
    return out | await record(api, graph, api.thread())


async def case_parallel_interrupts_by_value_are_ambiguous(api: Api) -> Any:
    graph = two_askers(api)
    await api.invoke(graph, {"log": []}, api.thread())
    raised = await api.raised(api.invoke(graph, api.Command(resume="?"), api.thread()))
    caught = isinstance(raised.error, RuntimeError)
    return {"caught by `except RuntimeError`": caught} | await record(api, graph, api.thread())


async def case_unknown_interrupt_id(api: Api) -> Any:
    graph = two_askers(api)
    await api.invoke(graph, {"log": []}, api.thread())
    out = {"run": await api.invoke(graph, api.Command(resume={"0" * 32: 1}), api.thread())}
    return out | await record(api, graph, api.thread())


async def case_parallel_several_questions_each(api: Api) -> Any:
    s = api.START
    nodes = {"a": asker(api, "a", "a1", "a2"), "b": asker(api, "b", "b1", "b2"), "z": None}
    graph = build(
        api, Log, nodes, [(s, "a"), (s, "b"), (["a", "b"], "z")], checkpointer=api.saver()
    )
    result = await api.invoke(graph, {"log": []}, api.thread())
    out = [result]
    while "__interrupt__" in result:
        answers = {i.id: i.value.upper() for i in result["__interrupt__"]}
        result = await api.invoke(graph, api.Command(resume=answers), api.thread())
        out.append(result)
    return {"runs": out} | await record(api, graph, api.thread())


@both
async def case_answers_that_are_falsy(api: Api) -> Any:
    out = {}
    for answer in (False, 0, "", [], {}):
        graph = chain(api, Log, {"ask": asker(api, "ask", "q")}, checkpointer=api.saver())
        await api.invoke(graph, {"log": []}, api.thread())
        try:
            out[repr(answer)] = await api.invoke(graph, api.Command(resume=answer), api.thread())
        except Exception as error:
            out[repr(answer)] = type(error).__name__
    return out


@both
async def case_resume_with_none_is_empty(api: Api) -> Any:
    graph = chain(api, Log, {"ask": asker(api, "ask", "q")}, checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    return await api.raised(api.invoke(graph, api.Command(resume=None), api.thread()))


@both
async def case_answer_that_looks_like_a_mapping(api: Api) -> Any:
    graph = chain(api, Log, {"ask": asker(api, "ask", "q")}, checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    return await api.invoke(graph, api.Command(resume={"name": "x"}), api.thread())


@both
async def case_interrupt_without_a_checkpointer(api: Api) -> Any:
    graph = chain(api, Log, {"ask": asker(api, "ask", "q")})
    try:
        return await api.invoke(graph, {"log": []})
    except Exception as error:
        return type(error).__name__


@both
async def case_a_command_does_not_answer_the_next_question(api: Api) -> Any:
    nodes = {"ask": asker(api, "ask", "q1", "q2"), "other": None}
    graph = build(api, Log, nodes, [(api.START, "ask")], checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    out = {"one": await api.invoke(graph, api.Command(resume="r1"), api.thread())}
    out["other"] = await api.invoke(graph, api.Command(goto="other"), api.thread())
    out["state"] = await api.state(graph, api.thread())
    out["two"] = await api.invoke(graph, api.Command(resume="r2"), api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_interrupt_in_a_loop(api: Api) -> Any:
    def route(state: Any) -> Any:
        return "ask" if len(state["log"]) < 3 else api.END

    graph = build(
        api, Log, {"ask": asker(api, "ask", "q")}, [(api.START, "ask")], [("ask", route)],
        checkpointer=api.saver(),
    )  # fmt: skip
    out = [await api.invoke(graph, {"log": []}, api.thread())]
    out.extend([await api.invoke(graph, api.Command(resume=i), api.thread()) for i in range(3)])
    return {"runs": out} | await record(api, graph, api.thread())


async def case_sends_that_interrupt(api: Api) -> Any:
    def work(arg: Any) -> Any:
        return {"log": [[arg["i"], api.interrupt(arg["i"])]] if arg["i"] else ["no question"]}

    graph = build(
        api, Log, {"w": api.node(work), "z": logger(api, "z")}, [("w", "z")],
        [(api.START, lambda s: [api.Send("w", {"i": i}) for i in range(3)], ["w"])],
        checkpointer=api.saver(),
    )  # fmt: skip
    first = await api.invoke(graph, {"log": []}, api.thread())
    out = {"stop": first, "stopped": await api.state(graph, api.thread())}
    one = {first["__interrupt__"][-1].id: "late"}
    out["one"] = await api.invoke(graph, api.Command(resume=one), api.thread())
    out["between"] = await api.state(graph, api.thread())
    out["all"] = await api.invoke(graph, api.Command(resume="rest"), api.thread())
    return out | await record(api, graph, api.thread())


async def case_siblings_finish_although_one_asks(api: Api) -> Any:
    ran: list[str] = []

    async def slow(state: Any) -> Any:
        await asyncio.sleep(0.02)
        ran.append("slow")
        return {"log": ["slow"]}

    s = api.START
    nodes = {"ask": asker(api, "ask", "q"), "slow": slow, "z": None}
    graph = build(
        api, Log, nodes, [(s, "ask"), (s, "slow"), (["ask", "slow"], "z")], checkpointer=api.saver()
    )
    out = {
        "stop": await api.stream(graph, {"log": []}, api.thread(), ["values", "updates", "tasks"])
    }
    out["state"] = await api.state(graph, api.thread())
    out["on"] = await api.stream(
        graph, api.Command(resume="r"), api.thread(), ["values", "updates", "tasks"]
    )
    return out | {"ran": ran} | await record(api, graph, api.thread())


async def case_interrupt_next_to_a_failure(api: Api) -> Any:
    def fail(state: Any) -> Any:
        raise ValueError("broken")

    s = api.START
    nodes = {"ask": asker(api, "ask", "q"), "fail": api.node(fail)}
    graph = build(api, Log, nodes, [(s, "ask"), (s, "fail")], checkpointer=api.saver())
    raised = await api.raised(api.invoke(graph, {"log": []}, api.thread()))
    out = {"raised": raised, "state": await api.state(graph, api.thread())}
    out["on"] = await api.raised(api.invoke(graph, api.Command(resume="r"), api.thread()))
    return out | {"after": await api.state(graph, api.thread())}


@both
async def case_new_input_on_an_interrupted_thread(api: Api) -> Any:
    graph = chain(api, Log, {"ask": asker(api, "ask", "q"), "z": None}, checkpointer=api.saver())
    out = {"stop": await api.invoke(graph, {"log": ["one"]}, api.thread())}
    out["new"] = await api.invoke(graph, {"log": ["two"]}, api.thread())
    out["on"] = await api.invoke(graph, api.Command(resume="r"), api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_new_input_while_a_sibling_had_finished(api: Api) -> Any:
    s = api.START
    nodes = {"ask": asker(api, "ask", "q"), "done": None, "z": None}
    graph = build(
        api, Log, nodes, [(s, "ask"), (s, "done"), (["ask", "done"], "z")], checkpointer=api.saver()
    )
    out = {"stop": await api.invoke(graph, {"log": ["one"]}, api.thread())}
    out["shown"] = (await api.state(graph, api.thread())).values
    out["new"] = await api.invoke(graph, {"log": ["two"]}, api.thread())
    out["on"] = await api.invoke(graph, api.Command(resume="r"), api.thread())
    return out


@both
async def case_new_input_does_not_start_what_a_sibling_triggered(api: Api) -> Any:
    s = api.START
    nodes = {"ask": asker(api, "ask", "q"), "done": None, "after": None}
    edges = [(s, "ask"), (s, "done"), ("done", "after")]
    graph = build(api, Log, nodes, edges, checkpointer=api.saver())
    await api.invoke(graph, {"log": ["one"]}, api.thread())
    await api.invoke(graph, {"log": ["two"]}, api.thread())
    state = await api.state(graph, api.thread())
    on = await api.invoke(graph, api.Command(resume="r"), api.thread())
    return {"next": state.next, "log": on["log"], "history": await api.history(graph, api.thread())}


@both
async def case_update_while_a_sibling_had_finished(api: Api) -> Any:
    s = api.START
    nodes = {"ask": asker(api, "ask", "q"), "done": None}
    graph = build(api, Log, nodes, [(s, "ask"), (s, "done")], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["one"]}, api.thread())
    shown = (await api.state(graph, api.thread())).values
    await api.update(graph, api.thread(), {"log": ["two"]}, "ask")
    return {"shown": shown, "updated": (await api.state(graph, api.thread())).values}


@both
async def case_interrupt_passes_except_exception(api: Api) -> Any:
    def ask(state: Any) -> Any:
        try:
            return {"log": [api.interrupt("q")]}
        except Exception as error:
            return {"log": [f"swallowed {type(error).__name__}"]}

    graph = chain(api, Log, {"ask": api.node(ask)}, checkpointer=api.saver())
    return await api.invoke(graph, {"log": []}, api.thread())


@both
async def case_interrupt_with_update_state_then_resume(api: Api) -> Any:
    graph = chain(api, Log, {"ask": asker(api, "ask", "q"), "z": None}, checkpointer=api.saver())
    out = {"stop": await api.invoke(graph, {"log": ["in"]}, api.thread())}
    await api.update(graph, api.thread(), {"log": ["edited"]})
    out["edited"] = await api.state(graph, api.thread())
    out["on"] = await api.invoke(graph, None, api.thread())
    out["resumed"] = await api.invoke(graph, api.Command(resume="r"), api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_update_as_the_asking_node(api: Api) -> Any:
    graph = chain(api, Log, {"ask": asker(api, "ask", "q"), "z": None}, checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    await api.update(graph, api.thread(), {"log": ["answered for it"]}, "ask")
    out = {"edited": await api.state(graph, api.thread())}
    out["on"] = await api.invoke(graph, None, api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_interrupt_values_of_many_kinds(api: Api) -> Any:
    values = [None, 1, 2.5, "x", [1, [2, 3]], {"k": {"l": [None]}}]
    out = []
    for value in values:
        graph = chain(api, Log, {"ask": asker(api, "ask", value)}, checkpointer=api.saver())
        await api.invoke(graph, {"log": []}, api.thread())
        out.append((await api.state(graph, api.thread())).interrupts)
    return out


@both
async def case_two_threads_do_not_mix(api: Api) -> Any:
    graph = chain(api, Log, {"ask": asker(api, "ask", "q"), "z": None}, checkpointer=api.saver())
    out = {}
    for name in ("t", "u"):
        out[name] = await api.invoke(graph, {"log": [name]}, api.thread(name))
    for name in ("u", "t"):
        out[f"{name} on"] = await api.invoke(graph, api.Command(resume=name), api.thread(name))
    return out | {"t": await record(api, graph, api.thread())}


@both
async def case_interrupt_when_the_state_is_no_dict(api: Api) -> Any:
    def ask(state: Any) -> Any:
        return [api.interrupt("q")]

    schema = Annotated[list, operator.add]
    graph = chain(api, schema, {"a": api.node(ask)}, checkpointer=api.saver())
    return [
        await api.invoke(graph, ["in"], api.thread()),
        await api.invoke(graph, api.Command(resume="r"), api.thread()),
    ]


async def case_answers_with_updates_in_exit_mode(api: Api) -> Any:
    def ask(state: Any) -> Any:
        return {"log": ["".join(api.interrupt(str(n)) for n in range(3))]}

    graph = chain(api, Log, {"a": api.node(ask)}, checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread(), durability="exit")
    seen = []
    for n in range(3):
        command = api.Command(resume=str(n), update={"log": [f"u{n}"]})
        seen.append(await api.invoke(graph, command, api.thread(), durability="exit"))
        seen.append(await api.state(graph, api.thread()))
    return seen


@both
async def case_updates_of_a_task_that_fails_after_its_answer(api: Api) -> Any:
    def ask(state: Any) -> Any:
        raise ValueError(api.interrupt("q"))

    graph = chain(api, Log, {"ask": api.node(ask)}, checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    return await api.stream(graph, api.Command(resume="r"), api.thread(), "updates")

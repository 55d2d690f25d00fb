"""`update_state`, `bulk_update_state`, `get_state`, `get_state_history`."""

from typing import Any

from tests.compat.engines import Api
from tests.compat.shapes import Log, LogCount, both, brief, build, chain, record


@both
async def case_unknown_thread(api: Api) -> Any:
    graph = chain(api, Log, ["a"], checkpointer=api.saver())
    return await record(api, graph, api.thread("nobody"))


@both
async def case_state_needs_a_thread_id(api: Api) -> Any:
    graph = chain(api, Log, ["a"], checkpointer=api.saver())
    nobody: dict[str, Any] = {"configurable": {}}
    return {
        "invoke": await api.raised(api.invoke(graph, {"log": []}, nobody)),
        "invoke bare": await api.raised(api.invoke(graph, {"log": []})),
    }


@both
async def case_update_as_a_given_node(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    out = {}
    for name in ("a", "b", "c"):
        out[f"config {name}"] = await api.update(graph, api.thread(), {"log": [f"as {name}"]}, name)
        out[name] = await api.state(graph, api.thread())
    await api.update(graph, api.thread(), {"log": ["as a"]}, "a")
    out["on"] = await api.stream(graph, None, api.thread(), ["values", "updates"])
    return out | await record(api, graph, api.thread())


@both
async def case_update_inferred_from_the_last_node(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver(), interrupt_before=["c"])
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    out = {"config": await api.update(graph, api.thread(), {"log": ["u"]})}
    out["twice"] = await api.update(graph, api.thread(), {"log": ["v"]})
    out["state"] = await api.state(graph, api.thread())
    out["on"] = await api.invoke(graph, None, api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_update_on_a_finished_thread(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    await api.update(graph, api.thread(), {"log": ["u"]})
    out = {"state": await api.state(graph, api.thread())}
    out["none"] = await api.stream(graph, None, api.thread(), ["values", "updates"])
    out["turn"] = await api.invoke(graph, {"log": ["two"]}, api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_update_is_ambiguous_after_a_fan_out(api: Api) -> Any:
    s = api.START
    graph = build(
        api, Log, ["a", "b", "z"], [(s, "a"), (s, "b"), (["a", "b"], "z")],
        checkpointer=api.saver(), interrupt_before=["z"],
    )  # fmt: skip
    await api.invoke(graph, {"log": []}, api.thread())
    raised = await api.raised(api.update(graph, api.thread(), {"log": ["u"]}))
    return {"raised": raised.says("ambiguous", "as_node")} | await record(api, graph, api.thread())


@both
async def case_update_as_an_unknown_node(api: Api) -> Any:
    graph = chain(api, Log, ["a"], checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    return await api.raised(api.update(graph, api.thread(), {"log": ["u"]}, "ghost"))


@both
async def case_update_before_the_first_run(api: Api) -> Any:
    out = {}
    for as_node in ("__start__", "a", "b"):
        graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
        config = await api.update(graph, api.thread(), {"log": ["u"]}, as_node)
        out[as_node] = {"config": config, "state": await api.state(graph, api.thread())}
        out[as_node]["on"] = await api.invoke(graph, None, api.thread())
        out[as_node] |= await record(api, graph, api.thread())
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    try:
        await api.update(graph, api.thread(), {"log": ["u"]})
        out["inferred"] = await record(api, graph, api.thread())
    except Exception as error:
        out["inferred"] = type(error).__name__
    return out


@both
async def case_update_with_one_node_is_inferred(api: Api) -> Any:
    graph = chain(api, Log, ["a"], checkpointer=api.saver())
    await api.update(graph, api.thread(), {"log": ["u"]})
    out = {"state": await api.state(graph, api.thread())}
    out["run"] = await api.invoke(graph, {"log": ["in"]}, api.thread())
    await api.update(graph, api.thread(), {"log": ["v"]})
    return out | await record(api, graph, api.thread())


@both
async def case_update_as_end_clears_what_is_pending(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver(), interrupt_before=["b"])
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    out = {"config": await api.update(graph, api.thread(), None, api.END)}
    out["state"] = await api.state(graph, api.thread())
    out["none"] = await api.stream(graph, None, api.thread(), ["values", "updates"])
    out["turn"] = await api.invoke(graph, {"log": ["two"]}, api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_update_as_end_keeps_finished_siblings(api: Api) -> Any:
    s = api.START
    nodes = {"ask": api.node(lambda state: {"log": [api.interrupt("q")]}), "done": None}
    graph = build(api, Log, nodes, [(s, "ask"), (s, "done")], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    await api.update(graph, api.thread(), None, api.END)
    return await record(api, graph, api.thread())


@both
async def case_update_as_end_over_a_commanded_task(api: Api) -> Any:
    out = {}
    for kind in ("name", "send"):
        nodes = {"ask": api.node(lambda state: {"log": [api.interrupt("q")]}), "other": None}
        graph = build(api, Log, nodes, [(api.START, "ask")], checkpointer=api.saver())
        await api.invoke(graph, {"log": ["in"]}, api.thread())
        goto = "other" if kind == "name" else api.Send("other", {})
        await api.invoke(graph, api.Command(goto=goto), api.thread())
        await api.update(graph, api.thread(), None, api.END)
        out[kind] = {"next": (await api.state(graph, api.thread())).next}
        out[kind]["on"] = await api.stream(graph, None, api.thread(), "updates")
    return out


@both
async def case_update_as_end_keeps_what_a_command_did(api: Api) -> Any:
    nodes = {"ask": api.node(lambda state: {"log": [api.interrupt("q")]}), "other": None}
    graph = build(api, Log, nodes, [(api.START, "ask")], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    await api.invoke(graph, api.Command(goto="other"), api.thread())
    await api.update(graph, api.thread(), None, api.END)
    return (await api.state(graph, api.thread())).values


@both
async def case_update_inferred_after_a_command(api: Api) -> Any:
    s = api.START
    edges = [(s, "a"), (s, "b"), ("b", "c")]
    graph = build(api, Log, ["a", "b", "c"], edges, checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    await api.invoke(graph, api.Command(goto="b"), api.thread())
    await api.invoke(graph, api.Command(goto="a"), api.thread())
    await api.update(graph, api.thread(), {"log": ["as a"]})
    out = {"as a": await api.state(graph, api.thread())}
    await api.update(graph, api.thread(), {"log": ["as b"]}, "b")
    await api.invoke(graph, api.Command(goto="b"), api.thread(), interrupt_before=["c"])
    await api.update(graph, api.thread(), {"log": ["as b again"]})
    return out | await record(api, graph, api.thread())


@both
async def case_update_inferred_after_sends_alone(api: Api) -> Any:
    def spread(state: Any) -> Any:
        return [api.Send("w", {}), api.Send("w", {})]

    graph = build(
        api, Log, ["a", "b", "w"], [(api.START, "a")], [("b", spread, ["w"])],
        checkpointer=api.saver(),
    )  # fmt: skip
    await api.update(graph, api.thread(), {"log": ["as b"]}, "b")
    await api.invoke(graph, None, api.thread())
    out = {"sends": await api.raised(api.update(graph, api.thread(), {"log": ["?"]}))}
    await api.invoke(graph, {"log": []}, api.thread("u"))
    await api.update(graph, api.thread("u"), {"log": ["as a"]}, "a")
    await api.invoke(graph, api.Command(goto="b"), api.thread("u"))
    await api.update(graph, api.thread("u"), {"log": ["as b"]})
    return out | await record(api, graph, api.thread("u"))


@both
async def case_update_at_a_superseded_checkpoint(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver(), interrupt_before=["b"])
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    old = (await api.state(graph, api.thread())).config
    await api.update(graph, api.thread(), {"log": ["edit"]})
    await api.update(graph, old, {"log": ["as b"]}, "b")
    return await record(api, graph, api.thread())


@both
async def case_update_with_none_as_a_node(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver(), interrupt_before=["b"])
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    await api.update(graph, api.thread(), None, "b")
    out = {"skipped": await api.state(graph, api.thread())}
    await api.update(graph, api.thread(), None)
    out["inferred"] = await api.state(graph, api.thread())
    out["on"] = await api.invoke(graph, None, api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_update_as_input(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    out = {"config": await api.update(graph, api.thread(), {"log": ["in"]}, "__input__")}
    out["state"] = await api.state(graph, api.thread())
    out["run"] = await api.stream(graph, None, api.thread(), ["values", "updates"])
    await api.update(graph, api.thread(), {"log": ["two"]}, "__input__")
    out["again"] = await api.state(graph, api.thread())
    out["rerun"] = await api.invoke(graph, None, api.thread())
    return out | await record(api, graph, api.thread())


@both
async def case_update_as_copy(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    old = (await api.history(graph, api.thread()))[1].config
    out = {"config": await api.update(graph, old, None, "__copy__")}
    out["state"] = await api.state(graph, api.thread())
    out["on"] = await api.stream(graph, None, api.thread(), ["values", "updates"])
    return out | await record(api, graph, api.thread())


@both
async def case_update_triggers_branches(api: Api) -> Any:
    def route(state: Any) -> Any:
        return "high" if state["n"] > 5 else "low"

    graph = build(
        api, LogCount, ["a", "high", "low"], [(api.START, "a")], [("a", route)],
        checkpointer=api.saver(),
    )  # fmt: skip
    await api.invoke(graph, {"log": [], "n": 1}, api.thread())
    await api.update(graph, api.thread(), {"n": 9}, "a")
    out = {"state": await api.state(graph, api.thread())}
    out["on"] = await api.stream(graph, None, api.thread(), ["values", "updates"])
    return out | await record(api, graph, api.thread())


async def case_update_triggers_sends(api: Api) -> Any:
    graph = build(
        api, LogCount, {"a": None, "w": api.node(lambda s: {"log": [s["i"]]})}, [(api.START, "a")],
        [("a", lambda s: [api.Send("w", {"i": i}) for i in range(s["n"])], ["w"])],
        checkpointer=api.saver(),
    )  # fmt: skip
    await api.update(graph, api.thread(), {"log": ["u"], "n": 2}, "a")
    out = {"state": await api.state(graph, api.thread())}
    out["on"] = await api.stream(graph, None, api.thread(), ["values", "updates"])
    return out | await record(api, graph, api.thread())


@both
async def case_update_counts_for_a_join(api: Api) -> Any:
    s = api.START
    graph = build(
        api, Log, ["a", "b", "z"], [(s, "a"), (s, "b"), (["a", "b"], "z")], checkpointer=api.saver()
    )
    await api.update(graph, api.thread(), {"log": ["as a"]}, "a")
    out = {"half": await api.state(graph, api.thread())}
    await api.update(graph, api.thread(), {"log": ["as b"]}, "b")
    out["whole"] = await api.state(graph, api.thread())
    out["on"] = await api.stream(graph, None, api.thread(), ["values", "updates"])
    return out | await record(api, graph, api.thread())


@both
async def case_update_with_a_command(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    await api.update(graph, api.thread(), api.Command(update={"log": ["u"]}, goto="c"), "a")
    out = {"state": await api.state(graph, api.thread())}
    out["on"] = await api.stream(graph, None, api.thread(), ["values", "updates"])
    return out


@both
async def case_bad_updates(api: Api) -> Any:
    graph = chain(api, LogCount, ["a", "b"], checkpointer=api.saver())
    await api.invoke(graph, {"log": [], "n": 1}, api.thread())
    before = brief(await api.state(graph, api.thread()))
    out = {}
    for label, values in {"int": 1, "text": "x"}.items():
        out[label] = await api.raised(api.update(graph, api.thread(), values, "a"))
    return out | {"untouched": brief(await api.state(graph, api.thread())) == before}


@both
async def case_update_without_a_checkpointer(api: Api) -> Any:
    graph = chain(api, Log, ["a"])
    return await api.raised(api.update(graph, api.thread(), {"log": []}))


@both
async def case_bulk_update(api: Api) -> Any:
    u = api.StateUpdate
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    supersteps = [
        [u({"log": ["in"]}, "__input__")],
        [u({"log": ["start"]}, "__start__")],
        [u({"log": ["as a"]}, "a")],
        [u({"log": ["as b"]}, "b"), u({"log": ["as a again"]}, "a")],
    ]
    out = {"config": await api.bulk_update(graph, api.thread(), supersteps)}
    out |= await record(api, graph, api.thread())
    out["on"] = await api.invoke(graph, None, api.thread())
    out["none"] = await api.raised(api.bulk_update(graph, api.thread(), []))
    out["empty"] = await api.raised(api.bulk_update(graph, api.thread(), [[]]))
    two = [[u(None, api.END), u({"log": []}, "a")]]
    out["two with END"] = await api.raised(api.bulk_update(graph, api.thread(), two))
    return out


@both
async def case_history_limit_before_and_filter(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    for turn in ("one", "two"):
        config = api.thread(metadata={"m_turn": turn})
        await api.invoke(graph, {"log": [turn]}, config)
    everything = await api.history(graph, api.thread())
    return {
        "all": everything,
        "limit": await api.history(graph, api.thread(), limit=2),
        "none": await api.history(graph, api.thread(), limit=0),
        "before": await api.history(graph, api.thread(), before=everything[2].config),
        "source": await api.history(graph, api.thread(), filter={"source": "input"}),
        "step": await api.history(graph, api.thread(), filter={"step": 1}),
        "own": await api.history(graph, api.thread(), filter={"m_turn": "one"}),
        "no match": await api.history(graph, api.thread(), filter={"m_turn": "nine"}),
        "mixed": await api.history(
            graph, api.thread(), filter={"m_turn": "two", "source": "loop"}, limit=1
        ),
    }


@both
async def case_state_at_every_checkpoint(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver(), interrupt_before=["c"])
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    return [
        [snapshot, await api.state(graph, snapshot.config)]
        for snapshot in await api.history(graph, api.thread())
    ]


@both
async def case_many_turns(api: Api) -> Any:
    graph = chain(api, LogCount, ["a", "b"], checkpointer=api.saver())
    out = [await api.invoke(graph, {"log": [n], "n": n}, api.thread()) for n in range(4)]
    out.append(await api.invoke(graph, {"log": ["last"]}, api.thread()))
    return {"turns": out} | await record(api, graph, api.thread())


@both
async def case_none_on_a_finished_thread(api: Api) -> Any:
    graph = chain(api, Log, ["a"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    out = {
        "none": await api.stream(graph, None, api.thread(), ["values", "updates", "checkpoints"])
    }
    return out | await record(api, graph, api.thread())


@both
async def case_empty_inputs(api: Api) -> Any:
    graph = chain(api, Log, ["a"], checkpointer=api.saver())
    out = {
        "none": await api.raised(api.invoke(graph, None, api.thread("n"))),
        "after none": await api.state(graph, api.thread("n")),
        "dict": await api.stream(graph, {}, api.thread("d"), ["values", "updates"]),
        "text": await api.raised(api.invoke(graph, "text", api.thread("t"))),
        "only unknown keys": await api.invoke(graph, {"nobody": 1}, api.thread("u")),
    }
    return out | await record(api, graph, api.thread("d"))


@both
async def case_none_without_a_checkpointer(api: Api) -> Any:
    graph = chain(api, Log, ["a"])
    return await api.raised(api.invoke(graph, None))


@both
async def case_int_and_text_thread_ids_are_one_thread(api: Api) -> Any:
    graph = chain(api, Log, ["a"], checkpointer=api.saver())
    out = [await api.invoke(graph, {"log": [1]}, {"configurable": {"thread_id": 7}})]
    out.append(await api.invoke(graph, {"log": [2]}, {"configurable": {"thread_id": "7"}}))
    return out


@both
async def case_copy_and_change_in_one(api: Api) -> Any:
    """As __copy__ with a list of updates: the copy of a checkpoint whose tasks did other things."""
    graph = chain(api, Log, ["a", "b", "c"], checkpointer=api.saver())
    await api.invoke(graph, {"log": ["in"]}, api.thread())
    history = await api.history(graph, api.thread())
    changes = [api.StateUpdate({"log": ["a*"]}, "a")]
    copied = await api.update(graph, history[3].config, changes, "__copy__")
    after = await record(api, graph, api.thread())
    ran = await api.invoke(graph, None, copied)
    start = [({"log": ["in*"]}, "__start__")]
    again = await api.update(graph, history[-1].config, start, "__copy__")
    last = await api.invoke(graph, None, again)
    return {
        "after": after, "ran": ran, "last": last, "end": await record(api, graph, api.thread()),
        "refused": (
            await api.raised(api.update(graph, history[3].config, [5], "__copy__"))
        ).family,
    }  # fmt: skip


@both
async def case_tuples_are_updates(api: Api) -> Any:
    graph = chain(api, Log, ["a", "b"], checkpointer=api.saver())
    await api.bulk_update(graph, api.thread(), [[({"log": ["one"]}, "a", None)]])
    return await record(api, graph, api.thread())

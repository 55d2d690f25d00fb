"""Questions that say what an answer must look like."""

import asyncio
import dataclasses
from typing import Any

from pydantic import BaseModel
from typing_extensions import TypedDict

from tests.compat.engines import Api
from tests.compat.shapes import Log, both, build, chain


class Decision(BaseModel):
    ok: bool
    n: int = 3


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Pair(TypedDict):
    left: int
    right: str


def asking(api: Api, *schemas: Any) -> Any:
    def ask(state: Any) -> Any:
        answers = [api.interrupt(f"q{i}", response_schema=s) for i, s in enumerate(schemas)]
        return {"log": [repr(a) for a in answers]}

    return chain(api, Log, {"ask": api.node(ask)}, checkpointer=api.saver())


async def outcome(api: Api, graph: Any, given: Any, config: Any) -> Any:
    try:
        result = await api.invoke(graph, given, config)
    except Exception as error:
        told = api.module("errors").is_invalid_resume(error)
        result = {"refused": type(error).__name__, "is_invalid_resume": told}
    state = await api.state(graph, config)
    waiting = [(i.value, i.response_schema) for i in state.interrupts]
    return {"result": result, "next": state.next, "waiting": waiting}


@both
async def case_schema_is_shown_with_the_question(api: Api) -> Any:
    out = {}
    for schema in (Decision, Point, Pair, {"type": "string"}, None):
        graph = asking(api, schema)
        result = await api.invoke(graph, {"log": []}, api.thread())
        state = await api.state(graph, api.thread())
        asked = [result["__interrupt__"][0], state.interrupts[0], state.tasks[0].interrupts[0]]
        out[str(schema)] = [i.response_schema for i in asked]
    return out


@both
async def case_answer_is_validated(api: Api) -> Any:
    given = {Decision: {"ok": True}, Point: {"x": "4"}, Pair: {"left": 1, "right": "r"}}
    out = []
    for schema, answer in given.items():
        graph = asking(api, schema)
        await api.invoke(graph, {"log": []}, api.thread())
        out.append(await outcome(api, graph, api.Command(resume=answer), api.thread()))
    graph = asking(api, {"type": "string"})
    await api.invoke(graph, {"log": []}, api.thread())
    out.append(await outcome(api, graph, api.Command(resume=5), api.thread()))
    return out


@both
async def case_refused_answer_can_be_given_again(api: Api) -> Any:
    out = []
    for by_id in (False, True):
        graph, config = asking(api, Decision, Point), api.thread(str(by_id))
        first = await api.invoke(graph, {"log": []}, config)
        name = first["__interrupt__"][0].id
        for answer in ({"ok": "perhaps"}, {"ok": "perhaps"}, {"ok": True}):
            resume = {name: answer} if by_id else answer
            out.append(await outcome(api, graph, api.Command(resume=resume), config))
        for answer in ({"x": None}, {"x": 1}):
            out.append(await outcome(api, graph, api.Command(resume=answer), config))
    return out


@both
async def case_refused_answer_by_id_is_forgotten(api: Api) -> Any:
    graph = asking(api, Decision, Point)
    first = await api.invoke(graph, {"log": []}, api.thread())
    bad = api.Command(resume={first["__interrupt__"][0].id: {"ok": "perhaps"}})
    out = [await outcome(api, graph, bad, api.thread())]
    out.append(await outcome(api, graph, None, api.thread()))
    return out


@both
async def case_question_raised_by_hand(api: Api) -> Any:
    """NodeInterrupt, the form of old."""

    def ask(state: Any) -> Any:
        if len(state["log"]) < 2:
            raise api.module("errors").NodeInterrupt("too short")
        return {"log": ["asked"]}

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = chain(api, Log, {"ask": api.node(ask)}, checkpointer=api.saver())
        out = {"stop": await api.invoke(graph, {"log": ["x"]}, api.thread())}
        out["state"] = (await api.state(graph, api.thread())).next
        await api.update(graph, api.thread(), {"log": ["y"]})
        out["on"] = await api.invoke(graph, None, api.thread())
    return out


async def case_an_answer_that_does_not_fit_stops_nobody_else(api: Api) -> Any:
    sent = []

    async def send(state: Any) -> Any:
        api.interrupt("send?", response_schema=Decision)
        sent.append("mail")
        await asyncio.sleep(0.03)
        return {"log": ["sent"]}

    async def check(state: Any) -> Any:
        api.interrupt("check?", response_schema=Decision)
        return {"log": ["checked"]}

    edges = [(api.START, "send"), (api.START, "check")]
    nodes = {"send": send, "check": check}
    graph = build(api, Log, nodes, edges, checkpointer=api.saver())
    await api.invoke(graph, {"log": []}, api.thread())
    ids = {i.value: i.id for i in (await api.state(graph, api.thread())).interrupts}
    answers = {ids["send?"]: {"ok": True}, ids["check?"]: {"ok": "nope"}}
    failed = await api.raised(api.invoke(graph, api.Command(resume=answers), api.thread()))
    waiting = await api.state(graph, api.thread())
    last = {ids["check?"]: {"ok": True}}
    return {
        "failed": type(failed.error).__name__, "waiting": waiting,
        "end": await api.invoke(graph, api.Command(resume=last), api.thread()), "sent": sent,
    }  # fmt: skip

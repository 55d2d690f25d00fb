"""The question that stops the run: a person answers it, a flag, or nobody."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import Any

from stepwell.graph import CompiledStateGraph
from stepwell.types import StateSnapshot
from survey import supervisor
from survey.show import say
from survey.worker import Job


class UnansweredError(Exception):
    """The terminal was closed instead of an answer."""


async def answered(graph: CompiledStateGraph, job: Job, given: str | None) -> StateSnapshot:
    """Answer the question, which waits in the database while no process runs; the end of the run.

    Raises:
        UnansweredError: The terminal was closed.
        WorkerFailedError: The process that went on with the answer failed.
    """
    state = await graph.aget_state(job.config)
    while state.interrupts:
        say("\nThe run waits, in no process, for an answer")
        text = given if given is not None else await ask(state.interrupts[0].value)
        say(f"  answer: {text}")
        await supervisor.run(replace(job, verb="answer", answer=text))
        state = await graph.aget_state(job.config)
    return state


async def ask(question: dict[str, Any]) -> str:
    """Put the question to the person at the terminal; without one, take what is suggested."""
    for ranking, first in question["first"].items():
        say(f"  {ranking:<14} begins with {first}")
    if question["problem"]:
        say(f"  {question['problem']}")
    if not sys.stdin.isatty():
        say(f"  nobody is at a terminal: taking the suggestion, {question['suggestion']}")
        return str(question["suggestion"])
    print(f"  {question['ask']} [{question['suggestion']}, or no] ", end="", flush=True)
    line = await read_line()
    if not line:
        raise UnansweredError
    return line.strip() or str(question["suggestion"])


async def read_line() -> str:
    """A line from the terminal, in a way that Ctrl-C can end."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sys.stdin, typed.set_result, None)
    try:
        await typed
    finally:
        loop.remove_reader(sys.stdin)
    return sys.stdin.readline()

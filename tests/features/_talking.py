"""A process that has a word with a thread, as a program of a user would.

    python _talking.py sqlite PATH THREAD TIMES
    python _talking.py postgres URL THREAD TIMES
    python _talking.py environment - THREAD TIMES    # STEPWELL_DSN says where

It prints what the thread has heard by then.
"""

from __future__ import annotations

import json
import operator
import os
import sys
from typing import Annotated, Any, TypedDict

from stepwell import open_saver
from stepwell.checkpoint.postgres import PostgresSaver
from stepwell.checkpoint.sqlite import SqliteSaver
from stepwell.graph import END, START, StateGraph


class State(TypedDict):
    """Who spoke."""

    heard: Annotated[list[int], operator.add]


def listen(state: State) -> dict[str, Any]:
    return {"heard": [os.getpid()]}


def main(kind: str, where: str, thread: str, times: int) -> None:
    if kind == "environment":
        saver = open_saver()
    else:
        saver = {"sqlite": SqliteSaver, "postgres": PostgresSaver}[kind].from_conn_string(where)
    builder = StateGraph(State).add_node(listen).add_edge(START, "listen").add_edge("listen", END)
    graph = builder.compile(checkpointer=saver)
    out: dict[str, Any] = {}
    for _ in range(times):
        out = graph.invoke({"heard": []}, {"configurable": {"thread_id": thread}})
    saver.close()
    print(json.dumps(out["heard"]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))

"""A process that dies with one of two parts done: `_dying URL GATE`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.golden import _program as program


async def main(url: str, gate: str) -> None:
    async with program.saver_of(url) as saver:
        graph = program.dying(saver, dies=True)
        running = asyncio.ensure_future(graph.ainvoke(program.START_WITH, program.at("orphan")))
        while True:
            state = await graph.aget_state(program.at("orphan"))
            if any(task.result is not None for task in state.tasks):
                break
            await asyncio.sleep(0.01)
        await asyncio.to_thread(Path(gate).touch)
        await running


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""The process that runs the graph, and is killed: it is told what to do on its standard input."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stepwell import open_saver
from stepwell.types import Command
from survey.graph import Places, build
from survey.progress import Progress

PROGRAM = Path(__file__).resolve().parents[1] / "survey.py"


@dataclass(frozen=True)
class Job:
    """What a worker has to do, on which thread of which database."""

    verb: Literal["start", "resume", "answer"]
    url: str
    thread_id: str
    out: str
    effects: str
    durability: Literal["sync", "async"]
    concurrency: int
    folder: str = ""
    limit: int = 0
    answer: str = ""

    @property
    def config(self) -> dict[str, Any]:
        """Config of the run."""
        return {
            "configurable": {"thread_id": self.thread_id},
            "max_concurrency": self.concurrency,
        }

    @property
    def context(self) -> Places:
        """Context of the run."""
        return Places(out=self.out, effects=self.effects)

    @property
    def given(self) -> Any:
        """Input of the run: nothing to resume, an answer, or what to survey."""
        if self.verb == "answer":
            return Command(resume=self.answer)
        if self.verb == "resume":
            return None
        return {"folder": self.folder, "limit": self.limit}


async def start(job: Job) -> asyncio.subprocess.Process:
    """Start a process that does the job. It shares our terminal, but not our standard input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), "--worker", stdin=asyncio.subprocess.PIPE
    )
    if process.stdin is None:
        raise RuntimeError("a process without standard input")
    process.stdin.write(json.dumps(asdict(job)).encode())
    process.stdin.close()
    return process


async def work(job: Job) -> None:
    """Run the graph on its thread until it ends or asks."""
    async with open_saver(job.url) as saver:
        graph = build().compile(checkpointer=saver)
        total = 0
        if job.verb == "resume":
            total = len((await graph.aget_state(job.config)).values.get("files", ()))
        progress = Progress(total)
        stream = graph.astream(
            job.given,
            job.config,
            context=job.context,
            stream_mode=["updates", "custom"],
            durability=job.durability,
        )
        async for mode, chunk in stream:
            progress.show(mode, chunk)


def main() -> int:
    """Entry point of the process."""
    try:
        asyncio.run(work(Job(**json.load(sys.stdin))))
    except KeyboardInterrupt:
        return 130
    return 0

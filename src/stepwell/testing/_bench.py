"""How fast durable work is on the machine and the database of whoever asks.

    url -> a scratch place beside it -> workloads, one after the other -> BenchResult

The place is a folder beside an SQLite file, or a schema of its own on a PostgreSQL server: the
same disk, the same server, no row of the user's. It is removed at the end, also after an error.
Counts are fixed and times are measured, so a slow machine takes longer and tells the truth.
"""

from __future__ import annotations

import asyncio
import operator
import os
import shutil
import statistics
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypedDict

from stepwell._clock import SYSTEM_CLOCK, Clock
from stepwell._ids import RANDOM_IDS
from stepwell.checkpoint._open import open_saver
from stepwell.checkpoint.base import Saver
from stepwell.errors import UsageError
from stepwell.graph import END, START, StateGraph

SCRATCH: Final = "stepwell_scratch_"
CHAIN: Final = 10
"""Nodes of a run: with its input, eleven supersteps, of which ten are counted."""
_PROBES: Final = 30
_READS: Final = 20
_WORDS: Final = ("river", "stone", "lantern", "copper", "meadow", "signal", "harbour", "thread")


class _Number(TypedDict):
    n: int


class _Talk(TypedDict):
    messages: Annotated[list[Any], operator.add]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """What was measured. Times in milliseconds; quartiles are (lower, upper).

    Attributes:
        database: "memory", "sqlite" or "postgres".
        probe: What `probe_ms` is the time of: "fdatasync" of a small write in the folder of the
            database, or a "round trip" to the server; None: there is neither.
        probe_ms: Its median. Durable figures cannot be better than this allows.
        runs: How many runs one client made, one after the other.
        steps_per_s: Supersteps a second of that client, `durability="sync"`.
        run_ms: Median of its runs, of ten supersteps each.
        run_quartiles_ms: Quartiles of them.
        threads: How many clients ran at once.
        crowd_steps_per_s: Supersteps a second of all of them.
        crowd_p99_ms: 99th percentile of their runs, from when all were asked for.
        turns: How many turns of about 500 bytes a conversation had.
        turn_ms: Median of its turns.
        last_turns_over_first: Median of its last tenth over that of its second tenth.
        read_ms: Median time to read its newest state.
        bytes_over_payload: What its records take, as the thread's counter says, over what was said
            in it. Rows, pages and indexes of the database come on top.
    """

    database: str
    probe: str | None
    probe_ms: float | None
    runs: int
    steps_per_s: float
    run_ms: float
    run_quartiles_ms: tuple[float, float]
    threads: int
    crowd_steps_per_s: float
    crowd_p99_ms: float
    turns: int
    turn_ms: float
    last_turns_over_first: float
    read_ms: float
    bytes_over_payload: float

    def to_dict(self) -> dict[str, Any]:
        """Fields by name, quartiles as a list."""
        return asdict(self) | {"run_quartiles_ms": list(self.run_quartiles_ms)}

    def to_text(self) -> str:
        """A few lines for a terminal."""
        low, high = self.run_quartiles_ms
        probe = "" if self.probe is None else f", {self.probe} {self.probe_ms:.3g} ms"
        lines = {
            "database": f"{self.database}{probe}",
            "one client": f"{self.steps_per_s:,.0f} supersteps/s; a run of {CHAIN} takes "
            f"{self.run_ms:.3g} ms ({low:.3g}-{high:.3g})",
            f"{self.threads:,} clients": f"{self.crowd_steps_per_s:,.0f} supersteps/s; p99 of a "
            f"run {self.crowd_p99_ms:.3g} ms",
            f"{self.turns:,} turns": f"{self.turn_ms:.3g} ms each; the last over the first "
            f"{self.last_turns_over_first:.2f}x; {self.bytes_over_payload:.2f} bytes of records "
            "for one said",
            "newest state": f"{self.read_ms:.3g} ms to read",
        }
        return "\n".join(f"{name:14} {line}" for name, line in lines.items())


async def abench(
    url: str,
    /,
    *,
    runs: int = 50,
    threads: int = 64,
    turns: int = 200,
    clock: Clock = SYSTEM_CLOCK,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> BenchResult:
    """Measure durable work where a database is, in a scratch place that is removed again.

    Args:
        url: As for `open_saver`. Its own threads are neither read nor written.
        runs: Runs of one client, one after the other; at least 2.
        threads: Clients that run at once; at least 2.
        turns: Turns of a conversation; at least 20.
        clock: What times are measured on.
        progress: Called with what is to be measured next.
        options: As for `open_saver`; `schema` is ignored, a scratch schema takes its place.

    Raises:
        UsageError: A count is too small, or the URL or an option is none.
        StorageError: The database cannot be opened, or (PostgreSQL) the role may not create a
            schema in it.
    """
    for name, given, least in (("runs", runs, 2), ("threads", threads, 2), ("turns", turns, 20)):
        if type(given) is not int or given < least:
            raise UsageError(f"{name} must be a whole number of at least {least}, not {given!r}.")
    async with _scratch(url, options) as (saver, folder):
        kind = (await saver.journal()).driver.name
        probe = _probe_of(saver, folder, clock)
        figures = {} if probe is None else await probe
        workloads: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
            "one client": lambda: _one_client(saver, runs, clock),
            f"{threads:,} clients": lambda: _crowd(saver, threads, clock),
            f"{turns:,} turns": lambda: _conversation(saver, turns, clock),
        }
        for name, workload in workloads.items():
            if progress is not None:
                progress(name)
            figures |= await workload()
    figures = {"probe": None, "probe_ms": None} | figures
    return BenchResult(database=kind, runs=runs, threads=threads, turns=turns, **figures)


# -- a place that is removed again ---------------------------------------------------------------


@asynccontextmanager
async def _scratch(
    url: str, options: dict[str, Any]
) -> AsyncGenerator[tuple[Saver, Path | None], None]:
    """An open saver on an empty database, and the folder that database is in, if in any."""
    scheme = url.partition("://")[0] if isinstance(url, str) else ""
    if scheme in ("postgresql", "postgres"):
        given = {**options, "schema": SCRATCH + RANDOM_IDS.uid().hex()}
        try:
            async with open_saver(url, **given) as saver:
                yield saver, None
        finally:
            # Not before the other is closed: it may work in the background.
            async with open_saver(url, **{**given, "migrate": "off"}) as saver:
                database: Any = (await saver.journal()).driver
                await database.database.drop_scratch(SCRATCH)
        return
    given = {name: value for name, value in options.items() if name != "schema"}
    path = _file_of(url)
    if path is None:
        async with open_saver(url, **given) as saver:
            yield saver, None
        return
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=SCRATCH, dir=path.parent))
    try:
        async with open_saver(f"sqlite:///{folder / 'bench.db'}", **given) as saver:
            yield saver, folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder)


def _file_of(url: Any) -> Path | None:
    """The file that a URL of SQLite names; None: it names none, or is another kind of URL."""
    from stepwell._db._sqlite_address import IN_MEMORY, sqlite_address

    if not isinstance(url, str) or not url.startswith("sqlite://"):
        return None
    path, _ = sqlite_address(url)
    return None if path == IN_MEMORY else Path(path).absolute()


# -- the workloads -------------------------------------------------------------------------------


def _probe_of(saver: Saver, folder: Path | None, clock: Clock) -> Awaitable[dict[str, Any]] | None:
    async def disk(where: Path) -> dict[str, Any]:
        took = await asyncio.to_thread(_fdatasync_ms, where, clock)
        return {"probe": "fdatasync", "probe_ms": took}

    async def server() -> dict[str, Any]:
        took = [await _ms(clock, lambda: saver.aget_thread("nobody")) for _ in range(_PROBES)]
        return {"probe": "round trip", "probe_ms": statistics.median(took)}

    if folder is not None:
        return disk(folder)
    return server() if type(saver).__name__.endswith("PostgresSaver") else None


def _fdatasync_ms(folder: Path, clock: Clock) -> float:
    took = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(_PROBES):
            os.write(file.fileno(), b"x" * 512)
            started = clock.monotonic()
            os.fdatasync(file.fileno())
            took.append((clock.monotonic() - started) * 1e3)
    return statistics.median(took)


async def _ms(clock: Clock, call: Callable[[], Awaitable[Any]]) -> float:
    started = clock.monotonic()
    await call()
    return (clock.monotonic() - started) * 1e3


def _at(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id}}


def _chain(saver: Saver) -> Callable[[str], Awaitable[Any]]:
    async def step(state: _Number) -> dict[str, Any]:
        return {"n": state["n"] + 1}

    builder = StateGraph(_Number)
    names = [f"n{i}" for i in range(CHAIN)]
    for before, name in zip([START, *names], names, strict=False):
        builder.add_node(name, step)
        builder.add_edge(before, name)
    graph = builder.add_edge(names[-1], END).compile(checkpointer=saver)
    return lambda thread: graph.ainvoke({"n": 0}, _at(thread), durability="sync")


async def _one_client(saver: Saver, runs: int, clock: Clock) -> dict[str, Any]:
    run = _chain(saver)
    await run("warm")
    took = [await _ms(clock, lambda i=i: run(f"one-{i}")) for i in range(runs)]  # type: ignore[misc]
    low, middle, high = statistics.quantiles(took, n=4, method="inclusive")
    return {
        "steps_per_s": runs * CHAIN / sum(took) * 1e3,
        "run_ms": middle,
        "run_quartiles_ms": (low, high),
    }


async def _crowd(saver: Saver, threads: int, clock: Clock) -> dict[str, Any]:
    run = _chain(saver)
    started = clock.monotonic()

    async def since(i: int) -> float:
        """From when all were asked for: one that the loop comes to last has waited until then."""
        await run(f"crowd-{i}")
        return (clock.monotonic() - started) * 1e3

    took = await asyncio.gather(*map(since, range(threads)))
    return {
        "crowd_steps_per_s": threads * CHAIN / (clock.monotonic() - started),
        "crowd_p99_ms": statistics.quantiles(took, n=100, method="inclusive")[98],
    }


async def _conversation(saver: Saver, turns: int, clock: Clock) -> dict[str, Any]:
    async def answer(state: _Talk) -> dict[str, Any]:
        return {"messages": [{"role": "ai", "content": state["messages"][-1]["content"][::-1]}]}

    builder = StateGraph(_Talk).add_node("answer", answer).add_edge(START, "answer")
    graph = builder.add_edge("answer", END).compile(checkpointer=saver)
    took, payload = [], 0
    for turn in range(turns):
        # Varied words: text that repeats itself would flatter whoever compresses.
        text = " ".join(f"{_WORDS[(turn * i) % 8]}{turn * i * 7919 % 9973}" for i in range(1, 24))
        payload += 2 * len(text) + len("useraicontentcontentrolerole")
        said = {"messages": [{"role": "user", "content": text}]}
        took.append(
            await _ms(clock, lambda said=said: graph.ainvoke(said, _at("talk"), durability="sync"))  # type: ignore[misc]
        )
    reads = [await _ms(clock, lambda: graph.aget_state(_at("talk"))) for _ in range(_READS)]
    info = await saver.aget_thread("talk")
    tenth = turns // 10
    first, last = statistics.median(took[tenth : 2 * tenth]), statistics.median(took[-tenth:])
    return {
        "turn_ms": statistics.median(took),
        "last_turns_over_first": last / first,
        "read_ms": statistics.median(reads),
        "bytes_over_payload": 0.0 if info is None else info.bytes / payload,
    }


__all__ = ["SCRATCH", "BenchResult", "abench"]

"""Which workloads are run, at which sizes, and what is read off them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One line of the table: a metric of a case, and what is wanted of it.

    `goal` bounds Stepwell's own value. `times`: how many times better than which peer it is to
    be. `share`: how near to the floor (Stepwell / floor for speeds, its inverse for times).
    """

    id: str
    title: str
    metric: str
    unit: str
    goal: float | None = None
    times: Mapping[str, float] = field(default_factory=dict)
    share: float | None = None
    more: bool = False
    """Whether a larger value is the better one."""
    paced: float | None = None
    """What LangGraph took where `goal` was set: on a slower machine it is further away."""
    of: Literal["median", "max", "mean"] = "median"
    """How the values of one round become one."""
    only_on: Mapping[str, str] = field(default_factory=dict)
    """"times" or "share" -> the medium ("disk", "tmpfs") where it is asked for; else on both."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One workload at one place."""

    name: str
    workload: str
    place: str = "none"
    """Where state is kept; "-": no system is opened."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    readings: tuple[Reading, ...]
    n: int = 3
    """Repetitions in one process."""
    n_of: Mapping[str, int] = field(default_factory=dict)
    """The same for systems that would take too long otherwise."""
    smoke: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the run that only shows that it works."""
    leaves_out: tuple[str, ...] = ()
    """Systems that could do it, but in no time that anybody would wait."""
    scale: bool = False
    """Whether it belongs to `--scale`: large, and nobody to compare with."""


WHERE = {"memory": "memory", "sqlite": "SQLite FULL", "postgres": "PostgreSQL"}
LETTER = {"memory": "m", "sqlite": "s", "postgres": "p"}
SLOW = {"langgraph": 1, "dbos": 1}


def _plain() -> list[Case]:
    """W1 to W3: what the engine itself costs."""
    cases = [
        Case(
            name="W1", workload="chain", parameters={"size": 200}, n=5, smoke={"size": 2},
            readings=(
                Reading(id="W1", title="chain of 10, no saver", metric="us", unit="us", goal=8,
                        paced=205, times={"langgraph": 25, "burr": 5}),
            ),
        ),
        Case(
            name="W1b", workload="loop", parameters={"size": 1000}, n=5, smoke={"size": 20},
            readings=(
                Reading(id="W1b", title="loop of 1,000 through an edge", metric="us", unit="us",
                        goal=10, paced=327, times={"langgraph": 30}),
                Reading(id="W1b-growth", title="a step of 1,000, over a step of 100",
                        metric="growth", unit="x", goal=1.2),
            ),
        ),
        Case(
            name="W1c", workload="chain", parameters={"size": 200, "keys": 20}, n=5,
            smoke={"size": 2, "keys": 20},
            readings=(
                Reading(id="W1c", title="chain of 10, state of 20 keys", metric="us", unit="us",
                        goal=9, paced=233),
            ),
        ),
    ]  # fmt: skip
    cases += [
        Case(
            name=f"W2-{size}", workload="wide", parameters={"size": size}, n=5, smoke={"size": 3},
            readings=(
                Reading(id=f"W2-{size}", title=f"1 -> {size:,} -> 1, per branch", metric="us",
                        unit="us", goal=12, paced=paced, times={"langgraph": 12}),
            ),
        )
        for size, paced in ((10, 249), (100, 130), (1000, 156))
    ]  # fmt: skip
    return [
        *cases,
        Case(
            name="W2b", workload="wide", parameters={"size": 100, "pause": 0.005}, n=5,
            smoke={"size": 3, "pause": 0.001},
            readings=(
                Reading(id="W2b", title="100 branches that sleep 5 ms", metric="ms", unit="ms",
                        goal=7),
            ),
        ),
        Case(
            name="W3", workload="chain", place="memory", parameters={"size": 50}, n=5,
            smoke={"size": 2},
            readings=(
                Reading(id="W3", title="chain of 10, memory saver, sync", metric="us", unit="us",
                        goal=20, paced=308, times={"langgraph": 15, "burr": 4}),
            ),
        ),
    ]  # fmt: skip


def _client(place: str) -> Case:
    name = f"W3{LETTER[place]}"
    return Case(
        name=name, workload="chain", place=place, parameters={"size": 10}, smoke={"size": 2},
        readings=(
            Reading(id=name, title=f"chain of 10, {WHERE[place]}, sync, one client",
                    metric="per_s", unit="supersteps/s", times={"langgraph": 8}, share=0.6,
                    more=True, only_on={"times": "tmpfs", "share": "disk"}),
        ),
    )  # fmt: skip


def _crowd(place: str, size: int) -> Case:
    letter, where = LETTER[place], WHERE[place]
    times = {"langgraph": 40, "burr": 3.5} if place == "sqlite" else {"langgraph": 35, "dbos": 100}
    paced = 575 if place == "sqlite" else 710
    alone = "" if place == "sqlite" else ": the client alone"
    readings = [
        Reading(id=f"W4{letter}-{size}", title=f"{size} threads x 10, {where}, sync",
                metric="per_s", unit="supersteps/s", goal=25_000, paced=paced, times=times,
                more=True),
        Reading(id=f"W4{letter}-{size}-cpu",
                title=f"the same, CPU of a superstep ({where}{alone})",
                metric="cpu_us", unit="us", goal=35, paced=1350),
    ]  # fmt: skip
    if size == 256:
        readings.append(
            Reading(id=f"W4l{letter}", title=f"p99 of one run among 256, {where}",
                    metric="p99_ms", unit="ms", goal=150, paced=3850)
        )  # fmt: skip
    return Case(name=f"W4{letter}-{size}", workload="crowd", place=place,
                parameters={"size": size}, readings=tuple(readings), n=3, n_of=SLOW,
                smoke={"size": 4})  # fmt: skip


def _talk(place: str) -> Case:
    letter, where = LETTER[place], WHERE[place]
    suffix = "" if place == "sqlite" else letter
    light = place == "sqlite"
    stored, latest = (2.5, 1.2) if light else (3.0, 2.0)

    def ms(
        id: str, title: str, metric: str, goal: float | None = None, paced: float | None = None
    ) -> Reading:
        name, _, rest = id.partition("-")
        return Reading(id=f"{name}{suffix}{'-' if rest else ''}{rest}", title=f"{title}, {where}",
                       metric=metric, unit="ms", goal=goal, paced=paced)  # fmt: skip

    cleared = Reading(
        id="W5p-vacuum", title="the same, when autovacuum has been by", unit="x",
        metric="bytes_cleared_per_payload",
    )  # fmt: skip
    return Case(
        name=f"W5{letter}", workload="talk", place=place, parameters={"size": 1000},
        smoke={"size": 12}, n_of=SLOW,
        readings=(
            Reading(id=f"W5{suffix}", title=f"1,000 turns, {where}: bytes stored / payload",
                    metric="bytes_per_payload", unit="x", goal=stored),
            *(() if light else (cleared,)),
            ms("W5t-10", "turn 10", "turn_10_ms", 0.4 if light else None, 4.7),
            ms("W5t-100", "turn 100", "turn_100_ms"),
            ms("W5t-1000", "turn 1,000", "turn_1000_ms"),
            Reading(id=f"W5t{suffix}-growth", title=f"turn 1,000 over turn 10, {where}",
                    metric="turn_growth", unit="x", goal=1.5),
            ms("W6", "newest state of 2,000 messages", "latest_ms", latest,
               1.5 if light else 4.2),
            ms("W6h-10", "ten history entries", "history_10_ms", 4, 13 if light else 37),
            ms("W6h-1000", "1,000 history entries", "history_1000_ms", 60,
               2000 if light else 2900),
            ms("W6m", "a state in the middle", "middle_ms", 1.2, 1.2 if light else 2.2),
        ),
    )  # fmt: skip


def _race(place: str, processes: int) -> Case:
    name = f"W8{LETTER[place]}{'-2' if processes == 2 else ''}"
    over = " from two processes" if processes == 2 else ""
    return Case(
        name=name, workload="race", place=place, parameters={"size": 50, "processes": processes},
        smoke={"size": 6, "processes": processes}, n=1,
        readings=(
            Reading(id=name, title=f"50 runs at once{over} on one thread, {WHERE[place]}: counted",
                    metric="counted", unit="of 50", goal=50, more=True),
        ),
    )  # fmt: skip


def _killed(place: str, durability: str) -> Case:
    """The bound of "async" is 16 supersteps ahead, and the one that was being run."""
    name = f"W9{LETTER[place]}-{durability}"
    goal = 1 if durability == "sync" else 17
    title = f"killed in a loop of 200, {durability}, {WHERE[place]}"
    # Burr and DBOS know one durability; so does the floor.
    out = () if durability == "sync" else ("burr", "dbos", "floor")
    return Case(
        name=name, workload="killed", place=place, n=2, leaves_out=out,
        parameters={"size": 200, "durability": durability},
        smoke={"size": 20, "durability": durability},
        readings=(
            Reading(id=name, title=f"{title}: steps repeated, at most", metric="repeated",
                    unit="steps", goal=goal, of="max"),
            Reading(id=f"{name}-mean", title=f"{title}: steps repeated, mean", metric="repeated",
                    unit="steps", of="mean"),
            Reading(id=f"{name}-lost", title=f"{title}: steps lost", metric="lost", unit="steps",
                    goal=0, of="max"),
        ),
    )  # fmt: skip


def _imports() -> Case:
    readings = (
        Reading(id="W7", title="import, wall time over bare Python", metric="import_ms",
                unit="ms", goal=60, paced=655),
        Reading(id="W7-compiled", title="the same, until a first graph is compiled", unit="ms",
                metric="compiled_ms"),
        Reading(id="W7-dists", title="distributions that it brings along", metric="distributions",
                unit="count", goal=6),
        Reading(id="W7-mb", title="size of them", metric="installed_mb", unit="MB", goal=20),
    )  # fmt: skip
    return Case(name="W7", workload="imports", place="-", readings=readings, n=5)


def _rows(place: str, batch: int) -> Case:
    name = f"G{LETTER[place]}-{batch}"
    return Case(
        name=name, workload="rows", place=place, parameters={"batch": batch},
        smoke={"batch": min(batch, 10)},
        readings=(
            Reading(id=name, title=f"group commit, {batch:,} at a time, {WHERE[place]}",
                    metric="per_s", unit="rows/s", more=True),
        ),
    )  # fmt: skip


def _codec(kind: str) -> Case:
    title = {"plain": "50 messages", "typed": "50 messages with datetimes and UUIDs"}[kind]
    return Case(
        name=f"C-{kind}", workload="codec", place="-", parameters={"kind": kind}, n=7,
        smoke={"kind": kind, "size": 3},
        readings=(
            Reading(id=f"C-{kind}-encode", title=f"{title}: encode", metric="encode_us", unit="us"),
            Reading(id=f"C-{kind}-decode", title=f"{title}: decode", metric="decode_us", unit="us"),
        ),
    )  # fmt: skip


def _scale(name: str, place: str, parameters: dict[str, Any], smoke: dict[str, Any],
           *readings: tuple[str, str, str]) -> Case:  # fmt: skip
    return Case(
        name=f"{name}{LETTER.get(place, '')}", workload=f"scale_{name.lower()}", place=place,
        parameters=parameters, smoke=smoke, n=1, scale=True,
        readings=tuple(
            Reading(id=f"{name}{LETTER.get(place, '')}-{metric}",
                    title=f"{title}, {WHERE[place]}", metric=metric, unit=unit)
            for metric, title, unit in readings
        ),
    )  # fmt: skip


def _scales(place: str) -> list[Case]:
    return [
        _scale("THREADS", place, {"size": 100_000}, {"size": 200},
               ("create_per_s", "100,000 threads: created", "threads/s"),
               ("list_ms", "a page of 100 of them, in the middle", "ms"),
               ("resume_p50_ms", "one resumed at random, median", "ms"),
               ("resume_p99_ms", "the same, p99", "ms"),
               ("bytes_each", "bytes of one", "B"),
               ("grown_mib", "resident memory that came with them", "MiB")),
        _scale("RUNS", place, {"size": 1000}, {"size": 20},
               ("per_s", "1,000 runs at once, chain of 10", "supersteps/s"),
               ("p99_ms", "p99 of one of them", "ms"),
               ("grown_mib", "resident memory that came with them", "MiB")),
        _scale("STEPS", place, {"size": 100_000}, {"size": 200},
               ("us", "a thread of 100,000 supersteps, each", "us"),
               ("growth", "its last tenth over its second", "x"),
               ("latest_ms", "newest state of it", "ms"),
               ("history_ms", "ten entries of its history", "ms"),
               ("bytes_each", "bytes of one superstep", "B"),
               ("grown_mib", "resident memory that came with it", "MiB")),
        _scale("LARGE", place, {"size": 50 << 20}, {"size": 1 << 20},
               ("run_s", "a state of 50 MB: its run", "s"),
               ("run_stall_ms", "longest stall of the loop meanwhile", "ms"),
               ("read_s", "reading it", "s"),
               ("read_stall_ms", "longest stall of the loop meanwhile", "ms"),
               ("grown_mib", "resident memory that came with it", "MiB")),
        _scale("FAN", place, {"size": 10_000}, {"size": 50},
               ("us", "a fan-out of 10,000, per branch", "us"),
               ("stall_ms", "longest stall of the loop meanwhile", "ms"),
               ("grown_mib", "resident memory that came with it", "MiB")),
        _scale("HOT", place, {"size": 2000}, {"size": 20},
               ("alone_p99_ms", "p99 of cold threads alone", "ms"),
               ("beside_p99_ms", "p99 of cold threads beside a hot one", "ms"),
               ("hot_per_s", "the hot one meanwhile", "supersteps/s")),
    ]  # fmt: skip


PLACES = ("sqlite", "postgres")
CASES: tuple[Case, ...] = (
    *_plain(),
    *(
        case
        for place in PLACES
        for case in (_client(place), _crowd(place, 64), _crowd(place, 256), _talk(place))
    ),
    _imports(),
    Case(
        name="W7m", workload="idle", place="memory", parameters={"size": 10_000}, n=1,
        smoke={"size": 20},
        readings=(
            Reading(id="W7m", title="10,000 idle threads in the memory saver, each", metric="kb",
                    unit="KB", goal=3),
        ),
    ),
    _race("memory", 1),
    *(_race(place, processes) for place in PLACES for processes in (1, 2)),
    *(_killed(place, durability) for place in PLACES for durability in ("sync", "async")),
    *(_rows(place, batch) for place in PLACES for batch in (1, 10, 100, 1000)),
    _codec("plain"),
    _codec("typed"),
    *(case for place in ("memory", *PLACES) for case in _scales(place)),
)  # fmt: skip

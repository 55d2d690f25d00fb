"""The table of LangGraph's names in docs/names.md: what each one does here.

What *works* is not written here: it is whatever cases call, with arguments, and see the same on
both engines. Here stands only what differs on purpose, or is not planned, and why. A verdict
holds for the first pattern that matches; one that no name matches fails the tests.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from tests.compat import inventory, touched

TABLE = Path(__file__).parents[2] / "docs" / "names.md"

Status = Literal["works", "differs", "not planned", "missing", "no case"]
D: Status = "differs"
N: Status = "not planned"

_REMOTE = "Graphs behind LangGraph's server are out of scope."
_BETA = "A protocol marked beta; `astream` has the same events."
_LANGCHAIN = "Composition of LangChain's runnables."
_LISTENERS = "Callbacks of LangChain; `stepwell.observe` has events."
_SAVER = "Stepwell's savers hand a journal to a driver; see docs/drivers.md for writing one."
_WRITES = "Records get into a saver by a claim of their thread: `UsageError`."
_NO_SAVER = "None of LangGraph's savers has it; those here do."
_SERDE = "One codec; classes come back by `stepwell.register`, encryption by `Keyring`."
_DRAIN = "Internal to LangGraph's loop."
_BUILT = "A compiled graph does not change; LangGraph's `compile` calls these."
_EMPTY = "For LangGraph's own storage format."
_PSYCOPG = "The PostgreSQL client is asyncpg; connections are opened by `from_conn_string`."
_SHALLOW = "Deprecated there; retention keeps what is wanted."
_VECTORS = "Vectors are compared in Python, by their cosine; no extension of the database."
_SQL = "A part of how LangGraph's store is made; here, `_db` holds the SQL."
_REDIS = "No Redis client."

VERDICTS: list[tuple[str, Status, str]] = [
    ("pregel.remote.*", N, _REMOTE),
    ("stream.*", N, _BETA),
    ("callbacks.*", N, _LISTENERS),
    ("cache.redis.*", N, _REDIS),
    ("checkpoint.serde.*", N, _SERDE),
    ("checkpoint.postgres*Shallow*", N, _SHALLOW),
    ("checkpoint.base.BaseCheckpointSaver.*get_delta_channel_history", N, _SAVER),
    ("checkpoint.base.BaseCheckpointSaver.config_specs", N, _SAVER),
    ("checkpoint.base.BaseCheckpointSaver.get_next_version", N, _SAVER),
    ("checkpoint.base.BaseCheckpointSaver.with_allowlist", N, _SERDE),
    ("checkpoint.base.DeltaChannelHistory", N, _SAVER),
    *(
        (f"checkpoint.base.BaseCheckpointSaver.{name}", D, _WRITES)
        for name in ("put", "put_writes", "aput", "aput_writes")
    ),
    *(
        (f"checkpoint.base.BaseCheckpointSaver.{name}", D, _NO_SAVER)
        for name in ("copy_thread", "acopy_thread", "delete_for_runs", "adelete_for_runs")
    ),
    ("checkpoint.base.id.*", N, _EMPTY),
    ("checkpoint.memory.PersistentDict*", N, _EMPTY),
    ("checkpoint.postgres.*Conn", N, _PSYCOPG),
    ("checkpoint.sqlite.SqliteSaver.cursor", N, _EMPTY),
    ("checkpoint.sqlite.utils.*", N, _EMPTY),
    ("graph.state.CompiledStateGraph.a*tach_*", N, _BUILT),
    ("graph.state.CompiledStateGraph.*stream_events", N, _BETA),
    *(
        (f"graph.state.CompiledStateGraph.{name}", N, _LANGCHAIN)
        for name in (
            "as_tool",
            "assign",
            "astream_log",
            "atransform",
            "bind",
            "get_prompts",
            "map",
            "pick",
            "pipe",
            "transform",
            "with_alisteners",
            "with_fallbacks",
            "with_listeners",
            "with_retry",
            "with_types",
        )
    ),
    ("pregel.debug.*", N, _DRAIN),
    ("pregel.protocol.StreamProtocol", N, _DRAIN),
    ("store.postgres.base.ANNIndexConfig", N, _VECTORS),
    ("store.postgres.base.HNSWConfig", N, _VECTORS),
    ("store.postgres.base.IVFFlatConfig", N, _VECTORS),
    ("store.postgres.base.get_distance_operator", N, _VECTORS),
    ("store.postgres.base.Migration", N, _SQL),
    ("store.postgres.base.Row", N, _SQL),
    ("store.sqlite.base.PreparedGetQuery", N, _SQL),
]
"""(pattern, status, why)"""


@dataclass(frozen=True)
class Row:
    name: str
    status: Status
    remark: str = ""


def verdict(name: str) -> tuple[Status, str] | None:
    return next(((s, why) for pattern, s, why in VERDICTS if fnmatchcase(name, pattern)), None)


def rows(record: touched.Touched) -> list[Row]:
    names = inventory.load()
    have = touched.resolved()
    out: dict[str, Row] = {}
    waiting = []
    for name, entry in names.items():
        if (judged := verdict(name)) is not None:
            out[name] = Row(name, *judged)
        elif "same as" in entry:
            waiting.append(name)
        else:
            out[name] = _row(record, name, entry)
    for name in waiting:
        first = names[name]["same as"]
        same = name in have and have[name] is have.get(first)
        status: Status = out[first].status if same or out[first].status == N else "missing"
        out[name] = Row(name, status, f"the same as `{first}`")
    return [out[name] for name in names]


def _row(record: touched.Touched, name: str, entry: dict[str, Any]) -> Row:
    if name not in touched.resolved():
        return Row(name, "missing")
    used = touched.arguments_of(record, name, entry)
    wanted = entry.get("parameters", [])
    optional = [p for p in wanted if not p.startswith("*")]
    if used is None:
        return Row(name, "no case")
    if optional and not used and entry["kind"] in ("function", "method"):
        return Row(name, "no case", "only called with defaults")
    untried = [p for p in optional if p not in used]
    callable_kind = entry["kind"] in ("function", "method", "class") and used
    remark = f"not tried: {', '.join(f'`{p}`' for p in untried)}" if untried else ""
    return Row(name, "works", remark if callable_kind or entry["kind"] == "method" else "")


INTRODUCTION = """\
# LangGraph's names

Every public name of LangGraph {version}, and what it does under `stepwell`. The table is written
by the tests (`tests/compat`): a name *works* if cases call it with other than default arguments
and see the same on both engines; arguments that no case gives are named. *differs* and
*not planned* say why. *no case* is there but not compared; *missing* is not there.

{figures}
"""

WORDS = {"missing": "**missing**", "no case": "**no case**"}


SERVED = ("checkpoint.postgres.*", "store.postgres.*", "checkpoint.base.*prune")
"""Names that work on a PostgreSQL server only, or in LangGraph there only."""


def served(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in SERVED)


def _parts(name: str, kinds: dict[str, Any]) -> list[str]:
    return name.rsplit(".", 2 if kinds[name]["kind"] in ("method", "property") else 1)


def line(row: Row) -> str:
    shown = ".".join(_parts(row.name, inventory.load())[1:])
    return f"| `{shown}` | {WORDS.get(row.status, row.status)} | {row.remark} |"


def text(table: list[Row], version: str) -> str:
    counted = Counter(r.status for r in table)
    figures = ", ".join(f"{n} {status}" for status, n in sorted(counted.items()))
    lines = [INTRODUCTION.format(version=version, figures=f"Of {len(table)} names: {figures}.")]
    group = ""
    kinds = inventory.load()
    for row in table:
        parts = _parts(row.name, kinds)
        if parts[0] != group:
            group = parts[0]
            lines += [f"\n## {group}\n", "| name | here | |", "| --- | --- | --- |"]
        lines.append(line(row))
    return "\n".join(lines) + "\n"

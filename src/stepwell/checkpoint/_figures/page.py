"""A report as one HTML page: style and plots inside, no script, nothing fetched.

Whatever users have named passes through `_name` (or the plots, which escape by themselves): it
is escaped, made printable, and isolated, so that right-to-left text keeps to its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from stepwell.checkpoint._figures import plots, wording
from stepwell.observe import BOUNDS_S

if TYPE_CHECKING:
    from stepwell.checkpoint._figures.report import Report, ThreadNote
    from stepwell.observe import Latency

_BARS_MAX: Final = 15
_STATUS_ORDER: Final = ("running", "interrupted", "idle", "failed", "done")
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_TIMED: Final = {
    "run": "Runs", "superstep": "Supersteps", "task": "Tasks", "save": "Saves (commits)",
    "load": "Loads", "lock_wait": "Waits for busy threads",
}  # fmt: skip
_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1c2530;--soft:#5d6b7a;--line:#dfe4ea;--card:#fff;
--ground:#f4f6f8;--bar:#2f6fb5;--area:#2f6fb533;--running:#2f6fb5;--interrupted:#c98a16;
--idle:#8b98a6;--failed:#c43d3d;--done:#3a8f56}
@media (prefers-color-scheme:dark){:root{--ink:#e4e9ee;--soft:#9aa7b4;--line:#2f3944;
--card:#1b222a;--ground:#12171d;--bar:#5b9be0;--area:#5b9be033;--running:#5b9be0;
--interrupted:#dba53f;--idle:#7a8794;--failed:#e06b6b;--done:#5cb87a}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);
font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1240px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:24px;margin:0}h2{font-size:15px;margin:0 0 12px;font-weight:600}
.sub{color:var(--soft);margin:4px 0 22px}
.tiles{display:grid;grid-template-columns:repeat(5,1fr);gap:12px}
@media (max-width:760px){.tiles{grid-template-columns:repeat(2,1fr)}}
.tile,.card{background:var(--card);border:1px solid var(--line);border-radius:8px}
.tile{padding:12px 14px}.tile b{display:block;font-size:22px;font-weight:600;
font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:13px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr));
gap:14px;margin-top:14px}.card{padding:16px 18px;overflow:hidden}
.wide{grid-column:1/-1}svg{display:block;width:100%;height:auto;overflow:visible}
text{fill:var(--ink);font-size:13px}.name{text-anchor:end}.value,.tick{fill:var(--soft)}
.tick{font-size:12px}.end{text-anchor:end}.bar{fill:var(--bar)}.area{fill:var(--area)}
.line{fill:none;stroke:var(--bar);stroke-width:2}.axis{stroke:var(--soft)}
.grid{stroke:var(--line)}.running{fill:var(--running)}.interrupted{fill:var(--interrupted)}
.idle{fill:var(--idle)}.failed{fill:var(--failed)}.done{fill:var(--done)}
.key{display:flex;flex-wrap:wrap;gap:6px 18px;margin-top:12px;color:var(--soft);font-size:13px}
.key svg{display:inline-block;width:11px;height:11px;margin-right:6px;vertical-align:-1px}
table{border-collapse:collapse;width:100%;font-size:14px}td,th{text-align:left;padding:5px 10px
5px 0;border-top:1px solid var(--line);overflow-wrap:anywhere}th{color:var(--soft);
font-weight:500;border-top:0}.n{text-align:right;font-variant-numeric:tabular-nums;
white-space:nowrap}.none{color:var(--soft);margin:0}h3{font-size:13px;font-weight:500;
color:var(--soft);margin:14px 0 6px}
"""


def page(report: Report) -> str:
    """The page."""
    whose = f", scope {_name(report.scope)}" if report.scope else ""
    cards = "".join(part for part in _cards(report) if part)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Stepwell report</title><style>{_STYLE}</style></head><body><main>"
        f'<h1>Stepwell report</h1><p class="sub">{wording.when(report.made_at)}{whose}</p>'
        f'<div class="tiles">{"".join(_tiles(report))}</div>'
        f'<div class="cards">{cards}</div></main></body></html>\n'
    )


def _name(text: str | None) -> str:
    return f"<bdi>{escape(wording.shown(text))}</bdi>"


def _tiles(report: Report) -> Iterator[str]:
    stats = report.stats
    for value, what in (
        (wording.count(stats.threads), "threads"),
        (wording.count(report.active), "active"),
        (wording.count(report.completed), "completed"),
        (wording.count(report.failed), "failed"),
        (wording.count(stats.interrupts), "questions waiting"),
        (wording.count(stats.runs), "runs"),
        (wording.count(stats.checkpoints), "checkpoints"),
        (f"{report.average_checkpoints:.1f}", "checkpoints a thread"),
        (wording.size(stats.bytes), "of records"),
        (wording.size(stats.database_bytes), "database"),
    ):
        yield f'<div class="tile"><b>{escape(value)}</b><span>{escape(what)}</span></div>'


def _cards(report: Report) -> Iterator[str]:
    stats = report.stats
    yield _card("Threads by status", _by_status(stats.by_status), wide=True)
    graphs = [(graph.graph, graph.bytes) for graph in stats.graphs]
    yield _card("Storage by graph", _sizes("Storage by graph", graphs))
    if stats.by_channel is not None:
        title = "Written by channel, as JSON before folding"
        yield _card(title, _sizes(title, [*stats.by_channel.items()]))
    yield from _growth(report)
    yield _card("Graphs", _graphs(report), wide=True) if stats.graphs else ""
    yield from _latencies(report.latencies)
    for status, title in (("failed", "Failed last"), ("interrupted", "Waiting for an answer")):
        mine = [note for note in report.noted if note.status == status]
        yield _card(title, _noted(mine), wide=True) if mine else ""


def _card(title: str, inside: str, *, wide: bool = False) -> str:
    kind = "card wide" if wide else "card"
    return f'<section class="{kind}"><h2>{escape(title)}</h2>{inside}</section>'


def _by_status(by_status: dict[str, int]) -> str:
    values = [
        plots.Bar(status, by_status[status], wording.count(by_status[status]), status)
        for status in _STATUS_ORDER
    ]
    key = "".join(
        f'<span><svg viewBox="0 0 10 10"><rect class="{bar.kind}" width="10" height="10" rx="2"/>'
        f"</svg>{bar.name} {bar.shown}</span>"
        for bar in values
    )
    return f'{plots.share("Threads by status", values)}<div class="key">{key}</div>'


def _sizes(title: str, sizes: Sequence[tuple[str | None, int]]) -> str:
    if not sizes:
        return '<p class="none">Nothing is stored yet.</p>'
    shown = [plots.Bar(wording.shown(n), b, wording.size(b)) for n, b in sizes[:_BARS_MAX]]
    rest = sizes[_BARS_MAX:]
    if rest:
        left = sum(b for _, b in rest)
        shown.append(plots.Bar(f"{len(rest)} others", left, wording.size(left), "idle"))
    return plots.bars(title, shown)


def _growth(report: Report) -> Iterator[str]:
    spans = report.growth
    if not any(span.threads for span in spans):
        return
    ends = wording.when(spans[0].begins_at)[:16], wording.when(report.made_at)[:16]
    made = [
        plots.Bar(wording.when(s.begins_at)[:16], s.threads, wording.count(s.threads))
        for s in spans
    ]
    each = wording.span(report.growth_span_s)
    most = f"{wording.count(max(s.threads for s in spans))} threads"
    yield _card(
        f"Threads made, in spans of {each}",
        plots.columns("Threads made over time", made, ends=ends, most=most),
    )
    held, total = [], report.stats.bytes - sum(span.bytes for span in spans)
    for span in spans:
        total += span.bytes
        held.append(float(total))
    yield _card(
        "Storage, by when its threads were made",
        plots.curve("Growth of storage", held, ends=ends, most=wording.size(held[-1])),
    )


def _graphs(report: Report) -> str:
    heads = ("graph", "threads", "active", "done", "failed", "runs", "checkpoints", "bytes")
    rows = []
    for graph in report.stats.graphs[: 4 * _BARS_MAX]:
        done, failed = graph.by_status["done"], graph.by_status["failed"]
        numbers = (
            graph.threads, graph.threads - done - failed, done, failed, graph.runs,
            graph.checkpoints,
        )  # fmt: skip
        cells = [_name(graph.graph), *map(wording.count, numbers), wording.size(graph.bytes)]
        rows.append(cells)
    return _table(heads, rows, numbers_from=1)


def _latencies(latencies: dict[str, Latency]) -> Iterator[str]:
    if not latencies:
        told = "Not measured: open the saver with <code>observe=Meter()</code>."
        yield _card("Latencies in this process", f'<p class="none">{told}</p>', wide=True)
        return
    heads = ("", "times", "mean", "p50", "p99", "most")
    rows = [
        [
            escape(_TIMED.get(name, name)),
            wording.count(each.count),
            *map(wording.span, (each.mean_s, each.p50_s, each.p99_s, each.most_s)),
        ]
        for name, each in latencies.items()
    ]
    yield _card("Latencies in this process", _table(heads, rows, numbers_from=1), wide=True)
    for name, each in latencies.items():
        yield _card(_TIMED.get(name, name), _histogram(name, each))


def _histogram(name: str, latency: Latency) -> str:
    counts = dict(latency.buckets)
    bounds = (*BOUNDS_S, float("inf"))
    first = bounds.index(latency.buckets[0][0])
    last = bounds.index(latency.buckets[-1][0])
    values = []
    for place in range(max(first - 1, 0), min(last + 2, len(bounds))):
        up, n = bounds[place], counts.get(bounds[place], 0)
        words = "longer" if up == float("inf") else f"up to {wording.span(up)}"
        values.append(plots.Bar(words, n, wording.count(n)))
    most = f"{wording.count(max(counts.values()))} times"
    ends = values[0].name, values[-1].name
    return plots.columns(f"Latency of {name}", values, ends=ends, most=most)


def _noted(notes: Sequence[ThreadNote]) -> str:
    heads = ("thread", "graph", "", "last written")
    rows = []
    for note in notes:
        asked = f"{note.interrupts} asked"
        why = asked if note.status == "interrupted" else _name(note.error)
        rows.append([_name(note.thread_id), _name(note.graph), why, wording.when(note.updated_at)])
    return _table(heads, rows, numbers_from=len(heads))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int) -> str:
    """A table of cells that are HTML already."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=n' if n >= numbers_from else ''}>{cell}</{tag}>"
            for n, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line(cells, 'td')}</tr>" for cells in rows)
    return f"<table><thead><tr>{line(heads, 'th')}</tr></thead><tbody>{body}</tbody></table>"


__all__ = ["page"]

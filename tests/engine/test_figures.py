"""What is counted is what is there, on every driver; and a report says it, whatever its names."""

from __future__ import annotations

import asyncio
import json
import operator
from collections import Counter
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Annotated, Any, TypedDict

import pytest

from stepwell import Keyring, open_saver
from stepwell.checkpoint.base import Saver
from stepwell.errors import UsageError
from stepwell.figures import GraphStats, Report, Stats
from stepwell.graph import START, StateGraph
from stepwell.observe import Meter
from stepwell.types import interrupt

HOSTILE = [
    "<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "</title></style><b>",
    "&lt;b&gt;", "{{7*7}}", "a\u202eb", "\u001b[31mred", "line\nbreak", "x" * 300, "]]>",
    "javascript:alert(1)", "url(http://example.com/x)",
]  # fmt: skip


class State(TypedDict, total=False):
    """Two channels of very different size."""

    log: Annotated[list[str], operator.add]
    n: int
    ask: bool
    fail: bool


class Inner(TypedDict, total=False):
    """The state of a graph inside, of which its parent knows nothing."""

    n: int
    own: str


def build(saver: Saver, name: str = "g") -> Any:
    """Writes some, then asks or fails if it is told to."""

    def write(state: State) -> dict[str, Any]:
        return {"log": ["x" * 100], "n": 1}

    def end(state: State) -> dict[str, Any]:
        if state.get("fail"):
            raise ValueError("the text of an error is nobody's business")
        return {"log": [interrupt("well?")]} if state.get("ask") else {}

    builder = StateGraph(State).add_sequence([("write", write), ("end", end)])
    return builder.add_edge(START, "write").compile(saver, name=name)


def config(thread_id: str) -> dict[str, Any]:
    """A config of a thread."""
    return {"configurable": {"thread_id": thread_id}}


async def fill(saver: Saver) -> None:
    """Two graphs: three threads done, one failed, two with a question; one never ran."""
    one, two = build(saver, "one"), build(saver, "two")
    for name in ("a", "b", "c"):
        await one.ainvoke({"log": []}, config(name))
    await one.ainvoke({"log": []}, config("a"))
    for name in ("d", "e"):
        await two.ainvoke({"log": [], "ask": True}, config(name))
    with pytest.raises(ValueError, match="nobody"):
        await two.ainvoke({"log": [], "fail": True}, config("f"))
    await two.aupdate_state(config("g"), {"n": 2})


async def test_counts_are_those_of_the_threads(saver: Saver) -> None:
    """All sums, by status and by graph, are the sums of what the listing shows."""
    await fill(saver)
    stats = await saver.astats()
    threads = [thread async for thread in saver.alist_threads()]
    assert (stats.threads, stats.interrupts, stats.runs) == (7, 2, 7)
    assert stats.by_status == {
        "idle": 0, "running": 0, "interrupted": 2, "failed": 1, "done": 3, **Counter(
            t.status for t in threads)
    }  # fmt: skip
    assert stats.checkpoints == sum(t.checkpoints for t in threads)
    assert stats.bytes == sum(t.bytes for t in threads) > 0
    assert stats.created_first == min(t.created_at for t in threads)
    assert stats.updated_last == max(t.updated_at for t in threads)
    assert stats.by_channel is None
    assert [g.graph for g in sorted(stats.graphs, key=lambda g: str(g.graph))] == ["one", "two"]
    for graph in stats.graphs:
        mine = [t for t in threads if t.graph == graph.graph]
        assert graph.threads == len(mine) == sum(graph.by_status.values())
        assert (graph.checkpoints, graph.bytes) == (
            sum(t.checkpoints for t in mine), sum(t.bytes for t in mine),
        )  # fmt: skip
    assert list(stats.graphs) == sorted(stats.graphs, key=lambda g: -g.bytes)
    assert json.loads(json.dumps(stats.to_dict()))["graphs"][0]["graph"] in {"one", "two"}


async def test_nothing_is_counted_where_nothing_is(saver: Saver) -> None:
    """An empty scope has empty figures, and a report of them."""
    await fill(saver.scoped("other"))
    stats = await saver.astats(deep=True)
    assert (stats.threads, stats.bytes, stats.graphs, stats.by_channel) == (0, 0, (), {})
    assert (stats.created_first, stats.updated_last) == (None, None)
    report = await saver.areport()
    assert (report.stats, report.average_checkpoints) == (stats, 0.0)
    assert "Threads      0" in report.to_text()
    check_page(report.to_html())
    assert (await saver.scoped("other").astats()).threads == 7


async def test_figures_cost_the_same_however_much_there_is(
    saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two queries for the counters, a handful for a report that does not read records."""
    await build(saver).ainvoke({"log": []}, config("t0"))
    driver = (await saver.journal()).driver
    called: list[str] = []
    for verb in ("tally", "vitals", "threads", "runs", "load", "history", "layout", "namespaces"):
        real = getattr(driver, verb)

        def counted(*args: Any, _verb: str = verb, _real: Any = real, **options: Any) -> Any:
            called.append(_verb)
            return _real(*args, **options)

        monkeypatch.setattr(driver, verb, counted)
    costs = []
    for length in (1, 30):
        for n in range(length):
            await build(saver, f"g{n}").ainvoke({"log": []}, config(f"t{n}"))
        called.clear()
        await saver.astats()
        assert called == ["tally", "vitals"]
        called.clear()
        await saver.areport(deep=False)
        costs.append(list(called))
    assert costs[0] == costs[1]
    assert len(costs[0]) == 5


async def test_small_threads_are_read_many_at_a_time(
    saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count by channel asks for none of them by itself."""
    graph = StateGraph(State).add_node("count", lambda s: {"n": s["n"] + 1})
    compiled = graph.add_edge(START, "count").compile(saver, name="counts")
    names = [config(f"t{n}") for n in range(12)]
    await compiled.abatch([{"n": 0, "log": []}] * 12, names)
    driver: Any = (await saver.journal()).driver

    async def one_by_one(*_: Any, **__: Any) -> Any:
        raise AssertionError

    for verb in ("history", "layout", "load", "namespaces"):
        monkeypatch.setattr(driver, verb, one_by_one)
    stats = await saver.astats(deep=True)
    assert stats.by_channel is not None
    assert set(stats.by_channel) == {"log", "n"}


@pytest.mark.parametrize("compacted", [False, True])
async def test_bytes_by_channel_are_what_was_written(saver: Saver, *, compacted: bool) -> None:
    """The same whether rows are folded or not, graphs inside included; channels between nodes
    are no part of it."""

    def count(state: State) -> dict[str, Any]:
        return {"n": state["n"] + 1, "log": ["0123456789"]}

    inner = StateGraph(Inner).add_node("deep", lambda _: {"own": "inside"})
    builder = StateGraph(State).add_node("count", count)
    builder.add_node("sub", inner.add_edge(START, "deep").compile())
    builder.add_edge(START, "count").add_edge("sub", "__end__")
    builder.add_conditional_edges("count", lambda s: "sub" if s["n"] >= 130 else "count")
    graph = builder.compile(saver, name="counts")
    await graph.ainvoke({"n": 0, "log": []}, config("t") | {"recursion_limit": 500})
    await (await saver.journal()).folded()
    if compacted:
        await saver.acompact()
    stats = await saver.astats(deep=True)
    assert stats.by_channel is not None
    assert set(stats.by_channel) == {"log", "n", "own"}
    log = 130 * len(b'["a",["0123456789"]]')
    assert log <= stats.by_channel["log"] < log + 20
    assert list(stats.by_channel) == ["log", "n", "own"]
    [only] = stats.graphs
    assert only.by_channel == stats.by_channel


async def test_a_report_tells_what_there_is(saver: Saver) -> None:
    """Active, completed, failed; averages; growth that adds up; what somebody has to look at."""
    begun = datetime.now(UTC) - timedelta(seconds=1)
    await fill(saver)
    report = await saver.areport()
    stats = await saver.astats(deep=True)
    assert report.stats == stats
    assert (report.completed, report.failed, report.active) == (
        stats.by_status["done"], 1, 7 - stats.by_status["done"] - 1,
    )  # fmt: skip
    assert report.average_checkpoints == stats.checkpoints / 7
    assert sum(g.threads for g in report.growth) + report.made_before == 7
    assert sum(g.bytes for g in report.growth) == stats.bytes
    assert sum(g.checkpoints for g in report.growth) == stats.checkpoints
    gaps = {
        b.begins_at - a.begins_at for a, b in zip(report.growth, report.growth[1:], strict=False)
    }
    assert gaps <= {timedelta(seconds=report.growth_span_s)}
    assert report.written_since is None
    noted = {note.thread_id: note for note in report.noted}
    assert set(noted) == {"d", "e", "f"}
    assert (noted["f"].error, noted["f"].status, noted["d"].interrupts) == (
        "ValueError",
        "failed",
        1,
    )
    told = json.loads(report.to_json())
    assert told["stats"]["threads"] == 7
    assert told["latencies"] == {}
    for shown in (report.to_json(), report.to_text(), report.to_html()):
        assert "ValueError" in shown
        assert "nobody's business" not in shown
        assert "x" * 100 not in shown
    later = await saver.areport(since=datetime.now(UTC) + timedelta(days=1), deep=False)
    assert later.written_since == dict.fromkeys(later.stats.by_status, 0)
    assert later.made_before == 7
    assert later.stats.by_channel is None
    earlier = await saver.areport(since=begun)
    assert earlier.written_since == earlier.stats.by_status
    assert earlier.made_before == 0
    assert earlier.growth[0].begins_at <= begun


async def test_hostile_names_are_names(saver: Saver) -> None:
    """Of threads, graphs and channels: on the page they are text, in a terminal they print."""
    scope = saver.scoped(HOSTILE[0])
    for number, name in enumerate(HOSTILE):
        thread_id = name.replace("\0", "")
        graph = build(scope, name)
        with pytest.raises(ValueError, match="nobody"):
            await graph.ainvoke({"log": [], "fail": True}, config(f"{number}{thread_id}"))
    report = await scope.areport()
    page = report.to_html()
    page.encode()
    check_page(page)
    text = report.to_text()
    assert text.replace("\n", "").isprintable()
    assert "<script>" in text
    assert "\\x1b[31mred" in text
    assert "a\\u202eb" in text
    names = {g["graph"] for g in json.loads(report.to_json())["stats"]["graphs"]}
    assert names == set(HOSTILE)


class _Page(HTMLParser):
    """Tags, attributes and text of a page; that tags are closed in their order."""

    _VOID = frozenset({"meta", "link", "img", "br", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self._VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def close(self) -> None:
        super().close()
        assert self._open == []


def check_page(text: str) -> _Page:
    """A page is whole, made of known tags only, and fetches nothing."""
    page = _Page()
    page.feed(text)
    page.close()
    known = {
        "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "div", "b",
        "span", "section", "svg", "g", "text", "rect", "line", "polyline", "polygon", "table",
        "thead", "tbody", "tr", "th", "td", "bdi", "code",
    }  # fmt: skip
    assert set(page.tags) <= known
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in {"href", "src", "action", "srcset", "data", "xlink:href"}
        assert "url(" not in value or name == "aria-label"
        assert "://" not in value or (tag, name) == ("svg", "xmlns")
    styles = text[text.index("<style>") : text.index("</style>")]
    assert "url(" not in styles
    assert "@import" not in styles
    return page


def test_a_page_that_fetches_something_is_seen() -> None:
    """The check above can fail."""
    for bad in ("<script>1</script>", '<img src="x">', '<p onclick="x">y</p>', "<b><p></b></p>"):
        with pytest.raises(AssertionError):
            check_page(f"<style></style>{bad}")


async def test_a_meter_is_found_and_shown() -> None:
    """Whoever else observes; what it has measured stands in text, page and JSON."""
    events: list[Any] = []
    async with open_saver("memory://", observe=[events.append, Meter()]) as saver:
        await fill(saver)
        report = await saver.scoped("").areport()
    assert set(report.latencies) == {"run", "superstep", "task", "save", "load"}
    assert (report.counts["runs_done"], report.counts["runs_failed"]) == (4, 1)
    assert report.latencies["task"].count == 14
    assert "p99" in report.to_text()
    page = check_page(report.to_html())
    assert "Saves (commits)" in page.words
    assert "latencies" in json.loads(report.to_json())


def test_sync_forms_do_the_same() -> None:
    """`stats` and `report` where no loop runs."""
    with open_saver("memory://") as saver:
        build(saver).invoke({"log": []}, config("t"))
        stats = saver.stats(deep=True)
        assert isinstance(stats, Stats)
        assert isinstance(stats.graphs[0], GraphStats)
        report = saver.report()
        assert isinstance(report, Report)
        assert report.stats == stats


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("astats", {"deep": 1}), ("areport", {"deep": None}), ("areport", {"since": "yesterday"}),
        ("areport", {"since": datetime(2026, 1, 1)}),  # noqa: DTZ001  # that is the point
    ],
)  # fmt: skip
async def test_what_cannot_be_asked_is_refused(verb: str, options: dict[str, Any]) -> None:
    """Before the database is."""
    async with open_saver("memory://") as saver:
        with pytest.raises(UsageError):
            await getattr(saver, verb)(**options)


async def test_runs_go_on_while_everything_is_counted(saver: Saver) -> None:
    """A deep count beside a run that writes, and threads that go away."""
    graph = build(saver)
    await graph.ainvoke({"log": []}, config("gone"))
    counting = asyncio.ensure_future(saver.astats(deep=True))
    await graph.ainvoke({"log": []}, config("t"))
    await saver.adelete_thread("gone")
    assert (await counting).threads in {1, 2}
    assert (await saver.astats(deep=True)).threads == 1


@pytest.mark.parametrize("options", [{"compress": "zlib"}, {"keyring": None}], ids=str)
async def test_sealed_records_are_counted_and_compared_too(options: dict[str, Any]) -> None:
    """Encrypted or compressed: the same figures by channel, the same differences."""
    if "keyring" in options:
        options = {"keyring": Keyring({"k": b"k" * 32}, "k")}
    told = []
    for given in ({}, options):
        async with open_saver("memory://", **given) as saver:
            await fill(saver)
            report = await saver.areport()
            assert (await saver.ahealth()).checks[0].status == "ok"
            channels = report.stats.by_channel
            notes = {(note.thread_id, note.error) for note in report.noted}
            told.append((channels, notes, await saver.adiff(config("a"), config("d"))))
    assert told[0] == told[1]
    assert told[0][0]

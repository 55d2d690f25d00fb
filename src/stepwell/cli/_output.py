"""How results are shown: a table on a terminal, else JSON; progress and questions on stderr.

What is stored is not trusted: no text of it is read as markup, and none reaches a terminal with
control characters, which could move the cursor or worse.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from stepwell.checkpoint.base import BackupProgress
from stepwell.errors import UsageError

Format: TypeAlias = Literal["table", "json", "jsonl", "csv"]

_CELL_MAX = 60
_GAP = "  "


def chosen(format: Format | None) -> Format:
    """The format asked for; else a table on a terminal and JSON elsewhere."""
    return format or ("table" if sys.stdout.isatty() else "json")


def as_json(value: Any) -> bytes:
    """JSON of whatever a state may hold; what JSON cannot say is shown as its `repr`."""
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # integers of more than 64 bits, lone surrogates, unusual keys
        return json.dumps(_sayable(value), separators=(",", ":")).encode()


def _sayable(value: Any) -> Any:
    """The same for `json`, which takes any integer and any text."""
    if isinstance(value, Mapping):
        return {_key(key): _sayable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_sayable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    try:
        return json.loads(orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS))
    except TypeError:
        return repr(value)


def _key(key: Any) -> Any:
    return key if isinstance(key, str | int | float) or key is None else repr(key)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return repr(value)


def listing(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    format: Format | None,
    spare: Sequence[str] = (),
) -> None:
    """Show rows.

    Args:
        rows: JSON has all of them.
        columns: What of them a table and CSV have.
        format: How.
        spare: Columns that a terminal too narrow for all goes without, these first.
    """
    form = chosen(format)
    if form == "json":
        write(as_json(list(rows)).decode())
    elif form == "jsonl":
        for row in rows:
            write(as_json(row).decode())
    elif form == "csv":
        write(_csv(rows, columns), end="")
    elif sys.stdout.isatty():
        _table(rows, columns, spare)
    else:
        _lines(rows, columns)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], spare: Sequence[str]) -> None:
    out = console()
    cells = {c: [_cell(c, row.get(c)) for row in rows] for c in columns}
    widths = {c: max(cell_len(c), *(t.cell_len for t in cells[c]), 0) for c in columns}
    for column in spare:
        if sum(widths.values()) + len(_GAP) * (len(widths) - 1) > out.width:
            widths.pop(column)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in widths:
        right = bool(rows) and isinstance(rows[0].get(column), int)
        fixed = column.endswith("_at") or column in ("status", "checkpoint_id")
        table.add_column(
            column, justify="right" if right else "left", overflow="fold", no_wrap=fixed
        )
    for line in zip(*(cells[column] for column in widths), strict=True):
        table.add_row(*line)
    out.print(table)


def _lines(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A table for a pipe: a line for each row, as wide as it is, as many as there are."""
    cells = [[_cell(column, row.get(column)).plain for column in columns] for row in rows]
    cells = [[cell.replace("\n", "\\n") for cell in line] for line in cells]
    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    right = [bool(rows) and isinstance(rows[0].get(column), int) for column in columns]
    for line in (columns, *cells):
        padded = (
            " " * (width - cell_len(cell)) + cell
            if at_right
            else cell + " " * (width - cell_len(cell))
            for cell, width, at_right in zip(line, widths, right, strict=True)
        )
        write(_GAP.join(padded).rstrip())


def one(record: Mapping[str, Any], format: Format | None) -> None:
    """Show one result."""
    form = chosen(format)
    if form in ("json", "jsonl"):
        write(as_json(dict(record)).decode())
    elif form == "csv":
        write(_csv([record], list(record)), end="")
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in record.items():
            text = as_json(value).decode() if isinstance(value, dict | list) else _text(value)
            table.add_row(shown(name), shown(text))
        console().print(table)


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_text(row.get(column)) for column in columns])
    return out.getvalue()


_STATUS_STYLE = {
    "running": "cyan", "interrupted": "yellow", "failed": "red", "done": "green", "ok": "green",
    "warn": "yellow", "fail": "red",
}  # fmt: skip


def _cell(column: str, value: Any) -> Text:
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        text = ", ".join(value)
    elif column.endswith("_at") and isinstance(value, str):
        text = value[:19].replace("T", " ")  # in UTC, as everything here
    else:
        text = _text(value)
    if len(text) > _CELL_MAX and column != "thread_id":
        text = text[: _CELL_MAX - 1] + "…"
    return shown(text, _STATUS_STYLE.get(text, "") if column in ("status", "verdict") else "")


def shown(text: str, style: str = "") -> Text:
    """A text for the terminal as it is: no markup, and control characters as their escapes."""
    plain = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    return Text(plain, style=style)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return as_json(value).decode()


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the program what becomes of that (`Console` ends the process)."""
        raise BrokenPipeError


def console() -> Console:
    """Standard output for tables."""
    # A pipe that was asked for a table gets whole lines.
    return _Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200, highlight=False)


def write(text: str, end: str = "\n") -> None:
    """Print a result."""
    sys.stdout.write(text + end)


def note(text: str) -> None:
    """Say something that is no result."""
    sys.stderr.write(text + "\n")


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask before something is deleted.

    Raises:
        UsageError: Nobody can be asked, and `--yes` was not given.
    """
    if yes:
        return True
    must_be_asked()
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def must_be_asked() -> None:
    """Refuse to go on where nobody can be asked.

    Raises:
        UsageError: There is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError("This deletes; without a terminal to ask on, say --yes (or --dry-run).")


class Bar:
    """A progress bar for backups; nothing where stderr is no terminal."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task = None if progress is None else progress.add_task("threads", total=None)

    def __call__(self, told: BackupProgress) -> None:
        """Move it."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=told.threads, total=told.threads_total)


@contextmanager
def bar() -> Iterator[Bar]:
    """A progress bar for as long as the block lasts."""
    if not sys.stderr.isatty():
        yield Bar(None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        yield Bar(progress)


__all__ = [
    "Bar", "Format", "as_json", "bar", "chosen", "confirmed", "console", "listing", "must_be_asked",
    "note", "one", "shown", "write",
]  # fmt: skip

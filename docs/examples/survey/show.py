"""What the supervisor prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from stepwell.types import StateSnapshot
from survey.supervisor import Branches, Killed, name


def say(text: str = "") -> None:
    """Print at once, so that lines of several processes keep their order."""
    print(text, flush=True)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as their widest cell; numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]

    def line(row: Sequence[str], like: Sequence[object]) -> str:
        return "  ".join(
            text.rjust(width) if isinstance(value, int) else text.ljust(width)
            for text, width, value in zip(row, widths, like, strict=True)
        ).rstrip()

    first: Sequence[object] = rows[0] if rows else heads
    rule = ["-" * width for width in widths]
    lines = [line(heads, first), line(rule, heads)]
    lines += [line(row, values) for row, values in zip(cells, rows, strict=True)]
    return "\n".join(f"  {text}" for text in lines)


def account(killed: Killed) -> str:
    """The figures of the kill."""
    lost = killed.ended - killed.durable
    rows: list[tuple[str, int]] = [
        ("tasks in the fan-out", killed.total),
        ("had a durable result at the kill", len(killed.durable)),
        ("  of these ran again (must be 0)", len(killed.repeated)),
        ("were in flight at the kill", len(killed.in_flight)),
        ("  of these had done their work, not yet durably", len(lost)),
        ("  of these ran again", len(killed.in_flight & killed.again.keys())),
        ("had not begun", killed.total - len(killed.started)),
    ]
    return "\n".join(f"  {label:<50}{count:>5}" for label, count in rows)


def history(branches: Branches) -> str:
    """Every superstep of the thread, newest first."""
    rows = [
        (
            (state.metadata or {}).get("step", ""),
            (state.metadata or {}).get("source", ""),
            due(state),
            f"{sum(t.result is not None for t in state.tasks)}/{len(state.tasks)}",
            (state.created_at or "")[:23].replace("T", " "),
            branches.branch(state),
            name(state)[-12:],
        )
        for state in branches.history
    ]
    heads = ("step", "source", "next", "tasks done", "timestamp (UTC)", "branch", "checkpoint")
    return table(heads, rows)


def due(state: StateSnapshot) -> str:
    """What runs next, each node once."""
    counts = Counter(state.next)
    return ", ".join(n if c == 1 else f"{n} x{c}" for n, c in counts.items()) or "-"


def ending(label: str, state: StateSnapshot) -> str:
    """One end of the thread in one line."""
    decision = state.values["decision"]
    shown = (
        f"{decision.ranking} {decision.rows} -> {', '.join(state.values.get('reports', ()))}"
        if decision.publish
        else "nothing published"
    )
    return f"  {label}  {shown}  (checkpoint {name(state)})"

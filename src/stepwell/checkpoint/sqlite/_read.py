"""SQLite: reading chains, histories and listings. Functions of a cursor inside a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

from stepwell._db._sqlite_schema import LATEST, schema_version
from stepwell._db.sqlite import (
    SQL,
    Cursor,
    LeaseTime,
    disk_free_bytes,
    exact_parameter,
    log_bytes,
)
from stepwell.checkpoint.driver import (
    NAMESPACES_MAX,
    CheckpointRow,
    HistoryPage,
    Layout,
    Loaded,
    LoadRequest,
    RowPlace,
    RunRow,
    SegmentPlace,
    SegmentRow,
    Tally,
    TallyQuery,
    ThreadKey,
    ThreadQuery,
    ThreadRow,
    Vitals,
    WriteRow,
)
from stepwell.errors import StorageError

_NEWEST: Final = (1 << 62) - 1
"""Larger than every seq and every run."""

_THREAD_BY_ID = SQL["thread_columns"] + "\n" + SQL["thread_by_id"]
_THREAD_BY_KEY = SQL["thread_columns"] + "\n" + SQL["thread_by_key"]
_STATE, _NAMESPACES = SQL["thread_state"], SQL["namespaces"]
_NAMESPACE_NAMED = SQL["namespace_named"]
_LEG_START = SQL["leg_start"]
_CHECKPOINTS, _SEGMENTS, _WRITES = SQL["checkpoints"], SQL["segments"], SQL["writes"]
_RUNS_NAMED = SQL["run_columns"] + "\n" + SQL["runs_named"]
_RUN_NUMBERED = SQL["run_columns"] + "\n" + SQL["run_numbered"]
_RUNS_PAGE = SQL["run_columns"] + "\n" + SQL["runs_page"]
_DESCRIBED = SQL["run_columns"] + "\n" + SQL["run_described"]
_RUN_KEYED = SQL["run_columns"] + "\n" + SQL["run_keyed"]
_ROW_PLACES, _SEGMENT_PLACES = SQL["row_places"], SQL["segment_places"]
_RECORD_EPOCHS, _TALLY = SQL["record_epochs"], SQL["tally"]
_USED_PAGES = SQL["used_pages"]

_checkpoint = partial(tuple.__new__, CheckpointRow)  # `_make` is a call of Python for each row
_INDEXED_STATUSES = frozenset({1, 2, 3})  # as in the index stepwell_thread_open
_LISTS: Final = {
    (order, descending, indexed, described): "\n".join(
        [
            SQL["thread_columns"],
            SQL["listed"],
            *([SQL["listed_open"]] if indexed else []),
            *([SQL["listed_described"]] if described else []),
            SQL[f"listed_by_{order}_{'desc' if descending else 'asc'}"],
        ]
    )
    for order in ("updated", "created", "thread_id")
    for descending in (False, True)
    for indexed in (False, True)
    for described in (False, True)
}


def thread_row(
    raw: Sequence[Any],
    namespaces: dict[int, tuple[str, int]],
    now: LeaseTime,
    *,
    more: bool = False,
) -> ThreadRow:
    """A thread row from `thread_columns`."""
    owner, until, boot_id = raw[5], raw[7], raw[8]
    if owner is None:
        left = None
    elif until is None or boot_id != now.boot_id:
        left = -now.seconds  # it ended with the boot it was counted in
    else:
        left = until - now.seconds
    key = ThreadKey(raw[1], raw[2])
    return ThreadRow._make(
        (key, *raw[3:7], left, *raw[9:13], bool(raw[13]), *raw[14:27], namespaces, raw[28], more)
    )


def read_thread(cursor: Cursor, key: ThreadKey) -> Sequence[Any] | None:
    """The columns of a thread; None if there is no such thread."""
    found: Sequence[Any] | None = cursor.execute(_THREAD_BY_ID, key).fetchone()
    return found


def read_thread_again(cursor: Cursor, t: int) -> Sequence[Any]:
    """The columns of a thread that is known to be there."""
    found: Sequence[Any] = cursor.execute(_THREAD_BY_KEY, (t,)).fetchone()
    return found


def with_namespaces(
    cursor: Cursor, raw: Sequence[Any], now: LeaseTime, asked: str
) -> tuple[ThreadRow, int | None]:
    """A thread row with its newest namespaces and the one asked for; the number of that."""
    t = raw[0]
    rows = cursor.execute(_NAMESPACES, (t, _NEWEST, NAMESPACES_MAX + 1)).fetchall()
    more = len(rows) > NAMESPACES_MAX
    spaces = {0: ("", raw[27])}
    spaces |= {number: (name, head) for number, name, head in rows[:NAMESPACES_MAX]}
    wanted = next((number for number, (name, _) in spaces.items() if name == asked), None)
    if wanted is None and more:
        for number, name, head in cursor.execute(_NAMESPACE_NAMED, (t, exact_parameter(asked))):
            spaces[number], wanted = (name, head), number
    return thread_row(raw, spaces, now, more=more), wanted


def namespaces(
    cursor: Cursor, key: ThreadKey, after: int | None, limit: int
) -> list[tuple[int, str, int]]:
    """One page of a thread's namespaces, newest first."""
    state = cursor.execute(_STATE, key).fetchone()
    if state is None:
        return []
    last = _NEWEST if after is None else after
    return cursor.execute(_NAMESPACES, (state[0], last, limit)).fetchall()


def runs_of(
    cursor: Cursor, t: int, numbers: set[int], folded: tuple[int, int, int] = (0, 0, 0)
) -> dict[int, RunRow]:
    """Runs by number. `folded`: those of segments too; a namespace, first and last seq."""
    numbers.discard(0)
    ns, first, last = folded
    if not numbers and not last:
        return {}
    if len(numbers) == 1 and not last:
        rows = cursor.execute(_RUN_NUMBERED, (t, *numbers))
    else:
        rows = cursor.execute(_RUNS_NAMED, (t, str(sorted(numbers)), t, ns, last, first))
    return {row[0]: RunRow._make(row) for row in rows}


def load(cursor: Cursor, requests: Iterable[LoadRequest], now: LeaseTime) -> list[Loaded]:
    """Each chain that was asked for, in order."""
    answers: list[Loaded] = []
    for key, ns_name, seq, _ in requests:
        raw = read_thread(cursor, key)
        answers.append(
            Loaded(thread=None) if raw is None else load_chain(cursor, raw, ns_name, seq, now)
        )
    return answers


def load_chain(
    cursor: Cursor, raw: Sequence[Any], ns_name: str, seq: int | None, now: LeaseTime
) -> Loaded:
    """One checkpoint and its ancestors. `raw`: the thread, of the same transaction."""
    t = raw[0]
    if raw[10] == 0:  # there is no record yet, so there are no rows of any kind
        return Loaded(thread=thread_row(raw, {0: ("", 0)}, now, more=False))
    thread, ns = with_namespaces(cursor, raw, now, ns_name)
    if ns is None:
        return Loaded(thread=thread, runs=runs_of(cursor, t, {thread.run}))
    newest = thread.namespaces[ns][1] if seq is None else seq
    rows: list[CheckpointRow] = []
    segments: list[SegmentRow] = []
    for first, last in legs(cursor, t, ns, newest):
        rows += map(_checkpoint, cursor.execute(_CHECKPOINTS, (t, ns, first, last)))
        segments += map(SegmentRow._make, cursor.execute(_SEGMENTS, (last, t, ns, last, first)))
    inside = bool(segments) and segments[-1].seq_to >= newest
    # Writes may be filed under "no checkpoint yet" (0), but not under one that is not there.
    if newest and not (inside or (rows and rows[-1].seq == newest)):
        return Loaded(thread=thread, ns=ns, runs=runs_of(cursor, t, {thread.run}))
    writes = list(map(WriteRow._make, cursor.execute(_WRITES, (t, ns, newest, newest))))
    named = {thread.run, *(row.run for row in rows)}
    runs = runs_of(cursor, t, named, (ns, newest, newest) if inside else (0, 0, 0))
    return Loaded(thread=thread, ns=ns, rows=rows, segments=segments, writes=writes, runs=runs)


def load_newest(cursor: Cursor, raw: Sequence[Any], now: LeaseTime) -> Loaded:
    """The newest checkpoint of the root, for somebody who knows what it extends."""
    thread, _ = with_namespaces(cursor, raw, now, "")
    t, newest = raw[0], raw[27]
    rows = list(map(_checkpoint, cursor.execute(_CHECKPOINTS, (t, 0, newest, newest))))
    if not rows:  # it is in a segment
        return load_chain(cursor, raw, "", None, now)
    writes = list(map(WriteRow._make, cursor.execute(_WRITES, (t, 0, newest, newest))))
    runs = runs_of(cursor, t, {thread.run, rows[0].run})
    return Loaded(thread=thread, rows=rows, writes=writes, runs=runs, newest_only=True)


def legs(cursor: Cursor, t: int, ns: int, newest: int) -> list[tuple[int, int]]:
    """The chain of `newest` as stretches of consecutive seqs, oldest first."""
    found_legs: list[tuple[int, int]] = []
    while newest > 0:
        found = cursor.execute(_LEG_START, (t, ns, newest, t, ns, newest)).fetchone()
        first, parent = found or (1, 0)
        if not parent < first:
            raise StorageError(
                f"checkpoint {first} names {parent} as its parent, which is not older: the "
                "database was changed by something else",
                ns=ns,
                seq=first,
            )
        found_legs.append((first, newest))
        newest = parent
    found_legs.reverse()
    return found_legs


def history(
    cursor: Cursor,
    key: ThreadKey,
    ns_name: str,
    *,
    since: int,
    upto: int | None,
    now: LeaseTime,
) -> HistoryPage:
    """Every row of a namespace from one seq to another, over all branches."""
    raw = read_thread(cursor, key)
    if raw is None:
        return HistoryPage(thread=None)
    t = raw[0]
    thread, ns = with_namespaces(cursor, raw, now, ns_name)
    if ns is None:
        return HistoryPage(thread=thread, runs=runs_of(cursor, t, {thread.run}))
    last = _NEWEST if upto is None else upto
    rows = list(map(_checkpoint, cursor.execute(_CHECKPOINTS, (t, ns, since, last))))
    folded = cursor.execute(_SEGMENTS, (0, t, ns, last, since))
    segments = list(map(SegmentRow._make, folded))
    filed = cursor.execute(_WRITES, (t, ns, since if since > 1 else 0, last))
    named = {thread.run, *(row.run for row in rows)}
    return HistoryPage(
        thread=thread,
        ns=ns,
        rows=rows,
        segments=segments,
        writes=list(map(WriteRow._make, filed)),
        runs=runs_of(cursor, t, named, (ns, since, last) if segments else (0, 0, 0)),
    )


def layout(cursor: Cursor, key: ThreadKey, ns_name: str, now: LeaseTime) -> Layout:
    """How a namespace is stored."""
    raw = read_thread(cursor, key)
    if raw is None:
        return Layout(thread=None)
    t = raw[0]
    thread, ns = with_namespaces(cursor, raw, now, ns_name)
    if ns is None:
        return Layout(thread=thread)
    return Layout(
        thread=thread,
        ns=ns,
        rows=list(map(RowPlace._make, cursor.execute(_ROW_PLACES, (t, ns)))),
        segments=list(map(SegmentPlace._make, cursor.execute(_SEGMENT_PLACES, (t, ns)))),
    )


def threads(cursor: Cursor, query: ThreadQuery, now: LeaseTime) -> list[ThreadRow]:
    """One page of threads."""
    indexed = query.status in _INDEXED_STATUSES
    parameters: list[Any] = [query.scope]
    graph = exact_parameter(query.graph)
    for wanted in (query.status, graph, query.updated_before, query.updated_after):
        parameters += (wanted, wanted)
    if indexed:
        parameters.append(query.status)
    if query.metadata is not None:
        parameters.append(query.metadata)
    parameters += _place(query)
    parameters.append(query.limit)
    kind = (query.order, query.descending, indexed, query.metadata is not None)
    found = cursor.execute(_LISTS[kind], parameters).fetchall()
    return [thread_row(raw, {0: ("", raw[27])}, now) for raw in found]


def _place(query: ThreadQuery) -> tuple[Any, ...]:
    """Where the page begins, for the comparison at the end of the query. Before the first
    item: an infinity; and for texts the empty one, or an empty blob, which sorts after them."""
    if query.order == "thread_id":
        if query.after is not None:
            return (query.after[1],)
        return (b"",) if query.descending else ("",)
    if query.after is not None:
        return query.after
    return (float("inf"), "") if query.descending else (float("-inf"), "")


def tally(cursor: Cursor, query: TallyQuery) -> list[Tally]:
    """Threads counted by graph, status and when they were created."""
    since = query.updated_since
    rows = cursor.execute(_TALLY, (query.width_s, query.scope, since, since))
    return list(map(Tally._make, rows))


def vitals(cursor: Cursor, file: str) -> Vitals:
    """What a database and its disk say of themselves. `file`: "" if it is none."""
    used = int(cursor.execute(_USED_PAGES).fetchone()[0])
    return Vitals(
        schema_version=schema_version(cursor),
        schema_needed=LATEST,
        bytes=used + (log_bytes(file) if file else 0),
        disk_free_bytes=disk_free_bytes(file) if file else None,
    )


def runs(cursor: Cursor, key: ThreadKey, after: int | None, limit: int) -> list[RunRow]:
    """One page of a thread's runs, newest first."""
    state = cursor.execute(_STATE, key).fetchone()
    if state is None:
        return []
    below = _NEWEST if after is None else after
    return list(map(RunRow._make, cursor.execute(_RUNS_PAGE, (state[0], below, limit))))


def runs_numbered(cursor: Cursor, names: Sequence[tuple[ThreadKey, int]]) -> list[RunRow | None]:
    """The run of each thread that has this number."""
    found: list[RunRow | None] = []
    for key, number in names:
        page = runs(cursor, key, number + 1, 1)
        found.append(page[0] if page and page[0].run == number else None)
    return found


def described(cursor: Cursor, keys: Sequence[ThreadKey]) -> list[RunRow | None]:
    """The newest run of each thread that has metadata."""
    found: list[RunRow | None] = []
    for key in keys:
        state = cursor.execute(_STATE, key).fetchone()
        row = None if state is None else cursor.execute(_DESCRIBED, state[:1]).fetchone()
        found.append(None if row is None else RunRow._make(row))
    return found


def keyed_run(cursor: Cursor, key: ThreadKey, idempotency_key: str) -> RunRow | None:
    """The run of a thread that has an idempotency key."""
    state = cursor.execute(_STATE, key).fetchone()
    if state is None:
        return None
    row = cursor.execute(_RUN_KEYED, (state[0], exact_parameter(idempotency_key))).fetchone()
    return None if row is None else RunRow._make(row)


def landed(cursor: Cursor, key: ThreadKey, record_no: int, epoch: int) -> bool:
    """Whether record `record_no` was written under `epoch`.

    Under the present epoch the thread row knows. Under an earlier one the rows do; a record
    without a row (a status, or folded since) is known under the epoch just before, which
    wrote what lies below the beginning of the present one.
    """
    state = cursor.execute(_STATE, key).fetchone()
    if state is None:
        return False
    t, present, _, newest, began = state[:5]
    if epoch == present:
        return bool(began < record_no <= newest)
    found = cursor.execute(_RECORD_EPOCHS, (t, record_no, t, record_no)).fetchall()
    if found:
        return (epoch,) in found
    return bool(epoch == present - 1 and record_no <= began)

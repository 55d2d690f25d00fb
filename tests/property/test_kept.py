"""Pruning keeps what it says, and no state of what is kept changes."""

from __future__ import annotations

import zlib
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell._journal.kept import Rules, kept_rows, rebase
from stepwell._journal.load import Folded, add_row, fold, parent_of, trail
from stepwell._journal.segments import pack_segment
from stepwell.checkpoint.driver import CheckpointRow, HistoryPage
from tests.property.test_segments import linear_rows, plain


@st.composite
def trees(draw: Any) -> list[CheckpointRow]:
    """Rows of a namespace with branches from anywhere, and from nothing."""
    rows: list[CheckpointRow] = []
    states: dict[int, Folded] = {0: Folded()}
    for _ in range(draw(st.integers(1, 4))):
        parent = draw(st.integers(0, len(rows)))
        for index in range(draw(st.integers(1, 6))):
            seq = len(rows) + 1
            folded = states[parent if index == 0 else seq - 1].snapshot()
            ops: dict[str, Any] = {
                "log": draw(st.sampled_from([["a", [seq]], ["s", [seq, 0.5]], ["A", [{"$t": 1}]]])),
                "n": draw(st.sampled_from([["s", seq], ["s", 1], ["s", True], ["x"]])),
                draw(st.sampled_from("abc")): ["s", seq],
            }
            document = {"t": [["n", -1, ["n"], []]], "c": ops}
            body = orjson.dumps(document)
            explicit = parent if index == 0 and parent != seq - 1 else None
            rows.append(
                CheckpointRow(
                    ns=0, seq=seq, parent=explicit, step=seq, source=1, run=1, epoch=1,
                    record_no=seq, format=1, crc=zlib.crc32(body), body=body, created_at=float(seq),
                )
            )  # fmt: skip
            add_row(folded, rows[-1])
            states[seq] = folded
    return rows


def state(rows: list[CheckpointRow], seq: int) -> Any:
    """All that is known after a checkpoint."""
    return plain(fold(trail(HistoryPage(thread=None, rows=rows), seq)))


RULES = st.builds(
    Rules,
    keep_last=st.none() | st.integers(1, 5),
    older_than=st.none() | st.floats(0, 20),
    keep=st.none() | st.sampled_from([lambda r: r.seq % 3 == 0, lambda r: False]),
)


@given(rows=trees(), rules=RULES, filed=st.sets(st.integers(1, 20), max_size=2))
@settings(max_examples=150, deadline=None)
def test_what_stays_has_its_state(rows: list[CheckpointRow], rules: Rules, filed: set[int]) -> None:
    """Every checkpoint that stays has the state it had; parents are kept ancestors; what a rule,
    the head or pending writes keep is there; deleting from the newest on never breaks a chain."""
    head = rows[-1].seq
    kept = kept_rows(rows, head, filed, rules)
    by_seq = {row.seq: row for row in rows}
    wanted = {r.seq for i, r in enumerate(reversed(rows)) if not rules.let_go(r, i)}
    assert {head} | wanted | (filed & by_seq.keys()) <= kept
    before = {seq: state(rows, seq) for seq in kept & by_seq.keys()}
    rebased = rebase(rows, kept)
    now = [rebased.get(row.seq, row) for row in rows]
    while True:
        for seq, known in before.items():
            assert state(now, seq) == known
        gone = max((row.seq for row in now if row.seq not in kept), default=None)
        if gone is None:
            break
        now = [row for row in now if row.seq != gone]
    assert {row.seq for row in now} == kept & by_seq.keys()
    for row in now:
        ancestor = parent_of(by_seq[row.seq])
        while ancestor and ancestor not in kept:
            ancestor = parent_of(by_seq[ancestor])
        assert parent_of(row) == ancestor
        assert row.record_no == by_seq[row.seq].record_no
    assert kept_rows(now, head, filed, rules) == kept
    assert rebase(now, kept) == {}


@given(rows=trees())
@settings(max_examples=60, deadline=None)
def test_where_branches_meet_stays(rows: list[CheckpointRow]) -> None:
    """The last common ancestor of two that stay is one that stays."""
    kept = kept_rows(rows, rows[-1].seq, (), Rules(keep=lambda r: r.seq % 4 == 1))
    by_seq = {row.seq: row for row in rows}

    def ancestors(seq: int) -> list[int]:
        found = []
        while seq:
            found.append(seq)
            seq = parent_of(by_seq[seq])
        return found

    for one in kept:
        for other in kept:
            shared = [seq for seq in ancestors(one) if seq in ancestors(other)]
            if shared:
                assert shared[0] in kept


@given(rows=linear_rows())
@settings(max_examples=60, deadline=None)
def test_a_rebased_row_can_be_folded(rows: list[CheckpointRow]) -> None:
    """Whatever operations led to it; into the first row of a segment, too."""
    head = rows[-1].seq
    kept = kept_rows(rows, head, (), Rules(keep_last=max(1, len(rows) // 2)))
    now = [rebase(rows, kept).get(r.seq, r) for r in rows if r.seq in kept]
    assert plain(fold(now)) == plain(fold(rows))
    folded = Folded()
    folded.add_segment(orjson.loads(pack_segment(now, Folded()).body))
    assert plain(folded) == plain(fold(rows))

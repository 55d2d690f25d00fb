"""Two sessions on one thread, step by step, in a given order; and what must come of it.

Each session does, in this order: claim, write, renew, commit, steal, release. A session that was
refused, or has lost the thread, goes on with its steps all the same, as a zombie does. The
`Model` knows what every step must answer; drivers are compared with it, and so with each other.

- *write* files a pending write, *commit* a checkpoint that takes its place; each is sent twice,
  as after a lost reply.
- *renew* beats, and remembers (epoch, beat) of the row: the evidence for a later suspicion.
- *steal* finds the owner's lock gone and claims with that evidence; an owner that has moved
  since then is left in peace.
- *release* lets the newest claim go.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stepwell.checkpoint.driver import (
    Busy,
    Claim,
    Committed,
    Driver,
    Held,
    Parked,
    Renewed,
    Slice,
    Stale,
    ThreadKey,
)
from stepwell.testing._rows import (
    Writer,
    bodies,
    checkpoint,
    claim_request,
    loaded,
    pending,
    thread_key,
    thread_row,
    worker,
)

STEPS = ("claim", "write", "renew", "commit", "steal", "release")


def all_interleavings() -> list[tuple[int, ...]]:
    """Every order of two sessions' steps: 924 tuples of 12 session numbers."""
    length = 2 * len(STEPS)
    orders = []
    for places in itertools.combinations(range(length), len(STEPS)):
        mine = set(places)
        orders.append(tuple(0 if n in mine else 1 for n in range(length)))
    return orders


class Told(NamedTuple):
    """What a step answered. `epoch`: how many claims had succeeded, where it says one."""

    session: int
    step: str
    answer: str
    epoch: int | None = None


@dataclass
class Model:
    """The thread row and its rows, as `ownership` promises them."""

    exists: bool = False
    claims: int = 0
    owner: int | None = None
    beat: int = 0
    record_no: int = 0
    bodies: list[bytes] = field(default_factory=list)
    filed: list[bytes] = field(default_factory=list)
    claimed: dict[int, int] = field(default_factory=dict)
    """The newest claim of each session."""
    at: dict[int, int] = field(default_factory=dict)
    """record_no as each session believes it."""
    evidence: dict[int, tuple[int, int]] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)
    """Who got which claim: an epoch has one owner."""

    def step(self, session: int, step: str) -> list[Told]:
        return getattr(self, step)(session)

    def _told(self, session: int, step: str, answer: str, *, shows: bool = False) -> list[Told]:
        return [Told(session, step, answer, self.claims if shows else None)]

    def _claim(self, session: int, step: str, *, passes: bool) -> list[Told]:
        taken_over = self.owner not in (None, session)
        if taken_over and not passes:
            return self._told(session, step, "busy", shows=True)
        self.exists = True
        self.claims += 1
        self.owner = session
        self.beat += 1
        self.owners[self.claims] = session
        self.claimed[session], self.at[session] = self.claims, self.record_no
        return self._told(session, step, "taken over" if taken_over else "claimed", shows=True)

    def claim(self, session: int) -> list[Told]:
        return self._claim(session, "claim", passes=False)

    def steal(self, session: int) -> list[Told]:
        passes = self.evidence.get(session) == (self.claims, self.beat)
        return self._claim(session, "steal", passes=passes)

    def holds(self, session: int) -> bool:
        return self.owner == session and self.claimed.get(session) == self.claims

    def _append(self, session: int, step: str, body: bytes) -> list[Told]:
        if session not in self.claimed:
            return self._told(session, step, "nothing to send")
        if not self.holds(session):
            return self._told(session, step, "stale", shows=True) * 2
        assert self.at[session] == self.record_no, "an owner knows where its thread stands"
        self.beat += 1
        self.record_no += 1
        self.at[session] = self.record_no
        if step == "write":
            self.filed.append(body)
        else:
            self.bodies.append(body)
            self.filed.clear()
        return [Told(session, step, "committed"), Told(session, step, "landed")]

    def write(self, session: int) -> list[Told]:
        return self._append(session, "write", b"w%d" % session)

    def commit(self, session: int) -> list[Told]:
        return self._append(session, "commit", b"c%d" % session)

    def renew(self, session: int) -> list[Told]:
        if session not in self.claimed:
            told = self._told(session, "renew", "nothing to renew")
        elif self.holds(session):
            self.beat += 1
            told = self._told(session, "renew", "renewed")
        else:
            told = self._told(session, "renew", "lost", shows=True)
        if self.exists:
            self.evidence[session] = self.claims, self.beat
        return told

    def release(self, session: int) -> list[Told]:
        if self.holds(session):
            self.owner = None
        return self._told(session, "release", "released")


class Session:
    """One worker on a driver of its own (or on the one there is)."""

    def __init__(self, driver: Driver, number: int, key: ThreadKey) -> None:
        self.driver = driver
        self.number = number
        self.key = key
        self.worker = worker(f"session {number}")
        self.writer: Writer | None = None
        self.evidence: tuple[int, int] | None = None


class Table:
    """The sessions, and the numbers by which epochs of different drivers are compared."""

    def __init__(self, drivers: Sequence[Driver], key: ThreadKey | None = None) -> None:
        self.key = key or thread_key()
        self.sessions = [Session(driver, n, self.key) for n, driver in enumerate(drivers)]
        self.first: int | None = None
        self.epochs: dict[int, int] = {}
        """Which session got which epoch."""

    def number(self, epoch: int | None) -> int | None:
        return None if epoch is None or self.first is None else epoch - self.first + 1

    async def step(self, session: int, step: str) -> list[Told]:
        return await getattr(self, f"_{step}")(self.sessions[session], step)

    async def _ask(self, me: Session, step: str, **fields: Any) -> list[Told]:
        request = claim_request(self.key, me.worker, **fields)
        [answer] = await me.driver.claim([request])
        if isinstance(answer, Busy):
            return [Told(me.number, step, "busy", self.number(answer.epoch))]
        assert isinstance(answer, Claim)
        if self.first is None:
            self.first = answer.epoch
        assert self.epochs.setdefault(answer.epoch, me.number) == me.number, "one owner an epoch"
        assert answer.loaded.thread is not None
        assert answer.loaded.thread.record_no == answer.record_no, "head read at the claim"
        me.writer = Writer(me.driver, answer, me.worker)
        how = "taken over" if answer.taken_over else "claimed"
        return [Told(me.number, step, how, self.number(answer.epoch))]

    async def _claim(self, me: Session, step: str) -> list[Told]:
        return await self._ask(me, step)

    async def _steal(self, me: Session, step: str) -> list[Told]:
        for other in self.sessions:
            if other is not me and other.writer is not None:
                await other.driver.unlock([other.writer.held])  # its lock session breaks
        return await self._ask(me, step, confirmed=me.evidence)

    async def _send(self, me: Session, step: str, piece: Slice) -> list[Told]:
        """Send a slice, and the very same again: a retry after a lost reply."""
        told = []
        assert me.writer is not None
        for _ in range(2):
            outcome = await me.writer.send(piece)
            assert not isinstance(outcome, Parked)
            if isinstance(outcome, Committed):
                answer = "landed" if outcome.landed else "committed"
                assert outcome.record_no == piece.record_no_after
                told.append(Told(me.number, step, answer))
            else:
                assert isinstance(outcome, Stale), outcome
                told.append(Told(me.number, step, "stale", self.number(outcome.epoch)))
        if told[0].answer == "committed":
            me.writer.advance(piece)
        return told

    async def _write(self, me: Session, step: str) -> list[Told]:
        if me.writer is None:
            return [Told(me.number, step, "nothing to send")]
        task = f"task {me.number}"
        return await self._send(
            me, step, me.writer.slice(pending(task, b"w%d" % me.number, task_path=task))
        )

    async def _commit(self, me: Session, step: str) -> list[Told]:
        if me.writer is None:
            return [Told(me.number, step, "nothing to send")]
        under = me.writer.heads.get(0, 0)
        return await self._send(
            me, step, me.writer.slice(checkpoint(b"c%d" % me.number), drop=[(0, under)])
        )

    async def _renew(self, me: Session, step: str) -> list[Told]:
        told = Told(me.number, step, "nothing to renew")
        if me.writer is not None:
            [answer] = await me.driver.renew(me.worker, [me.writer.held], me.writer.lease_ttl_s)
            told = (
                Told(me.number, step, "renewed")
                if isinstance(answer, Renewed)
                else Told(me.number, step, "lost", self.number(answer.epoch))
            )
        seen = (await loaded(me.driver, self.key)).thread
        if seen is not None:
            me.evidence = seen.epoch, seen.beat
        return [told]

    async def _release(self, me: Session, step: str) -> list[Told]:
        if me.writer is not None:
            held: Held = me.writer.held
            await me.driver.release(me.worker, [held])
        return [Told(me.number, step, "released")]


async def play(
    order: Sequence[int], drivers: Sequence[Driver], key: ThreadKey | None = None
) -> Any:
    """Play one interleaving on a model and on drivers; every answer must be the model's.

    Returns:
        The transcript, and the thread as it stands in the end.
    """
    model, table = Model(), Table(drivers, key)
    done = [0] * len(drivers)
    transcript: list[Told] = []
    for session in order:
        step = STEPS[done[session]]
        done[session] += 1
        expected, told = model.step(session, step), await table.step(session, step)
        assert told == expected, f"{order}: {told} instead of {expected}, after {transcript}"
        transcript += told
        await check(model, table, order)
    return transcript, await seen(table)


async def seen(table: Table) -> Any:
    """The thread as any session reads it now, in terms that are the same on all drivers.

    The beat is none: a driver may move it with a release too, when nobody watches it.
    """
    found = await loaded(table.sessions[0].driver, table.key)
    row = found.thread
    if row is None:
        return None
    owner = next((s.number for s in table.sessions if s.worker == row.owner), None)
    epochs = [table.number(r.epoch) for r in found.rows]
    return (
        table.number(row.epoch), owner, row.record_no, bodies(found.rows), epochs,
        [r.record_no for r in found.rows], bodies(found.writes),
    )  # fmt: skip


async def check(model: Model, table: Table, order: Sequence[int]) -> None:
    """S1-S4 and S7 after a step: the database is what the model says, and nothing else."""
    now = await seen(table)
    if not model.exists:
        assert now is None, f"{order}: {now}"
        return
    epoch, owner, record_no, rows, epochs, numbers, writes = now
    assert (epoch, owner, record_no) == (model.claims, model.owner, model.record_no), order
    assert rows == model.bodies, f"{order}: {rows} instead of {model.bodies}"
    assert writes == model.filed, f"{order}: {writes} instead of {model.filed}"
    assert epochs == sorted(epochs), f"{order}: epochs fall"  # S1
    assert numbers == sorted(set(numbers)), f"{order}: a record is there twice"  # S3
    row = await thread_row(table.sessions[0].driver, table.key)
    assert row.checkpoints == len(rows), order
    if row.owner is not None:
        assert table.epochs[row.epoch] == owner, f"{order}: an epoch with two owners"  # S1

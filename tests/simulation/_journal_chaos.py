"""Journals of several processes under faults, and an oracle that knows what must be true.

Everything is drawn from one seed: what runs do, when they are cancelled, what the database
does to each call (error before, commit then error, late reply, no reply, a first attempt
that lands after its retry, a process cut off for longer than its lease, a kill).

A thread may stay owned by nobody's run when a run has ended, but only so long, and only for
these reasons: its process is dead, nobody answered to a release or to a claim until it was given
up, or a claim arrived after its caller had been told of its end. Then nothing renews it, and
a lease later whoever wants it has it at once. Every other row is free when its run has ended.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any

from stepwell._journal.handle import ThreadHandle
from stepwell._journal.journal import Journal
from stepwell._journal.slices import Ticket
from stepwell.checkpoint.driver import ThreadKey
from stepwell.errors import StorageError, ThreadBusyError, UsageError
from tests.simulation._journal_faults import CALM, LEASE_S, UNDER_WAY_S, Chaos, Plan
from tests.simulation._journal_world import (
    Database,
    Process,
    journal_on,
    key,
    opened,
    step,
    waited_for,
    write,
)
from tests.simulation._virtual import bury, simulate

BUDGET_S = 15.0


@dataclass
class Entry:
    """One append."""

    kind: str
    body: bytes
    ns: int
    seq: int
    ticket: Ticket
    drops: int | None = None
    task: str = ""

    @property
    def verdict(self) -> str:
        """What the ticket said: "ok", "none" (not written), "unknown", or "open"."""
        if not self.ticket.done() or self.ticket.cancelled():
            return "open"
        error = self.ticket.exception()
        if error is None:
            return "ok"
        return error.context["outcome"] if isinstance(error, StorageError) else "unknown"


@dataclass
class Log:
    """One claim and what was appended under it."""

    key: ThreadKey
    epoch: int
    entries: list[Entry] = field(default_factory=list)
    error: BaseException | None = None


class World:
    """The processes of one simulation and the log of all they did."""

    def __init__(self, seed: int, plan: Plan) -> None:
        self.seed = seed
        self.plan = plan
        self.rng = random.Random(seed)
        self.database = Database()
        self.logs: list[Log] = []
        self.problems: list[str] = []
        self.trace: list[str] = []
        self.bodies = 0
        self.killed: list[asyncio.Task[None]] = []
        self.owners: dict[bytes, Chaos] = {}
        """The processes by the names that rows have for them."""
        self.open: list[tuple[Journal, Chaos]] = []
        """Journals that have nothing to do any more."""

    # -- what runs do

    async def main(self) -> None:
        pairs = [await self.start(n) for n in range(self.plan.processes)]
        sides = [asyncio.ensure_future(self.side(n, *pair)) for n, pair in enumerate(pairs)]
        await asyncio.gather(*sides)
        await self.rest()
        for journal, _ in self.open:
            await journal.close()
        await self.verify()

    async def start(self, number: int) -> tuple[Journal, Chaos]:
        process = Chaos(self.database, self.plan, self.rng)
        process.trace = self.trace
        journal = journal_on(
            process, seed=self.seed * 10 + number, lease_ttl_s=LEASE_S, outage_budget_s=BUDGET_S,
            batch_rows_max=5, queue_rows_max=12,
        )  # fmt: skip
        await journal.open("auto")
        self.owners[journal.worker] = process
        return journal, process

    async def side(self, number: int, journal: Journal, process: Chaos) -> None:
        if self.plan.kill and self.rng.random() < 0.5:
            workers = self.workers(journal)
            await asyncio.sleep(self.rng.uniform(0, 20))
            process.kill()
            process.note("kill", str(number))
            self.killed += workers  # a dead process runs no clean-up: they stay where they are
            journal.forget()
            journal, process = await self.start(number + 100)
        await asyncio.gather(*self.workers(journal))
        process.plan = CALM
        process.cut_off_until = 0.0
        if self.rng.random() < 0.5:
            await journal.close()
        else:
            self.open.append((journal, process))

    def workers(self, journal: Journal) -> list[asyncio.Task[None]]:
        return [asyncio.ensure_future(self.worker(journal)) for _ in range(self.plan.workers)]

    async def worker(self, journal: Journal) -> None:
        for _ in range(self.plan.runs):
            run = asyncio.ensure_future(self.run(journal))
            if self.rng.random() < self.plan.cancel:
                pause = self.rng.uniform(0, self.rng.choice((0.01, 5.0)))
                asyncio.get_running_loop().call_later(pause, run.cancel)
            try:
                await run
            except asyncio.CancelledError:
                if not run.cancelled():
                    run.cancel()
                    await asyncio.gather(run, return_exceptions=True)
                    raise

    async def run(self, journal: Journal) -> None:
        rng = self.rng
        name = key(rng.randrange(self.plan.threads))
        acked = self.acknowledged(name)
        try:
            handle = await journal.acquire(name, timeout=rng.choice((None, None, 0, 20.0)))
        except (ThreadBusyError, StorageError, UsageError):
            return
        log = Log(name, handle.epoch)
        self.logs.append(log)
        there = {row.body for row in handle.loaded.rows}
        if not acked <= there:
            self.problems.append(f"{name}: acknowledged, but not loaded: {acked - there}")
        try:
            for _ in range(rng.randrange(1, 6)):
                await self.superstep(handle, log)
            if rng.random() < 0.5:
                self.checkpoint(handle, log, let_go=True)
            else:
                await handle.flushed()
        except (StorageError, UsageError) as error:
            log.error = error
        finally:
            await handle.release()

    async def superstep(self, handle: ThreadHandle, log: Log) -> None:
        rng, seq = self.rng, handle.head(0)
        await handle.fresh()
        for n in range(rng.randrange(4)):
            await handle.room()
            ticket = write(handle, seq, f"{n}", self.body())
            log.entries.append(Entry("write", self.last, 0, seq, ticket, task=f"{n}"))
            await self.pause(ticket)
        if rng.random() < 0.2:
            log.entries.append(Entry("status", b"", 0, 0, handle.append_status()))
        if rng.random() < 0.2:
            ns = handle.namespace(f"sub{rng.randrange(2)}")
            self.checkpoint(handle, log, ns=ns)
        await handle.room()
        await self.pause(self.checkpoint(handle, log, drops=seq))

    def checkpoint(self, handle: ThreadHandle, log: Log, **options: Any) -> Ticket:
        ns = options.get("ns", 0)
        # Some as a run appends them that waits for each.
        appending = waited_for if handle.record_no % 2 else step
        appended = appending(handle, self.body(), **options)
        log.entries.append(
            Entry("checkpoint", self.last, ns, appended.seq, appended.ticket, options.get("drops"))
        )
        return appended.ticket

    async def pause(self, ticket: Ticket) -> None:
        what = self.rng.random()
        if what < 0.3:
            await ticket
        elif what < 0.8:
            await asyncio.sleep(self.rng.choice((0, 0, 0.01, 0.5, 2.0, 9.0)))

    def body(self) -> bytes:
        self.bodies += 1
        self.last = b"%d" % self.bodies
        return self.last

    def acknowledged(self, name: ThreadKey) -> set[bytes]:
        return {
            entry.body
            for log in self.logs
            if log.key == name
            for entry in log.entries
            if entry.kind == "checkpoint" and entry.ns == 0 and entry.verdict == "ok"
        }

    # -- what must be true

    async def rest(self) -> None:
        """Nobody wants anything, and all is well: whatever is owned still must come free."""
        problems, rows = self.problems, self.database.rows._threads
        await asyncio.sleep(UNDER_WAY_S)
        for name, thread in rows.items():
            if thread.owner is not None and not self.owners[thread.owner].excuses(name, thread):
                problems.append(f"{name}: still owned")
        beats = {name: (thread.epoch, thread.beat) for name, thread in rows.items()}
        await asyncio.sleep(LEASE_S)
        for name, thread in rows.items():
            if (thread.epoch, thread.beat) != beats[name]:
                problems.append(f"{name}: renewed, and no run holds it")
        for journal, _ in self.open:
            _, left = await journal.drain("the end", 0.0)
            problems += [f"{name}: a run has ended, its claim has not" for name in left]
        async with opened(Process(self.database), seed=self.seed) as other:
            for name in list(rows):
                try:
                    handle = await other.acquire(name, timeout=0.1)
                except ThreadBusyError:
                    problems.append(f"{name}: not to be had, a lease after the last run")
                else:
                    await handle.release()

    async def verify(self) -> None:
        for number in range(self.plan.threads):
            if key(number) in self.database.rows._threads:
                await self.verify_thread(key(number))
        for log in self.logs:
            self.verify_log(log)
        if self.database.locks:
            self.problems.append(f"locks left: {self.database.locks}")

    def verify_log(self, log: Log) -> None:
        verdicts = [entry.verdict for entry in log.entries if entry.verdict != "open"]
        if "ok" in verdicts[len([v for v in verdicts if v == "ok"]) :]:
            self.problems.append(f"{log.key}: acknowledged behind a failure: {verdicts}")
        if not self.plan.fault and log.error is not None:
            self.problems.append(f"{log.key}: fenced although nothing went wrong: {log.error!r}")

    async def verify_thread(self, name: ThreadKey) -> None:
        problems = self.problems
        thread = self.database.rows._threads[name]
        logs = {log.epoch: log for log in self.logs if log.key == name}
        spaces = {0: thread.root, **(thread.spaces or {})}
        rows = [row for space in spaces.values() for row in space.rows]
        there = {row.body for row in rows}
        for space in spaces.values():
            epochs = [row.epoch for row in space.rows]
            if epochs != sorted(epochs):
                problems.append(f"{name}: epochs fall: {epochs}")
        if len(there) != len(rows):
            problems.append(f"{name}: a record is there twice")
        for epoch, log in logs.items():
            made = [entry for entry in log.entries if entry.kind == "checkpoint"]
            written = [entry.body in there for entry in made]
            if written != sorted(written, reverse=True):
                problems.append(f"{name}: epoch {epoch}: not a prefix: {written}")
            for entry, is_there in zip(made, written, strict=True):
                if entry.verdict == "ok" and not is_there:
                    problems.append(f"{name}: acknowledged record {entry.body!r} is lost")
                if entry.verdict == "none" and is_there:
                    problems.append(f"{name}: record {entry.body!r} said not to be written")
        made = [entry for log in self.logs if log.key == name for entry in log.entries]
        self.verify_writes(name, made, there)

    def verify_writes(self, name: ThreadKey, entries: list[Entry], there: set[bytes]) -> None:
        thread = self.database.rows._threads[name]
        filed = thread.writes or {}
        passed = {
            (entry.ns, entry.drops)
            for entry in entries
            if entry.drops is not None and entry.body in there
        }
        for place in passed & set(filed):
            self.problems.append(f"{name}: writes of {place} outlived their barrier")
        slots: dict[tuple[int, int, str], list[Entry]] = {}
        for entry in entries:
            if entry.kind == "write":
                slots.setdefault((entry.ns, entry.seq, entry.task), []).append(entry)
        for (ns, seq, task), made in slots.items():
            found = {row.body for row in filed.get((ns, seq), {}).values()}
            for entry in made:
                if entry.verdict == "none" and entry.body in found:
                    self.problems.append(f"{name}: write {entry.body!r} said not to be written")
            acked = [n for n, entry in enumerate(made) if entry.verdict == "ok"]
            # The newest acknowledged row of the slot, or one that came after it.
            valid = {entry.body for entry in made[acked[-1] :]} if acked else found
            if (ns, seq) not in passed and valid and not found & valid:
                self.problems.append(f"{name}: acknowledged write of {task} at {seq} is lost")


def simulation(seed: int, plan: Plan | None = None) -> World:
    """Run one seed to its end; the world with its problems and its trace."""
    world = World(seed, plan or Plan())

    async def main() -> None:
        await asyncio.wait_for(world.main(), 5000)
        await bury()

    simulate(main())
    return world

"""A process of a simulation whose calls of the database go wrong, as a seed has drawn it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from stepwell.checkpoint.driver import (
    Busy,
    Claim,
    ClaimRequest,
    CommitOutcome,
    Failed,
    Held,
    Parked,
    Slice,
    ThreadKey,
)
from stepwell.checkpoint.memory._rows import Thread
from stepwell.errors import StorageError
from tests.simulation._journal_world import Database, Process, unavailable

LEASE_S = 6.0
# No fault keeps a call for longer: cut off, then without a reply.
UNDER_WAY_S = 2 * LEASE_S + 5.0
FAULTY = ("claim", "commit", "renew", "release", "unlock", "want", "landed", "load")


@dataclass
class Plan:
    """How much goes wrong."""

    processes: int = 2
    threads: int = 3
    workers: int = 3
    runs: int = 6
    fault: float = 0.15
    cut_off: float = 0.02
    cancel: float = 0.1
    kill: bool = True
    late: bool = True


CALM = Plan(fault=0.0, cut_off=0.0, kill=False, late=False)
ROUGH = Plan(fault=0.3, kill=False)
HOPELESS = Plan(fault=0.6, cut_off=0.2, cancel=0.9, kill=False)
"""So much fails that claims and releases are given up."""


class Chaos(Process):
    """A process whose calls go wrong by chance."""

    def __init__(self, database: Database, plan: Plan, rng: random.Random) -> None:
        super().__init__(database)
        self.plan = plan
        self.rng = rng
        self.cut_off_until = 0.0
        self.trace: list[str] = []
        self.astray: set[tuple[ThreadKey, int]] = set()
        """Claims that arrived when nobody could be told of them any more."""
        self.unanswered: dict[ThreadKey, list[float]] = {}
        """When the last claims of a thread failed, with no answer since."""
        self.failed: dict[str, set[Held]] = {"release": set(), "unlock": set()}
        """Claims whose end was asked for without an answer, the last time that it was."""

    async def call(
        self,
        verb: str,
        do: Callable[[], Coroutine[Any, Any, Any]],
        sent: Callable[[], Callable[[], Coroutine[Any, Any, Any]]] | None = None,
    ) -> Any:
        """`sent`: what is on its way after a first attempt that is still to arrive."""
        plan, rng, loop = self.plan, self.rng, asyncio.get_running_loop()
        if self.dead:
            await asyncio.Event().wait()
        if rng.random() < plan.cut_off:
            self.cut_off_until = max(self.cut_off_until, loop.time() + rng.uniform(1, 2 * LEASE_S))
            self.note(verb, "cut off")
        if loop.time() < self.cut_off_until:
            await asyncio.sleep(self.cut_off_until - loop.time())
        if rng.random() >= plan.fault:
            await asyncio.sleep(rng.choice((0.0, 0.0, 0.001, 0.01)))
            return await do()
        fault = rng.choice(("none", "unknown", "after", "slow", "slow reply", "no reply", "late"))
        self.note(verb, fault)
        if fault == "none":
            raise unavailable("none")
        if fault == "unknown":
            raise unavailable("unknown")
        if fault == "late" and plan.late:
            late = do if sent is None else sent()
            loop.create_task(self._later(rng.uniform(0.01, 3.0), late))
            raise unavailable("unknown")
        if fault == "slow":
            await asyncio.sleep(rng.uniform(0.1, 3.0))
        answer = await do()
        if fault == "slow reply":
            await asyncio.sleep(rng.uniform(0.1, 3.0))
        if fault == "no reply":
            await asyncio.sleep(5.0)
        if fault in ("after", "no reply"):
            raise unavailable("unknown")
        return answer

    async def _later(self, pause: float, do: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        await asyncio.sleep(pause)
        if not self.dead:
            await do()

    async def claim(self, requests: Sequence[ClaimRequest]) -> list[Claim | Busy]:
        """As drivers claim: when it fails, its locks are given back, whatever has come of it."""
        now = asyncio.get_running_loop().time
        won: list[Claim] = []

        async def do() -> list[Claim | Busy]:
            answers = await Process.claim(self, requests)
            won.extend(answer for answer in answers if isinstance(answer, Claim))
            return answers

        try:
            answers = await self.call("claim", do, lambda: self._claims_under_way(requests))
        except BaseException:
            for claim in won:
                self.database.locks.pop(claim.lock_key, None)
            for request in requests:
                self.unanswered.setdefault(request.key, []).append(now())
            raise
        for request in requests:
            self.unanswered.pop(request.key, None)
        return answers

    def _claims_under_way(
        self, requests: Sequence[ClaimRequest]
    ) -> Callable[[], Coroutine[Any, Any, None]]:
        """A statement that claims names the epoch that was read before it was sent. So it does
        nothing if it arrives after any other claim, one of its own worker too."""
        database = self.database
        sent = [(r, database.epoch(r.key)) for r in requests if database.may_claim(r)]

        async def arrive() -> None:
            still = [request for request, epoch in sent if database.epoch(request.key) == epoch]
            for answer in await Process.claim(self, still):
                if isinstance(answer, Claim):
                    self.note("claim", "astray")
                    self.astray.add((answer.key, answer.epoch))
                    database.locks.pop(answer.lock_key, None)

        return arrive

    async def release(self, worker: bytes, held: Sequence[Held]) -> None:
        await self._end("release", held, lambda: Process.release(self, worker, held))

    async def unlock(self, held: Sequence[Held]) -> None:
        await self._end("unlock", held, lambda: Process.unlock(self, held))

    async def _end(
        self, verb: str, held: Sequence[Held], do: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self.failed[verb].update(held)
        await self.call(verb, do)
        self.failed[verb].difference_update(held)

    def excuses(self, key: ThreadKey, thread: Thread) -> bool:
        """Whether a row that names us although no run holds it can be no other way."""
        tries = self.unanswered.get(key, [0.0])
        return (
            self.dead
            or (key, thread.epoch) in self.astray
            or any((key, thread.epoch) == held[:2] for held in self.failed["release"])
            or tries[-1] - tries[0] >= LEASE_S - 0.001
        )

    async def _commit(self, piece: Slice) -> CommitOutcome:
        if self.rng.random() < self.plan.fault / 10:
            self.note("commit", "poison")
            return Failed(StorageError("a value that no row can hold"))
        if self.rng.random() < self.plan.fault:
            self.note("commit", "parked")
            return Parked()
        return await super()._commit(piece)

    async def close(self) -> None:
        await super().close()
        for held in self.failed["unlock"]:
            # Nobody answered until it was given up: they end with the connection.
            self.database.locks.pop(held.lock_key, None)

    def note(self, verb: str, what: str) -> None:
        self.trace.append(f"{asyncio.get_running_loop().time():.4f} {verb} {what}")


def _with_faults(verb: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    plain = getattr(Process, verb)

    async def call(self: Chaos, *args: Any) -> Any:
        return await self.call(verb, lambda: plain(self, *args))

    return call


for _verb in FAULTY:
    if _verb not in vars(Chaos):
        setattr(Chaos, _verb, _with_faults(_verb))

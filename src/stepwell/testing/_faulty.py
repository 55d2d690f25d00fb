"""A driver that fails on purpose, at calls that a plan names."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeVar, cast

from stepwell.checkpoint.driver import (
    Ask,
    BackupDriver,
    Busy,
    Capability,
    Claim,
    ClaimRequest,
    CommitOutcome,
    Driver,
    Held,
    HistoryPage,
    Layout,
    Loaded,
    LoadRequest,
    Lost,
    Relayout,
    Renewed,
    RowKind,
    RunRow,
    Slice,
    Snapshot,
    Tally,
    TallyQuery,
    ThreadKey,
    ThreadPart,
    ThreadQuery,
    ThreadRow,
    Vitals,
)
from stepwell.errors import StorageUnavailableError, UsageError

T = TypeVar("T")

ANY = "any"
"""In place of a verb: the number counts calls of all verbs together."""

VERBS = (
    "open", "close", "migrate", "claim", "commit", "renew", "release", "unlock", "want",
    "ask", "free_locks", "landed", "load", "history", "threads", "namespaces", "runs",
    "keyed_run", "delete", "layout", "write_segments", "prune", "set_ttl", "reclaim",
    "tally", "vitals", "runs_numbered", "page", "described",
)  # fmt: skip

BACKUP_VERBS = ("snapshot", "restore", "mark", "reseal", "strays")
"""Of drivers that declare `ONLINE_BACKUP`; a snapshot counts when it begins."""


class Fault(StrEnum):
    """What happens at a call that a plan names."""

    FAIL = "fail"
    """The call raises; the driver is not reached."""
    COMMIT_THEN_FAIL = "commit_then_fail"
    """The driver does it, and the call raises: the outcome is unknown to the caller."""
    DELAY = "delay"
    """The driver is reached later."""
    CANCEL = "cancel"
    """The task that makes the call is cancelled, before or after the driver does it."""
    DROP = "drop"
    """The driver does it, and the reply never comes, until the plan hangs up."""
    ACT = "act"
    """A coroutine function of the test runs first, or last; the call itself goes well."""


@dataclass(slots=True, frozen=True, kw_only=True)
class FaultRule:
    """One fault: at calls `at` .. `at + times - 1` of `verb`, counted from 1."""

    verb: str
    at: int
    fault: Fault
    times: int = 1
    delay_s: float = 0.0
    done_first: bool = False
    error: Callable[[], BaseException] | None = None
    action: Callable[[], Awaitable[object]] | None = None


class FaultPlan:
    """Which calls go wrong, and how; it also keeps count of what was called.

    Every method that adds a fault returns the plan, so that a plan reads as a sentence::

        plan = FaultPlan().fail("claim", at=1).commit_then_fail("commit", at=2, times=3)

    Where several faults name a call, the one that was added first happens.

    Attributes:
        calls: Calls made so far by verb, and under "any" of all verbs.
        fired: The faults that have happened: (verb, number of the call, fault).

    Args:
        sleep: Waits for a number of seconds; a simulation gives that of its own clock.
    """

    def __init__(self, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self.sleep = sleep
        self.calls: Counter[str] = Counter()
        self.fired: list[tuple[str, int, Fault]] = []
        self._rules: list[FaultRule] = []
        self._reached: set[int] = set()
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, rule: FaultRule) -> FaultPlan:
        """Add a rule.

        Raises:
            UsageError: The verb or the number names a call that can never be made.
        """
        verbs = (*VERBS, *BACKUP_VERBS)
        if rule.verb not in (ANY, *verbs):
            raise UsageError(f"A driver has no verb {rule.verb!r}; there are: {', '.join(verbs)}.")
        if rule.at < 1 or rule.times < 1:
            raise UsageError("Calls are counted from 1, and a fault happens at least once.")
        self._rules.append(rule)
        return self

    def fail(
        self,
        verb: str,
        at: int,
        *,
        times: int = 1,
        outcome: Literal["none", "unknown"] = "none",
        error: Callable[[], BaseException] | None = None,
    ) -> FaultPlan:
        """Raise `error()`, or `StorageUnavailableError` with `outcome`; nothing is done."""
        error = error or (lambda: unavailable(outcome))
        return self.add(FaultRule(verb=verb, at=at, fault=Fault.FAIL, times=times, error=error))

    def commit_then_fail(
        self,
        verb: str,
        at: int,
        *,
        times: int = 1,
        error: Callable[[], BaseException] | None = None,
    ) -> FaultPlan:
        """Do it, then raise `error()`, or `StorageUnavailableError` with outcome "unknown"."""
        error = error or (lambda: unavailable("unknown"))
        return self.add(
            FaultRule(verb=verb, at=at, fault=Fault.COMMIT_THEN_FAIL, times=times, error=error)
        )

    def delay(self, verb: str, at: int, seconds: float, *, times: int = 1) -> FaultPlan:
        """Wait before doing it."""
        return self.add(
            FaultRule(verb=verb, at=at, fault=Fault.DELAY, times=times, delay_s=seconds)
        )

    def cancel(self, verb: str, at: int, *, done_first: bool = False) -> FaultPlan:
        """Cancel the calling task, before the driver is reached or after it has done it."""
        return self.add(FaultRule(verb=verb, at=at, fault=Fault.CANCEL, done_first=done_first))

    def drop(self, verb: str, at: int, *, times: int = 1) -> FaultPlan:
        """Do it and never answer, as a connection does whose other end is gone."""
        return self.add(FaultRule(verb=verb, at=at, fault=Fault.DROP, times=times))

    def act(
        self,
        verb: str,
        at: int,
        action: Callable[[], Awaitable[object]],
        *,
        done_first: bool = False,
    ) -> FaultPlan:
        """Run `action` just before (or after) the driver does it: steal a lease, close a file."""
        return self.add(
            FaultRule(verb=verb, at=at, fault=Fault.ACT, action=action, done_first=done_first)
        )

    def unreached(self) -> list[FaultRule]:
        """Rules whose call was never made: a test that expects its faults looks here."""
        return [rule for n, rule in enumerate(self._rules) if n not in self._reached]

    def hang_up(self) -> None:
        """Answer every dropped call with `StorageUnavailableError`, outcome "unknown"."""
        waiting, self._waiting = self._waiting, []
        for reply in waiting:
            if not reply.done():
                reply.set_exception(unavailable("unknown"))

    def next_fault(self, verb: str) -> FaultRule | None:
        """Count a call of `verb`; the fault that happens at it."""
        self.calls[verb] += 1
        self.calls[ANY] += 1
        for n, rule in enumerate(self._rules):
            if rule.verb in (verb, ANY):
                number = self.calls[rule.verb]
                if rule.at <= number < rule.at + rule.times:
                    self._reached.add(n)
                    self.fired.append((verb, self.calls[verb], rule.fault))
                    return rule
        return None

    async def no_reply(self) -> None:
        """Wait until the plan hangs up, or until the caller gives up."""
        reply: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(reply)
        await reply


def unavailable(outcome: Literal["none", "unknown"]) -> StorageUnavailableError:
    """The error of a lost connection: was nothing written, or is that not known?"""
    return StorageUnavailableError(f"planned fault, outcome {outcome}", outcome=outcome)


class FaultyDriver:
    """Stands before any driver and does what `plan` says; otherwise it is that driver.

    Calls are counted when they are made, before the driver is reached. `forget` is passed on
    and never fails: it touches nothing that could.
    """

    def __init__(self, driver: Driver, plan: FaultPlan) -> None:
        self.driver = driver
        self.plan = plan
        self.name: str = driver.name
        self.capabilities: frozenset[Capability] = driver.capabilities

    async def _call(self, verb: str, do: Callable[[], Awaitable[T]]) -> T:
        rule = self.plan.next_fault(verb)
        if rule is None:
            return await do()
        if rule.fault is Fault.FAIL:
            raise _error_of(rule)
        if rule.fault is Fault.CANCEL and not rule.done_first:
            await _cancel_caller()
        if rule.fault is Fault.DELAY:
            await self.plan.sleep(rule.delay_s)
        if rule.action is not None and not rule.done_first:
            await rule.action()
        reply = await do()
        if rule.fault is Fault.COMMIT_THEN_FAIL:
            raise _error_of(rule)
        if rule.fault is Fault.CANCEL:
            await _cancel_caller()
        if rule.fault is Fault.DROP:
            await self.plan.no_reply()
        if rule.action is not None and rule.done_first:
            await rule.action()
        return reply

    async def open(self) -> None:
        """As the driver behind it, unless the plan says otherwise; so are all verbs."""
        await self._call("open", self.driver.open)

    async def close(self) -> None:
        """See `Driver.close`."""
        await self._call("close", self.driver.close)

    def forget(self) -> None:
        """See `Driver.forget`."""
        self.driver.forget()

    async def migrate(self, mode: Literal["auto", "check", "off"]) -> None:
        """See `Driver.migrate`."""
        await self._call("migrate", lambda: self.driver.migrate(mode))

    async def claim(self, requests: Sequence[ClaimRequest]) -> list[Claim | Busy]:
        """See `Driver.claim`."""
        return await self._call("claim", lambda: self.driver.claim(requests))

    async def commit(self, batch: Sequence[Slice]) -> list[CommitOutcome]:
        """See `Driver.commit`."""
        return await self._call("commit", lambda: self.driver.commit(batch))

    async def renew(
        self, worker: bytes, held: Sequence[Held], lease_ttl_s: float
    ) -> list[Renewed | Lost]:
        """See `Driver.renew`."""
        return await self._call("renew", lambda: self.driver.renew(worker, held, lease_ttl_s))

    async def release(self, worker: bytes, held: Sequence[Held]) -> None:
        """See `Driver.release`."""
        await self._call("release", lambda: self.driver.release(worker, held))

    async def unlock(self, held: Sequence[Held]) -> None:
        """See `Driver.unlock`."""
        await self._call("unlock", lambda: self.driver.unlock(held))

    async def want(self, keys: Sequence[ThreadKey]) -> None:
        """See `Driver.want`."""
        await self._call("want", lambda: self.driver.want(keys))

    async def ask(self, asks: Sequence[Ask]) -> list[bool]:
        """See `Driver.ask`."""
        return await self._call("ask", lambda: self.driver.ask(asks))

    async def free_locks(self, lock_keys: Sequence[int]) -> list[bool]:
        """See `Driver.free_locks`."""
        return await self._call("free_locks", lambda: self.driver.free_locks(lock_keys))

    async def landed(self, key: ThreadKey, record_no: int, epoch: int) -> bool:
        """See `Driver.landed`."""
        return await self._call("landed", lambda: self.driver.landed(key, record_no, epoch))

    async def load(self, requests: Sequence[LoadRequest]) -> list[Loaded]:
        """See `Driver.load`."""
        return await self._call("load", lambda: self.driver.load(requests))

    async def history(
        self,
        key: ThreadKey,
        ns_name: str,
        upto: int | None,
        *,
        since: int = 1,
        current: bool = False,
    ) -> HistoryPage:
        """See `Driver.history`."""
        return await self._call(
            "history",
            lambda: self.driver.history(key, ns_name, upto, since=since, current=current),
        )

    async def page(
        self, key: ThreadKey, ns_name: str, upto: int | None, limit: int, *, current: bool = False
    ) -> HistoryPage:
        """See `Driver.page`."""
        return await self._call(
            "page", lambda: self.driver.page(key, ns_name, upto, limit, current=current)
        )

    async def layout(self, key: ThreadKey, ns_name: str) -> Layout:
        """See `Driver.layout`."""
        return await self._call("layout", lambda: self.driver.layout(key, ns_name))

    async def threads(self, query: ThreadQuery) -> list[ThreadRow]:
        """See `Driver.threads`."""
        return await self._call("threads", lambda: self.driver.threads(query))

    async def namespaces(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[tuple[int, str, int]]:
        """See `Driver.namespaces`."""
        return await self._call(
            "namespaces", lambda: self.driver.namespaces(key, after=after, limit=limit)
        )

    async def runs(
        self, key: ThreadKey, *, after: int | None = None, limit: int = 100
    ) -> list[RunRow]:
        """See `Driver.runs`."""
        return await self._call("runs", lambda: self.driver.runs(key, after=after, limit=limit))

    async def runs_numbered(self, names: Sequence[tuple[ThreadKey, int]]) -> list[RunRow | None]:
        """See `Driver.runs_numbered`."""
        return await self._call("runs_numbered", lambda: self.driver.runs_numbered(names))

    async def described(self, keys: Sequence[ThreadKey]) -> list[RunRow | None]:
        """See `Driver.described`."""
        return await self._call("described", lambda: self.driver.described(keys))

    async def keyed_run(self, key: ThreadKey, idempotency_key: str) -> RunRow | None:
        """See `Driver.keyed_run`."""
        return await self._call("keyed_run", lambda: self.driver.keyed_run(key, idempotency_key))

    async def delete(self, claim: Held, worker: bytes) -> bool:
        """See `Driver.delete`."""
        return await self._call("delete", lambda: self.driver.delete(claim, worker))

    async def write_segments(self, change: Relayout) -> bool:
        """See `Driver.write_segments`."""
        return await self._call("write_segments", lambda: self.driver.write_segments(change))

    async def prune(self, claim: Held, worker: bytes, change: Relayout) -> bool:
        """See `Driver.prune`."""
        return await self._call("prune", lambda: self.driver.prune(claim, worker, change))

    async def set_ttl(self, key: ThreadKey, ttl_s: float | None) -> bool:
        """See `Driver.set_ttl`."""
        return await self._call("set_ttl", lambda: self.driver.set_ttl(key, ttl_s))

    async def reclaim(self) -> int:
        """See `Driver.reclaim`."""
        return await self._call("reclaim", self.driver.reclaim)

    @property
    def unfinished(self) -> str | None:
        """See `BackupDriver.unfinished`."""
        return cast("BackupDriver", self.driver).unfinished

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """See `BackupDriver.snapshot`."""
        async with AsyncExitStack() as stack:
            making = cast("BackupDriver", self.driver).snapshot()
            yield await self._call("snapshot", lambda: stack.enter_async_context(making))

    async def restore(self, parts: Sequence[ThreadPart], gone: Sequence[ThreadKey] = ()) -> None:
        """See `BackupDriver.restore`."""
        driver = cast("BackupDriver", self.driver)
        await self._call("restore", lambda: driver.restore(parts, gone))

    async def mark(self, note: str | None) -> None:
        """See `BackupDriver.mark`."""
        await self._call("mark", lambda: cast("BackupDriver", self.driver).mark(note))

    async def tally(self, query: TallyQuery) -> list[Tally]:
        """See `Driver.tally`."""
        return await self._call("tally", lambda: self.driver.tally(query))

    async def vitals(self) -> Vitals:
        """See `Driver.vitals`."""
        return await self._call("vitals", self.driver.vitals)

    async def reseal(self, worker: bytes, changes: Sequence[tuple[Held, ThreadPart]]) -> list[bool]:
        """See `BackupDriver.reseal`."""
        driver = cast("BackupDriver", self.driver)
        return await self._call("reseal", lambda: driver.reseal(worker, changes))

    async def strays(self, *, remove: bool = False) -> dict[RowKind, int]:
        """See `BackupDriver.strays`."""
        driver = cast("BackupDriver", self.driver)
        return await self._call("strays", lambda: driver.strays(remove=remove))


def _error_of(rule: FaultRule) -> BaseException:
    return unavailable("unknown") if rule.error is None else rule.error()


async def _cancel_caller() -> None:
    """Cancel the running task; the cancellation arrives at this very await."""
    task = asyncio.current_task()
    if task is not None:
        task.cancel()
    await asyncio.sleep(0)

"""One opened journal: its lane, its lines, its claims, its heartbeat."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from stepwell._journal.batcher import Lane
from stepwell._journal.bound import Bound
from stepwell._journal.folding import Folder, Growth
from stepwell._journal.gather import Gather
from stepwell._journal.handle import ThreadHandle
from stepwell._journal.heads import head_of
from stepwell._journal.heartbeat import Heartbeat
from stepwell._journal.lineup import Lineups, Turn, busy_here, reentrant
from stepwell._journal.lost import stale_writer
from stepwell._journal.options import Surroundings
from stepwell._journal.outage import persist
from stepwell._journal.outbox import Outbox
from stepwell._journal.ownership import Claimer, Wish, Won
from stepwell.checkpoint.driver import Held, LoadRequest, Relayout, ThreadKey
from stepwell.errors import StaleWriterError, StorageError, ThreadBusyError, UsageError
from stepwell.observe import LoadFinished, LockWaited

_log = logging.getLogger("stepwell.lock")

_NESTED_WAIT_MAX_S = 30.0

_forgotten: list[object] = []


class Backlog(NamedTuple):
    """What is on its way to the database: records, how many claims are held, and for how long
    the oldest record has been due."""

    rows: int
    claims: int
    oldest_s: float


class Core:
    """Everything that lives between `open` and `close`; see `Journal` for the promises."""

    def __init__(self, surroundings: Surroundings) -> None:
        options = surroundings.options
        self._around = surroundings
        self._loop = asyncio.get_running_loop()
        self._bound = Bound(options.queue_rows_max, options.queue_bytes_max)
        self._lane = Lane(surroundings)
        self._lines = Lineups()
        self._unlocks: Gather[Held, None] = Gather(self._unlock_all)
        self._claimer = Claimer(surroundings, self._lines, self._unlocks.submit)
        self._handles: dict[ThreadKey, ThreadHandle] = {}
        self._heart = Heartbeat(surroundings, lambda: tuple(self._handles.values()))
        self.launch = self._lane.launch
        """See `ThreadHandle.append_row`."""
        self.push = self._lane.push
        """See `ThreadHandle.push`."""
        self.doubts = self._heart.doubts
        """See `ThreadHandle.doubtful`."""
        self.folder = Folder(surroundings)
        """Folds what has grown, in the background."""
        self._tasks: set[asyncio.Task[object]] = set()
        self.draining: str | None = None
        """Why no root run may begin any more, once that is so."""
        self._beginning: set[asyncio.Timeout] = set()
        """The waits of those who want a thread and hold none."""
        self._emptied: asyncio.Event | None = None
        """Set when the last claim ends; only there while somebody drains."""

    # -- claiming

    async def acquire(self, key: ThreadKey, wish: Wish, timeout: float | None) -> ThreadHandle:
        """See `Journal.acquire`. Of `wish.mine`, claims that were let go do not count."""
        self._claimer.check_open()
        clock = self._around.clock
        began = clock.monotonic()
        held = [handle for handle in wish.mine if not handle.turn.passed_on]
        if self.draining is not None and not held:
            raise self._no_more(key)
        mine = [handle.turn for handle in held]
        self._refuse_reentry(key, mine)
        wait = wish.wait and (timeout is None or timeout > 0)
        if mine:
            timeout = _NESTED_WAIT_MAX_S if timeout is None else min(timeout, _NESTED_WAIT_MAX_S)
        deadline = began + timeout if wait and timeout is not None else None
        if (wait, deadline, held) != (wish.wait, wish.deadline, wish.mine):
            wish = wish._replace(wait=wait, deadline=deadline, mine=held)
        turn = self._lines.try_take(key)
        lined_up = turn is None
        won: Won | None = None
        for own in mine:
            own.awaits.append(key)
        try:
            if mine:
                if turn is None:
                    turn = await self._line_up(key, mine, wish)
                won = await self._claimer.claim(turn, wish)
            else:
                won, turn = await self._claim_first(key, turn, wish)
        finally:
            for own in mine:
                own.awaits.remove(key)
            if self._around.observers and (won is None or lined_up or won.waited):
                self._around.observers(
                    LockWaited(
                        thread_id=key.thread_id,
                        waited_s=clock.monotonic() - began,
                        won=won is not None,
                        taken_over=won is not None and won.claim.taken_over,
                    )
                )
        handle = self._register(won, turn)
        if self._around.observers:
            loaded = won.claim.loaded
            self._around.observers(
                LoadFinished(
                    thread_id=key.thread_id, ns=wish.load_ns, verb="claim",
                    rows=len(loaded.rows), segments=len(loaded.segments),
                    duration_s=clock.monotonic() - won.sent_at,
                )
            )  # fmt: skip
        return handle

    async def _claim_first(self, key: ThreadKey, turn: Turn | None, wish: Wish) -> tuple[Won, Turn]:
        """Claim for somebody who holds no thread yet: who drains sends him away.

        Raises:
            ThreadBusyError: As of `acquire`; or the journal drains.
        """
        wait = asyncio.timeout(None)
        self._beginning.add(wait)
        try:
            async with wait:
                if turn is None:
                    turn = await self._line_up(key, (), wish)
                return await self._claimer.claim(turn, wish), turn
        except TimeoutError:
            if not wait.expired():
                raise
            raise self._no_more(key) from None
        finally:
            self._beginning.discard(wait)

    def check_begins(self) -> None:
        """See `Journal.check_begins`."""
        if self.draining is not None:
            raise self._no_more(None)

    def _no_more(self, key: ThreadKey | None) -> ThreadBusyError:
        where = "" if key is None else f" on thread {key.thread_id!r}"
        msg = (
            f"This process drains ({self.draining}) and begins nothing new{where}: call again "
            "elsewhere, or when its saver was opened again."
        )
        thread_id = None if key is None else key.thread_id
        return ThreadBusyError(
            msg, thread_id=thread_id, code="draining", owner=self._around.worker.hex()
        )

    def _refuse_reentry(self, key: ThreadKey, mine: Sequence[Turn]) -> None:
        holder = self._lines.holder(key)
        for turn in mine:
            # A turn of another journal is one of another database, or shows when we claim.
            if turn is holder:
                raise reentrant(turn, self._around.worker)

    async def _line_up(self, key: ThreadKey, mine: Sequence[Turn], wish: Wish) -> Turn:
        name, worker = key.thread_id, self._around.worker
        holder = self._lines.holder(key)
        if holder is not None:
            if mine and self._lines.would_wait_for_itself(key, mine):
                msg = f"Waiting for thread {name!r} would close a circle of runs that wait."
                raise busy_here(holder, worker, msg, "cycle")
            if not wish.wait:
                msg = f"Thread {name!r} is held by another run of this process."
                raise busy_here(holder, worker, msg, "held")
        if wish.demand is not None:
            self.ask(key, wish.demand.text)
        deadline = wish.deadline
        left = None if deadline is None else deadline - self._around.clock.monotonic()
        try:
            async with asyncio.timeout(left):
                return await self._lines.take(key, wish.demand)
        except TimeoutError as error:
            holder = self._lines.holder(key) or Turn(key)
            msg = f"Thread {name!r} did not become free in time."
            raise busy_here(holder, worker, msg, "timeout") from error

    def _register(self, won: Won, turn: Turn) -> ThreadHandle:
        claim = won.claim
        outbox = Outbox(
            claim.loaded,
            key=claim.key,
            epoch=claim.epoch,
            owner=self._around.worker,
            record_no=claim.record_no,
            ttl_s=self._around.options.lease_ttl_s,
            renewed_at=won.sent_at,
            bound=self._bound,
            enqueue=self._lane.enqueue,
        )
        handle = ThreadHandle(claim, outbox, bound=self._bound, keeper=self, turn=turn)
        handle.known, handle.keeps = won.head, self._claimer.heads is not None
        self._handles[claim.key] = handle
        name_of = handle.namer()
        loaded = claim.loaded
        rows = won.head.tail if won.head is not None and loaded.newest_only else len(loaded.rows)
        outbox.growth = Growth(
            loaded.ns, rows, lambda ns: self.folder.submit(claim.key, name_of(ns))
        )
        if (demand := self._lines.demand(claim.key)) is not None:
            outbox.notice(demand.text, wanted=False)
        self._heart.start()
        return handle

    def ask(self, key: ThreadKey, request: str, epoch: int | None = None) -> bool:
        """See `Journal.ask`; with an `epoch`, only the owner under that one is asked."""
        handle = self._handles.get(key)
        if handle is None or handle.outbox.closed or epoch not in (None, handle.epoch):
            return False
        handle.outbox.notice(request, wanted=False)
        return True

    def backlog(self) -> Backlog:
        """See `Journal.backlog`."""
        oldest = self._around.clock.monotonic()
        now = oldest
        for handle in self._handles.values():
            outbox = handle.outbox
            if outbox.sent is not None:
                oldest = min(oldest, outbox.sent.since)
            elif outbox.pending:
                oldest = min(oldest, outbox.ready_at)
        return Backlog(self._bound.rows, len(self._handles), now - oldest)

    async def settled(self, key: ThreadKey, seconds: float) -> None:
        """See `Journal.settled`."""
        handle = self._handles.get(key)
        if handle is None or handle.record_no == handle.durable_no:
            return
        handle.push()
        if handle.record_no == handle.durable_no:
            return
        with suppress(TimeoutError):  # the reader is shown what is there
            async with asyncio.timeout(seconds):
                await handle.outbox.settled()

    async def drain(self, reason: str, timeout_s: float) -> tuple[list[ThreadKey], list[ThreadKey]]:
        """See `Journal.drain`."""
        self.draining = reason
        for wait in tuple(self._beginning):
            wait.reschedule(self._loop.time())
        held = tuple(self._handles.values())
        for handle in held:
            handle.drain(reason)
        self._emptied = self._emptied or asyncio.Event()
        with suppress(TimeoutError):  # the report says who still runs
            async with asyncio.timeout(timeout_s):
                while self._handles:
                    self._emptied.clear()
                    await self._emptied.wait()
        left = [handle.key for handle in held if self._handles.get(handle.key) is handle]
        return [handle.key for handle in held if handle.key not in left], left

    # -- what handles ask for

    async def fresh(self, handle: ThreadHandle) -> None:
        """See `ThreadHandle.fresh`."""
        await self._heart.fresh(handle)

    async def give_back(self, handle: ThreadHandle) -> None:
        """See `ThreadHandle.release`."""
        if handle.releasing is None:
            if handle.turn.passed_on:
                return
            outbox = handle.outbox
            if outbox.let_go_done and outbox.sent is None:
                self._part(handle, unlock=True)
                return
            handle.releasing = self._loop.create_task(self._give_back(handle))
        await asyncio.shield(handle.releasing)

    async def _give_back(self, handle: ThreadHandle) -> None:
        outbox = handle.outbox
        outbox.closed = unlock = True
        try:
            if handle.deleting is not None:
                await asyncio.wait((handle.deleting,))
            await outbox.settled()
            if not outbox.let_go_done and not isinstance(outbox.failure, StaleWriterError):
                # Whatever else went wrong: the fence keeps late attempts of ours out once
                # the row is free.
                await self._claimer.release(handle.held, outbox.outage)
                unlock = False
        except StorageError as error:
            _log.warning(
                "Thread %r could not be released (%s); its claim ends with its lease.",
                handle.key.thread_id,
                error,
            )
        finally:
            self._part(handle, unlock=unlock)

    def _part(self, handle: ThreadHandle, *, unlock: bool) -> None:
        outbox, now = handle.outbox, self._around.clock.monotonic()
        outbox.closed = True
        outbox.outage.over()  # for tasks that outlive the run
        if self._handles.get(handle.key) is handle:
            del self._handles[handle.key]
            if self._emptied is not None and not self._handles:
                self._emptied.set()
        if unlock and handle.held.lock_key is not None:
            self._unlocks.submit(handle.held)
        self._keep_head(handle)
        self._claimer.courtesy.released(
            handle.key,
            handle.epoch,
            wanted=outbox.wanted,
            held_s=now - outbox.claimed_at,
            now=now,
        )
        self._lines.pass_on(handle.turn)

    def _keep_head(self, handle: ThreadHandle) -> None:
        """Keep the state that a claim leaves behind, if all of it is durable."""
        outbox, heads, thread = handle.outbox, self._claimer.heads, handle.loaded.thread
        trail, handle.trail, handle.known = handle.trail, None, None
        if trail is None or heads is None or thread is None or handle.deleting is not None:
            return
        if outbox.failure is None and outbox.let_go_done:
            head = head_of(
                trail, uid=handle.uid, epoch=handle.epoch, record_no=outbox.durable_no,
                layout_no=thread.layout_no, run_id=handle.run_id,
            )  # fmt: skip
            if head is not None:
                heads.keep(handle.key, head)

    async def _unlock_all(self, held: list[Held]) -> list[None]:
        try:
            await persist(
                self._around,
                "unlock",
                lambda: self._around.driver.unlock(held),
                budget_s=self._around.options.lease_ttl_s,
            )
        except StorageError as error:
            # The keys are fresh ones that nobody will ask for again: only space is lost.
            _log.warning("%d advisory locks could not be given back: %s", len(held), error)
        return [None] * len(held)

    async def delete(self, handle: ThreadHandle) -> bool:
        """See `ThreadHandle.delete`."""
        handle.deleting = task = self._loop.create_task(self._delete(handle))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _delete(self, handle: ThreadHandle) -> bool:
        outbox, driver = handle.outbox, self._around.driver
        await outbox.settled()  # also of a claim whose records failed: the fence decides
        outbox.closed = True
        tries = 0

        async def call() -> bool:
            nonlocal tries
            tries += 1
            return await driver.delete(handle.held, self._around.worker)

        deleted = await persist(self._around, "delete", call)
        if not deleted and tries > 1:
            # The reply of the try that did it may have been lost.
            (loaded,) = await driver.load([LoadRequest(handle.key, current=True)])
            # One of the same name that was made since is another thread.
            deleted = loaded.thread is None or loaded.thread.uid != handle.uid
        if deleted:
            outbox.let_go_done = True
        else:
            outbox.fail(stale_writer(outbox, None, "none"))
        return deleted

    async def prune(self, handle: ThreadHandle, change: Relayout) -> bool:
        """See `ThreadHandle.prune`. Said twice it is done once: the layout has moved on."""
        outbox, around = handle.outbox, self._around
        if outbox.failure is not None:
            raise outbox.failure.with_traceback(None)
        done = await persist(
            around, "prune", lambda: around.driver.prune(handle.held, around.worker, change)
        )
        if not done and outbox.failure is not None:
            raise outbox.failure.with_traceback(None)
        return done

    # -- the end

    async def close(self) -> None:
        """See `Journal.close`."""
        self._claimer.closed = True
        self._lines.refuse_all(UsageError("The journal was closed."))
        await self._claimer.idle()
        await asyncio.gather(*map(self.give_back, tuple(self._handles.values())))
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._lane.idle()
        await self._claimer.idle()
        await self._unlocks.idle()
        await self._heart.stop()
        await self.folder.stop()

    def forget(self) -> None:
        """See `Journal.forget`."""
        self._claimer.closed = True
        self.folder.forget()
        for handle in self._handles.values():
            handle.turn.passed_on = True
            handle.outbox.forget(UsageError("The journal has forgotten this claim."))
        self._handles = {}
        if asyncio.all_tasks(self._loop):
            # Dropping the last reference to a task that has not ended would wake it.
            _forgotten.append(self)

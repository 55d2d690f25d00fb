"""Idempotency keys: a call whose key its thread has seen before is not made again.

The run row keeps the key, the digest of the input, and, once the run has stopped, its outcome:
the number of the checkpoint it stopped at and the questions it asked. The output is read from
that checkpoint, so it stays this run's whatever later runs do to the thread.

    seen before as    means
    done, interrupted what it returned then, without claiming the thread
    running           wait for it; if its worker is gone, finish it
    failed, cancelled go on with it, under the same run row, if the thread stands where it left it
    superseded        what it returned then, if it had stopped before that; else a conflict
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from stepwell._codec import Codec
from stepwell._engine.arguments import RunConfig
from stepwell._engine.open import Opened, check_graph, revive
from stepwell._engine.pending import load_interrupts
from stepwell._engine.program import Program
from stepwell._engine.publish import output_of
from stepwell._engine.stream import INTERRUPT, Outlet
from stepwell._ids import digest16
from stepwell._plan.output import output_selector, project
from stepwell.checkpoint._names import idempotency_key_of
from stepwell.checkpoint.driver import LoadRequest, RunRow, RunStatus, ThreadStatus
from stepwell.constants import TASKS
from stepwell.errors import (
    IdempotencyConflictError,
    NotFoundError,
    ThreadBusyError,
    UsageError,
)
from stepwell.types import Command, Interrupt

if TYPE_CHECKING:
    from stepwell._engine.options import RunOptions
    from stepwell._journal.journal import Journal
    from stepwell._journal.screen import Screen
    from stepwell.checkpoint.base import Saver


def needs_thread(inside: bool) -> UsageError:
    """The error for a key where there is no thread that could keep it."""
    where = (
        "a graph inside a node is part of its caller's run: give the key to the outermost call"
        if inside
        else "nothing is kept without a checkpointer: compile the graph with one"
    )
    return UsageError(f"idempotency_key has no meaning here: {where}.")


def digest_of(
    program: Program, given: Any, checkpoint: str | None, screen: Screen | None = None
) -> bytes:
    """What stands for a caller's input: the same for equal inputs, in every process; what a
    filter hides is no part of it.

    Raises:
        UnsupportedTypeError: The input cannot be stored.
    """
    codec, untracked = program.codec, program.spec.untracked
    if isinstance(given, Command):
        goto = given.goto if isinstance(given.goto, (list, tuple)) else [given.goto]
        update, resume = given.update, given.resume
        if screen is not None:
            update = screen.given(update)
            resume = screen.answers([resume])
            goto = [screen.inside(TASKS, packet) for packet in goto]
        said: Any = ["command", given.graph, update, resume, list(goto)]
    elif isinstance(given, dict):
        given = given if screen is None else screen.given(given) or {}
        said = ["input", {k: v for k, v in given.items() if k not in untracked}]
    else:
        said = ["input", given if screen is None else screen.given(given)]
    lowered, _ = codec.lower([*said, checkpoint], channel="__input__")
    return digest16(orjson.dumps(lowered, option=orjson.OPT_SORT_KEYS))


class Once:
    """One call under an idempotency key.

    Args:
        program: The graph.
        saver: Where its threads are.
        config: The call's.
        given: The call's input.
        options: The call's.

    Raises:
        InvalidIdError: The key is none.
        UnsupportedTypeError: The input cannot be stored.
    """

    __slots__ = ("_config", "_key", "_options", "_program", "_saver", "digest", "name")

    def __init__(
        self, program: Program, saver: Saver, config: RunConfig, given: Any, options: RunOptions
    ) -> None:
        self.name = idempotency_key_of(options.idempotency_key)
        self.digest = digest_of(program, given, config.checkpoint_id, saver.screen)
        self._key = saver.key(config.require_thread("idempotency_key"))
        self._program = program
        self._saver = saver
        self._config = config
        self._options = options

    @contextmanager
    def under_way(self, journal: Journal) -> Iterator[bool]:
        """Note that a call with this key is under way. Gives whether it is the only one here."""
        calls, mine = journal.keyed_calls, (self._key, self.name)
        calls[mine] += 1
        try:
            yield calls[mine] == 1
        finally:
            calls[mine] -= 1
            if not calls[mine]:
                del calls[mine]

    async def claim(
        self, claim: Callable[[str], Awaitable[Opened]], on_conflict: str
    ) -> Opened | RunRow:
        """Claim the thread; or find that the run of the key is over, and claim nothing.

        Whatever `on_conflict` says of other runs: the run that the key names is waited for.

        Raises:
            ThreadBusyError: Another run holds the thread.
        """
        known = await self.find()
        if known is not None and is_over(known):
            return known
        if on_conflict == "wait" or (known is not None and known.status == RunStatus.RUNNING):
            return await claim("wait")
        # A run that holds the thread may be that of the key, and have recorded nothing yet.
        for pause in (0.0, 0.05, 0.1, 0.15):
            try:
                return await claim("reject")
            except ThreadBusyError:
                await asyncio.sleep(pause)
                known = await self.find()
                if known is not None and known.status == RunStatus.RUNNING:
                    return await claim("wait")
                if known is not None and is_over(known):
                    return known
                if on_conflict == "reject":
                    raise
                if await self._says_that_it_runs():
                    break
        return await claim(on_conflict)

    async def _says_that_it_runs(self) -> bool:
        """Whether the run that holds the thread has recorded that it does."""
        journal = await self._saver.journal()
        loaded = await journal.load(LoadRequest(self._key, "", 0, current=True))
        return loaded.thread is not None and loaded.thread.status == ThreadStatus.RUNNING

    async def find(self) -> RunRow | None:
        """The run that the key names; None if it names none yet.

        Raises:
            IdempotencyConflictError: That run had another input.
        """
        journal = await self._saver.journal()
        row = await journal.keyed_run(self._key, self.name)
        if row is not None and row.input != self.digest:
            known = "" if row.input is None else row.input.hex()
            msg = (
                f"Idempotency key {self.name!r} of thread {self._key.thread_id!r} belongs to run "
                f"{row.run_id!r}, which was started with another input (digest {known}, this "
                f"one's is {self.digest.hex()}). A new input needs a new key."
            )
            raise IdempotencyConflictError(
                msg, thread_id=self._key.thread_id, run_id=row.run_id,
                known_digest=known, given_digest=self.digest.hex(),
            )  # fmt: skip
        return row

    def begins(self, row: RunRow) -> RunRow:
        """The row of a new run, with key and digest."""
        return row._replace(idempotency_key=self.name, input=self.digest)

    async def check_open(self, row: RunRow, opened: Opened) -> None:
        """See to it that a run which did not come to its end can go on from the thread's head.

        Raises:
            IdempotencyConflictError: Another run has come since, or the state was changed by
                hand: the run's input may have been dropped by that.
        """
        replaced = row.run != opened.runs or row.status == RunStatus.SUPERSEDED
        # Whoever moves the head of a run whose worker is gone closes it first.
        running = row.status == RunStatus.RUNNING
        if not replaced and (running or await opened.stands_where_left(row)):
            return
        status = RunStatus(row.status).name.lower()
        how = "" if replaced else " (its state was updated or rolled back)"
        msg = (
            f"Run {row.run_id!r} of thread {self._key.thread_id!r}, which idempotency key "
            f"{self.name!r} belongs to, is {status}, and the thread has gone on without it{how}: "
            "it cannot be finished any more. Look at the thread's state; what is still missing "
            "needs a new key."
        )
        raise IdempotencyConflictError(msg, thread_id=self._key.thread_id, run_id=row.run_id)

    async def replay(self, row: RunRow) -> Any:
        """What the run returned when it stopped; a stream is shown its last values.

        Raises:
            NotFoundError: The checkpoint it stopped at is gone.
        """
        program, options = self._program, self._options
        known = orjson.loads(row.outcome or b"")
        asked = load_interrupts(_revived(program.codec, known.get("q", [[], 0])))
        keys = options.output_keys
        if keys is None:
            keys = output_selector(program.spec)
        values, shown = await self._values(row, known, keys)
        if options.sink is not None:
            _show(Outlet("", (options.sink,)), values, asked)
        latest = values if shown else None
        return output_of(latest, values, asked, split=options.split)

    async def _values(self, row: RunRow, known: dict[str, Any], keys: Any) -> tuple[Any, bool]:
        """The values of `keys` where the run stopped, and whether it had shown any."""
        program = self._program
        if "v" in known:
            return _revived(program.codec, known["v"]), not known.get("n")
        journal = await self._saver.journal()
        seq = known["s"]
        loaded = await journal.load(LoadRequest(self._key, "", seq, current=True))
        check_graph(program, loaded.thread)
        view = revive(program, program.codec, self._key, loaded, seq)
        if view is None or view.row.seq != seq:
            msg = (
                f"Run {row.run_id!r} of thread {self._key.thread_id!r} has ended, but the "
                "checkpoint that held its output is not there any more."
            )
            raise NotFoundError(msg, thread_id=self._key.thread_id, run_id=row.run_id)
        return project(program.spec, view.state, keys), not known.get("n")


def is_over(row: RunRow) -> bool:
    """Whether a run has stopped and left an outcome."""
    return row.outcome is not None and row.status in (
        RunStatus.DONE, RunStatus.INTERRUPTED, RunStatus.SUPERSEDED,
    )  # fmt: skip


def _revived(codec: Codec, stored: list[Any]) -> Any:
    value, tagged = stored
    return codec.revive(value, channel="__output__") if tagged else value


def _show(outlet: Outlet, values: Any, asked: tuple[Interrupt, ...]) -> None:
    if asked:
        outlet.put("updates", {INTERRUPT: asked})
        values = {**(values if isinstance(values, dict) else {}), INTERRUPT: asked}
    outlet.put("values", values)


__all__ = ["Once", "digest_of", "is_over", "needs_thread"]

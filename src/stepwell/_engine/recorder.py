"""Turns what a run does into records of its thread.

The one place where engine and journal meet: it knows the durability mode, the encodings,
the current checkpoint, and which tickets are still open.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from stepwell._engine.task_records import TaskRecords
from stepwell._engine.upgrade import news_of
from stepwell._ids import checkpoint_id
from stepwell._journal.metadata import encode_metadata
from stepwell._journal.record import (
    FORMAT_JSON,
    BodyEncoder,
    Entry,
)
from stepwell._journal.spelling import exact
from stepwell._journal.track import REPAIR_BYTES_MAX
from stepwell._journal.unusual import plain, usual
from stepwell._plan.apply import TaskWrites, compose
from stepwell._plan.state import ThreadState
from stepwell._when import Always, CheckpointWhen
from stepwell.channels.base import Op
from stepwell.checkpoint.driver import CheckpointRow, RunRow, Source, ThreadChange
from stepwell.errors import InvalidUpdateError
from stepwell.types import Durability

if TYPE_CHECKING:
    from stepwell._engine.program import Program
    from stepwell._engine.snapshot import View
    from stepwell._journal.handle import ThreadHandle
    from stepwell._journal.outbox import Ticket

logger = logging.getLogger("stepwell")

_new = tuple.__new__

AHEAD_MAX: Final = 16
"""Supersteps of a thread that may run ahead of what is durable (durability="async")."""
REPAIR_EVERY: Final = 16
"""Supersteps between two looks for state that was changed in place."""


class Recorder(TaskRecords):
    """Writes the records of one run in one namespace."""

    __slots__ = (
        "_ahead", "_mended_at", "_migration", "_name", "_named", "_parents", "_spec", "_versions",
        "durability", "ended", "home", "keep", "outcome", "run_row", "strict", "waits",
    )  # fmt: skip

    holds = False
    """Whether it leaves checkpoints out; see `HoldingRecorder`."""
    exits = False
    """Whether nothing is written before the run's end (durability="exit")."""
    policy: CheckpointWhen = Always()
    """Which checkpoints are written; also of graphs inside that do not say."""

    def __init__(
        self,
        handle: ThreadHandle,
        program: Program,
        view: View | None,
        *,
        ns: str,
        durability: Durability,
        run_row: RunRow,
        strict: bool,
    ) -> None:
        """`view`: the checkpoint that the run starts from; None: it is the first."""
        self.handle = handle
        self.home = asyncio.get_running_loop()
        """The loop that the thread's records are made on."""
        self.ended = False
        """Whether the run's last record has been appended."""
        self.keep = False
        """Whether the claim outlives the run (another one follows under it)."""
        self.durability = durability
        self.waits = durability == "sync"
        """Whether every superstep waits until the one before is durable."""
        self.run_row = run_row
        self.outcome: dict[str, Any] | None = None
        """What the run row keeps of the output, beside the checkpoint it is at."""
        self.seq = 0 if view is None else view.row.seq
        """The checkpoint the next one extends; 0 = none yet."""
        self._name: str | None = "" if view is None else view.name
        self._named = (0, 0)
        """Seq and record number that the name follows from, once somebody asks for it."""
        self.strict = strict
        self._codec = program.codec
        self._spec = program.spec
        self._ns_name = ns
        self._ns_number = 0 if ns == "" else -1
        self._parents: Mapping[str, str] | None = None
        self._encoder = BodyEncoder(
            program.codec, untracked=program.spec.untracked, state_version=program.state_version,
            stored=program.spec.blank if view is None else view.stored,
        )  # fmt: skip
        self._versions = (
            program.state_version if view is None else view.version, program.state_version
        )  # fmt: skip
        self._migration = news_of(program, view)
        """What the next record has to say of the state's version."""
        self._ahead: deque[Ticket] = deque()
        self._last: Ticket | None = None
        self._mended_at = 0 if view is None else view.row.step  # it was looked at when it was read

    @property
    def version(self) -> int:
        """The version of the state that the newest checkpoint holds."""
        found, today = self._versions
        return today if self._migration is None else found

    def place_under(self, parents: Mapping[str, str], known: Mapping[str, str]) -> None:
        """Say which checkpoints of the graphs around it this run belongs to.

        The next record tells it, unless it is what the records tell already.
        """
        self._parents = None if parents == known else parents

    def _new_parents(self) -> Mapping[str, str] | None:
        parents, self._parents = self._parents, None
        return parents

    def remember(self, state: ThreadState, done: Sequence[TaskWrites]) -> None:
        """A barrier is about to be applied, which may fail half-way: where something is held
        back, what the last good superstep left is what has to be written."""

    @property
    def spoiled(self) -> bool:
        """Whether a barrier has failed half-way, so that the state is not to be used."""
        return False

    @property
    def held_back(self) -> bool:
        """Whether the checkpoint that the run stands at is not written yet."""
        return False

    def write_held(
        self, *, thread: ThreadChange | None = None, let_go: bool = False, looks: bool = False
    ) -> None:
        """Append the checkpoint that is held back, if there is one.

        `looks`: no task runs, so it is time to look for values that were changed in place.

        Raises:
            UnsupportedTypeError: A value cannot be stored.
        """

    @property
    def checkpoint_id(self) -> str:
        """The name of the checkpoint that the next one extends; "" where there is none."""
        name = self._name
        if name is None:
            name = self._name = self.name_of(*self._named)
        return name

    def name_of(self, seq: int, record_no: int) -> str:
        """The checkpoint id of a record of this namespace."""
        return checkpoint_id(self.handle.uid, self._ns_name, seq, record_no)

    # -- checkpoints ---------------------------------------------------------------------

    def checkpoint(
        self,
        state: ThreadState,
        *,
        source: int,
        step: int,
        entries: Sequence[Entry],
        ops: Mapping[str, Op],
        drops: bool = False,
        interrupt_seen: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        thread: ThreadChange | None = None,
        let_go: bool = False,
    ) -> None:
        """Append the checkpoint that a barrier made, or hold it back.

        `drops`: the superstep's pending writes are part of `entries` and need not be kept.

        Raises:
            UnsupportedTypeError: A value cannot be stored. Nothing was appended.
        """
        looks = let_go or self.strict or step - self._mended_at >= REPAIR_EVERY
        made = None
        if self._parents is None and self._migration is None and interrupt_seen is None:
            made = self._encoder.plain_body(entries, ops, looks=looks)
        if made is None:
            made = self._full_body(state, entries, ops, interrupt_seen, looks=looks)
        if looks:
            self._mended_at = step
        body, mended = made
        if mended:
            self._report(mended)
        self._append(
            source, step, body, drops=drops, metadata=metadata, thread=thread, let_go=let_go
        )

    def _full_body(
        self,
        state: ThreadState,
        entries: Sequence[Entry],
        ops: Mapping[str, Op],
        interrupt_seen: int | None,
        *,
        looks: bool,
    ) -> tuple[bytes, list[str]]:
        """The body of a checkpoint that has more to say than what one task did, and the channels
        that were found changed in place; `looks`: it is time to look for such."""
        migrated = None
        if (migration := self._migration) is not None:
            self._migration = None
            migrated = migration.told(ops)
            ops = compose(dict(migration.ops), dict(ops), state.channels)
        return self._encoder.step_body(
            entries,
            ops,
            migrated=migrated,
            interrupt_seen=interrupt_seen,
            parents=self._new_parents(),
            check=state.channels if looks else None,
            check_bytes_max=self._bytes_max,
        )

    def copy(
        self,
        row: CheckpointRow,
        *,
        parent: int,
        step: int,
        thread: ThreadChange | None,
        let_go: bool,
    ) -> None:
        """Append a row's body once more, as a fork beside it."""
        self.seq = parent
        body = row.body if plain(row) else usual(row).body
        self._append(
            Source.FORK, step, body, drops=False, metadata=None, thread=thread, let_go=let_go
        )

    def _append(
        self,
        source: int,
        step: int,
        body: bytes,
        *,
        drops: bool,
        metadata: Mapping[str, Any] | None,
        thread: ThreadChange | None,
        let_go: bool,
        known_as: str | None = None,
    ) -> None:
        handle, ns, seq = self.handle, self._ns_number, self.seq
        if ns < 0:
            ns = self._ns
        if handle.budget is not None:
            handle.budget.check(handle.key, self._encoder.tracks)
        if type(source) is not int:
            source = int(source)  # no `Source`: drivers bind what is in a row as it is
        head = handle.heads[ns]
        number, record_no = head + 1, handle.outbox.record_no + 1
        exact = index = named = None
        if known_as is not None:
            if known_as == self.name_of(number, record_no):
                known_as = None
            else:  # tasks, and questions they asked, were named after the id that was expected
                named = uuid.UUID(known_as).bytes
        if metadata:
            exact, index = self.metadata(metadata)
        row = _new(
            CheckpointRow,
            (
                ns, number, None if head == seq else seq, step, source, self.run_row.run,
                handle.epoch, record_no, FORMAT_JSON, crc32(body), body, exact, index, named,
                None, None,
            ),
        )  # fmt: skip
        ticket = handle.append_row(
            row,
            seq if drops else None,
            None if thread is None else self._run_row_at(number),
            thread,
            let_go=let_go and not self.keep,
            at_once=self.waits,
        )
        if let_go:
            self.ended = True
        self.seq = number
        self._name, self._named = known_as, (number, record_no)
        self._last = ticket
        if ticket is not None and not self.waits:
            self._ahead.append(ticket)

    @property
    def _bytes_max(self) -> int | None:
        return None if self.strict else REPAIR_BYTES_MAX

    def _report(self, mended: Sequence[str]) -> None:
        names = ", ".join(sorted(mended))
        if self.strict:
            msg = (
                f"Nodes changed the values of {names} in place; return changes as updates "
                "(the graph was compiled with strict=True)."
            )
            raise InvalidUpdateError(msg)
        told = self._spec.told
        if told.issuperset(mended):
            return
        told.update(mended)
        logger.warning(
            "Nodes of graph %r changed the values of %s in place; the changes were recorded. "
            "Return them as updates instead: in-place changes are noticed only now and then. "
            "This is said once.",
            self._spec.name, names,
        )  # fmt: skip

    def metadata(self, metadata: Mapping[str, Any]) -> tuple[bytes, str]:
        """Metadata as exact bytes and as the JSON of what can be filtered on."""
        return encode_metadata(metadata, self._codec)

    # -- status and durability -----------------------------------------------------------

    def status(self, thread: ThreadChange, *, let_go: bool = False) -> None:
        """Append a status record; the run row rides with it. `let_go`: it is the run's last."""
        self.ended = self.ended or let_go
        self._last = self.handle.append_status(
            run_row=self._run_row_at(self.seq),
            thread=thread,
            let_go=let_go and not self.keep,
        )

    def _run_row_at(self, seq: int) -> RunRow | None:
        """The run row as it is to be written while the run stands at checkpoint `seq`."""
        if not self.run_row.run:
            return None
        row = self.run_row
        if self.outcome is None and row.outcome is None:
            return row
        kept = None if self.outcome is None else exact({"s": seq, **self.outcome})
        return row._replace(outcome=kept)

    def settled(self) -> Ticket | None:
        """What to wait for before more work is begun: the newest record, with "sync".

        Others wait for the same ticket: shield it, and only where it is awaited. (A shield that
        is dropped complains of an error that nobody has heard.)
        """
        return self._last if self.waits else None

    def landed(self) -> Awaitable[None] | None:
        """What to wait for until everything appended so far is durable; None: nothing is on
        its way, or nothing is written before the run ends (durability="exit")."""
        return None if self.exits or self._last is None else asyncio.shield(self._last)

    async def durable(self) -> None:
        """Wait until everything appended so far is durable.

        Raises:
            StepwellError: A record could not be written; later ones were not either.
        """
        last, self._last = self._last, None
        if last is not None:
            self._ahead.clear()
            if not last.done():
                self.handle.push()
            await last

    async def sure(self) -> None:
        """To be awaited before something begins in the midst of a superstep: nothing does while
        somebody else may have the thread.

        Raises:
            StaleWriterError: Somebody has.
            StorageUnavailableError: The database did not answer within the outage budget.
        """
        if self.handle.doubtful:
            await self.handle.fresh()

    def pace(self) -> Awaitable[None] | None:
        """What durability asks for between two supersteps: to be awaited; None: nothing.

        `sync` waits for the commit; `async` only when it is too far ahead of it.
        """
        if not self.waits:
            return self._keep_up() if self._is_behind() else None
        last, self._last = self._last, None
        if last is not None and not last.done():
            self.handle.push()
        return last

    def _is_behind(self) -> bool:
        """Whether what is durable is so far behind that the run has to wait, or fail."""
        ahead = self._ahead
        while ahead and ahead[0].done():
            ahead.popleft().result()
        return len(ahead) > AHEAD_MAX or self.handle.crowded

    async def _keep_up(self) -> None:
        ahead = self._ahead
        while len(ahead) > AHEAD_MAX:
            await ahead.popleft()
        await self.handle.room()


__all__ = ["AHEAD_MAX", "Recorder"]

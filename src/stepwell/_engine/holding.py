"""A recorder that leaves checkpoints out: what they did goes into the next one that is written.

    barrier -> wanted? -- yes --> the row, with whatever was held before it
                  `----- no ----> held: composed with what is held, in memory

With durability="exit" nothing is wanted before the run's end. With a policy (`checkpoint_when`)
supersteps are asked for, and whatever has to be filed under a held checkpoint has it written first.
The rules that hold are in docs/architecture.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from stepwell._engine.recorder import Recorder
from stepwell._journal.record import Entry
from stepwell._plan.apply import TaskWrites, compose
from stepwell._plan.state import ThreadState
from stepwell._when import Always, CheckpointWhen, Every, OnExit, When
from stepwell.channels.base import BaseChannel, Op, OpKind
from stepwell.checkpoint.driver import Source, ThreadChange
from stepwell.errors import UsageError

if TYPE_CHECKING:
    from stepwell._engine.program import Program
    from stepwell._engine.snapshot import View
    from stepwell._journal.handle import ThreadHandle

Versions: TypeAlias = tuple[int, dict[str, int], dict[str, dict[str, int]]]
"""(version, versions of channels, who has seen which) of a state."""


class _Held:
    """What is not written yet."""

    __slots__ = (
        "barriers", "drops", "entries", "interrupt_seen", "metadata", "ops", "source", "step",
    )  # fmt: skip

    def __init__(self, ops: Mapping[str, Op], *, drops: bool) -> None:
        self.ops = ops
        """What all of it did; where it is one barrier, without what a migration changed."""
        self.drops = drops
        self.barriers = 0
        # Of the last barrier:
        self.source: int = Source.LOOP
        self.step = 0
        self.entries: Sequence[Entry] = ()
        self.metadata: Mapping[str, Any] | None = None
        self.interrupt_seen: int | None = None


class HoldingRecorder(Recorder):
    """Writes some of the checkpoints of one run in one namespace."""

    __slots__ = (
        "_around", "_before", "_by_node", "_expected_no", "_held", "_kept", "_lost", "_skipped",
        "_state", "_trouble", "exits", "policy",
    )  # fmt: skip

    holds = True

    def __init__(
        self,
        handle: ThreadHandle,
        program: Program,
        view: View | None,
        *,
        policy: CheckpointWhen | None = None,
        around: Recorder | None = None,
        **options: Any,
    ) -> None:
        """`policy`: the graph's, or what stands for it; `around`: of the run around this one."""
        super().__init__(handle, program, view, **options)
        self.exits = self.durability == "exit"
        self.policy = policy or Always()
        self._by_node = program.checkpoint_when_by_node
        self._around = around if isinstance(around, HoldingRecorder) else None
        self._held: _Held | None = None
        self._skipped = 0
        """Supersteps since the last row."""
        self._expected_no = 0
        """The number that the record of what is held is expected to have."""
        self._before: Versions | None = None
        """Versions before the barrier that is being applied, while something is held."""
        self._kept: dict[str, BaseChannel[Any, Any, Any]] = {}
        """Copies of channels that it may change although it fails."""
        self._state: ThreadState | None = None
        self._lost = False
        """Whether what was held could not be encoded: nothing can be filed under it."""
        self._trouble: UsageError | None = None
        """Why the run is to fail although its last superstep is recorded."""

    @property
    def held_back(self) -> bool:
        return self._held is not None

    @property
    def spoiled(self) -> bool:
        return self._before is not None

    def remember(self, state: ThreadState, done: Sequence[TaskWrites]) -> None:
        held = self._held
        if held is None and not self.exits:
            return  # nothing waits to be written that this barrier could spoil
        seen = {node: dict(versions) for node, versions in state.seen.items()}
        self._before = (state.version, dict(state.versions), seen)
        self._kept = {}
        if held is None:
            return
        for name in {c for _, writes in done for c, _ in writes}:
            op = held.ops.get(name)
            if op is not None and op.kind is OpKind.SET:
                # A reducer that works in place would reach the value that waits.
                self._kept[name] = state.channels[name].copy()

    # -- checkpoints ---------------------------------------------------------------------------

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
        self._before = None
        self._state = state
        wanted = not self.exits and (
            thread is not None or let_go or self._is_wanted(state, source, entries, ops)
        )
        if wanted and self._held is None:
            self._settle_around()
            self._skipped = 0
            super().checkpoint(
                state, source=source, step=step, entries=entries, ops=ops, drops=drops,
                interrupt_seen=interrupt_seen, metadata=metadata, thread=thread, let_go=let_go,
            )  # fmt: skip
            return
        self._hold(state, ops, drops=drops and not any(e.control for e in entries))
        if (held := self._held) is not None:
            held.source, held.step, held.entries, held.metadata = source, step, entries, metadata
            if interrupt_seen is not None:
                held.interrupt_seen = interrupt_seen
        self._skipped += source == Source.LOOP
        # Each superstep has an id of its own: its tasks are named after it.
        self._expected_no = max(self._expected_no, self.handle.record_no) + 1
        self._name = None
        self._named = (self.handle.head_of(self._ns_name) + 1, self._expected_no)
        if wanted:
            self.write_held(thread=thread, let_go=let_go, looks=True)

    def _hold(self, state: ThreadState, ops: Mapping[str, Op], *, drops: bool) -> None:
        held = self._held
        if held is None:
            if self.exits and (migration := self._migration) is not None:
                ops = compose(dict(migration.ops), dict(ops), state.channels)
            held = self._held = _Held(ops, drops=drops)
        else:
            first = dict(held.ops)
            migration = self._migration
            if held.barriers == 1 and migration is not None and not self.exits:
                first = compose(dict(migration.ops), first, state.channels)
            held.ops = compose(first, dict(ops), state.channels)
        held.barriers += 1

    def write_held(
        self, *, thread: ThreadChange | None = None, let_go: bool = False, looks: bool = False
    ) -> None:
        self._settle_around()
        held, state = self._held, self._state
        if held is None or state is None:
            return
        self._held = None
        self._lost = True  # unless it can be encoded
        looks = (looks or self.exits) and not self.spoiled
        if self.spoiled and self._kept:
            kept = {name: Op(OpKind.SET, c.checkpoint()) for name, c in self._kept.items()}
            held.ops = {**held.ops, **kept}
        if held.barriers == 1 and not self.exits:
            body, mended = self._full_body(
                state, held.entries, held.ops, held.interrupt_seen, looks=looks
            )
        else:
            body, mended = self._joint_body(state, held, looks=looks)
        if mended:
            self._report(mended)
        self._lost = False
        self._migration = None
        self._skipped = 0
        # Not before the name that it has already: names are in the order of their numbers.
        self.handle.number_from(self._expected_no)
        self._append(
            held.source, held.step, body, drops=held.drops and not self.exits,
            metadata=held.metadata, thread=thread, let_go=let_go, known_as=self.checkpoint_id,
        )  # fmt: skip

    def _joint_body(
        self, state: ThreadState, held: _Held, *, looks: bool
    ) -> tuple[bytes, list[str]]:
        """The body of one record for what several barriers did."""
        ops, migration = held.ops, self._migration
        # The operands of `ops` are those of all supersteps, not of the last one: the entries
        # must not be taken for their source.
        return self._encoder.step_body(
            [Entry(e.name, e.kind, e.triggers, (), control=e.control) for e in held.entries],
            ops,
            migrated=None if migration is None else migration.told(ops),
            interrupt_seen=state.interrupt_seen,
            versions=self._before or (state.version, state.versions, state.seen),
            parents=self._new_parents(),
            check=state.channels if looks else None,
            check_bytes_max=self._bytes_max,
        )

    def _settle_around(self) -> None:
        """What is appended here refers to the checkpoints of the graphs around this one."""
        if self._around is not None:
            self._around.write_held()

    def _write(
        self, task_id: bytes, slot: int, path: str, channel: str | None, body: bytes
    ) -> None:
        if not self.exits:
            self.write_held()
        if not self._lost:
            super()._write(task_id, slot, path, channel, body)

    def pace(self) -> Awaitable[None] | None:
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble
        return super().pace()

    # -- policies ------------------------------------------------------------------------------

    def _is_wanted(
        self, state: ThreadState, source: int, entries: Iterable[Entry], ops: Mapping[str, Op]
    ) -> bool:
        """Whether a checkpoint gets a row that need not have one."""
        if source != Source.LOOP:  # the input of a graph inside another one: its task has it
            return source != Source.INPUT or isinstance(self.policy, Always)
        own, policy = self._by_node, self.policy
        if own:
            found = (own.get(e.name, policy) for e in entries if e.kind > -2 or e.name in own)
            asked = {id(each): each for each in found}
        else:
            asked = {0: policy}
        predicates: list[When] = []
        for policy in asked.values():
            if isinstance(policy, When):
                predicates.append(policy)
            elif isinstance(policy, Every):
                if self._skipped + 1 >= policy.n:
                    return True
            elif not isinstance(policy, OnExit):
                return True
        return any(self._says(each, state, ops) for each in predicates)

    def _says(self, policy: When, state: ThreadState, ops: Mapping[str, Op]) -> bool:
        """Ask a predicate. Where it fails, the row is written: nothing is to be lost by that."""
        written = ops if self._held is None else {**self._held.ops, **ops}
        values = state.values
        delta = {key: values[key] for key in values if key in written}
        try:
            answer: object = policy.predicate(delta)
            if inspect.isawaitable(answer):
                if inspect.iscoroutine(answer):
                    answer.close()
                msg = "the predicate returned an awaitable; it must be a plain function"
                raise TypeError(msg)  # told as all its failures are
            return bool(answer)
        except Exception as exc:  # noqa: BLE001  # whatever the predicate raises
            if self._trouble is None:
                msg = (
                    f"The predicate of checkpoint_when=When(...) of graph {self._spec.name!r} "
                    f"failed ({type(exc).__name__}). The superstep it was asked about is stored; "
                    "ainvoke(None, config) goes on behind it."
                )
                self._trouble = UsageError(msg, thread_id=self.handle.key.thread_id)
                self._trouble.__cause__ = exc
            return True


__all__ = ["HoldingRecorder"]

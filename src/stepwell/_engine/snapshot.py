"""From loaded rows to what is shown: state, snapshots, `checkpoints` chunks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from stepwell._codec import Codec
from stepwell._engine.pending import NULL_TASK, Pending
from stepwell._engine.program import Program
from stepwell._engine.stream import interrupt_dict
from stepwell._engine.upgrade import upgrade_of
from stepwell._ids import checkpoint_id, uuid_text
from stepwell._journal.heads import Base
from stepwell._journal.load import Folded, Revived
from stepwell._journal.metadata import decode_metadata
from stepwell._journal.track import Stored
from stepwell._plan.apply import Outside, TaskWrites, apply
from stepwell._plan.glance import due_at, values_at
from stepwell._plan.output import of_values, project, state_selector, task_result
from stepwell._plan.spec import GraphSpec
from stepwell._plan.state import ThreadState
from stepwell._plan.tasks import Task, Write
from stepwell.checkpoint.driver import CheckpointRow, RunRow, Source
from stepwell.config import RunnableConfig
from stepwell.constants import NS_END, NS_SEP
from stepwell.types import Interrupt, PregelTask, StateSnapshot

if TYPE_CHECKING:
    from stepwell._engine.run import Run

_UNCHANGEABLE = (str, int, float, bool, type(None))
SOURCE_NAMES: dict[int, str] = {
    Source.INPUT: "input",
    Source.LOOP: "loop",
    Source.UPDATE: "update",
    Source.FORK: "fork",
}


Inside: TypeAlias = RunnableConfig | StateSnapshot
"""What a snapshot shows of a graph inside a task: its config, or its state."""


class Place:
    """Where a checkpoint is: thread, namespace, and the thread's uid that keys its id."""

    __slots__ = ("_names", "ns", "thread_id", "uid")

    def __init__(self, thread_id: str, ns: str, uid: bytes) -> None:
        self.thread_id = thread_id
        self.ns = ns
        self.uid = uid
        self._names: dict[int, str] = {}
        """Each is asked for twice: a checkpoint is named, and the parent of another."""

    def name(self, row: CheckpointRow) -> str:
        """The row's checkpoint id."""
        if row.checkpoint_id is not None:
            return uuid_text(row.checkpoint_id)
        name = self._names.get(row.seq)
        if name is None:
            name = checkpoint_id(self.uid, self.ns, row.seq, row.record_no)
            self._names[row.seq] = name
        return name

    def config(self, name: str | None, parents: Mapping[str, str] | None = None) -> RunnableConfig:
        """The config that names a checkpoint of this namespace (None: the newest).

        `parents`: the checkpoints of the graphs around it, by namespace.
        """
        configurable: dict[str, Any] = {"thread_id": self.thread_id, "checkpoint_ns": self.ns}
        if name is not None:
            configurable["checkpoint_id"] = name
            if parents:
                configurable["checkpoint_map"] = {**parents, self.ns: name}
        return {"configurable": configurable}

    def below(self, node: str, task_id: str) -> RunnableConfig:
        """The config that names the newest checkpoint of the graph inside a task."""
        own = f"{node}{NS_END}{task_id}"
        ns = f"{self.ns}{NS_SEP}{own}" if self.ns else own
        return {"configurable": {"thread_id": self.thread_id, "checkpoint_ns": ns}}


class View:
    """One checkpoint, revived: the planner's state, its header, what its tasks left."""

    __slots__ = (
        "_due", "_encoded", "_folded", "_state", "_values", "before", "metadata", "name", "parent",
        "parents", "pending", "place", "row", "spec", "stored", "upgrade", "version",
    )  # fmt: skip

    def __init__(
        self,
        program: Program,
        place: Place,
        *,
        row: CheckpointRow,
        parent: CheckpointRow | None,
        folded: Folded,
        pending: Pending,
        run: RunRow | None,
        track: bool = False,
        again: Callable[[], Folded] | None = None,
        known: dict[int, dict[str, Any]] | None = None,
    ) -> None:
        """Revive a checkpoint. `track` and `again`: see `Revived`.

        `known`: metadata of runs, for several checkpoints of them (see `row_metadata`).

        Raises:
            GraphMismatchError: Its state is of a version that the graph cannot read.
        """
        spec, codec = program.spec, program.codec
        self.upgrade = upgrade_of(program, folded, place.thread_id)
        """How the stored state became that of today's version; None: it is of that version."""
        self.version = folded.state_version
        """The version that is stored."""
        values, self._encoded = folded.values, dict[str, Stored]()
        if track or folded.tagged:
            again = again if self.upgrade is None else None
            revived = Revived(folded, codec, track=track, again=again)
            values, self._encoded = revived.values, revived.stored
        self.stored = {k: v for k, v in self._encoded.items() if k in spec.channels}
        if track and self.upgrade is None:
            self.stored |= {k: v for k, v in spec.blank.items() if k not in values}
        if self.upgrade is not None:
            values = self.upgrade.values(values)
        self.spec = spec
        self.place = place
        self.row = row
        self.name = place.name(row)
        self.before = parent
        self.parent = None if parent is None else place.name(parent)
        self.pending = pending
        self.parents = folded.parents
        """The checkpoints of the graphs around this one, by namespace."""
        self._folded = folded
        self._values = values
        self._state: ThreadState | None = None
        self._due: tuple[list[Task], list[bytes]] | None = None
        self.metadata = row_metadata(row, run, codec, known)
        self.metadata["parents"] = dict(folded.parents)
        if self.upgrade is not None and pending:
            self.upgrade.pending(pending, self.state, (self.name, place.ns, row.step + 1))

    @property
    def state(self) -> ThreadState:
        """The planner's state, made when it is first asked for."""
        if self._state is None:
            folded = self._folded
            self._state = ThreadState(
                self.spec,
                self._values,
                version=folded.version,
                versions=folded.versions,
                seen=folded.seen,
                interrupt_seen=folded.interrupt_seen,
            )
        return self._state

    def base(self, tail: int) -> Base:
        """The state as bytes, for whoever tracks its values. `tail`: how many rows of the thread
        are not folded."""
        return Base(self._folded, self._encoded, row=self.row, parent=self.before, tail=tail)

    def values(self, keys: Sequence[str] | str) -> Any:
        """The values of some state keys, as the checkpoint has them; see `project`."""
        values = values_at(self.spec, self._values)
        return values if keys == self.spec.state_keys else of_values(self.spec, values, keys)

    def due(self) -> tuple[list[Task], list[bytes]]:
        """The tasks that were due after the checkpoint, without their input, and their ids."""
        if self._due is None:
            folded, name, ns, step = self._folded, self.name, self.place.ns, self.row.step + 1
            tasks = due_at(self.spec, self._values, folded.versions, folded.seen)
            self._due = tasks, [task.id(name, ns, step) for task in tasks]
        return self._due


def row_metadata(
    row: CheckpointRow,
    run: RunRow | None,
    codec: Codec,
    known: dict[int, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The metadata a snapshot shows: the run's, the row's own, source and step.

    `known`: metadata of runs, by number: read once where no value of it can be changed.
    """
    told: dict[str, Any] = {}
    if run is not None and run.metadata is not None:
        held = None if known is None else known.get(run.run)
        if held is None:
            held = decode_metadata(run.metadata, codec)
            if known is not None and all(type(v) in _UNCHANGEABLE for v in held.values()):
                known[run.run] = held
        told.update(held)
    if row.metadata is not None:
        told.update(decode_metadata(row.metadata, codec))
    told["source"] = SOURCE_NAMES.get(row.source) or SOURCE_NAMES[Source(row.source)]
    told["step"] = row.step
    told["parents"] = {}
    return told


def timestamp(created_at: float | None) -> str | None:
    """Database time as ISO 8601 in UTC."""
    return None if created_at is None else datetime.fromtimestamp(created_at, UTC).isoformat()


def empty_snapshot(config: RunnableConfig) -> StateSnapshot:
    """The snapshot of a thread or checkpoint that does not exist."""
    return StateSnapshot({}, (), config, None, None, None, (), ())


def snapshot(
    spec: GraphSpec, view: View, *, live: bool, inside: Mapping[str, Inside] | None = None
) -> StateSnapshot:
    """Show a checkpoint.

    Args:
        inside: For tasks whose node is or calls a graph, by task id: that graph's state, or
            the config that names it.
        live: Show where the thread stands now: what finished tasks wrote, who is still to
            run, and which questions wait. Else a record of the superstep as it was planned.
    """
    pending, (tasks, ids) = view.pending, view.due()
    state: ThreadState | None = None
    if null_writes := pending.outputs.get(NULL_TASK):
        # A copy: other checkpoints of a history share values with this one, and reducers may
        # work in place.
        state = view.state.copy(spec)
        apply(spec, state, [(Outside("__input__"), null_writes)])
    finished = _finished(tasks, ids, pending) if live else {}
    if finished:
        done: list[TaskWrites] = [
            (t, finished[i]) for t, i in zip(tasks, ids, strict=True) if i in finished
        ]
        tried = applied(spec, view.state if state is None else state, done)
        if tried is None:
            finished = {}
        else:
            state = tried
    shown: list[PregelTask] = []
    left: list[str] = []
    questions: list[Interrupt[Any]] = []
    for task, name in zip(tasks, ids, strict=True):
        one = _task(spec, task, name, pending, live=live, inside=inside)
        shown.append(one)
        questions += one.interrupts
        if name not in finished:
            left.append(task.name)
    if not left and not null_writes:
        # All have finished, and their barrier is still to come: so there is work left. (What a
        # command has started beside them is not shown, as in LangGraph.)
        left = [t.name for t in tasks]
    return StateSnapshot(
        values=view.values(spec.state_view)
        if state is None
        else project(spec, state, spec.state_view),
        next=tuple(left),
        config=view.place.config(view.name, view.parents),
        metadata=view.metadata,
        created_at=timestamp(view.row.created_at),
        parent_config=None if view.parent is None else view.place.config(view.parent, view.parents),
        tasks=tuple(shown),
        interrupts=tuple(questions),
    )


def _finished(
    tasks: Sequence[Task], ids: Sequence[bytes], pending: Pending
) -> dict[bytes, list[Write]]:
    """What the tasks that have finished (or whose error handlers have) wrote, by task id."""
    found = ((i, pending.output_of(t, i)) for t, i in zip(tasks, ids, strict=True))
    return {i: writes for i, writes in found if writes is not None}


def applied(spec: GraphSpec, state: ThreadState, done: list[TaskWrites]) -> ThreadState | None:
    """The state with what finished tasks wrote; None where that breaks a channel's rule: the
    run failed at that barrier, and its thread must stay readable."""
    tried = state.copy(spec)
    try:
        apply(spec, tried, done)
    except Exception:  # noqa: BLE001  # whatever a reducer raises: the run has reported it
        return None
    return tried


def graphs_inside(view: View, children: Collection[str]) -> dict[str, tuple[str, RunnableConfig]]:
    """Task id -> (node, config of the graph that it is or calls), for the tasks of a view."""
    place = view.place
    found = {}
    for task, task_id in zip(*view.due(), strict=True):
        if task.name in children:
            name = uuid_text(task_id)
            found[name] = (task.name, place.below(task.name, name))
    return found


def _task(
    spec: GraphSpec,
    task: Task,
    name: bytes,
    pending: Pending,
    *,
    live: bool,
    inside: Mapping[str, Inside] | None = None,
) -> PregelTask:
    done = name in pending.outputs
    asks = (pending.handler_of(task, name) if pending.handled else None) or name
    questions = pending.interrupts.get(asks, ())
    if live and asks in pending.outputs:
        questions = ()
    elif not live and not questions:
        questions = pending.interrupts.get(name, ())  # asked before the failure was handled
    known_as = uuid_text(name)
    return PregelTask(
        id=known_as,
        name=task.name,
        path=task.path,
        error=pending.errors.get(name),
        interrupts=questions,
        state=None if inside is None else inside.get(known_as),
        result=task_result(pending.outputs[name], spec.state_view) if done else None,
    )


def checkpoint_chunk(run: Run, due: Sequence[Task]) -> dict[str, Any]:
    """The `checkpoints` chunk of the checkpoint a run stands at."""
    place = Place(run.thread_id or "", run.ns, b"")
    return {
        "config": place.config(run.checkpoint_id, run.parents),
        "parent_config": None
        if run.parent_checkpoint is None
        else place.config(run.parent_checkpoint, run.parents),
        "values": project(run.spec, run.state, state_selector(run.spec)),
        "metadata": {
            "source": SOURCE_NAMES[run.source],
            "step": run.step - 1,
            "parents": dict(run.parents),
        },
        "next": [t.name for t in due],
        "tasks": list(_chunk_tasks(run, due, place)),
    }


def _chunk_tasks(run: Run, due: Iterable[Task], place: Place) -> Iterable[dict[str, Any]]:
    children = run.graph.children()
    for task in due:
        name = task.id(run.checkpoint_id, run.ns, run.step)
        shown = _task(run.spec, task, name, run.pending, live=False)
        entry: dict[str, Any] = {"id": shown.id, "name": shown.name}
        if shown.error is not None:
            entry["error"] = shown.error
        else:
            if shown.result:
                entry["result"] = shown.result
            entry["interrupts"] = tuple(interrupt_dict(i) for i in shown.interrupts)
        entry["state"] = place.below(task.name, shown.id) if task.name in children else None
        yield entry


__all__ = [
    "Inside", "Place", "View", "applied", "checkpoint_chunk", "empty_snapshot", "graphs_inside",
    "row_metadata", "snapshot", "timestamp",
]  # fmt: skip

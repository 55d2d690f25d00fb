"""Opening a thread: claim it for writing, or look at it, and revive what was loaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from stepwell._codec import Codec
from stepwell._context import current_task
from stepwell._engine.arguments import ON_CONFLICT, RunConfig, one_of, seconds
from stepwell._engine.halt import demanded
from stepwell._engine.pending import NULL_TASK, Pending
from stepwell._engine.program import Program
from stepwell._engine.snapshot import Place, View
from stepwell._ids import parse_checkpoint_id
from stepwell._journal.heads import HEAD_BYTES_MAX, Base, Head, Trail
from stepwell._journal.load import (
    Contribution,
    Folded,
    Piece,
    chain,
    contributions,
    fold,
    parent_in,
    parent_of,
    parse,
    trail,
)
from stepwell._journal.pages import Sheet
from stepwell._journal.record import KIND_COMMAND, KIND_UPDATE
from stepwell.checkpoint.driver import (
    CheckpointRow,
    HistoryPage,
    Loaded,
    LoadRequest,
    RunRow,
    RunStatus,
    Source,
    ThreadKey,
    ThreadRow,
    ThreadStatus,
    WriteRow,
)
from stepwell.errors import GraphMismatchError, NotFoundError, StorageError

if TYPE_CHECKING:
    from stepwell._engine.halt import Halt
    from stepwell._engine.recorder import Recorder
    from stepwell._journal.handle import ThreadHandle
    from stepwell._journal.journal import Journal

logger = logging.getLogger("stepwell")


class Opened:
    """A claimed thread and the checkpoint a run starts from."""

    __slots__ = (
        "addressed", "again", "checkpoint", "codec", "halt", "handle", "head", "journal", "key",
        "left", "ns", "open_run", "program", "rec", "runs", "superseded", "unfinished", "view",
    )  # fmt: skip

    def __init__(
        self,
        program: Program,
        codec: Codec,
        journal: Journal,
        handle: ThreadHandle,
        checkpoint: str | None,
        *,
        ns: str = "",
    ) -> None:
        thread = handle.loaded.thread
        self.ns = ns
        """The namespace that the checkpoint is in; the root's is empty."""
        self.program = program
        self.codec = codec
        self.journal = journal
        self.handle = handle
        self.key: ThreadKey = handle.key
        self.checkpoint = checkpoint
        """The checkpoint id that the caller named."""
        self.addressed = checkpoint is not None
        self.superseded = False
        self.view: View | None = None
        self.halt: Halt | None = None
        """Who may stop what runs under the claim."""
        self.rec: Recorder | None = None
        """Of the run that was made last."""
        self.again = False
        """Whether that run had begun under another claim."""
        self.head = 0
        """The newest checkpoint when it was made."""
        self.left: Sequence[WriteRow] | None = None
        """What open tasks of the newest checkpoint had left when it was loaded; None: it was
        another checkpoint that was loaded."""
        self.runs = 0 if thread is None else thread.runs
        self.unfinished = thread is not None and thread.status == ThreadStatus.RUNNING
        self.open_run: RunRow | None = (
            None if thread is None else handle.loaded.runs.get(thread.run)
        )

    def next_run(self) -> int:
        """The number of a new run of this thread."""
        self.runs += 1
        return self.runs

    async def left_open(self, run_id: str | None) -> RunRow | None:
        """The run that a caller goes on with who gives no input, under the same row: one whose
        worker is gone, or one that an idempotency key waits for. `run_id`: his name for it."""
        row = self.open_run
        if row is None or row.run != self.runs:
            return None
        if row.idempotency_key is None and run_id not in (None, row.run_id):
            return None
        if row.status == RunStatus.RUNNING:
            return row
        failed = row.status in (RunStatus.FAILED, RunStatus.CANCELLED)
        waits = failed and row.idempotency_key is not None and await self.stands_where_left(row)
        return row if waits else None

    async def stands_where_left(self, row: RunRow) -> bool:
        """Whether nothing but a run itself has moved the head since it began. To be asked at
        the head.

        What else moves it (an update, a rollback) may drop the run's input: what would go on
        then is not the call that was made. A migration of the state drops nothing.
        """
        if self.view is None:
            return not row.first_parent
        head: CheckpointRow | None = self.view.row
        if _is_of(self.view.row, row):
            return True
        page = await self.journal.history(self.key, self.ns, current=True)
        rows = {r.seq: r for r in chain(page.rows, page.segments)}
        while head is not None and not _is_of(head, row):
            extends = head.source == Source.UPDATE and head.parent is None
            migrates = extends and not parse(head)["t"]
            head = rows.get(parent_of(head)) if migrates else None
        return head is not None

    async def to_head(self) -> None:
        """Stand at the newest checkpoint, whichever the caller named."""
        if self.addressed:
            self.checkpoint, self.addressed = None, False
            await self.reload()

    def supersede(self, *, answered: bool) -> None:
        """Close the run that was cut off, or that waits for an answer and is not `answered` by
        the new one: something else came."""
        row = self.open_run
        if row is None:
            return
        left = (RunStatus.RUNNING,) if answered else (RunStatus.RUNNING, RunStatus.INTERRUPTED)
        if row.status in left:
            self.handle.append_status(run_row=row._replace(status=int(RunStatus.SUPERSEDED)))

    async def reload(self) -> None:
        """Look at the thread again, after something was written under this claim.

        Raises:
            NotFoundError: The checkpoint asked for is not in the thread.
        """
        await self.handle.flushed()
        seq = seq_of(self.checkpoint, self.key.thread_id)
        loaded = await self.journal.load(LoadRequest(self.key, self.ns, seq, current=True))
        await self.look(loaded, self.checkpoint)

    async def look(self, loaded: Loaded, checkpoint: str | None, head: Head | None = None) -> None:
        """Revive the checkpoint that the run starts from; None: the newest one. `head`: what is
        known of that."""
        thread_id = self.key.thread_id
        seq = seq_of(checkpoint, thread_id)
        self.left = loaded.writes if seq is None else None
        self.view = revive(
            self.program, self.codec, self.key, loaded, seq, ns=self.ns, track=True,
            late=self.handle.budget is None and not self.program.strict, head=head,
        )  # fmt: skip
        if self.handle.keeps:
            self._remember(loaded, head)
        if checkpoint is not None and (self.view is None or self.view.name != checkpoint):
            msg = (
                f"Thread {thread_id!r} has no checkpoint {checkpoint!r}; get_state_history lists "
                "those it has."
            )
            raise NotFoundError(msg, thread_id=thread_id)
        if self.view is None:
            return
        self.superseded = self.view.row.seq != self.handle.head_of(self.ns)
        if self.superseded:
            page = await self.journal.page(self.key, self.ns, self.view.row.seq, 1, current=True)
            self.view.pending = past_pending(self.codec, self.view, page)

    def _remember(self, loaded: Loaded, head: Head | None) -> None:
        """Keep what the newest state of the root is, for whoever claims the thread next."""
        handle, view, thread = self.handle, self.view, loaded.thread
        handle.trail = None
        if self.ns or thread is None or self.checkpoint is not None:
            return
        if view is None:
            if thread.record_no == 0:
                handle.trail = Trail(Base(Folded(), {}, row=None, parent=None, tail=0))
        elif view.upgrade is None and view.row.seq == handle.heads[0]:
            tail = head.tail if head is not None and loaded.newest_only else len(loaded.rows)
            base = view.base(tail)
            handle.trail = Trail(base) if base.size < HEAD_BYTES_MAX else None


async def claim_thread(
    program: Program,
    config: RunConfig,
    *,
    on_conflict: str,
    lock_timeout: float | None,
    inner: Program | None = None,
    ns: str = "",
    run_id: str = "",
) -> Opened:
    """Become the writer of the config's thread.

    Args:
        program: The graph whose thread it is.
        config: Names the thread, and the checkpoint to start from.
        on_conflict: What to do while somebody else holds it; see `OnConflict`.
        lock_timeout: How long.
        run_id: The run it is wanted for.
        inner: The graph to be opened, if it is one inside `program`, in namespace `ns`.

    Raises:
        ThreadBusyError: Somebody else holds it (and `on_conflict` or `lock_timeout` says not
            to wait any longer), or the calling code itself does.
        GraphMismatchError: The thread does not fit the graph.
        NotFoundError: The config names a checkpoint that is not in the thread.
    """
    saver = program.saver
    thread_id = config.require_thread("This")
    if saver is None:
        msg = "a graph without a checkpointer has no threads"
        raise StorageError(msg)
    one_of("on_conflict", on_conflict, ON_CONFLICT)
    lock_timeout = seconds("lock_timeout", lock_timeout)
    journal = await saver.journal()
    key = saver.key(thread_id)
    checkpoint = config.checkpoint_id
    seq = seq_of(checkpoint, thread_id)
    current = current_task.get()
    handle = await journal.acquire(
        key,
        wait=on_conflict != "reject",
        timeout=lock_timeout,
        load_ns=ns,
        load_seq=seq,
        held=[] if current is None else current.held,
        demand=demanded(on_conflict, run_id),
    )
    handle.screen, handle.budget = saver.screen, saver.budget
    try:
        check_graph(program, handle.loaded.thread)
        shown = inner or program
        opened = Opened(shown, shown.codec, journal, handle, checkpoint, ns=ns)
        if opened.unfinished and checkpoint is not None and inner is None:
            # The open run is finished at the head first; the old checkpoint comes after.
            await opened.look(await journal.load(LoadRequest(key, ns, current=True)), None)
        else:
            await opened.look(handle.loaded, checkpoint, handle.known)
    except BaseException:
        await give_back(handle)
        raise
    return opened


async def give_back(handle: ThreadHandle) -> None:
    """Let the thread go; a thread that was made by claiming it and never written goes too."""
    loaded = handle.loaded.thread
    untouched = loaded is not None and loaded.record_no == 0 and handle.record_no == 0
    try:
        if untouched and handle.failure is None:
            await handle.delete()
    except StorageError as exc:
        logger.debug("Thread %r is empty and stays: %s", handle.key.thread_id, exc)
    finally:
        await handle.release()


def _is_of(head: CheckpointRow, row: RunRow) -> bool:
    return head.run == row.run or head.seq == row.first_parent


def seq_of(checkpoint: str | None, thread_id: str) -> int | None:
    """The seq that a checkpoint id names; None for None.

    Raises:
        NotFoundError: It is no checkpoint id at all.
    """
    if checkpoint is None:
        return None
    parsed = parse_checkpoint_id(checkpoint)
    if parsed is None:
        msg = f"{checkpoint!r} is not a checkpoint id of thread {thread_id!r}."
        raise NotFoundError(msg, thread_id=thread_id)
    return parsed[1]


def check_graph(program: Program, thread: ThreadRow | None) -> None:
    """Apply the graph's mismatch policy to a thread.

    Raises:
        GraphMismatchError: The thread's state is newer, or the policy is "refuse" and another
            graph wrote it.
    """
    if thread is None:
        return
    name = thread.key.thread_id
    if thread.state_version > program.state_version:
        msg = (
            f"Thread {name!r} has state version {thread.state_version}, graph {program.name!r} "
            f"only knows {program.state_version}: deploy the newer graph."
        )
        raise GraphMismatchError(msg, thread_id=name)
    if not thread.fingerprint or thread.fingerprint == program.fingerprint:
        return
    if thread.state_version < program.state_version and program.migrations:
        return  # another shape is what the migrations are for
    if program.on_mismatch == "accept":
        return
    msg = (
        f"Thread {name!r} was last written by graph {thread.graph!r} with another shape than "
        f"{program.name!r} has now."
    )
    if program.on_mismatch == "refuse":
        raise GraphMismatchError(
            msg + ' Compile with on_mismatch="warn" to run it anyway.', thread_id=name
        )
    logger.warning("%s", msg)


def check_due(program: Program, folded: Folded, thread_id: str) -> None:
    """Refuse a thread whose next node, or half-full join, the graph does not have."""
    for channel in folded.values:
        if channel in program.spec.channels or not channel.startswith(("branch:to:", "join:")):
            continue
        msg = (
            f"Thread {thread_id!r} is about to go on at {channel.split(':')[-1]!r}, which graph "
            f"{program.name!r} does not have. Run it with the graph that wrote it, or update its "
            "state as a node that exists."
        )
        raise GraphMismatchError(msg, thread_id=thread_id)


def revive(
    program: Program,
    codec: Codec,
    key: ThreadKey,
    loaded: Loaded,
    seq: int | None,
    *,
    ns: str = "",
    track: bool = False,
    late: bool = False,
    head: Head | None = None,
) -> View | None:
    """The checkpoint that was loaded; None if there is none.

    Args:
        track: It is to be written on: changes in place are to be noticed.
        late: Encodings of long lists are made only when they are asked for.
        head: What is known of it.

    Raises:
        CorruptRecordError: A record is damaged.
        GraphMismatchError: The thread goes on at a node that the graph does not have.
    """
    row: Piece | None
    again: Callable[[], Folded]
    if head is None:
        pieces = trail(loaded, seq)
        row = pieces[-1] if pieces else None
        parent, again = parent_in(pieces), partial(fold, pieces)
    else:
        row, parent, again = loaded.rows[-1], head.parent, head.folded
    if loaded.thread is None or not isinstance(row, CheckpointRow):
        return None
    folded = again()
    view = View(
        program,
        Place(key.thread_id, ns, loaded.thread.uid),
        row=row,
        parent=parent,
        folded=folded,
        pending=Pending.from_rows(loaded.writes, codec),
        run=loaded.runs.get(row.run),
        track=track,
        again=again if late else None,
    )
    check_due(program, folded, key.thread_id)
    return view


def past_pending(codec: Codec, view: View, page: HistoryPage) -> Pending:
    """What the tasks of a checkpoint in the past left: in its rows, and in its first child's.

    `page`: that of this one checkpoint.
    """
    seq = view.row.seq
    pending = Pending.from_rows((w for w in page.writes if w.seq == seq), codec)
    children = Children(codec)
    Sheet(page).states({seq}, children)
    for found, version in children.found.get(seq, ()):
        add_contributions(view, pending, found, version)
    return pending


class Children:
    """What the checkpoints that extend others tell of the tasks of these, while all are folded."""

    __slots__ = ("_codec", "found")

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.found: dict[int, list[tuple[list[Contribution], int]]] = {}
        """Contributions by the seq of the checkpoint extended, with the state version of each."""

    def __call__(self, row: CheckpointRow, document: dict[str, Any], after: Folded) -> None:
        if row.source == Source.LOOP or shows_tasks(row):
            found = contributions(document, after, self._codec)
            if row.source == Source.UPDATE:
                found = told(row, found)
            self.found.setdefault(parent_of(row), []).append((found, after.state_version))


def shows_tasks(row: CheckpointRow) -> bool:
    """Whether a checkpoint's body tells what the tasks planned at its parent did."""
    if row.source == Source.UPDATE:
        return row.parent is None  # an update at the head; elsewhere it began a branch
    return row.source == Source.LOOP


def told(row: CheckpointRow, found: list[Contribution]) -> list[Contribution]:
    """The contributions that tell how tasks of the superstep before `row` ended.

    Of an update only what it did as a node: tasks it closed have pending writes, or none.
    """
    if row.source != Source.UPDATE:
        return found
    return [c for c in found if c.kind == KIND_UPDATE]


def add_contributions(
    view: View, pending: Pending, found: Iterable[Contribution], version: int
) -> None:
    """File contributions of a checkpoint's child under the tasks they are from.

    `version` is the one that the child's state is of.

    An update as a node counts as the result of that node's task; what a command wrote counts
    for the checkpoint itself.
    """
    tasks, ids = view.due()
    names = {(t.name, t.index): i for t, i in zip(tasks, ids, strict=True)}
    for contribution in found:
        if view.upgrade is not None:
            view.upgrade.contribution(contribution, version)
        if contribution.kind == KIND_COMMAND:
            pending.outputs.setdefault(NULL_TASK, contribution.writes)
            continue
        if contribution.kind == KIND_UPDATE:
            name = next(
                (
                    i
                    for t, i in zip(tasks, ids, strict=True)
                    if t.name == contribution.name and i not in pending.outputs
                ),
                None,
            )
        else:
            name = names.get((contribution.name, contribution.kind))
        if name is not None:
            pending.add(name, contribution)


__all__ = [
    "Children",
    "Opened",
    "add_contributions",
    "check_due",
    "check_graph",
    "claim_thread",
    "give_back",
    "parent_of",
    "past_pending",
    "revive",
    "seq_of",
    "shows_tasks",
    "told",
]  # fmt: skip

"""A graph inside a node of another one: a run in a namespace of its parent's thread.

The nested run shares the claim of its root: its records go through the same handle, under
its own namespace, and only the root's last record lets the thread go. Its input need not be
durable before its first node starts, as the root's must: a nested run that left nothing is
begun again by the task that it is part of.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from stepwell._context import current_task
from stepwell._engine.arguments import RunConfig
from stepwell._engine.begin import begin
from stepwell._engine.ending import complete, hold_back, release
from stepwell._engine.held import left_by
from stepwell._engine.open import Opened, past_pending, revive, seq_of
from stepwell._engine.program import Program
from stepwell._engine.recorder import Recorder
from stepwell._engine.run import Run
from stepwell._engine.screened import recorder
from stepwell._engine.snapshot import View
from stepwell._engine.task import TaskRun
from stepwell._plan.state import ThreadState
from stepwell.checkpoint.driver import Loaded, LoadRequest
from stepwell.constants import NS_SEP
from stepwell.errors import NotFoundError, UsageError
from stepwell.types import Command


def outer_task(config: RunConfig) -> TaskRun | None:
    """The task that a run with this config is part of; None for a root run.

    Code inside a node calls a nested graph with the node's own config, or with one that says
    nothing of threads. A config that names another place begins a root run there.
    """
    outer = current_task.get()
    if not isinstance(outer, TaskRun):
        return None
    same = config.checkpoint_ns == outer.ns and config.thread_id == outer.run.thread_id
    return outer if same else None


def _namespace(program: Program, outer: TaskRun) -> str:
    """The namespace of the next graph that a task calls: the task's own for the first, with a
    number for each further one."""
    ns = outer.ns
    if outer.graphs_called:
        ns = f"{ns}{NS_SEP}{outer.graphs_called}"
    outer.graphs_called += 1
    return program.own_namespace(ns)


async def run_nested(
    program: Program,
    given: Any,
    config: RunConfig,
    outer: TaskRun,
    configure: Callable[[Run], None],
) -> Any:
    """Run a graph as part of a task of another one.

    Returns:
        The graph's output.

    Raises:
        GraphInterrupt: It stopped at questions, or at a breakpoint; so does its task.
        Exception: What a node raised.
    """
    if outer.over:
        msg = (
            f"Graph {program.name!r} was called by what node {outer.name!r} left running when it "
            "ended. Await the graphs that a node calls before it returns."
        )
        raise UsageError(msg, node=outer.name)
    ns = _namespace(program, outer)
    with _listed(outer):
        return await _run(program, given, config, outer, ns, configure)


@contextlib.contextmanager
def _listed(outer: TaskRun) -> Iterator[None]:
    """Note where the graph runs, so that it can be stopped if its caller ends before it."""
    here = asyncio.current_task()
    if here is None:
        yield
        return
    if outer.inner is None:
        outer.inner = set()
    nested = here in outer.inner
    outer.inner.add(here)
    try:
        yield
    finally:
        if not nested:
            outer.inner.discard(here)


async def _run(
    program: Program,
    given: Any,
    config: RunConfig,
    outer: TaskRun,
    ns: str,
    configure: Callable[[Run], None],
) -> Any:
    family = outer.run.family
    async with family.turn(ns) if program.keeps_history else contextlib.nullcontext():
        start = _Start(program, config, outer, ns)
        await start.open()
        run = start.run()
        configure(run)
        given = None if start.resumes(given, run) else given
        begin(run, given, addressed=start.addressed, superseded=start.superseded)
        try:
            try:
                await run.loop()
            except BaseException:
                hold_back(run)
                raise
            complete(run)
            return run.publisher.result()
        finally:
            if family.spaces.get(ns) is not run and ns not in family.at_exit:
                release(run)


class _Start:
    """Finds out where a nested run starts from, and makes it."""

    __slots__ = (
        "addressed", "bounded", "config", "known", "ns", "outer", "program", "rec", "replays",
        "superseded", "view",
    )  # fmt: skip

    def __init__(self, program: Program, config: RunConfig, outer: TaskRun, ns: str) -> None:
        self.program = program
        self.config = config
        self.outer = outer
        self.ns = ns
        self.known = outer.run.family.spaces.get(ns)
        """The run before in this namespace, if what it left is not written yet."""
        self.view: View | None = None
        self.rec: Recorder | None = None
        self.addressed = False
        self.superseded = False
        self.replays = False
        """Whether the root's run is a replay, and says not itself where the graph is to start."""
        self.bounded = False
        """Whether the checkpoint is one that the replay went back to."""

    async def open(self) -> None:
        """Load the checkpoint to start from, if there is one.

        Raises:
            NotFoundError: The config names a checkpoint that is not there.
        """
        parent = self.outer.run
        opened = parent.opened
        if parent.rec is None or opened is None or not self.program.persists:
            return
        self.program.registry.inside(parent.graph.registry)  # the whole state is its input
        handle, ns, replay = parent.rec.handle, self.ns, parent.family.replay
        name = self.config.checkpoint_map.get(ns)
        self.replays = name is None and replay is not None
        if self.known is not None and not parent.rec.exits:
            # Left out until now, and wanted after all: its task is tried again.
            parent.family.write_now(self.ns)
            self.known = None
        if self.known is not None:
            self.rec = self.known.rec
            return
        asked = seq = seq_of(name, opened.key.thread_id)
        loaded: Loaded | None = None
        if handle.may_exist(ns) and (parent.resuming or self.program.keeps_history or name):
            # Namespaces of tasks that were planned under this claim are new, and not looked up.
            loaded = await opened.journal.load(LoadRequest(opened.key, ns, seq, current=True))
            handle.learn(loaded)
        head = handle.head_of(ns)
        if name is None and replay is not None and replay.first_visit(ns):
            self.bounded = True
            seq = await replay.seq(opened, ns) if head else 0
        if head and seq != 0:
            if loaded is None or seq != asked:
                await handle.flushed()
                loaded = await opened.journal.load(LoadRequest(opened.key, ns, seq, current=True))
            await self._look(opened, loaded, name, seq)
        self.rec = recorder(
            handle, self.program, self.view,
            ns=ns, durability=parent.rec.durability, strict=parent.rec.strict,
            run_row=parent.rec.run_row, around=parent.rec,
            policy=self.program.checkpoint_when or parent.rec.policy,
        )  # fmt: skip
        self.rec.keep = True

    async def _look(
        self, opened: Opened, loaded: Loaded, name: str | None, seq: int | None
    ) -> None:
        key, program, ns = opened.key, self.program, self.ns
        view = revive(program, program.codec, key, loaded, seq, ns=ns, track=True)
        if name is not None and (view is None or view.name != name):
            msg = f"Thread {key.thread_id!r} has no checkpoint {name!r} in namespace {ns!r}."
            raise NotFoundError(msg, thread_id=key.thread_id, ns=ns)
        self.view = view
        self.addressed = name is not None
        self.superseded = view is not None and view.row.seq != opened.handle.head_of(ns)
        if view is not None and self.superseded:
            page = await opened.journal.page(key, ns, view.row.seq, 1, current=True)
            view.pending = past_pending(program.codec, view, page)

    def resumes(self, given: Any, run: Run) -> bool:
        """Whether the run goes on where it stands, whatever it is given.

        A replay begins its graphs again: each time one is called, not the first time alone.
        What has begun again goes on when its task is tried again.
        """
        if isinstance(given, Command) or not run.state.started or self.bounded:
            return False
        return self.outer.attempt > 1 or (self.outer.run.resuming and not self.replays)

    def run(self) -> Run:
        """The run, standing at that checkpoint."""
        parent, view, known, program = self.outer.run, self.view, self.known, self.program
        state = ThreadState(program.spec) if view is None else view.state
        run = Run(
            program, state if known is None else known.state, self.config,
            clock=parent.clock, ids=parent.ids, run_id=parent.run_id, ns=self.ns,
        )  # fmt: skip
        run.nested = True
        run.outer = self.outer
        run.resume_map = parent.resume_map
        run.rec = self.rec
        if self.rec is None:
            return run
        run.opened = parent.opened
        run.parents = {k: v for k, v in self.config.checkpoint_map.items() if k != self.ns}
        self.rec.place_under(run.parents, {} if view is None else view.parents)
        if known is not None:
            run.step, run.source = known.step, known.source
            run.pending, run.carried, run.relays = left_by(known), known.carried, True
        elif view is not None:
            run.continue_from(view)
        return run


__all__ = ["outer_task", "run_nested"]

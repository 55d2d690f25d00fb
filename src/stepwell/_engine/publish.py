"""What a run shows: chunks to its sink, and the output its caller gets."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref

import orjson

from stepwell._engine.ending import finished
from stepwell._engine.pending import dump_interrupts
from stepwell._engine.snapshot import applied, checkpoint_chunk
from stepwell._engine.stream import INTERRUPT, Outlet, task_ended, task_started, update_chunk
from stepwell._journal.screen import Screen, untracked_screen
from stepwell._plan.apply import TaskWrites
from stepwell._plan.output import output_selector, project
from stepwell._plan.tasks import Task
from stepwell.constants import TAG_HIDDEN
from stepwell.errors import InternalError
from stepwell.types import GraphOutput, Interrupt

if TYPE_CHECKING:
    from stepwell._engine.run import Run
    from stepwell._engine.task import TaskRun


class Publisher:
    """Publishes one run. Without a sink it only remembers whether there is output yet."""

    __slots__ = (
        "_keeps", "_latest", "_owed", "_shown", "_whose", "knows", "output_keys", "sink", "split",
    )  # fmt: skip

    def __init__(self, run: Run) -> None:
        # No circle: a run that is over is gone at once, and what it holds with it.
        self._whose = ref(run)
        self._keeps = run.spec.output_steps
        """Whether values have to be kept when they are shown: a later step may empty them."""
        self.sink: Outlet | None = None
        self.output_keys: Sequence[str] | str = output_selector(run.spec)
        self._latest: Any = None
        self._owed: Sequence[Task] | None = None
        """What is due behind a checkpoint that was left out, and not shown therefore."""
        self._shown = False
        self.knows = False
        """Whether `values` need not be told of barriers any more: that there is output is all that
        anybody will ask."""
        self.split = False

    @property
    def _run(self) -> Run:
        run = self._whose()
        if run is None:
            msg = "a publisher has outlived its run"
            raise InternalError(msg)
        return run

    @property
    def hides(self) -> bool:
        """Whether the caller's tags keep the run's tasks off the stream."""
        return TAG_HIDDEN in self._run.config.tags

    def custom(self, value: Any) -> None:
        """A chunk of the node's own; sync nodes call this from their thread."""
        if self.sink is not None and "custom" in self.sink.modes:
            self.sink.put("custom", value)

    def started(self, tasks: Sequence[TaskRun]) -> None:
        """A superstep begins; tasks that had finished before show what they wrote."""
        sink, run = self.sink, self._run
        if sink is None or self.hides:
            return
        shown = [t for t in tasks if not t.task.node.hidden]
        if sink.wants("tasks"):
            for task in shown:
                sink.put("tasks", task_started(task), run.step, run.clock.wall())
        for task in shown:
            if task.loaded and task.handled is None:
                sink.put("updates", update_chunk(task, self.output_keys, cached=True))

    def recalled(self, task: TaskRun) -> None:
        """A task's result came from the cache: it neither began nor ended."""
        if self.sink is not None and not task.task.node.hidden and not self.hides:
            self.sink.put("updates", update_chunk(task, self.output_keys, cached=True))

    def ended(self, task: TaskRun) -> None:
        """A task has ended; of one that was cancelled because another failed nothing is shown."""
        sink, run = self.sink, self._run
        if sink is None or task.task.node.hidden or task.paused or self.hides:
            return
        if isinstance(task.failure, CancelledError):
            return
        if task.is_call:
            self._call_ended(sink, task)
            return
        if task.interrupts:
            sink.put("updates", {INTERRUPT: task.interrupts})
            if "values" in sink.modes:
                values = project(run.spec, run.state, self.output_keys)
                known = values if isinstance(values, dict) else {}
                sink.put("values", {**known, INTERRUPT: task.interrupts})
        elif task.writes is not None:
            sink.put("updates", update_chunk(task, self.output_keys))
        if sink.wants("tasks"):
            sink.put("tasks", task_ended(task, run.spec.state_keys), run.step, run.clock.wall())

    def call_started(self, call: TaskRun) -> None:
        """A task call begins, or returns at once what it had returned before."""
        sink, run = self.sink, self._run
        if sink is not None and sink.wants("tasks") and not self.hides:
            sink.put("tasks", task_started(call), run.step, run.clock.wall())

    def _call_ended(self, sink: Outlet, call: TaskRun) -> None:
        """A question of a call is shown as its caller's."""
        run = self._run
        if call.interrupts:
            return
        if call.writes is not None:
            chunk: dict[str, Any] = {call.name: call.writes[0][1]}
            if call.recalled:
                chunk["__metadata__"] = {"cached": True}
            sink.put("updates", chunk)
        if sink.wants("tasks") and not call.recalled:
            keys = [channel for channel, _ in call.writes or ()]
            sink.put("tasks", task_ended(call, keys), run.step, run.clock.wall())

    def values(self, done: Sequence[TaskWrites] | None) -> None:
        """Show the output keys if a barrier changed them (always, when `done` is None)."""
        keys, run = self.output_keys, self._run
        if done is not None and not self._touched(keys, done):
            return
        self._shown = True
        self.knows = self.sink is None and not self._keeps
        if self._keeps:
            self._latest = project(run.spec, run.state, keys)
        if self.sink is not None and "values" in self.sink.modes:
            self.sink.put("values", project(run.spec, run.state, keys))

    def _touched(self, keys: Sequence[str] | str, done: Sequence[TaskWrites]) -> bool:
        watched = (keys,) if isinstance(keys, str) else keys
        updated = self._run.state.updated
        if not updated or updated.isdisjoint(watched):
            return False
        for _, writes in done:
            for channel, _ in writes:
                if channel in watched:
                    return True
        return False

    def stopped(self) -> None:
        """The run stops at a breakpoint."""
        if self.sink is not None:
            self.sink.put("updates", {INTERRUPT: ()})

    async def checkpoint(self, due: Sequence[Task]) -> None:
        """Show the checkpoint that the run stands at, once it is durable."""
        sink, run = self.sink, self._run
        if sink is None or run.rec is None or not sink.wants("checkpoints"):
            return
        if not run.rec.exits:
            if run.rec.held_back:
                self._owed = due  # nobody would find it in the history either
                return
            await run.rec.durable()
        self._owed = None
        sink.put("checkpoints", checkpoint_chunk(run, due), run.step - 1, run.clock.wall())

    async def stopping(self) -> None:
        """Write the checkpoint that the run stops at, if it was left out, and show it.

        Raises:
            UnsupportedTypeError: It cannot be stored.
        """
        rec = self._run.rec
        if rec is None or not rec.holds or rec.exits or rec.handle.failure is not None:
            return
        rec.write_held()
        if self._owed is not None:
            await self.checkpoint(self._owed)

    def result(self) -> Any:
        """What `invoke` returns: the last output values, and the questions asked.

        Where the output is no dict, the questions take its place; `split` gives both.
        """
        run = self._run
        known = None
        if run.interrupts or not self._keeps:
            known = project(run.spec, run.state, self.output_keys)
        latest: Any = None
        if self._shown:
            latest = self._latest if self._keeps else known
        return output_of(latest, known, run.interrupts, split=self.split)

    def foresee(self, done: Sequence[TaskWrites]) -> None:
        """Note that a barrier's values are going to be shown, without showing them yet."""
        if self._touched(self.output_keys, done):
            self._shown = True
            if self._keeps:
                self._latest = project(self._run.spec, self._run.state, self.output_keys)

    def outcome(self) -> dict[str, Any]:
        """What a run row keeps of the output of a run that stops now; see `_engine.once`.

        "n": it had no output; "q": the questions it asked; "v": the output itself, where the
        checkpoint that the run stops at does not hold it: beside tasks that asked others have
        finished, or a command's writes wait for a barrier.
        """
        run, keys = self._run, self.output_keys
        kept: dict[str, Any] = {}
        beside = finished(run) if run.interrupts else []
        watched = (keys,) if isinstance(keys, str) else keys
        if not self._shown and not any(w[0] in watched for _, writes in beside for w in writes):
            kept["n"] = 1
        screen = None if run.rec is None else run.rec.handle.screen
        if self._keeps:
            kept["v"] = self._output(self._latest, screen)
        elif beside or run.null_writes:
            state = applied(run.spec, run.state, beside) or run.state
            kept["v"] = self._output(project(run.spec, state, keys), screen)
        if run.interrupts:
            asked = dump_interrupts(run.interrupts)
            kept["q"] = self._kept(asked if screen is None else screen.interrupts(asked))
        return kept

    def _output(self, value: Any, screen: Screen | None) -> list[Any]:
        for hides in (untracked_screen(self._run.spec.untracked), screen):
            if hides is not None:
                value = hides.output(value, self.output_keys)
        return self._kept(value)

    def _kept(self, value: Any) -> list[Any]:
        encoded = self._run.graph.codec.encode(value, channel="__output__")
        return [orjson.Fragment(encoded.data), int(encoded.tagged)]


def output_of(latest: Any, known: Any, interrupts: Sequence[Interrupt], *, split: bool) -> Any:
    """What `invoke` returns: values, and questions under a key of their own.

    Args:
        latest: The values that were shown last; None: none were.
        known: The values as they stand, shown or not.
        interrupts: The questions.
        split: Give both, as a `GraphOutput`.
    """
    if interrupts and not isinstance(latest, dict):
        latest = known if isinstance(known, dict) else {}
    if split:
        return GraphOutput(latest, tuple(interrupts))
    return {**latest, INTERRUPT: list(interrupts)} if interrupts else latest


__all__ = ["Publisher", "output_of"]

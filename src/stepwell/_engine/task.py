"""A task while it runs: what user code sees of it, and the answers it was given."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepwell._answers import AnswerCheck
from stepwell._engine.messages import callbacks_for, emit
from stepwell._engine.timed import guarded_writer, heartbeat_of, progressed
from stepwell._plan.tasks import Task, Write
from stepwell.config import RunnableConfig
from stepwell.errors import GraphInterrupt, NodeError
from stepwell.runtime import DEFAULT_RUNTIME, ExecutionInfo, Runtime, server_info
from stepwell.types import Interrupt, interrupt_id

if TYPE_CHECKING:
    from stepwell._engine.calls import Calls
    from stepwell._engine.run import Run
    from stepwell._engine.timed import Guard
    from stepwell._journal.handle import ThreadHandle


class TaskRun:
    """One task of a running superstep. Implements `stepwell._context.CurrentTask`.

    Config and runtime are built when somebody asks: most nodes never do.
    """

    # Most of this most tasks never touch: defaults stand here, and an instance is made of two.
    is_call = False
    """Whether another task called it."""
    recalled = False
    """Whether its result came from the cache; only calls say so."""
    began = 0.0
    """When it began, by the monotonic clock; 0 where that is when its superstep did."""
    answers: Sequence[Any] = ()
    kept = 0
    """How many answers are stored."""
    new_answers = False
    took_answer = False
    """Whether one of the answers was the caller's bare answer."""
    asked = 0
    graphs_called = 0
    """Graphs that this attempt has run as part of it."""
    inner: set[asyncio.Task[Any]] | None = None
    """Tasks of the event loop that run them now."""
    over = False
    """Whether the attempt has ended: what it left running may begin nothing more."""
    attempt = 1
    calls: Calls | None = None
    """The tasks it has called, once it has called one."""
    first_attempt_at: float | None = None
    sent: list[Write] | None = None
    """Writes that the node has handed over while it runs, if any."""
    writes: list[Write] | None = None
    """The task's writes once it has finished, None before."""
    encoded: Any = None
    loaded = False
    """Whether it had finished before this run began."""
    left = False
    """Whether what it left behind has been filed under its checkpoint."""
    interrupts: tuple[Interrupt, ...] = ()
    failure: BaseException | None = None
    handled: BaseException | None = None
    """What it failed with, once its error handler has taken over."""
    guard: Guard | None = None
    """Its present attempt, if that has a time limit."""
    error: NodeError | None = None
    """What an error handler is told."""
    _config: RunnableConfig | None = None
    _runtime: Runtime[Any] | None = None

    def __init__(self, run: Run, task: Task, answers: Sequence[Any] = ()) -> None:
        self.run = run
        self.task = task
        if answers:
            self.answers = list(answers)
            self.kept = len(answers)

    @property
    def name(self) -> str:
        return self.task.node.name

    @property
    def paused(self) -> bool:
        """Whether it stopped at a breakpoint of a graph inside it: no result, no question."""
        return self.writes is None and self.failure is None and not self.interrupts

    @property
    def id_bytes(self) -> bytes:
        return self.task.id(self.run.place_id, self.run.ns, self.run.step)

    @property
    def id(self) -> str:
        return str(uuid.UUID(bytes=self.id_bytes))

    @property
    def ns(self) -> str:
        """The namespace a subgraph of this task would have."""
        parent = self.run.ns
        own = f"{self.name}:{self.id}"
        return f"{parent}|{own}" if parent else own

    @property
    def config(self) -> RunnableConfig:
        if self._config is None:
            self._config = self._make_config()
        return self._config

    def _make_config(self) -> RunnableConfig:
        config, node = self.run.config, self.task.node
        own: dict[str, Any] = {
            "langgraph_step": self.run.step,
            "langgraph_node": node.name,
            "langgraph_triggers": self.task.triggers,
            "langgraph_path": self.task.path,
            "langgraph_checkpoint_ns": self.ns,
        }
        if self.run.ns:
            own["checkpoint_ns"] = self.run.ns
        if config.thread_id is not None:
            own["thread_id"] = config.thread_id
        given: RunnableConfig = {
            "metadata": {**config.metadata, **own, **node.metadata},
            "configurable": {
                **config.configurable,
                "checkpoint_ns": self.ns,
                "checkpoint_id": None,
                "checkpoint_map": {**config.checkpoint_map, self.run.ns: self.run.place_id},
            },
        }
        if (callbacks := callbacks_for(self)) is not None:
            given["callbacks"] = callbacks
        if config.tags:
            given["tags"] = list(config.tags)
        if config.limited:
            given["recursion_limit"] = config.recursion_limit
        if config.run_id is not None:
            given["run_id"] = config.run_id
        if config.max_concurrency is not None:
            given["max_concurrency"] = config.max_concurrency
        return given

    @property
    def user_metadata(self) -> dict[str, Any]:
        """The metadata that the caller and the graph gave."""
        metadata = {**self.run.config.metadata, **self.task.node.metadata}
        if self.run.config.tags:
            metadata["tags"] = list(self.run.config.tags)
        return metadata

    @property
    def stream_writer(self) -> Callable[[Any], None]:
        write = self.run.publisher.custom
        if self.guard is None and self.run.outer is None:
            return write
        return guarded_writer(self, write)

    @property
    def runtime(self) -> Runtime[Any]:
        if self._runtime is None:
            run = self.run
            if self.first_attempt_at is None:
                self.first_attempt_at = run.clock.wall()
            self._runtime = Runtime(
                context=run.context,
                store=self._store(),
                stream_writer=self.stream_writer,
                heartbeat=heartbeat_of(self) or DEFAULT_RUNTIME.heartbeat,
                control=run.control,
                previous=run.state.previous,
                server_info=server_info(run.config.configurable),
                run_id=run.run_id,
                epoch=run.epoch,
                message_writer=self.emit_message,
                idempotency_key=self.idempotency_key,
                execution_info=ExecutionInfo(
                    checkpoint_id=run.place_id,
                    checkpoint_ns=self.ns,
                    task_id=self.id,
                    thread_id=run.thread_id,
                    run_id=run.config_run_id,
                    node_attempt=self.attempt,
                    node_first_attempt_time=self.first_attempt_at,
                ),
            )
        return self._runtime

    def _store(self) -> Any:
        """The store of the graph around this one, whatever this one was compiled with; else its
        own."""
        run = self.run
        store = run.graph.store
        if run.outer is not None and (run.nested or store is None):
            lent = run.outer.runtime.store
            return store if lent is None else lent
        return store

    @property
    def idempotency_key(self) -> str:
        return f"{self.run.thread_id or self.run.run_id}/{self.id_bytes.hex()}"

    @property
    def held(self) -> list[ThreadHandle]:
        handles = [] if self.run.rec is None else [self.run.rec.handle]
        return handles if self.run.outer is None else handles + self.run.outer.held

    def emit_message(self, message: Any, metadata: Mapping[str, Any] | None = None) -> None:
        if progressed(self):
            emit(self, message, metadata)

    def overhear(self, message: Any, metadata: dict[str, Any], once: bool) -> None:
        """Show what a model that this task calls has said."""
        outlet = self.run.publisher.sink
        if progressed(self) and outlet is not None:
            if message.id is None:
                message.id = self.run.ids.message_id()
            outlet.put_message(message, metadata, message.id, once=once)

    def send(self, channel: str, value: Any) -> None:
        if self.sent is None:
            self.sent = []
        self.sent.append((channel, value))

    def interrupt(self, value: Any, response_schema: Any) -> Any:
        """Return the next answer, or raise the question that has none yet."""
        index = self.asked
        self.asked += 1
        check = None if response_schema is None else AnswerCheck(response_schema)
        if index >= len(self.answers):
            found, answer = self.run.take_answer()
            if not found:
                schema = None if check is None else check.shown()
                name = interrupt_id(self.ns, index)
                raise GraphInterrupt((Interrupt(value, name, response_schema=schema),))
            self.answers = [*self.answers, answer]
            self.new_answers = self.took_answer = True
        if check is None:
            return self.answers[index]
        try:
            return check(self.answers[index])
        except Exception:
            self._forget(index)
            raise

    def _forget(self, index: int) -> None:
        """Drop an answer that did not fit its question, unless it did when it was given."""
        if index >= self.kept:
            self.answers = self.answers[:index]
            self.new_answers = len(self.answers) > self.kept

    def answer_by_id(self, given: Mapping[str, Any]) -> None:
        """Take the answer that names the task's next question."""
        pending = self.run.pending
        asked = [i.id for i in pending.interrupts.get(self.id_bytes, ())]
        if pending.called and not self.is_call:  # what its calls have asked is answered to them
            others = {i.id for n in pending.called for i in pending.interrupts.get(n, ())}
            asked = [name for name in asked if name not in others]
        first, after = interrupt_id(self.ns, 0), interrupt_id(self.ns, len(self.answers))
        for question in (after, first, *asked):
            if question in given:
                self.answers = [*self.answers, given[question]]
                self.new_answers = True
                return

    def again(self) -> None:
        """Start over for another attempt."""
        self.attempt += 1
        self.over = False
        self.asked = 0
        self.graphs_called = 0
        self.sent = None
        if self.calls is not None:
            self.calls.rewind()
        self._runtime = None


__all__ = ["TaskRun"]

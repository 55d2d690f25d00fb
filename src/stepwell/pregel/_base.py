"""What all verbs of a compiled graph share: its program, its saver, its defaults."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, Self, TypeGuard, TypeVar

from stepwell._context import current_task
from stepwell._engine.arguments import ArgumentError, RunConfig
from stepwell._engine.arguments import nodes as known_nodes
from stepwell._engine.entry import DEFAULT_RECURSION_LIMIT
from stepwell._engine.program import Program, plain_namespace
from stepwell._engine.task import TaskRun
from stepwell._portal import run_sync
from stepwell.channels.base import BaseChannel
from stepwell.config import RunnableConfig
from stepwell.constants import NS_SEP
from stepwell.errors import UsageError, of_langgraph
from stepwell.pregel._chunks import Mappers
from stepwell.pregel._configs import Config, inherited, merge_configs
from stepwell.pregel._shape import Shape
from stepwell.types import StreamMode

if TYPE_CHECKING:
    from stepwell.checkpoint.base import Saver

T = TypeVar("T")

_CHANGEABLE = frozenset(
    ("name", "checkpointer", "store", "config", "stream_mode", "debug", "step_timeout",
     "interrupt_before_nodes", "interrupt_after_nodes")
)  # fmt: skip

RECURSION_LIMIT = int(os.environ.get("STEPWELL_DEFAULT_RECURSION_LIMIT", DEFAULT_RECURSION_LIMIT))


class Compiled(Shape):
    """A compiled graph, as the verbs see it."""

    stream_mode: StreamMode = "values"
    """What `astream` yields if it is not told."""
    debug: bool = False
    """Whether every run prints its updates and values."""

    def _adopt(
        self,
        program: Program,
        checkpointer: Any,
        *,
        mappers: Mappers = Mappers(),  # noqa: B008  # immutable
    ) -> None:
        self.config: RunnableConfig = {}
        """Defaults for the config of every call; see `with_config`."""
        self._program = program
        self._mappers = mappers
        self._checkpointer = _checked(checkpointer)
        for field, value in _keeping(checkpointer).items():
            setattr(program, field, value)
        self._find_subgraphs()
        program.children = lambda: {
            name: graph._program  # noqa: SLF001  # of our own kind
            for name, graph in self._inside.items()
        }

    # -- what it is called, and what it keeps its threads and values in

    @property
    def name(self) -> str:
        """The graph's name; stored with its threads."""
        return self._program.name

    @name.setter
    def name(self, name: str) -> None:
        self._change(name=name)

    @property
    def checkpointer(self) -> Saver | bool | None:
        """A saver; None: that of the graph around this one, if there is one, with a history per
        task; True: the same with one history per thread; False: none."""
        return self._checkpointer

    @checkpointer.setter
    def checkpointer(self, checkpointer: Any) -> None:
        self._checkpointer = _checked(checkpointer)
        self._change(**_keeping(checkpointer))

    @property
    def store(self) -> Any:
        """What nodes are handed as `store`."""
        return self._program.store

    @store.setter
    def store(self, store: Any) -> None:
        self._change(store=store)

    # -- what it is made of

    @property
    def nodes(self) -> dict[str, Any]:
        """Its nodes by name, the hidden ones too; not to be changed."""
        return dict(self._program.spec.nodes)

    @property
    def channels(self) -> dict[str, BaseChannel[Any, Any, Any]]:
        """Its channels by name, the hidden ones too; not to be changed."""
        return dict(self._program.spec.channels)

    @property
    def interrupt_before_nodes(self) -> Sequence[str] | Literal["*"]:
        """Nodes it stops before."""
        return self._program.interrupt_before

    @interrupt_before_nodes.setter
    def interrupt_before_nodes(self, names: Sequence[str] | Literal["*"]) -> None:
        known_nodes("interrupt_before_nodes", names, self.nodes)
        self._change(interrupt_before=names)

    @property
    def interrupt_after_nodes(self) -> Sequence[str] | Literal["*"]:
        """Nodes it stops after."""
        return self._program.interrupt_after

    @interrupt_after_nodes.setter
    def interrupt_after_nodes(self, names: Sequence[str] | Literal["*"]) -> None:
        known_nodes("interrupt_after_nodes", names, self.nodes)
        self._change(interrupt_after=names)

    def _change(self, **fields: Any) -> None:
        # Copies share the program until one of them is changed.
        program = copy(self._program)
        for field, value in fields.items():
            setattr(program, field, value)
        self._program = program

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """The graph's name, or `name`, with a suffix in its style."""
        shown = name or self.name
        if not suffix:
            return shown
        return shown + (suffix.title() if shown[:1].isupper() else f"_{suffix.lower()}")

    def copy(self, update: Mapping[str, Any] | None = None) -> Self:
        """The same graph with some attributes changed.

        Args:
            update: Any of name, checkpointer, store, config, stream_mode, debug, step_timeout,
                interrupt_before_nodes, interrupt_after_nodes.

        Raises:
            UsageError: It has no such attribute, or not one that can be changed.
        """
        other = copy(self)
        for name, value in (update or {}).items():
            if name not in _CHANGEABLE:
                msg = f"copy() cannot change {name!r}: build the graph again with it."
                raise UsageError(msg)
            setattr(other, name, value)
        return other

    def with_config(self, config: Config | None = None, **more: Any) -> Self:
        """The same graph with defaults for the config of every call.

        A call's own config wins; metadata and `configurable` are merged, tags are added up.
        """
        bound = copy(self)
        bound.config = merge_configs(self.config, config, more)
        return bound

    def _settings(self, config: Config | None) -> RunConfig:
        merged = merge_configs(self.config, config) if self.config else config
        return RunConfig(merged, RECURSION_LIMIT)

    def _run_settings(self, config: Config | None) -> RunConfig:
        """The config of a run: inside a node, over what the node's own config says."""
        task = current_task.get()
        if task is None:
            return self._settings(config)
        given = merge_configs(self.config, config)
        return RunConfig(inherited(task.config, given), RECURSION_LIMIT)

    def _addressed(self, settings: RunConfig) -> Program | None:
        """The graph inside this one whose namespace a config names, if it does."""
        program = self._program
        if not settings.checkpoint_ns:
            return None
        for node in plain_namespace(settings.checkpoint_ns).split(NS_SEP):
            inner = program.children().get(node)
            if inner is None:
                return None
            program = inner
        return program

    def _saver(self, what: str) -> Saver:
        saver = self._program.saver
        if saver is None:
            msg = (
                f"{what} needs a checkpointer: compile the graph with one, for instance "
                "builder.compile(checkpointer=stepwell.open_saver('sqlite:///app.db'))."
            )
            raise ArgumentError(msg)
        return saver

    def _home(self) -> asyncio.AbstractEventLoop | None:
        task = current_task.get()
        if isinstance(task, TaskRun) and task.run.rec is not None:
            return task.run.rec.home
        return None if self._program.saver is None else self._program.saver.home()

    def _answers_at_once(self) -> bool:
        """Whether what says no more than a thread's state need not wait for it."""
        saver = self._program.saver
        return saver is not None and saver.answers_at_once

    def _sync(self, name: str, call: Callable[[], Awaitable[T]], *, runs: bool = True) -> T:
        """Run `call` from a thread that waits for it. `runs`: nodes may run, which takes time."""
        at_once = not runs and self._answers_at_once()
        return run_sync(call, loop=self._home(), name=name, at_once=at_once)


def _checked(checkpointer: Any) -> Saver | bool | None:
    if _is_saver(checkpointer) or checkpointer is None or isinstance(checkpointer, bool):
        return checkpointer
    msg = (
        "Invalid checkpointer provided. Expected a Stepwell saver (see stepwell.open_saver), "
        f"`True`, `False`, or `None`. Received {type(checkpointer).__name__}."
    )
    if said := of_langgraph(checkpointer):
        msg = f"{msg} Note: {said}."
    raise TypeError(msg)


def _is_saver(checkpointer: Any) -> TypeGuard[Saver]:
    if checkpointer is None or isinstance(checkpointer, bool):
        return False
    from stepwell.checkpoint.base import Saver  # loaded long since, if it is one

    return isinstance(checkpointer, Saver)


def _keeping(checkpointer: Saver | bool | None) -> dict[str, Any]:
    """What a checkpointer means to a program."""
    return {
        "saver": checkpointer if _is_saver(checkpointer) else None,
        "keeps_history": checkpointer is True,
        "persists": checkpointer is not False,
    }


__all__ = ["RECURSION_LIMIT", "Compiled"]

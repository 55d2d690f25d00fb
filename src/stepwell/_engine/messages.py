"""`stream_mode="messages"`: messages as they are said, each with where it was said.

Three sources: what a node hands to `runtime.emit_message` or `push_message`, what a chat model
of LangChain streams while a node runs, and the messages in what a node wrote that nobody has
seen yet. Order and rules are LangGraph's: one that was in the node's input, or was streamed
before under its id, is not shown again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from stepwell._messages.listener import listener_class
from stepwell._messages.shape import MessageError, id_of, is_object, is_plain, normalise, stamped
from stepwell._plan.spec import PREVIOUS, RETURN
from stepwell.constants import END, TAG_HIDDEN, TAG_NOSTREAM

if TYPE_CHECKING:
    from stepwell._engine.run import Run
    from stepwell._engine.task import TaskRun
    from stepwell._plan.tasks import Write

MODE = "messages"


def emit(task: TaskRun, message: Any, metadata: Mapping[str, Any] | None = None) -> None:
    """Show a message, or a piece of one, that a task hands over.

    Args:
        task: Whose it is.
        message: A dict, a (role, content) pair, or a message object; pieces of one message
            share its id.
        metadata: Added to what the stream says of the task. `tags` in it (else those of the
            config) that hold "nostream" keep the message off the stream.

    Raises:
        MessageError: It is no message.
    """
    if isinstance(message, str) or not (
        is_object(message) or isinstance(message, (dict, tuple, list))
    ):
        msg = (
            "emit_message takes a message: a dict with role and content, a (role, content) pair, "
            f"or a message object, not {type(message).__name__}."
        )
        raise MessageError(msg)
    if not is_object(message):
        message = normalise(message)
    outlet = task.run.publisher.sink
    if outlet is None or MODE not in outlet.modes:
        return
    told = {**task.config.get("metadata", {}), **(metadata or {})}
    tags = told.get("tags") or task.run.config.tags
    if tags:
        told["tags"] = list(tags)
    if TAG_NOSTREAM not in (tags or ()):
        outlet.put_message(message, told, id_of(message))


def emit_writes(task: TaskRun, writes: Sequence[Write]) -> None:
    """Show the messages that a task wrote and nobody has seen."""
    outlet = task.run.publisher.sink
    if (
        outlet is None
        or MODE not in outlet.modes
        or task.task.node.hidden
        or TAG_HIDDEN in task.run.config.tags
    ):
        return
    plain = {key for key, prepare in task.run.spec.prepares.items() if prepare is not stamped}
    given = task.task.input
    if task.is_call:
        args, kwargs = given
        given = {**dict(enumerate(args)), **kwargs}
    outlet.saw(
        id_of(m)
        for key, value in _keys(given)
        for m in _messages(value, dicts=key is None or key in plain)
    )
    metadata: Mapping[str, Any] | None = None
    for channel, value in writes:
        for message in _written(channel, value, dicts=channel in plain):
            metadata = metadata or task.config.get("metadata", {})
            if is_object(message) and message.id is None:
                message.id = task.run.ids.message_id()
            outlet.put_message(message, metadata, id_of(message), once=True)


def _written(channel: str, value: Any, *, dicts: bool) -> Iterator[Any]:
    """The messages of one write. The result of a workflow or a call is searched as a dict of
    keys too; what a workflow saves for its next run is not said by it."""
    if channel in (END, RETURN) and isinstance(value, dict):
        for part in value.values():
            yield from _messages(part, dicts=False)
    elif channel != PREVIOUS:
        yield from _messages(value, dicts=dicts)


def _keys(state: Any) -> Iterator[tuple[str | None, Any]]:
    """The values of a node's input, each with its key (None: the input is one bare value)."""
    if isinstance(state, dict):
        yield from state.items()
    elif hasattr(type(state), "model_fields"):
        yield from ((k, getattr(state, k, None)) for k in type(state).model_fields)
    elif is_dataclass(state):
        yield from ((f.name, getattr(state, f.name, None)) for f in fields(state))
    else:
        yield None, state


def _messages(value: Any, *, dicts: bool) -> Iterator[Any]:
    """The messages that a value is or holds; dicts count where messages are expected."""
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    for item in items:
        if (dicts and is_plain(item)) or is_object(item):
            yield item


def callbacks_for(task: TaskRun) -> Any:
    """The callbacks of LangChain that models called by this task have: those of the caller,
    and one of ours where messages are streamed. None if there are none."""
    run = task.run
    given, outlet = run.config.callbacks, run.publisher.sink
    listens = (
        outlet is not None and MODE in outlet.modes and "langchain_core.callbacks" in sys.modules
    )
    if given is None and not listens:
        return None
    # The listener of a task around this one must not hear what is said in here.
    if hasattr(given, "handlers"):
        callbacks = given.copy()
        for handler in [h for h in callbacks.handlers if _is_listener(h)]:
            callbacks.remove_handler(handler)
        if listens:
            callbacks.add_handler(listener_class()(task.overhear))
        return callbacks
    kept = [h for h in given or () if not _is_listener(h)]
    return [*kept, listener_class()(task.overhear)] if listens else kept


def _is_listener(handler: Any) -> bool:
    return getattr(handler, "is_stepwell_listener", False) is True


def is_heard(run: Run) -> bool:
    """Whether models of LangChain that nodes call have anybody to tell what they do."""
    outlet = run.publisher.sink
    return run.config.callbacks is not None or (outlet is not None and MODE in outlet.modes)


def surround(task: TaskRun) -> None:
    """Make the task's config the one that LangChain finds around it, so that models called
    without a config are heard too; and what observers want around it (`enter_task`). Called in
    the task's own context."""
    run = task.run
    if run.watch is not None:
        run.watch.surround(task)
    module = sys.modules.get("langchain_core.runnables.config")
    if module is not None and is_heard(run):
        module.var_child_runnable_config.set(task.config)


__all__ = ["MODE", "callbacks_for", "emit", "emit_writes", "is_heard", "surround"]

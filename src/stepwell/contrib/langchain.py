"""LangChain: what its chat models say, on the stream of messages.

Where LangChain is imported and messages are streamed, this happens by itself: a node's config
holds a handler in `config["callbacks"]`, and models that are called without a config find the
node's around them. What is here is for models that find neither: in a thread or executor of
your own, or behind a library that makes configs anew.

Messages of LangChain in a state need nothing either, nor do documents, prompt values and agents'
actions: their classes are stored under fixed names, `langchain_core.messages:HumanMessage` and so
on. Subclasses of your own are registered
with `stepwell.register`.
"""

from __future__ import annotations

from typing import Any

from stepwell._context import running_task
from stepwell._messages.listener import listener_class


def messages_handler() -> Any:
    """A callback handler that shows what a model says as the messages of the running node.

    Make it in the node, and hand it to the model:
    `model.invoke(messages, {"callbacks": [messages_handler()]})`. Models with the tag
    "nostream" are not heard.

    Returns:
        A `langchain_core.callbacks.BaseCallbackHandler`.

    Raises:
        RuntimeError: Called outside of a node.
        ImportError: langchain-core is not installed (extra `langchain`).
    """
    task = running_task("messages_handler()")
    metadata = dict(task.config.get("metadata") or {})

    def hear(message: Any, told: dict[str, Any], once: bool) -> None:
        task.overhear(message, {**metadata, **told}, once)

    return listener_class()(hear)


__all__ = ["messages_handler"]

"""A callback handler of LangChain that hears what chat models say.

The class is made when it is first needed: that is when messages are streamed in a process
that has imported LangChain.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from stepwell.constants import TAG_NOSTREAM

Hear = Callable[[Any, dict[str, Any], bool], None]
"""(message or chunk, metadata, whether to say it only if its id is new)"""


@cache
def listener_class() -> Any:
    """A handler class; its instances call `hear` for every chunk, and for the message a model
    ends with if it did not stream.

    A model is not heard if one of its tags is "nostream".

    Raises:
        ImportError: langchain-core is not installed.
    """
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

    class Listener(_streaming_base(BaseCallbackHandler)):  # type: ignore[misc]
        """Tells a Stepwell run what the models say that one of its tasks calls."""

        run_inline = True
        """In the thread of the model: the order of chunks is that of their making."""
        is_stepwell_listener = True

        def __init__(self, hear: Hear) -> None:
            super().__init__()
            self._hear = hear
            self._heard: dict[Any, dict[str, Any]] = {}

        def on_chat_model_start(
            self,
            serialized: Any,  # noqa: ARG002
            messages: Any,  # noqa: ARG002
            *,
            run_id: Any,
            tags: list[str] | None = None,
            metadata: dict[str, Any] | None = None,
            **_: Any,
        ) -> None:
            if TAG_NOSTREAM in (tags or ()):
                return
            told = dict(metadata or {})
            # LangChain numbers the parts of a sequence by tags.
            if shown := [t for t in tags or () if not t.startswith("seq:step")]:
                told["tags"] = shown
            self._heard[run_id] = told

        def on_llm_new_token(
            self,
            token: str,  # noqa: ARG002
            *,
            chunk: Any = None,
            run_id: Any,
            **_: Any,
        ) -> None:
            told = self._heard.get(run_id)
            if told is not None and isinstance(chunk, ChatGenerationChunk):
                self._hear(chunk.message, told, False)

        def on_llm_end(self, response: Any, *, run_id: Any, **_: Any) -> None:
            told = self._heard.pop(run_id, None)
            if told is None or not response.generations or not response.generations[0]:
                return
            last = response.generations[0][0]
            if isinstance(last, ChatGeneration):
                self._hear(last.message, told, True)

        def on_llm_error(self, error: BaseException, *, run_id: Any, **_: Any) -> None:  # noqa: ARG002
            self._heard.pop(run_id, None)

    return Listener


def _streaming_base(handler: Any) -> Any:
    """The base by which LangChain knows a handler that wants a model's chunks: with one of
    these among its handlers `model.invoke` streams."""
    try:
        from langchain_core.tracers._streaming import _StreamingCallbackHandler
    except ImportError:  # an older or newer langchain-core: `model.stream` is still heard
        return handler

    class Base(handler, _StreamingCallbackHandler):  # type: ignore[misc]
        """A handler that takes a model's output as it is."""

        def tap_output_aiter(self, run_id: Any, output: Any) -> Any:  # noqa: ARG002
            return output

        def tap_output_iter(self, run_id: Any, output: Any) -> Any:  # noqa: ARG002
            return output

    return Base


__all__ = ["Hear", "listener_class"]

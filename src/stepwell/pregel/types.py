"""Where LangGraph once had the names of `stepwell.types`."""

from stepwell.types import (
    All,
    CachePolicy,
    PregelExecutableTask,
    PregelTask,
    RetryPolicy,
    StateSnapshot,
    StateUpdate,
    StreamMode,
    StreamWriter,
    default_retry_on,
)

__all__ = [
    "All", "CachePolicy", "PregelExecutableTask", "PregelTask", "RetryPolicy", "StateSnapshot",
    "StateUpdate", "StreamMode", "StreamWriter", "default_retry_on",
]  # fmt: skip

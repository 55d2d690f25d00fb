"""Where LangGraph once had the names of `stepwell.types`."""

from warnings import warn

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
from stepwell.warnings import LangGraphDeprecatedSinceV10

__all__ = [
    "All", "CachePolicy", "PregelExecutableTask", "PregelTask", "RetryPolicy", "StateSnapshot",
    "StateUpdate", "StreamMode", "StreamWriter", "default_retry_on",
]  # fmt: skip

warn(
    "Importing from stepwell.pregel.types is deprecated. "
    "Please use 'from stepwell.types import ...' instead.",
    LangGraphDeprecatedSinceV10,
    stacklevel=2,
)

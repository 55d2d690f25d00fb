"""What every compiled graph is, however it was described; and graphs made of bare channels."""

from typing import TYPE_CHECKING

from stepwell._late import late_names

if TYPE_CHECKING:
    from stepwell.pregel._node import NodeBuilder
    from stepwell.pregel.main import Pregel

__all__ = ["NodeBuilder", "Pregel"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = late_names(
        __name__, {"NodeBuilder": "stepwell.pregel._node", "Pregel": "stepwell.pregel.main"}
    )

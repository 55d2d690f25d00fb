"""What every compiled graph is, however it was described; and graphs made of bare channels."""

from stepwell.pregel._node import NodeBuilder
from stepwell.pregel.main import Pregel

__all__ = ["NodeBuilder", "Pregel"]
